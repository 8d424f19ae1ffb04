"use strict";
// Light or dark: as the system says, until somebody says otherwise.
const root = document.documentElement;
const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
const button = document.querySelector("#theme");
const show = () => { button.textContent = dark() ? "Light" : "Dark"; };
try {
  const kept = localStorage.getItem("circuitlang-theme");
  if (kept === "dark" || kept === "light") root.dataset.theme = kept;
} catch { /* pages in a frame may not remember */ }
button.addEventListener("click", () => {
  root.dataset.theme = dark() ? "light" : "dark";
  try { localStorage.setItem("circuitlang-theme", root.dataset.theme); } catch { /* the same */ }
  show();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
show();

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

// A column's heading sorts by it; again, the other way. What has no value stays last.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  function sort(column, order) {
    const heading = headings[column], sign = order === "ascending" ? 1 : -1;
    headings.forEach((each) => each.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", order);
    const value = (row) => row.cells[column].dataset.value;
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const difference = heading.dataset.kind === "number" ? Number(x) - Number(y) : x.localeCompare(y, undefined, { numeric: true });
      return sign * difference;
    };
    body.append(...[...body.rows].sort(compare));
  }
  headings.forEach((heading, column) => {
    const press = heading.querySelector("button");
    if (!press) return;
    press.addEventListener("click", () => {
      const first = heading.dataset.first || "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = heading.getAttribute("aria-sort") === first ? other : first;
      sort(column, order);
      remember("sort", `${heading.textContent.trim()} ${order}`);
    });
  });
  const [name, order] = (words.get("sort") || "").split(" ");
  const column = headings.findIndex((heading) => heading.textContent.trim() === name && heading.querySelector("button"));
  if (column >= 0 && (order === "ascending" || order === "descending")) sort(column, order);

  // Rows that have all words, and values within all bounds such as `pearson>0.9`.
  const input = document.querySelector("#filter"), output = document.querySelector("#filtered");
  const hint = output.textContent, texts = new Map([...body.rows].map((row) => [row, row.textContent.toLowerCase()]));
  const HOLDS = { "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b, "=": (a, b) => a === b };
  function test(word) {
    const [, name, sign, bound] = word.match(/^([\w.]+)(<=|>=|<|>|=)(-?[\d.]+%?)$/) || [];
    const column = headings.findIndex((heading) => heading.dataset.kind === "number" && heading.textContent.trim().toLowerCase() === name);
    if (column < 0) return (row) => texts.get(row).includes(word);
    const limit = parseFloat(bound) / (bound.endsWith("%") ? 100 : 1);
    return (row) => row.cells[column] && row.cells[column].dataset.value !== "" && HOLDS[sign](Number(row.cells[column].dataset.value), limit);
  }
  function filter() {
    const tests = input.value.toLowerCase().split(/\s+/).filter(Boolean).map(test);
    let shown = 0;
    for (const row of body.rows) {
      row.hidden = !tests.every((holds) => holds(row));
      shown += !row.hidden;
    }
    output.textContent = tests.length ? `${shown} of ${body.rows.length}` : hint;
  }
  input.addEventListener("input", () => {
    filter();
    remember("filter", input.value.trim());
  });
  input.value = words.get("filter") || "";
  filter();
}
