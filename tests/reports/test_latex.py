"""Tables and figures for a paper: what LaTeX sets is what the report says."""

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from reports.latex import FOLDER, escape, tabular, write_latex
from reports.report import write_report


def test_a_table_has_the_rules_and_columns_of_the_report():
    tokens = MarkdownIt("commonmark").enable("table").parse("| cell | steps |\n|:--|--:|\n| no_gate | ≥2.3× |\n")
    assert tabular(tokens).splitlines() == [
        r"\begin{tabular}{lr}", r"\toprule", r"cell & steps \\", r"\midrule", r"no\_gate & $\geq$2.3$\times$ \\",
        r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "set_as"),
    [
        ("50 % & $x_1$", r"50 \% \& \$x\_1\$"),
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("lstm ᵃ", r"lstm \textsuperscript{a}"),
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
