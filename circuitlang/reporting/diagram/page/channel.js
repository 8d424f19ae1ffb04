// --- a channel explained: what it looks like, what it reads through which kernels, and where it goes ---
// A drawing in points, for the panel and, in the colours of paper, for a file: as wide as a column of text.

const panel = byId("channel"), WIDE = 252, ROW = 43, THUMB = 34, MAIN = 84, LEFT = 1, AT = WIDE - MAIN - LEFT, SHOWN = 5;

const mix = (share, from, to) => from.map((value, index) => Math.round(value + (to[index] - value) * share));
// The same in the colours of the page, which follow its scheme, and in those of a file.
const SCREEN = {
  ink: "var(--ink)", faint: "var(--faint)", line: "var(--line)", disc: "var(--disc)", paper: "none",
  excitatory: "var(--excite)", inhibitory: "var(--inhibit)", neutral: "var(--neutral)",
  both: "var(--ink)", first: "var(--first)", second: "var(--second)",
  weight: (value) => `color-mix(in oklab, var(${value > 0 ? "--excite" : "--inhibit"}) ${Math.round(100 * Math.abs(value))}%, var(--zero))`,
};
const PAPER = {
  ink: "#1b1f24", faint: "#586273", line: "#ccd2da", disc: "#e9edf2", paper: "#ffffff",
  excitatory: "#d95f0e", inhibitory: "#2166ac", neutral: "#8b929c",
  both: "#1b1f24", first: "#d08a00", second: "#2a7fc1",
  weight: (value) => `rgb(${mix(Math.abs(value), [241, 241, 239], value > 0 ? [217, 95, 14] : [33, 102, 172]).join(",")})`,
};

const shortened = (name, letters) => (name.length <= letters ? name : `${name.slice(0, letters >> 1)}…${name.slice(1 - (letters >> 1))}`);

function explain(node, paint) {
  const inputs = ranked(node.into).slice(0, SHOWN), outputs = ranked(node.out).slice(0, SHOWN), own = state.image >= 0 && node.maps;
  // A channel has a face and, where it has been visualised, another.
  const other = !node.members && otherSheet(node), below = MAIN + (own ? 98 : 44);
  const body = Math.max(inputs.length * ROW, below - 10 + (other ? 56 : 0)), foot = body + (outputs.length ? 76 : 0);
  const tall = foot + 22, middle = 28 + MAIN / 2;
  // Few inputs are beside the middle of what reads them.
  const start = Math.max(2, middle - (inputs.length * ROW - ROW + THUMB) / 2);
  const svg = draw("svg", {
    viewBox: `0 0 ${WIDE} ${tall}`, role: "group", "aria-label": `${node.called}: what it reads and where it goes`,
    "font-family": "Helvetica, Arial, sans-serif",
  });
  if (paint.paper !== "none") svg.append(draw("rect", { width: WIDE, height: tall, fill: paint.paper }));
  const label = (text, x, y, size, colour = paint.ink, bold = false) => {
    const line = draw("text", { x, y, "font-size": size, fill: colour, ...(bold ? { "font-weight": 600 } : {}) });
    line.textContent = text;
    svg.append(line);
  };
  label(shortened(node.called, 18), AT, 10, 9, paint.ink, true);
  const under = node.members ? `${node.members.length} channels of ${node.members[0].at.layer}` : node.called !== node.name ? node.name : node.alias;
  if (under) label(shortened(under, 21), AT, 20, 7, paint.faint);
  inputs.forEach((edge, index) => {
    const y = start + index * ROW, text = own ? 2 * THUMB + 8 : THUMB + 6;
    thread(svg, paint, edge, [156, y + THUMB / 2], [AT, middle]);
    svg.append(step(edge.source, edge, THUMB, LEFT, y, paint));
    if (own) svg.append(edge.source.isImage ? draw("g", {}) : pictured(each(edge.source, (one) => nodeMap(one, state.inside)), THUMB, THUMB + 4, y, paint));
    label(shortened(edge.source.called, own ? 12 : 18), text, y + 14, 7.5, paint.ink, true);
    label(`${percent(shareOf(edge))} of input`, text, y + 24, 7, paint.faint);
    svg.append(kernelAt(edge, paint, 130, y + 4, 26));
  });
  if (node.into.length > SHOWN) label(`and ${number(node.into.length - SHOWN)} more`, LEFT, body + 2, 7, paint.faint);
  svg.append(pictured(each(node, faceSheet), MAIN, AT, 28, paint));
  const influence = node.isTarget ? 1 : node.out.reduce((sum, edge) => sum + influenceOf(edge), 0);
  label(node.isTarget ? "the target" : `${percent(Math.min(influence, 1))} of the influence`, AT, MAIN + 38, 7, paint.faint);
  if (own) {
    svg.append(pictured([single(data.scenes.sources[state.image], true)], 40, AT, MAIN + 44, paint));
    svg.append(pictured([nodeMap(node, state.inside)], 40, AT + 44, MAIN + 44, paint));
    label("image", AT, MAIN + 92, 7, paint.faint);
    label(place(), AT + 44, MAIN + 92, 7, paint.faint);
  }
  if (other) {
    svg.append(pictured([other], 40, AT, below, paint));
    label(state.view === "vision" ? "excites it most" : "made to excite it", AT, below + 48, 7, paint.faint);
  }
  if (outputs.length) label(node.out.length > SHOWN ? `goes to ${count(node.out.length, "channel")}, most to` : "goes to", LEFT, body + 20, 7, paint.faint);
  outputs.forEach((edge, index) => {
    const x = LEFT + index * 50.5, y = body + 26;
    svg.append(kernelAt(edge, paint, x, y + 6, 16), step(edge.target, edge, 28, x + 19, y, paint));
    label(shortened(edge.target.called, 11), x, y + 37, 7, paint.ink);
    label(`${percent(shareOf(edge))} of it`, x, y + 46, 7, paint.faint);
  });
  const legend = byId("owners") ? "kernels: orange above zero, blue below, each in its own scale" : "orange excites, blue inhibits; each kernel in its own scale";
  label(legend, LEFT, tall - 4, 7, paint.faint);
  return svg;
}

