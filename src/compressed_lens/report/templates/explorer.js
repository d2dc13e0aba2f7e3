"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const reveal = () => {
    let node = at(decodeURIComponent(location.hash.slice(1)));
    const target = node;
    for (; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
    target?.scrollIntoView();
  };
  window.addEventListener("hashchange", reveal);
  reveal();
  const blocks = [...document.querySelectorAll("script.series")];
  if (!blocks.length) return;
  const parsed = new Map();
  const series = at("pick-series"), variant = at("pick-variant"), list = at("list"), detail = at("detail");
  const search = at("search"), shown = at("shown");
  let data = null, rows = [], current = 0;

  const make = (tag, text, name) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (name) node.className = name;
    return node;
  };
  const load = (n) => {
    if (!parsed.has(n)) {
      const found = JSON.parse(blocks[n].textContent);
      for (const item of found.items) {
        const words = [item.id, item.group, ...item.fields.map((f) => found.strings[f[1]]), ...item.answers.map((a) => found.strings[a])];
        for (const out of item.out) if (out) words.push(...out[0].map((t) => found.strings[t[1]]), out[2]);
        item.words = words.join("\n").toLowerCase();
      }
      parsed.set(n, found);
    }
    return parsed.get(n);
  };

  const split = (text) => text.match(/\s+|[\p{L}\p{N}\p{M}_'’]+|[^]/gu) || [];
  const compare = (left, right) => {
    const a = split(left), b = split(right);
    let start = 0, endA = a.length, endB = b.length;
    while (start < endA && start < endB && a[start] === b[start]) start++;
    while (endA > start && endB > start && a[endA - 1] === b[endB - 1]) { endA--; endB--; }
    const n = endA - start, m = endB - start;
    const keepA = new Uint8Array(a.length).fill(1), keepB = new Uint8Array(b.length).fill(1);
    keepA.fill(0, start, endA);
    keepB.fill(0, start, endB);
    if (n * m > 0 && n * m <= 4e6) {
      const width = m + 1, best = new Uint16Array((n + 1) * width);
      for (let i = n - 1; i >= 0; i--) for (let j = m - 1; j >= 0; j--)
        best[i * width + j] = a[start + i] === b[start + j] ? best[(i + 1) * width + j + 1] + 1
          : Math.max(best[(i + 1) * width + j], best[i * width + j + 1]);
      for (let i = 0, j = 0; i < n && j < m;) {
        if (a[start + i] === b[start + j]) { keepA[start + i++] = 1; keepB[start + j++] = 1; }
        else if (best[(i + 1) * width + j] >= best[i * width + j + 1]) i++; else j++;
      }
    }
    return [[a, keepA], [b, keepB]];
  };
  const marked = ([words, keep], tag) => {
    const box = make("div", undefined, "text");
    box.dir = "auto";
    for (let i = 0; i < words.length;) {
      let j = i;
      while (j < words.length && keep[j] === keep[i]) j++;
      const text = words.slice(i, j).join("");
      box.append(keep[i] ? text : make(tag, text));
      i = j;
    }
    return box;
  };
  const plain = (text) => { const box = make("div", text, "text"); box.dir = "auto"; return box; };

  const truth = { true: "yes", false: "no" };
  const chips = (out, base) => {
    const box = make("div", undefined, "chips");
    if (out[2]) box.append(make("span", "✕ " + out[2], "lost"));
    for (const [key, value] of Object.entries(out[1])) {
      const chip = make("span", key.replaceAll("_", " ") + ": " + (truth[value] ?? value));
      const before = base && base[1][key];
      const good = data.good.find((g) => g[0] === key);
      if (base && good && good[1] !== "neither" && typeof value === "boolean" && typeof before === "boolean" && before !== value) {
        const lost = value !== (good[1] === "higher");
        chip.className = lost ? "lost" : "gained";
        chip.textContent = (lost ? "▼ " : "▲ ") + chip.textContent;
      }
      box.append(chip);
    }
    return box;
  };
  const draw = (tag, values) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(values)) node.setAttribute(name, value);
    return node;
  };
  const known = (values) => (values || []).map((y, x) => [x, y]).filter(([, y]) => y !== null);
  const written = (y) => String(Number(y.toPrecision(3))).replace("-", "−");
  const sparks = (item, out, base) => {
    const box = document.createDocumentFragment();
    data.curves.forEach(([name, axis, first], n) => {
      const own = known(out[3]?.[n]), full = base ? known(base[3]?.[n]) : [];
      if (!own.length) return;
      // One scale for all variants of the item, so that their lines can be compared.
      const every = item.out.flatMap((o) => known(o?.[3]?.[n]));
      const low = Math.min(...every.map((p) => p[1])), high = Math.max(...every.map((p) => p[1]));
      const last = Math.max(1, ...every.map((p) => p[0]));
      const path = (points) => points.map(([x, y], k) =>
        (k && points[k - 1][0] === x - 1 ? "L" : "M") + (150 * x / last).toFixed(1) + " " + (high > low ? 36 - 32 * (y - low) / (high - low) : 20).toFixed(1)
        + (points[k + 1]?.[0] !== x + 1 && points[k - 1]?.[0] !== x - 1 ? "h0" : "")).join("");
      const figure = make("figure", undefined, "spark"), shown = name.replaceAll("_", " ");
      const peak = own.reduce((best, p) => (p[1] > best[1] ? p : best));
      const told = "from " + written(own[0][1]) + " to " + written(own[own.length - 1][1]) + ", highest " + written(peak[1]) + " at " + axis + " " + (first + peak[0]);
      const svg = draw("svg", { viewBox: "-3 0 156 40", width: "156", height: "40", role: "img" });
      const title = draw("title", {});
      title.textContent = shown + ": " + told;
      svg.append(title);
      if (full.length) svg.append(draw("path", { class: "line v0 faint", d: path(full) }));
      svg.append(draw("path", { class: "line " + (base ? "v1" : "v0"), d: path(own) }));
      figure.append(make("figcaption", shown + ": " + told), svg);
      box.append(figure);
    });
    return box;
  };
  const label = (v) => data.variants[v] + (data.gates[v] === "failed" ? " ✕ failed gate" : v === data.reference ? " (full precision)" : "");

  const card = (item, v, against, left) => {
    const box = make("article", undefined, "side-card");
    box.append(make("h4", label(v)));
    const out = item.out[v];
    if (!out) { box.append(make("p", "Nothing recorded.", "fine")); return box; }
    const other = against === null ? null : item.out[against];
    for (const [key, ref] of out[0]) {
      box.append(make("span", key.replaceAll("_", " "), "key"));
      const pair = other && other[0].find((t) => t[0] === key);
      if (!pair || pair[1] === ref) box.append(plain(data.strings[ref]));
      else if (left) box.append(marked(compare(data.strings[ref], data.strings[pair[1]])[0], "del"));
      else box.append(marked(compare(data.strings[pair[1]], data.strings[ref])[1], "ins"));
    }
    box.append(sparks(item, out, left || data.reference === null ? null : item.out[data.reference]));
    box.append(chips(out, left ? null : other));
    return box;
  };

  const chosen = () => variant.value === "all" ? data.variants.map((_, v) => v).filter((v) => v !== data.reference) : [Number(variant.value)];
  const show = () => {
    [...list.children].forEach((node, n) => node.setAttribute("aria-selected", String(n === current)));
    detail.replaceChildren();
    const item = rows[current];
    if (!item) return;
    list.setAttribute("aria-activedescendant", "row-" + current);
    const source = make("div", undefined, "source");
    source.append(make("span", [item.id, item.group].filter(Boolean).join(" · "), "key"));
    for (const [name, ref] of item.fields) source.append(make("span", name, "key"), plain(data.strings[ref]));
    if (item.answers.length) source.append(make("span", "expected", "key"), plain(item.answers.map((a) => data.strings[a]).join(" · ")));
    detail.append(source);
    const pair = make("div", undefined, "pair"), picked = chosen();
    if (data.reference !== null) pair.append(card(item, data.reference, picked.length === 1 ? picked[0] : null, true));
    for (const v of picked) if (v !== data.reference) pair.append(card(item, v, data.reference, false));
    detail.append(pair);
  };
  const filter = () => {
    const bit = Number(document.querySelector("input[name=show]:checked").value), word = search.value.trim().toLowerCase();
    const picked = chosen();
    rows = data.items.filter((item) => (!bit || picked.some((v) => item.marks[v] & bit)) && (!word || item.words.includes(word)));
    list.replaceChildren(...rows.map((item, n) => {
      const node = make("li");
      node.id = "row-" + n;
      node.setAttribute("role", "option");
      const mark = picked.reduce((all, v) => all | item.marks[v], 0);
      node.append((mark & 4 ? "⇄ " : "") + (mark & 2 ? "✕ " : "") + (item.fields.length ? data.strings[item.fields[item.fields.length - 1][1]].slice(0, 90) : item.id));
      node.append(make("small", [item.id, item.group, item.repeat ? "repeat " + item.repeat : ""].filter(Boolean).join(" · ")));
      node.addEventListener("click", () => { current = n; show(); });
      return node;
    }));
    shown.textContent = rows.length + " of " + data.items.length + " embedded items" + (data.total > data.items.length ? ", chosen from " + data.total : "") + ". ⇄ flipped, ✕ failed.";
    current = 0;
    show();
  };
  const open = () => {
    data = load(Number(series.value));
    const kept = variant.value;
    variant.replaceChildren(...data.variants.flatMap((name, v) => {
      if (v === data.reference && data.variants.length > 1) return [];
      const option = make("option", label(v));
      option.value = String(v);
      return [option];
    }));
    if (data.variants.length > 2) { const all = make("option", "all variants"); all.value = "all"; variant.append(all); }
    const flips = data.variants.map((_, v) => data.items.reduce((sum, item) => sum + (item.marks[v] & 4 ? 1 : 0), 0) * (data.gates[v] === "failed" ? 0 : 1));
    const values = [...variant.options].map((o) => o.value);
    variant.value = values.includes(kept) ? kept : values[values.indexOf(String(flips.indexOf(Math.max(...flips))))] ?? values[0];
    filter();
  };
  series.addEventListener("change", open);
  variant.addEventListener("change", filter);
  search.addEventListener("input", filter);
  for (const radio of document.querySelectorAll("input[name=show]")) radio.addEventListener("change", filter);
  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -rows.length, End: rows.length, j: 1, k: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    current = Math.max(0, Math.min(rows.length - 1, current + step));
    show();
    list.children[current]?.scrollIntoView({ block: "nearest" });
  });
  at("explorer").hidden = false;
  open();
})();
