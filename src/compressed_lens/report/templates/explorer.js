  // The explorer: list, filters, keys, and the place in the address.
  const at = (id) => document.getElementById(id);
  const box = at("explorer"), list = at("list"), rows = at("rows"), detail = at("detail"), search = at("search"), status = at("shown");
  const pick = { series: at("pick-series"), variant: at("pick-variant"), measure: at("pick-measure"), group: at("pick-group"), reason: at("pick-reason") };
  const radios = [...document.querySelectorAll("input[name=show]")];
  let sources = [], source = null, series = null, found = null, current = 0, item = null, asked = 0, shownLast = 0, height = 52;

  const trouble = (text) => { const note = at("trouble"); note.textContent = text; note.hidden = !text; };
  const guarded = (work) => (...given) => Promise.resolve(work(...given)).catch((error) => trouble(String(error.message || error)));
  const fill = (select, options, kept) => {
    select.replaceChildren(...options.map(([value, text]) => { const option = make("option", text); option.value = value; return option; }));
    select.value = options.some(([value]) => value === kept) ? kept : options[0][0];
    select.parentElement.hidden = options.length < 2;
  };
  const shownFilter = () => radios.find((radio) => radio.checked).value;
  const setShow = (value) => { (radios.find((radio) => radio.value === value) ?? radios[0]).checked = true; };
  const picked = () => series.variants.map((_, v) => v).filter((v) => (pick.variant.value === "" ? v !== series.reference : series.variants[v] === pick.variant.value));

  // The list draws only what is in sight.
  const drawRows = () => {
    if (!found) return;
    const from = Math.max(0, Math.floor(list.scrollTop / height) - 4), to = Math.min(found.total, from + Math.ceil(list.clientHeight / height) + 9), mine = found;
    const neither = series.measures.find((one) => one.name === pick.measure.value)?.direction === "neither";
    rows.style.height = found.total * height + "px";
    rows.replaceChildren(...found.rows(from, to, () => { if (mine === found) drawRows(); }).map((row, k) => {
      const n = from + k, node = make("div");
      node.id = "row-" + n;
      node.style.top = n * height + "px";
      node.style.height = height + "px";
      node.setAttribute("role", "option");
      node.setAttribute("aria-selected", String(n === current));
      node.setAttribute("aria-setsize", String(found.total));
      node.setAttribute("aria-posinset", String(n + 1));
      if (!row) { node.textContent = "…"; return node; }
      const signs = (row.mark & LOST ? "▼ " : "") + (row.mark & GAINED ? "▲ " : "") + (row.mark & BITS.failed ? "✕ " : "");
      const change = !row.change ? "" : neither ? "Δ " + digits(-row.change) : (row.change > 0 ? "+" : "") + digits(row.change);
      const title = make("span", signs + (row.title || row.id)), note = make("small", [change, row.id, row.group, row.repeat ? "repeat " + row.repeat : ""].filter(Boolean).join(" · "));
      title.dir = note.dir = "auto";
      node.append(title, note);
      node.addEventListener("click", () => go(n, true));
      return node;
    }));
    if (found.total) list.setAttribute("aria-activedescendant", "row-" + current); else list.removeAttribute("aria-activedescendant");
  };
  const others = () => {
    const links = sources.filter((one) => one !== source && one.model === source.model && one.task === source.task);
    if (!links.length) return [];
    const note = make("p", "The same item in: ", "also");
    for (const one of links) { const link = make("a", one.analysis); link.href = "#" + address({ analysis: one.analysis, show: "all", measure: "", group: "", reason: "", search: "" }); note.append(link, " "); }
    return [note];
  };
  const show = guarded(async () => {
    const mine = ++shownLast, row = found.total ? found.rows(current, current + 1, () => { if (!item) show(); })[0] : null;
    drawRows();
    const told = row ? await source.item(row.id, row.repeat) : null;
    if (mine !== shownLast) return;
    item = told;
    detail.replaceChildren(...(item ? [...drawn(series, item, picked()), ...others()] : found.total ? [] : [make("p", "No item is left by these filters.", "fine")]));
  });
  const go = async (n, byHand) => {
    current = Math.max(0, Math.min(found.total - 1, n));
    if (current * height < list.scrollTop) list.scrollTop = current * height;
    if ((current + 1) * height > list.scrollTop + list.clientHeight) list.scrollTop = (current + 1) * height - list.clientHeight;
    await show();
    if (byHand) remember();
  };

  // The place in the address: names, not numbers, so that a link outlives the page it was copied from.
  const address = (changed = {}) => {
    const several = new Set(sources.map((one) => one.model)).size > 1;
    const parts = {
      item: item?.id ?? "", repeat: item?.repeat || "", model: several ? source.model : "", task: source.task, analysis: source.analysis, variant: pick.variant.value,
      show: shownFilter(), measure: pick.measure.value, group: pick.group.value, reason: pick.reason.value, search: search.value, ...changed,
    };
    return new URLSearchParams(Object.entries(parts).filter(([name, value]) => name === "item" || (value !== "" && !(name === "show" && value === "all")))).toString();
  };
  const remember = () => history.replaceState(null, "", "#" + address());

  const filter = guarded(async (wanted = item) => {
    const mine = ++asked, measure = series.measures.find((one) => one.name === pick.measure.value);
    const query = {
      variant: pick.variant.value, show: shownFilter(), measure: pick.measure.value, group: pick.group.value, reason: pick.reason.value,
      search: search.value.trim().toLowerCase(), item: wanted?.id, repeat: wanted ? wanted.repeat : undefined,
    };
    const result = await source.find(query);
    if (mine !== asked) return;
    trouble("");
    found = result;
    const words = !measure || measure.yesNo ? ["lost", "gained"] : measure.direction === "neither" ? ["fell", "rose"] : ["worse", "better"];
    for (const radio of radios) {
      const [name, count] = radio.parentElement.querySelectorAll("span, small");
      if (radio.value === "lost") name.textContent = "▼ " + words[0];
      if (radio.value === "gained") name.textContent = "▲ " + words[1];
      count.textContent = found.counts[radio.value].toLocaleString("en");
    }
    status.textContent = found.total.toLocaleString("en") + " of " + series.items.toLocaleString("en") + (series.total > series.items ? " embedded items, chosen from " + series.total.toLocaleString("en") : " items")
      + (measure ? "; largest " + (measure.direction === "neither" ? "change" : "loss") + " of " + spaced(measure.name) + " first" : "") + ".";
    list.scrollTop = 0;
    item = null;
    await go(Math.max(0, found.place), false);
    return true;
  });
  const open = guarded(async (wanted = {}) => {
    const mine = ++asked, opened = sources[Number(pick.series.value)];
    status.textContent = "Reading…";
    const told = await opened.open();
    if (mine !== asked) return;
    source = opened;
    series = told;
    const others = series.variants.map((name, v) => [name, label(series, v), v]).filter(([, , v]) => v !== series.reference || series.variants.length === 1);
    fill(pick.variant, [...others.map(([name, text]) => [name, text]), ...(others.length > 1 ? [["", "all variants"]] : [])], wanted.variant ?? (pick.variant.options.length ? pick.variant.value : series.variants[series.telling]));
    pick.variant.parentElement.hidden = false;
    fill(pick.measure, [["", "any"], ...series.measures.map((one) => [one.name, spaced(one.name)])], wanted.measure ?? pick.measure.value);
    fill(pick.group, [["", "all"], ...series.groups.filter(Boolean).map((name) => [name, name])], wanted.group ?? pick.group.value);
    fill(pick.reason, [["", "any or none"], ...series.reasons.map((name) => [name, name])], wanted.reason ?? pick.reason.value);
    await filter(wanted.item ? { id: wanted.item, repeat: Number(wanted.repeat ?? 0) } : null);
  });
  // Goes where the address says; anything it does not name stays at its default.
  const visit = async () => {
    const wanted = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
    if (!("item" in wanted)) return false;
    const place = sources.findIndex((one) => ["model", "task", "analysis"].every((name) => !wanted[name] || wanted[name] === one[name]));
    pick.series.value = String(Math.max(0, place));
    setShow(wanted.show);
    search.value = wanted.search ?? "";
    await open({ measure: "", group: "", reason: "", ...wanted });
    if (wanted.item && !(item && item.id === wanted.item)) trouble("The item " + wanted.item + " is not among those shown here" + (series.total > series.items ? "; clens view shows all." : "."));
    at("texts").scrollIntoView();
    return true;
  };

  const copy = async (text, button) => {
    try { await navigator.clipboard.writeText(text); } catch {
      // Without a secure context (clens view --host) there is no clipboard interface.
      const area = make("textarea", text);
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    const told = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = told; }, 1200);
  };
  const copyLink = () => { remember(); copy(location.href, at("copy-link")); };
  const copyItem = () => { if (item) copy(JSON.stringify({ model: source.model, task: source.task, analysis: source.analysis, ...plainItem(series, item) }, null, 2), at("copy-item")); };
  const help = () => { at("keys").hidden = !at("keys").hidden; at("help").setAttribute("aria-expanded", String(!at("keys").hidden)); };
  const byHand = async () => { if (await filter()) remember(); };
  const choose = (value) => { setShow(value); byHand(); };
  const turnVariant = (step) => {
    const select = pick.variant;
    select.selectedIndex = (select.selectedIndex + step + select.options.length) % select.options.length;
    byHand();
  };
  const keys = {
    j: () => go(current + 1, true), k: () => go(current - 1, true), "/": () => search.focus(), "?": help, l: copyLink, c: copyItem,
    f: () => choose({ lost: "gained", gained: "all" }[shownFilter()] ?? "lost"), x: () => choose("failed"), w: () => choose("changed"), a: () => choose("all"),
    "[": () => turnVariant(-1), "]": () => turnVariant(1),
  };
  const inList = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };

  const start = async () => {
    fill(pick.series, sources.map((one, n) => [String(n), [one.task, one.analysis, ...(new Set(sources.map((s) => s.model)).size > 1 ? [one.model] : [])].join(" · ")]), "0");
    pick.series.parentElement.hidden = false;
    box.hidden = false;
    height = Math.round(3.6 * parseFloat(getComputedStyle(list).fontSize));
    pick.series.addEventListener("change", () => open().then(remember));
    for (const select of [pick.variant, pick.measure, pick.group, pick.reason]) select.addEventListener("change", byHand);
    for (const radio of radios) radio.addEventListener("change", byHand);
    search.addEventListener("input", byHand);
    search.addEventListener("keydown", (event) => { if (event.key === "Escape") list.focus(); });
    list.addEventListener("scroll", drawRows, { passive: true });
    list.addEventListener("keydown", (event) => {
      if (!(event.key in inList) || event.ctrlKey || event.metaKey || event.altKey || !found) return;
      event.preventDefault();
      go(current + inList[event.key], true);
    });
    at("copy-link").addEventListener("click", copyLink);
    at("copy-item").addEventListener("click", copyItem);
    at("help").addEventListener("click", help);
    let near = false;
    // Letters act only where nothing is being typed, and only while the explorer has the focus or is in sight.
    document.addEventListener("keydown", (event) => {
      const target = event.target, free = target === document.body ? near : box.contains(target) && !target.matches("select, input[type=search]");
      if (!free || event.ctrlKey || event.metaKey || event.altKey || !found || !Object.hasOwn(keys, event.key)) return;
      event.preventDefault();
      keys[event.key]();
    });
    window.addEventListener("hashchange", guarded(visit));
    if (await visit()) near = true;
    // A series is unpacked when it is about to be seen, so that a large report opens at once.
    new IntersectionObserver((seen) => {
      near = seen[seen.length - 1].isIntersecting;
      if (near && !series) open();
    }, { rootMargin: "300px" }).observe(box);
  };
  if (box) guarded(async () => {
    const nodes = [...document.querySelectorAll("script.series")];
    if (box.dataset.from === "api") {
      sources = (await ask("series")).series.map(served);
      at("held").textContent = "All items, read from the run's database as it is now.";
    }
    else if (!nodes.length) return;
    else if (typeof DecompressionStream === "undefined") { trouble("This browser is too old to unpack the items (it lacks DecompressionStream). Use a newer one, or the command clens view."); return; }
    else sources = nodes.map(embedded);
    if (sources.length) await start();
  })();
