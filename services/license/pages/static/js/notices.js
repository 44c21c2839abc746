// Short messages at the edge of the page: what was done, what failed.

import { h, icon } from "./dom.js";
import { message } from "./parts.js";

const SHOWN_MS = 8000;

function show(kind, text, ms) {
  const notice = message(kind, "", h("span", {}, text));
  notice.append(h("button", { type: "button", class: "icon-button", "aria-label": "Close this message", onclick: () => notice.remove() }, icon("close")));
  document.getElementById("notices").append(notice);
  if (ms) setTimeout(() => notice.remove(), ms);
}

export const done = (text) => show("good", text, SHOWN_MS);
/** Stays until it is closed. */
export const trouble = (text) => show("bad", text, 0);
export function clear() {
  document.getElementById("notices").replaceChildren();
}
