// Runs in a copy of the page and tells the page around it what a reader would see.
const errors = [];
addEventListener("error", event => errors.push(String(event.message || event.target.outerHTML)), true);
addEventListener("securitypolicyviolation", event => errors.push(`${event.violatedDirective} ${event.blockedURI}`));

function channels(colour) {
  return (colour.match(/[\d.]+/g) || []).map(Number);
}

function luminance(colour) {
  const [r, g, b] = channels(colour).map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function paper(element) {
  for (let e = element; e; e = e.parentElement) {
    const colour = getComputedStyle(e).backgroundColor, parts = channels(colour);
    if (parts.length === 3 || parts[3] === 1) return colour;
  }
  return "rgb(255, 255, 255)";
}

function contrast(a, b) {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

function overlaps(texts) {
  const boxes = texts.map(text => [text.textContent, text.getBoundingClientRect()]), found = [];
  boxes.forEach(([left, a], index) => boxes.slice(index + 1).forEach(([right, b]) => {
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const tall = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    // A line box is taller than its letters: a fifth of it may lie over another.
    if (wide > 0.5 && tall > 0.2 * Math.min(a.height, b.height)) found.push(`${left} | ${right}`);
  }));
  return found;
}

function picture(svg) {
  const box = svg.getBoundingClientRect(), texts = [...svg.querySelectorAll("text")];
  const read = texts.filter(text => !text.classList.contains("inside")); // numbers in cells are extras
  const outside = texts.filter(text => {
    const own = text.getBoundingClientRect();
    return own.left < box.left - 1 || own.right > box.right + 1 || own.top < box.top - 1 || own.bottom > box.bottom + 1;
  });
  const shapes = [...svg.querySelectorAll("rect, path, line")].map(shape => shape.getBBox());
  return {
    name: svg.dataset.picture, width: box.width, height: box.height, texts: texts.length,
    smallest: Math.min(99, ...read.map(text => parseFloat(text.getAttribute("font-size")) * box.width / svg.viewBox.baseVal.width)),
    overlaps: overlaps(texts), outside: outside.map(text => text.textContent),
    beyond: shapes.filter(b => b.x < -1 || b.y < -1 || b.x + b.width > svg.viewBox.baseVal.width + 1
      || b.y + b.height > svg.viewBox.baseVal.height + 1).length,
  };
}

addEventListener("load", () => {
  const all = [...document.querySelectorAll("body *")];
  const worded = all.filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) && e.checkVisibility()
    && !["TITLE", "STYLE", "SCRIPT"].includes(e.tagName.toUpperCase()) && !e.classList.contains("inside"));
  const faint = worded.map(e => {
    const style = getComputedStyle(e), ink = e instanceof SVGElement ? style.fill : style.color;
    return [contrast(ink, paper(e)), e.textContent.slice(0, 40)];
  }).sort((a, b) => a[0] - b[0]);
  parent.postMessage({
    name: window.name, errors, owned: window.owned === undefined ? null : window.owned,
    elements: { script: document.querySelectorAll("body script").length, img: document.querySelectorAll("img").length },
    requests: performance.getEntriesByType("resource").map(entry => entry.name),
    sections: [...document.querySelectorAll("section")].map(e => e.id),
    ids: all.filter(e => e.id).map(e => e.id),
    verdict: document.getElementById("verdict").innerText,
    overflow: document.documentElement.scrollWidth - innerWidth,
    // What sticks out of its parent without a scroll bar of its own.
    clipped: [...document.querySelectorAll("dd, figcaption, figure, p, li, h1, h3")]
      .filter(e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0).map(e => e.textContent.slice(0, 40)),
    pictures: [...document.querySelectorAll("svg[data-picture]")].map(picture),
    contrast: faint[0], paper: getComputedStyle(document.body).backgroundColor,
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
  }, "*");
});
