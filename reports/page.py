"""The report as a page: a single HTML file with its figures in it, whose tables can be sorted and filtered."""

import base64
import html
import re
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from bench.record.files import write_text_atomic

MOST_SVG_BYTES = 400_000  # of a figure; a larger one is shown as PNG
FEWEST_ROWS = 8  # of a table that can be filtered
KINDS = {".svg": "image/svg+xml", ".png": "image/png"}


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
    # A figure is in the page as it is; its file elsewhere is not.
    markdown = re.sub(r" \(\[SVG\]\([^()\s]*\)\)", "", markdown)
    # Nothing in a report is HTML: whatever looks like it came with the data.
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    contents = _number_headings(tokens)
    _embed_figures(tokens, folder)
    body = parser.renderer.render(tokens, parser.options, {})
    body = re.sub(r"<table>.*?</table>", _frame, body, flags=re.S)
    title = next((title for _, _, title in contents), "Report")
    links = "".join(
        f'<a class="level{level}" href="#{name}">{html.escape(text)}</a>' for level, name, text in contents[1:]
    )
    return TEMPLATE.format(title=html.escape(title), links=links, body=body, style=STYLE, script=SCRIPT)


def _number_headings(tokens: list[Token]) -> list[tuple[int, str, str]]:
    """Give headings names to link to; return the level, name and text of those that contents list."""
    found = []
    for number, (token, inline) in enumerate(pairwise(tokens)):
        if token.type == "heading_open":
            token.attrSet("id", f"section-{number}")
            text = "".join(part.content for part in inline.children or [])
            found.append((int(token.tag[1]), f"section-{number}", text))
    return found


def _embed_figures(tokens: list[Token], folder: Path) -> None:
    for token in tokens:
        for part in token.children or []:
            if part.type == "image":
                part.attrSet("src", _as_data(folder / Path(str(part.attrGet("src"))).name))
                part.attrSet("loading", "lazy")


def _as_data(path: Path) -> str:
    """Return a figure as a URL that holds it: as SVG, which is sharp at any size, unless that is large."""
    vector = path.with_suffix(".svg")
    if vector.is_file() and vector.stat().st_size <= MOST_SVG_BYTES:
        path = vector
    if path.suffix not in KINDS or not path.is_file():
        return ""
    return f"data:{KINDS[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _frame(found: "re.Match[str]") -> str:
    """Put a table into a frame that scrolls, with a field to filter its rows if it has many."""
    table = found.group()
    several = table.count("<tr>") > FEWEST_ROWS
    field = '<input type="search" placeholder="Rows with …" aria-label="Show rows with">' if several else ""
    return f'<div class="frame">{field}<div class="scroll">{table}</div></div>'


TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<nav aria-label="Contents">{links}</nav>
<main>
{body}
</main>
<script>{script}</script>
</body>
</html>
"""

STYLE = """
:root { color-scheme: light dark; --text: #222; --soft: #666; --line: #ddd; --back: #fff; --mark: #0173b2; }
@media (prefers-color-scheme: dark) {
  :root { --text: #ddd; --soft: #999; --line: #444; --back: #1b1b1b; --mark: #6cb8ea; }
}
* { box-sizing: border-box; }
body { margin: 0; color: var(--text); background: var(--back); font: 16px/1.5 system-ui, sans-serif; display: flex; }
main { flex: 1; min-width: 0; max-width: 72rem; padding: 1rem 2rem 4rem; }
nav { flex: 0 0 15rem; padding: 1.5rem 0 1rem 1rem; font-size: .85rem; position: sticky; top: 0; height: 100vh;
  overflow-y: auto; border-right: 1px solid var(--line); }
nav a { display: block; color: var(--soft); text-decoration: none; padding: .15rem .5rem; }
nav a:hover { color: var(--mark); }
nav .level3, nav .level4 { padding-left: 1.3rem; font-size: .8rem; }
h1, h2, h3 { line-height: 1.25; scroll-margin-top: 1rem; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
a { color: var(--mark); }
img { max-width: 100%; height: auto; background: #fff; border-radius: 6px; padding: .4rem; }
pre { overflow-x: auto; border: 1px solid var(--line); padding: .6rem; border-radius: 6px; }
.frame { margin: 1rem 0; }
.frame input { font: inherit; font-size: .85rem; padding: .2rem .5rem; margin-bottom: .4rem; color: inherit;
  background: transparent; border: 1px solid var(--line); border-radius: 4px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { text-align: left; white-space: nowrap; cursor: pointer; user-select: none; }
th:focus-visible { outline: 2px solid var(--mark); }
th[aria-sort]::after { content: " ▲"; color: var(--mark); }
th[aria-sort="descending"]::after { content: " ▼"; }
tbody tr:hover { background: color-mix(in srgb, var(--mark) 8%, transparent); }
@media (max-width: 60rem) { nav { display: none; } main { padding: .5rem 1rem 3rem; } }
@media print {
  nav, .frame input { display: none; }
  body { color: #000; background: #fff; font-size: 10pt; }
  main { max-width: none; padding: 0; }
  .scroll { overflow: visible; }
  table { font-size: 7.5pt; }
  th { white-space: normal; }
  th[aria-sort]::after { content: ""; }
  tr, img { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
}
"""

SCRIPT = """
"use strict";
const NUMBER = /^(?:about |at most |at least )?[<>≤≥~≈]?\\s*(-?[\\d,]*\\.?\\d+(?:e[+-]?\\d+)?)\\s*([kMGT])?/;
const UNITS = {k: 1e3, M: 1e6, G: 1e9, T: 1e12};
function key(cell) {  // numbers before texts, what is missing last
  const text = cell.textContent.trim();
  if (["", "–", "never"].includes(text)) return [2, 0, ""];
  const found = text.match(NUMBER);
  if (!found) return [1, 0, text];
  const beyond = /^[>≥]/.test(text) ? 1e-9 : 0;
  const value = parseFloat(found[1].replaceAll(",", "")) * (UNITS[found[2]] || 1);
  return [0, value + Math.abs(value) * beyond, text];
}
function compare(a, b) {
  for (let i = 0; i < 2; i++) if (a[i] !== b[i]) return a[i] - b[i];
  return a[2].localeCompare(b[2], undefined, {numeric: true});
}
function sort(table, column, header) {
  const down = header.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = [...table.tBodies[0].rows].map(row => [key(row.cells[column]), row]);
  rows.sort(([a], [b]) => a[0] === 2 || b[0] === 2 || !down ? compare(a, b) : compare(b, a));
  table.tBodies[0].append(...rows.map(([, row]) => row));
}
for (const frame of document.querySelectorAll(".frame")) {
  const table = frame.querySelector("table"), field = frame.querySelector("input");
  [...table.tHead.rows[0].cells].forEach((header, column) => {
    header.tabIndex = 0;
    header.addEventListener("click", () => sort(table, column, header));
    header.addEventListener("keydown", event => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(table, column, header); }
    });
  });
  field?.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\\s+/);
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every(word => text.includes(word));
    }
  });
}
"""
