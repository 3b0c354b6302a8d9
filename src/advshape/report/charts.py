"""The page's charts as plain Plotly specifications: data, layout and an alternative text in words.

A chart names its colours by slot ("c0", "c1" ...): the page fills them in for the light or the dark theme.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from advshape.report.data import EvaluationData

__all__ = ["change_chart", "curves_chart", "frontier_chart", "histogram_chart", "training_charts"]

Chart = dict[str, Any]
SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", "star")
BINS = 16

# What the trainer logs and a reader wants to see: (title, axis, {metric: label}).
TRAINING = (
    ("Mean reward of the training rollouts", "reward", {"reward": "mean reward"}),
    (
        "Prompts by outcome",
        "share of prompts",
        {
            "advshape/prompts_all_wrong": "all wrong",
            "advshape/prompts_mixed": "mixed",
            "advshape/prompts_all_right": "all right",
        },
    ),
    ("Mean surrogate", "F, estimated", {"advshape/surrogate": "surrogate"}),
    ("Entropy of the policy", "nats per token", {"entropy": "entropy"}),
    ("Length of completions", "tokens", {"completions/mean_length": "mean", "completions/max_length": "longest"}),
    ("Gradient norm", "norm before clipping", {"grad_norm": "gradient norm"}),
)


def curves_chart(evaluations: Sequence[EvaluationData]) -> Chart:
    """pass@k against k, with the interval over prompts as a band."""
    data: list[Chart] = []
    for i, item in enumerate(evaluations):
        curve = item.curve
        ks = curve.ks.tolist()
        band = {
            "x": ks + ks[::-1],
            "y": curve.high.tolist() + curve.low.tolist()[::-1],
            "fill": "toself",
            "fillcolor": f"c{i}-band",
            "line": {"width": 0},
            "mode": "lines",
            "hoverinfo": "skip",
            "showlegend": False,
            "legendgroup": str(i),
        }
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
        data += [band, line]
    ticks = sorted({int(k) for item in evaluations for k in item.curve.ks})
    layout = {
        "xaxis": {"title": "attempts k", "type": "log", "tickvals": ticks, "ticktext": [str(k) for k in ticks]},
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
    return _chart("curves", "pass@k", data, layout, f"pass@k curves: {'; '.join(ends)}.", table)


def histogram_chart(evaluations: Sequence[EvaluationData]) -> Chart:
    """How many prompts have which share of right rollouts; 0 and 1 are bins of their own."""
    labels = ["0", *(f"{i / BINS:.2f}–{(i + 1) / BINS:.2f}" for i in range(BINS)), "1"]
    data, rows, words = [], [], []
    for i, item in enumerate(evaluations):
        judged = item.counts.judged
        share = item.counts.correct[judged > 0] / judged[judged > 0]
        place = np.where(share == 0, 0, np.where(share == 1, BINS + 1, 1 + np.ceil(share * BINS) - 1))
        heights = np.bincount(place.astype(int), minlength=BINS + 2).tolist()
        data.append(
            {
                "type": "bar",
                "x": labels,
                "y": heights,
                "name": item.label,
                "marker": {"color": f"c{i}"},
                "hovertemplate": "%{y} prompts",
            }
        )
        rows += [[item.label, label, height] for label, height in zip(labels, heights, strict=True)]
        words.append(f"{item.label}: {heights[0]} prompts never solved, {heights[-1]} always")
    layout = {
        "xaxis": {"title": "share of right rollouts", "type": "category", "tickangle": -45},
        "yaxis": {"title": "prompts"},
        "barmode": "group",
    }
    table = {"head": ["evaluation", "share right", "prompts"], "rows": rows}
    alt = f"Histogram of success rates. {'; '.join(words)}."
    return _chart("histogram", "Success rates of the prompts", data, layout, alt, table)


def change_chart(first: EvaluationData, second: EvaluationData) -> Chart:
    """Each prompt's share of right rollouts, second evaluation against first; points open their rollouts."""
    place = {problem: i for i, problem in enumerate(second.counts.problems)}
    rows = []
    for i, problem in enumerate(first.counts.problems):
        j = place.get(problem)
        if j is None or not first.counts.judged[i] or not second.counts.judged[j]:
            continue
        shares = [float(c.correct[r] / c.judged[r]) for c, r in ((first.counts, i), (second.counts, j))]
        rows.append([i, *shares])
    x, y = [row[1] for row in rows], [row[2] for row in rows]
    data = [
        {
            "x": [0, 1],
            "y": [0, 1],
            "mode": "lines",
            "line": {"color": "grid", "dash": "dot"},
            "hoverinfo": "skip",
            "showlegend": False,
        },
        {
            "x": x,
            "y": y,
            "customdata": [row[0] for row in rows],
            "mode": "markers",
            "marker": {"size": 9, "opacity": 0.45, "color": "c1"},
            "hovertemplate": "prompt %{customdata}: %{x:.3f} → %{y:.3f}<extra></extra>",
            "showlegend": False,
        },
    ]
    up, down = sum(b > a for a, b in zip(x, y, strict=True)), sum(b < a for a, b in zip(x, y, strict=True))
    layout = {
        "xaxis": {"title": f"share right, {first.label}", "range": [-0.04, 1.04]},
        "yaxis": {"title": f"share right, {second.label}", "range": [-0.04, 1.04]},
    }
    alt = (
        f"Scatter of {len(rows)} prompts, share of right rollouts {second.label} against {first.label}:"
        f" {up} rose, {down} fell, {len(rows) - up - down} stayed."
    )
    table = {"head": ["prompt", first.label, second.label], "rows": rows}
    return _chart("change", "Change by prompt", data, layout, alt, table)


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
                "textposition": "top right",
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
    return _chart("frontier", "Frontier over temperatures", data, layout, alt, table)


def training_charts(metrics: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """The training curves that the log has values for."""
    charts = []
    for number, (title, axis, series) in enumerate(TRAINING):
        data, rows = [], []
        for i, (name, label) in enumerate(series.items()):
            points = [(m["step"], m[name]) for m in metrics if m.get(name) is not None and "step" in m]
            if points:
                data.append(_training_line([p[0] for p in points], [p[1] for p in points], label, i))
                rows += [[label, step, value] for step, value in points]
        if rows:
            first, last = rows[0], rows[-1]
            alt = f"{title} over {last[1]} steps; {first[0]} starts at {first[2]:.3g}, {last[0]} ends at {last[2]:.3g}."
            layout = {
                "xaxis": {"title": "step"},
                "yaxis": {"title": axis},
                "showlegend": len(data) > 1,
            }
            table = {"head": ["series", "step", "value"], "rows": rows}
            charts.append(_chart(f"training-{number}", title, data, layout, alt, table))
    return charts


def _training_line(steps: list[int], values: list[float], label: str, slot: int) -> Chart:
    return {
        "x": steps,
        "y": values,
        "name": label,
        "mode": "lines" if len(steps) > 1 else "markers",
        "line": {"color": f"c{slot + 1}", "width": 1.8},
        "hovertemplate": "step %{x}: %{y:.4g}",
    }


def _chart(name: str, title: str, data: Any, layout: Any, alt: str, table: Chart) -> Chart:
    return {"name": name, "title": title, "data": data, "layout": layout, "alt": alt, "table": table}
