// Installing a license: server id, document, what would change, yes.

import { call } from "../api.js";
import { fill, h } from "../dom.js";
import { count, day, stateBadge } from "../format.js";
import * as notices from "../notices.js";
import { changes } from "../offers.js";
import { button, copyable, head, link, loading, message } from "../parts.js";
import { address, go } from "../router.js";
import { table } from "../table.js";

const MOST_BYTES = 4 << 20;
const HINTS = {
  "bad-license": "Choose the license document as its issuer sent it: a JSON file with a signature.",
  "bad-signature": "Ask the issuer for the document again, and do not change it: every change breaks the signature.",
  "unknown-issuer": "Put the issuer's public key (PEM) into the folder issuers/ of this server's data, after checking with the issuer that it is theirs.",
  "other-server": "Ask the issuer for a license that names the server id shown above.",
  "serial-taken": "A serial belongs to one document. Ask the issuer for a license with a new serial.",
};

const CHANGES = [
  { name: "Feature", kind: "head", cell: (one) => [one.name, h("span", { class: "sub mono" }, one.feature)] },
  { name: "Units now", kind: "number", cell: (one) => count(one.before) },
  { name: "Units after", kind: "number", cell: (one) => count(one.after) },
  { name: "Change", kind: "number", cell: (one) => difference(one.after - one.before) },
];

function difference(number) {
  if (number === 0) return h("span", { class: "muted" }, "none");
  return h("strong", {}, number > 0 ? `+${count(number)}` : `−${count(-number)}`);
}

/** The terms of a license as pairs. */
export function terms(license, serverId = "") {
  const lock = license.lock === "any" ? "Any server" : license.lock === serverId ? "This server" : license.lock;
  const pairs = [
    ["Serial", h("span", { class: "mono" }, license.serial)], ["State", stateBadge(license.state)], ["Product", license.product],
    ["Licensee", license.licensee], ["Issuer", license.issuer], ["Valid from", day(license.not_before)],
    ["Valid until", day(license.not_after)], ["For", lock],
  ];
  return h("dl", { class: "pairs" }, pairs.filter(([, value]) => value !== undefined).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

const NOTES = {
  future: "is not valid yet: its units count from its first day on.",
  expired: "has ended: it adds no units.",
};

/** What was found in a file: `added` licenses, in view of those that are `installed`. */
function preview(added, installed, serverId, install) {
  const fresh = added.filter((one) => !one.installed);
  if (fresh.length === 0) {
    const what = added.length === 1 ? "This license is" : "These licenses are";
    return [message("about", `${what} installed already`, h("span", {}, "Nothing would change.")), added.map((one) => terms(one, serverId)),
      h("div", { class: "actions" }, link("Show licenses", address("licenses", { serial: added[0].serial })))];
  }
  const rows = table("What installing changes", CHANGES);
  rows.show(changes(installed, added), null);
  return [
    message("good", "The signature is good", h("span", {}, `Signed by ${[...new Set(fresh.map((one) => one.issuer))].join(", ")}.`)),
    fresh.filter((one) => NOTES[one.state]).map((one) => message("warn", "", h("span", {}, `License ${one.serial} ${NOTES[one.state]}`))),
    fresh.map((one) => terms(one, serverId)), h("h3", {}, "What changes"), h("div", { class: "card flush" }, rows),
    h("div", { class: "actions" }, install)];
}

export async function show(root, { signal }) {
  const server = await call("GET", "/server", { signal });
  const result = h("div", { class: "stack", "aria-live": "polite" }, h("p", { class: "muted" }, "Choose a document first."));
  const input = h("input", { type: "file", class: "visually-hidden", id: "document", accept: ".json,.lic,.dat,application/json,text/plain" });
  const drop = h("div", { class: "drop" }, h("p", {}, h("label", { for: "document", class: "button" }, "Choose file"), input),
    h("p", { class: "muted" }, "or drop it here"));

  const refused = (error) => fill(result, message("bad", "This license cannot be installed", h("span", {}, error.message), HINTS[error.code] && h("span", { class: "muted" }, HINTS[error.code])));

  const check = async (file) => {
    if (!file) return;
    if (file.size > MOST_BYTES) return void refused({ message: `${file.name} is too large for a license document.`, code: "bad-license" });
    fill(result, loading("Checking…"));
    try {
      const text = await file.text();
      const found = await call("POST", "/licenses/check", { text, signal });
      const installed = await call("GET", "/licenses", { signal });
      const added = [found].flat();
      const install = button("Install this license", { class: "button primary", onclick: async () => {
        install.disabled = true;
        try {
          await call("POST", "/licenses", { text, signal });
        } catch (error) {
          return void (error.name !== "AbortError" && refused(error));
        }
        go(address("licenses"));
        addEventListener("hashchange", () => notices.done(`Installed: license ${added.map((one) => one.serial).join(", ")}.`), { once: true });
      } });
      fill(result, preview(added, installed, server.server_id, install));
    } catch (error) {
      if (error.name !== "AbortError") refused(error);
    }
  };
  input.addEventListener("change", () => {
    check(input.files[0]);
    input.value = "";
  });
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.dataset.over = kind === "dragenter" || kind === "dragover" ? "yes" : "no";
      if (kind === "drop") check(event.dataTransfer.files[0]);
    });
  }
  fill(root, head("Install license", "A license is a signed document that its issuer sends you."),
    h("ol", { class: "steps" },
      h("li", { class: "card stack" }, h("h2", {}, "Tell the issuer this server's id"),
        h("p", { class: "muted" }, "A license may be made for one server only. Licenses for any server do not need this."), copyable(server.server_id, "server id")),
      h("li", { class: "card stack" }, h("h2", {}, "Choose the license document"), drop),
      h("li", { class: "card stack" }, h("h2", {}, "Check and install"), result)));
}
