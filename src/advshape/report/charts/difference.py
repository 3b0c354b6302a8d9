"""The chart of a comparison's differences over k: intervals, what can be told from none, crossing, yardstick."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from advshape.report.charts.evaluation import SYMBOLS, Chart, attempts_axis, band, chart
from advshape.report.data.comparison import Difference

__all__ = ["differences_chart"]


def differences_chart(pairs: Sequence[Difference], yardsticks: Sequence[Difference] = ()) -> Chart:
    """Difference of pass@k against k with its interval; filled points can be told from no change.

    The first difference has the second curve's colour, and so on. A dotted vertical line says where curves cross,
    the thick line at the bottom gives its interval.
    """
    drawn = [*pairs, *yardsticks]
    ks = np.unique(np.concatenate([item.ks for item in drawn]))
    ends = [float(min(item.low.min() for item in drawn)), float(max(item.high.max() for item in drawn))]
    data = [_rule([float(ks[0]), float(ks[-1])], [0.0, 0.0], "solid")]
    for item in yardsticks:
        data += _trace(item, 0, f"two seeds: {item.name}", "dot")
    for i, item in enumerate(pairs, start=1):
        data += [*_trace(item, i, item.name), *_crossing(item, i, ks, ends)]
    word = "paired by prompt" if all(item.paired for item in drawn) else "UNPAIRED"
    layout = {"xaxis": attempts_axis(ks), "yaxis": {"title": "difference of pass@k"}, "showlegend": True}
    rows = [row for item in drawn for row in _rows(item)]
    table = {"head": ["difference", "k", "value", "low", "high", "p adjusted"], "rows": rows}
    alt = f"Differences of pass@k, {word}: {'; '.join(_words(item) for item in drawn)}."
    title = f"Difference of pass@k, {word}; filled points can be told from no change"
    return chart("difference", title, data, layout, alt, table)


def _trace(item: Difference, slot: int, label: str, dash: str = "solid") -> list[Chart]:
    """Band, line with hollow points, and filled points over those that can be told from no change."""
    ks = item.ks.tolist()
    symbol = SYMBOLS[slot % len(SYMBOLS)]
    line = {
        "x": ks,
        "y": item.difference.tolist(),
        "customdata": np.stack([item.low, item.high], axis=1).tolist(),
        "name": label,
        "mode": "lines+markers",
        "line": {"color": f"c{slot}", "width": 2.5, "dash": dash},
        "marker": {"size": 9, "symbol": f"{symbol}-open", "color": f"c{slot}"},
        "hovertemplate": "k = %{x}: %{y:+.3f} [%{customdata[0]:+.3f}, %{customdata[1]:+.3f}]",
        "legendgroup": str(slot),
    }
    told = {
        "x": item.ks[item.told].tolist(),
        "y": item.difference[item.told].tolist(),
        "name": label,
        "mode": "markers",
        "marker": {"size": 9, "symbol": symbol, "color": f"c{slot}"},
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": str(slot),
    }
    return [band(ks, item.low, item.high, slot), line, told]


def _rule(x: list[float], y: list[float], dash: str, colour: str = "grid") -> Chart:
    line = {"color": colour, "dash": dash, "width": 1.2}
    return {"x": x, "y": y, "mode": "lines", "line": line, "hoverinfo": "skip", "showlegend": False}


def _crossing(item: Difference, slot: int, ks: Any, ends: list[float]) -> list[Chart]:
    """Where the curves cross: a vertical line, and the interval as far as the axis goes."""
    if item.crosses_at is None:
        return []
    k, low, high = item.crosses_at
    span = [max(low, float(ks[0])), min(high, float(ks[-1]))]
    thick = {**_rule(span, [ends[0]] * 2, "solid", f"c{slot}"), "opacity": 0.5}
    thick["line"]["width"] = 5
    return [_rule([k, k], ends, "dot", f"c{slot}"), thick]


def _rows(item: Difference) -> list[list[object]]:
    columns = (item.difference, item.low, item.high)
    adjusted = [None if np.isnan(p) else p for p in item.adjusted.tolist()]
    values = zip(item.ks.tolist(), *(column.tolist() for column in columns), adjusted, strict=True)
    return [[item.name, *row] for row in values]


def _words(item: Difference) -> str:
    told = ", ".join(str(k) for k in item.ks[item.told]) or "no k"
    crossing = f", curves cross near k = {item.crosses_at[0]:.3g}" if item.crosses_at is not None else ""
    ends = f"from {item.difference[0]:+.3f} at k = {item.ks[0]} to {item.difference[-1]:+.3f} at k = {item.ks[-1]}"
    return f"{item.name} {ends}, told from no change at {told}{crossing}"
