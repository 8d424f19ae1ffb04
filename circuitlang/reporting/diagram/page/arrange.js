// --- the layout: layers as columns, few crossings, long edges in lanes of their own ---
// The layered drawing of Sugiyama, Tagawa and Toda (1981), as in layout.py, for what is drawn and the room there is.

const SWEEPS = 10, PITCH = [31, 100], NODE = 0.63, AIRY = 2.1, LANE = 9, GAP = [36, 190], PORT = 2.5, ARC = 18, LABEL = 13;
const FOLDED = { pitch: 9, size: 6 };

/** Places for drawn nodes and curves for drawn edges, in a drawing that suits a room of width x height pixels. */
function arrange(width, height) {
  const shown = nodes.filter((node) => node.drawn);
  const layers = [...new Set(shown.map((node) => node.layer))].sort((one, other) => one - other);
  const at = new Map(layers.map((layer, column) => [layer, column]));
  const order = ordered(shown, layers, at);
  const columns = layers.map((layer, column) => ({
    layer, folded: folds.has(layer), slots: order[column],
    nodes: order[column].filter((slot) => slot.node), lanes: order[column].filter((slot) => !slot.node).length,
  }));
  const plan = fitting(columns, width, height);
  for (const column of columns) grid(column, plan);
  const top = Math.min(...columns.map((column) => column.top));
  const wide = columns.reduce((sum, column) => sum + column.width, 0);
  const weight = (column) => (column && !column.folded ? 1 : 0.35);
  const gaps = columns.slice(1).map((column, index) => (weight(column) + weight(columns[index])) / 2);
  const gap = Math.min(Math.max((plan.width - wide) / (gaps.reduce((sum, one) => sum + one, 0) || 1), plan.gap), GAP[1]);
  let left = 0;
  columns.forEach((column, index) => {
    if (index) left += gap * gaps[index - 1];
    column.left = left;
    column.right = left += column.width;
    for (const slot of column.slots) {
      slot.y -= top;
      if (slot.node) Object.assign(slot.node, { x: column.left + slot.x, y: slot.y, size: slot.size, pitch: column.pitch, folded: column.folded, alone: column.wrap === 1 });
    }
  });
  routes(columns, at);
  return { columns, width: left, height: Math.max(...columns.map((column) => column.bottom)) - top };
}

let folds = new Set();

/** The slots that an edge takes, one in each column that it passes; lanes are shared by edges of a source and a sign. */
function way(edge, at, slotOf) {
  const first = at.get(edge.source.layer), last = at.get(edge.target.layer), lanes = [];
  if (first < last) for (let column = first + 1; column < last; column++) lanes.push(slotOf(column, edge));
  else for (let column = first; column >= last; column--) lanes.push(slotOf(column, edge));
  return lanes;
}

function ordered(shown, layers, at) {
  const order = layers.map(() => []);
  for (const node of shown) {
    node.slot = { column: at.get(node.layer), node, left: new Map(), right: new Map() };
    order[node.slot.column].push(node.slot);
  }
  for (const column of order) column.forEach((slot, index) => (slot.start = (index + 0.5) / column.length));
  const lanes = new Map();
  const slotOf = (column, edge) => {
    const key = `${column}/${edge.source.index}/${kindOf(edge)}`;
    if (!lanes.has(key)) {
      const slot = { column, node: null, left: new Map(), right: new Map(), start: edge.source.slot.start };
      lanes.set(key, slot);
      order[column].push(slot);
    }
    return lanes.get(key);
  };
  const drawn = edges.filter(visible);
  const strongest = Math.max(1e-300, ...drawn.map((edge) => edge.influence));
  for (const edge of drawn) {
    edge.lanes = way(edge, at, slotOf);
    const path = [edge.source.slot, ...edge.lanes, edge.target.slot];
    for (let index = 1; index < path.length; index++) {
      let [one, other] = [path[index - 1], path[index]];
      if (one.column === other.column) continue;
      if (one.column > other.column) [one, other] = [other, one];
      // Also the weakest edge has a say, or it would cross everything.
      const weight = (one.right.get(other) || 0) + 0.02 + Math.sqrt(edge.influence / strongest);
      one.right.set(other, weight);
      other.left.set(one, weight);
    }
  }
  for (const column of order) column.sort((one, other) => one.start - other.start);
  return sweeps(order);
}

