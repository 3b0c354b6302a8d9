"use strict";
// Rollouts by group: a list of groups of which only the visible rows exist, and the rollouts of the chosen group.
const HEIGHT = 52;
const PAGE = 32;
const state = { source: 0, kind: "all", verdict: "all", sort: "given", query: "", only: null, rows: [], selected: -1, order: { name: "#", down: false } };
const source = () => payload.sources[state.source];
const rate = (count) => (count && count[1] ? count[0] / count[1] : NaN);
const first = (group) => group.counts[0];
const last = (group) => group.counts[group.counts.length - 1];
const change = (group) => rate(last(group)) - rate(first(group));
const reward = (row) => row[6] ?? { right: 1, wrong: 0 }[row[1]];
const strongest = (group) => Math.max(0, ...group.rollouts[0].map((row) => Math.abs(row[3] ?? 0)));
const KINDS = {
  all: ["all", () => true],
  mixed: ["some right, some wrong", (g) => g.counts.some((c) => c && c[0] > 0 && c[0] < c[1])],
  never: ["never right", (g) => g.counts.every((c) => !c || c[0] === 0)],
  always: ["always right", (g) => g.counts.every((c) => !c || (c[1] > 0 && c[0] === c[1]))],
  gained: ["newly solved", (g) => rate(first(g)) === 0 && rate(last(g)) > 0],
  lost: ["newly lost", (g) => rate(first(g)) > 0 && rate(last(g)) === 0],
};
const VERDICTS = {
  all: ["all", () => true],
  right: ["right", (row) => row[1] === "right"],
  wrong: ["wrong", (row) => row[1] === "wrong"],
  not_judged: ["not judged", (row) => row[1] === "not_judged"],
  truncated: ["truncated", (row) => row[5]],
};
const number = (value, otherwise) => (Number.isNaN(value) ? otherwise : value);
const SORTS = {
  given: ["order of the log", null],
  rising: ["largest gain", (a, b) => number(change(b), -2) - number(change(a), -2)],
  falling: ["largest loss", (a, b) => number(change(a), 2) - number(change(b), 2)],
  easy: ["most right", (a, b) => number(rate(last(b)), -1) - number(rate(last(a)), -1)],
  hard: ["fewest right", (a, b) => number(rate(last(a)), 2) - number(rate(last(b)), 2)],
  strong: ["largest advantage", (a, b) => strongest(b) - strongest(a)],
};

// One lower-case text for each group, made once, so that a keystroke is one search in each.
const haystack = (group) => (group.hay ??= [group.id, group.prompt, ...group.rollouts.flatMap((rows) => rows.flatMap((row) => [row[0], payload.reasons[row[2]]]))].join("\n").toLowerCase());
const chosen = (row) => VERDICTS[state.verdict][1](row);
const refresh = () => {
  const matches = (group) =>
    KINDS[state.kind][1](group) &&
    (state.verdict === "all" || group.rollouts.some((rows) => rows.some(chosen))) &&
    (!state.query || haystack(group).includes(state.query));
  const groups = source().groups;
  state.rows = (state.only ? state.only.map((i) => groups[i]) : groups).filter(matches);
  const compare = SORTS[state.sort][1];
  if (compare) state.rows.sort(compare);
  state.selected = state.rows.length ? 0 : -1;
  $("list").scrollTop = 0;
  $("count").textContent = `${state.rows.length} of ${groups.length} groups${state.only ? ", chosen in the chart" : ""}`;
  $("clear").hidden = !(state.only || state.query || state.kind !== "all" || state.verdict !== "all");
  paintList();
  paintDetail();
};

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
      bars.append(make("span", {}, `${visible(label)} ${count ? `${count[0]}/${count[1]}` : "–"}`));
    });
    const title = (source().name === "training" ? group.id : group.prompt).slice(0, 300);
    const row = make("div", { class: "row", role: "option", id: `row-${i}`, "aria-selected": String(i === state.selected), "aria-setsize": state.rows.length, "aria-posinset": i + 1, style: `top:${i * HEIGHT}px` },
      make("bdi", { class: "name" }, visible(title)), bars);
    row.addEventListener("click", () => select(i));
    space.append(row);
  }
  list.replaceChildren(space);
  if (state.selected >= 0) list.setAttribute("aria-activedescendant", `row-${state.selected}`);
  else list.removeAttribute("aria-activedescendant");
};

const select = (i) => {
  if (!state.rows.length) return;
  state.selected = Math.max(0, Math.min(state.rows.length - 1, i));
  const list = $("list");
  const top = state.selected * HEIGHT;
  if (top < list.scrollTop) list.scrollTop = top;
  if (top + HEIGHT > list.scrollTop + list.clientHeight) list.scrollTop = top + HEIGHT - list.clientHeight;
  paintList();
  paintDetail();
};

