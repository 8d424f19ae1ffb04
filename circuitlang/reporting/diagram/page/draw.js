// --- the drawing: what is shown, at its place ---

const view = byId("view"), headings = byId("headings");
const layers = { edges: draw("g", { fill: "none", "stroke-linejoin": "round" }), sums: draw("g", {}), nodes: draw("g", {}) };
view.append(layers.edges, layers.sums, layers.nodes);
const of = new Map();
let plan = { columns: [], width: 1, height: 1 };

/** Add an edge or a node to the drawing. */
function mount(one) {
  if (one.parts || one.to) mountEdge(one);
  else mountNode(one);
}

function unmount(one) {
  for (const element of [one.element, one.sum]) if (element instanceof Element) element.remove();
  of.delete(one.element);
}

function mountEdge(edge) {
  const source = edge.source || edge.from, target = edge.target || edge.to;
  edge.element = draw("path", { class: `circuit-edge ${kindOf(edge)}`, tabindex: -1 });
  Object.assign(edge.element.dataset, { from: source.name, to: target.name });
  layers.edges.append(edge.element);
  of.set(edge.element, edge);
}

function mountNode(node) {
  const kind = `circuit-node${node.isTarget ? " circuit-target" : ""}${node.members ? " circuit-group" : ""}${node.owner ? ` ${node.owner}` : ""}`;
  node.element = draw("g", { class: kind, tabindex: -1, role: "button", "aria-pressed": "false" });
  node.element.dataset.channel = node.name;
  node.inside = draw("g", {});
  node.label = node.isImage ? null : draw("text", { "text-anchor": "middle" });
  node.element.append(node.inside, ...(node.label ? [node.label] : []));
  layers.nodes.append(node.element);
  of.set(node.element, node);
}

/** Let the search offer labels and groups beside the names of channels. */
function offerNames() {
  if (!byId("channels")) return;
  for (const option of byId("channels").querySelectorAll("[data-called]")) option.remove();
  for (const node of new Set([...base.nodes, ...nodes])) {
    if (node.called === node.name && !node.members) continue;
    const option = Object.assign(make("option"), { value: node.called, label: node.members ? "group" : node.name });
    option.dataset.called = "";
    byId("channels").append(option);
  }
}

/** Call every channel by its label, and draw groups as one. */
function rename() {
  for (const node of base.nodes) {
    const label = names.labels.get(node.name);
    node.called = label ? label.text : node.name;
  }
  wire();
  offerNames();
  for (const node of [...base.nodes, ...nodes]) {
    const called = node.called === node.name ? node.name : `${node.called}, ${node.name}`;
    node.element.setAttribute("aria-label", node.members ? `${node.name}, a group of ${node.members.length} channels` : called);
    node.element.classList.toggle("grouped", Boolean(!node.members && groupOf(node)));
  }
}

for (const edge of [...base.edges].sort((one, other) => one.influence - other.influence)) mountEdge(edge);
for (const node of base.nodes) mountNode(node);
recallNames();

/** Lay out what is drawn anew and put it there. */
function render() {
  select();
  folds = new Set([...state.folded, ...(state.passing ? passing() : [])]);
  const room = space();
  plan = arrange(room.width, room.height);
  for (const edge of base.edges) if (edge.stands !== edge) edge.element.classList.add("hidden");
  for (const edge of edges) {
    edge.element.classList.toggle("hidden", !edge.drawn);
    if (edge.drawn) edge.element.setAttribute("d", edge.path);
  }
  ink();
  for (const node of base.nodes) if (nodes[node.index] !== node) hide(node);
  for (const node of nodes) put(node);
  drawMap();
  if (!zoomed) fit();
  else look();
  showImages();
  refresh();
}

function hide(node) {
  node.drawn = false;
  put(node);
}

const DASHES = { shortcut: [6, 3], unstable: [1.5, 2.5], first: [7, 3], second: [0.6, 2.4] };

