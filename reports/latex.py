"""The report for a paper: its tables as booktabs, its figures as PDF, and a document that shows how to use them."""

import re
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from bench.record.files import write_text_atomic
from reports.figures.style import COLUMN
from reports.sections.differences import RAISED

FOLDER = "latex"
MOST_LETTERS = 60  # of a file's name
POINTS = 72  # an inch
LETTERS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "×": r"$\times$", "≥": r"$\geq$", "≤": r"$\leq$", "∝": r"$\propto$", "∞": r"$\infty$", "†": r"\dag{}",
    "–": "--", "…": r"\ldots{}", "“": "``", "”": "''", "’": "'", "·": r"$\cdot$", "²": r"\textsuperscript{2}",
    **{chr(raised): rf"\textsuperscript{{{chr(letter)}}}" for letter, raised in RAISED.items()},
}  # fmt: skip
DOCUMENT = r"""\documentclass[twocolumn]{{article}}
\usepackage[T1]{{fontenc}}
\usepackage[textwidth=6.75in,columnsep=0.25in]{{geometry}}  % figures are as wide as a column, or, in figure*, as two
\usepackage{{booktabs,graphicx,adjustbox,stix}}
\setlength{{\belowcaptionskip}}{{6pt}}
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
            name = _new_name(heading, names)
            write_text_atomic(folder / f"{name}.tex", tabular(tokens[place:end]))
            parts.append(_floating("table*", _fitted(rf"\input{{{name}}}"), heading))
        elif token.type == "inline" and (image := _image(token)):
            kind = "figure" if _fits_column(folder / f"{image}.pdf") else "figure*"
            content = _fitted(rf"\includegraphics{{{image}.pdf}}")  # its letters keep their size
            parts.append(_floating(kind, content, heading, _after(tokens, place)))
    path = folder / "report.tex"
    write_text_atomic(path, DOCUMENT.format(body="\n\n".join(parts)))
    return path


def tabular(tokens: list[Token]) -> str:
    """Return a table of markdown as a tabular with the rules of booktabs."""
    rows: list[list[str]] = []
    columns = ""
    for token, inline in pairwise(tokens):
        if token.type == "tr_open":
            rows.append([])
        elif token.type in ("th_open", "td_open"):
            rows[-1].append(escape("".join(part.content for part in inline.children or [])))
            if token.type == "th_open":
                columns += "r" if "right" in str(token.attrGet("style")) else "l"
    lines = [" & ".join(row) + r" \\" for row in rows]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def escape(text: str) -> str:
    """Return text that LaTeX sets as it is."""
    return "".join(LETTERS.get(letter, letter) for letter in text)


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
    """Return content scaled down to the width of its column, if it is wider."""
    return rf"\adjustbox{{max width=\linewidth}}{{{content}}}"


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
