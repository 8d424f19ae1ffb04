// In a notebook there is nothing beside the page that a link could lead to.
if (window.parent !== window) root.classList.add("framed");

for (const copy of document.querySelectorAll("[data-copy]")) {
  copy.hidden = !navigator.clipboard || root.classList.contains("framed");
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(copy.dataset.copy).textContent);
    copy.textContent = "copied";
  });
}

// The address keeps the order and the filter of the table, so that a view can be sent to somebody.
const words = new URLSearchParams(location.hash.slice(1));
function remember(name, value) {
  if (value) words.set(name, value);
  else words.delete(name);
  try {
    history.replaceState(null, "", words.size ? `#${words}` : location.pathname + location.search);
  } catch { /* pages in a frame may not */ }
}

// The rows of a long table are data but for the first; they are made as they are shown.
const FORMATS = {
  words: String, count: (value) => value.toLocaleString("en"), percent: (value) => `${(100 * value).toFixed(1)}%`, fixed: (value) => value.toFixed(3),
};

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/** The row of a circuit, as the template makes the first ones. */
function circuitRow([id, values, report, diagram, called, remark, image, run], headings) {
  const row = element("tr", "", { "data-id": id }), who = element("td", "", { class: "who" }), name = element("div", "");
  const place = `${run ? `${run}/` : ""}${encodeURIComponent(id)}`, small = element("div", "", { class: "small" });
  name.append(report ? element("a", id, { class: "beside", href: `${place}/report.html` }) : id);
  if (diagram) small.append(element("a", "diagram", { class: "beside", href: `${place}/${diagram}` }));
  if (called) small.append(element("span", `“${called}”`, { class: "label" }));
  if (remark) small.append(element("span", remark, { class: "remark" }));
  if (small.firstChild) name.append(small);
  who.append(element("div", ""));
  who.firstChild.append(...(image ? [element("img", "", { src: image, alt: "" })] : []), name);
  row.append(who, ...values.map((value, index) => {
    const { cell, format } = headings[index + 1].dataset, good = value === "preserved" && index === 0 ? " good" : "";
    return element("td", value === null ? "–" : FORMATS[format](value), { class: cell + good });
  }));
  return row;
}

// A column's heading sorts by it; again, the other way. What has no value stays last.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], headings = [...table.tHead.rows[0].cells], step = Number(table.dataset.step);
  const more = document.querySelector("#more"), rest = document.querySelector("#rows");
  const input = document.querySelector("#filter"), output = document.querySelector("#filtered"), hint = output.textContent;
  const number = (column, value) => (headings[column].dataset.kind === "number" && value !== "" ? Number(value) : value);
  let rows = [...body.rows].map((row) => (
    { made: row, words: row.textContent.toLowerCase(), values: [...row.cells].map((cell, column) => number(column, cell.dataset.value || "")) }
  ));
  for (const data of rest ? JSON.parse(rest.textContent) : []) {
    const [id, values, , , called, remark] = data;
    rows.push({ data, words: [id, called, remark, ...values].join(" ").toLowerCase(), values: [id, ...values.map((value) => value ?? "")] });
  }
  const all = [...rows];
  let limit = step, found = rows;

  function draw() {
    body.replaceChildren(...found.slice(0, limit).map((row) => (row.made ||= circuitRow(row.data, headings))));
    const left = found.length - limit;
    more.hidden = left <= 0;
    more.textContent = `Show ${Math.min(left, step).toLocaleString("en")} more of ${left.toLocaleString("en")}`;
  }
  more.addEventListener("click", () => {
    limit += step;
    draw();
  });

  function sort(column, order) {
    const heading = headings[column], sign = order === "ascending" ? 1 : -1, numbers = heading.dataset.kind === "number";
    headings.forEach((each) => each.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", order);
    const words = new Intl.Collator(undefined, { numeric: true });
    rows = [...all].sort((a, b) => {
      const [x, y] = [a.values[column], b.values[column]];
      if (x === "" || y === "") return (x === "") - (y === "");
      return sign * (numbers ? x - y : words.compare(x, y));
    });
    filter();
  }
  headings.forEach((heading, column) => {
    const press = heading.querySelector("button");
    if (!press) return;
    press.addEventListener("click", () => {
      const first = heading.dataset.first || "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = heading.getAttribute("aria-sort") === first ? other : first;
      limit = step;
      sort(column, order);
      remember("sort", `${heading.textContent.trim()} ${order}`);
    });
  });

  // Rows that have all words, and values within all bounds such as `pearson>0.9`.
  const HOLDS = { "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b, "=": (a, b) => a === b };
  function test(word) {
    const [, name, sign, bound] = word.match(/^([\w.]+)(<=|>=|<|>|=)(-?[\d.]+%?)$/) || [];
    const column = headings.findIndex((heading) => heading.dataset.kind === "number" && heading.textContent.trim().toLowerCase() === name);
    if (column < 0) return (row) => row.words.includes(word);
    const limit = parseFloat(bound) / (bound.endsWith("%") ? 100 : 1);
    return (row) => row.values[column] !== "" && HOLDS[sign](row.values[column], limit);
  }
  function filter() {
    const tests = input.value.toLowerCase().split(/\s+/).filter(Boolean).map(test);
    found = tests.length ? rows.filter((row) => tests.every((holds) => holds(row))) : rows;
    output.textContent = tests.length ? `${found.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")}` : hint;
    draw();
  }
  input.addEventListener("input", () => {
    limit = step;
    filter();
    remember("filter", input.value.trim());
  });
  input.value = words.get("filter") || "";
  const [name, order] = (words.get("sort") || "").split(" ");
  const column = headings.findIndex((heading) => heading.textContent.trim() === name && heading.querySelector("button"));
  if (column >= 0 && (order === "ascending" || order === "descending")) sort(column, order);
  else filter();
}
