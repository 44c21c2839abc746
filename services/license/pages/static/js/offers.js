// What licenses offer together: the server's rule, to show what an installation would change.

const COMMUNITY = "SWARM-CMT";

/** Units by feature id: the community license counts only for features that no other license names. */
export function offered(licenses) {
  const totals = new Map();
  const community = new Map();
  for (const license of licenses.filter((one) => one.state !== "archived")) {
    const into = license.product === COMMUNITY ? community : totals;
    for (const [feature, units] of Object.entries(license.features)) {
      into.set(feature, (into.get(feature) ?? 0) + (license.state === "active" ? units : 0));
    }
  }
  return new Map([...community, ...totals]);
}

/** Rows `{feature, name, before, after}` of the features that `added` licenses name. */
export function changes(installed, added) {
  const before = offered(installed);
  const after = offered([...installed, ...added.filter((one) => !one.installed)]);
  const names = new Map(added.flatMap((one) => Object.entries(one.names ?? {})));
  const features = [...new Set(added.flatMap((one) => Object.keys(one.features)))].sort();
  return features.map((feature) => ({ feature, name: names.get(feature) ?? "Feature", before: before.get(feature) ?? 0, after: after.get(feature) ?? 0 }));
}
