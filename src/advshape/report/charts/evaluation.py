"""The page's charts as plain Plotly specifications: data, layout and an alternative text in words.

A chart names its colours by slot ("c0", "c1" ...): the page fills them in for the light or the dark theme.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advshape.report.data.run import EvaluationData

__all__ = ["Chart", "change_chart", "chart", "curves_chart", "frontier_chart", "histogram_chart"]

Chart = dict[str, Any]
SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", "star")
BINS = 16
MOST_BARS = 64
"""Up to this n the histogram shows every count by itself."""


def curves_chart(evaluations: Sequence[EvaluationData]) -> Chart:
    """pass@k against k, with the interval over prompts as a band."""
    data: list[Chart] = []
    for i, item in enumerate(evaluations):
        curve = item.curve
        ks = curve.ks.tolist()
        line = {
            "x": ks,
            "y": curve.values.tolist(),
            "customdata": np.stack([curve.low, curve.high], axis=1).tolist(),
            "name": item.label,
            "mode": "lines+markers",
            "line": {"color": f"c{i}", "width": 2.5},
            "marker": {"size": 8, "symbol": SYMBOLS[i % len(SYMBOLS)], "color": f"c{i}"},
            "hovertemplate": "pass@%{x}: %{y:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]",
            "legendgroup": str(i),
        }
        data += [band(ks, curve.low, curve.high, i), line]
    layout = {
        "xaxis": attempts_axis(k for item in evaluations for k in item.curve.ks),
        "yaxis": {"title": "pass@k, mean over prompts"},
    }
    ends = (
        f"{item.label} from {item.curve.values[0]:.3f} at k = {item.curve.ks[0]}"
        f" to {item.curve.values[-1]:.3f} at k = {item.curve.ks[-1]}"
        for item in evaluations
    )
    rows = [
        [item.label, int(k), v, low, high]
        for item in evaluations
        for k, v, low, high in zip(item.curve.ks, item.curve.values, item.curve.low, item.curve.high, strict=True)
    ]
    table = {"head": ["evaluation", "k", "pass@k", "low", "high"], "rows": rows}
    return chart("curves", "pass@k", data, layout, f"pass@k curves: {'; '.join(ends)}.", table)


def histogram_chart(evaluations: Sequence[EvaluationData]) -> Chart:
    """How many prompts have c of n rollouts right; with unequal or large n, which share, in bins.

    Never right and always right are bars of their own.
    """
    judged = np.unique(np.concatenate([item.counts.judged[item.counts.judged > 0] for item in evaluations]))
    exact = judged.size == 1 and judged[0] <= MOST_BARS
    n = int(judged[0]) if exact else BINS
    labels = (
        [str(c) for c in range(n + 1)]
        if exact
        else ["0", *(f"{i / BINS:.0%}–{(i + 1) / BINS:.0%}" for i in range(BINS)), "all"]
    )
    data, rows, words = [], [], []
    for i, item in enumerate(evaluations):
        heights = np.bincount(_places(item, exact), minlength=len(labels)).tolist()
        data.append(
            {
                "type": "bar",
                "x": labels,
                "y": heights,
                "name": item.label,
                "marker": {"color": f"c{i}"},
                "hovertemplate": "%{x}: %{y} prompts",
            }
        )
        rows += [[item.label, label, height] for label, height in zip(labels, heights, strict=True)]
        words.append(f"{item.label}: {heights[0]} prompts never solved, {heights[-1]} always")
    title = f"right rollouts c of n = {n}" if exact else "share of right rollouts"
    layout = {"xaxis": {"title": title, "type": "category"}, "yaxis": {"title": "prompts"}, "barmode": "group"}
    table = {"head": ["evaluation", "right of n" if exact else "share right", "prompts"], "rows": rows}
    alt = f"Histogram of success rates. {'; '.join(words)}."
    return chart("histogram", "How many prompts at which success rate", data, layout, alt, table)


def _places(item: EvaluationData, exact: bool) -> NDArray[np.int64]:
    """The bar of every judged prompt: its count of right rollouts, or the bin of its share."""
    rows = item.counts.judged > 0
    correct, judged = item.counts.correct[rows], item.counts.judged[rows]
    if exact:
        return correct
    # Bin i holds i/BINS < share <= (i+1)/BINS; whole numbers, so that no share is rounded over an edge.
    inner = 1 + (correct * BINS - 1) // judged
    return np.where(correct == 0, 0, np.where(correct == judged, BINS + 1, inner))


def change_chart(first: EvaluationData, second: EvaluationData) -> Chart:
    """Each prompt's share of right rollouts, second evaluation against first; points open their rollouts."""
    place = {problem: i for i, problem in enumerate(second.counts.problems)}
    cells: dict[tuple[float, float], list[int]] = {}
    rows: list[tuple[str, float, float]] = []
    for i, problem in enumerate(first.counts.problems):
        j = place.get(problem)
        if j is None or not first.counts.judged[i] or not second.counts.judged[j]:
            continue
        x, y = (float(c.correct[r] / c.judged[r]) for c, r in ((first.counts, i), (second.counts, j)))
        cells.setdefault((x, y), []).append(i)
        rows.append((problem, x, y))
    data = [_diagonal(), _bubbles(cells)]
    up, down = sum(y > x for _, x, y in rows), sum(y < x for _, x, y in rows)
    layout = {
        "xaxis": {"title": f"share right, {first.label}", "range": [-0.06, 1.06]},
        "yaxis": {"title": f"share right, {second.label}", "range": [-0.06, 1.06]},
    }
    alt = (
        f"Scatter of {len(rows)} prompts, share of right rollouts {second.label} against {first.label}:"
        f" {up} rose, {down} fell, {len(rows) - up - down} stayed."
    )
    table = {"head": ["prompt", first.label, second.label], "rows": rows}
    return chart("change", "Prompts by change; larger points are more prompts", data, layout, alt, table)


