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

// A column's heading sorts by it; again, the other way. What has no value stays last.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const press = heading.querySelector("button");
    if (!press) return;
    press.addEventListener("click", () => {
      const first = heading.dataset.first || "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = heading.getAttribute("aria-sort") === first ? other : first;
      headings.forEach((each) => each.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const value = (row) => row.cells[column].dataset.value;
      const compare = (a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        const difference = heading.dataset.kind === "number" ? Number(x) - Number(y) : x.localeCompare(y, undefined, { numeric: true });
        return sign * difference;
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}
