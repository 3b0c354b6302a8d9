"""Estimators as four pictures: F and F_n, F' and F_n', advantages, eta. A PNG, or a page like the reports.

One estimator has a colour for every line; several have a colour and a marker each, the same in all pictures.
"""

from __future__ import annotations

import math
import os
import platform
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advshape.catalogue.derivation import Derivation
from advshape.errors import AdvshapeError
from advshape.objectives.surrogate import Surrogate
from advshape.report.charts.evaluation import SYMBOLS, Chart, chart
from advshape.report.figures.curves import COLOURS, MARKERS
from advshape.report.pages.render import render_template
from advshape.tables.table import AdvantageTable

Floats = NDArray[np.float64]

RHO, INNER = np.linspace(0, 1, 401), np.linspace(0.005, 0.995, 397)

__all__ = ["Panel", "check_plot_file", "draw_panels", "save_derivation"]


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture: title, what its axes show, and named lines (x, y); infinite values are left out.

    Curves are rounded to 12 digits of their largest value: a constant slope is drawn flat, not as its rounding errors.
    owners: the estimator that each line belongs to; -1 for the objective itself.
    """

    title: str
    across: str
    up: str
    by_count: bool = False
    lines: dict[str, tuple[Floats, Floats]] = field(default_factory=dict)
    owners: dict[str, int] = field(default_factory=dict)

    def add(self, owner: int, name: str, x: Floats, y: Floats) -> None:
        """One more line."""
        self.lines[name], self.owners[name] = (x, y if self.by_count else _rounded(y)), owner

    @property
    def several(self) -> bool:
        """Whether it shows more than one estimator."""
        return max(self.owners.values()) > 0


def _rounded(y: Floats) -> Floats:
    largest = float(np.abs(y[np.isfinite(y)]).max(initial=0.0))
    return np.round(y, 11 - math.floor(math.log10(largest))) if largest > 1e-290 else y


def draw_panels(found: Derivation) -> list[Panel]:
    """The four panels of a derivation: objective, slope, advantages by count, eta by count.

    Every estimator's table is brought to the derivation's scale. F is shown from F(0) = 0 where that is finite, as F_n
    is. The slope is drawn for 0.005 <= rho <= 0.995.

    >>> from advshape.catalogue.derivation import derive
    >>> [panel.title for panel in draw_panels(derive("grpo", 8))]
    ['objective', 'slope: the pull on a prompt', 'advantages', 'eta(c): sum of absolute advantages']
    >>> list(draw_panels(derive("grpo", 8, against="rloo"))[1].lines)
    ['grpo', 'rloo', "F'"]
    """
    n = found.table.n
    panels = [
        Panel("objective", "success probability rho", "F"),
        Panel("slope: the pull on a prompt", "success probability rho", "F'"),
        Panel("advantages", f"right answers c of {n}", "advantage", by_count=True),
        Panel("eta(c): sum of absolute advantages", f"right answers c of {n}", "eta(c)", by_count=True),
    ]
    for owner, (name, table) in enumerate(found.scaled.items()):
        names = (name, name, f"{name}: A+", f"{name}: A-", name)
        if len(found.scaled) == 1:
            names = (f"F_n, n = {n}", f"F_n', n = {n}", "A+ (right)", "A- (wrong)", "eta")
        _add_table(panels, owner, names, table)
    if found.estimator.surrogate is not None:
        _add_aim(panels, found.estimator.surrogate, found.factor)
    return panels


def _add_table(panels: list[Panel], owner: int, names: tuple[str, ...], table: AdvantageTable) -> None:
    finite, c = table.surrogate(), np.arange(table.n + 1.0)
    panels[0].add(owner, names[0], RHO, finite.value(RHO))
    panels[1].add(owner, names[1], INNER, finite.derivative(INNER))
    panels[2].add(owner, names[2], c[1:], table.positive[1:])
    panels[2].add(owner, names[3], c[:-1], table.negative[:-1])
    panels[3].add(owner, names[4], c, table.eta)


def _add_aim(panels: list[Panel], aim: Surrogate, factor: float) -> None:
    start, value = float(aim.value(0.0)), aim.value(INNER)
    panels[0].add(-1, "F", INNER, factor * (value - (start if np.isfinite(start) else value[-1])))
    panels[1].add(-1, "F'", INNER, factor * aim.derivative(INNER))


def save_derivation(found: Derivation, path: str | os.PathLike[str]) -> Path:
    """Write the four panels to `path`, a .png picture or an .html page that needs no network; returns the path."""
    file, one = check_plot_file(path), found.estimator
    title = f"{one.name}, n = {found.table.n}"
    if found.others:
        title += f", against {', '.join(other.name for other in found.others)}"
    title += "" if found.scale == "none" else f"; tables scaled to {found.scale}"
    panels = draw_panels(found)
    try:
        if file.suffix == ".png":
            _save_png(panels, title, file)
        else:
            _save_html(panels, title, file, f"{one.name}: {one.verdict}.")
    except OSError as error:
        raise AdvshapeError(f"cannot write the plot {file} ({error.strerror}); name another file") from error
    return file


def check_plot_file(path: str | os.PathLike[str]) -> Path:
    """The path, if a plot can be written there; else AdvshapeError."""
    file = Path(path)
    if file.suffix not in (".png", ".html"):
        raise AdvshapeError(f"a plot is written as .png or .html, got {file.name!r}")
    if file.is_dir():
        raise AdvshapeError(f"{file} is a folder; name a file for the plot")
    if not file.parent.is_dir():
        raise AdvshapeError(f"the folder {file.parent} does not exist; make it first")
    return file


@dataclass(frozen=True)
class _Style:
    """How a line is drawn; open: its marker; marker: index in MARKERS."""

    colour: str
    dashed: bool
    marker: int
    open: bool
    name: str
    marked: NDArray[np.int64]  # the points with a marker; lines that lie on each other differ in these


def _style(panel: Panel, i: int, name: str) -> _Style:
    owner, several = panel.owners[name], panel.several
    aim = owner < 0
    points = np.arange(len(panel.lines[name][0]))
    if not panel.by_count:
        points = points[12 * (1 + owner) :: 96] if several and not aim else points[:0]
    if not several:  # the objective is dashed over what n rollouts make of it: where a table is unbiased both are seen
        return _Style(COLOURS[i + 1], aim, 0, False, name, points)
    colour = "#111827" if aim else COLOURS[1 + owner % (len(COLOURS) - 1)]
    negative = name.endswith(": A-")
    return _Style(colour, aim, max(owner, 0) % len(MARKERS), negative, "F, the objective" if aim else name, points)


def _title(panel: Panel) -> str:
    return f"{panel.title}: A+ filled, A- open" if panel.several and panel.title == "advantages" else panel.title


def _save_png(panels: list[Panel], title: str, file: Path) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10.0, 7.0), layout="constrained")
    shared: dict[str, Any] = {}
    for panel, ax in zip(panels, figure.subplots(2, 2).flat, strict=True):
        for i, (name, (x, y)) in enumerate(panel.lines.items()):
            style = _style(panel, i, name)
            face = "white" if style.open else style.colour
            more: dict[str, Any] = {"linestyle": "--" if style.dashed else "-"}
            if style.marked.size:
                more |= {"marker": MARKERS[style.marker], "markersize": 4, "markerfacecolor": face}
                more |= {"markevery": style.marked.tolist()}
            (line,) = ax.plot(x, y, color=style.colour, label=style.name, **more)
            shared |= {style.name: line} if (panel.by_count and panel.title != "advantages") or style.dashed else {}
        ax.set_title(_title(panel), fontsize=11)
        ax.set_xlabel(panel.across)
        ax.grid(True, color="#d1d5db", linewidth=0.5)
        ax.axhline(0, color="#6b7280", linewidth=0.8, zorder=1)
        if panel.by_count:
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(panel.lines) > 1 and not panel.several:
            ax.legend(frameon=False, fontsize=9)
    if panels[0].several:
        figure.legend(list(shared.values()), list(shared), loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle("\n".join(wrap(title, 90)), fontsize=12)
    figure.savefig(file, dpi=150)


def _save_html(panels: list[Panel], title: str, file: Path, headline: str) -> None:
    charts = [_chart(panel) for panel in panels]
    versions = {"advshape": version("advshape"), "python": platform.python_version()}
    page = render_template(
        "derivation.html",
        {"charts": charts, "sources": [], "reasons": []},
        title=title,
        headline=[headline],
        charts=charts,
        headers=[],
        version_lists=[("Versions", versions)],
        has_rollouts=False,
        recipes=[],
        repeat=[],
    )
    file.write_text(page, encoding="utf-8", newline="\n")


def _chart(panel: Panel) -> Chart:
    """The panel as a chart of the project's pages, which follow the reader's theme and width."""
    data, rows = [], list[tuple[str, float, float | None]]()
    for i, (name, (x, y)) in enumerate(panel.lines.items()):
        style = _style(panel, i, name)
        slot = f"c{COLOURS.index(style.colour)}" if style.colour in COLOURS else "c0"
        sizes = np.where(np.isin(np.arange(len(x)), style.marked), 8, 0).tolist()
        marker = {
            "symbol": SYMBOLS[style.marker] + ("-open" if style.open else ""),
            "size": sizes,
            "color": slot,
            "opacity": 1,
            "line": {"width": 1.5 if style.open else 0, "color": slot},
        }
        points = [(float(a), float(b) if np.isfinite(b) else None) for a, b in zip(x, y, strict=True)]
        data.append(
            {
                "x": [a for a, _ in points],
                "y": [b for _, b in points],
                "name": style.name.removesuffix(": A+"),
                "legendgroup": style.name.split(": A")[0],
                "showlegend": not style.open,
                "mode": "lines+markers" if style.marked.size else "lines",
                "marker": marker,
                "line": {"color": slot, "dash": "dash" if style.dashed else "solid", "width": 2},
            }
        )
        rows += [(name, *point) for point in points]
    across = {"title": panel.across, **({"tickformat": "d"} if panel.by_count else {"range": [0, 1]})}
    layout = {"xaxis": across, "yaxis": {"title": panel.up, "zeroline": True}}
    if panel.several:
        layout["legend"] = {"itemsizing": "constant"}  # a line's first point may have no marker
    alt = f"{panel.title}, against {panel.across}: {', '.join(panel.lines)}."
    table = {"head": ["line", panel.across, panel.up], "rows": rows}
    return chart(panel.up.partition("(")[0].replace("'", "-slope"), _title(panel), data, layout, alt, table)
