// One's own account: password, sign out.

import { call } from "../api.js";
import { fill, h } from "../dom.js";
import { ROLE_TEXTS, ROLES } from "../format.js";
import * as notices from "../notices.js";
import { button, field, form, head } from "../parts.js";
import { go } from "../router.js";
import * as session from "../session.js";
import { newPassword } from "./passwords.js";

export async function show(root, { signal }) {
  const who = session.current();
  const user = h("input", { type: "text", autocomplete: "username", value: who.user, hidden: true, readonly: true, "aria-label": "User name" });
  const old = field("Password now", h("input", { type: "password", autocomplete: "current-password", required: true }));
  const fresh = newPassword("New password");
  const change = form([user, old, fresh.fields], [h("button", { type: "submit", class: "button primary" }, "Change password")], async () => {
    if (!old.complain(old.control.value ? "" : "This is needed.")) return;
    const chosen = fresh.value();
    if (chosen === null) return;
    await call("PUT", "/session/password", { json: { old: old.control.value, new: chosen }, signal });
    if (await session.load() === null) return void go("#/sign-in", { replace: true });
    change.reset();
    notices.done("Your password is changed.");
  });
  const leave = button("Sign out", { onclick: async () => {
    try {
      await session.signOut();
      go("#/sign-in");
    } catch (error) {
      notices.trouble(error.message);
    }
  } });
  fill(root, head("My account", "", [leave]),
    h("div", { class: "stack narrow" },
      h("div", { class: "card" }, h("dl", { class: "pairs" }, h("dt", {}, "User"), h("dd", {}, who.user), h("dt", {}, "Role"), h("dd", {}, `${ROLES[who.role] ?? who.role}: ${ROLE_TEXTS[who.role] ?? ""}`))),
      h("div", { class: "card" }, h("h2", {}, "Change password"), change)));
}
