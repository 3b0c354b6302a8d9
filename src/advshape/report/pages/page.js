"use strict";
// The start: theme, size, print, charts, browser.
const root = document.documentElement;
const systemDark = matchMedia("(prefers-color-scheme: dark)");
$("theme").addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches;
  root.dataset.theme = dark ? "light" : "dark";
  drawAll();
});
systemDark.addEventListener("change", drawAll);

let width = innerWidth;
let resizing = 0;
addEventListener("resize", () => {
  clearTimeout(resizing);
  if (innerWidth !== width) resizing = setTimeout(() => { width = innerWidth; drawAll(); }, 100);
});
// On paper: light colours and the width of a sheet, whatever the screen shows.
addEventListener("beforeprint", () => { root.dataset.print = "true"; drawAll(); });
addEventListener("afterprint", () => { delete root.dataset.print; drawAll(); });

for (const button of document.querySelectorAll("button[data-save]")) {
  button.addEventListener("click", () => save(button.dataset.save, button.dataset.for));
}
if (payload.sources.length) startBrowser();
drawAll().then(() => {
  const scatter = $("chart-change");
  if (scatter) scatter.on("plotly_click", (event) => { if (event.points[0].customdata) openGroups(event.points[0].customdata); });
  root.dataset.ready = "true";
});
