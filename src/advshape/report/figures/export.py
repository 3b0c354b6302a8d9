"""A page's charts as files for papers: PNG and SVG drawn by matplotlib from the same specification, data as CSV."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from advshape.errors import AdvshapeError
from advshape.report.charts.evaluation import Chart
from advshape.report.data.text import csv_text
from advshape.report.figures.curves import COLOURS, new_figure, save_figure
from advshape.report.pages.render import check_free

__all__ = ["draw_chart", "save_charts"]

MARKERS = {
    "circle": "o",
    "square": "s",
    "triangle-up": "^",
    "diamond": "D",
    "triangle-down": "v",
    "cross": "P",
    "x": "X",
    "star": "*",
}
DASHES = {"solid": "-", "dash": "--", "dot": ":"}
GREY = "#6b7280"


def save_charts(charts: Sequence[Chart], folder: str | os.PathLike[str], overwrite: bool = False) -> list[Path]:
    """Write NAME.png (200 dpi), NAME.svg and NAME.csv for every chart into a folder, which is made.

    Raises AdvshapeError, before anything is written, when one of the files exists and `overwrite` is not set.
    """
    base = Path(folder)
    if base.exists() and not base.is_dir():
        raise AdvshapeError(f"{base} is a file; --figures names a folder")
    if not charts:
        raise AdvshapeError("there is no finished evaluation and no training step yet, so there is no figure to write")
    base.mkdir(parents=True, exist_ok=True)
    for chart in charts:
        for suffix in (".png", ".svg", ".csv"):
            check_free(base / (chart["name"] + suffix), overwrite)
    written = []
    for chart in charts:
        written += save_figure(draw_chart(chart), base / chart["name"])
        table = base / f"{chart['name']}.csv"
        table.write_text(csv_text(chart["table"]["head"], chart["table"]["rows"]), encoding="utf-8", newline="\n")
        written.append(table)
    return written


def draw_chart(chart: Chart) -> Any:
    """The chart as a matplotlib figure: lines, markers, bands and grouped bars, with the same labels."""
    figure, (axes,) = new_figure()
    bars = [trace for trace in chart["data"] if trace.get("type") == "bar"]
    for i, trace in enumerate(bars):
        _draw_bars(axes, trace, i, len(bars))
    named = []
    for trace in chart["data"]:
        if trace.get("fill") == "toself":
            axes.fill(trace["x"], trace["y"], color=_colour(trace["fillcolor"]), alpha=0.15, linewidth=0)
        elif trace.get("type") != "bar":
            handle = _draw_line(axes, trace)
            if trace.get("showlegend", True):
                named.append((handle, trace["name"]))
    named += [(axes.containers[i], trace["name"]) for i, trace in enumerate(bars)]
    _dress(axes, chart["layout"])
    if len(named) > 1 and chart["layout"].get("showlegend", True):
        _add_legend(figure, axes, named)
    return figure


def _add_legend(figure: Any, axes: Any, named: Sequence[tuple[Any, str]]) -> None:
    """A legend in the axes, or below them where it is long: the figure grows by it."""
    handles, blank = [handle for handle, _ in named], [" "] * len(named)
    long = len(named) > 6 or max(len(name) for _, name in named) > 50
    if long:
        figure.set_figheight(figure.get_figheight() + 0.2 * len(named))
        legend = figure.legend(handles, blank, frameon=False, fontsize=8, loc="outside lower center")
    else:
        legend = axes.legend(handles, blank, frameon=False, fontsize=8)
    for text, (_, name) in zip(legend.get_texts(), named, strict=True):
        _plain(text, name)


def _draw_line(axes: Any, trace: Mapping[str, Any]) -> Any:
    """One line with its markers; returns the handle for the legend."""
    line, marker = trace.get("line", {}), trace.get("marker", {})
    colour = _colour(line.get("color", marker.get("color", "grid")))
    style = DASHES[line.get("dash", "solid")] if "lines" in trace["mode"] else ""
    symbol = str(marker.get("symbol", "circle"))
    if isinstance(marker.get("size"), list):
        areas = (0.6 * np.array(marker["size"])) ** 2
        return axes.scatter(trace["x"], trace["y"], areas, color=colour, alpha=marker.get("opacity", 1), linewidth=0)
    (handle,) = axes.plot(
        trace["x"],
        trace["y"],
        color=colour,
        linestyle=style,
        linewidth=line.get("width", 1.5) * 0.7,
        marker=MARKERS[symbol.removesuffix("-open")] if "markers" in trace["mode"] else "",
        markersize=5,
        alpha=trace.get("opacity"),
        markerfacecolor="white" if symbol.endswith("-open") else colour,
    )
    if "text" in trace["mode"]:
        for x, y, text in zip(trace["x"], trace["y"], trace["text"], strict=True):
            _plain(axes.annotate(" ", (x, y), textcoords="offset points", xytext=(5, 5), fontsize=7), text)
    return handle


def _draw_bars(axes: Any, trace: Mapping[str, Any], i: int, of: int) -> None:
    """One of several bar traces beside the others."""
    width = 0.8 / of
    at = np.arange(len(trace["x"])) + (i - (of - 1) / 2) * width
    axes.bar(at, trace["y"], width, color=_colour(trace["marker"]["color"]))
    step = max(1, len(trace["x"]) // 20)
    labels = trace["x"][::step]
    steep = max(map(len, labels)) > 3
    axes.set_xticks(np.arange(0, len(trace["x"]), step), labels, rotation=60 if steep else 0, fontsize=8)


def _dress(axes: Any, layout: Mapping[str, Any]) -> None:
    """Scales, ticks, ranges, titles and grid."""
    across = layout["xaxis"]
    if across.get("type") == "log":
        axes.set_xscale("log", base=2)
        axes.minorticks_off()
        axes.set_xticks(across["tickvals"], across["ticktext"])
    if "range" in across:
        axes.set_xlim(across["range"])
    if "range" in layout["yaxis"]:
        axes.set_ylim(layout["yaxis"]["range"])
    _plain(axes.xaxis.label, across["title"])
    _plain(axes.yaxis.label, layout["yaxis"]["title"])
    axes.grid(True, color="#d1d5db", linewidth=0.5)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _plain(text: Any, words: str) -> None:
    """Words as they are: "$" starts no formula."""
    text.set_parse_math(False)
    text.set_text(words)


def _colour(name: str) -> str:
    """The colour of a slot ("c1", "c1-band") or of the grid."""
    if not name.startswith("c") or name == "grid":
        return GREY
    return COLOURS[int(name.removeprefix("c").removesuffix("-band")) % len(COLOURS)]
