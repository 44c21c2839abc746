// Signing in, and back to the page that one was on.

import { fill, h } from "../dom.js";
import { field, form, head, message } from "../parts.js";
import { address, go, nextPlace } from "../router.js";
import * as session from "../session.js";

export async function show(root, { params }) {
  const user = field("User name", h("input", { type: "text", autocomplete: "username", spellcheck: "false", required: true }));
  const password = field("Password", h("input", { type: "password", autocomplete: "current-password", required: true }));
  const submit = async () => {
    for (const one of [user, password]) if (!one.complain(one.control.value ? "" : "This is needed.")) return;
    try {
      await session.signIn(user.control.value.trim(), password.control.value);
    } catch (error) {
      password.control.value = "";
      password.control.focus();
      throw error;
    }
    go(nextPlace(params), { replace: true });
  };
  const { needed, reset_pending: reset } = await session.setUpState();
  if (needed) return void go(address("setup"), { replace: true });
  fill(root, h("div", { class: "gate stack" },
    head("Sign in", "to the license server of this swarm"),
    params.get("ended") && message("about", "", h("span", {}, "Your session has ended. Sign in to go on where you were.")),
    h("div", { class: "card" }, form([user, password], [h("button", { class: "button primary", type: "submit" }, "Sign in")], submit)),
    reset && h("p", {}, h("a", { href: address("setup") }, "Choose a new password with a reset code")),
    h("p", { class: "muted small" }, "No account, or the password is lost? An administrator can set a new one; where no administrator can sign in, the command ", h("code", {}, "python3 -m services.license.users reset-password NAME"), " on the server's host (in its container: docker exec) prints a reset code.")));
  user.control.focus();
}
