// A new password, typed twice.

import { h } from "../dom.js";
import { field } from "../parts.js";

export const LEAST = 12;

/** Two fields; `.value()` is the password, or null after saying what is wrong. */
export function newPassword(label = "Password") {
  const first = field(label, h("input", { type: "password", autocomplete: "new-password", required: true }), `At least ${LEAST} characters. A sentence is good.`);
  const second = field(`${label}, again`, h("input", { type: "password", autocomplete: "new-password", required: true }));
  return {
    fields: [first, second],
    value: () => {
      first.complain("");
      second.complain("");
      const given = first.control.value;
      if ([...given].length < LEAST) first.complain(`Too short: at least ${LEAST} characters.`);
      else if (given !== second.control.value) second.complain("The two passwords differ: type the same one twice.");
      else return given;
      return null;
    },
  };
}
