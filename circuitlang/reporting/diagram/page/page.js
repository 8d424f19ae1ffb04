"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const drawing = byId("drawing"), stage = byId("stage"), card = byId("card"), status = byId("status");

  // Edges are in order of drawing, nodes in that of the drawing: column by column, from the top.
  const nodes = data.nodes.map((node, index) => ({ ...node, index, element: byId(`n${index}`), into: [], out: [] }));
  const edges = data.edges.map((edge, index) => ({ ...edge, index, element: byId(`e${index}`) }));
  for (const edge of edges) {
    edge.source = nodes[edge.from];
    edge.target = nodes[edge.to];
    edge.source.out.push(edge);
    edge.target.into.push(edge);
  }
  for (const node of nodes) for (const list of [node.into, node.out]) list.sort((one, other) => other.carries - one.carries);
  // The edges of the first steps are whole paths: how many there are.
  const until = edges.reduce((ends, edge) => ((ends[edge.step] = edge.index + 1), ends), []);
  const of = new Map([...nodes, ...edges].map((one) => [one.element, one]));
  const state = { shown: edges.length, image: -1, view: "crop", inside: 1, chosen: null, query: "", via: null };

  // --- small builders; text is only ever set as text ---

  function make(tag, text, className) {
    const element = document.createElement(tag);
    if (text) element.textContent = text;
    if (className) element.className = className;
    return element;
  }

  function draw(tag, attributes) {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  }

  /** One tile of a sheet of images, as the content of an svg element. */
  function putTile(svg, sheet, columns, rows, column, row) {
    let image = svg.querySelector("image");
    if (!image) svg.append((image = draw("image", { preserveAspectRatio: "none" })));
    if (image.getAttribute("href") !== sheet) image.setAttribute("href", sheet);
    image.setAttribute("width", columns);
    image.setAttribute("height", rows);
    svg.setAttribute("viewBox", `${column} ${row} 1 1`);
    svg.setAttribute("preserveAspectRatio", "none");
    return svg;
  }

  function figure(caption, svg) {
    const element = make("figure");
    element.append(svg, make("figcaption", caption));
    return element;
  }

  const tile = (smooth) => draw("svg", { class: smooth ? "tile smooth" : "tile", "aria-hidden": "true" });

  // --- what is drawn ---

  const visible = (edge) => edge.index < state.shown;

  /** The visible edges and the nodes on any path through a node. */
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

  function refresh() {
    const kept = state.chosen ? through(state.chosen) : null;
    const query = state.query.toLowerCase();
    for (const edge of edges) {
      edge.element.classList.toggle("hidden", !visible(edge));
      edge.element.classList.toggle("dim", kept !== null && !kept.has(edge));
    }
    let matches = 0;
    for (const node of nodes) {
      const bare = !node.isTarget && !node.into.some(visible) && !node.out.some(visible);
      const found = query !== "" && matching(node, query);
      matches += found;
      node.dimmed = kept ? !kept.has(node) : bare && edges.length > 0;
      node.element.classList.toggle("dim", node.dimmed);
      node.element.classList.toggle("chosen", node === state.chosen);
      node.element.classList.toggle("found", found);
      node.element.setAttribute("aria-pressed", String(node === state.chosen));
      if (node.sum) node.sum.classList.toggle("dim", node.dimmed || !node.into.some(visible));
    }
    say(kept, query, matches);
  }

  const number = (value) => value.toLocaleString("en");
  const count = (value, noun) => `${number(value)} ${noun}${value === 1 ? "" : "s"}`;
  const matching = (node, query) => node.name.toLowerCase().includes(query);

  function say(kept, query, matches) {
    if (byId("count")) {
      const shown = state.shown ? edges[state.shown - 1].shown : 0;
      const all = edges[edges.length - 1].shown;
      byId("count").textContent = `${number(shown)} shown, ${all === shown ? "none" : number(all - shown)} hidden`;
    }
    let text = "";
    if (kept) {
      const feeding = new Set(), fed = new Set();
      collect(state.chosen, "into", "source", feeding);
      collect(state.chosen, "out", "target", fed);
      const image = [...feeding].some((node) => node.isImage) ? " and the image" : "";
      const channels = [...feeding].filter((node) => !node.isImage).length;
      text = `${state.chosen.name}: fed by ${count(channels, "channel")}${image}, feeds ${count(fed.size, "channel")}. Escape shows all.`;
    } else if (query) text = matches ? `${count(matches, "channel")} found` : `no channel is called ${state.query}`;
    else if (state.image >= 0) text = `${data.scenes.names[state.image]}, as it excites each channel in the ${place()}`;
    status.textContent = text;
  }

  function collect(node, list, end, found) {
    for (const edge of node[list]) {
      if (!visible(edge) || found.has(edge[end])) continue;
      found.add(edge[end]);
      collect(edge[end], list, end, found);
    }
  }

  const place = () => (state.inside ? "circuit" : "network");

  // --- images in the nodes ---

  // A tile reaches beyond its svg, so that it can't be clipped by share of its own box; sizes are few.
  function clip(size) {
    const id = `clip-${String(size).replace(".", "-")}`;
    if (!byId(id)) {
      const path = draw("clipPath", { id });
      path.append(draw("rect", { x: -size / 2, y: -size / 2, width: size, height: size, rx: 0.12 * size }));
      drawing.querySelector("defs").append(path);
    }
    return id;
  }

  function overlay(node) {
    if (!node.overlay) {
      const half = node.size / 2;
      node.overlay = draw("svg", { class: "overlay", x: -half, y: -half, width: node.size, height: node.size });
      const holder = draw("g", { "clip-path": `url(#${clip(node.size)})` });
      holder.append(node.overlay);
      const rim = node.isImage ? null : node.element.querySelector("rect.circuit-rim, text");
      node.element.insertBefore(holder, rim);
    }
    return node.overlay;
  }

  function showImages() {
    for (const node of nodes) {
      const sheet = sheetOf(node);
      if (!sheet) {
        if (node.overlay) node.overlay.parentNode.setAttribute("visibility", "hidden");
        continue;
      }
      const svg = overlay(node);
      svg.classList.toggle("smooth", sheet.smooth);
      svg.parentNode.setAttribute("visibility", "visible");
      putTile(svg, sheet.source, sheet.columns, sheet.rows, sheet.column, sheet.row);
    }
    const inside = byId("inside");
    if (inside) inside.disabled = state.image < 0 && state.view === "crop";
    showFeature();
  }

  function sheetOf(node) {
    if (state.image >= 0) {
      if (node.isImage) return { source: data.scenes.sources[state.image], columns: 1, rows: 1, column: 0, row: 0, smooth: true };
      return node.maps && mapSheet(node.maps, state.inside);
    }
    return state.view === "vision" && node.vision && visionSheet(node.vision, state.inside);
  }

  const mapSheet = (source, inside) => (
    { source, columns: data.scenes.names.length, rows: 2, column: state.image, row: inside, smooth: false }
  );
  const visionSheet = (source, inside) => ({ source, columns: 2, rows: 1, column: inside, row: 0, smooth: true });

  function showFeature() {
    if (!byId("feature")) return;
    const maps = state.image >= 0;
    byId("feature").hidden = !maps && !data.vision;
    if (byId("feature").hidden) return;
    byId("feature-title").textContent = maps ? `${data.target} on this image` : `made to excite ${data.target}`;
    for (const inside of [0, 1]) {
      const sheet = maps ? mapSheet(data.scenes.feature, inside) : visionSheet(data.vision, inside);
      const svg = byId(`feature-${inside}`);
      svg.classList.toggle("smooth", sheet.smooth);
      putTile(svg, sheet.source, sheet.columns, sheet.rows, sheet.column, sheet.row);
    }
    byId("feature-note").textContent = maps ? data.scenes.notes[state.image] : "";
  }

  // --- the card ---

  function heat(edge) {
    const [many, height, width] = edge.shape;
    const values = Int8Array.from(atob(edge.weights), (letter) => letter.charCodeAt(0));
    const across = height * width === 1 ? Math.ceil(Math.sqrt(many)) : Math.min(many, 4);
    const gap = height * width === 1 ? 0 : 1, down = Math.ceil(many / across);
    const box = `0 0 ${across * (width + gap) - gap} ${down * (height + gap) - gap}`;
    const svg = draw("svg", { class: "kernel", viewBox: box, "shape-rendering": "crispEdges", "aria-hidden": "true" });
    const wide = across * (width + gap) - gap, tall = down * (height + gap) - gap;
    svg.style.height = `${Math.min(96, 300 * tall / wide)}px`;
    values.forEach((value, index) => {
      const kernel = Math.floor(index / (height * width)), within = index % (height * width);
      const x = (kernel % across) * (width + gap) + (within % width);
      const y = Math.floor(kernel / across) * (height + gap) + Math.floor(within / width);
      const rect = draw("rect", { x, y, width: 1, height: 1 });
      const share = Math.round((Math.abs(value) / 127) * 100);
      rect.style.fill = `color-mix(in oklab, var(${value > 0 ? "--excite" : "--inhibit"}) ${share}%, var(--zero))`;
      svg.append(rect);
    });
    return svg;
  }

  function fill(one) {
    card.replaceChildren();
    if (one.source) {
      card.append(make("h2", one.text[0]), heat(one));
      for (const line of one.text.slice(1)) card.append(make("p", line));
      card.append(make("p", one.largest));
      return;
    }
    card.append(make("h2", one.text[0]));
    for (const line of one.text.slice(1)) card.append(make("p", line));
    const tiles = make("div", "", "tiles");
    const own = one.element.querySelector("image:not(.overlay image)");
    if (own && !one.isImage) {
      const source = own.getAttribute("href") || own.getAttributeNS("http://www.w3.org/1999/xlink", "href");
      tiles.append(figure(one.isFilter ? "its filter" : "excites it most", putTile(tile(one.isFilter === false), source, 1, 1, 0, 0)));
    }
    if (state.image >= 0 && one.maps) {
      for (const inside of [0, 1]) {
        const sheet = mapSheet(one.maps, inside);
        tiles.append(figure(inside ? "in circuit" : "in network", putTile(tile(false), sheet.source, sheet.columns, 2, sheet.column, inside)));
      }
    } else if (one.vision) {
      for (const inside of [0, 1]) {
        tiles.append(figure(inside ? "made: circuit" : "made: network", putTile(tile(true), one.vision, 2, 1, inside, 0)));
      }
    }
    if (tiles.children.length) card.append(tiles);
    if (state.image >= 0 && one.scale) card.append(make("p", one.scale));
    const list = make("ul");
    for (const edge of one.into.filter(visible).slice(0, 5)) {
      const item = make("li", "");
      item.append(make("i", "", edge.sign), make("b", edge.source.name), make("span", edge.influence));
      list.append(item);
    }
    if (list.children.length) {
      const more = one.into.filter(visible).length - list.children.length;
      card.append(make("p", "fed most strongly by"), list);
      if (more > 0) card.append(make("p", `and ${count(more, "more channel").replace("channels", "channels")}`));
    }
  }

  function point(one, x, y) {
    if (pointed !== one) {
      unpoint();
      pointed = one;
      fill(one);
      const near = one.source ? [one] : [...one.into, ...one.out];
      for (const edge of near) edge.element.classList.add("near");
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

  let pointed = null;
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
      const group = hit && hit.closest(".circuit-node, .circuit-edge");
      const one = group && of.get(group);
      if (one) return one;
    }
    return null;
  }

  // --- controls ---

  function choose(node) {
    state.chosen = node === state.chosen ? null : node;
    refresh();
  }

  function clear() {
    state.chosen = null;
    state.query = "";
    if (byId("search")) byId("search").value = "";
    unpoint();
    refresh();
  }

  let stop = null;
  function focus(one, via) {
    if (!one) return;
    if (stop) stop.element.setAttribute("tabindex", "-1");
    stop = one;
    state.via = via || null;
    one.element.setAttribute("tabindex", "0");
    if (one.source) {
      one.element.setAttribute("role", "img");
      one.element.setAttribute("aria-label", one.text.join(". "));
    }
    one.element.focus({ preventScroll: true });
    rim(one.source ? one.target : one).scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /** Left and right go from a node to its strongest edge and on; up and down to the next in the column or beside. */
  function step(one, key) {
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
    const next = nodes[one.index + (key === "ArrowDown" ? 1 : -1)];
    return next && next.layer === one.layer && focus(next);
  }

  drawing.addEventListener("pointermove", (event) => {
    const one = under(event.clientX, event.clientY);
    if (one && !one.dimmed) point(one, event.clientX, event.clientY);
    else unpoint();
  });
  drawing.addEventListener("pointerleave", unpoint);
  drawing.addEventListener("click", (event) => {
    const group = event.target.closest(".circuit-node");
    if (group) choose(of.get(group));
    else if (state.chosen && !event.target.closest(".circuit-edge")) clear();
  });
  // On what holds the drawing: Chromium lets an svg that listens for focus be tabbed to itself.
  stage.addEventListener("focusin", (event) => {
    const one = of.get(event.target);
    if (!one || !one.element.matches(":focus-visible")) return;
    const box = (one.source ? one.element : rim(one)).getBoundingClientRect();
    if (one.source) point(one, box.left + box.width / 2, box.top + box.height / 2);
    else point(one, box.right, box.top);
  });
  stage.addEventListener("focusout", unpoint);
  drawing.addEventListener("keydown", (event) => {
    const one = of.get(event.target.closest(".circuit-node, .circuit-edge"));
    if (!one) return;
    if (event.key.startsWith("Arrow")) {
      event.preventDefault();
      step(one, event.key);
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      choose(one.source ? one.target : one);
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    state.shown = edges.length;
    if (byId("shown")) byId("shown").value = until.length;
    clear();
  });

  function on(id, name, act) {
    if (byId(id)) byId(id).addEventListener(name, act);
  }

  on("shown", "input", (event) => {
    state.shown = until[Number(event.target.value) - 1];
    refresh();
  });
  on("search", "input", (event) => {
    state.query = event.target.value.trim();
    refresh();
  });
  on("search", "keydown", (event) => {
    if (event.key !== "Enter" || !state.query) return;
    const query = state.query.toLowerCase();
    const found = nodes.find((node) => node.name.toLowerCase() === query) || nodes.find((node) => matching(node, query));
    if (!found) return;
    state.chosen = found;
    refresh();
    focus(found);
  });
  for (const name of ["image", "view", "inside"]) {
    for (const input of document.querySelectorAll(`input[name="${name}"]`)) {
      input.addEventListener("change", () => {
        state[name] = name === "view" ? input.value : Number(input.value);
        showImages();
        refresh();
      });
    }
  }

  const natural = drawing.viewBox.baseVal.width;
  function resize(width) {
    drawing.style.width = `${Math.round(width)}px`;
  }
  let zoomed = false, wide = 0;
  function zoom(times) {
    zoomed = true;
    resize(Math.min(Math.max(drawing.clientWidth * times, natural * 0.2), natural * 4));
  }
  function fit() {
    zoomed = false;
    wide = innerWidth;
    const room = stage.clientWidth - 64;
    // All of it on one screen, as far as it stays readable; what is too wide for that scrolls.
    const tall = ((innerHeight - 140) / drawing.viewBox.baseVal.height) * natural;
    resize(Math.max(Math.min(room, natural * 1.25, Math.max(tall, natural * 0.8)), natural * 0.45));
  }
  on("fit", "click", fit);
  on("smaller", "click", () => zoom(1 / 1.25));
  on("larger", "click", () => zoom(1.25));
  // A telephone's window changes its height whenever the bar of addresses comes or goes.
  window.addEventListener("resize", () => innerWidth !== wide && !zoomed && fit());

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

  for (const mark of drawing.querySelectorAll(".circuit-sum")) {
    const node = nodes[Number(mark.dataset.node)];
    if (node) node.sum = mark;
  }
  stop = nodes.find((node) => node.isTarget) || nodes[0];
  if (stop) stop.element.setAttribute("tabindex", "0");
  nameTheme();
  fit();
  showImages();
  refresh();
})();
