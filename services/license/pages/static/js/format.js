// How times, numbers and words of the server read on a page.

import { h } from "./dom.js";

const EXACT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "long" });
const DAY = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium" });
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const COUNT = new Intl.NumberFormat("en");
const UNITS = [["year", 31_536_000], ["month", 2_592_000], ["day", 86_400], ["hour", 3600], ["minute", 60], ["second", 1]];

/** A moment: Unix seconds or ISO text; null where there is none. */
export function moment(value) {
  if (value === null || value === undefined || value === "" || value === "perpetual") return null;
  const time = typeof value === "number" ? value * 1000 : Date.parse(value);
  return Number.isFinite(time) && Math.abs(time) < 8.64e15 ? new Date(time) : null;
}

export function count(number) {
  return COUNT.format(number);
}

/** "3 licenses", "1 license". */
export function plural(number, word) {
  return `${count(number)} ${word}${number === 1 ? "" : "s"}`;
}

/** "in 5 minutes", "2 hours ago": from `now` (milliseconds). */
export function relative(date, now = Date.now()) {
  const seconds = Math.round((date.getTime() - now) / 1000);
  if (Math.abs(seconds) < 5) return "now";
  const [unit, size] = UNITS.find(([, length]) => Math.abs(seconds) >= length) ?? UNITS.at(-1);
  return RELATIVE.format(Math.trunc(seconds / size), unit);
}

/** A `time` element: relative text, the exact time as its title. */
export function ago(value, none = "never") {
  const date = moment(value);
  if (!date) return h("span", { class: "muted" }, none);
  return h("time", { datetime: date.toISOString(), title: EXACT.format(date) }, relative(date));
}

/** A `time` element with the exact time. */
export function exact(value, none = "never") {
  const date = moment(value);
  if (!date) return h("span", { class: "muted" }, none);
  return h("time", { datetime: date.toISOString(), title: date.toISOString() }, EXACT.format(date));
}

/** A `time` element with the day, the exact time as its title. */
export function day(value, none = "no end") {
  const date = moment(value);
  if (!date) return h("span", { class: "muted" }, none);
  return h("time", { datetime: date.toISOString(), title: EXACT.format(date) }, DAY.format(date));
}

/** "29 min", "45 s", "2 h 5 min". */
export function duration(seconds) {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return plural(Math.floor(hours / 24), "day");
}

/** The value of a `datetime-local` field as Unix seconds, and back. */
export function fromField(text) {
  const time = Date.parse(text);
  return Number.isFinite(time) ? Math.floor(time / 1000) : "";
}

export const ROLES = {
  administrator: "Administrator",
  "product-admin": "Product administrator",
  "view-only": "View only",
};
export const ROLE_TEXTS = {
  administrator: "Everything, also users and settings",
  "product-admin": "Installs, archives and deletes licenses, revokes leases",
  "view-only": "Sees everything but users, changes nothing",
};

/** Who did something: `user:` and a name, or the CN of a certificate. */
export function actor(name, nobody = "the server") {
  if (!name) return h("span", { class: "muted" }, nobody);
  return name.startsWith("user:") ? [name.slice(5), h("span", { class: "sub" }, "user")] : [name, h("span", { class: "sub" }, "certificate")];
}

const STATES = {
  active: ["good", "Active"], future: ["accent", "Not yet valid"],
  expired: ["bad", "Expired"], archived: ["", "Archived"],
};
/** A badge of a license's state. */
export function stateBadge(state) {
  const [kind, text] = STATES[state] ?? ["", state];
  return h("span", { class: `badge ${kind}` }, text);
}

const DAY_MS = 86_400_000;
/** A badge of when something ends; `noticeDays` before it warns. */
export function endBadge(value, noticeDays = 30) {
  if (value === "perpetual") return h("span", { class: "muted" }, "No end");
  const date = moment(value);
  if (!date) return h("span", { class: "muted" }, "–");
  const left = date.getTime() - Date.now();
  const kind = left <= 0 ? "bad" : left < noticeDays * DAY_MS ? "warn" : "";
  const text = `${left <= 0 ? "Ended" : "Ends"} ${relative(date)}`;
  const time = h("time", { datetime: date.toISOString(), title: EXACT.format(date) }, text);
  return kind ? h("span", { class: `badge ${kind}` }, time) : time;
}
