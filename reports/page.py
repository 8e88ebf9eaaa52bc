"""The report as a page: a single HTML file with its figures in it, whose tables can be sorted and filtered."""

import base64
import re
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.token import Token

from bench.record.files import write_text_atomic

FEWEST_ROWS = 8  # of a table that can be filtered


class Heading(NamedTuple):
    """A heading that the page's contents link to: its level, the name of the link, and what it says."""

    level: int
    name: str
    text: str


def _beside(name: str) -> str:
    return files("reports").joinpath(name).read_text(encoding="utf-8")


PAGE = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True).from_string(
    _beside("page.html.jinja")
)


def write_page(report: Path) -> Path:
    """Write `report.html` beside a report in markdown, from which it is made, and return its path.

    Raises:
        OSError: it cannot be written.
    """
    path = report.with_name("report.html")
    write_text_atomic(path, page(report.read_text(encoding="utf-8"), report.parent))
    return path


def page(markdown: str, folder: Path) -> str:
    """Return a report as HTML.

    Args:
        markdown: of the report.
        folder: where its figures are.
    """
    # Nothing in a report is HTML: whatever looks like it came with the data.
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    headings = _number_headings(tokens)
    _embed_figures(tokens, folder)
    body = parser.renderer.render(tokens, parser.options, {})
    body = re.sub(r"<table>.*?</table>", _frame, body, flags=re.S)
    return PAGE.render(headings=headings, body=body, style=_beside("page.css"), script=_beside("page.js"))


def _number_headings(tokens: list[Token]) -> list[Heading]:
    """Give headings names to link to, and return them in order."""
    headings = []
    for number, (token, inline) in enumerate(pairwise(tokens)):
        if token.type == "heading_open":
            token.attrSet("id", f"section-{number}")
            text = "".join(part.content for part in inline.children or [])
            headings.append(Heading(int(token.tag[1]), f"section-{number}", text))
    return headings


def _embed_figures(tokens: list[Token], folder: Path) -> None:
    for token in tokens:
        for part in token.children or []:
            if part.type == "image":
                part.attrSet("src", _as_data(folder / Path(str(part.attrGet("src"))).name))
                part.attrSet("loading", "lazy")


def _as_data(path: Path) -> str:
    """Return a figure as a URL that holds it."""
    if path.suffix != ".png" or not path.is_file():
        return ""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _frame(match: "re.Match[str]") -> str:
    """Put a table into a frame that scrolls, with a field to filter its rows if it has many."""
    table = match.group()
    several = table.count("<tr>") > FEWEST_ROWS
    field = '<input type="search" placeholder="Rows with …" aria-label="Show rows with">' if several else ""
    return f'<div class="frame">{field}<div class="scroll">{table}</div></div>'
