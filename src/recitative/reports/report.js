// What the page does beyond standing there: tables that sort, marks that tell their numbers, series
// that can be hidden. Everything is readable without it.
"use strict";

// --- tables: a press on a heading sorts the rows of each group by that column ----------------------
function value(row, column) {
  const cell = row.cells[column];
  const text = (cell ? cell.dataset.value || cell.textContent : "").trim().replace(/−/g, "-").replace(/,/g, "");
  const number = parseFloat(text.replace(/^[<[]\s*/, ""));
  return Number.isNaN(number) ? text.toLowerCase() : number;
}

function compare(a, b) {
  if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
  return typeof a === "number" ? -1 : 1; // text after numbers
}

function sort(table, heading) {
  const up = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", up ? "ascending" : "descending");
  const column = heading.cellIndex;
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter((row) => !row.querySelector("[scope=rowgroup]"));
    rows.sort((a, b) => (up ? 1 : -1) * compare(value(a, column), value(b, column)));
    body.append(...rows);
  }
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const heading of table.tHead.rows[table.tHead.rows.length - 1].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => sort(table, heading));
  }
}

// --- marks: what a screen reader hears is what a pointer or the keyboard shows ---------------------
const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
document.body.append(tip);

function show(mark) {
  tip.textContent = mark.getAttribute("aria-label");
  tip.hidden = false;
  const box = mark.getBoundingClientRect();
  const x = box.left + box.width / 2 - tip.offsetWidth / 2;
  const left = Math.min(Math.max(8, x), document.documentElement.clientWidth - tip.offsetWidth - 8);
  const above = box.top - tip.offsetHeight - 6;
  tip.style.left = `${left + window.scrollX}px`;
  tip.style.top = `${(above > 4 ? above : box.bottom + 6) + window.scrollY}px`;
}

for (const mark of document.querySelectorAll("svg [role=img][aria-label], svg[role=img][aria-label]")) {
  mark.setAttribute("tabindex", "0");
  for (const name of ["pointerenter", "focus"]) mark.addEventListener(name, () => show(mark));
  for (const name of ["pointerleave", "blur"]) mark.addEventListener(name, () => (tip.hidden = true));
}
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") tip.hidden = true;
});

// --- series: a press on a legend's entry hides and shows its lines ---------------------------------
for (const button of document.querySelectorAll("button[data-series]")) {
  button.addEventListener("click", () => {
    const shown = button.getAttribute("aria-pressed") === "true";
    button.setAttribute("aria-pressed", String(!shown));
    for (const line of document.querySelectorAll(`g[data-series="${button.dataset.series}"]`)) {
      line.style.display = shown ? "none" : "";
    }
  });
}
