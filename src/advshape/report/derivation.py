"""One estimator as four pictures: F and F_n, F' and F_n', advantages, eta. PNG by matplotlib, HTML by plotly."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

import numpy as np
from numpy.typing import NDArray

from advshape.analysis import curves
from advshape.errors import AdvshapeError
from advshape.report.figures import COLOURS
from advshape.table import AdvantageEstimator

Floats = NDArray[np.float64]

__all__ = ["Panel", "check_plot_file", "derivation", "save_derivation"]


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture: title, what its horizontal axis shows, and named lines (x, y); infinite values are left out."""

    title: str
    across: str
    lines: dict[str, tuple[Floats, Floats]]
    by_count: bool = False


def derivation(estimator: AdvantageEstimator, n: int) -> list[Panel]:
    """The four panels of an estimator at group size n: objective, slope, advantages by count, eta by count.

    F is shown from F(0) = 0 where that is finite, as F_n is. The slope is drawn for 0.005 <= rho <= 0.995.

    >>> import advshape as adv
    >>> [panel.title for panel in derivation(adv.estimator("grpo"), 8)]
    ['objective', 'slope: the pull on a prompt', 'advantages', 'eta(c): sum of absolute advantages']
    """
    table, rho, inner = estimator.table(n), np.linspace(0, 1, 401), np.linspace(0.005, 0.995, 397)
    finite = table.surrogate()
    objective = {f"F_n, n = {n}": (rho, finite.value(rho))}
    slope = {f"F_n', n = {n}": (inner, finite.derivative(inner))}
    aim = estimator.surrogate
    if aim is not None:
        start = float(aim.value(0.0))
        shown = curves(table, aim, inner)
        objective["F"] = (inner, shown["aim"] - (start if np.isfinite(start) else float(shown["aim"][-1])))
        slope["F'"] = (inner, shown["aim_slope"])
    c = np.arange(n + 1.0)
    advantages = {"A+ (right)": (c[1:], table.positive[1:]), "A- (wrong)": (c[:-1], table.negative[:-1])}
    return [
        Panel("objective", "success probability rho", objective),
        Panel("slope: the pull on a prompt", "success probability rho", slope),
        Panel("advantages", f"right answers c of {n}", advantages, by_count=True),
        Panel("eta(c): sum of absolute advantages", f"right answers c of {n}", {"eta": (c, table.eta)}, by_count=True),
    ]


def save_derivation(estimator: AdvantageEstimator, n: int, path: str | os.PathLike[str]) -> Path:
    """Write the four panels to `path`, a .png picture or an .html page that needs no network; returns the path."""
    file = check_plot_file(path)
    panels, title = derivation(estimator, n), f"{estimator.name}, n = {n}"
    _save_png(panels, title, file) if file.suffix == ".png" else _save_html(panels, title, file)
    return file


def check_plot_file(path: str | os.PathLike[str]) -> Path:
    """The path, if a plot can be written there; else AdvshapeError."""
    file = Path(path)
    if file.suffix not in (".png", ".html"):
        raise AdvshapeError(f"a plot is written as .png or .html, got {file.name!r}")
    if not file.parent.is_dir():
        raise AdvshapeError(f"the folder {file.parent} does not exist; make it first")
    return file


def _save_png(panels: list[Panel], title: str, file: Path) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10.0, 7.0), layout="constrained")
    for panel, ax in zip(panels, figure.subplots(2, 2).flat, strict=True):
        for i, (name, (x, y)) in enumerate(panel.lines.items()):
            style = {"marker": "o", "markersize": 4} if panel.by_count else {"linestyle": _dash(name, "--", "-")}
            ax.plot(x, y, color=COLOURS[i + 1], label=name, **style)
        ax.set_title(panel.title, fontsize=11)
        ax.set_xlabel(panel.across)
        ax.grid(True, color="#d1d5db", linewidth=0.5)
        ax.axhline(0, color="#6b7280", linewidth=0.8, zorder=1)
        if panel.by_count:
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(panel.lines) > 1:
            ax.legend(frameon=False, fontsize=9)
    figure.suptitle("\n".join(wrap(title, 90)), fontsize=12)
    figure.savefig(file, dpi=150)


def _save_html(panels: list[Panel], title: str, file: Path) -> None:
    from plotly.graph_objects import Scatter
    from plotly.subplots import make_subplots

    figure = make_subplots(
        rows=2, cols=2, subplot_titles=[p.title for p in panels], vertical_spacing=0.16, horizontal_spacing=0.09
    )
    lines = wrap(title, 90)
    for k, panel in enumerate(panels):
        (row, col), legend = divmod(k, 2), f"legend{k + 1}" if k else "legend"
        for i, (name, (x, y)) in enumerate(panel.lines.items()):
            mode = "lines+markers" if panel.by_count else "lines"
            style = {"color": COLOURS[i + 1], "dash": _dash(name, "dash", "solid")}
            line = Scatter(x=x.tolist(), y=y.tolist(), name=name, mode=mode, line=style, legend=legend,
                           showlegend=len(panel.lines) > 1)  # fmt: skip
            figure.add_trace(line, row=row + 1, col=col + 1)
        whole = {"tickformat": "d"} if panel.by_count else {"range": [0, 1]}
        figure.update_xaxes(title_text=panel.across, row=row + 1, col=col + 1, **whole)
        right = float(figure.layout[f"xaxis{k + 1 if k else ''}"].domain[1])
        top = float(figure.layout[f"yaxis{k + 1 if k else ''}"].domain[1])
        place = {"x": right, "y": top, "xanchor": "right", "yanchor": "top", "bgcolor": "rgba(255,255,255,0.7)"}
        if panel.title == "objective":  # F rises: its free corner is the lower one
            place |= {"y": float(figure.layout.yaxis.domain[0]), "yanchor": "bottom"}
        figure.update_layout({legend: place})
    figure.update_yaxes(zeroline=True, zerolinecolor="#6b7280", zerolinewidth=1, gridcolor="#e5e7eb", showgrid=True)
    figure.update_layout(
        title="<br>".join(lines), template="simple_white", height=820, margin={"t": 80 + 22 * len(lines), "r": 40}
    )
    figure.write_html(str(file), include_plotlyjs=True, full_html=True)


def _dash(name: str, dashed: str, plain: str) -> str:
    """The objective is drawn dashed over what n rollouts make of it: where a table is unbiased both are seen."""
    return dashed if name.startswith("F") and "n =" not in name else plain