function sweeps(order) {
  let best = order.map((column) => [...column]), fewest = crossings(order);
  for (let sweep = 0; sweep < SWEEPS && fewest > 0; sweep++) {
    const forward = sweep % 2 === 0;
    for (let step = 1; step < order.length; step++) {
      const column = forward ? step : order.length - 1 - step, beside = order[column + (forward ? -1 : 1)];
      const height = new Map(beside.map((slot, index) => [slot, (index + 0.5) / beside.length]));
      order[column].forEach((slot, index) => {
        let sum = 0, total = 0;
        for (const [other, weight] of forward ? slot.left : slot.right) {
          sum += height.get(other) * weight;
          total += weight;
        }
        slot.mean = total ? Math.round((sum / total) * 1e9) / 1e9 : (index + 0.5) / order[column].length;
      });
      order[column].sort((one, other) => one.mean - other.mean);
    }
    const now = crossings(order);
    if (now < fewest) [best, fewest] = [order.map((column) => [...column]), now];
  }
  return best;
}

/** The crossings between neighbouring columns, weighted by both edges: inversions, summed in a Fenwick tree. */
function crossings(order) {
  for (const column of order) column.forEach((slot, index) => (slot.place = index));
  let total = 0;
  for (let column = 0; column + 1 < order.length; column++) {
    const size = order[column + 1].length, tree = new Float64Array(size + 1);
    let seen = 0;
    for (const slot of order[column]) {
      for (const [other, weight] of slot.right) {
        let before = 0;
        for (let index = other.place + 1; index > 0; index -= index & -index) before += tree[index];
        total += (seen - before) * weight;
      }
      for (const [other, weight] of slot.right) {
        for (let index = other.place + 1; index <= size; index += index & -index) tree[index] += weight;
        seen += weight;
      }
    }
  }
  return Math.round(total * 1e6) / 1e6;
}

/** Choose how many rows columns may have, so that the drawing is as large as possible when it is fitted. */
function fitting(columns, width, height) {
  const most = Math.max(...columns.map((column) => column.nodes.length));
  let best = null;
  for (let rows = Math.min(8, most); rows <= Math.min(most, 48); rows++) {
    let wide = 0, tall = 0;
    for (const column of columns) {
      const wrap = Math.ceil(column.nodes.length / rows), pitch = column.folded ? FOLDED.pitch : PITCH[0];
      wide += column.folded ? FOLDED.size : wrap * NODE * pitch * 1.4;
      tall = Math.max(tall, Math.ceil(column.nodes.length / wrap) * pitch + lane(column) * column.lanes);
    }
    wide += GAP[0] * (columns.length - 1);
    // Nodes side by side hide edges of their neighbours, so that a little size is given up for fewer of them.
    const scale = Math.min(width / wide, height / tall), merit = Math.min(scale, 1.8) / Math.ceil(most / rows) ** 0.2;
    if (!best || merit >= best.merit) best = { rows, scale, merit };
  }
  const scale = Math.min(1, best.scale);
  const plan = { rows: best.rows, width: width / scale, height: height / scale, gap: GAP[0] };
  // The largest nodes that leave half of the room to the edges between columns.
  const room = 0.5 * plan.width;
  for (plan.cap = NODE * PITCH[1]; plan.cap > NODE * PITCH[0]; plan.cap *= 0.93) {
    for (const column of columns) measure(column, plan);
    if (columns.reduce((sum, column) => sum + column.width, 0) <= room) break;
  }
  return plan;
}

const lane = (column) => (column.lanes ? Math.min(LANE, 240 / column.lanes) : 0);

function measure(column, plan) {
  const many = column.nodes.length;
  column.wrap = column.folded ? 1 : Math.ceil(many / plan.rows);
  const rows = Math.ceil(many / column.wrap);
  // Nodes that can't be larger stand further apart.
  const pitch = Math.min(Math.max((plan.height - lane(column) * column.lanes - LABEL) / rows, PITCH[0]), PITCH[1]);
  column.size = Math.min(NODE * pitch, plan.cap);
  column.pitch = Math.min(pitch, AIRY * column.size);
  const alone = column.nodes.every((slot) => slot.node.isTarget) ? 2 : column.nodes.every((slot) => slot.node.isImage) ? 1.5 : 0;
  if (alone) {
    column.size = Math.max(column.size, Math.min((44 * alone) / Math.sqrt(many), plan.cap * alone));
    column.pitch = Math.max(column.pitch, column.size / NODE);
  }
  if (column.folded) [column.size, column.pitch] = [FOLDED.size, FOLDED.pitch];
  column.step = column.size + Math.max(8, 0.4 * column.size);
  column.width = column.size + (Math.min(column.wrap, many) - 1) * column.step;
}

