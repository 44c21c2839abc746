// The place of a page is in the address after "#", its filters as a query: both survive a reload.

/** The place that the address names: `{path, params}`. */
export function place() {
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  return { path: path.replace(/\/+$/, ""), params: new URLSearchParams(search) };
}

/** The address of a page; empty values are left out. */
export function address(path, values = {}) {
  const given = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const search = new URLSearchParams(given).toString();
  return `#/${path}${search ? `?${search}` : ""}`;
}

/** Go to a page. `replace`: going back does not return to where we are. */
export function go(target, { replace = false } = {}) {
  if (target === location.hash) dispatchEvent(new HashChangeEvent("hashchange"));
  else if (replace) location.replace(target);
  else location.hash = target;
}

/** Change the filters of the page that is shown, which shows them itself: no new page begins. */
export function keepParams(path, values) {
  history.replaceState(null, "", address(path, values));
}

/** Where to go after signing in: only ever a place of ours. */
export function nextPlace(params) {
  const next = params.get("next") ?? "";
  return /^#\/(?!sign-in|setup)/.test(next) ? next : "#/";
}
