// Leases in force: who holds what, until when; revoke.

import { call, download, query } from "../api.js";
import * as dialog from "../dialog.js";
import { fill, h } from "../dom.js";
import { ago, duration, plural } from "../format.js";
import * as notices from "../notices.js";
import { button, empty, failed, field, head, link, loading, select } from "../parts.js";
import { follow } from "../refresh.js";
import { address, keepParams } from "../router.js";
import { mayChangeLicenses } from "../session.js";
import { table } from "../table.js";

const SEARCHED = ["component", "host", "container", "common_name", "uid", "product_version", "lease_id"];
const matches = (lease, text) => !text || SEARCHED.some((key) => String(lease[key] ?? "").toLowerCase().includes(text.toLowerCase()));
const who = (lease) => lease.container || lease.host || lease.uid;

function columns(names, reload) {
  const list = [
    { name: "Component", kind: "head", cell: (one) => [one.component || "–", one.product_version && h("span", { class: "sub nowrap" }, `version ${one.product_version}`)] },
    { name: "Feature", kind: "text", cell: (one) => [names.get(one.feature) ?? "Feature", h("span", { class: "sub mono" }, one.feature)] },
    { name: "Host", kind: "text", cell: (one) => [one.host || "–", one.container && one.container !== one.host && h("span", { class: "sub" }, `container ${one.container}`)] },
    { name: "Certificate", kind: "text", cell: (one) => one.common_name },
    { name: "Held since", cell: (one) => ago(one.since) },
    { name: "Expires in", cell: (one) => h("span", { class: "number", title: "unless its holder renews it, which nodes do by themselves" }, duration(one.left_s)) },
  ];
  if (!mayChangeLicenses()) return list;
  return [...list, { name: "Actions", kind: "actions", cell: (one) => button("Revoke", { class: "button small danger", "data-focus": `revoke ${one.lease_id}`, "aria-label": `Revoke the lease of ${who(one)}`, onclick: () => revoke(one, names, reload) }) }];
}

function revoke(lease, names, reload) {
  const what = names.get(lease.feature) ?? lease.feature;
  dialog.confirm("Revoke this lease?", [
    `${lease.component || "The node"} ${who(lease)} (certificate ${lease.common_name}) loses its unit of ${what} at once; the unit is free for others.`,
    "The node learns of it at its next renewal. It runs on without; when it is started again it asks for a new lease, and gets one where a unit is free."],
  "Revoke lease", async () => {
    await call("POST", `/leases/${encodeURIComponent(lease.lease_id)}/revoke`);
    notices.done(`The lease of ${who(lease)} is revoked.`);
    reload();
  });
}

export async function show(root, { params, signal }) {
  const features = await call("GET", "/features", { signal });
  const names = new Map(features.map((one) => [one.feature, one.name]));
  const known = names.has(params.get("feature")) || !params.get("feature");
  const feature = select([["", "All features"], ...names, ...(known ? [] : [[params.get("feature"), params.get("feature")]])], params.get("feature") ?? "");
  const text = h("input", { type: "search", value: params.get("text") ?? "", placeholder: "Host, container, certificate…" });
  const rows = h("div", {}, loading());
  const foot = h("span", { class: "muted small", role: "status" });
  const csv = h("a", { class: "button", download: "leases.csv", title: "All leases of the chosen feature; the search does not count" }, "Download CSV");
  const grid = table("Active leases", columns(names, () => again()));
  let held = [];

  const values = () => ({ feature: feature.value, text: text.value.trim() });
  function draw() {
    const { feature: wanted, text: words } = values();
    const shown = held.filter((one) => (!wanted || one.feature === wanted) && matches(one, words));
    if (rows.firstChild !== grid) fill(rows, grid);
    grid.show(shown, wanted || words
      ? empty("No lease matches", "Change the filter to see others.", link("Show all", address("leases")))
      : empty("No leases", "No node holds a license at the moment."));
    fill(foot, shown.length === held.length ? plural(held.length, "lease") : `${shown.length} of ${plural(held.length, "lease")}`);
    csv.href = download("/leases.csv", { feature: feature.value });
  }
  function changed() {
    keepParams("leases", values());
    draw();
  }
  feature.addEventListener("change", changed);
  text.addEventListener("input", changed);

  fill(root, head("Active leases", "Units in use now. Nodes renew their leases by themselves.", [csv]),
    h("div", { class: "card flush" },
      h("search", { class: "filters" }, field("Feature", feature), field("Search", text)), rows, h("div", { class: "table-foot" }, foot)));
  csv.href = download("/leases.csv", { feature: feature.value });

  const again = follow(signal, async (refresh) => {
    try {
      held = await call("GET", query("/leases", {}), { signal, refresh });
      draw();
    } catch (error) {
      if (error.name === "AbortError" || error.status === 401) return;
      fill(rows, failed(error, () => again()));
    }
  });
}
