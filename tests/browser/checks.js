// Mistakes of a page that keep people with assistive programs from using it, as texts.
() => {
  const found = [];
  const visible = (e) => e.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const name = (e) => (e.getAttribute("aria-label") || e.labels?.[0]?.textContent || e.textContent || e.alt || "").trim();

  for (const e of document.querySelectorAll("input, select, textarea, button, a[href]")) {
    if (visible(e) && !name(e)) found.push(`without a name: ${e.outerHTML}`);
  }
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  if (new Set(ids).size !== ids.length) found.push(`an id twice: ${ids}`);
  for (const attribute of ["aria-describedby", "aria-labelledby", "aria-controls", "for"]) {
    for (const e of document.querySelectorAll(`[${attribute}]`)) {
      for (const id of e.getAttribute(attribute).split(/\s+/).filter(Boolean)) {
        if (!document.getElementById(id)) found.push(`${attribute} names no element: ${id}`);
      }
    }
  }
  const headings = [...document.querySelectorAll("main :is(h1,h2,h3,h4)")];
  const levels = headings.map((e) => Number(e.tagName[1]));
  if (levels.filter((level) => level === 1).length !== 1) found.push(`not one h1: ${levels}`);
  levels.forEach((level, at) => {
    if (level > (levels[at - 1] ?? 0) + 1) found.push(`a level is left out: ${levels}`);
  });
  for (const table of document.querySelectorAll("table")) {
    if (!table.caption?.textContent) found.push("a table without caption");
    for (const th of table.querySelectorAll("th")) {
      if (!th.scope || !th.textContent) found.push(`a bad th: ${th.outerHTML}`);
    }
  }
  for (const e of document.querySelectorAll("img")) if (!e.hasAttribute("alt")) found.push("an image without alt");
  if (!document.documentElement.lang || !document.title) found.push("no language or title");
  for (const mark of ["main", "header", "nav"]) if (!document.querySelector(mark)) found.push(`no ${mark}`);
  return found;
}
