// Local users and their roles.

import { call } from "../api.js";
import * as dialog from "../dialog.js";
import { fill, h } from "../dom.js";
import { ago, ROLE_TEXTS, ROLES } from "../format.js";
import * as notices from "../notices.js";
import { button, empty, field, head, loading, select } from "../parts.js";
import { current } from "../session.js";
import { table } from "../table.js";
import { newPassword } from "./passwords.js";

const roleField = (value) => field("Role", select(Object.entries(ROLES), value), Object.entries(ROLE_TEXTS).map(([key, text]) => `${ROLES[key]}: ${text}.`).join(" "));
const path = (user) => `/users/${encodeURIComponent(user.name)}`;

function add(load) {
  const name = field("User name", h("input", { type: "text", autocomplete: "off", spellcheck: "false", required: true }));
  const role = roleField("view-only");
  const password = newPassword("First password");
  dialog.ask("Add user", [name, role, password.fields], "Add user", async () => {
    const given = name.control.value.trim();
    if (!name.complain(given ? "" : "This is needed.")) return false;
    const chosen = password.value();
    if (chosen === null) return false;
    await call("POST", "/users", { json: { name: given, role: role.control.value, password: chosen } });
    notices.done(`User ${given} is added.`);
    return load();
  });
}

function changeRole(user, load) {
  const role = roleField(user.role);
  dialog.ask(`Role of ${user.name}`, [role], "Change role", async () => {
    await call("PUT", path(user), { json: { role: role.control.value } });
    notices.done(`${user.name} is ${ROLES[role.control.value]} now.`);
    await load();
  });
}

function setPassword(user) {
  const password = newPassword("New password");
  dialog.ask(`New password of ${user.name}`, password.fields, "Set password", async () => {
    const chosen = password.value();
    if (chosen === null) return false;
    await call("PUT", path(user), { json: { password: chosen } });
    notices.done(`The password of ${user.name} is set.`);
    return true;
  });
}

function switchOff(user, load) {
  const change = async (disabled) => {
    await call("PUT", path(user), { json: { disabled } });
    notices.done(`${user.name} is ${disabled ? "disabled" : "enabled"}.`);
    await load();
  };
  if (user.disabled) return dialog.confirm(`Enable ${user.name}?`, `${user.name} can sign in again as ${ROLES[user.role]}.`, "Enable user", () => change(false), { danger: false });
  return dialog.confirm(`Disable ${user.name}?`, `${user.name} is signed out everywhere and cannot sign in until enabled again.`, "Disable user", () => change(true));
}

function remove(user, load) {
  dialog.confirm(`Delete user ${user.name}?`, `${user.name} is signed out everywhere and cannot sign in any more. What ${user.name} did stays in the history.`, "Delete user", async () => {
    await call("DELETE", path(user));
    notices.done(`User ${user.name} is deleted.`);
    await load();
  });
}

function actions(user, load) {
  const act = (verb, run, kind = "") => button(verb, { class: `button small ${kind}`, "data-focus": `${verb} ${user.name}`, "aria-label": `${verb}: ${user.name}`, onclick: run });
  const own = user.name === current()?.user;
  return [act("Role", () => changeRole(user, load)), !own && act("Password", () => setPassword(user)),
    !own && act(user.disabled ? "Enable" : "Disable", () => switchOff(user, load)), !own && act("Delete", () => remove(user, load), "danger")];
}

export async function show(root, { signal }) {
  const rows = h("div", {}, loading());
  const grid = table("Users", [
    { name: "User", kind: "head", cell: (one) => [one.name, one.name === current()?.user && h("span", { class: "sub" }, "you")] },
    { name: "Role", cell: (one) => [ROLES[one.role] ?? one.role, h("span", { class: "sub" }, ROLE_TEXTS[one.role] ?? "")] },
    { name: "State", cell: (one) => h("span", { class: `badge ${one.disabled ? "" : "good"}` }, one.disabled ? "Disabled" : "Enabled") },
    { name: "Last sign-in", cell: (one) => ago(one.last_sign_in) },
    { name: "Actions", kind: "actions", cell: (one) => actions(one, load) },
  ]);
  fill(root, head("Users and roles", "People who may use these pages. Nodes do not need users: they show their certificates.",
    [button("Add user", { class: "button primary", "data-focus": "add user", onclick: () => add(load) })]), h("div", { class: "card flush" }, rows));

  async function load() {
    const users = await call("GET", "/users", { signal });
    fill(rows, grid);
    grid.show(users, empty("No users", ""));
  }
  await load();
}
