// Starts the pages: frame, navigation, which page is shown, beginning and end of a session.

import { ended } from "./api.js";
import * as dialog from "./dialog.js";
import { fill, h, icon } from "./dom.js";
import { ROLES } from "./format.js";
import * as notices from "./notices.js";
import { failed, head, link, loading, message } from "./parts.js";
import { address, go, place } from "./router.js";
import * as session from "./session.js";
import * as about from "./pages/about.js";
import * as account from "./pages/account.js";
import * as dashboard from "./pages/dashboard.js";
import * as history_ from "./pages/history.js";
import * as install from "./pages/install.js";
import * as leases from "./pages/leases.js";
import * as licenses from "./pages/licenses.js";
import * as settings from "./pages/settings.js";
import * as setup from "./pages/setup.js";
import * as signin from "./pages/signin.js";
import * as users from "./pages/users.js";

const any = () => true;
/** Pages by their path: `{page, title, may}`; `open` ones need no session. */
const PAGES = {
  "": { page: dashboard, title: "Dashboard", may: any, icon: "dashboard" },
  leases: { page: leases, title: "Active leases", may: any, icon: "leases" },
  licenses: { page: licenses, title: "Licenses", may: any, icon: "licenses" },
  install: { page: install, title: "Install license", may: session.mayChangeLicenses, icon: "install" },
  history: { page: history_, title: "History", may: any, icon: "history" },
  users: { page: users, title: "Users and roles", may: session.isAdministrator, icon: "users" },
  settings: { page: settings, title: "Settings", may: session.isAdministrator, icon: "settings" },
  account: { page: account, title: "My account", may: any, icon: "account" },
  about: { page: about, title: "About", may: any, icon: "about" },
  "sign-in": { page: signin, title: "Sign in", may: any, open: true },
  setup: { page: setup, title: "First set-up", may: any, open: true },
};
const MENU = [
  ["Licensing", ["", "leases", "licenses", "install", "history"]],
  ["Administration", ["users", "settings"]],
  ["This server", ["account", "about"]],
];

const main = document.getElementById("main");
const nav = document.getElementById("nav");
const menuButton = document.getElementById("menu-button");
let leaving = new AbortController();

function openMenu(open) {
  nav.dataset.open = open ? "yes" : "no";
  menuButton.setAttribute("aria-expanded", String(open));
}

function drawFrame(path) {
  const who = session.current();
  document.getElementById("frame").dataset.signedIn = who ? "yes" : "no";
  fill(document.getElementById("user"), who && h("a", { href: address("account"), title: `Signed in as ${who.user}` },
    icon("account"), h("span", { class: "user-name" }, who.user), h("span", { class: "user-role small" }, ROLES[who.role] ?? who.role)));
  fill(nav, who && MENU.map(([title, paths]) => {
    const offered = paths.filter((one) => PAGES[one].may());
    return offered.length > 0 && [h("h2", {}, title), h("ul", {}, offered.map((one) => h("li", {},
      h("a", { href: address(one), "aria-current": one === path ? "page" : null }, icon(PAGES[one].icon), PAGES[one].title))))];
  }));
  openMenu(false);
}

/** The page of the address; where nobody is signed in, the way to it. */
async function show() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  dialog.closeAll();
  const { path, params } = place();
  const known = PAGES[path];
  if (!known?.open && !session.current()) return void go(address("sign-in", { next: location.hash || "#/" }), { replace: true });
  if (known?.open && session.current()) return void go("#/", { replace: true });
  drawFrame(path);
  document.title = `${known?.title ?? "No such page"} – License server`;
  const root = h("div", {});
  fill(main, root);
  if (!known) fill(root, head("No such page"), message("about", "", h("span", {}, "There is nothing at this address."), h("div", { class: "actions" }, link("To the dashboard", "#/"))));
  else if (!known.may()) fill(root, head(known.title), message("about", "Your role does not allow this", h("span", {}, `You are signed in as ${ROLES[session.current().role] ?? session.current().role}. Ask an administrator of this server.`)));
  else await begin(known, root, params, signal);
  if (!signal.aborted) focusTitle(root);
}

async function begin(known, root, params, signal) {
  try {
    await known.page.show(root, { params, signal });
  } catch (error) {
    if (error.name === "AbortError" || signal.aborted) return;
    fill(root, head(known.title), failed(error, show));
  }
}

/** What a screen reader begins with on a new page; fields of forms keep the focus they asked for. */
function focusTitle(root) {
  window.scrollTo(0, 0);
  const wanted = root.querySelector("[autofocus]") ?? root.querySelector("h1");
  if (!root.contains(document.activeElement)) wanted?.focus({ preventScroll: true });
}

ended.handler = () => {
  if (!session.current()) return;
  session.forget();
  go(address("sign-in", { next: location.hash || "#/", ended: "yes" }), { replace: true });
};

async function start() {
  fill(main, loading());
  try {
    if ((await session.setUpState()).needed) go(address("setup"), { replace: true });
    else await session.load();
  } catch (error) {
    return void fill(main, failed(error, start));
  }
  addEventListener("hashchange", () => {
    notices.clear();
    show();
  });
  await show();
}

menuButton.addEventListener("click", () => openMenu(nav.dataset.open !== "yes"));
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || nav.dataset.open !== "yes") return;
  openMenu(false);
  menuButton.focus();
});
nav.addEventListener("click", (event) => event.target.closest("a") && openMenu(false));
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
start();
