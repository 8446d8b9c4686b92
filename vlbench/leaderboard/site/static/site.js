// Sorting, filtering and the charts. Without it every page still shows all it has.
"use strict";

document.documentElement.classList.add("js");

const MOST = 200; // rows of a table that are laid out until all are asked for

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/** What a row is sorted by in a column: a number where the cell has one, else its text. */
function sortKey(row, column) {
  const cell = row.cells[column];
  if (!cell.classList.contains("n")) return cell.textContent.trim();
  return "v" in cell.dataset ? Number(cell.dataset.v) : null;
}

/** Orders rows by a column; empty cells come last either way. */
function ordered(rows, column, direction) {
  const sign = direction === "ascending" ? 1 : -1;
  const keyed = rows.map((row, index) => ({ row, index, key: sortKey(row, column) }));
  keyed.sort((a, b) => {
    if (a.key === null || b.key === null) return (a.key === null) - (b.key === null) || a.index - b.index;
    const difference = typeof a.key === "number" ? a.key - b.key : collator.compare(a.key, b.key);
    return sign * difference || a.index - b.index;
  });
  return keyed.map((each) => each.row);
}

/** Sorts a table by a column; floors stay in their own part at the end. */
function sortTable(table, heads, column) {
  const head = heads[column];
  const other = { ascending: "descending", descending: "ascending" };
  const direction = other[head.getAttribute("aria-sort")] || head.dataset.first;
  for (const each of heads) each.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", direction);
  for (const body of table.tBodies) {
    const rows = ordered([...body.rows], column, direction);
    const fragment = document.createDocumentFragment();
    fragment.append(...rows);
    body.append(fragment);
  }
  table.dispatchEvent(new Event("sorted"));
}

/** Makes each head of a table a button that sorts by its column. */
function makeSortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortTable(table, heads, column));
    head.append(button);
  });
}

/** Shows the rows that the controls leave, the first of very many, and says how many. */
function makeFilters(controls) {
  const table = document.getElementById(controls.dataset.for);
  const field = (name) => controls.querySelector(`[data-filter="${name}"]`);
  const status = controls.querySelector("[role=status]");
  const empty = controls.parentElement.querySelector(".empty");
  const more = controls.parentElement.querySelector(".more");
  let most = MOST;
  const apply = () => {
    const words = field("name").value.toLowerCase().split(/\s+/).filter(Boolean);
    const technique = field("technique").value;
    const sharing = field("sharing").value;
    const wantsComplete = field("complete").checked;
    const hidesFloors = field("floors").checked;
    const isWanted = (row, data) => words.every((word) => data.name.includes(word))
      && (!technique || data.technique === technique)
      && (!sharing || data.sharing === sharing)
      && (!wantsComplete || "complete" in data)
      && !(hidesFloors && row.classList.contains("floor"));
    let total = 0, left = 0, beyond = 0;
    for (const body of table.tBodies) {
      let found = 0;
      for (const row of body.rows) {
        const fits = isWanted(row, row.dataset);
        const isShown = fits && ++found <= most;
        if (row.hidden === isShown) row.hidden = !isShown;
        total += 1;
        left += fits;
        beyond += fits && !isShown;
      }
    }
    status.textContent = left === total ? `${total} rows` : `${left} of ${total} rows`;
    empty.hidden = left > 0;
    more.hidden = beyond === 0;
    more.textContent = `Show ${beyond} more rows`;
  };
  more.addEventListener("click", () => { most = Infinity; apply(); });
  table.addEventListener("sorted", apply);
  const costs = controls.querySelector("[data-show=costs]");
  const showCosts = () => table.classList.toggle("hide-costs", !costs.checked);
  controls.addEventListener("input", (event) => (event.target === costs ? showCosts() : apply()));
  controls.hidden = false;
  showCosts();
  apply();
}

/** A chart's axis can be chosen; its points tell what they are to pointer and keyboard. */
function makeChart(figure) {
  const marks = [...figure.querySelectorAll(".mark")].map((node) => ({
    node,
    y: node.dataset.y,
    xs: node.dataset.x.split(" ").slice(0, -1),
    fronts: node.dataset.front.split(" "),
    lines: node.querySelector("title").textContent.split("\n"),
  }));
  for (const mark of marks) mark.node.querySelector("title").remove(); // else the browser tells it too
  let shown = marks;
  const select = figure.querySelector("[data-axis]");
  const choose = () => {
    const at = Number(select.value);
    for (const axis of figure.querySelectorAll("[data-axis-of]")) {
      axis.classList.toggle("off", Number(axis.dataset.axisOf) !== at);
    }
    for (const { node, y, xs, fronts } of marks) {
      node.classList.toggle("off", xs[at] === "");
      node.classList.toggle("front", fronts[at] === "1");
      node.setAttribute("transform", `translate(${xs[at] || 0} ${y})`);
    }
    shown = marks.filter(({ xs }) => xs[at] !== "").sort((a, b) => a.xs[at] - b.xs[at]);
    setStop(shown[0]);
  };
  const setStop = (stop) => {
    for (const { node } of marks) node.setAttribute("tabindex", stop && node === stop.node ? "0" : "-1");
  };
  select.addEventListener("change", choose);
  figure.querySelector(".pick").hidden = false;
  choose();
  makeTips(figure, marks);
  figure.querySelector(".marks").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    const at = shown.findIndex(({ node }) => node === document.activeElement);
    if (!step || at < 0) return;
    event.preventDefault();
    const next = shown[(at + step + shown.length) % shown.length];
    setStop(next);
    next.node.focus();
  });
}

/** A box beside the point that is pointed at or focused; Escape closes it. */
function makeTips(figure, marks) {
  const tip = figure.querySelector(".tip");
  const hide = () => { tip.hidden = true; };
  const show = ({ node, lines }) => {
    const name = document.createElement("strong");
    name.textContent = lines[0];
    tip.replaceChildren(name);
    for (const line of lines.slice(1)) {
      const row = document.createElement("div");
      row.textContent = line;
      tip.append(row);
    }
    tip.hidden = false;
    const box = figure.getBoundingClientRect();
    const point = node.querySelector(".shape").getBoundingClientRect();
    const right = point.right - box.left + 10;
    const isLeft = right + tip.offsetWidth > box.width;
    const left = isLeft ? point.left - box.left - tip.offsetWidth - 10 : right;
    const top = point.top - box.top + point.height / 2 - tip.offsetHeight / 2;
    tip.style.left = `${Math.max(0, Math.min(left, box.width - tip.offsetWidth))}px`;
    tip.style.top = `${Math.max(0, top)}px`;
  };
  for (const mark of marks) {
    mark.node.addEventListener("pointerenter", () => show(mark));
    mark.node.addEventListener("pointerleave", hide);
    mark.node.addEventListener("focus", () => show(mark));
    mark.node.addEventListener("blur", hide);
  }
  figure.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
}

/** Opens what an address leads into. */
function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const details = target && target.closest("details");
  if (details && !details.open) {
    details.open = true;
    target.scrollIntoView();
  }
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("table.main").forEach(makeSortable);
  document.querySelectorAll(".controls").forEach(makeFilters);
  document.querySelectorAll("[data-chart]").forEach(makeChart);
  openTarget();
  addEventListener("hashchange", openTarget);
});
