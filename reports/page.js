"use strict";
const NUMBER = /^(?:about |at most |at least )?[<>≤≥~≈]?\s*(-?[\d,]*\.?\d+(?:e[+-]?\d+)?)\s*([kMGT])?/;
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
    const words = field.value.toLowerCase().split(/\s+/);
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every(word => text.includes(word));
    }
  });
}
