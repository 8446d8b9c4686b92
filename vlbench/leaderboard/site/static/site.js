// Sorting and filtering. Without it every page still shows all it has.
"use strict";

document.documentElement.classList.add("js");

const MOST = 200; // rows of a table that are laid out before a click on "Show more"

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
  return keyed.map((entry) => entry.row);
}

/** Sorts a table by a column; floors stay in their own part at the end. */
function sortTable(table, heads, column) {
  const head = heads[column];
  const opposite = { ascending: "descending", descending: "ascending" };
  const direction = opposite[head.getAttribute("aria-sort")] || head.dataset.first;
  for (const other of heads) other.removeAttribute("aria-sort");
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
    const onlyComplete = field("complete").checked;
    const hidesFloors = field("floors").checked;
    const matches = (row, data) => words.every((word) => data.name.includes(word))
      && (!technique || data.technique === technique)
      && (!sharing || data.sharing === sharing)
      && (!onlyComplete || "complete" in data)
      && !(hidesFloors && row.classList.contains("floor"));
    let total = 0, left = 0, beyond = 0;
    for (const body of table.tBodies) {
      let matching = 0;
      for (const row of body.rows) {
        const fits = matches(row, row.dataset);
        const isShown = fits && ++matching <= most;
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
  controls.addEventListener("input", apply);
  controls.hidden = false;
  apply();
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
  openTarget();
  addEventListener("hashchange", openTarget);
});
