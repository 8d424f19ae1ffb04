// --- links: the state is in the address, so that a view can be sent to somebody ---

let last = "", waiting = 0;

function remember() {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    const words = new URLSearchParams();
    if (state.chosen) words.set("channel", state.chosen.name);
    if (state.image >= 0) words.set("image", state.image + 1);
    if (state.view !== "crop") words.set("view", state.view);
    if (state.inside !== 1) words.set("in", "network");
    if (state.common) words.set("scale", "layer");
    if (state.step !== opening) words.set("paths", state.step);
    if (state.depth) words.set("depth", state.depth);
    if (state.owners.size < OWNERS.length) words.set("edges", [...state.owners].join(","));
    if (state.passing) words.set("fold", "passing");
    else if (state.folded.size) words.set("fold", [...state.folded].map((layer) => data.layers[layer].name).join(","));
    for (const name of state.opened) if (names.groups.has(name)) words.append("open", name);
    if (zoomed) words.set("at", [camera.x / stage.clientWidth, camera.y / stage.clientHeight, camera.scale].map((value) => value.toFixed(3)).join(","));
    last = words.toString();
    try {
      history.replaceState(null, "", last ? `#${last}` : location.pathname + location.search);
    } catch { /* pages in a frame may not */ }
  }, 60);
}

/** The state in the address; words that say nothing are ignored. */
function recall() {
  const words = new URLSearchParams(location.hash.slice(1)), whole = (name, least, most, otherwise) => {
    const value = Number(words.get(name));
    return words.has(name) && Number.isInteger(value) && value >= least && value <= most ? value : otherwise;
  };
  last = location.hash.slice(1);
  state.step = whole("paths", 1, until.length, opening);
  state.depth = whole("depth", 1, 3, 0);
  state.image = whole("image", 1, data.scenes ? data.scenes.names.length : 0, 0) - 1;
  state.view = words.get("view") === "vision" && byId("views") ? "vision" : "crop";
  state.inside = words.get("in") === "network" ? 0 : 1;
  state.common = words.get("scale") === "layer";
  const owners = (words.get("edges") || "").split(",").filter((owner) => OWNERS.includes(owner));
  state.owners = new Set(words.has("edges") ? owners : OWNERS);
  state.passing = words.get("fold") === "passing";
  const folded = (words.get("fold") || "").split(",");
  state.folded = new Set(data.layers.flatMap((layer, index) => (folded.includes(layer.name) ? [index] : [])));
  const wanted = words.get("channel");
  const inner = base.nodes.find((node) => node.name === wanted);
  state.opened = new Set([...words.getAll("open"), ...(inner && groupOf(inner) ? [groupOf(inner)] : [])]);
  state.chosen = null;
  rename();
  state.chosen = nodes.find((node) => node.name === wanted) || null;
  zoomed = false;
  explainChosen();
  measured = [stage.clientWidth, stage.clientHeight];
  show();
  bring(state.chosen);
  const at = (words.get("at") || "").split(",").map(Number);
  if (at.length === 3 && at.every(Number.isFinite) && at[2] > 0 && at[2] <= 8) {
    zoomed = true;
    look({ x: at[0] * stage.clientWidth, y: at[1] * stage.clientHeight, scale: at[2] });
  }
}

window.addEventListener("hashchange", () => location.hash.slice(1) !== last && recall());

// In a frame there is nothing beside the page that a link could lead to.
if (window.parent !== window) document.documentElement.classList.add("framed");

// --- light and dark ---

const theme = byId("theme"), wish = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme || (wish.matches ? "dark" : "light")) === "dark";
const nameTheme = () => (theme.textContent = isDark() ? "Light" : "Dark");
// All pages of circuits remember it alike.
const THEME = "circuitlang-theme";
try {
  const kept = localStorage.getItem(THEME);
  if (kept === "dark" || kept === "light") document.documentElement.dataset.theme = kept;
} catch { /* pages in a frame may not remember */ }
theme.addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  try { localStorage.setItem(THEME, document.documentElement.dataset.theme); } catch { /* the same */ }
  nameTheme();
});
wish.addEventListener("change", nameTheme);

if (base.nodes.length) rest(base.nodes.find((node) => node.isTarget) || base.nodes[0]);
nameTheme();
recall();
