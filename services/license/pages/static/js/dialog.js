// Dialogs on the browser's own element: it holds the focus, Escape closes it, the focus returns.

import { h, fill } from "./dom.js";
import { button, form, message } from "./parts.js";

let serial = 0;

function open(title, body, foot, { wide = false } = {}) {
  serial += 1;
  const id = `dialog-${serial}`;
  const opener = document.activeElement?.dataset?.focus;
  const dialog = h("dialog", { "aria-labelledby": id, class: wide ? "wide" : "" },
    h("div", { class: "dialog-body" }, h("h2", { id }, title), body), foot && h("div", { class: "dialog-foot" }, foot));
  dialog.addEventListener("close", () => {
    dialog.remove();
    const again = opener && [...document.querySelectorAll("[data-focus]")].find((one) => one.dataset.focus === opener);
    again?.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Closes what is open: the page below has changed. */
export function closeAll() {
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
}

/** Shows something, with a Close button. */
export function show(title, body, { onclose } = {}) {
  const dialog = open(title, body, button("Close", { autofocus: true, onclick: () => dialog.close() }), { wide: true });
  if (onclose) dialog.addEventListener("close", onclose);
  return dialog;
}

/** Asks before something is done that cannot be undone; `act` runs on "yes", its error is shown. */
export function confirm(title, text, verb, act, { danger = true } = {}) {
  const trouble = h("div", {});
  const yes = button(verb, { class: `button ${danger ? "danger" : "primary"}`, onclick: run });
  const dialog = open(title, [[text].flat().map((line) => h("p", {}, line)), trouble],
    [button("Cancel", { autofocus: true, onclick: () => dialog.close() }), yes]);

  async function run() {
    yes.disabled = true;
    try {
      await act();
      dialog.close();
    } catch (error) {
      fill(trouble, message("bad", "", h("span", {}, error.message)));
      yes.disabled = false;
    }
  }
  return dialog;
}

/** A form in a dialog; it closes after `submit`, which may throw. */
export function ask(title, fields, verb, submit) {
  const cancel = button("Cancel", { onclick: () => dialog.close() });
  const body = form(fields, [h("button", { class: "button primary", type: "submit" }, verb), cancel], async () => {
    if (await submit() !== false) dialog.close();
  });
  const dialog = open(title, body, null);
  return dialog;
}