function pictured(sheets, size, x, y, paint) {
  const group = draw("g", { transform: `translate(${x} ${y})` });
  const blended = sheets.some((sheet) => sheet && sheet.strength !== undefined);
  group.append(draw("rect", { width: size, height: size, rx: 3, fill: blended ? "#f7f7f5" : paint.disc }));
  cells(sheets.length, size).forEach((cell, index) => {
    if (sheets[index]) group.append(putTile(draw("svg", { ...cell, x: cell.x + size / 2, y: cell.y + size / 2 }), sheets[index]));
  });
  group.append(draw("rect", { width: size, height: size, rx: 1.5, fill: "none", stroke: paint.line, "stroke-width": 0.75 }));
  return group;
}

/** A channel beside the one that is explained: a button that goes there. */
function step(node, edge, size, x, y, paint) {
  const group = pictured(each(node, faceSheet), size, x, y, paint);
  const name = `${edge.source.called} ${edge.sign === "inhibitory" ? "inhibits" : "excites"} ${edge.target.called}, ${percent(shareOf(edge))} of its input`;
  for (const [key, value] of Object.entries({ class: "step", role: "button", tabindex: 0, "aria-label": `Go to ${node.called}: ${name}` })) group.setAttribute(key, value);
  group.dataset.channel = node.index;
  return group;
}

function kernelAt(edge, paint, x, y, size) {
  const svg = heat(edge, paint), side = edge.shape.every((many) => many === 1) ? 0.6 * size : size;
  const width = Math.min(side, side * svg.ratio), height = Math.min(side, side / svg.ratio);
  for (const [key, value] of Object.entries({ x: x + (size - width) / 2, y: y + (size - height) / 2, width, height })) svg.setAttribute(key, value);
  return svg;
}

function thread(svg, paint, edge, [x, y], [end, level]) {
  const bend = (end - x) / 2, width = 0.6 + 2.4 * Math.sqrt(shareOf(edge));
  const d = `M${x} ${y}C${x + bend} ${y} ${end - bend} ${level} ${end} ${level}`;
  svg.append(draw("path", { d, fill: "none", stroke: paint[kindOf(edge)], "stroke-width": width.toFixed(2), "stroke-opacity": 0.85 }));
}

/** Show the chosen channel in the panel, or close it. */
function explainChosen() {
  const node = state.chosen;
  panel.hidden = !node;
  if (!node) return;
  byId("channel-name").textContent = node.called;
  const within = panel.contains(document.activeElement) && document.activeElement.matches(".step");
  byId("channel-figure").replaceChildren(explain(node, SCREEN));
  showNames();
  if (within) (panel.querySelector(".step") || byId("close")).focus();
}

for (const name of ["click", "keydown"]) {
  panel.addEventListener(name, (event) => {
    const group = event.target.closest(".step");
    if (!group || (name === "keydown" && event.key !== "Enter" && event.key !== " ")) return;
    event.preventDefault();
    go(nodes[Number(group.dataset.channel)]);
  });
}

// --- files ---

/** Turn images into a kind that all programs read. */
async function portable(svg) {
  for (const one of svg.querySelectorAll("image")) {
    if (!one.getAttribute("href").startsWith("data:image/webp")) continue;
    const image = new Image(), canvas = make("canvas");
    image.src = one.getAttribute("href");
    await image.decode();
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    canvas.getContext("2d").drawImage(image, 0, 0);
    one.setAttribute("href", canvas.toDataURL("image/jpeg", 0.92));
  }
}

/** The explained channel as an SVG file, sized in points. */
async function standalone() {
  const svg = explain(state.chosen, PAPER), [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
  for (const [key, value] of Object.entries({ xmlns: SVG, width: `${width}pt`, height: `${height}pt`, role: "img" })) svg.setAttribute(key, value);
  for (const one of svg.querySelectorAll(".step")) for (const key of ["class", "role", "tabindex", "data-channel"]) one.removeAttribute(key);
  await portable(svg);
  return { text: new XMLSerializer().serializeToString(svg), width, height };
}

function offer(blob, name) {
  const link = make("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

const fileName = (node, ending) => `${node.name.replace(/[^\w.-]+/g, "_")}.${ending}`;
async function saveSvg() {
  const name = fileName(state.chosen, "svg");
  offer(new Blob([(await standalone()).text], { type: "image/svg+xml" }), name);
}

async function savePng() {
  const name = fileName(state.chosen, "png"), { text, width, height } = await standalone();
  const canvas = make("canvas"), image = new Image(), scale = 600 / 72;
  image.onload = () => {
    [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((blob) => offer(blob, name));
  };
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
}
