"""The page of one run: pass@k before and after, success rates, changes, training, rollouts, provenance."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from advshape.evaluation.stats.curves import PairedDifference
from advshape.report.charts import evaluation as charts
from advshape.report.charts.training import training_charts
from advshape.report.data.provenance import evaluation_facts, repeat_commands, versions_of
from advshape.report.data.run import EvaluationData, ReportData, read_run
from advshape.report.data.text import short
from advshape.report.figures.export import save_charts
from advshape.report.pages.render import check_free, render_template, write_new
from advshape.report.rollouts import browser

__all__ = ["page_charts", "render", "save_figures", "write_report"]


def write_report(
    run_dir: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    figures: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    status: str | None = None,
) -> Path:
    """Write the page of a run directory (finished or not) and return its path.

    Args:
        run_dir: as `advshape train` or `advshape evaluate` leaves it.
        out: the file to write; None: the run's own `report.html`, which is replaced.
        figures: also write every figure as PNG and SVG, and its data as CSV, into this folder.
        overwrite: replace other files that are there.
        status: what the page calls the run; None: what its summary says. A run writes its page before it is done.

    Raises:
        AdvshapeError: no run directory, a broken file in it (with file and line), or a file that exists.
    """
    data = read_run(run_dir, status)
    own = out is None
    path = check_free(Path(run_dir) / "report.html" if out is None else out, overwrite or own)
    if figures is not None:
        save_charts(page_charts(data), figures, overwrite)
    return write_new(path, render(data), overwrite or own)


def save_figures(
    run_dir: str | os.PathLike[str], folder: str | os.PathLike[str], overwrite: bool = False
) -> list[Path]:
    """Write every figure of a run's page as PNG and SVG, and its data as CSV; returns the files."""
    return save_charts(page_charts(read_run(run_dir)), folder, overwrite)


def render(data: ReportData) -> str:
    """The page as text."""
    shown = page_charts(data)
    rollouts, notes = browser(data)
    return render_template(
        "page.html",
        {"charts": shown, **rollouts},
        title=short(data.title, 200),
        notes=[*data.notes, *notes],
        charts=[item for item in shown if not item["name"].startswith("training")],
        training_charts=[item for item in shown if item["name"].startswith("training")],
        results=results(data.evaluations, data.differences),
        headline=headline(data),
        facts=facts(data),
        headers=[evaluation_facts(item) for item in data.evaluations],
        solved=solved_tables(data),
        version_lists=[("Versions", versions_of(data))],
        has_rollouts=bool(rollouts["sources"]),
        recipes=[("Recipe, as it was run", data.recipe)] if data.recipe else [],
        repeat=repeat_commands(data),
    )


def page_charts(data: ReportData) -> list[charts.Chart]:
    """The charts that the data has something for."""
    items = data.evaluations
    found = [charts.curves_chart(items), charts.histogram_chart(items)] if items else []
    if data.differences:
        by_label = {item.label: item for item in items}
        found += [charts.change_chart(by_label[a], by_label[b]) for a, b, _ in data.differences[:1]]
    if len({float(item.settings["temperature"]) for item in items}) > 1:
        most = min(int(item.curve.ks[-1]) for item in items)
        found.append(charts.frontier_chart(items, (1, most)))
    return found + training_charts(data.metrics, data.summary.get("warning_signs", []))


def results(
    evaluations: Sequence[EvaluationData], differences: Sequence[tuple[str, str, PairedDifference]] = ()
) -> dict[str, Any]:
    """The table of pass@k: a row for each evaluation and for each difference, a column for each k."""
    ks = sorted({int(k) for item in evaluations for k in item.curve.ks})
    rows = []
    for item in evaluations:
        curve = item.curve
        cells = {
            int(k): (f"{v:.3f}", f"[{low:.3f}, {high:.3f}]", "")
            for k, v, low, high in zip(curve.ks, curve.values, curve.low, curve.high, strict=True)
        }
        rows.append((item.label, [cells.get(k) for k in ks]))
    for first, second, change in differences:
        cells = {
            int(k): (f"{d:+.3f}", f"[{low:+.3f}, {high:+.3f}]", "up" if low > 0 else "down" if high < 0 else "")
            for k, d, low, high in zip(change.ks, change.difference, change.low, change.high, strict=True)
        }
        rows.append((f"{second} − {first}", [cells.get(k) for k in ks]))
    return {"ks": ks, "rows": rows}


def headline(data: ReportData) -> list[str]:
    """One sentence for each difference, or one for a single evaluation, computed from the numbers."""
    if data.differences:
        return [difference_sentence(*difference) for difference in data.differences]
    return [
        f"{item.label}: pass@{item.curve.ks[0]} is {item.curve.values[0]:.3f}, pass@{item.curve.ks[-1]} is"
        f" {item.curve.values[-1]:.3f}, over {item.curve.prompts} prompts."
        for item in data.evaluations
    ]


def difference_sentence(first: str, second: str, change: PairedDifference) -> str:
    """Which k rose, which fell, and which cannot be told from no change."""
    groups: dict[str, list[str]] = {"higher": [], "lower": [], "same": []}
    for k, low, high in zip(change.ks, change.low, change.high, strict=True):
        groups["higher" if low > 0 else "lower" if high < 0 else "same"].append(str(k))
    words = [f"{kind} at k = {', '.join(ks)}" for kind, ks in groups.items() if ks and kind != "same"]
    if groups["same"]:
        words.append(f"not to be told from no change at k = {', '.join(groups['same'])}")
    return (
        f"{second} against {first}: pass@k is {'; '.join(words)}"
        f" ({change.confidence:.0%} intervals, paired over {change.prompts} prompts)."
    )


def facts(data: ReportData) -> list[tuple[str, str]]:
    """The run in a few pairs of name and value."""
    summary = data.summary
    training = summary.get("training", {})
    pairs = [
        ("Status", summary.get("status")),
        ("Objective", summary.get("objective")),
        ("Training seed", summary.get("seed")),
        ("Steps", training.get("steps")),
        ("Training time", f"{training['seconds']:.0f} s" if "seconds" in training else None),
        ("Command", summary.get("command")),
    ]
    return [(name, str(value)) for name, value in pairs if value is not None]


def solved_tables(data: ReportData) -> list[dict[str, Any]]:
    """The 2 x 2 of prompts that were solved at least once, for each difference."""
    by_label = {item.label: item.counts for item in data.evaluations}
    tables = []
    for first, second, _ in data.differences:
        a, b = by_label[first], by_label[second]
        place = {problem: i for i, problem in enumerate(b.problems)}
        later = b.select([place[problem] for problem in a.problems])
        pairs = list(zip((a.correct > 0).tolist(), (later.correct > 0).tolist(), strict=True))
        cells = {f"{x:d}{y:d}": pairs.count((bool(x), bool(y))) for x in (0, 1) for y in (0, 1)}
        tables.append({"first": first, "second": second, "n": (a.n, b.n), "cells": cells})
    return tables
