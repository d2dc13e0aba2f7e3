"use strict";
(() => {
  // A link to something folded opens what it lies in.
  const named = () => {
    try { return decodeURIComponent(location.hash.slice(1)); } catch { return ""; }
  };
  const reveal = () => {
    let node = document.getElementById(named());
    const target = node;
    for (; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
    target?.scrollIntoView();
  };
  window.addEventListener("hashchange", reveal);
  reveal();

  // Paper has no folds, and need not say twice what the panels say.
  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open]):not(.screen-only *)")];
    for (const one of folded) one.open = true;
  });
  window.addEventListener("afterprint", () => { for (const one of folded) one.open = false; });

  // Arrow keys move over the fields of a heat map; Enter follows the link of the row.
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  for (const table of document.querySelectorAll("table.heat.grid")) {
    const rows = [...table.rows].map((row) => [...row.cells].filter((cell) => cell.tagName === "TD")).filter((row) => row.length);
    let current = rows[0]?.[0];
    if (!current) continue;
    current.tabIndex = 0;
    table.addEventListener("keydown", (event) => {
      const cell = event.target.closest("td"), step = steps[event.key];
      if (!cell) return;
      if (event.key === "Enter") cell.parentElement.querySelector("a")?.click();
      if (!step) return;
      event.preventDefault();
      const row = rows.findIndex((cells) => cells.includes(cell));
      const next = rows[row + step[0]]?.[rows[row].indexOf(cell) + step[1]];
      if (!next) return;
      current.tabIndex = -1;
      current = next;
      current.tabIndex = 0;
      current.focus();
    });
  }
})();
