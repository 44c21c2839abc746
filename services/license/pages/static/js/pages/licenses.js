// Installed licenses: what they give, archive, restore, delete.

import { call, download } from "../api.js";
import * as dialog from "../dialog.js";
import { fill, h } from "../dom.js";
import { ago, count, day, endBadge, plural, stateBadge } from "../format.js";
import * as notices from "../notices.js";
import { button, empty, head, link, loading } from "../parts.js";
import { address, keepParams } from "../router.js";
import { mayChangeLicenses } from "../session.js";
import { table } from "../table.js";
import { terms } from "./install.js";

const TABS = [["", "All"], ["active", "Active"], ["future", "Not yet valid"], ["expired", "Expired"], ["archived", "Archived"]];
const units = (license) => Object.values(license.features).reduce((total, one) => total + one, 0);

function tabs(all, state) {
  const number = (key) => (key ? all.filter((one) => one.state === key).length : all.length);
  return h("nav", { class: "tabs", "aria-label": "State" }, TABS.map(([key, text]) => h("a",
    { href: address("licenses", { state: key }), "aria-current": key === state ? "true" : null, "data-focus": `tab ${key}` }, `${text} (${count(number(key))})`)));
}

function detail(license, serverId) {
  const features = table("Features of this license", [
    { name: "Feature", kind: "head", cell: ([id]) => [license.names?.[id] ?? "Feature", h("span", { class: "sub mono" }, id)] },
    { name: "Units", kind: "number", cell: ([, capacity]) => count(capacity) },
  ]);
  features.show(Object.entries(license.features), h("p", {}, "None"));
  const installed = h("p", { class: "muted" }, "Installed ", ago(license.installed_at), license.installed_by ? ` by ${license.installed_by.replace(/^user:/, "")}` : "");
  return [terms(license, serverId), installed, h("div", { class: "card flush" }, features)];
}

function actions(license, context) {
  const details = button("Details", { class: "button small", "data-focus": `details ${license.serial}`, "aria-label": `Details of ${license.serial}`, onclick: () => context.open(license) });
  if (!mayChangeLicenses()) return [details];
  const act = (verb, run) => button(verb, { class: `button small ${verb === "Delete" ? "danger" : ""}`, "data-focus": `${verb} ${license.serial}`, "aria-label": `${verb} ${license.serial}`, onclick: run });
  const path = `/licenses/${encodeURIComponent(license.serial)}`;
  const say = (text, call_) => async () => {
    await call_();
    notices.done(`License ${license.serial} ${text}.`);
    await context.load();
  };
  const remove = act("Delete", () => dialog.confirm(`Delete license ${license.serial}?`,
    [`Its ${plural(units(license), "unit")} are taken off this server. The server refuses this while nodes need them.`, "To have it again, its document must be installed again."],
    "Delete license", say("is deleted", () => call("DELETE", path))));
  if (license.state === "archived") {
    return [details, act("Restore", () => dialog.confirm(`Restore license ${license.serial}?`, "Its units count again, as far as its dates allow.",
      "Restore license", say("is restored", () => call("POST", `${path}/restore`)), { danger: false })), remove];
  }
  return [details, act("Archive", () => dialog.confirm(`Archive license ${license.serial}?`,
    `Its ${plural(units(license), "unit")} do not count any more, until it is restored. The server refuses this while nodes need them.`,
    "Archive license", say("is archived", () => call("POST", `${path}/archive`)), { danger: false })), remove];
}

export async function show(root, { params, signal }) {
  const state = TABS.some(([key]) => key === params.get("state")) ? params.get("state") : "";
  const bar = h("div", {});
  const rows = h("div", {}, loading());
  const context = { load, open };
  const grid = table("Licenses", [
    { name: "License", kind: "head", cell: (one) => [h("span", { class: "mono" }, one.serial), h("span", { class: "sub" }, one.product)] },
    { name: "Licensee", kind: "text", cell: (one) => [one.licensee, h("span", { class: "sub" }, `from ${one.issuer}`)] },
    { name: "Units", kind: "number", cell: (one) => count(units(one)) },
    { name: "Valid", cell: (one) => [day(one.not_before), h("span", { class: "sub nowrap" }, one.not_after === "perpetual" ? "no end" : ["until ", day(one.not_after)])] },
    { name: "State", cell: (one) => [stateBadge(one.state), one.state === "active" && one.not_after !== "perpetual" && h("span", { class: "sub" }, endBadge(one.not_after))] },
    { name: "Actions", kind: "actions", cell: (one) => actions(one, context) },
  ]);
  fill(root, head("Licenses", "Documents installed on this server.", [
    h("a", { class: "button", href: download("/licenses.csv", {}), download: "licenses.csv" }, "Download CSV"),
    mayChangeLicenses() && link("Install license", address("install"), "primary")].filter(Boolean)),
    h("div", { class: "card flush" }, bar, rows));
  let serverId = "";

  function open(license) {
    keepParams("licenses", { state, serial: license.serial });
    dialog.show(`License ${license.serial}`, detail(license, serverId), { onclose: () => !signal.aborted && keepParams("licenses", { state }) });
  }

  async function load() {
    const [all, server] = await Promise.all(["/licenses", "/server"].map((path) => call("GET", path, { signal })));
    serverId = server.server_id;
    fill(bar, tabs(all, state));
    fill(rows, grid);
    grid.show(all.filter((one) => !state || one.state === state), state
      ? empty("None here", "No license is in this state.", link("Show all", address("licenses")))
      : empty("No licenses", "Nodes cannot get leases before one is installed."));
    return all;
  }
  const all = await load();
  const wanted = all.find((one) => one.serial === params.get("serial"));
  if (wanted) open(wanted);
}
