// The browser of rows: search, filters, pages of a table, and a panel with everything about one judgment.
//
// Every text comes from a model or a user. It goes into text nodes and attributes only, never into markup.
"use strict";

(async () => {
  const PAGE = 50;
  const CELL = 160; // Characters of a text that a cell of the table shows.
  const byId = (id) => document.getElementById(id);
  const { pairs, rows, names, total } = await unpacked(byId("rows-data").textContent);
  const count = rows.judgment_id.length;
  const invisible = new RegExp(settings.invisible.pattern, "gu");
  const number = new Intl.NumberFormat("en");
  const placeOf = new Map(rows.judgment_id.map((id, row) => [id, row]));
  const ofPair = grouped(rows.pair);
  const outcomes = names.outcome;

  async function unpacked(text) {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  function grouped(numbers) {
    const groups = [];
    numbers.forEach((group, row) => (groups[group] ??= []).push(row));
    return groups;
  }

  // Values of one row.
  const value = (row, column) => names[column][rows[column][row]];
  const ofItsPair = (row, column) =>
    column in names ? names[column][pairs[column][rows.pair[row]]] : pairs[column][rows.pair[row]];
  const verdictOf = (row) => value(row, "verdict") ?? "none";
  const isKept = (row) => value(row, "outcome") === settings.kept;
  const correctnessOf = (row) => (rows.is_correct[row] ? "right" : value(row, "verdict") === null ? "invalid" : "wrong");
  const shortIteration = (key) => key.replace(/^iteration_0*(\d)/, "$1");

  // Elements.
  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, content] of Object.entries(attributes)) {
      if (content !== null && content !== undefined && content !== false) made.setAttribute(name, content);
    }
    made.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return made;
  }

  // A text as it is, with what cannot be seen in it as a sign; its direction is its own.
  function shown(text, tag = "bdi", attributes = {}) {
    const made = element(tag, { dir: "auto", ...attributes });
    let end = 0;
    for (const found of text.matchAll(invisible)) {
      const code = `U+${found[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
      made.append(text.slice(end, found.index));
      made.append(element("span", { class: "sign", title: code }, `⟨${settings.invisible.names[found[0]] ?? code}⟩`));
      end = found.index + found[0].length;
    }
    made.append(text.slice(end));
    return made;
  }

  const excerpt = (text) => shown(text.length > CELL ? `${text.slice(0, CELL)}…` : text);
  const badge = (kind, text) => element("span", { class: `badge ${kind}` }, text);
  const correctnessBadge = (row) => {
    const correctness = correctnessOf(row);
    return badge(correctness === "right" ? "good" : "bad", `${correctness === "right" ? "✓" : "✗"} ${correctness}`);
  };
  const outcomeBadge = (row) => badge(isKept(row) ? "good" : "plain", value(row, "outcome").replaceAll("_", " "));

  // Search and filters.
  const columns = [
    ["iteration", "Iteration", (row) => shortIteration(value(row, "iteration")), (row) => value(row, "iteration")],
    ["instruction", "Instruction", (row) => excerpt(ofItsPair(row, "instruction")), (row) => ofItsPair(row, "instruction")],
    ["judgment", "Judgment", (row) => excerpt(rows.judgment[row]), (row) => rows.judgment[row]],
    ["verdict", "Verdict", (row) => shown(verdictOf(row)), verdictOf],
    ["correct", "Right", correctnessBadge, correctnessOf],
    ["outcome", "Outcome", outcomeBadge, (row) => value(row, "outcome")],
    ["split", "Split", (row) => value(row, "split") ?? "", (row) => value(row, "split") ?? ""],
    ["tokens", "Tokens", (row) => number.format(rows.completion_tokens[row] ?? 0), (row) => rows.completion_tokens[row] ?? 0],
  ];
  const sorting = { column: null, descending: false };
  let matches = [];
  let page = 0;
  let haystacks = null;

  // What search looks at, in lower case: of a pair once, of a row its judgment and ids. Made when it is first needed.
  function searchable() {
    const lower = (...texts) => texts.filter(Boolean).join("\n").toLowerCase();
    haystacks ??= {
      pairs: pairs.pair_id.map((id, pair) =>
        lower(id, pairs.instruction_id[pair], pairs.instruction[pair], pairs.modified_instruction[pair])
          + "\n" + lower(pairs.chosen[pair], pairs.rejected[pair], names.category[pairs.category[pair]])),
      rows: rows.judgment_id.map((id, row) => lower(id, rows.example_id[row], rows.judgment[row])),
    };
    return haystacks;
  }

  function chosen() {
    const wanted = byId("search").value.trim().toLowerCase();
    const inPair = wanted && searchable().pairs.map((text) => text.includes(wanted));
    const inRow = wanted && searchable().rows;
    const tests = [];
    for (const column of ["iteration", "verdict", "split"]) {
      const picked = byId(`by-${column}`).value;
      if (picked !== "") tests.push((row) => rows[column][row] === Number(picked));
    }
    const correct = byId("by-correct").value;
    if (correct !== "") tests.push((row) => rows.is_correct[row] === Number(correct));
    const outcome = byId("by-outcome").value;
    const kept = outcomes.indexOf(settings.kept);
    if (outcome === "dropped") tests.push((row) => rows.outcome[row] !== kept);
    else if (outcome !== "") tests.push((row) => rows.outcome[row] === Number(outcome));
    if (wanted) tests.push((row) => inPair[rows.pair[row]] || inRow[row].includes(wanted));
    const found = [];
    for (let row = 0; row < count; row++) if (tests.every((test) => test(row))) found.push(row);
    return sorted(found);
  }

  function sorted(found) {
    if (sorting.column === null) return found;
    const key = columns.find(([name]) => name === sorting.column)[3];
    const keys = new Map(found.map((row) => [row, key(row)]));
    const sign = sorting.descending ? -1 : 1;
    return found.sort((one, other) => {
      const [left, right] = [keys.get(one), keys.get(other)];
      return left === right ? one - other : left < right ? -sign : sign;
    });
  }

  function update() {
    matches = chosen();
    page = 0;
    draw();
  }

  // The table: one page of rows.
  const head = byId("table").tHead.rows[0];
  const body = byId("table").tBodies[0];
  for (const [name, title] of columns) {
    const button = element("button", { type: "button" }, title);
    button.addEventListener("click", () => sortBy(name));
    head.append(element("th", { scope: "col", role: "columnheader", class: `col-${name}` }, button));
  }

  function sortBy(name) {
    if (sorting.column !== name) Object.assign(sorting, { column: name, descending: false });
    else if (!sorting.descending) sorting.descending = true;
    else sorting.column = null;
    columns.forEach(([other], place) => {
      const order = sorting.descending ? "descending" : "ascending";
      head.cells[place].setAttribute("aria-sort", other === sorting.column ? order : "none");
    });
    update();
  }

  function draw({ focus = null } = {}) {
    const first = page * PAGE;
    const onPage = matches.slice(first, first + PAGE);
    body.replaceChildren(...onPage.map(rowElement));
    const all = matches.length === count ? "" : ` of ${number.format(count)}`;
    byId("found").textContent = count === 0
      ? "No judgment has been sampled yet."
      : matches.length === 0 ? "No judgment matches." : `${number.format(matches.length)}${all} judgments`;
    const pageCount = Math.max(1, Math.ceil(matches.length / PAGE));
    byId("pages").hidden = pageCount === 1;
    byId("page-of").textContent = `Page ${number.format(page + 1)} of ${number.format(pageCount)}`;
    for (const id of ["first", "previous"]) byId(id).disabled = page === 0;
    for (const id of ["next", "last"]) byId(id).disabled = page === pageCount - 1;
    const active = focus === null ? 0 : onPage.indexOf(focus);
    body.rows[active]?.setAttribute("tabindex", "0");
    if (focus !== null) body.rows[active]?.focus();
  }

  function rowElement(row) {
    const made = element("tr", { role: "row", tabindex: "-1", "data-row": row });
    for (const [name, title, cell] of columns) {
      made.append(element("td", { role: "cell", class: `col-${name}`, "data-title": title }, cell(row)));
    }
    return made;
  }

  function turnTo(wanted) {
    page = Math.min(Math.max(wanted, 0), Math.max(0, Math.ceil(matches.length / PAGE) - 1));
    draw();
    byId("table").scrollIntoView({ block: "nearest" });
  }

  byId("first").addEventListener("click", () => turnTo(0));
  byId("previous").addEventListener("click", () => turnTo(page - 1));
  byId("next").addEventListener("click", () => turnTo(page + 1));
  byId("last").addEventListener("click", () => turnTo(Infinity));

  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row && getSelection().isCollapsed) show(Number(row.dataset.row));
  });
  body.addEventListener("keydown", (event) => {
    const row = event.target.closest("tr");
    if (!row) return;
    if (event.key === "Enter") show(Number(row.dataset.row));
    else if (step(event) !== 0) moveFocus(Number(row.dataset.row), step(event));
    else return;
    event.preventDefault();
  });
  addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, select, textarea");
    if (event.key !== "/" || typing || panel.open || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    byId("search").focus();
  });

  const step = ({ key, altKey, ctrlKey, metaKey }) =>
    altKey || ctrlKey || metaKey ? 0 : { ArrowDown: 1, j: 1, ArrowRight: 1, ArrowUp: -1, k: -1, ArrowLeft: -1 }[key] ?? 0;

  // The row before or after one among the matches, on whichever page it is.
  function neighbour(row, by) {
    const place = matches.indexOf(row);
    return place === -1 ? undefined : matches[place + by];
  }

  function moveFocus(row, by) {
    const next = neighbour(row, by);
    if (next === undefined) return;
    page = Math.floor(matches.indexOf(next) / PAGE);
    draw({ focus: next });
  }

  // The panel: one judgment, its pair, and every other judgment of that pair.
  const panel = byId("panel");
  let open = null;
  let wanted; // The row that is to be opened: a judge that two iterations share may write a judgment of one id in both.

  const address = (id) => `#row=${encodeURIComponent(id)}`;

  function show(row) {
    wanted = row;
    const hash = address(rows.judgment_id[row]);
    if (location.hash !== hash) history.pushState(null, "", hash);
    openAddress();
  }

  function openAddress() {
    if (!location.hash.startsWith("#row=")) {
      if (panel.open) panel.close();
      return;
    }
    const id = decodeURIComponent(location.hash.slice("#row=".length));
    const pair = pairs.pair_id.indexOf(id);
    const row = rows.judgment_id[wanted] === id ? wanted : placeOf.get(id) ?? (pair === -1 ? undefined : ofPair[pair][0]);
    open = row ?? null;
    panel.replaceChildren(...(row === undefined ? unknown(id) : details(row)));
    if (!panel.open) panel.showModal();
    panel.querySelector("button.close").focus({ preventScroll: true });
    panel.scrollTop = 0;
  }

  panel.addEventListener("close", () => {
    if (location.hash.startsWith("#row=")) history.replaceState(null, "", "#rows");
    if (open !== null && matches.includes(open)) {
      page = Math.floor(matches.indexOf(open) / PAGE);
      draw({ focus: open });
    }
    open = null;
  });
  panel.addEventListener("click", (event) => {
    if (event.target === panel) panel.close(); // The ground behind it.
  });
  panel.addEventListener("keydown", (event) => {
    if (event.target.closest("pre") && event.key.startsWith("Arrow")) return; // It scrolls.
    const by = step(event);
    if (by === 0 || open === null) return;
    event.preventDefault();
    go(by);
  });

  function go(by) {
    const next = neighbour(open, by);
    if (next === undefined) return;
    wanted = next;
    history.replaceState(null, "", address(rows.judgment_id[next]));
    openAddress();
  }

  function header(title, row) {
    const close = element("button", { type: "button", class: "close", "aria-label": "Close" }, "✕");
    close.addEventListener("click", () => panel.close());
    const steps = row === null ? [] : [[-1, "‹", "Previous judgment"], [1, "›", "Next judgment"]].map(([by, sign, label]) => {
      const button = element("button", { type: "button", "aria-label": label, title: label }, sign);
      button.disabled = neighbour(row, by) === undefined;
      button.addEventListener("click", () => go(by));
      return button;
    });
    return element("header", {}, element("h3", { id: "panel-title" }, title), element("div", { class: "buttons" }, steps, close));
  }

  function unknown(id) {
    const missing = count < total ? "It may be one of the rows that are not on this page" : "No judgment or pair has this id";
    return [
      header("Not found", null),
      element("p", {}, `${missing}: `, shown(id, "code"), ". ", element("code", {}, `selftaught trace ID --recipe ${settings.recipe}`), " searches all tables."),
    ];
  }

  function details(row) {
    return [
      header(["Judgment ", element("code", {}, rows.judgment_id[row])], row),
      element("h4", {}, "Where it comes from, and what happened to it"),
      chain(row),
      element("div", { class: "sides" },
        block("Instruction", ofItsPair(row, "instruction")),
        block("Modified instruction", ofItsPair(row, "modified_instruction"), "Only the writer of the rejected response saw it."),
        response(row, "chosen", "✓ Chosen response", "Answers the instruction."),
        response(row, "rejected", "Rejected response", "Answers the modified instruction, so it is the worse answer to the first."),
      ),
      element("h4", {}, `All ${ofPair[rows.pair[row]].length} judgments of this pair`),
      element("ol", { class: "judgments" }, ofPair[rows.pair[row]].map((other) => judgment(other, other === row))),
    ];
  }

  function block(title, text, note = null, kind = "") {
    return element("section", { class: `block ${kind}` }, element("h4", {}, title, note && element("small", {}, note)), shown(text ?? "", "pre", { tabindex: "0" }));
  }

  function response(row, which, title, note) {
    const side = value(row, "side");
    const placed = settings.single || side === null ? "" : ` · shown as ${which === "chosen" ? side : side === "A" ? "B" : "A"}`;
    return block(title + placed, ofItsPair(row, which), note, which);
  }

  // From the line of the pool to the checkpoint, as far as this row went.
  function chain(row) {
    const links = [
      ["Pool", ofItsPair(row, "source") === null ? "unknown" : element("span", {}, shown(ofItsPair(row, "source")), `, line ${number.format(ofItsPair(row, "line"))}`)],
      ["Category", ofItsPair(row, "category") === null ? null : shown(ofItsPair(row, "category"))],
      ["Instruction", element("code", {}, ofItsPair(row, "instruction_id"))],
      ["Pair", element("span", {}, element("code", {}, ofItsPair(row, "pair_id")), ` · ${ofItsPair(row, "strategy").replaceAll("_", " ")}`)],
      ["Written by", digest(ofItsPair(row, "generator"))],
      ["Judged by", element("span", {}, digest(value(row, "judge")), ` in ${value(row, "iteration").replace("_0", " ").replace("_", " ")}`)],
      ["Verdict", element("span", {}, shown(verdictOf(row)), " ", correctnessBadge(row))],
      ["Outcome", element("span", {}, outcomeBadge(row), " ", isKept(row) ? "" : settings.reasons[value(row, "outcome")] ?? "")],
      ["Example", rows.example_id[row] === null ? null : element("span", {}, element("code", {}, rows.example_id[row]), ` · ${value(row, "split")}`)],
      ["Trained into", isKept(row) ? trainedInto(value(row, "iteration")) : null],
    ];
    return element("dl", { class: "chain" }, links.filter(([, content]) => content !== null).map(([title, content]) =>
      element("div", {}, element("dt", {}, title), element("dd", {}, content))));
  }

  function trainedInto(iteration) {
    const checkpoint = settings.checkpoints[iteration];
    if (checkpoint === undefined) return "no finished checkpoint yet";
    const judges = checkpoint.judges.map((key) => key.replace("_0", " ").replace("_", " "));
    return element("span", {}, digest(checkpoint.digest), judges.length ? `, the judge of ${judges.join(", ")}` : ", not the judge of any iteration yet");
  }

  const digest = (text) => element("code", { title: text }, text.slice(0, 12));

  function judgment(row, current) {
    const facts = [
      `iteration ${shortIteration(value(row, "iteration"))}, sample ${rows.sample_index[row] + 1}`,
      settings.single ? `rates the ${value(row, "side")} response` : `chosen response in ${value(row, "side")}`,
      `${number.format(rows.completion_tokens[row] ?? 0)} tokens`,
      value(row, "finish_reason") === "length" ? "cut off by the token limit" : null,
    ];
    const title = element("a", { href: address(rows.judgment_id[row]), "aria-current": current && "true" }, element("code", {}, rows.judgment_id[row]));
    return element("li", { class: current ? "current" : null },
      element("p", { class: "facts" }, title, " ", element("b", {}, "says ", shown(verdictOf(row))), " ", correctnessBadge(row), " ", outcomeBadge(row),
        element("small", {}, facts.filter(Boolean).join(" · "))),
      shown(rows.judgment[row], "pre", { tabindex: "0" }));
  }

  // Begin.
  function options(column, title = (name) => name ?? "none") {
    const select = byId(`by-${column}`);
    select.append(element("option", { value: "" }, "all"));
    names[column].map((name, place) => [title(name), place]).sort().forEach(([text, place]) => select.append(element("option", { value: String(place) }, text)));
    return select;
  }
  options("iteration", shortIteration);
  options("verdict");
  options("split", (name) => name ?? "not trained on");
  options("outcome", (name) => name.replaceAll("_", " ")).options[0].after(element("option", { value: "dropped" }, "dropped (any reason)"));

  let waiting;
  byId("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(update, 120);
  });
  for (const select of byId("filters").querySelectorAll("select")) select.addEventListener("change", update);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("reset", () => setTimeout(update));
  addEventListener("hashchange", openAddress);
  update();
  byId("table").dataset.ready = "true";
  openAddress();
})();
