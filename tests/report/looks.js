// What is wrong with the page as it is shown now: a list of sentences, empty where all is well.
(() => {
  const wrong = [];
  const named = (element) => `${element.tagName.toLowerCase()} "${element.textContent.trim().slice(0, 40)}"`;
  const shown = (element) => element.checkVisibility({ checkVisibilityCSS: true }) && element.getBoundingClientRect().width > 0;

  // Nothing is wider than the window; code may be scrolled by itself.
  const wide = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > wide) {
    wrong.push(`the page is ${document.documentElement.scrollWidth} wide, the window ${wide}`);
  }
  for (const element of document.querySelectorAll("h1, h2, h3, p, li, dl, table, th, td, figure, summary, svg text")) {
    const box = element.getBoundingClientRect();
    const away = getComputedStyle(element.closest("thead") ?? element).position === "absolute";
    if (shown(element) && !away && !(wide >= 704 && element.closest(".wide")) && (box.left < -1 || box.right > wide + 1)) {
      wrong.push(`${named(element)} reaches from ${box.left} to ${box.right}, the window is ${wide} wide`);
    }
  }

  for (const part of document.querySelectorAll(".wide")) {
    if (wide < 704 && part.scrollWidth > part.clientWidth) wrong.push(`${named(part)} is ${part.scrollWidth} wide`);
  }

  // Every figure has room, marks in colours of data, and all of them inside its frame.
  const data = /(fill|stroke): var\(--(pine|clay|moss|slate|ochre|plum|depth\d|pale|ink),/;
  for (const figure of document.querySelectorAll("figure")) {
    const svg = figure.querySelector("svg");
    const frame = svg.getBoundingClientRect();
    const title = `figure "${svg.getAttribute("aria-label")}"`;
    if (frame.width < 100 || frame.height < 20) wrong.push(`${title} is ${frame.width} by ${frame.height}`);
    const inside = (box, by) =>
      box.left >= frame.left - by && box.right <= frame.right + by &&
      box.top >= frame.top - by && box.bottom <= frame.bottom + by;
    const marks = [...svg.querySelectorAll("path, use, rect")].filter(
      (mark) => data.test(mark.getAttribute("style")) && !mark.closest("defs, clipPath, .tip")
    );
    if (!marks.length) wrong.push(`${title} has no marks`);
    for (const mark of marks) {
      if (!inside(mark.getBoundingClientRect(), 6)) wrong.push(`${title}: a mark lies outside of it`);
    }
    for (const text of svg.querySelectorAll("text")) {
      if (!inside(text.getBoundingClientRect(), 14)) wrong.push(`${title}: ${named(text)} lies outside of it`);
    }
    const middle = (box) => [box.left + box.width / 2, box.top + box.height / 2];
    const drawn = [...svg.querySelectorAll("use")].map((mark) => middle(mark.getBoundingClientRect()));
    for (const point of svg.querySelectorAll(".point circle")) {
      const [x, y] = middle(point.getBoundingClientRect());
      if (!drawn.some(([a, b]) => Math.hypot(a - x, b - y) < 2)) wrong.push(`${title}: nothing is drawn at a point`);
    }
  }

  // All words can be read: a contrast of 3 at least between their colour and what lies behind.
  const channels = (colour) => (colour.match(/[\d.]+/g) ?? []).map(Number);
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const found = channels(getComputedStyle(at).backgroundColor);
      if (found.length === 3 || found[3] > 0) return found.slice(0, 3);
    }
    return [255, 255, 255];
  };
  for (const element of document.querySelectorAll("h1, h2, h3, p, li, th, td, small, dt, dd, summary, code, svg text")) {
    if (!shown(element) || element.closest(".tip")) continue;
    const style = getComputedStyle(element);
    const ink = light(channels(element.tagName === "text" ? style.fill : style.color).slice(0, 3));
    const paper = light(behind(element));
    const contrast = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (contrast < 3) wrong.push(`${named(element)} has a contrast of ${contrast.toFixed(1)}`);
  }
  return [...new Set(wrong)];
})();
