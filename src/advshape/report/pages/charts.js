"use strict";
// Charts: Plotly draws the specifications of charts.py in the colours of the theme.
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colour = (name) => {
  if (name === "grid") return css("--soft");
  const slot = /^c(\d+)(-band)?$/.exec(name);
  if (!slot) return name;
  const hex = css(`--c${Number(slot[1]) % 8}`);
  return slot[2] ? `${hex}2e` : hex;
};
// Plotly reads some HTML in names and titles; here they are text.
const plain = (text) => visible(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("$", "&#36;");
// In lines of so many pixels; words that are longer are cut.
const wrapped = (text, pixels) => {
  const columns = Math.max(8, Math.floor(pixels / LETTER));
  const lines = [""];
  for (const word of visible(text).split(" ").flatMap((long) => long.match(new RegExp(`.{1,${columns}}`, "gsu")) ?? [""])) {
    const line = lines[lines.length - 1];
    if (!line || line.length + word.length < columns) lines[lines.length - 1] = line ? `${line} ${word}` : word;
    else lines.push(word);
  }
  return lines.map(plain).join("<br>");
};
const LETTER = 6.8;
const painted = (value, pixels, key) => {
  if (key === "color" || key === "fillcolor") return typeof value === "string" ? colour(value) : value;
  if (key === "name") return wrapped(value, pixels);
  if (Array.isArray(value) || value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, painted(v, pixels, k)]));
};
// Room that the legend takes above a chart: names stand in columns as wide as the longest.
const legendHeight = (chart, width) => {
  const names = chart.data.filter((trace) => trace.showlegend !== false).map((trace) => trace.name ?? "");
  if (names.length < 2 || chart.layout.showlegend === false) return 0;
  const each = Math.min(width - 60, Math.max(...names.map((name) => name.length)) * LETTER + 50);
  const lines = Math.ceil((Math.max(...names.map((name) => name.length)) * LETTER) / (width - 110));
  return Math.ceil(names.length / Math.max(1, Math.floor((width - 60) / each))) * (4 + 16 * lines);
};
const axis = (given, pixels) => ({
  gridcolor: css("--line"), linecolor: css("--line"), zeroline: false, zerolinecolor: css("--soft"), automargin: true, fixedrange: true,
  ...given, title: { text: wrapped(given.title, pixels), font: { size: 12.5, color: css("--soft") }, standoff: 8 },
});
const draw = (chart) => {
  const target = $(`chart-${chart.name}`);
  target.style.height = "";
  const [width, plot] = [target.clientWidth, target.clientHeight];
  const height = plot + Math.max(0, legendHeight(chart, width) - 20);
  target.style.height = `${height}px`;
  const layout = {
    margin: { l: 52, r: 12, t: 8, b: 44 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: css("--ink"), size: 12, family: "system-ui, sans-serif" }, hovermode: "closest",
    hoverlabel: { bgcolor: css("--card"), font: { color: css("--ink") }, bordercolor: css("--line") },
    ...chart.layout, legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, ...chart.layout.legend },
    xaxis: axis(chart.layout.xaxis, width - 80), yaxis: axis(chart.layout.yaxis, plot - 90), width, height,
  };
  const data = chart.data.map((trace) => ({ type: "scatter", ...painted(trace, width - 110) }));
  return Plotly.react(target, data, layout, { displayModeBar: false });
};
const drawAll = () => Promise.all(payload.charts.map(draw));

const saveText = (name, text) => {
  const link = make("a", { download: name, href: URL.createObjectURL(new Blob([text], { type: "text/csv" })) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
const cell = (value) => {
  const text = visible(value ?? "");
  const safe = /^[=+\-@\t]/.test(text) && typeof value !== "number" ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};
const save = (kind, name) => {
  const chart = payload.charts.find((item) => item.name === name);
  if (kind === "csv") saveText(`${name}.csv`, [chart.table.head, ...chart.table.rows].map((row) => row.map(cell).join(",")).join("\n") + "\n");
  else Plotly.downloadImage($(`chart-${name}`), { format: kind, filename: name, width: 900, height: 600, scale: 2 });
};
