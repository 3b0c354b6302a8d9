"""Figures for papers and front pages (matplotlib): pass@k curves, and the frontier over temperatures.

Every function draws on the axes it is given (or on new ones) and returns the data it drew. matplotlib is
imported inside the functions.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advshape.errors import AdvshapeError
from advshape.evaluation.stats.curves import PassCurve
from advshape.evaluation.stats.extrapolate import Extrapolation

Floats = NDArray[np.float64]

__all__ = ["COLOURS", "CurveData", "FrontierData", "draw_frontier", "draw_models", "draw_pass_curves", "save_figure"]

COLOURS = ("#6b7280", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#332288")
"""Okabe and Ito's colours, which colour-blind readers can tell apart; grey first, for the base."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


@dataclass(frozen=True, eq=False)
class CurveData:
    """One drawn curve: label, attempts (K,), values (K,) and the band's ends (K,)."""

    label: str
    ks: NDArray[np.int64]
    values: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, eq=False)
class FrontierData:
    """One drawn frontier: label, temperatures (T,), pass@k at both attempts (T,), and whiskers (T, 2)."""

    label: str
    temperatures: Floats
    x: Floats
    y: Floats
    x_interval: Floats
    y_interval: Floats


def draw_pass_curves(
    curves: Mapping[str, PassCurve], axes: Any = None, colours: Sequence[str] = COLOURS
) -> list[CurveData]:
    """pass@k against k on a log2 axis, one line with its interval as a band for each label.

    >>> from advshape.evaluation.stats.counts import Counts
    >>> from advshape.evaluation.stats.curves import pass_curve
    >>> curve = pass_curve(Counts.of("abcd", correct=[0, 1, 2, 4], judged=[4] * 4))
    >>> [data.label for data in draw_pass_curves({"base": curve})]
    ['base']
    """
    if not curves:
        raise AdvshapeError("there is no curve to draw; pass at least one {label: curve}")
    axes = _axes(axes)
    drawn = []
    for i, (label, curve) in enumerate(curves.items()):
        colour = colours[i % len(colours)]
        axes.fill_between(curve.ks, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(curve.ks, curve.values, color=colour, marker=MARKERS[i % len(MARKERS)], markersize=5, label=label)
        drawn.append(CurveData(label, curve.ks, curve.values, curve.low, curve.high))
    ks = np.unique(np.concatenate([data.ks for data in drawn]))
    axes.set_xscale("log", base=2)
    axes.set_xticks(ks, [str(k) for k in ks])
    axes.set_xlabel("attempts k")
    axes.set_ylabel("pass@k, mean over prompts")
    _finish(axes)
    return drawn


def draw_models(
    models: Mapping[str, Sequence[Extrapolation]], axes: Any, colours: Sequence[str] = COLOURS
) -> list[CurveData]:
    """pass@k as fitted MODELs have it, beside drawn curves with the same labels in the same order.

    Lines are dashed and dotted and carry MODEL in the legend; a thin line marks n, up to which pass@k was measured.
    """
    drawn = []
    for i, (label, several) in enumerate(models.items()):
        colour = colours[i % len(colours)]
        for model, dash in zip(several, ("--", ":"), strict=False):
            name = f"{label}: {model.label}" if len(models) > 1 else model.label
            axes.fill_between(model.ks, model.low, model.high, color=colour, alpha=0.07, linewidth=0)
            axes.plot(model.ks, model.values, color=colour, linestyle=dash, marker="|", label=name)
            drawn.append(CurveData(name, model.ks, model.values, model.low, model.high))
        axes.axvline(several[0].n, color=colour, linewidth=0.7, alpha=0.6)
        place: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "va": "top"}
        axes.annotate("MODEL beyond n", (several[0].n, 1), (3, -2), fontsize=7, color=colour, **place)
    shown = [tick for tick in axes.get_xticks() if tick >= 1]
    ks = np.unique(np.concatenate([shown, *(data.ks for data in drawn)])).astype(int)
    axes.set_xticks(ks, [str(k) for k in ks])
    _finish(axes)
    return drawn


