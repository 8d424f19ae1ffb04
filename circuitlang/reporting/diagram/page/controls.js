// --- controls, keys, links ---

/** Go to a channel, or back from it; one that is not drawn is drawn. */
function choose(node) {
  go(node === state.chosen ? null : node);
}

function go(node) {
  state.chosen = node;
  bring(node);
  explainChosen();
  refresh();
  remember();
}

/** Draw as many paths as it takes for a channel to be on one of them. */
function bring(node) {
  if (!node || node.drawn) return;
  state.depth = 0;
  state.step = Math.max(state.step, 1 + Math.min(...[...node.into, ...node.out].map((edge) => edge.step)));
  show();
}

/** Bring controls and drawing to the state. */
function show() {
  if (byId("shown")) byId("shown").value = state.step;
  if (byId("depth")) byId("depth").value = state.depth;
  if (byId("passing")) byId("passing").checked = state.passing;
  if (byId("common")) byId("common").checked = state.common;
  for (const input of document.querySelectorAll("#owners input")) input.checked = state.owners.has(input.value);
  for (const name of ["image", "view", "inside"]) {
    for (const input of document.querySelectorAll(`input[name="${name}"]`)) input.checked = input.value === String(state[name]);
  }
  render();
}

function clear() {
  state.chosen = null;
  state.query = "";
  if (byId("search")) byId("search").value = "";
  unpoint();
  explainChosen();
  refresh();
  remember();
}

let stop = null;

/** Let the tab key lead to a node or an edge. */
function rest(one) {
  if (stop) stop.element.setAttribute("tabindex", "-1");
  stop = one;
  one.element.setAttribute("tabindex", "0");
}

function focus(one, via) {
  if (!one) return;
  rest(one);
  state.via = via || null;
  if (one.source) {
    one.element.setAttribute("role", "img");
    one.element.setAttribute("aria-label", [`${one.source.called} to ${one.target.called}`, ...one.text].join(". "));
  }
  reveal(one.source ? one.target : one);
  one.element.focus({ preventScroll: true });
}

/** Left and right go from a node to its strongest edge and on; up and down to the next in the column or beside. */
function walk(one, key) {
  if (one.source) {
    if (key === "ArrowLeft") return focus(one.source, one);
    if (key === "ArrowRight") return focus(one.target, one);
    const from = state.via || one.target;
    const beside = (from === one.source ? from.out : from.into).filter(visible);
    const next = beside[beside.indexOf(one) + (key === "ArrowDown" ? 1 : -1)];
    return next && focus(next, from);
  }
  if (key === "ArrowLeft" || key === "ArrowRight") {
    const edge = (key === "ArrowLeft" ? one.into : one.out).find(visible);
    return edge && focus(edge, one);
  }
  const column = nodes.filter((node) => node.drawn && node.layer === one.layer).sort((a, b) => a.y - b.y || a.x - b.x);
  return focus(column[column.indexOf(one) + (key === "ArrowDown" ? 1 : -1)]);
}

drawing.addEventListener("pointermove", (event) => {
  if (fingers.size) return;
  const one = under(event.clientX, event.clientY);
  if (one && !one.dimmed) point(one, event.clientX, event.clientY);
  else unpoint();
});
drawing.addEventListener("pointerleave", unpoint);
drawing.addEventListener("click", (event) => {
  if (dragged) return;
  const group = event.target.closest(".circuit-node");
  if (group) choose(of.get(group));
  else if (state.chosen && !event.target.closest(".circuit-edge, .heading")) clear();
});
// On what holds the drawing: Chromium lets an svg that listens for focus be tabbed to itself.
stage.addEventListener("focusin", (event) => {
  const one = of.get(event.target);
  if (!one || !one.element.matches(":focus-visible")) return;
  const box = (one.source ? one.element : rim(one)).getBoundingClientRect();
  if (one.source) point(one, box.left + box.width / 2, box.top + box.height / 2);
  // The panel says what the card would, and the card would be on the diagram that the panel has made narrower.
  else if (one !== state.chosen) point(one, box.right, box.top);
});
stage.addEventListener("focusout", unpoint);

const MOVES = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
stage.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const one = of.get(event.target.closest(".circuit-node, .circuit-edge"));
  if (one && event.key in MOVES) walk(one, event.key);
  else if (event.key in MOVES) pan(...MOVES[event.key]);
  else if (one && (event.key === "Enter" || event.key === " ")) choose(one.source ? one.target : one);
  else if (one && event.key === "g" && !one.source) toggle(groupOf(one));
  else if (one && event.key === "f" && !one.source && !one.isTarget && !one.isImage) fold(one.layer);
  else if (event.key === "+" || event.key === "=") zoom(1.25);
  else if (event.key === "-") zoom(1 / 1.25);
  else if (event.key === "0") fit();
  else return;
  event.preventDefault();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") return clear();
  const typing = event.target.matches("input:not([type=radio]):not([type=checkbox]), select");
  if (event.key === "e" && state.chosen && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    saveSvg();
    savePng();
  }
});

function on(id, name, act) {
  if (byId(id)) byId(id).addEventListener(name, act);
}

on("shown", "input", (event) => {
  state.step = Number(event.target.value);
  render();
  remember();
});
on("depth", "change", (event) => {
  state.depth = Number(event.target.value);
  zoomed = false;
  render();
  remember();
});
for (const input of document.querySelectorAll("#owners input")) {
  input.addEventListener("change", () => {
    if (!state.owners.delete(input.value)) state.owners.add(input.value);
    zoomed = false;
    render();
    remember();
  });
}
on("passing", "change", (event) => {
  state.passing = event.target.checked;
  if (!state.passing) state.folded.clear();
  render();
  remember();
});
on("common", "change", (event) => {
  state.common = event.target.checked;
  showImages();
  remember();
});
on("search", "input", (event) => {
  state.query = event.target.value.trim();
  refresh();
});
on("search", "keydown", (event) => {
  if (event.key !== "Enter" || !state.query) return;
  const found = named(state.query), first = found.find((node) => node.drawn) || found[0];
  if (!first) return;
  state.query = "";
  go(first);
  focus(first);
});
for (const name of ["image", "view", "inside"]) {
  for (const input of document.querySelectorAll(`input[name="${name}"]`)) {
    input.addEventListener("change", () => {
      state[name] = name === "view" ? input.value : Number(input.value);
      ink();
      showImages();
      refresh();
      remember();
    });
  }
}
on("fit", "click", () => {
  fit();
  remember();
});
on("smaller", "click", () => zoom(1 / 1.25));
on("larger", "click", () => zoom(1.25));
on("close", "click", clear);
on("svg", "click", saveSvg);
on("png", "click", savePng);
