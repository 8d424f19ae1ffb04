// --- labels and groups: those of the run, and those that were given here and are not saved yet ---

const spoken = JSON.parse(byId("labels").textContent);
// A layer has two names. One of them is used here.
const layerNames = new Map(data.layers.flatMap((layer) => [[layer.name, layer.name], [layer.path || layer.name, layer.name]]));
const placed = (layer, unit) => `${layerNames.get(layer) || layer}:${unit}`;
const STORED = `circuitlang-labels ${data.network} ${data.spec}`;

/** The labels by place, and the groups by name: in what file each is said, empty for what is only said here. */
const names = { labels: new Map(), groups: new Map() };
const before = {
  labels: new Map((spoken.channels || []).map(({ layer, unit, text, file }) => [placed(layer, unit), { text, file: file || "" }])),
  groups: new Map((spoken.groups || []).map(({ name, layer, units, file }) => [name, { layer: layerNames.get(layer) || layer, units, file: file || "" }])),
};
const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
// What a file says already, wherever it says so.
const alike = (one, other) => Boolean(one && other) && same({ ...one, file: "" }, { ...other, file: "" });

/** What was changed here: null for what was taken away. */
function changes() {
  const changed = (kind) => Object.fromEntries([...new Set([...before[kind].keys(), ...names[kind].keys()])]
    .filter((key) => !same(before[kind].get(key), names[kind].get(key)))
    .map((key) => [key, names[kind].get(key) || null]));
  return { labels: changed("labels"), groups: changed("groups") };
}

function recallNames() {
  let kept = {};
  try { kept = JSON.parse(localStorage.getItem(STORED)) || {}; } catch { /* pages in a frame may not remember */ }
  for (const kind of ["labels", "groups"]) {
    names[kind] = new Map(before[kind]);
    for (const [key, value] of Object.entries(kept[kind] || {})) {
      const sound = value && (kind === "labels" ? typeof value.text === "string" : typeof value.layer === "string" && Array.isArray(value.units));
      if (sound) names[kind].set(key, alike(before[kind].get(key), value) ? before[kind].get(key) : value);
      else names[kind].delete(key);
    }
  }
}

function keepNames() {
  const { labels, groups } = changes();
  const none = !Object.keys(labels).length && !Object.keys(groups).length;
  try {
    if (none) localStorage.removeItem(STORED);
    else localStorage.setItem(STORED, JSON.stringify({ labels, groups }));
  } catch { /* the same */ }
}