/** Place a column's slots in rows: of one node, of several, or of one lane. Rows of several nodes slant, so that level
    lines from one node meet the gap between two others. */
function grid(column, plan) {
  measure(column, plan);
  const { wrap, pitch, size, step } = column, tall = lane(column), rows = [];
  let row = [], waiting = [];
  for (const slot of column.slots) {
    // A lane that comes when a row is half full goes below it: rows stay full.
    if (!slot.node) (row.length ? waiting : rows).push([slot]);
    else if (row.push(slot) === wrap) {
      rows.push(row, ...waiting);
      [row, waiting] = [[], []];
    }
  }
  if (row.length) rows.push(row);
  rows.push(...waiting);
  let y = 0;
  for (const one of rows) {
    const high = one[0].node ? pitch : tall;
    one.forEach((slot, index) => Object.assign(slot, { x: size / 2 + index * step, y: y + (slot.node ? 0.42 : 0.5) * high + (index * pitch) / wrap, size }));
    y += high;
  }
  const heights = column.slots.map((slot) => slot.y), middle = (Math.min(...heights) + Math.max(...heights)) / 2;
  for (const slot of column.slots) slot.y -= middle;
  column.slant = ((wrap - 1) * pitch) / wrap;
  const own = column.nodes.map((slot) => slot.y), all = column.slots.map((slot) => slot.y);
  column.top = Math.min(Math.min(...own) - size / 2, Math.min(...all) - tall / 2);
  column.bottom = Math.max(Math.max(...own) + size / 2 + LABEL, column.lanes ? Math.max(...all) + column.slant + tall / 2 : -Infinity);
}

/** The curves of drawn edges. They touch nodes in the middle, or a little apart by sign, so that colours don't mix. */
function routes(columns, at) {
  const drawn = edges.filter(visible);
  const out = offsets(drawn, "source", "target"), into = offsets(drawn, "target", "source");
  for (const edge of drawn) {
    const { source, target } = edge, first = columns[at.get(source.layer)], last = columns[at.get(target.layer)];
    const from = source.y + out(source, kindOf(edge)), to = target.y + into(target, kindOf(edge));
    const pieces = [[source.x + source.size / 2, from, first.right, from]];
    const forward = first.left < last.left;
    for (const slot of edge.lanes) {
      const column = columns[slot.column], ends = [column.left, slot.y, column.right, slot.y + column.slant];
      pieces.push(forward ? ends : [ends[2], ends[3], ends[0], ends[1]]);
    }
    pieces.push([last.left, to, target.x - target.size / 2, to]);
    edge.path = curve(pieces);
  }
}

function offsets(drawn, near, far) {
  const ends = new Map();
  for (const edge of drawn) {
    if (!ends.has(edge[near])) ends.set(edge[near], new Map());
    const signs = ends.get(edge[near]);
    signs.set(kindOf(edge), [...(signs.get(kindOf(edge)) || []), edge[far].y]);
  }
  const offset = new Map();
  for (const [node, signs] of ends) {
    const mean = ([, heights]) => heights.reduce((sum, y) => sum + y, 0) / heights.length;
    const order = [...signs].sort((one, other) => mean(one) - mean(other) || one[0].localeCompare(other[0]));
    offset.set(node, new Map(order.map(([sign], index) => [sign, (2 * index - order.length + 1) * Math.min(PORT, node.size / 8)])));
  }
  return (node, sign) => offset.get(node).get(sign);
}

const round = (value) => Math.round(value * 10) / 10;

function curve(pieces) {
  let [x, y, end, level] = pieces[0], ahead = 1;
  let path = `M${round(x)} ${round(y)}L${round(end)} ${round(level)}`;
  for (const [start, height, next, nextLevel] of pieces.slice(1)) {
    // Pieces of an edge that leads back run to the left; where it turns, the curve is an arc.
    const turned = ahead;
    ahead = start <= next ? 1 : -1;
    const bend = Math.abs(start - end) / 2 || ARC;
    path += `C${[end + turned * bend, level, start - ahead * bend, height, start, height].map(round).join(" ")}L${round(next)} ${round(nextLevel)}`;
    [end, level] = [next, nextLevel];
  }
  return path;
}
