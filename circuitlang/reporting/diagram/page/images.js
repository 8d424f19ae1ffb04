// --- images in the nodes, and the feature's own ---

/** One tile of a sheet of images, as the content of an svg element. */
function putTile(svg, sheet) {
  let image = svg.querySelector("image");
  if (!image) svg.append((image = draw("image", { preserveAspectRatio: "none" })));
  if (image.getAttribute("href") !== sheet.source) image.setAttribute("href", sheet.source);
  image.setAttribute("width", sheet.columns);
  image.setAttribute("height", sheet.rows);
  image.setAttribute("image-rendering", sheet.smooth ? "auto" : "pixelated");
  image.setAttribute("opacity", (sheet.strength === undefined ? 1 : sheet.strength).toFixed(3));
  svg.classList.toggle("map", sheet.strength !== undefined);
  svg.setAttribute("viewBox", `${sheet.column} ${sheet.row} 1 1`);
  svg.setAttribute("preserveAspectRatio", "none");
  return svg;
}

function figure(caption, svg) {
  const element = make("figure");
  element.append(svg, make("figcaption", caption));
  return element;
}

const tile = () => draw("svg", { class: "tile", "aria-hidden": "true" });
const single = (source, smooth) => ({ source, columns: 1, rows: 1, column: 0, row: 0, smooth });
const mapSheet = (source, inside) => (
  { source, columns: data.scenes.names.length, rows: 2, column: state.image, row: inside, smooth: false }
);

const peaks = new Map();
for (const node of base.nodes) peaks.set(node.layer, Math.max(peaks.get(node.layer) || 0, node.peak || 0));

/** A channel's map of the chosen image. Colours are linear in the square root of values, from white: to show them on the
    scale of the layer is to blend them with white. */
const nodeMap = (node, inside) => node.maps && {
  ...mapSheet(node.maps, inside), strength: state.common && node.peak ? Math.sqrt(node.peak / peaks.get(node.layer)) : 1,
};
const visionSheet = (source, inside, versions = 2) => (
  { source, columns: versions, rows: 1, column: Math.min(inside, versions - 1), row: 0, smooth: true }
);
/** Whether what is made is made in the circuit, too, for all channels that have it. */
const inBoth = base.nodes.every((node) => !node.vision || node.versions > 1);

/** An image that was made to excite a channel, in the network where channels have no other. */
const nodeVision = (node, inside) => node.vision && visionSheet(node.vision, inBoth ? inside : 0, node.versions);
const nodeThumb = (node) => node.thumb && single(node.thumb, !node.isFilter);

/** What a channel looks like: its feature visualisation where these are shown, else its filter or crop. */
function faceSheet(node) {
  if (node.isImage) return state.image >= 0 ? single(data.scenes.sources[state.image], true) : null;
  if (node.vision && (state.view === "vision" || !node.thumb)) return nodeVision(node, state.inside);
  return nodeThumb(node) || null;
}

/** The other of the two that show what excites a channel, if there are two. */
const otherSheet = (node) => node.vision && node.thumb && !node.isFilter && (state.view === "vision" ? nodeThumb(node) : nodeVision(node, state.inside));

/** What is shown in a node instead of its filter or crop, if anything is. */
function sheetOf(node) {
  if (state.image >= 0) return node.isImage ? faceSheet(node) : nodeMap(node, state.inside);
  return state.view === "vision" && nodeVision(node, state.inside);
}

/** A sheet of a channel, or those of some channels of a group. */
const each = (node, sheet) => (node.members ? node.members.slice(0, TILES) : [node]).map(sheet);

function overlays(node, many) {
  if (!node.overlays) {
    node.overlays = cells(many, node.size).map((cell) => draw("svg", { class: "overlay", ...cell }));
    const holder = draw("g", { "clip-path": `url(#${clip(node.size)})` }, square(node.size, { class: "zero" }), ...node.overlays);
    node.inside.insertBefore(holder, node.inside.querySelector("rect.circuit-rim:not(.circuit-stack)"));
  }
  return node.overlays;
}

function showImages() {
  for (const node of nodes) {
    if (!node.drawn || node.folded) continue;
    const sheets = each(node, sheetOf), any = sheets.some(Boolean);
    if (any) overlays(node, sheets.length).forEach((svg, index) => {
      if (sheets[index]) putTile(svg, sheets[index]);
      svg.setAttribute("visibility", sheets[index] ? "inherit" : "hidden");
    });
    if (node.overlays) node.overlays[0].parentNode.setAttribute("visibility", any ? "visible" : "hidden");
  }
  const inside = byId("inside");
  if (inside) inside.disabled = state.image < 0 && (state.view === "crop" || !inBoth);
  showFeature();
  explainChosen();
}

function showFeature() {
  if (!byId("feature")) return;
  const maps = state.image >= 0;
  byId("feature").hidden = !maps && !data.vision;
  if (byId("feature").hidden) return;
  byId("feature-title").textContent = maps ? `${data.target} on this image` : `made to excite ${data.target}`;
  for (const inside of [0, 1]) {
    putTile(byId(`feature-${inside}`), maps ? mapSheet(data.scenes.feature, inside) : visionSheet(data.vision, inside));
  }
  byId("feature-note").textContent = maps ? data.scenes.notes[state.image] : "";
}