def draw_frontier(
    curves: Mapping[str, Mapping[float, PassCurve]],
    axes: Any = None,
    colours: Sequence[str] = COLOURS,
    ks: tuple[int, int] = (1, 64),
) -> list[FrontierData]:
    """pass@ks[1] against pass@ks[0], one line over temperatures for each label: up and right is better.

    Args:
        curves: label -> {temperature: curve}; every curve has both ks.
        axes: matplotlib axes; None makes new ones.
        colours: one for each label.
        ks: the attempts on the two axes.
    """
    if not curves or not all(curves.values()):
        raise AdvshapeError("there is no frontier to draw; pass {label: {temperature: curve}}")
    axes = _axes(axes)
    drawn = []
    for i, (label, by_temperature) in enumerate(curves.items()):
        temperatures = np.array(sorted(by_temperature), dtype=float)
        points = np.array([[by_temperature[t].at(k) for t in temperatures] for k in ks])
        (x, *x_ends), (y, *y_ends) = points.transpose(0, 2, 1)
        data = FrontierData(label, temperatures, x, y, np.stack(x_ends, 1), np.stack(y_ends, 1))
        drawn.append(data)
        _draw_one_frontier(axes, data, colours[i % len(colours)], MARKERS[i % len(MARKERS)])
    axes.autoscale_view()
    _label_temperatures(axes, drawn, colours)
    axes.set_xlabel(f"pass@{ks[0]}")
    axes.set_ylabel(f"pass@{ks[1]}")
    _finish(axes)
    return drawn


def save_figure(figure: Any, path: str | os.PathLike[str]) -> list[Path]:
    """Write a figure as PNG (200 dpi) and as SVG, or as that of PNG, SVG and PDF in which `path` ends; the paths."""
    base = Path(path)
    base.parent.mkdir(parents=True, exist_ok=True)
    named = base.suffix in (".png", ".svg", ".pdf")
    written = [base] if named else [base.with_name(base.name + suffix) for suffix in (".png", ".svg")]
    for file in written:
        # Without a date the same data gives the same file.
        dates = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
        options = {"metadata": dates[file.suffix]} if file.suffix in dates else {"dpi": 200}
        figure.savefig(file, bbox_inches="tight", **options)
    return written


def new_figure(columns: int = 1, width: float = 5.2, height: float = 3.8) -> tuple[Any, list[Any]]:
    """A figure with axes side by side, outside pyplot, so that nothing is shown or kept open."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height), layout="constrained")
    return figure, list(np.atleast_1d(figure.subplots(1, columns)))


def _draw_one_frontier(axes: Any, data: FrontierData, colour: str, marker: str) -> None:
    whiskers = {"color": colour, "alpha": 0.3, "linewidth": 1}
    axes.hlines(data.y, *data.x_interval.T, **whiskers)
    axes.vlines(data.x, *data.y_interval.T, **whiskers)
    axes.plot(data.x, data.y, color=colour, marker=marker, markersize=5, label=data.label)


AROUND = [(5, 6), (-5, 6), (-5, -6), (5, -6), (0, 8), (0, -8), (7, 0), (-7, 0)]
"""Where a label may stand beside its point, in points, the text's near side at the offset."""


def _label_temperatures(axes: Any, drawn: Sequence[FrontierData], colours: Sequence[str]) -> None:
    """The temperature beside every point, on the side that is farthest from lines, points and earlier labels."""
    from matplotlib.patheffects import withStroke

    scale = axes.figure.dpi / 72
    points = [axes.transData.transform(np.stack([data.x, data.y], 1)) for data in drawn]
    taken = np.concatenate([_along(line) for line in points])
    for i, (data, line) in enumerate(zip(drawn, points, strict=True)):
        for temperature, point, x, y in zip(data.temperatures, line, data.x, data.y, strict=True):
            text = f"T = {temperature:g}"
            reach = np.array([2.2 * len(text), 3.5]) * scale
            centres = [point + np.array(o) * scale + np.sign(o) * reach for o in AROUND]
            room = [(np.abs(taken - centre) / reach).max(axis=1).min() for centre in centres]
            best = int(np.argmax(np.minimum(room, 1.2)))  # the first that is free enough
            taken = np.concatenate([taken, centres[best] + reach * np.array([[-0.8, 0], [0, 0], [0.8, 0]])])
            axes.annotate(
                text,
                (x, y),
                (centres[best] - point) / scale,
                textcoords="offset points",
                ha="center",
                va="center",
                fontsize=7,
                color=colours[i % len(colours)],
                path_effects=[withStroke(linewidth=2, foreground="white")],
            )


def _along(line: Floats) -> Floats:
    """Points (P, 2) every few pixels along a line, its corners included."""
    parts = [np.linspace(a, b, 2 + int(np.hypot(*(b - a)) / 6)) for a, b in pairwise(line)]
    return np.concatenate([line, *parts])


def _axes(axes: Any) -> Any:
    return axes if axes is not None else new_figure()[1][0]


def _finish(axes: Any) -> None:
    axes.grid(True, color="#d1d5db", linewidth=0.5)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for text in axes.legend(frameon=False, fontsize=8).get_texts():
        text.set_parse_math(False)  # "$" in a name starts no formula
