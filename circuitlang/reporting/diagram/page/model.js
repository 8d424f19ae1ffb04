// --- the circuit, and what of it is drawn ---

const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const drawing = byId("drawing"), stage = byId("stage"), card = byId("card"), status = byId("status");

// Channels are in the order of columns and from the top, edges in that in which the slider brings them in. `base` has
// those of the circuit, `nodes` and `edges` those of the drawing, where a closed group is one node.
const base = { nodes: data.nodes.map((node, index) => ({ versions: 2, ...node, index, called: node.name, into: [], out: [], drawn: false })) };
base.edges = data.edges.map((edge) => ({ ...edge, from: base.nodes[edge.from], to: base.nodes[edge.to], drawn: false }));
base.nodes.forEach((node, index) => {
  node.place = index;
  if (!node.isImage) node.at = { layer: data.layers[node.layer].name, unit: Number(node.number) };
});
const nodes = [], edges = [];
for (const edge of base.edges) {
  // Share and influence in each image are square roots of 16 bits, the low byte first.
  const bytes = atob(edge.byImage || "");
  edge.images = Array.from({ length: bytes.length / 2 }, (_, index) => (
    ((bytes.charCodeAt(2 * index) + 256 * bytes.charCodeAt(2 * index + 1)) / 65535) ** 2
  ));
}
// The edges of the first steps are whole paths: how many there are.
const until = base.edges.reduce((ends, edge, index) => ((ends[edge.step] = index + 1), ends), []);
const { opening } = data;

const OWNERS = ["both", "first", "second"];
const state = {
  step: opening, depth: 0, image: -1, view: "crop", inside: 1, chosen: null, query: "", via: null,
  folded: new Set(), passing: false, common: false, opened: new Set(),
  // Of two circuits: the edges that are drawn, by who has them.
  owners: new Set(OWNERS),
};

// In the chosen image, where one is chosen and contributions are known.
const shareOf = (edge) => (state.image >= 0 && edge.images.length ? edge.images[2 * state.image] : edge.share);
const influenceOf = (edge) => (state.image >= 0 && edge.images.length ? edge.images[2 * state.image + 1] : edge.influence);
const ranked = (list) => [...list].sort((one, other) => influenceOf(other) - influenceOf(one));

/** Choose the edges and nodes that are drawn: those of the first steps, as far from the target as asked for. */
function select() {
  const level = state.depth ? levels() : null;
  for (const node of nodes) node.drawn = node.isTarget;
  for (const edge of edges) {
    edge.drawn = edge.step < state.step && (!edge.owner || state.owners.has(edge.owner)) && (!level || (level.has(edge.target) && level.get(edge.target) < state.depth));
    if (edge.drawn) edge.source.drawn = edge.target.drawn = true;
  }
  for (const edge of base.edges) if (edge.stands !== edge) edge.drawn = edge.step < state.step && edge.stands.drawn && (!edge.owner || state.owners.has(edge.owner));
}

/** The number of drawn edges from each node to the target. */
function levels() {
  const level = new Map(nodes.filter((node) => node.isTarget).map((node) => [node, 0]));
  for (const node of level.keys()) {
    for (const edge of node.into) {
      if (edge.step < state.step && !level.has(edge.source)) level.set(edge.source, level.get(node) + 1);
    }
  }
  return level;
}

const visible = (edge) => edge.drawn;
// What sets lines apart in colour: the sign or, of two circuits, who has them.
const kindOf = (edge) => edge.owner || edge.sign;

/** The part of the influence that flows along drawn edges to where they begin. */
function carried() {
  const targets = base.nodes.filter((node) => node.isTarget), drawn = base.edges.filter(visible);
  const inner = new Set(drawn.map((edge) => edge.to.place));
  let step = new Float64Array(base.nodes.length), total = 0;
  for (const node of targets) step[node.place] = 1 / targets.length;
  for (let round = 0; round < 10000; round++) {
    const next = new Float64Array(base.nodes.length);
    for (const edge of drawn) next[edge.from.place] += step[edge.to.place] * shareOf(edge);
    let rest = 0;
    for (let index = 0; index < next.length; index++) {
      if (!inner.has(index)) {
        total += next[index];
        next[index] = 0;
      }
      rest += next[index];
    }
    // Without a loop nothing is left after as many rounds as there are layers.
    if (!rest || (round > next.length && rest < 1e-12)) break;
    step = next;
  }
  return Math.min(total, 1);
}

/** The kernels in drawn edges; edges that read a sum share theirs. */
function kernels() {
  if (!state.depth && state.owners.size === OWNERS.length) return state.step ? base.edges[until[state.step - 1] - 1].shown : 0;
  return base.edges.filter(visible).reduce((sum, edge) => sum + edge.kernels, 0);
}

/** The layers of which each drawn channel reads one channel and is read by one. */
function passing() {
  const found = new Set();
  for (const node of nodes) if (node.drawn && !node.isImage && !node.isTarget) found.add(node.layer);
  for (const node of nodes) {
    if (node.drawn && (node.into.filter(visible).length !== 1 || node.out.filter(visible).length !== 1)) found.delete(node.layer);
  }
  return found;
}

/** The drawn edges and the nodes on any path through a node. */
function through(start) {
  const kept = new Set([start]);
  for (const [list, end] of [["into", "source"], ["out", "target"]]) {
    const seen = new Set([start]), waiting = [start];
    while (waiting.length) {
      for (const edge of waiting.pop()[list]) {
        if (!visible(edge)) continue;
        kept.add(edge);
        const next = edge[end];
        if (seen.has(next)) continue;
        seen.add(next);
        kept.add(next);
        waiting.push(next);
      }
    }
  }
  return kept;
}

/** The channels that a name stands for, as people write it: `conv4:45`, `features.10.expand3x3:60`, a label, a group, a
    layer, a part. */
function named(query) {
  const words = query.trim().toLowerCase().replace(/\s*:\s*/g, ":");
  if (!words) return [];
  const own = (node) => [node.name, node.alias || "", node.called, groupOf(node) || "", ...(node.members || []).flatMap((one) => [one.name, one.alias || "", one.called])];
  const known = (node) => own(node).map((name) => name.toLowerCase());
  const whole = (name) => name === words || name.startsWith(`${words}:`) || name.startsWith(`${words}.`);
  const exact = nodes.filter((node) => known(node).some(whole));
  return exact.length ? exact : nodes.filter((node) => known(node).some((name) => name.includes(words)));
}

// --- small builders; text is only ever set as text ---

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function draw(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const number = (value) => value.toLocaleString("en");
const count = (value, noun) => `${number(value)} ${noun}${value === 1 ? "" : "s"}`;
const percent = (share) => share > 0 && share < 1e-5 ? "<0.001%" : (share >= 0.1 ? `${Math.round(100 * share)}%` : `${Number((100 * share).toPrecision(2))}%`);
const place = () => (state.inside ? "circuit" : "network");
