// Settings of the server.

import { call } from "../api.js";
import { fill, h } from "../dom.js";
import * as notices from "../notices.js";
import { field, form, head } from "../parts.js";
import * as dialog from "../dialog.js";
import { plural } from "../format.js";

/** A whole number from a field, or null after saying what is wrong. */
function whole(one, most) {
  const number = Number(one.control.value);
  const good = one.control.value.trim() !== "" && Number.isInteger(number) && number >= 0 && number <= most;
  one.complain(good ? "" : `A whole number from 0 to ${most}.`);
  return good ? number : null;
}

export async function show(root, { signal }) {
  let now = await call("GET", "/settings", { signal });
  const days = (value) => h("input", { type: "number", class: "number", min: 0, step: 1, value });
  const notice = field("Warn before a license or certificate ends (days)", days(now.notice_days), "The dashboard and the log warn so many days before. 0: never.");
  const keep = field("Keep history (days)", days(now.keep_history_days), "Older rows are deleted. 0: keep for ever.");
  const save = async (wanted) => {
    now = await call("PUT", "/settings", { json: wanted, signal });
    notices.done("The settings are saved.");
  };
  const submit = async () => {
    const notice_days = whole(notice, 365);
    const keep_history_days = notice_days === null ? null : whole(keep, 36_500);
    if (notice_days === null || keep_history_days === null) return;
    const wanted = { ...now, notice_days, keep_history_days };
    const shorter = keep_history_days > 0 && (now.keep_history_days === 0 || keep_history_days < now.keep_history_days);
    if (!shorter) return void await save(wanted);
    dialog.confirm("Keep less history?", `Rows older than ${plural(keep_history_days, "day")} are deleted now and from now on. This cannot be undone: download the history first if you need it.`, "Delete old rows", () => save(wanted));
  };
  fill(root, head("Settings", "They hold for this server and take effect at once."),
    h("div", { class: "card narrow" }, form([notice, keep], [h("button", { type: "submit", class: "button primary", "data-focus": "save" }, "Save")], submit)));
}
