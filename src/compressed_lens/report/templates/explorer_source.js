  // Where items come from. Both kinds of source answer alike: `open` tells of a series, `find` which rows a query
  // leaves, in which order, and `item` everything about one of them.
  const LOST = 4, GAINED = 8, BITS = { changed: 1, failed: 2, lost: LOST, gained: GAINED };

  const unpack = async (text) => {
    const bytes = Uint8Array.fromBase64 ? Uint8Array.fromBase64(text) : Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  };

  // A series that is embedded in the page, as columns (explorer.py: block).
  const embedded = (node) => {
    let data = null, changes = new Map(), lower = null, matches = { search: "" };
    const facts = (v, key) => data.out[v].facts.find((column) => column[0] === key)?.[1];
    const value = (m, v) => {
      const { key, over, onFailure } = data.measures[m], own = facts(v, key), below = over && facts(v, over);
      return Float64Array.from(data.out[v].state, (state, row) => {
        if (state) return state > 0 && onFailure !== null ? onFailure : NaN;
        const number = own?.[row] ?? NaN;
        return over ? Math.exp(number / (below?.[row] ?? NaN)) : Number(number);
      });
    };
    const change = (m, v) => {
      const place = m + " " + v;
      if (!changes.has(place)) {
        const own = value(m, v), full = data.reference === null ? own.fill(NaN) : value(m, data.reference);
        const sign = data.measures[m].direction === "lower" ? -1 : 1;
        changes.set(place, own.map((number, row) => sign * (number - full[row])));
      }
      return changes.get(place);
    };
    // Rows with the word in any text: each distinct text is looked at once.
    const matching = (search) => {
      if (matches.search === search) return matches.rows;
      lower ??= data.strings.map((text) => text.toLowerCase());
      const has = Uint8Array.from(lower, (text) => text.includes(search)), rows = new Uint8Array(data.ids.length);
      const reasons = data.reasons.map((reason) => reason.toLowerCase().includes(search));
      const groups = data.groups.map((group) => group.toLowerCase().includes(search));
      const columns = [...data.fields.map((f) => f[1]), ...data.out.flatMap((out) => [...out.texts.map((t) => t[1]), ...out.ratings.map((r) => r[2])])];
      for (const column of columns) for (let row = 0; row < rows.length; row++) if (column[row] >= 0 && has[column[row]]) rows[row] = 1;
      for (let row = 0; row < rows.length; row++)
        if (groups[data.group[row]] || data.ids[row].toLowerCase().includes(search) || data.answers[row].some((ref) => has[ref])
          || data.out.some((out) => out.state[row] > 0 && reasons[out.state[row] - 1])) rows[row] = 1;
      matches = { search, rows };
      return rows;
    };
    const summary = (row, picked, best) => {
      const last = data.fields.filter((f) => f[1][row] >= 0).pop();
      return {
        id: data.ids[row], repeat: data.repeats?.[row] ?? 0, group: data.groups[data.group[row]],
        title: last ? data.strings[last[1][row]].slice(0, 120) : "",
        mark: picked.reduce((all, v) => all | data.marks[v][row], 0), change: best && isFinite(best[row]) ? best[row] : null,
      };
    };
    return {
      model: node.dataset.model, task: node.dataset.task, analysis: node.dataset.analysis,
      open: async () => { data ??= await unpack(node.textContent); return { ...data, items: data.ids.length }; },
      find: async (query) => {
        const picked = query.variant === "" ? data.variants.map((_, v) => v).filter((v) => v !== data.reference) : [data.variants.indexOf(query.variant)];
        const m = data.measures.findIndex((one) => one.name === query.measure), group = data.groups.indexOf(query.group), reason = data.reasons.indexOf(query.reason);
        const sides = data.reference === null ? picked : [...picked, data.reference], neither = m >= 0 && data.measures[m].direction === "neither";
        const words = query.search && matching(query.search), deltas = m >= 0 ? picked.map((v) => change(m, v)) : [];
        const counts = { all: 0, lost: 0, gained: 0, changed: 0, failed: 0 }, rows = [], best = m >= 0 ? new Float64Array(data.ids.length).fill(Infinity) : null;
        for (let row = 0; row < data.ids.length; row++) {
          if (words && !words[row] || query.group && data.group[row] !== group || query.reason && !sides.some((v) => data.out[v].state[row] === reason + 1)) continue;
          let mark = 0;
          for (const v of picked) mark |= data.marks[v][row];
          if (best) {
            mark &= ~(LOST | GAINED);
            for (const delta of deltas) {
              mark |= delta[row] < 0 ? LOST : delta[row] > 0 ? GAINED : 0;
              const size = neither ? -Math.abs(delta[row]) : delta[row];
              if (size < best[row]) best[row] = size;
            }
          }
          counts.all++;
          for (const name in BITS) if (mark & BITS[name]) counts[name]++;
          if (query.show === "all" || mark & BITS[query.show]) rows.push(row);
        }
        if (best) rows.sort((a, b) => (best[a] === best[b] ? a - b : best[a] - best[b]));
        const wanted = query.item === undefined ? -1 : data.ids.findIndex((id, row) => id === query.item && (data.repeats?.[row] ?? 0) === query.repeat);
        return { total: rows.length, counts, place: rows.indexOf(wanted), rows: (from, to) => rows.slice(from, to).map((row) => summary(row, picked, best)) };
      },
      item: async (id, repeat) => {
        const row = data.ids.findIndex((one, n) => one === id && (data.repeats?.[n] ?? 0) === repeat), text = (ref) => data.strings[ref];
        const texts = (columns) => columns.filter((c) => c[1][row] >= 0).map((c) => [c[0], text(c[1][row])]);
        return {
          id, repeat, group: data.groups[data.group[row]], fields: texts(data.fields), answers: data.answers[row].map(text),
          out: data.out.map((out) => out.state[row] < 0 ? null : {
            failed: out.state[row] ? data.reasons[out.state[row] - 1] : "", texts: texts(out.texts), facts: out.facts.filter((c) => c[1][row] !== null).map((c) => [c[0], c[1][row]]), lists: out.lists.map((list) => list[row]),
            ratings: out.ratings.filter((r) => r[2][row] >= 0 || r[3]?.[row]).map((r) => [r[0], r[1], r[2][row] < 0 ? "" : text(r[2][row]), r[3]?.[row] ?? []]),
          }),
        };
      },
    };
  };

  // A series that `clens view` reads from the run's database (view/app.py).
  const PAGE = 100;
  const ask = async (path, query) => {
    const answer = await fetch("api/" + path + "?" + new URLSearchParams(query)).catch(() => { throw new Error("The server does not answer; is clens view still running?"); });
    if (!answer.ok) throw new Error("clens view answered " + answer.status + ".");
    return answer.json();
  };
  const served = ({ records, ...key }) => ({
    ...key,
    open: () => ask("head", key),
    find: async (query) => {
      const pages = new Map(), wanted = Object.fromEntries(Object.entries({ ...key, ...query }).filter(([, value]) => value !== undefined));
      const page = (number) => ask("rows", { ...wanted, offset: number * PAGE, limit: PAGE });
      const first = await page(0);
      pages.set(0, first.rows);
      return {
        ...first,
        rows: (from, to, arrived) => Array.from({ length: Math.max(0, Math.min(to, first.total) - from) }, (_, k) => {
          const number = Math.floor((from + k) / PAGE);
          if (!pages.has(number)) {
            pages.set(number, null);
            page(number).then((found) => { pages.set(number, found.rows); arrived?.(); }, () => pages.delete(number));
          }
          return pages.get(number)?.[(from + k) % PAGE] ?? null;
        }),
      };
    },
    item: (item, repeat) => ask("item", { ...key, item, repeat }),
  });