def _diagonal() -> Chart:
    line = {"color": "grid", "dash": "dot", "width": 1}
    return {"x": [0, 1], "y": [0, 1], "mode": "lines", "line": line, "hoverinfo": "skip", "showlegend": False}


def _bubbles(cells: Mapping[tuple[float, float], Sequence[int]]) -> Chart:
    """One point for each pair of shares; its area grows with the number of prompts, its data are their rows."""
    return {
        "x": [x for x, _ in cells],
        "y": [y for _, y in cells],
        "customdata": list(cells.values()),
        "text": [f"{len(rows)} prompt{'s' * (len(rows) > 1)}" for rows in cells.values()],
        "mode": "markers",
        "marker": {
            "size": [min(40.0, 7 * len(rows) ** 0.5) for rows in cells.values()],
            "opacity": 0.6,
            "color": "c1",
        },
        "hovertemplate": "%{text}: %{x:.3f} → %{y:.3f}<extra></extra>",
        "showlegend": False,
    }


def frontier_chart(evaluations: Sequence[EvaluationData], ks: tuple[int, int]) -> Chart:
    """pass@ks[1] against pass@ks[0], one line for each label up to its ", T=" part, over temperatures."""
    lines: dict[str, list[EvaluationData]] = {}
    for item in evaluations:
        lines.setdefault(item.label.rpartition(", T=")[0] or item.label, []).append(item)
    data, rows = [], []
    for i, (label, items) in enumerate(lines.items()):
        ordered = sorted(items, key=lambda item: float(item.settings["temperature"]))
        temperatures = [float(item.settings["temperature"]) for item in ordered]
        x, y = ([item.curve.at(k)[0] for item in ordered] for k in ks)
        data.append(
            {
                "x": x,
                "y": y,
                "text": [f"T={t:g}" for t in temperatures],
                "textposition": ["top left" if a > (min(x) + max(x)) / 2 else "top right" for a in x],
                "mode": "lines+markers+text",
                "name": label,
                "line": {"color": f"c{i}", "width": 2.5},
                "marker": {"size": 8, "symbol": SYMBOLS[i % len(SYMBOLS)], "color": f"c{i}"},
                "hovertemplate": "%{text}: %{x:.3f}, %{y:.3f}",
            }
        )
        rows += [[label, t, a, b] for t, a, b in zip(temperatures, x, y, strict=True)]
    layout = {"xaxis": {"title": f"pass@{ks[0]}"}, "yaxis": {"title": f"pass@{ks[1]}"}}
    table = {"head": ["model", "temperature", f"pass@{ks[0]}", f"pass@{ks[1]}"], "rows": rows}
    alt = f"Frontier of pass@{ks[1]} against pass@{ks[0]} over temperatures for {', '.join(lines)}."
    return chart("frontier", "Frontier over temperatures", data, layout, alt, table)


def band(ks: Sequence[int], low: Any, high: Any, slot: int) -> Chart:
    """The area between two lines, in the colour of a slot."""
    return {
        "x": [*ks, *reversed(ks)],
        "y": [*low.tolist(), *reversed(high.tolist())],
        "fill": "toself",
        "fillcolor": f"c{slot}-band",
        "line": {"width": 0},
        "mode": "lines",
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": str(slot),
    }


def attempts_axis(ks: Iterable[int]) -> Chart:
    """A logarithmic axis with a tick at every k."""
    ticks = sorted({int(k) for k in ks})
    return {"title": "attempts k", "type": "log", "tickvals": ticks, "ticktext": [str(k) for k in ticks]}


def chart(name: str, title: str, data: Any, layout: Any, alt: str, table: Chart) -> Chart:
    """A chart: file name, heading, traces, axes, what it shows in words, and its data as a table."""
    return {"name": name, "title": title, "data": data, "layout": layout, "alt": alt, "table": table}
