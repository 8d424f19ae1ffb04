// --- the camera: fitted at first; the wheel zooms at the pointer, dragging pans ---

const HEAD = 46, EDGE = 18, FOOT = 30;
const camera = { x: 0, y: 0, scale: 1 };
const minimap = byId("minimap"), frame = byId("frame");
let zoomed = false;

/** The room for the drawing below the headings. */
function space() {
  return { width: Math.max(stage.clientWidth - 2 * EDGE, 100), height: Math.max(stage.clientHeight - HEAD - FOOT, 100) };
}

const fitted = () => Math.min(space().width / plan.width, space().height / plan.height, 1.6);

/** Show the whole drawing. */
function fit() {
  zoomed = false;
  const room = space(), scale = fitted();
  look({ scale, x: EDGE + (room.width - plan.width * scale) / 2, y: HEAD + (room.height - plan.height * scale) / 2 });
}

// While the camera moves, what is painted already is moved as it is, which takes no time; it is painted anew at rest.
const painted = { x: 0, y: 0, scale: 1 };
// Milliseconds until it rests, and between two changes of the small map.
const REST = 140, FRAMED = 60;
let moving = 0, framed = 0;

/** Move the camera; some of the drawing always stays in sight. */
function look(next = camera, fluid = false) {
  const { clientWidth: width, clientHeight: height } = stage;
  camera.scale = next.scale;
  const wide = plan.width * camera.scale, tall = plan.height * camera.scale;
  camera.x = Math.min(Math.max(next.x, 80 - wide), width - 80);
  camera.y = Math.min(Math.max(next.y, HEAD + 40 - tall), height - 60);
  clearTimeout(moving);
  if (fluid) {
    const grown = camera.scale / painted.scale;
    drawing.style.willChange = "transform";
    drawing.style.transform = `translate(${camera.x - painted.x * grown}px, ${camera.y - painted.y * grown}px) scale(${grown})`;
    // While it is dragged, a slow machine is not to paint between two frames.
    moving = setTimeout(() => look(), fingers.size ? 5 * REST : REST);
    moveHeadings();
    if (performance.now() - framed > FRAMED) frameMap();
  } else {
    drawing.style.willChange = drawing.style.transform = "";
    Object.assign(painted, camera);
    drawing.setAttribute("viewBox", `0 0 ${Math.max(width, 1)} ${Math.max(height, 1)}`);
    view.setAttribute("transform", `translate(${camera.x.toFixed(2)} ${camera.y.toFixed(2)}) scale(${camera.scale.toFixed(4)})`);
    drawLabels();
    drawHeadings();
    frameMap();
  }
}

function zoom(times, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
  const least = Math.min(fitted(), 1), scale = Math.min(Math.max(camera.scale * times, 0.6 * least), 8);
  const grown = scale / camera.scale;
  zoomed = true;
  unpoint();
  look({ scale, x: x - (x - camera.x) * grown, y: y - (y - camera.y) * grown }, true);
  remember();
}

function pan(right, down) {
  zoomed = true;
  look({ scale: camera.scale, x: camera.x + right, y: camera.y + down }, true);
  remember();
}

/** Pan as little as shows a node. */
function reveal(node) {
  const { clientWidth: width, clientHeight: height } = stage, room = (node.size / 2) * camera.scale + 24;
  const x = camera.x + node.x * camera.scale, y = camera.y + node.y * camera.scale;
  const right = x < room ? room - x : x > width - room ? width - room - x : 0;
  const down = y < HEAD + room ? HEAD + room - y : y > height - room ? height - room - y : 0;
  if (right || down) pan(right, down);
}

/** The whole in small, with what is in sight framed; only where that is not all. */
function drawMap() {
  minimap.setAttribute("viewBox", `-8 -8 ${plan.width + 16} ${plan.height + 16}`);
  const marks = nodes.filter((node) => node.drawn).map((node) => (
    draw("rect", { x: node.x - node.size / 2, y: node.y - node.size / 2, width: node.size, height: node.size, class: node.isTarget ? "aim" : "" })
  ));
  minimap.replaceChildren(...marks, frame);
}

function frameMap() {
  framed = performance.now();
  const { clientWidth: width, clientHeight: height } = stage;
  const left = -camera.x / camera.scale, top = (HEAD - camera.y) / camera.scale;
  const box = { x: left, y: top, width: width / camera.scale, height: (height - HEAD) / camera.scale };
  const whole = box.x <= 1 && box.y <= 1 && box.x + box.width >= plan.width - 1 && box.y + box.height >= plan.height - 1;
  minimap.classList.toggle("hidden", whole);
  for (const [name, value] of Object.entries(box)) frame.setAttribute(name, round(value));
}

function jump(event) {
  const box = minimap.getBoundingClientRect(), seen = minimap.viewBox.baseVal;
  const scale = Math.min(box.width / seen.width, box.height / seen.height);
  const x = (event.clientX - box.left - (box.width - seen.width * scale) / 2) / scale + seen.x;
  const y = (event.clientY - box.top - (box.height - seen.height * scale) / 2) / scale + seen.y;
  pan(stage.clientWidth / 2 - camera.x - x * camera.scale, stage.clientHeight / 2 - camera.y - y * camera.scale);
  frameMap();
}

minimap.addEventListener("pointerdown", (event) => {
  event.stopPropagation();
  minimap.setPointerCapture(event.pointerId);
  jump(event);
});
minimap.addEventListener("pointermove", (event) => minimap.hasPointerCapture(event.pointerId) && jump(event));

// --- gestures ---

const fingers = new Map();
let dragged = false;

const within = (event) => {
  const box = stage.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};

stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  const lines = event.deltaMode === 1 ? 30 : 1;
  zoom(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0018)), ...within(event));
}, { passive: false });

drawing.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  fingers.set(event.pointerId, [event.clientX, event.clientY]);
  dragged = fingers.size > 1;
});
window.addEventListener("pointermove", (event) => {
  const before = fingers.get(event.pointerId);
  if (!before) return;
  const now = [event.clientX, event.clientY];
  if (!dragged && Math.hypot(now[0] - before[0], now[1] - before[1]) < 4) return;
  dragged = true;
  unpoint();
  stage.classList.add("dragging");
  fingers.set(event.pointerId, now);
  if (fingers.size === 1) return pan(now[0] - before[0], now[1] - before[1]);
  // Two fingers: the other one stays.
  const [other] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
  const apart = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]) || 1;
  zoom(apart(now) / apart(before), ...within({ clientX: other[0], clientY: other[1] }));
});
for (const name of ["pointerup", "pointercancel"]) {
  window.addEventListener(name, (event) => {
    fingers.delete(event.pointerId);
    if (fingers.size || !stage.classList.contains("dragging")) return;
    stage.classList.remove("dragging");
    look();
  });
}
stage.addEventListener("dblclick", (event) => {
  event.preventDefault();
  fit();
  remember();
});

// A telephone's window changes its height whenever the bar of addresses comes or goes.
let measured = [0, 0];
new ResizeObserver(() => {
  const now = [stage.clientWidth, stage.clientHeight];
  if (now[0] === measured[0] && Math.abs(now[1] - measured[1]) < 2) return;
  measured = now;
  if (zoomed) look();
  else render();
}).observe(stage);
