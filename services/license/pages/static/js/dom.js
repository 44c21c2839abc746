// Elements, made without markup: what a server or a certificate says only ever becomes text.

const SVG = "http://www.w3.org/2000/svg";

/** An element. `props`: attributes; `on*` functions are listeners; false, null and undefined are left out. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === false || value === null || value === undefined) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...flat(children));
  return element;
}

/** Replaces all that `parent` holds. */
export function fill(parent, ...children) {
  parent.replaceChildren(...flat(children));
  return parent;
}

function flat(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child))));
}

const SHAPES = {
  dashboard: ["M3 3h6v8H3z", "M11 3h6v4h-6z", "M11 9h6v8h-6z", "M3 13h6v4H3z"],
  leases: ["M10 2.5a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15z", "M10 6v4.2l2.8 1.8"],
  licenses: ["M4.5 2.5h8l3 3v12h-11z", "M7.5 9h5", "M7.5 12.5h5"],
  install: ["M10 3v9", "M6.5 8.5 10 12l3.5-3.5", "M3.5 13v3.5h13V13"],
  history: ["M3 4.5h14", "M3 10h14", "M3 15.5h9"],
  users: ["M7.5 9.5a3 3 0 1 0 0-6 3 3 0 0 0 0 6z", "M2 16.5c0-3 2.4-4.8 5.5-4.8s5.5 1.8 5.5 4.8", "M13 4a3 3 0 0 1 0 5.3", "M15 12.2c1.9.7 3 2.2 3 4.3"],
  settings: ["M3 6h8", "M15 6h2", "M13 4v4", "M3 14h2", "M9 14h8", "M7 12v4"],
  about: ["M10 2.5a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15z", "M10 9v4.5", "M10 6.2v.2"],
  account: ["M10 9.5a3.3 3.3 0 1 0 0-6.6 3.3 3.3 0 0 0 0 6.6z", "M3.5 17c.4-3.3 3-5 6.5-5s6.1 1.7 6.5 5"],
  good: ["M10 2.5a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15z", "M6.8 10.2 9 12.4l4.2-4.6"],
  warn: ["M10 3 2.5 16.5h15z", "M10 8v4", "M10 14.2v.2"],
  bad: ["M10 2.5a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15z", "M7.5 7.5l5 5", "M12.5 7.5l-5 5"],
  close: ["M5 5l10 10", "M15 5 5 15"],
  copy: ["M7 7h9v9H7z", "M13 7V4H4v9h3"],
  empty: ["M3 12l2.5-8h9L17 12v4.5H3z", "M3 12h4l1 2h4l1-2h4"],
};

/** A small drawing beside a text; it says nothing by itself. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  for (const shape of SHAPES[name]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", shape);
    svg.append(path);
  }
  return svg;
}

/** Runs `change`, then gives the focus back to the element with the same `data-focus` key. */
export function keepingFocus(container, change) {
  const key = container.contains(document.activeElement) ? document.activeElement.dataset.focus : undefined;
  change();
  if (key === undefined) return;
  const again = [...container.querySelectorAll("[data-focus]")].find((element) => element.dataset.focus === key);
  again?.focus({ preventScroll: true });
}
