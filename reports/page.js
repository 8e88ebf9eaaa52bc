"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);
const NUMBER = /^(?:about |at most |at least )?[<>≤≥~≈]?\s*(-?[\d,]*\.?\d+(?:e[+-]?\d+)?)\s*([kMGT])?/;
const UNITS = {k: 1e3, M: 1e6, G: 1e9, T: 1e12};
const NARROW = 380, WIDE = 640, HEIGHT = 260, LEFT = 52, BOTTOM = 34, TOP = 12;  // of a chart, in its own units
const SHORT = 24, LONG = 60;  // letters: what is shorter is not wrapped, what is longer has a wide column
const FEW = 12;  // names that stand in a legend, and in filters without being folded
const NEAREST = 8;  // lines that are read out, where there are more
// What filters choose from. Names may tell more than one thing: "gru, sweep a" is a cell and a sweep.
const AXES = {
  cell: [...new Set(Object.keys(DATA.looks).map(name => DATA.contenders[name].cell))],
  problem: [...new Set(Object.values(DATA.problems).map(each => each.problem))],
  sweep: DATA.sweeps,
};
const shown = Object.fromEntries(Object.entries(AXES).map(([axis, names]) => [axis, new Set(names)]));

function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "line", "text", "rect", "g"].includes(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Tables: sorted by a click on a title, narrowed by words.
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
function equip(frame) {
  const table = frame.querySelector("table"), field = frame.querySelector("input");
  for (const row of table.rows) {
    for (const cell of row.cells) {
      cell.classList.toggle("short", cell.textContent.length <= SHORT);
      cell.classList.toggle("long", cell.textContent.length > LONG);
      cell.classList.toggle("name", table.tHead.rows[0].cells[cell.cellIndex].textContent === "cell");
    }
  }
  [...table.tHead.rows[0].cells].forEach((header, column) => {
    header.tabIndex = 0;
    header.title = "Sort";
    header.addEventListener("click", () => sort(table, column, header));
    header.addEventListener("keydown", event => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(table, column, header); }
    });
  });
  field?.addEventListener("input", () => narrow(frame));
}
function narrow(frame) {  // by the words in its field, and by the cells and problems that the page shows
  const table = frame.querySelector("table");
  const words = (frame.querySelector("input")?.value ?? "").toLowerCase().split(/\s+/);
  const columns = [...table.tHead.rows[0].cells].map(header => header.textContent);
  for (const row of table.tBodies[0].rows) {
    const text = row.textContent.toLowerCase();
    const hidden = subjects(row, columns).some(([axis, name]) => AXES[axis].includes(name) && !shown[axis].has(name));
    row.hidden = hidden || !words.every(word => text.includes(word));
  }
}
function subjects(row, columns) {  // the cells, problems and sweeps that a row is about
  const said = column => row.cells[columns.indexOf(column)]?.textContent;
  const cells = [said("cell"), ...(said("cells")?.split(" / ") ?? [])];
  return [...cells.map(name => DATA.contenders[name] ?? {cell: name}), DATA.problems[said("problem")] ?? {problem: said("problem")},
    {sweep: said("sweep")}].flatMap(Object.entries);
}

// Filters that hold for the whole page.
function filter() {
  document.querySelectorAll(".frame").forEach(narrow);
  for (const heading of document.querySelectorAll("h3")) {
    const problem = DATA.problems[heading.textContent]?.problem;
    if (problem === undefined) continue;
    for (let next = heading; next && (next === heading || !/^H[123]$/.test(next.tagName)); next = next.nextElementSibling)
      next.hidden = !shown.problem.has(problem);
  }
  drawCharts();
}
function swatch({colour, dash}) {  // of a contender's look, as figures draw it
  const line = make("svg", {class: "swatch", width: 22, height: 8, "aria-hidden": "true"});
  line.append(make("line", {x1: 0, x2: 22, y1: 4, y2: 4, stroke: colour, "stroke-width": 2.5, "stroke-dasharray": dash}));
  return line;
}
function swatches(cell) {  // one for each look that it has: its contenders of several sweeps have one each
  const looks = Object.entries(DATA.looks).filter(([name]) => DATA.contenders[name].cell === cell).map(([, look]) => look);
  return looks.filter((look, i) => looks.findIndex(each => each.colour === look.colour && each.dash === look.dash) === i).map(swatch);
}
function makeFilters() {
  const form = document.getElementById("filters");
  for (const [axis, names] of Object.entries(AXES)) {
    if (names.length < 2) continue;
    const many = names.length > FEW, row = make(many ? "details" : "div");
    const count = make("span"), boxes = names.map(() => make("input", {type: "checkbox", checked: ""}));
    const change = () => {
      count.textContent = many ? `${shown[axis].size} of ${names.length}` : "";
      filter();
    };
    const all = on => () => {
      boxes.forEach(box => { box.checked = on; });
      shown[axis] = new Set(on ? names : []);
      change();
    };
    row.append(make(many ? "summary" : "span", {}, make("b", {}, axis), count));
    for (const [said, on] of many ? [["All", true], ["None", false]] : []) {
      const button = make("button", {type: "button"}, said);
      button.addEventListener("click", all(on));
      row.append(button, " ");
    }
    names.forEach((name, i) => {
      boxes[i].addEventListener("change", () => { shown[axis][boxes[i].checked ? "add" : "delete"](name); change(); });
      row.append(make("label", {}, boxes[i], ...(axis === "cell" ? swatches(name) : []), ` ${name}`));
    });
    count.textContent = many ? `${names.length} of ${names.length}` : "";
    form.append(row);
    form.hidden = false;
  }
}