/** Draw edges as wide as their influence says, in all images or in the chosen one. */
function ink() {
  // In a drawing that is small when it is fitted, lines are still seen.
  const pen = inks(), grown = Math.max(1, 0.6 / fitted());
  for (const edge of edges.filter(visible)) {
    const [thin, opacity] = pen(influenceOf(edge)), width = thin * grown;
    edge.element.setAttribute("stroke-width", round(width));
    edge.element.setAttribute("stroke-opacity", opacity.toFixed(2));
    const dashes = DASHES[edge.owner] || (edge.owner ? null : edge.unstable ? DASHES.unstable : edge.dashed ? DASHES.shortcut : null);
    if (dashes) edge.element.setAttribute("stroke-dasharray", dashes.map((dash) => round(dash + width)).join(" "));
  }
}

/** Width and opacity of edges: thinner and fainter in a crowd, and by a root of the influence, as in figure.py. */
function inks() {
  const drawn = edges.filter(visible).map(influenceOf).sort((one, other) => one - other);
  const strongest = drawn[drawn.length - 1] || 0, middle = drawn[drawn.length >> 1] || 0;
  const power = middle > 0 && middle < strongest ? Math.min(Math.max(Math.log(0.4) / Math.log(middle / strongest), 0.2), 0.5) : 0.5;
  const crowd = Math.min(Math.max(drawn.length, 20) / 20, 25) ** 0.25;
  return (influence) => {
    const share = strongest > 0 ? (influence / strongest) ** power : 1;
    return [0.5 + (share * 6.5) / crowd, 0.9 * share + ((1 - share) * 0.45) / crowd];
  };
}

function put(node) {
  node.element.classList.toggle("hidden", !node.drawn);
  const sums = node.drawn && !node.folded && node.into.some((edge) => edge.drawn && edge.sum);
  if (sums && !node.sum) layers.sums.append((node.sum = draw("g", { class: "circuit-sum" }, draw("circle", {}), draw("path", {}))));
  if (node.sum) node.sum.classList.toggle("hidden", !sums);
  if (!node.drawn) return;
  node.element.setAttribute("transform", `translate(${round(node.x)} ${round(node.y)})`);
  node.element.classList.toggle("folded", node.folded);
  const { size } = node, half = size / 2;
  if (node.drawnSize !== size) {
    node.drawnSize = size;
    node.overlays = null;
    node.inside.replaceChildren(...(node.folded ? [draw("circle", { class: "circuit-rim circuit-dot", r: half })] : face(node, size)));
  }
  if (sums) {
    const ring = Math.min(Math.max(0.09 * size, 3.2), 6), arm = 0.55 * ring;
    node.sum.setAttribute("transform", `translate(${round(node.x - half - ring - 3)} ${round(node.y)})`);
    node.sum.firstChild.setAttribute("r", round(ring));
    node.sum.lastChild.setAttribute("d", `M${-arm} 0H${arm}M0 ${-arm}V${arm}`);
  }
}

const square = (size, attributes) => draw("rect", { x: -size / 2, y: -size / 2, width: size, height: size, rx: 0.12 * size, ...attributes });

/** A channel's filter or crop in its frame, else a disc; the image as hills and a sun. */
function face(node, size) {
  const rim = square(size, { class: "circuit-rim", fill: "none" });
  if (node.isImage) {
    const step = size / 20, hills = [[-8, 6], [-3, -1], [0, 2.5], [3.5, -2.5], [8, 6]];
    const points = hills.map((point) => point.map((value) => round(value * step)).join(",")).join(" ");
    return [
      square(size, { class: "circuit-paper" }), draw("circle", { class: "circuit-sun", cx: -3.5 * step, cy: -3.5 * step, r: 2 * step }),
      draw("polygon", { class: "circuit-hills", points }), rim,
    ];
  }
  const shown = (node.members || [node]).slice(0, TILES);
  if (!node.members && !node.thumb) return [draw("circle", { class: "circuit-rim", r: size / 2 })];
  const images = cells(shown.length, size).map((cell, index) => {
    const one = shown[index], image = draw(one.thumb ? "image" : "rect", { ...cell, class: one.isFilter ? "crisp" : "circuit-blank" });
    if (one.thumb) image.setAttribute("href", one.thumb);
    return image;
  });
  const paper = square(size + 3, { class: "circuit-paper" }), behind = square(size, { class: "circuit-rim circuit-stack", fill: "none", transform: "translate(3 -3)" });
  return [...(node.members ? [behind] : []), paper, draw("g", { "clip-path": `url(#${clip(size)})` }, ...images), rim];
}

