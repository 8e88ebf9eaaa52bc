"""Tables and figures for a paper: what LaTeX sets is what the report says."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from reports.latex import FOLDER, MOST_ROWS, escape, tabulars, write_latex
from reports.report import write_report
from tests.reports.conftest import write_run

GALLERY = Path(__file__).parents[2] / "reports" / "gallery"


def test_a_table_has_the_rules_and_columns_of_the_report():
    tokens = MarkdownIt("commonmark").enable("table").parse("| cell | steps |\n|:--|--:|\n| no_gate | ≥2.3× |\n")
    assert tabulars(tokens)[0].splitlines() == [
        r"\begin{tabular}{lr}", r"\toprule", r"cell & steps \\", r"\midrule", r"no\_gate & $\geq$2.3$\times$ \\",
        r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip


def test_a_long_table_is_set_in_parts_and_no_row_is_read_as_an_argument():
    rows = [f"| [{number}, 9] | {number} |" for number in range(MOST_ROWS + 1)]
    tokens = MarkdownIt("commonmark").enable("table").parse("\n".join(["| of | n |", "|:--|--:|", *rows]))
    first, second = tabulars(tokens)
    assert first.count(r" \\") == 1 + MOST_ROWS
    head = [r"\begin{tabular}{lr}", r"\toprule", r"of & n \\", r"\midrule"]
    assert second.splitlines() == [*head, rf"{{}}[{MOST_ROWS}, 9] & {MOST_ROWS} \\", r"\bottomrule", r"\end{tabular}"]


@pytest.mark.drawn
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
def test_latex_sets_the_longest_tables(tmp_path: Path):
    document = write_latex(write_report([GALLERY / "zoo"], tmp_path, FOLDER).path)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", document.name]
    ended = subprocess.run(command, cwd=document.parent, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-1000:]
    assert not re.search("too large|Missing character", document.with_suffix(".log").read_text(errors="replace"))


@pytest.mark.parametrize(
    ("text", "set_as"),
    [
        ("50 % & $x_1$", r"50 \% \& \$x\_1\$"),
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        (
            "lstm ᵃ, T⁻² h₀",
            r"lstm \textsuperscript{a}, T\textsuperscript{$-$}\textsuperscript{2} h\textsubscript{0}",
        ),
        ("Δt = ½ ε − Σ", r"$\Delta$t = 1/2 $\varepsilon$ $-$ $\Sigma$"),
        ("Delétang 漢", "Delétang ?"),
    ],
)
def test_text_is_set_as_it_is(text: str, set_as: str):
    assert escape(text) == set_as


def test_every_table_and_figure_of_a_report_is_there(sweep: Path):
    report = write_report([sweep], printed=FOLDER).path
    document = write_latex(report)
    said = document.read_text()
    tables, figures = re.findall(r"\\input{(\w+)}", said), re.findall(r"{(\w+)\.pdf}", said)
    written = report.read_text()
    assert len(set(tables)) == len(tables) == len(re.findall(r"^\|:?-", written, flags=re.M))
    assert figures == re.findall(r"\]\((\w+)\.png\)", written)
    for name in tables:
        assert (document.parent / f"{name}.tex").read_text().count("\\\\\n") > 1
    for name in figures:
        assert (document.parent / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_figures_are_as_wide_as_a_column_or_two_and_stand_in_as_many(sweep: Path):
    """Their letters keep the size of the paper's: LaTeX does not scale what is no wider than its place."""
    document = write_latex(write_report([sweep], printed=FOLDER).path)
    placed = re.findall(r"\\begin{(figure\*?)}.*?{(\w+)\.pdf}", document.read_text(), flags=re.S)
    widths = {}
    for kind, name in placed:
        (found,) = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+)", (document.parent / f"{name}.pdf").read_bytes())
        widths[name] = float(found) / 72
        assert widths[name] <= (3.27 if kind == "figure" else 6.75), name
        assert (kind == "figure") == (widths[name] < 4), name
    assert widths["time_to_solve"] > 3
    assert {kind for kind, _ in placed} == {"figure", "figure*"}


# What LaTeX would stop at: anything but escaped letters, commands that are known, balanced groups and mathematics.
COMMANDS = {
    "begin", "end", "toprule", "midrule", "bottomrule", "textbackslash", "textless", "textgreater", "textasciitilde",
    "textasciicircum", "textsuperscript", "times", "geq", "leq", "propto", "infty", "cdot", "ldots", "dag",
}  # fmt: skip


def check_tabular(text: str) -> None:
    """Hold a table to what LaTeX sets: each row with the columns of the head, groups closed, nothing left unescaped."""
    assert set(re.findall(r"\\([A-Za-z]+)", text)) <= COMMANDS
    bare = re.sub(r"\\[{}$&#%_\\]", "", text.replace(r"\\" + "\n", "\n"))
    depth = 0
    for letter in bare:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0
    assert depth == 0
    assert bare.count("$") % 2 == 0
    assert not re.search(r"[#%~^<>]|(?<!\\)_", bare)
    first, *rows, last = text.strip().splitlines()
    columns = re.fullmatch(r"\\begin{tabular}{([lr]+)}", first)
    assert columns is not None
    assert last == r"\end{tabular}"
    for row in (row for row in rows if "rule" not in row):
        assert row.endswith(r" \\")
        assert len(re.findall(r"(?<!\\)&", row)) == len(columns[1]) - 1


def test_whatever_names_hold_latex_sets_the_tables(sweep: Path):
    hostile = r"a_b \input{x} 50% & #1 $x^2$ {~"
    write_run(sweep, "lstm", "adding", 7, 300, cell_options={"kind": hostile})
    write_run(sweep, "lstm", "adding", 8, None, status="failed", error=hostile)
    document = write_latex(write_report([sweep]).path)
    tables = list(document.parent.glob("table_*.tex"))
    assert any(r"\#1" in table.read_text() for table in tables)
    for table in tables:
        check_tabular(table.read_text())


@pytest.mark.parametrize(
    "text", ["a_b", "50%", "{", r"\input{x}", "a & b"], ids=["underscore", "percent", "brace", "command", "column"]
)
def test_what_is_not_escaped_is_found(text: str):
    with pytest.raises(AssertionError):
        check_tabular("\n".join([r"\begin{tabular}{l}", text + r" \\", r"\end{tabular}"]))


def test_fonts_of_figures_are_outlines_that_journals_take(sweep: Path):
    document = write_latex(write_report([sweep], printed=FOLDER).path)
    for figure in document.parent.glob("*.pdf"):
        assert b"/Type3" not in figure.read_bytes(), figure.name
        assert b"/TrueType" in figure.read_bytes() or b"/CIDFontType2" in figure.read_bytes(), figure.name
