"""The report for a paper: its tables as booktabs, its figures as PDF, and a document that shows how to use them."""

import re
import unicodedata
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from bench.record.files import write_text_atomic
from reports.figures.style import COLUMN

FOLDER = "latex"
MOST_LETTERS = 60  # of a file's name
MOST_ROWS = 48  # of a table on one page
POINTS = 72  # an inch
LETTERS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "×": r"$\times$", "≥": r"$\geq$", "≤": r"$\leq$", "∝": r"$\propto$", "∞": r"$\infty$", "†": r"\dag{}",
    "–": "--", "…": r"\ldots{}", "“": "``", "”": "''", "’": "'", "·": r"$\cdot$", "−": "$-$", "→": r"$\to$",
    "←": r"$\leftarrow$", "√": r"$\surd$", "‖": r"$\Vert$", "∂": r"$\partial$", "⊙": r"$\odot$", "⌊": r"$\lfloor$",
    "⌋": r"$\rfloor$", "⌈": r"$\lceil$", "⌉": r"$\rceil$", "∗": "*", "\u2044": "/",
}  # fmt: skip
# Those that no Latin letter looks like.
GREEK = dict(zip(
    "αβγδεζηθκλμνξπρστφχψωΓΔΘΛΞΠΣΦΨΩ",
    "alpha beta gamma delta varepsilon zeta eta theta kappa lambda mu nu xi pi rho sigma tau phi chi psi omega "  # noqa: SIM905
    "Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega".split(),
    strict=True,
))  # fmt: skip
FIRST_UNKNOWN = 0x180  # the encoding T1 has the Latin letters before it
DOCUMENT = r"""\documentclass[twocolumn]{{article}}
\usepackage[T1]{{fontenc}}
\usepackage[textwidth=6.75in,columnsep=0.25in]{{geometry}}  % figures are as wide as a column, or, in figure*, as two
\usepackage{{booktabs,graphicx,adjustbox}}
\IfFileExists{{stix.sty}}{{\usepackage{{stix}}}}{{}}  % the letters of the figures
\setlength{{\belowcaptionskip}}{{6pt}}
% There is no text between tables and figures: let many wait, and fill pages with them.
\extrafloats{{500}}\maxdeadcycles=1000
\setcounter{{totalnumber}}{{9}}\setcounter{{topnumber}}{{9}}\setcounter{{dbltopnumber}}{{9}}
\renewcommand{{\floatpagefraction}}{{0.5}}\renewcommand{{\dblfloatpagefraction}}{{0.5}}
\begin{{document}}
{body}
\end{{document}}
"""


def write_latex(report: Path) -> Path:
    """Write `latex/report.tex` beside a report in markdown, from which it is made, with a file for each table.

    Figures are there as PDF if the report was written so.

    Returns:
        Its path.

    Raises:
        OSError: it cannot be written.
    """
    folder = report.parent / FOLDER
    folder.mkdir(exist_ok=True)
    tokens = MarkdownIt("commonmark", {"html": False}).enable("table").parse(report.read_text(encoding="utf-8"))
    parts, names, heading = [], set[str](), ""
    for place, (token, inline) in enumerate(pairwise(tokens)):
        if token.type == "heading_open":
            heading = inline.content
        elif token.type == "table_open":
            end = next(i for i in range(place, len(tokens)) if tokens[i].type == "table_close")
            for number, table in enumerate(tabulars(tokens[place:end])):
                name = _new_name(heading, names)
                write_text_atomic(folder / f"{name}.tex", table)
                title = f"{heading} (continued)" if number else heading
                parts.append(_floating("table*", _fitted(rf"\input{{{name}}}"), title))
        elif token.type == "inline" and (image := _image(token)):
            kind = "figure" if _fits_column(folder / f"{image}.pdf") else "figure*"
            content = _fitted(rf"\includegraphics{{{image}.pdf}}")  # its letters keep their size
            parts.append(_floating(kind, content, heading, _after(tokens, place)))
    path = folder / "report.tex"
    write_text_atomic(path, DOCUMENT.format(body="\n\n".join(parts)))
    return path