// Charts: held-out loss over training steps, with hover and zoom.
const tick = value => value >= 1000 ? `${+(value / 1000).toPrecision(3)}k` : `${+value.toPrecision(3)}`;
function chart(title, lines, baseline, beside = lines, width = innerWidth < 700 ? NARROW : WIDE) {  // drawn to the scale of those beside
  const tip = make("div", {class: "tip"}, "Drag to zoom, double-click to reset.");
  const named = lines.length > FEW ? [] : lines.filter(line => line.name);
  const caption = make("figcaption", {}, title, ...named.flatMap(line => [" ", swatch(line), ` ${line.name}`]));
  const svg = make("svg", {viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": title});
  const end = Math.max(...beside.flatMap(line => line.step));
  let range = [0, end], from = null, front = null;
  const values = beside.flatMap(line => line.middle).filter(value => value > 0);
  const high = Math.log10(Math.max(...values)) + .1;
  const low = Math.max(Math.log10(Math.min(...values)) - .1, high - 5);
  const x = step => LEFT + (step - range[0]) / (range[1] - range[0]) * (width - LEFT - 8);
  const y = value => TOP + (high - Math.max(Math.log10(Math.max(value, 1e-30)), low)) / (high - low) * (HEIGHT - BOTTOM - TOP);
  const path = (steps, values) => steps.map((step, i) => `${i ? "L" : "M"}${x(step).toFixed(1)} ${y(values[i]).toFixed(1)}`).join("");
  function draw() {
    svg.replaceChildren();
    const inside = make("svg", {x: LEFT, y: 0, width: width - LEFT - 8, height: HEIGHT - BOTTOM + 1,
      viewBox: `${LEFT} 0 ${width - LEFT - 8} ${HEIGHT - BOTTOM + 1}`});
    for (let power = Math.ceil(low); power <= high; power++) {
      svg.append(make("line", {class: "grid", x1: LEFT, x2: width - 8, y1: y(10 ** power), y2: y(10 ** power)}),
        make("text", {x: LEFT - 5, y: y(10 ** power) + 4, "text-anchor": "end"}, `${+(10 ** power).toPrecision(1)}`));
    }
    for (let i = 0; i <= 4; i++) {
      const step = range[0] + i / 4 * (range[1] - range[0]);
      svg.append(make("text", {x: x(step), y: HEIGHT - BOTTOM + 16, "text-anchor": i === 4 ? "end" : i ? "middle" : "start"}, tick(step)));
    }
    svg.append(make("text", {x: width - 8, y: HEIGHT - 4, "text-anchor": "end"}, "training steps"),
      make("text", {x: 4, y: 10}, "loss"));
    if (baseline && Math.log10(baseline) > low && Math.log10(baseline) < high)
      inside.append(make("line", {class: "baseline", x1: LEFT, x2: width - 8, y1: y(baseline), y2: y(baseline)}));
    const many = lines.length > FEW;
    for (const line of [...lines.filter(each => each !== front), ...(front ? [front] : [])]) {
      if (line.low && (!many || line === front)) inside.append(make("path", {d: `${path(line.step, line.high)}${path([...line.step]
        .reverse(), [...line.low].reverse()).replace("M", "L")}Z`, fill: line.colour, opacity: .15}));
      inside.append(make("path", {d: path(line.step, line.middle), fill: "none", stroke: line.colour, "stroke-dasharray": line.dash,
        "stroke-width": line === front ? 3 : many ? 1.2 : 1.8, opacity: many && front && line !== front ? .35 : 1}));
    }
    svg.append(inside);
  }
  const place = event => {
    const box = svg.getBoundingClientRect(), at = (event.clientX - box.left) / box.width * width;
    const step = range[0] + (at - LEFT) / (width - LEFT - 8) * (range[1] - range[0]);
    return [Math.min(range[1], Math.max(range[0], step)), (event.clientY - box.top) / box.height * HEIGHT];
  };
  svg.addEventListener("pointermove", event => {
    const [at, height] = place(event);
    const read = lines.map(line => [line, line.middle[line.step.findLastIndex(each => each <= at)]]).filter(([, value]) => value !== undefined);
    read.sort(([, a], [, b]) => Math.abs(y(a) - height) - Math.abs(y(b) - height));
    front = lines.length > 1 ? read[0]?.[0] ?? null : null;
    const said = new Set(read.slice(0, lines.length > FEW ? NEAREST : FEW).map(([line]) => line));
    const listed = lines.flatMap(line => read.filter(([each]) => each === line && said.has(line)));  // in the legend's order
    tip.textContent = `step ${Math.round(at).toLocaleString("en")}: ` + listed
      .map(([line, value]) => `${line === front ? "▸" : ""}${line.name} ${value.toPrecision(2)}`).join(" · ");
    draw();
  });
  svg.addEventListener("pointerleave", () => { front = null; draw(); });
  svg.addEventListener("pointerdown", event => { [from] = place(event); });
  svg.addEventListener("pointerup", event => {
    const [to] = place(event);
    if (from !== null && Math.abs(to - from) > .03 * (range[1] - range[0])) range = [Math.min(from, to), Math.max(from, to)];
    from = null;
    draw();
  });
  svg.addEventListener("dblclick", () => { range = [0, end]; draw(); });
  draw();
  return make("figure", {}, caption, svg, tip);
}
function drawCharts() {
  const place = document.getElementById("charts");
  if (!place) return;
  place.replaceChildren();
  for (const [problem, sweeps] of Object.entries(DATA.curves)) {
    if (!shown.problem.has(DATA.problems[problem]?.problem ?? problem)) continue;
    const kept = Object.entries(sweeps).filter(([sweep]) => shown.sweep.has(sweep)).map(([sweep, lines]) => [sweep,
      lines.map(line => ({...line, ...DATA.looks[line.name], name: DATA.contenders[line.name].cell})).filter(line => shown.cell.has(line.name))]).filter(([, lines]) => lines.length);
    const all = kept.flatMap(([, lines]) => lines), several = AXES.sweep.length > 1;
    place.append(make("div", {class: "beside"}, ...kept.map(([sweep, lines]) =>
      chart(several ? `${problem}, sweep ${sweep}` : problem, lines, DATA.baselines[problem], all, kept.length > 1 ? NARROW : undefined))));
  }
}

// Runs: each opens with what it was, how it went, and the command that repeats it.
function makeRuns() {
  const table = document.querySelector("#runs table");
  if (!table) return;
  [...table.tBodies[0].rows].forEach((row, i) => {
    row.tabIndex = 0;
    row.addEventListener("click", () => open(DATA.runs[i]));
    row.addEventListener("keydown", event => { if (event.key === "Enter") open(DATA.runs[i]); });
  });
}
function open(run) {
  const dialog = document.getElementById("run");
  const close = make("button", {}, "Close");
  close.addEventListener("click", () => dialog.close());
  const list = pairs => make("table", {}, make("tbody", {}, ...Object.entries(pairs).map(([name, value]) =>
    make("tr", {}, make("td", {}, name), make("td", {}, `${value}`)))));
  dialog.replaceChildren(close, make("h3", {}, run.run), list(run.outcome));
  if (run.loss) dialog.append(chart("held-out loss; dotted: without memory", [{name: "", colour: "#0173b2", dash: "", ...run.loss}], run.baseline));
  if (run.command) dialog.append(copied(make("pre", {}, make("code", {}, run.command))));
  dialog.append(list(run.settings));
  dialog.showModal();
}

// Commands are copied by a button.
function copied(block) {
  const code = block.querySelector("code"), button = make("button", {type: "button"}, "Copy");
  button.addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(code.textContent.trim()); } catch {
      const all = document.createRange();
      all.selectNodeContents(code);
      getSelection().removeAllRanges();
      getSelection().addRange(all);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  block.append(button);
  return block;
}

if (matchMedia("(max-width: 60rem)").matches) document.querySelector("nav details").open = false;
addEventListener("beforeprint", () => document.querySelectorAll("main details").forEach(each => { each.open = true; }));
addEventListener("hashchange", () => {  // what a link leads to is shown
  const target = document.getElementById(location.hash.slice(1));
  const folded = target?.closest("details");
  if (folded) { folded.open = true; target.scrollIntoView(); }
});
document.querySelectorAll(".frame").forEach(equip);
document.querySelectorAll("pre").forEach(copied);
makeFilters();
makeRuns();
drawCharts();
