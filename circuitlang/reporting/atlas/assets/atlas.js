
const SVG = "http://www.w3.org/2000/svg";
const base = root.dataset.root;

function made(name, attributes = {}, ...inside) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...inside);
  return element;
}

function shape(name, attributes = {}, ...inside) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...inside);
  return element;
}

// Data comes as scripts: pages from a disk may not fetch.
let loading;
const network = () => (loading ||= new Promise((done) => {
  if (window.NETWORK) return done(window.NETWORK);
  const script = made("script", { src: `${base}data/network.js` });
  script.addEventListener("load", () => done(window.NETWORK));
  document.head.append(script);
}));
const place = (slug, unit) => `${base}channels/${encodeURIComponent(slug)}/${unit}.html`;

// --- the map
const BOUNDS = [0.5, 0.7, 0.9, 0.95];

function cell(data, layer, [unit, quality, verdict, label, count]) {
  const words = data.verdicts[verdict], classes = [];
  if (words === undefined) classes.push("passed");
  else if (words === "constant") classes.push("constant");
  else classes.push(`q${BOUNDS.filter((bound) => quality >= bound).length}`);
  if (words === "no better than a baseline") classes.push("baseline");
  const called = `${layer[0]}:${unit}${label ? ` “${label}”` : ""}`;
  const says = words === undefined ? `no circuit of its own, ${count} through it` : `${words}, ${data.metric} ${quality.toFixed(3)}`;
  return made("a", { class: classes.join(" "), href: place(layer[1], unit), tabindex: -1, title: `${called}: ${says}`, "aria-label": `${called}: ${says}` });
}

function drawMap(data, into) {
  for (const layer of data.layers) {
    const [name, , width, channels] = layer;
    const own = channels.filter((channel) => channel[1] !== null).length;
    const cells = made("div", { class: `cells${channels.length > 128 || !own ? " many" : ""}`, role: "group", "aria-label": `Channels of ${name}` });
    cells.append(...channels.map((channel) => cell(data, layer, channel)));
    if (cells.firstChild) cells.firstChild.tabIndex = 0;
    cells.addEventListener("keydown", (event) => move(event, cells));
    const about = made("p", {}, own ? `${own.toLocaleString("en")} of ${width.toLocaleString("en")} channels have circuits` : `${channels.length.toLocaleString("en")} of ${width.toLocaleString("en")} channels are passed through`);
    into.append(made("div", { class: "layer" }, made("div", {}, made("h3", {}, name), about), cells));
  }
}

function move(event, cells) {
  const all = [...cells.children], at = all.indexOf(document.activeElement);
  const row = all.filter((one) => one.offsetTop === all[0].offsetTop).length;
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: row, ArrowUp: -row, Home: -at, End: all.length - 1 - at }[event.key];
  if (step === undefined || at < 0) return;
  event.preventDefault();
  const next = all[Math.min(Math.max(at + step, 0), all.length - 1)];
  all[at].tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

// --- the search
const MOST = 12;
const search = document.querySelector("#search"), found = document.querySelector("#found"), hits = document.querySelector("#hits");

async function find() {
  const data = await network(), words = search.value.trim().toLowerCase(), all = [];
  for (const [name, slug, , channels] of words ? data.layers : []) {
    for (const [unit, quality, verdict, label] of channels) {
      const called = `${name}:${unit}`;
      const rank = called.toLowerCase() === words ? 0 : label && label.toLowerCase().includes(words) ? 1 : called.toLowerCase().startsWith(words) ? 2 : called.toLowerCase().includes(words) ? 3 : 4;
      if (rank < 4) all.push([rank, called, slug, unit, quality, verdict, label]);
    }
  }
  all.sort((one, other) => one[0] - other[0]);
  found.replaceChildren(...all.slice(0, MOST).map(([, called, slug, unit, quality, verdict, label]) => made("li", {}, made("a", { href: place(slug, unit) },
    made("span", {}, called, label ? made("span", { class: "label" }, ` “${label}”`) : ""), made("span", {}, verdict < 0 ? "" : data.verdicts[verdict] === "constant" ? "constant" : quality.toFixed(3))))));
  if (words && !all.length) found.append(made("li", { class: "none" }, "no such channel"));
  found.hidden = !words;
  hits.textContent = words ? `${all.length} channels` : "";
}

search.addEventListener("input", find);
search.addEventListener("keydown", (event) => {
  const first = found.querySelector("a");
  if (event.key === "Enter" && first) location.href = first.href;
  else if (event.key === "ArrowDown" && first) { event.preventDefault(); first.focus(); }
});
found.addEventListener("keydown", (event) => {
  const all = [...found.querySelectorAll("a")], at = all.indexOf(document.activeElement);
  const next = { ArrowDown: all[at + 1], ArrowUp: at ? all[at - 1] : search, Escape: search }[event.key];
  if (next) { event.preventDefault(); next.focus(); }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") found.hidden = true;
  if (event.key === "/" && document.activeElement === document.body) { event.preventDefault(); search.focus(); }
});
document.addEventListener("click", (event) => { if (!event.target.closest(".find")) found.hidden = true; });

// --- the drawing of a circuit
const STEP = 22, TOP = 46, EDGE = 26, READABLE = 0.85;