def tabulars(tokens: list[Token]) -> list[str]:
    """Return a table of markdown as tabulars with the rules of booktabs, several if it is longer than a page."""
    rows: list[list[str]] = []
    columns = ""
    for token, inline in pairwise(tokens):
        if token.type == "tr_open":
            rows.append([])
        elif token.type in ("th_open", "td_open"):
            rows[-1].append(escape("".join(part.content for part in inline.children or [])))
            if token.type == "th_open":
                columns += "r" if "right" in str(token.attrGet("style")) else "l"
    # A row that begins with a bracket or a star would be read as an argument of the line break before it.
    lines = [("{}" if row[0].startswith(("[", "*")) else "") + " & ".join(row) + r" \\" for row in rows]
    head = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", lines[0], r"\midrule"]
    return [
        "\n".join([*head, *lines[start : start + MOST_ROWS], r"\bottomrule", r"\end{tabular}", ""])
        for start in range(1, max(len(lines), 2), MOST_ROWS)
    ]


def escape(text: str) -> str:
    """Return text that LaTeX sets as it is, with a question mark for each letter that its fonts lack."""
    return "".join(map(_set, text))


def _set(letter: str) -> str:
    if letter in LETTERS or letter.isascii():
        return LETTERS.get(letter, letter)
    if letter in GREEK:
        return rf"$\{GREEK[letter]}$"
    kind, _, codes = unicodedata.decomposition(letter).partition("> ")
    parts = escape("".join(chr(int(code, 16)) for code in codes.split()))
    match kind:
        case "<super" | "<sub":
            return rf"\text{kind[1:]}script{{{parts}}}"
        case "<fraction":
            return parts
    return letter if ord(letter) < FIRST_UNKNOWN else "?"


def _image(token: Token) -> str:
    """Return the name of a paragraph's figure; nothing if it has none."""
    images = [part for part in token.children or [] if part.type == "image"]
    return Path(str(images[0].attrGet("src"))).stem if images else ""


def _after(tokens: list[Token], place: int) -> str:
    """Return what the paragraph after a figure's says, which is the figure's caption; nothing if none follows."""
    following = tokens[place + 1 : place + 4]
    if [token.type for token in following] != ["paragraph_close", "paragraph_open", "inline"]:
        return ""
    said = following[-1].children or []
    return "".join(" " if part.type == "softbreak" else part.content for part in said if part.type != "image")


def _fits_column(figure: Path) -> bool:
    """Tell whether a figure fits into a column. One that is missing does not."""
    if not figure.is_file():
        return False
    found = re.search(rb"/MediaBox\s*\[\s*0 0 ([\d.]+)", figure.read_bytes())
    return found is not None and float(found[1]) <= POINTS * COLUMN + 1


def _fitted(content: str) -> str:
    """Return content scaled down to the width of its column and the height of a page, if it is larger."""
    return rf"\adjustbox{{max width=\linewidth,max totalheight=0.8\textheight}}{{{content}}}"


def _floating(kind: str, content: str, title: str, text: str = "") -> str:
    """Return a figure or a table with its title, and what is said of it; a table's stand above it."""
    caption = rf"\caption{{{escape(f'{title}. {text}' if text else title)}}}"
    parts = [caption, content] if kind == "table*" else [content, caption]
    return "\n".join([rf"\begin{{{kind}}}[htbp]\centering", *parts, rf"\end{{{kind}}}"])


def _new_name(heading: str, names: set[str]) -> str:
    """Return a file name for a table under a heading, another one each time."""
    name = re.sub(r"[^a-z0-9]+", "_", heading.lower()).strip("_")[:MOST_LETTERS] or "table"
    number = next(i for i in range(1, len(names) + 2) if f"table_{name}{'' if i == 1 else f'_{i}'}" not in names)
    name = f"table_{name}{'' if number == 1 else f'_{number}'}"
    names.add(name)
    return name
