"""The report as a page to explore: a single HTML file with its figures in it, that asks for nothing from anywhere."""

import base64
import re
from datetime import datetime
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.token import Token

from bench.record.files import write_text_atomic
from reports.figures.panels import MOST_CURVES
from reports.load import Stored
from reports.page_data import commit_of, page_data, runs_table
from reports.text import table

FEWEST_ROWS = 8  # of a table that can be filtered
APPENDIX = "# Appendix"
# Parts of a rendered report: the figure that charts take the place of, the table of runs, what is folded.
CURVES = re.compile(r'<p><img [^>]*alt="Learning curves"[^>]*></p>')
RUNS = re.compile(r'(<h2 id="section-\d+">Runs</h2>\s*<p>[^<]*</p>\s*)(<div class="frame">.*?</div></div>)', flags=re.S)
FOLDED = re.compile(r'(<h1 id="section-\d+">Appendix</h1>)(.*)\Z', flags=re.S)


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


def write_page(report: Path, stored: Stored | None = None) -> Path:
    """Write `report.html` beside a report in markdown, from which it is made, and return its path.

    Args:
        stored: what the report is of, to be explored: curves and runs; None for the report alone.

    Raises:
        OSError: it cannot be written.
    """
    path = report.with_name("report.html")
    written = f"written {datetime.fromtimestamp(report.stat().st_mtime):%Y-%m-%d}"
    write_text_atomic(path, page(report.read_text(encoding="utf-8"), report.parent, stored, written))
    return path


def page(markdown: str, folder: Path, stored: Stored | None = None, written: str = "") -> str:
    """Return a report as HTML.

    Args:
        markdown: of the report.
        folder: where its figures are.
        stored: see `write_page`.
        written: when the report was, in words.
    """
    first, _, appendix = markdown.partition(f"\n{APPENDIX}\n")
    if stored is not None and len(stored.results):
        first = f"{first}\n## Runs\n\nA row opens its run.\n\n{table(runs_table(stored))}\n"
    # Nothing in a report is HTML: whatever looks like it came with the data.
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(f"{first}\n{APPENDIX}\n{appendix}" if appendix else first)
    headings = _number_headings(tokens)
    _embed_figures(tokens, folder)
    body = parser.renderer.render(tokens, parser.options, {})
    body = re.sub(r"<table>.*?</table>", _frame, body, flags=re.S)
    if stored is not None and len(stored.curves):
        strips = (
            stored.results["contender"].nunique() > MOST_CURVES
        )  # which say what many curves do not, and the text is of
        drawn = r"\g<0>" if strips else r"<noscript>\g<0></noscript>"
        body = CURVES.sub(rf'<div id="charts"></div>{drawn}', body, count=1)
    body = RUNS.sub(r'\1<div id="runs">\2</div>', body, count=1)
    body = FOLDED.sub(r"<details>\n<summary>Appendix</summary>\n\1\2</details>\n", body, count=1)
    commit = commit_of(stored) if stored is not None and len(stored.results) else ""
    about = " · ".join(filter(None, (written, f"commit {commit}" if commit else "")))
    return PAGE.render(
        headings=headings, body=body, about=about, data=page_data(stored), style=_beside("page.css"),
        script=_beside("page.js"),
    )  # fmt: skip


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
    rows = match.group()
    several = rows.count("<tr>") > FEWEST_ROWS
    field = '<input type="search" placeholder="Rows with …" aria-label="Show rows with">' if several else ""
    return f'<div class="frame">{field}<div class="scroll">{rows}</div></div>'
