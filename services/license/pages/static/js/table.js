// Tables of rows of the server.

import { fill, h, keepingFocus } from "./dom.js";

/**
 * A table; `columns`: `{name, cell(row), kind}`, kind "head" (the row's name), "text" (long),
 * "number" or "actions".
 * What is returned has `.show(rows, none)`: `none` stands for no rows. Roles are named because narrow
 * screens lay rows out as blocks, which makes browsers forget that they are a table.
 */
export function table(caption, columns) {
  const body = h("tbody", { role: "rowgroup" });
  const grid = h("table", { class: "stacks", role: "table" }, h("caption", { class: "visually-hidden" }, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, columns.map((column) => h("th", { scope: "col", role: "columnheader", class: column.kind === "number" ? "number" : "" },
      column.kind === "actions" ? h("span", { class: "visually-hidden" }, column.name) : column.name)))), body);
  const wrap = h("div", { class: "table-wrap" }, grid);
  wrap.show = (rows, none) => keepingFocus(wrap, () => {
    fill(body, rows.map((row) => h("tr", { role: "row" }, columns.map((column) => cell(column, row)))));
    fill(wrap, rows.length > 0 ? grid : none);
  });
  return wrap;
}

function cell(column, row) {
  const content = column.cell(row);
  if (column.kind === "head") return h("th", { scope: "row", role: "rowheader", class: column.plain && "plain" }, content);
  if (column.kind === "actions") return h("td", { class: "actions-cell", role: "cell" }, h("div", { class: "actions" }, content));
  // the grid of narrow screens lays out children of the cell: one
  return h("td", { "data-label": column.name, role: "cell", class: column.kind }, h("div", {}, content));
}
