// How many texts a page shows, and those whose contrast (WCAG 2, 1.4.3) is under 4.5.
() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });

  function rgba(colour) {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  }

  function behind(element) {
    for (let e = element; e; e = e.parentElement) {
      const colour = rgba(getComputedStyle(e).backgroundColor);
      if (colour[3] > 250) return colour;
    }
    return [255, 255, 255, 255];
  }

  function luminance(colour) {
    const [r, g, b] = colour.slice(0, 3).map((value) => value / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }

  function contrast(one, other) {
    const [more, less] = [luminance(one), luminance(other)].sort((a, b) => b - a);
    return (more + 0.05) / (less + 0.05);
  }

  const low = [];
  let seen = 0;
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode.data.trim();
    const e = texts.currentNode.parentElement;
    const shown = e.checkVisibility({ visibilityProperty: true });
    if (!text || !shown || e.closest(".visually-hidden, .skip, option, noscript")) continue;
    seen += 1;
    const got = contrast(rgba(getComputedStyle(e).color), behind(e));
    if (got < 4.5) low.push(`${got.toFixed(2)} ${text}`);
  }
  return [seen, low];
}
