// --- names are given in the panel, and saved as lines of the file of labels ---

const labelsFile = `${data.spec || "NAME"}.labels`;

/** Show the names of what is chosen. */
function showNames() {
  const node = state.chosen, group = groupOf(node), label = names.labels.get(node.name);
  byId("label-row").hidden = Boolean(node.members) || node.isImage;
  byId("group-row").hidden = node.isTarget || node.isImage;
  for (const [id, text] of [["label", label ? label.text : ""], ["group", group || ""]]) {
    if (document.activeElement !== byId(id)) byId(id).value = text;
  }
  const known = [...names.groups].filter(([, one]) => node.at && one.layer === node.at.layer).map(([name]) => name);
  byId("groups").replaceChildren(...known.map((name) => Object.assign(make("option"), { value: name })));
  byId("open").hidden = !group || (names.groups.get(group).units.length < 2 && !node.members);
  byId("open").textContent = node.members ? "Open the group" : "Close the group";
  showLines();
}

/** Show what is to be saved, if anything is. */
function showLines() {
  const { labels, groups } = changes(), lines = nameLines(), many = Object.keys(labels).length + Object.keys(groups).length;
  byId("saving").hidden = !lines.length && !many;
  byId("saving-title").textContent = many ? `${count(many, "change")} to save in ${labelsFile}` : `Names in ${labelsFile}`;
  byId("saving-note").textContent = [`Save the lines as ${labelsFile}, beside the spec; the next run puts them into all pages.`, ...nameNotes()].join(" ");
  byId("lines").textContent = lines.join("\n");
  byId("discard").hidden = !many;
  if (many && !byId("saving").dataset.seen) byId("saving").open = byId("saving").dataset.seen = true;
}

function renamed() {
  keepNames();
  redraw();
}

/** Draw channels by their names and groups anew. */
function redraw() {
  unpoint();
  rename();
  if (stop && !nodes.includes(stop) && !edges.includes(stop)) rest(nodes.find((node) => node.isTarget) || nodes[0]);
  render();
  remember();
}

/** Draw a group as one node, or its channels. */
function toggle(name) {
  if (!name || !names.groups.has(name)) return;
  if (!state.opened.delete(name)) state.opened.add(name);
  // Of a group that opens, its first channel is chosen.
  if (state.chosen && state.chosen.members && state.opened.has(name)) [state.chosen] = state.chosen.members;
  redraw();
}

// What was typed before Escape is not taken, whether the browser calls it a change or not.
let typed = true;

on("label", "change", (event) => {
  if (!typed) return;
  setLabel(state.chosen, event.target.value);
  renamed();
});
on("group", "change", (event) => {
  if (!typed) return;
  const node = state.chosen, name = clean(event.target.value);
  if (node.members) renameGroup(node.name, name);
  else {
    setGroup(node, name);
    // What was just put into a group stays in sight.
    if (name) state.opened.add(name);
  }
  renamed();
});
for (const id of ["label", "group"]) {
  on(id, "keydown", (event) => {
    if (event.key === "Enter") event.target.blur();
    if (event.key !== "Escape") return;
    event.stopPropagation();
    typed = false;
    event.target.blur();
    typed = true;
    showNames();
  });
}

/** Call a group by another name, or by none: then its channels are no group any more. */
function renameGroup(old, name) {
  const group = names.groups.get(old);
  names.groups.delete(old);
  const kept = before.groups.get(name), now = { ...group, file: "" };
  if (name) names.groups.set(name, alike(kept, now) ? kept : now);
  state.chosen = name ? { name, members: group.units } : null;
}

on("open", "click", () => {
  toggle(groupOf(state.chosen));
  byId("open").focus();
});
on("copy", "click", async () => {
  const text = `${byId("lines").textContent}\n`;
  try {
    await navigator.clipboard.writeText(text);
    byId("copy").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(byId("lines"));
  }
});
on("save", "click", () => offer(new Blob([`${byId("lines").textContent}\n`], { type: "text/plain" }), labelsFile));
on("discard", "click", () => {
  for (const kind of ["labels", "groups"]) names[kind] = new Map(before[kind]);
  renamed();
});