// A group shows as many of its channels, in squares of its own.
const TILES = 4;

function cells(many, size) {
  const across = Math.ceil(Math.sqrt(many)), side = size / across, down = Math.ceil(many / across), top = (size - down * side) / 2;
  return Array.from({ length: many }, (_, index) => (
    { x: (index % across) * side - size / 2, y: top + Math.floor(index / across) * side - size / 2, width: side, height: side }
  ));
}

// Sizes are few, and a tile of a sheet reaches beyond its svg, so that it can't be clipped by share of its own box.
function clip(size) {
  const id = `clip-${String(round(size)).replace(".", "-")}`;
  if (!byId(id)) drawing.querySelector("defs").append(draw("clipPath", { id }, square(size, {})));
  return id;
}

// --- words: never smaller than can be read, so there are fewer where there is less room ---

const SMALLEST = 9;

/** Numbers below nodes, in the size of the screen; none where it would touch the next node. */
function drawLabels() {
  const { scale } = camera;
  for (const node of nodes) {
    if (!node.drawn || !node.label) continue;
    const wish = node.isTarget ? 13 : Math.min(Math.max(0.22 * node.size, 7), 11);
    const size = Math.max(wish, (node.isTarget ? 11 : SMALLEST) / scale), tall = !node.folded && node.pitch - node.size >= 1.15 * size;
    // A label takes the room between columns too, where nothing is beside the node.
    const room = node.size * 1.35 + (node.alone ? 44 : 0), fits = (text, wide) => tall && wide >= 0.58 * size * text.length;
    const label = node.called === node.name && !node.members ? "" : shortened(node.called, 16);
    const text = label && fits(label, room) ? label : !node.members && (node.isTarget || fits(node.number, node.size * 1.35)) ? node.number : "";
    node.label.textContent = node.isTarget && label ? aimed(node, label, size * scale) : text;
    node.label.classList.toggle("hidden", !node.label.textContent);
    node.label.setAttribute("font-size", size.toFixed(2));
    node.label.setAttribute("y", (node.size / 2 + 0.95 * size).toFixed(2));
  }
}

/** The number of a target and its label, or as much of them as is not cut off. */
function aimed(node, label, size) {
  const x = camera.x + node.x * camera.scale, room = 2 * Math.min(x, stage.clientWidth - x) / (0.62 * size);
  return (node.alone && [`${node.number} ${label}`, label].find((text) => text.length <= room)) || node.number;
}

// The camera that headings were drawn for.
let headed = { x: 0, scale: 0 };

/** The names of layers above their columns, which stay in sight: in two rows where one is too narrow, and those that
    fit in neither go. */
function drawHeadings() {
  const wide = stage.clientWidth, last = plan.columns[plan.columns.length - 1];
  const spots = plan.columns.map((column) => {
    const layer = column.layer < 0 ? { name: "image", path: "", note: "" } : data.layers[column.layer];
    const middle = camera.x + ((column.left + column.right) / 2) * camera.scale, width = 6.7 * layer.name.length + 6;
    const ends = column.layer < 0 || column.nodes.some((slot) => slot.node.isTarget);
    // That of the target is never cut off.
    const x = column === last && middle < wide + 20 ? Math.min(middle, wide - width / 2 - 2) : middle;
    return { layer, column, x, width, ends, row: 0 };
  }).filter((spot) => spot.x > -20 && spot.x < wide + 20);
  const taken = [];
  const free = (spot, row) => taken.every((other) => other.row !== row || Math.abs(other.x - spot.x) >= (other.width + spot.width) / 2);
  for (const spot of [...spots].sort((one, other) => other.ends - one.ends || one.x - other.x)) {
    spot.row = free(spot, 0) ? 0 : 1;
    if (free(spot, spot.row)) taken.push(spot);
  }
  const rows = taken.some((spot) => spot.row) ? 2 : 1;
  headed = { x: camera.x, scale: camera.scale };
  headings.replaceChildren(draw("g", {}, ...taken.map((spot) => {
    const near = taken.filter((other) => other !== spot).map((other) => Math.abs(other.x - spot.x));
    const room = Math.min(...near, 2 * (wide - spot.x), 2 * spot.x, 400);
    const lines = [spot.layer.path, spot.layer.note].filter((line) => rows === 1 && line && 5.8 * line.length < room);
    const group = draw("g", { class: "heading", transform: `translate(${round(spot.x)} 0)` });
    group.append(words(spot.layer.name, 15 + 15 * spot.row, 11.5, "name"), ...lines.map((line, index) => words(line, 28 + 13 * index, 10, "circuit-detail")));
    if (!spot.ends) {
      const title = [spot.layer.name, spot.layer.path, spot.layer.note].filter(Boolean).join(", ");
      group.append(draw("title", {}));
      group.lastChild.textContent = `${title}. Click to ${spot.column.folded ? "unfold" : "fold"} the layer.`;
      group.classList.toggle("folded", spot.column.folded);
      group.addEventListener("click", () => fold(spot.column.layer));
    }
    return group;
  })));
}

