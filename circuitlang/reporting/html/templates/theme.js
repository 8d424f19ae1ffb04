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
