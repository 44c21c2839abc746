// First set-up: the first administrator, by a code that only the server's host knows.

import { fill, h } from "../dom.js";
import { field, form, head } from "../parts.js";
import { address, go } from "../router.js";
import * as session from "../session.js";
import { newPassword } from "./passwords.js";

/** Where a code is found, for the first administrator or for a user who has none of the password left. */
function whereabouts(needed) {
  if (!needed) return h("p", {}, "Somebody with access to the server's host made a reset code for you. It holds for one password.");
  return h("div", { class: "stack tight" },
    h("h2", {}, "Where the set-up code is"),
    h("p", {}, "The server wrote a one-time code into its log when it started, and into the file ", h("code", {}, "setup-code"), " of its data folder. In a container:"),
    h("p", {}, h("code", {}, "docker logs CONTAINER")),
    h("p", {}, h("code", {}, "docker exec CONTAINER cat /hpe/AutoPass/LicenseServer/data/setup-code")));
}

export async function show(root) {
  const { needed, reset_pending: reset } = await session.setUpState();
  if (!needed && !reset) return void go(address("sign-in"), { replace: true });
  const code = field(needed ? "Set-up code" : "Reset code", h("input", { type: "text", autocomplete: "one-time-code", spellcheck: "false", required: true, autofocus: true }));
  const user = field("Your user name", h("input", { type: "text", autocomplete: "username", spellcheck: "false", required: true }), needed ? "You become the first administrator." : "");
  const password = newPassword(needed ? "Password" : "New password");
  const submit = async () => {
    for (const one of [code, user]) if (!one.complain(one.control.value.trim() ? "" : "This is needed.")) return;
    const chosen = password.value();
    if (chosen === null) return;
    try {
      await session.setUp(code.control.value.trim(), user.control.value.trim(), chosen);
    } catch (error) {
      if (error.code === "already-set-up") go("#/sign-in", { replace: true });
      throw error;
    }
    go("#/", { replace: true });
  };
  fill(root, h("div", { class: "gate stack" },
    needed ? head("First set-up", "This license server has no users yet. Make the first administrator.") : head("New password", "Choose it with the code that you were given."),
    h("div", { class: "card stack" },
      whereabouts(needed),
      form([code, user, password.fields], [h("button", { class: "button primary", type: "submit" }, needed ? "Make administrator" : "Set password")], submit))));
  code.control.focus();
}
