"use strict";
(() => {
  const payload = JSON.parse(document.getElementById("payload").textContent);
  const $ = (id) => document.getElementById(id);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // The only way text gets into the page: as text.
  const make = (tag, attributes, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
    element.append(...children.map((child) => (child instanceof Node ? child : document.createTextNode(String(child)))));
    return element;
  };

  // Charts

  const colour = (name) => {
    if (typeof name !== "string") return name;
    if (name === "grid") return css("--soft");
    const slot = /^c(\d+)(-band)?$/.exec(name);
    if (!slot) return name;
    const hex = css(`--c${Number(slot[1]) % 8}`);
    return slot[2] ? `${hex}2e` : hex;
  };
  const painted = (value, key) => {
    if (Array.isArray(value)) return key === "x" || key === "y" ? value : value.map((item) => painted(item));
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, painted(v, k)]));
    return key === "color" || key === "fillcolor" ? colour(value) : value;
  };
  const axis = (given) => ({
    gridcolor: css("--line"), linecolor: css("--line"), zeroline: false, automargin: true, fixedrange: true,
    ...given, title: { text: given.title, font: { size: 12.5, color: css("--soft") } },
  });
  const draw = (chart) => {
    const target = $(`chart-${chart.name}`);
    const layout = {
      margin: { l: 52, r: 12, t: 8, b: 44 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: css("--ink"), size: 12, family: "system-ui, sans-serif" }, hovermode: "closest",
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
      hoverlabel: { bgcolor: css("--card"), font: { color: css("--ink") }, bordercolor: css("--line") },
      ...chart.layout, xaxis: axis(chart.layout.xaxis), yaxis: axis(chart.layout.yaxis),
    };
    const data = painted(chart.data).map((trace) => ({ type: "scatter", ...trace }));
    return Plotly.react(target, data, layout, { displayModeBar: false, responsive: true });
  };
  const drawAll = () => Promise.all(payload.charts.map(draw));

  const saveText = (name, text) => {
    const link = make("a", { download: name, href: URL.createObjectURL(new Blob([text], { type: "text/csv" })) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const cell = (value) => {
    const text = String(value ?? "");
    const safe = /^[=+\-@\t\r]/.test(text) && typeof value !== "number" ? `'${text}` : text;
    return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  for (const button of document.querySelectorAll("button[data-save]")) {
    button.addEventListener("click", () => {
      const chart = payload.charts.find((item) => item.name === button.dataset.for);
      if (button.dataset.save === "csv") {
        saveText(`${chart.name}.csv`, [chart.table.head, ...chart.table.rows].map((row) => row.map(cell).join(",")).join("\n") + "\n");
      } else {
        Plotly.downloadImage($(`chart-${chart.name}`), { format: button.dataset.save, filename: chart.name, width: 900, height: 600, scale: 2 });
      }
    });
  }
  $("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    drawAll();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);

  // Rollouts by group

  const HEIGHT = 52;
  const state = { source: 0, kind: "all", sort: "given", query: "", rows: [], selected: -1, order: { column: -1, down: false } };
  const source = () => payload.sources[state.source];
  const rate = (count) => (count && count[1] ? count[0] / count[1] : NaN);
  const first = (group) => group.counts[0];
  const last = (group) => group.counts[group.counts.length - 1];
  const change = (group) => rate(last(group)) - rate(first(group));
  const KINDS = {
    all: ["all groups", () => true],
    mixed: ["some right, some wrong", (g) => g.counts.some((c) => c && c[0] > 0 && c[0] < c[1])],
    never: ["never right", (g) => g.counts.every((c) => !c || c[0] === 0)],
    always: ["always right", (g) => g.counts.every((c) => !c || (c[1] > 0 && c[0] === c[1]))],
    gained: ["newly solved", (g) => rate(first(g)) === 0 && rate(last(g)) > 0],
    lost: ["newly lost", (g) => rate(first(g)) > 0 && rate(last(g)) === 0],
    unjudged: ["with rollouts not judged", (g) => g.rollouts.some((rows) => rows.some((row) => row[1] === "not_judged"))],
  };
  const number = (value, otherwise) => (Number.isNaN(value) ? otherwise : value);
  const SORTS = {
    given: ["order of the log", null],
    rising: ["largest gain", (a, b) => number(change(b), -2) - number(change(a), -2)],
    falling: ["largest loss", (a, b) => number(change(a), 2) - number(change(b), 2)],
    easy: ["most right", (a, b) => number(rate(last(b)), -1) - number(rate(last(a)), -1)],
    hard: ["fewest right", (a, b) => number(rate(last(a)), 2) - number(rate(last(b)), 2)],
  };

  const refresh = () => {
    const query = state.query.toLowerCase();
    const found = (text) => text.toLowerCase().includes(query);
    const matches = (group) => !query || found(group.id) || found(group.prompt) || group.rollouts.some((rows) => rows.some((row) => found(row[0])));
    state.rows = source().groups.filter((group) => KINDS[state.kind][1](group) && matches(group));
    const compare = SORTS[state.sort][1];
    if (compare) state.rows.sort(compare);
    state.selected = state.rows.length ? 0 : -1;
    $("list").scrollTop = 0;
    $("count").textContent = `${state.rows.length} of ${source().groups.length} groups`;
    paintList();
    paintDetail();
  };

  // Only the visible rows exist as elements.
  const paintList = () => {
    const list = $("list");
    const top = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - 5);
    const bottom = Math.min(state.rows.length, Math.ceil((list.scrollTop + list.clientHeight) / HEIGHT) + 5);
    const space = make("div", { style: `height:${state.rows.length * HEIGHT}px`, role: "presentation" });
    for (let i = top; i < bottom; i++) {
      const group = state.rows[i];
      const bars = make("span", { class: "bars" });
      source().labels.forEach((label, j) => {
        const count = group.counts[j];
        bars.append(make("span", {}, count ? `${label} ${count[0]}/${count[1]}` : `${label} –`));
      });
      const row = make("div", { class: "row", role: "option", id: `row-${i}`, "aria-selected": String(i === state.selected), style: `top:${i * HEIGHT}px` },
        make("span", { class: "name" }, source().name === "training" ? group.id : group.prompt), bars);
      row.addEventListener("click", () => select(i));
      space.append(row);
    }
    list.replaceChildren(space);
    if (state.selected >= 0) list.setAttribute("aria-activedescendant", `row-${state.selected}`);
  };

  const select = (i) => {
    state.selected = Math.max(0, Math.min(state.rows.length - 1, i));
    const list = $("list");
    const top = state.selected * HEIGHT;
    if (top < list.scrollTop) list.scrollTop = top;
    if (top + HEIGHT > list.scrollTop + list.clientHeight) list.scrollTop = top + HEIGHT - list.clientHeight;
    paintList();
    paintDetail();
  };

  const COLUMNS = [["#", (r, i) => i], ["verdict", (r) => r[1]], ["completion", (r) => r[0]], ["advantage", (r) => r[3]], ["tokens", (r) => r[4]], ["reason", (r) => payload.reasons[r[2]]]];
  const rolloutTable = (rows) => {
    const used = COLUMNS.map((column, j) => [j, column]).filter(([, column]) => rows.some((row, i) => (column[1](row, i) ?? "") !== ""));
    const numbered = rows.map((row, i) => [row, i]);
    const key = COLUMNS[state.order.column];
    if (key) {
      const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a ?? "").localeCompare(String(b ?? "")));
      numbered.sort((a, b) => compare(key[1](...a), key[1](...b)) * (state.order.down ? -1 : 1));
    }
    const head = make("tr", {});
    for (const [j, [name]] of used) {
      const active = state.order.column === j;
      const button = make("button", { type: "button" }, name + (active ? (state.order.down ? " ↓" : " ↑") : ""));
      button.addEventListener("click", () => {
        state.order = { column: j, down: active && !state.order.down };
        paintDetail();
      });
      head.append(make("th", { scope: "col", "aria-sort": active ? (state.order.down ? "descending" : "ascending") : "none" }, button));
    }
    const body = make("tbody", {});
    for (const [row, i] of numbered) {
      const line = make("tr", {});
      for (const [, [name, value]] of used) {
        const content = value(row, i) ?? "";
        if (name === "verdict") line.append(make("td", {}, make("span", { class: `badge ${["right", "wrong", "not_judged"].includes(content) ? content : ""}` }, String(content).replace("_", " ") + (row[5] ? ", truncated" : ""))));
        else if (name === "completion") line.append(make("td", { class: "text" }, content));
        else line.append(make("td", {}, typeof content === "number" && !Number.isInteger(content) ? content.toFixed(3) : content));
      }
      body.append(line);
    }
    return make("div", { class: "scroll" }, make("table", {}, make("thead", {}, head), body));
  };

  const paintDetail = () => {
    const detail = $("detail");
    const group = state.rows[state.selected];
    if (!group) return detail.replaceChildren(make("p", { class: "small" }, "No group matches."));
    const parts = [make("h3", {}, group.id), make("pre", { class: "prompt" }, group.prompt)];
    source().labels.forEach((label, j) => {
      const count = group.counts[j];
      const left = count && group.rollouts[j].length < count[1] ? `, the first ${group.rollouts[j].length} shown` : "";
      parts.push(make("h4", {}, count ? `${label}: ${count[0]} of ${count[1]} right${left}` : `${label}: not evaluated`));
      if (group.rollouts[j].length) parts.push(rolloutTable(group.rollouts[j]));
    });
    detail.replaceChildren(...parts);
    detail.scrollTop = 0;
  };

  const options = (id, entries, value) => {
    $(id).replaceChildren(...entries.map(([key, text]) => make("option", { value: key }, text)));
    $(id).value = value;
  };
  const openSource = (i) => {
    state.source = i;
    const several = source().labels.length > 1;
    const single = (names) => (several ? names : names.filter((name) => !["gained", "lost", "rising", "falling"].includes(name)));
    state.kind = "all";
    state.sort = several ? "rising" : "given";
    options("kind", single(Object.keys(KINDS)).map((name) => [name, KINDS[name][0]]), state.kind);
    options("sort", single(Object.keys(SORTS)).map((name) => [name, SORTS[name][0]]), state.sort);
    refresh();
  };
  const startBrowser = () => {
    options("source", payload.sources.map((item, i) => [i, item.name === "training" ? "training rollouts" : "evaluation"]), 0);
    $("source").addEventListener("change", () => openSource(Number($("source").value)));
    $("kind").addEventListener("change", () => { state.kind = $("kind").value; refresh(); });
    $("sort").addEventListener("change", () => { state.sort = $("sort").value; refresh(); });
    let waiting = 0;
    $("query").addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => { state.query = $("query").value; refresh(); }, 150);
    });
    document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
    let frame = 0;
    $("list").addEventListener("scroll", () => { cancelAnimationFrame(frame); frame = requestAnimationFrame(paintList); });
    $("list").addEventListener("keydown", (event) => {
      const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8, Home: -1e9, End: 1e9 };
      if (!(event.key in moves)) return;
      event.preventDefault();
      select(state.selected + moves[event.key]);
    });
    openSource(0);
  };

  drawAll().then(() => {
    const scatter = $("chart-change");
    if (scatter) scatter.on("plotly_click", (event) => {
      const index = event.points[0].customdata;
      const group = payload.sources[0].groups[index];
      $("source").value = 0;
      openSource(0);
      select(state.rows.indexOf(group));
      $("rollouts").scrollIntoView();
    });
    document.documentElement.dataset.ready = "true";
  });
  if (payload.sources.length) startBrowser();
})();