const layerOf = (place) => place.slice(0, place.lastIndexOf(":")), unitOf = (place) => Number(place.slice(place.lastIndexOf(":") + 1));
const groupOf = (node) => node.members ? node.name : [...names.groups].find(([, group]) => node.at && group.layer === node.at.layer && group.units.includes(node.at.unit))?.[0];
const clean = (text) => text.replace(/"/g, "”").replace(/\s+/g, " ").trim().slice(0, 60);

function setLabel(node, words) {
  const text = clean(words), old = before.labels.get(node.name);
  if (!text) names.labels.delete(node.name);
  else names.labels.set(node.name, old && old.text === text ? old : { text, file: "" });
}

/** Put a channel into a group, or out of the one that it is in. */
function setGroup(node, words) {
  const name = clean(words), { layer, unit } = node.at, mine = groupOf(node);
  if (mine === name) return;
  const put = (key, units) => {
    const old = before.groups.get(key), group = { layer, units: [...units].sort((one, other) => one - other), file: "" };
    if (!units.length) names.groups.delete(key);
    else names.groups.set(key, alike(old, group) ? old : group);
  };
  if (mine) put(mine, names.groups.get(mine).units.filter((one) => one !== unit));
  if (!name) return;
  const there = names.groups.get(name);
  // The name of a group of another layer begins a group of this one.
  put(name, there && there.layer === layer ? [...there.units, unit] : [unit]);
}

/** The lines of the file of labels, sorted; what is said in the spec stays there. */
function nameLines() {
  const written = (layer) => (/^[^\W\d]\w*(\.\w+)*$/.test(layer) ? layer : `"${layer}"`);
  const here = (one) => !one.file || one.file.endsWith(".labels");
  const instead = (old) => (old && old.file && !old.file.endsWith(".labels") ? `  # instead of the one in ${old.file}` : "");
  const order = (one, other) => one.localeCompare(other, "en", { numeric: true });
  const labels = [...names.labels].filter(([, label]) => here(label)).sort(([one], [other]) => order(one, other));
  const groups = [...names.groups].filter(([, group]) => here(group) && group.units.length > 1).sort(([one], [other]) => order(one, other));
  return [
    ...labels.map(([place, { text }]) => `label ${written(layerOf(place))}:${unitOf(place)} "${text}"${instead(before.labels.get(place))}`),
    ...groups.map(([name, { layer, units }]) => `group "${name}" = ${written(layer)}:[${units.join(", ")}]${instead(before.groups.get(name))}`),
  ];
}

/** What can't be said in the file of labels. */
function nameNotes() {
  const gone = ["labels", "groups"].flatMap((kind) => [...before[kind]].filter(([key, { file }]) => !names[kind].has(key) && !file.endsWith(".labels") && file)
    .map(([key, { text, file }]) => `Take “${text || key}” away from ${file}.`));
  const single = [...names.groups].filter(([, group]) => group.units.length < 2).map(([name]) => `The group “${name}” has one channel yet: a group has two or more.`);
  return [...gone, ...single];
}

// --- groups are drawn as one node until they are opened ---

let bundled = [];

/** Draw each closed group as one node, and the edges of its channels as those of the node. */
function wire() {
  for (const one of bundled) unmount(one);
  bundled = [];
  const standing = new Map(base.nodes.map((node) => [node, node]));
  for (const [name, group] of names.groups) {
    const members = base.nodes.filter((node) => node.at && !node.isTarget && node.at.layer === group.layer && group.units.includes(node.at.unit));
    if (state.opened.has(name) || members.length < 2) continue;
    const node = {
      name, number: name, layer: members[0].layer, members, isImage: false, isTarget: false, called: name, drawn: false,
      text: [`a group of ${members.length} channels of ${group.layer}`, members.map((one) => one.called).join(", ")],
    };
    for (const one of members) standing.set(one, node);
    bundled.push(node);
  }
  nodes.splice(0, nodes.length, ...new Set(standing.values()));
  nodes.forEach((node, index) => Object.assign(node, { index, into: [], out: [] }));
  const joined = new Map();
  for (const edge of base.edges) {
    const source = standing.get(edge.from), target = standing.get(edge.to);
    if (source === edge.from && target === edge.to) Object.assign(edge, { stands: edge, source, target });
    else {
      const key = `${source.index} ${target.index}`;
      if (!joined.has(key)) joined.set(key, []);
      joined.get(key).push(edge);
    }
  }
  for (const parts of joined.values()) bundled.push(bundle(parts, standing.get(parts[0].from), standing.get(parts[0].to)));
  edges.splice(0, edges.length, ...new Set(base.edges.map((edge) => edge.stands)));
  edges.forEach((edge, index) => {
    edge.index = index;
    edge.source.out.push(edge);
    edge.target.into.push(edge);
  });
  for (const node of nodes) for (const list of [node.into, node.out]) list.sort((one, other) => other.influence - one.influence);
  for (const one of bundled) mount(one);
  if (state.chosen && !nodes.includes(state.chosen)) state.chosen = standing.get(state.chosen) || nodes.find((node) => node.name === state.chosen.name) || null;
}

/** Edges from or to the channels of a group as one; their kernels are shown by those of the strongest. */
function bundle(parts, source, target) {
  const [strongest] = [...parts].sort((one, other) => other.influence - one.influence);
  const sum = (list, value) => list.reduce((total, one) => total + value(one), 0);
  const read = target.members ? base.edges.filter((edge) => target.members.includes(edge.to)) : [];
  // Of a group, the share is that of all that its channels read, each by its influence.
  const share = (own, influence) => (target.members ? sum(parts, influence) / (sum(read, influence) || 1) : sum(parts, own));
  const part = (place) => (edge) => edge.images[place] || 0;
  const edge = {
    ...strongest, source, target, parts, step: Math.min(...parts.map((one) => one.step)), kernels: sum(parts, (one) => one.kernels),
    influence: sum(parts, (one) => one.influence), share: share((one) => one.share, (one) => one.influence),
    images: strongest.images.map((_, place) => (place % 2 ? sum(parts, part(place)) : share(part(place), part(place + 1)))),
    sum: parts.some((one) => one.sum), dashed: parts.every((one) => one.dashed), unstable: parts.every((one) => one.unstable), drawn: false,
  };
  const signed = sum(parts, (one) => (one.sign === "inhibitory" ? -1 : 1) * one.influence);
  edge.sign = signed < 0 ? "inhibitory" : "excitatory";
  edge.text = [`influence ${percent(edge.influence)}, ${percent(edge.share)} of what ${target.called} reads`, `${count(parts.length, "edge")}, ${count(edge.kernels, "kernel")}; shown is the strongest, ${strongest.from.called} → ${strongest.to.called}`];
  if (edge.owner && parts.some((one) => one.owner !== edge.owner)) edge.owner = "both";
  for (const one of parts) one.stands = edge;
  return edge;
}