/** Orders the channels of each column by the mean place of those that they are joined with. */
function arranged(data) {
  const columns = data.layers.map((_, column) => data.nodes.map((_node, number) => number).filter((number) => data.nodes[number][0] === column));
  const spot = new Map();
  const settle = (column) => columns[column].forEach((number, at) => spot.set(number, (at + 0.5) / columns[column].length));
  columns.forEach((_, column) => settle(column));
  for (let sweep = 0; sweep < 6; sweep += 1) {
    for (let turn = 0; turn < columns.length; turn += 1) {
      const column = sweep % 2 ? columns.length - 1 - turn : turn, pull = new Map();
      for (const [from, to, influence] of data.edges) {
        for (const [one, other] of [[from, to], [to, from]]) {
          if (data.nodes[one][0] !== column) continue;
          const [sum, weight] = pull.get(one) || [0, 0];
          pull.set(one, [sum + (influence + 1e-3) * spot.get(other), weight + influence + 1e-3]);
        }
      }
      const at = (number) => (pull.has(number) ? pull.get(number)[0] / pull.get(number)[1] : spot.get(number));
      columns[column].sort((one, other) => at(one) - at(other) || one - other);
      settle(column);
    }
  }
  return columns;
}

function drawCircuit(data, slugs, called) {
  const columns = arranged(data), most = Math.max(...columns.map((column) => column.length));
  const width = Math.max(760, columns.length * 96), height = TOP + EDGE + Math.max(most * STEP, 120), at = new Map();
  columns.forEach((column, number) => {
    const x = 40 + (number * (width - 110)) / Math.max(columns.length - 1, 1), gap = Math.min((height - TOP - EDGE) / column.length, 2.4 * STEP);
    const start = TOP + (height - TOP - EDGE - gap * column.length) / 2;
    column.forEach((node, row) => at.set(node, [x, start + gap * (row + 0.5)]));
  });
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `Strongest paths of ${called}, from the image on the left to the feature on the right` });
  const lines = shape("g"), marks = shape("g");
  const lit = (node) => { svg.classList.toggle("dim", node !== null); for (const [line, ends] of drawn) line.classList.toggle("lit", ends.includes(node)); };
  const drawn = data.edges.map(([from, to, influence, sign]) => {
    const [x, y] = at.get(from), [right, down] = at.get(to), bend = (right - x) / 2;
    const line = shape("path", { d: `M${x} ${y}C${x + bend} ${y} ${right - bend} ${down} ${right} ${down}`, class: sign < 0 ? "less" : "", "stroke-width": (0.7 + 6 * Math.sqrt(influence)).toFixed(2) });
    lines.append(line);
    return [line, [from, to]];
  });
  for (const [node, [x, y]] of at) {
    const [column, unit, influence] = data.nodes[node], layer = data.layers[column], isImage = layer === "image";
    const words = isImage ? "the image" : `${layer}:${unit}`, flows = `${words}, ${(100 * influence).toFixed(0)}% of the feature flows through it`;
    const dot = shape("circle", { cx: x, cy: y, r: (3.4 + 5 * Math.sqrt(influence)).toFixed(1) });
    const text = shape("text", { x: x + 11, y: y + 4 }, isImage ? "" : String(unit));
    const mark = isImage ? shape("g", { class: "node" }, dot, text) : shape("a", { href: place(slugs[layer], unit), class: data.target.includes(node) ? "target" : "", "aria-label": flows }, shape("title", {}, flows), dot, text);
    for (const event of ["pointerenter", "focus"]) mark.addEventListener(event, () => lit(node));
    for (const event of ["pointerleave", "blur"]) mark.addEventListener(event, () => lit(null));
    marks.append(mark);
  }
  columns.forEach((column, number) => {
    const last = number === columns.length - 1, x = at.get(column[0])[0] + (last ? 20 : number ? 0 : -12), parts = data.layers[number].split(".");
    // Paths of modules are long; their first two parts, mostly a block, stand above the others.
    const rows = parts.length > 2 ? [parts.slice(0, 2).join("."), parts.slice(2).join(".")] : [data.layers[number]];
    svg.append(...rows.map((words, row) => shape("text", { class: "column", x, y: 10 + 14 * (row + 2 - rows.length), "text-anchor": last ? "end" : number ? "middle" : "start" }, words)));
  });
  svg.append(lines, marks);
  // A network of many layers scrolls, rather than being too small to read.
  svg.style.minWidth = `${Math.round(READABLE * width)}px`;
  return svg;
}

// --- what a page has
const map = document.querySelector("#network");
if (map) network().then((data) => drawMap(data, map));
const drawings = document.querySelectorAll(".paths");
if (drawings.length) addEventListener("DOMContentLoaded", () => {
  for (const drawing of drawings) {
    const data = window.CIRCUITS?.drawings[drawing.dataset.circuit];
    if (!data) continue;
    drawing.append(drawCircuit(data, window.CIRCUITS.slugs, drawing.getAttribute("aria-label").replace("Strongest paths of ", "")));
    // The channel itself is at the end.
    drawing.scrollLeft = drawing.scrollWidth;
  }
});