/** Move the headings with the drawing; made anew for each frame they would take longer than all else. */
function moveHeadings() {
  if (camera.scale !== headed.scale) drawHeadings();
  else headings.firstChild.setAttribute("transform", `translate(${round(camera.x - headed.x)} 0)`);
}

function words(line, y, size, kind) {
  const text = draw("text", { class: kind, y, "font-size": size, "text-anchor": "middle" });
  text.textContent = line;
  return text;
}

function fold(layer) {
  if (state.passing) {
    // What was folded by rule is folded by hand from now on, so that one layer can be unfolded.
    state.folded = new Set(folds);
    state.passing = false;
    if (byId("passing")) byId("passing").checked = false;
  }
  if (!state.folded.delete(layer)) state.folded.add(layer);
  render();
  remember();
}

// --- what is marked ---

function refresh() {
  const kept = state.chosen && state.chosen.drawn ? through(state.chosen) : null;
  const found = new Set(named(state.query));
  for (const edge of edges) edge.element.classList.toggle("dim", kept !== null && !kept.has(edge));
  for (const node of nodes) {
    node.dimmed = kept !== null && !kept.has(node);
    node.element.classList.toggle("dim", node.dimmed);
    node.element.classList.toggle("chosen", node === state.chosen);
    node.element.classList.toggle("found", found.has(node));
    node.element.setAttribute("aria-pressed", String(node === state.chosen));
    if (node.sum) node.sum.classList.toggle("dim", node.dimmed);
  }
  say(kept, found);
}

function say(kept, found) {
  if (byId("count")) {
    const shown = kernels(), all = base.edges[base.edges.length - 1].shown;
    byId("count").textContent = `${number(shown)} of ${count(all, "kernel")}, ${percent(carried())} of the influence`;
    byId("shown").setAttribute("aria-valuetext", byId("count").textContent);
  }
  let text = "";
  if (state.query) {
    const hidden = [...found].filter((node) => !node.drawn).length;
    text = found.size ? `${count(found.size, "channel")} found${hidden ? `, ${number(hidden)} not drawn` : ""}` : `no channel is called ${state.query}`;
  } else if (kept) {
    const feeding = new Set(), fed = new Set();
    collect(state.chosen, "into", "source", feeding);
    collect(state.chosen, "out", "target", fed);
    const image = [...feeding].some((node) => node.isImage) ? " and the image" : "";
    const channels = [...feeding].filter((node) => !node.isImage).length;
    text = `${state.chosen.called}: fed by ${count(channels, "channel")}${image}, feeds ${count(fed.size, "channel")}. Escape shows all.`;
  } else if (state.image >= 0) text = `${data.scenes.names[state.image]}, as it excites each channel in the ${place()}${edges.some((edge) => edge.images.length) ? "; edges by what they carry in it" : ""}`;
  else if (!state.depth && data.alone[state.step]) text = `Alone, these paths keep ${data.target} at ${data.alone[state.step]}.`;
  status.textContent = text;
}

function collect(node, list, end, found) {
  for (const edge of node[list]) {
    if (!visible(edge) || found.has(edge[end])) continue;
    found.add(edge[end]);
    collect(edge[end], list, end, found);
  }
}
