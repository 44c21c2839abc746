// What is installed, in use and free, and what needs attention.

import { call } from "../api.js";
import { fill, h, keepingFocus } from "../dom.js";
import { count, endBadge, plural } from "../format.js";
import { empty, failed, head, link, loading, message } from "../parts.js";
import { follow } from "../refresh.js";
import { address } from "../router.js";
import { mayChangeLicenses } from "../session.js";
import { table } from "../table.js";

const HIGH = 0.8;

/** Level of a usage bar. */
export function level(inUse, capacity) {
  if (inUse >= capacity) return inUse > 0 || capacity === 0 ? "full" : "";
  return inUse / capacity >= HIGH ? "high" : "";
}

function usage(feature) {
  const fill_ = h("span", {});
  const part = feature.capacity > 0 ? Math.min(1, feature.in_use / feature.capacity) : Number(feature.in_use > 0);
  fill_.style.width = `${part > 0 ? Math.max(1.5, part * 100) : 0}%`;
  const text = `${count(feature.in_use)} of ${count(feature.capacity)} in use`;
  return h("div", { class: "usage" },
    h("div", { class: "bar", "data-level": level(feature.in_use, feature.capacity), role: "meter", "aria-valuemin": 0, "aria-valuemax": feature.capacity, "aria-valuenow": Math.min(feature.in_use, feature.capacity), "aria-valuetext": text, "aria-label": `Use of ${feature.name}` }, fill_),
    h("div", { class: "legend" }, h("span", {}, text), h("span", { class: "muted" }, `${count(feature.free)} free`)));
}

function holders(feature) {
  const held = feature.holders ?? feature.in_use;
  if (held === 0) return h("span", { class: "muted" }, "None");
  return h("a", { class: "nowrap", href: address("leases", { feature: feature.feature }), "data-focus": `holders ${feature.feature}` }, plural(held, "holder"));
}

function state(feature) {
  if (!feature.usable) return h("span", { class: "badge bad" }, "No license in force");
  if (feature.free === 0) return h("span", { class: "badge warn" }, "None free");
  return h("span", { class: "badge good" }, "Available");
}

const COLUMNS = [
  { name: "Feature", kind: "head", cell: (one) => [one.name, h("span", { class: "sub mono" }, `${one.feature}:${one.version}`)] },
  { name: "Use", cell: usage },
  { name: "State", cell: state },
  { name: "Held by", cell: holders },
  { name: "License ends", cell: (one) => endBadge(one.expires) },
];

const sum = (features, key) => features.reduce((total, one) => total + one[key], 0);

function tiles(features) {
  const tile = (name, value, more = "") => h("div", { class: "tile" }, h("dt", {}, name), h("dd", {}, value, more && h("small", {}, ` ${more}`)));
  return h("dl", { class: "tiles" },
    tile("Features", count(features.length)), tile("Units installed", count(sum(features, "capacity"))),
    tile("In use", count(sum(features, "in_use"))), tile("Free", count(sum(features, "free"))));
}

/** What the server warns of, worst first as it says it. */
export function warnings(list) {
  return list.map((one) => message("warn", "", h("span", {}, one.text.charAt(0).toUpperCase() + one.text.slice(1))));
}

export async function show(root, { signal }) {
  const attention = h("section", { class: "stack tight", "aria-label": "Warnings" });
  const numbers = h("div", {}, loading());
  const grid = table("Features of the installed licenses", COLUMNS);
  const updated = h("span", { class: "muted small" });
  const trouble = h("div", {});
  const card = h("section", { class: "card flush", hidden: true, "aria-label": "Features" },
    h("div", { class: "card-head" }, h("h2", {}, "Features"), updated), grid);
  fill(root, head("Dashboard", "Licenses installed on this server and who uses them.", mayChangeLicenses() ? [link("Install license", address("install"), "primary")] : []),
    h("div", { class: "stack" }, trouble, attention, numbers, card));
  let told = null;

  const load = async (refresh) => {
    try {
      const [features, server] = await Promise.all([call("GET", "/features", { signal, refresh }), call("GET", "/server", { signal, refresh })]);
      fill(trouble);
      const news = JSON.stringify(server.warnings);
      if (news !== told) keepingFocus(attention, () => fill(attention, warnings(server.warnings ?? [])));
      told = news;
      fill(numbers, tiles(features));
      card.hidden = false;
      grid.show(features, empty("No features", "No license is installed.", mayChangeLicenses() && link("Install license", address("install"), "primary")));
      fill(updated, `Updated ${new Date().toLocaleTimeString("en-GB")}`);
    } catch (error) {
      if (error.name === "AbortError" || error.status === 401) return;
      if (card.hidden) fill(numbers);
      fill(trouble, failed(error, () => again()));
    }
  };
  const again = follow(signal, load);
}
