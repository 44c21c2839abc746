// What happened: filters, pages, file.

import { call, download, query } from "../api.js";
import { fill, h } from "../dom.js";
import { actor, exact, fromField, plural } from "../format.js";
import { button, empty, failed, field, head, link, loading, select } from "../parts.js";
import { address, go } from "../router.js";
import { isAdministrator } from "../session.js";
import { table } from "../table.js";

const PAGE = 50;
const KINDS = {
  granted: ["good", "Granted"], "taken-over": ["accent", "Taken over"], released: ["", "Released"], expired: ["warn", "Expired"],
  revoked: ["bad", "Revoked"], installed: ["good", "License installed"], removed: ["bad", "License deleted"], archived: ["warn", "License archived"], restored: ["accent", "License restored"],
  "settings-changed": ["accent", "Settings changed"], "history-purged": ["warn", "History purged"],
  "clock-set-back": ["bad", "Clock set back"], "clock-changed": ["warn", "Clock changed"], "clock-repaired": ["good", "Clock repaired"],
};
/** Only administrators see these. */
const OF_USERS = {
  "set-up": ["accent", "Set up"], "signed-in": ["", "Signed in"], "sign-in-failed": ["warn", "Sign-in failed"], "signed-out": ["", "Signed out"],
  "password-changed": ["", "Password changed"], "password-reset": ["warn", "Password reset"],
  "user-added": ["accent", "User added"], "user-changed": ["accent", "User changed"], "user-removed": ["bad", "User removed"],
};

/** "signed-in" -> "Signed in". */
function words(kind_) {
  const text = kind_.replaceAll("-", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function kind(row) {
  const [look, text] = KINDS[row.kind] ?? OF_USERS[row.kind] ?? ["", words(row.kind)];
  return h("span", { class: `badge ${look}` }, text);
}

/** Of whom or what: the note for people, then the uid or serial, which may be cut but not lost. */
function of(row) {
  const id = row.uid || row.lease_id;
  if (!row.uid && !row.note) return h("span", { class: "mono" }, id || "–");
  return [row.note, id && h("span", { class: `mono short ${row.note ? "sub" : ""}`, title: id }, id)];
}

function columns(names) {
  return [
    { name: "Time", kind: "head", plain: true, cell: (row) => h("span", { class: "number" }, exact(row.time)) },
    { name: "Event", cell: kind },
    { name: "Feature", cell: (row) => (row.feature ? [names.get(row.feature) ?? row.feature, h("span", { class: "sub mono" }, row.feature)] : "–") },
    { name: "Of", kind: "text", cell: (row) => of(row) },
    { name: "By", kind: "text", cell: (row) => actor(row.common_name) },
    { name: "No.", kind: "number", cell: (row) => h("span", { title: `hash ${row.hash}` }, row.seq) },
  ];
}

const FIELDS = ["from", "to", "feature", "kind", "text"];

/** The filters as the server takes them. */
function asked(params) {
  const given = Object.fromEntries(FIELDS.map((key) => [key, params.get(key) ?? ""]));
  const to = fromField(given.to);
  return { ...given, from: fromField(given.from), to: to === "" ? "" : to + 59, order: params.get("order") === "asc" ? "asc" : "desc" };
}

function filters(params, names) {
  const value = (key) => params.get(key) ?? "";
  const controls = {
    from: h("input", { type: "datetime-local", value: value("from") }),
    to: h("input", { type: "datetime-local", value: value("to") }),
    feature: select([["", "All features"], ...names], value("feature")),
    kind: select([["", "All events"], ...Object.entries({ ...KINDS, ...(isAdministrator() ? OF_USERS : {}) }).map(([key, [, text]]) => [key, text])], value("kind")),
    text: h("input", { type: "search", value: value("text"), placeholder: "Host, certificate, serial…" }),
    order: select([["", "Newest first"], ["asc", "Oldest first"]], value("order")),
  };
  const form = h("form", { class: "filters", role: "search" }, field("From", controls.from), field("To", controls.to), field("Feature", controls.feature),
    field("Event", controls.kind), field("Search", controls.text), field("Order", controls.order),
    h("div", { class: "actions" }, h("button", { type: "submit", class: "button primary" }, "Apply"), link("Clear", address("history"))));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go(address("history", Object.fromEntries(Object.entries(controls).map(([key, control]) => [key, control.value.trim()]))));
  });
  return form;
}

export async function show(root, { params, signal }) {
  const features = await call("GET", "/features", { signal });
  const names = new Map(features.map((one) => [one.feature, one.name]));
  const wanted = asked(params);
  const place = Object.fromEntries([...params].filter(([key]) => key !== "after"));
  const rows = h("div", {}, loading());
  const foot = h("div", { class: "table-foot" });
  const file = h("a", { class: "button", href: download("/history.csv", wanted), download: "history.csv" }, "Download CSV");
  fill(root, head("History", "Every lease and every change of licenses, in rows that are chained by their hashes.", [file]),
    h("div", { class: "card flush" }, filters(params, names), rows, foot));
  const load = async () => {
    try {
      const found = await call("GET", query("/history", { ...wanted, after: params.get("after") ?? "", limit: PAGE + 1 }), { signal });
      const shown = found.slice(0, PAGE);
      const grid = table("History", columns(names));
      grid.show(shown, empty("Nothing here", "No event matches.", link("Clear the filters", address("history"))));
      fill(rows, grid);
      const more = found.length > PAGE;
      const first = wanted.order === "asc" ? "Oldest" : "Newest";
      fill(foot, h("span", { class: "muted small", role: "status" }, `${plural(shown.length, "row")} on this page`), h("div", { class: "actions" },
        params.get("after") && link(first, address("history", place)),
        more && link(wanted.order === "asc" ? "Later" : "Older", address("history", { ...place, after: shown.at(-1).seq }))));
    } catch (error) {
      if (error.name !== "AbortError") fill(rows, failed(error, load));
    }
  };
  await load();
}
