  // How one item is drawn. Whatever a model wrote becomes a text node, never markup.
  const SHOWN = 6000, STEPS = 3e6;

  const make = (tag, text, name) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (name) node.className = name;
    return node;
  };
  const spaced = (name) => name.replaceAll("_", " ");

  const split = (text) => text.match(/\s+|[\p{L}\p{N}\p{M}_'’]+|[^]/gu) || [];
  // Longest common subsequence of words. Beyond STEPS, what lies between the common beginning and end is marked whole.
  const compare = (left, right) => {
    const a = split(left), b = split(right);
    let start = 0, endA = a.length, endB = b.length;
    while (start < endA && start < endB && a[start] === b[start]) start++;
    while (endA > start && endB > start && a[endA - 1] === b[endB - 1]) { endA--; endB--; }
    const n = endA - start, m = endB - start;
    const keepA = new Uint8Array(a.length).fill(1), keepB = new Uint8Array(b.length).fill(1);
    keepA.fill(0, start, endA);
    keepB.fill(0, start, endB);
    if (n * m > 0 && n * m <= STEPS) {
      const width = m + 1, best = new Uint16Array((n + 1) * width);
      for (let i = n - 1; i >= 0; i--) for (let j = m - 1; j >= 0; j--)
        best[i * width + j] = a[start + i] === b[start + j] ? best[(i + 1) * width + j + 1] + 1
          : Math.max(best[(i + 1) * width + j], best[i * width + j + 1]);
      for (let i = 0, j = 0; i < n && j < m;) {
        if (a[start + i] === b[start + j]) { keepA[start + i++] = 1; keepB[start + j++] = 1; }
        else if (best[(i + 1) * width + j] >= best[i * width + j + 1]) i++; else j++;
      }
    }
    // A space between two changed words belongs to the change.
    for (const [words, keep] of [[a, keepA], [b, keepB]])
      for (let i = 1; i + 1 < words.length; i++) if (keep[i] && !keep[i - 1] && !keep[i + 1] && !words[i].trim()) keep[i] = 0;
    return [[a, keepA], [b, keepB]];
  };
  const textBox = (...parts) => { const box = make("div", undefined, "text"); box.dir = "auto"; box.append(...parts); return box; };
  const marked = ([words, keep], tag) => {
    const parts = [];
    for (let i = 0; i < words.length;) {
      let j = i;
      while (j < words.length && keep[j] === keep[i]) j++;
      const text = words.slice(i, j).join("");
      parts.push(keep[i] ? text : make(tag, text));
      i = j;
    }
    return textBox(...parts);
  };
  // The beginning of a long text, compared with the beginning of the other; all of it on request, without marks.
  const written = (text, other, left) => {
    const head = text.slice(0, SHOWN);
    const box = other === undefined || other === text ? textBox(head)
      : left ? marked(compare(head, other.slice(0, SHOWN))[0], "del") : marked(compare(other.slice(0, SHOWN), head)[1], "ins");
    if (text.length <= SHOWN) return box;
    const all = make("div"), more = make("button", "Show all " + text.length.toLocaleString("en") + " characters", "more");
    more.type = "button";
    more.addEventListener("click", () => all.replaceChildren(textBox(text)));
    all.append(box, more);
    return all;
  };

  const truth = { true: "yes", false: "no" };
  const chips = (series, out, base) => {
    const box = make("div", undefined, "chips"), rated = new Set(out.ratings.map((r) => r[0] + ":" + r[1]));
    if (out.failed) { const chip = make("span", "✕ " + out.failed, "lost"); chip.dir = "auto"; box.append(chip); }
    for (const [key, value] of out.facts) {
      if (rated.has(key)) continue;
      const chip = make("span", spaced(key) + ": " + (truth[value] ?? value));
      const before = base?.facts.find((fact) => fact[0] === key)?.[1], measure = series.measures.find((m) => m.key === key);
      if (measure && measure.direction !== "neither" && typeof value === "boolean" && typeof before === "boolean" && before !== value) {
        const lost = value !== (measure.direction === "higher");
        chip.className = lost ? "lost" : "gained";
        chip.textContent = (lost ? "▼ " : "▲ ") + chip.textContent;
      }
      box.append(chip);
    }
    return box;
  };
  const ratings = (out) => {
    if (!out.ratings.length) return "";
    const box = make("div", undefined, "rated"), table = make("table", undefined, "ratings"), head = make("tr"), scores = new Map(out.facts);
    for (const name of ["Judge", "Rates", "Score", "Says"]) { const cell = make("th", name); cell.scope = "col"; head.append(cell); }
    table.append(make("thead"), make("tbody"));
    table.tHead.append(head);
    for (const [dimension, judge, said, shares] of out.ratings) {
      const row = make("tr"), name = make("th", judge), score = scores.get(dimension + ":" + judge);
      name.scope = "row";
      const words = said || shares.map((share, k) => k + 1 + ":\u00a0" + Math.round(100 * share) + "\u00a0%").join(", "), cell = make("td");
      cell.append(written(words));
      row.append(name, make("td", spaced(dimension)), make("td", score === undefined ? "none read" : String(score)), cell);
      table.tBodies[0].append(row);
    }
    box.append(table);
    return box;
  };

  const draw = (tag, values) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(values)) node.setAttribute(name, value);
    return node;
  };
  const known = (values) => (values || []).map((y, x) => [x, y]).filter(([, y]) => y !== null);
  const digits = (y) => String(Number(y.toPrecision(3))).replace("-", "−");
  const sparks = (series, item, out, base) => {
    const box = document.createDocumentFragment();
    series.curves.forEach(([name, axis, first], n) => {
      const own = known(out.lists[n]), full = base ? known(base.lists[n]) : [];
      if (!own.length) return;
      // One scale for all variants of the item, so that their lines can be compared.
      const every = item.out.flatMap((o) => known(o?.lists[n]));
      const low = Math.min(...every.map((p) => p[1])), high = Math.max(...every.map((p) => p[1]));
      const last = Math.max(1, ...every.map((p) => p[0]));
      const path = (points) => points.map(([x, y], k) =>
        (k && points[k - 1][0] === x - 1 ? "L" : "M") + (150 * x / last).toFixed(1) + " " + (high > low ? 36 - 32 * (y - low) / (high - low) : 20).toFixed(1)
        + (points[k + 1]?.[0] !== x + 1 && points[k - 1]?.[0] !== x - 1 ? "h0" : "")).join("");
      const figure = make("figure", undefined, "spark"), peak = own.reduce((best, p) => (p[1] > best[1] ? p : best));
      const told = "from " + digits(own[0][1]) + " to " + digits(own[own.length - 1][1]) + ", highest " + digits(peak[1]) + " at " + axis + " " + (first + peak[0]);
      const svg = draw("svg", { viewBox: "-3 0 156 40", width: "156", height: "40", role: "img" }), title = draw("title", {});
      title.textContent = spaced(name) + ": " + told;
      svg.append(title);
      if (full.length) svg.append(draw("path", { class: "line v0 faint", d: path(full) }));
      svg.append(draw("path", { class: "line " + (base ? "v1" : "v0"), d: path(own) }));
      figure.append(make("figcaption", spaced(name) + ": " + told), svg);
      box.append(figure);
    });
    return box;
  };

  const label = (series, v) => series.variants[v] + (series.gates[v] === "failed" ? " ✕ failed gate" : series.gates[v] === "placebo" ? " (placebo)" : v === series.reference ? " (full precision)" : "");
  const card = (series, item, v, against, left) => {
    const box = make("article", undefined, "side-card"), out = item.out[v];
    box.append(make("h4", label(series, v)));
    if (!out) { box.append(make("p", "Nothing recorded.", "fine")); return box; }
    const other = against === null ? null : item.out[against];
    for (const [key, text] of out.texts) box.append(make("span", spaced(key), "key"), written(text, other?.texts.find((t) => t[0] === key)?.[1], left));
    box.append(sparks(series, item, out, left || series.reference === null ? null : item.out[series.reference]), ratings(out), chips(series, out, left ? null : other));
    return box;
  };
  const drawn = (series, item, picked) => {
    const source = make("div", undefined, "source"), pair = make("div", undefined, "pair"), full = series.reference;
    source.append(make("span", [item.id, item.group, item.repeat ? "repeat " + item.repeat : ""].filter(Boolean).join(" · "), "key"));
    for (const [name, text] of item.fields) source.append(make("span", spaced(name), "key"), written(text));
    if (item.answers.length) source.append(make("span", "expected", "key"), written(item.answers.join(" · ")));
    if (full !== null) pair.append(card(series, item, full, picked.length === 1 ? picked[0] : null, true));
    for (const v of picked) pair.append(card(series, item, v, full, false));
    return [source, pair];
  };
  // What "Copy item as JSON" copies.
  const plainItem = (series, item) => ({
    item: item.id, repeat: item.repeat, group: item.group, fields: Object.fromEntries(item.fields), answers: item.answers,
    outcomes: Object.fromEntries(series.variants.map((name, v) => [name, item.out[v] && {
      failed: item.out[v].failed || null, ...Object.fromEntries([...item.out[v].texts, ...item.out[v].facts]),
      ...Object.fromEntries(series.curves.map((curve, n) => [curve[0], item.out[v].lists[n]])),
      ...(item.out[v].ratings.length ? { judges: item.out[v].ratings.map(([dimension, judge, said, probabilities]) => ({ dimension, judge, said, probabilities })) } : {}),
    }])),
  });
