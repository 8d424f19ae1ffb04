// --- the card of what is pointed at ---

/** A kernel's weights as squares in signed colours; `paint` mixes them. */
function heat(edge, paint) {
  const [many, height, width] = edge.shape;
  const values = Int8Array.from(atob(edge.weights), (letter) => letter.charCodeAt(0));
  const across = height * width === 1 ? Math.ceil(Math.sqrt(many)) : Math.min(many, 4);
  const gap = height * width === 1 ? 0 : 1, down = Math.ceil(many / across);
  const wide = across * (width + gap) - gap, tall = down * (height + gap) - gap;
  const svg = draw("svg", { viewBox: `0 0 ${wide} ${tall}`, "shape-rendering": "crispEdges", "aria-hidden": "true" });
  values.forEach((value, index) => {
    const kernel = Math.floor(index / (height * width)), inside = index % (height * width);
    const x = (kernel % across) * (width + gap) + (inside % width);
    const y = Math.floor(kernel / across) * (height + gap) + Math.floor(inside / width);
    svg.append(draw("rect", { x, y, width: 1, height: 1, fill: paint.weight(value / 127) }));
  });
  svg.ratio = wide / tall;
  return svg;
}

/** The line of a spec that measures the target without a channel, a group or a kernel; empty for other edges. */
function editLine(one) {
  const written = (node) => node.name.replace(/^(\d[\w.]*):/, '"$1":');
  if (one.source && (one.source.isImage || one.source.members || one.target.members)) return "";
  if (one.isImage || !data.edit) return "";
  const part = one.source ? `${written(one.target)} <- ${written(one.source)}` : one.members ? `"${one.name}"` : written(one);
  return `edit NAME = ${part} ${data.edit}`;
}

function fill(one) {
  card.replaceChildren(make("h2", one.source ? `${one.source.called} → ${one.target.called}` : one.called));
  if (one.source) {
    const svg = heat(one, SCREEN);
    svg.setAttribute("class", "kernel");
    svg.style.height = `${Math.min(96, 300 / svg.ratio)}px`;
    card.append(svg, ...one.text.map((line) => make("p", line)), make("p", one.largest));
    if (editLine(one)) card.append(make("code", editLine(one)));
    return;
  }
  if (one.called !== one.name) card.append(make("p", one.name));
  if (one.alias) card.append(make("p", one.alias));
  card.append(...one.text.map((line) => make("p", line)));
  const tiles = make("div", "", "tiles");
  if (one.thumb) tiles.append(figure(one.isFilter ? "its filter" : "excites it most", putTile(tile(), nodeThumb(one))));
  for (const inside of [0, 1]) {
    const where = inside ? "circuit" : "network";
    if (state.image >= 0 && one.maps) tiles.append(figure(`in ${where}`, putTile(tile(), nodeMap(one, inside))));
    else if (one.vision && inside < one.versions) tiles.append(figure(`made: ${where}`, putTile(tile(), visionSheet(one.vision, inside, one.versions))));
  }
  if (tiles.children.length) card.append(tiles);
  if (state.image >= 0 && one.scale) card.append(make("p", one.scale));
  const feeding = ranked(one.into.filter(visible)), list = make("ul");
  for (const edge of feeding.slice(0, 5)) {
    const item = make("li", "");
    item.append(make("i", "", edge.sign), make("b", edge.source.called), make("span", percent(shareOf(edge))));
    list.append(item);
  }
  if (feeding.length) card.append(make("p", "reads most of"), list);
  if (feeding.length > 5) card.append(make("p", `and ${number(feeding.length - 5)} more`));
  if (editLine(one)) card.append(make("code", editLine(one)));
}

let pointed = null;

function point(one, x, y) {
  if (pointed !== one) {
    unpoint();
    pointed = one;
    fill(one);
    for (const edge of one.source ? [one] : [...one.into, ...one.out]) edge.element.classList.add("near");
    if (one.source) one.element.classList.add("one");
    drawing.classList.add("pointing");
    card.hidden = false;
  }
  // Beside a node, not on it; beside the pointer where it is on an edge.
  const size = card.getBoundingClientRect(), edge = 10;
  const own = one.source ? { left: x - 6, right: x + 6 } : rim(one).getBoundingClientRect();
  const left = own.right + 12 + size.width > innerWidth - edge ? own.left - 12 - size.width : own.right + 12;
  const top = Math.min(y + 14, innerHeight - size.height - edge);
  card.style.left = `${Math.max(edge, left)}px`;
  card.style.top = `${Math.max(edge, top)}px`;
}

// Not all of a node: tiles reach beyond it, unseen.
const rim = (node) => node.element.querySelector(".circuit-rim");

function unpoint() {
  if (!pointed) return;
  for (const edge of pointed.source ? [pointed] : [...pointed.into, ...pointed.out]) edge.element.classList.remove("near", "one");
  drawing.classList.remove("pointing");
  card.hidden = true;
  pointed = null;
}

/** What is under the pointer or, as thin lines are hard to hit, a little beside it. */
function under(x, y) {
  const beside = [[0, 0], [0, 3], [0, -3], [3, 0], [-3, 0], [0, 6], [0, -6]];
  for (const [right, down] of beside) {
    const hit = document.elementFromPoint(x + right, y + down);
    const one = hit && of.get(hit.closest(".circuit-node, .circuit-edge"));
    if (one) return one;
  }
  return null;
}
