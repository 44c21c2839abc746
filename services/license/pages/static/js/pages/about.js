// What this server is.

import { call } from "../api.js";
import { fill, h } from "../dom.js";
import { ago, duration, exact } from "../format.js";
import { copyable, head, message } from "../parts.js";
import { warnings } from "./dashboard.js";

export async function show(root, { signal }) {
  const server = await call("GET", "/server", { signal });
  const pairs = [
    ["Version", server.version], ["Server id", copyable(server.server_id, "server id")], ["Started", ago(server.started)],
    ["Server's clock", exact(server.time)], ["Length of a lease", duration(server.lease_s)],
    ["REST API", [h("a", { href: "/docs" }, "Description"), ", ", h("a", { href: "/openapi.json" }, "OpenAPI document")]],
  ];
  const list = server.warnings ?? [];
  fill(root, head("About", "Swarm Learning license server"),
    h("div", { class: "stack narrow" },
      list.length > 0 ? h("section", { class: "stack tight", "aria-label": "Warnings" }, warnings(list)) : message("good", "", h("span", {}, "The server has nothing to warn of.")),
      h("div", { class: "card" }, h("dl", { class: "pairs" }, pairs.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])))));
}
