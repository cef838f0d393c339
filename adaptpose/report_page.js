"use strict";
// Tables that can be sorted by their heads and filtered by the words of their columns.

function cellKey(row, column) {
  const cell = row.cells[column];
  return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
}

function compareKeys(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  return a.localeCompare(b, undefined, { numeric: true });
}

function makeSortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => compareKeys(cellKey(a, column), cellKey(b, column)) * (up ? 1 : -1));
      table.tBodies[0].append(...rows);
    });
  });
}

function makeFilterable(table) {
  const rows = [...table.tBodies[0].rows];
  const bar = document.createElement("div");
  bar.className = "filters";
  const filters = [];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const name = head.textContent.trim();
    const words = [...new Set(rows.map((row) => row.cells[column].textContent.trim()))];
    if (head.classList.contains("number") || name === "unit" || words.length < 2) return;
    const select = document.createElement("select");
    for (const word of ["all", ...words]) select.append(new Option(word, word === "all" ? "" : word));
    if (name === "variant" || name === "metric") select.value = words[0];
    const label = document.createElement("label");
    label.append(`${name} `, select);
    bar.append(label);
    filters.push({ column, select });
  });
  const apply = () => {
    for (const row of rows) {
      row.hidden = filters.some(({ column, select }) =>
        select.value && row.cells[column].textContent.trim() !== select.value);
    }
  };
  filters.forEach(({ select }) => select.addEventListener("change", apply));
  table.closest(".scroll").before(bar);
  apply();
}

for (const table of document.querySelectorAll("table.filterable")) makeFilterable(table);
for (const table of document.querySelectorAll("table.sortable")) makeSortable(table);
