// Parts that several pages show: heads, messages, empty and loading states, fields, copy buttons.

import { h, icon, fill } from "./dom.js";

export function head(title, lead = "", actions = []) {
  return h("header", { class: "page-head" },
    h("div", {}, h("h1", { tabindex: "-1" }, title), lead && h("p", { class: "lead" }, lead)),
    actions.length > 0 && h("div", { class: "actions" }, actions));
}

/** `kind`: good, warn, bad or about. */
export function message(kind, title, ...more) {
  return h("div", { class: `message ${kind}`, role: kind === "bad" ? "alert" : null },
    icon(kind), h("div", { class: "text" }, title && h("strong", {}, title), more));
}

export function loading(text = "Loading…") {
  return h("p", { class: "loading", role: "status" }, text);
}

export function empty(title, text, ...actions) {
  return h("div", { class: "empty" }, icon("empty"), h("strong", {}, title), text && h("p", {}, text), actions);
}

/** Why there is nothing to show, and a button that tries again. */
export function failed(error, again) {
  return message("bad", "This could not be loaded", h("span", {}, error.message),
    again && h("div", { class: "actions" }, button("Try again", { onclick: again })));
}

export function button(text, props = {}) {
  return h("button", { type: "button", class: "button", ...props }, text);
}

export function link(text, href, kind = "") {
  return h("a", { class: `button ${kind}`, href }, text);
}

let serial = 0;
/** A label, its control and a hint or an error below; `.control` and `.complain(text)` on what is returned. */
export function field(label, control, hint = "") {
  serial += 1;
  control.id = `f${serial}`;
  const hintId = `f${serial}-hint`, errorId = `f${serial}-error`;
  const error = h("span", { class: "field-error", id: errorId, hidden: true });
  control.setAttribute("aria-describedby", `${hint ? `${hintId} ` : ""}${errorId}`);
  const box = h("div", { class: "field" }, h("label", { for: control.id }, label), control,
    hint && h("span", { class: "hint", id: hintId }, hint), error);
  box.control = control;
  box.complain = (text) => {
    fill(error, text);
    error.hidden = !text;
    control.setAttribute("aria-invalid", text ? "true" : "false");
    if (text) control.focus();
    return !text;
  };
  return box;
}

export function select(options, value, props = {}) {
  const element = h("select", props, options.map(([key, text]) => h("option", { value: key }, text)));
  element.value = value;
  return element;
}

/** A value with a button that copies it. */
export function copyable(value, what) {
  const say = h("span", { class: "muted small", role: "status" });
  const copy = button([icon("copy"), "Copy"], {
    class: "button small", "aria-label": `Copy ${what}`,
    onclick: async () => fill(say, await toClipboard(value) ? "Copied" : "Select the text and copy it"),
  });
  return h("div", { class: "copy" }, h("code", {}, value), copy, say);
}

async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // the browser or its user said no
  }
}

/** A form: `submit` runs once at a time; what it throws is shown above the buttons. */
export function form(fields, buttons, submit, props = {}) {
  const trouble = h("div", {});
  const element = h("form", { class: "fields", novalidate: true, ...props }, fields, trouble, h("div", { class: "actions" }, buttons));
  element.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (element.dataset.busy) return;
    element.dataset.busy = "yes";
    fill(trouble);
    try {
      await submit();
    } catch (error) {
      if (error.name !== "AbortError") fill(trouble, message("bad", "", h("span", {}, error.message)));
    } finally {
      delete element.dataset.busy;
    }
  });
  return element;
}