const COLUMNS = {
  "#": (row, i) => i,
  verdict: (row) => row[1],
  reward,
  advantage: (row) => row[3],
  completion: (row) => row[0],
  tokens: (row) => row[4],
  reason: (row) => payload.reasons[row[2]],
};
const compareBy = (key, sign) => (a, b) => {
  const [x, y] = [key(...a), key(...b)];
  if ((x ?? "") === "" || (y ?? "") === "") return ((x ?? "") === "") - ((y ?? "") === "");
  return sign * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y)));
};
const content = (name, value, row) => {
  if (name === "completion" || name === "reason") return shown("td", { class: name === "completion" ? "text" : "reason" }, String(value ?? ""), state.query);
  if (name === "verdict") {
    const known = ["right", "wrong", "not_judged"].includes(value) ? value : "";
    return make("td", {}, make("span", { class: `badge ${known}` }, visible(value ?? "").replace("_", " ") + (row[5] ? ", truncated" : "")));
  }
  return make("td", { class: "number" }, typeof value === "number" && !Number.isInteger(value) ? value.toFixed(3) : value ?? "");
};

// The first rollouts of a group; the others on request.
const rolloutTable = (rows) => {
  const numbered = rows.map((row, i) => [row, i]).filter(([row]) => chosen(row));
  numbered.sort(compareBy(COLUMNS[state.order.name], state.order.down ? -1 : 1));
  const used = Object.keys(COLUMNS).filter((name) => rows.some((row, i) => (COLUMNS[name](row, i) ?? "") !== ""));
  const head = make("tr", {});
  for (const name of used) {
    const active = state.order.name === name;
    const button = make("button", { type: "button" }, name + (active ? (state.order.down ? " ↓" : " ↑") : ""));
    button.addEventListener("click", () => {
      state.order = { name, down: active && !state.order.down };
      paintDetail();
      for (const other of $("detail").querySelectorAll("th button")) if (other.textContent.startsWith(name)) return other.focus();
    });
    head.append(make("th", { scope: "col", "aria-sort": active ? (state.order.down ? "descending" : "ascending") : "none" }, button));
  }
  const body = make("tbody", {});
  const add = (upTo) => {
    for (const [row, i] of numbered.slice(body.rows.length, upTo)) {
      body.append(make("tr", {}, ...used.map((name) => content(name, COLUMNS[name](row, i), row))));
    }
  };
  add(PAGE);
  const parts = [make("div", { class: "scroll" }, make("table", {}, make("thead", {}, head), body))];
  if (numbered.length > PAGE) {
    const more = make("button", { type: "button", class: "more" }, "");
    const say = () => {
      const rest = numbered.length - body.rows.length;
      more.textContent = `show ${Math.min(PAGE, rest)} of ${rest} more`;
      more.hidden = rest === 0;
    };
    more.addEventListener("click", () => { add(body.rows.length + PAGE); say(); });
    say();
    parts.push(more);
  }
  return parts;
};

const paintDetail = () => {
  const detail = $("detail");
  const group = state.rows[state.selected];
  if (!group) return detail.replaceChildren(make("p", { class: "small" }, "No group matches."));
  const parts = [shown("h3", {}, group.id, state.query), shown("pre", { class: "prompt" }, group.prompt, state.query)];
  source().labels.forEach((label, j) => {
    const [count, rows] = [group.counts[j], group.rollouts[j]];
    const left = count && rows.length < count[1] ? `, the first ${rows.length} are here` : "";
    parts.push(make("h4", {}, make("bdi", {}, visible(label)), count ? `: ${count[0]} of ${count[1]} right${left}` : ": not evaluated"));
    if (rows.some(chosen)) parts.push(...rolloutTable(rows));
    else if (rows.length) parts.push(make("p", { class: "small" }, `No rollout is ${VERDICTS[state.verdict][0]}.`));
  });
  detail.replaceChildren(...parts);
  detail.scrollTop = 0;
};

const options = (id, entries, value) => {
  $(id).replaceChildren(...entries.map(([key, text]) => make("option", { value: key }, text)));
  $(id).value = value;
};
const openSource = (i, only = null) => {
  state.source = i;
  const several = source().labels.length > 1;
  const training = source().name === "training";
  const unfit = [...(several ? [] : ["gained", "lost", "rising", "falling"]), ...(training ? [] : ["strong"])];
  const fit = (names) => Object.entries(names).filter(([name]) => !unfit.includes(name)).map(([name, [text]]) => [name, text]);
  Object.assign(state, { kind: "all", verdict: "all", sort: several ? "rising" : "given", query: "", only });
  $("source").value = i;
  $("query").value = "";
  options("kind", fit(KINDS), state.kind);
  options("verdict", fit(VERDICTS), state.verdict);
  options("sort", fit(SORTS), state.sort);
  refresh();
};
const openGroups = (rows) => {
  openSource(0, rows);
  $("rollouts").scrollIntoView();
};
const startBrowser = () => {
  options("source", payload.sources.map((item, i) => [i, item.name === "training" ? "training rollouts" : "evaluation"]), 0);
  $("source").addEventListener("change", () => openSource(Number($("source").value)));
  for (const name of ["kind", "verdict", "sort"]) $(name).addEventListener("change", () => { state[name] = $(name).value; refresh(); });
  $("query").addEventListener("input", () => { state.query = $("query").value.toLowerCase(); refresh(); });
  $("clear").addEventListener("click", () => openSource(state.source));
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
