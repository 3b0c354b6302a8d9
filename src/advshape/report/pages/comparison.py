"""The page of a comparison: curves, differences with tests, crossing points, prompts newly solved and newly lost."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from advshape.evaluation.logs.rollout_log import Rollout
from advshape.evaluation.readers.base import prompt_name
from advshape.report.charts.difference import differences_chart
from advshape.report.charts.evaluation import Chart, curves_chart, histogram_chart
from advshape.report.data.comparison import ComparedRun, ComparisonData, Difference, comparison_data, printed_problems
from advshape.report.data.provenance import evaluation_facts
from advshape.report.data.run import EvaluationData, ReportData
from advshape.report.data.text import short
from advshape.report.figures.export import save_charts
from advshape.report.pages.render import check_free, render_template, write_new
from advshape.report.pages.run import results
from advshape.report.rollouts import browser

__all__ = ["comparison_charts", "render_comparison", "save_comparison_figures", "write_comparison"]

COMPLETIONS = 3
LENGTH = 600
"""Characters of one text that such a print has."""


def write_comparison(
    comparison: Any,
    path: str | os.PathLike[str],
    *,
    figures: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the page of a comparison and return its path.

    Args:
        comparison: a `Comparison`, its `to_json()`, or the path of a JSON file that holds it. Prompt texts and
            completions are read from the logs that it names, where they are still there.
        path: the file to write.
        figures: also write every figure as PNG and SVG, and its data as CSV, into this folder.
        overwrite: replace files that are there.

    Raises:
        AdvshapeError: no comparison, or a file that exists.
    """
    file = check_free(path, overwrite)
    data = comparison_data(comparison)
    if figures is not None:
        save_charts(comparison_charts(data), figures, overwrite)
    return write_new(file, render_comparison(data), overwrite)


def save_comparison_figures(comparison: Any, folder: str | os.PathLike[str], overwrite: bool = False) -> list[Path]:
    """Write every figure of a comparison's page as PNG and SVG, and its data as CSV; returns the files."""
    return save_charts(comparison_charts(comparison_data(comparison)), folder, overwrite)


def render_comparison(data: ComparisonData) -> str:
    """The page as text."""
    logged = [item for item in data.evaluations if item.rollouts]
    rollouts, notes = browser(ReportData("", logged), printed_problems(data.pairs))
    shown = comparison_charts(data)
    return render_template(
        "comparison.html",
        {"charts": shown, **rollouts},
        title=short(data.title, 200),
        notes=[*data.notes, *notes],
        unpaired=[pair.name for pair in [*data.pairs, *data.yardsticks] if not pair.paired],
        headline=[sentence(pair) for pair in data.pairs],
        yardsticks=[sentence(pair, "tests") for pair in data.yardsticks],
        results=compared(data),
        charts=shown,
        moved=[moved(data, pair) for pair in data.pairs if pair.changes is not None],
        headers=[run_facts(run) for run in data.runs],
        methods=list(dict.fromkeys(f"{pair.method}; {pair.test}" for pair in [*data.pairs, *data.yardsticks])),
        version_lists=[(f"Versions: {run.label}", run.versions) for run in data.runs if run.versions],
        recipes=[(f"Recipe of {run.label}, as it was run", run.recipe) for run in data.runs if run.recipe],
        repeat=[("Compare again, from the logs", repeat_command(data))],
        has_rollouts=bool(rollouts["sources"]),
    )


def repeat_command(data: ComparisonData) -> str:
    """The command that makes this page again."""
    seeds = {pair.second for pair in data.yardsticks}
    words = ["advshape", "compare", *(_named(run, data) for run in data.runs if run.label not in seeds)]
    for run in data.runs:
        words += ["--yardstick", _named(run, data)] if run.label in seeds else []
    for k in data.registered:
        words += ["-k", str(k)]
    if not all(pair.paired for pair in data.pairs):
        words.append("--unpaired")
    for name, value in data.runs[0].reading.items():  # the same for all runs
        for one in value if name == "where" else [value]:
            words += [f"--{name.replace('_', '-')}", "=".join(one) if name == "where" else str(one)]
    return shlex.join([*words, "--html", "comparison.html"])


def _named(run: ComparedRun, data: ComparisonData) -> str:
    """The log of a run as `advshape compare` takes it; of several settings in one log, which one."""
    settings = run.evaluation.settings.get("settings")
    several = sum(other.source == run.source for other in data.runs) > 1
    chosen = (("settings", str(settings)),) if several and settings else run.chosen
    words = ",".join(f"{name}={value}" for name, value in chosen)
    return f"{run.source}@{words}" if words else run.source


def comparison_charts(data: ComparisonData) -> list[Chart]:
    """Curves of all runs, differences, success rates."""
    items = data.evaluations
    found = [curves_chart(items)]
    if data.pairs or data.yardsticks:
        found.append(differences_chart(data.pairs, data.yardsticks))
    return [*found, histogram_chart([replace(run.evaluation, counts=run.counts) for run in data.runs])]


def compared(data: ComparisonData) -> dict[str, Any]:
    """The table: pass@k of each run, then each difference with interval and adjusted p-value."""
    table = results(data.evaluations)
    for pair in [*data.pairs, *data.yardsticks]:
        cells = {}
        columns = (pair.ks, pair.difference, pair.low, pair.high, pair.adjusted, pair.told)
        for k, d, low, high, p, told in zip(*columns, strict=True):
            tested = "not tested" if np.isnan(p) else f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"
            colour = ("up" if d > 0 else "down") if told else ""
            cells[int(k)] = (f"{d:+.3f}", f"[{low:+.3f}, {high:+.3f}]\n{tested}", colour)
        label = pair.name if pair in data.pairs else f"two seeds: {pair.name}"
        table["rows"].append((label, [cells.get(k) for k in table["ks"]]))
    return table


def sentence(pair: Difference, tests: str = "adjusted tests") -> str:
    """Which k rose, which fell, which cannot be told from no change, and where the curves cross."""
    groups: dict[str, list[str]] = {}
    for k, d, p, told in zip(pair.ks, pair.difference, pair.adjusted, pair.told, strict=True):
        kind = "not tested" if np.isnan(p) else "not to be told from no change"
        groups.setdefault(("higher" if d > 0 else "lower") if told else kind, []).append(str(k))
    tested_first = sorted(groups.items(), key=lambda item: item[0] == "not tested")
    words = "; ".join(f"{kind} at k = {', '.join(ks)}" for kind, ks in tested_first)
    how = "paired over" if pair.paired else "UNPAIRED, at least"
    text = f"{pair.second} against {pair.first}: pass@k is {words} ({tests}, {how} {pair.prompts} prompts)."
    return f"{text}{crossing_words(pair)}"


def crossing_words(pair: Difference) -> str:
    """Where the curves cross, with the interval.

    >>> pair = Difference("a", "b", *[np.ones(1)] * 5, True, 9, 0, "", "", None, {"k": 5.25, "low": 0, "high": None})
    >>> crossing_words(pair)
    ' The curves cross near k = 5.25 [below 1, beyond the largest k].'
    """
    if pair.crosses_at is None:
        return ""
    k, low, high = pair.crosses_at
    ends = f"{low:.3g}" if low >= 1 else "below 1", f"{high:.3g}" if np.isfinite(high) else "beyond the largest k"
    return f" The curves cross near k = {k:.3g} [{ends[0]}, {ends[1]}]."


def run_facts(run: ComparedRun) -> dict[str, Any]:
    """Header of one run; the numbers are the comparison's own."""
    facts = evaluation_facts(run.evaluation) if run.evaluation.rollouts else {"bounds": []}
    curve = run.evaluation.curve
    own = {"totals": run.facts["outcomes"], "prompts": run.facts["prompts"], "n": run.facts["n"]}
    settings = {name: str(value) for name, value in run.evaluation.settings.items() if value not in ("", None)}
    method = f"{curve.confidence:.0%} intervals: {curve.method}"
    shown = {"settings": {"source": run.source, **facts.get("settings", settings)}, "method": method}
    return {**facts, "label": run.label, "unjudged": curve.unjudged, **own, **shown}


def moved(data: ComparisonData, pair: Difference) -> dict[str, Any]:
    """The 2 x 2 of one pair, and its newly solved and newly lost prompts with completions of both runs."""
    sides = [data.evaluation(pair.first), data.evaluation(pair.second)]
    # Comparisons name prompts with long ids in short.
    rollouts = [{prompt_name(problem): group for problem, group in side.rollouts.items()} for side in sides]
    changes = pair.changes or {}
    lists = [
        {
            "title": f"Newly {word}: {pair.first} → {pair.second}",
            "total": len(changes[f"newly_{word}"]),
            "beyond_chance": changes["beyond_chance"][i],
            "cases": [case(change, sides, rollouts) for change in pair.cases(word)],
        }
        for i, word in enumerate(("solved", "lost"))
    ]
    cells = {"11": changes["both"], "00": changes["neither"], "01": lists[0]["total"], "10": lists[1]["total"]}
    labels = {"first": pair.first, "second": pair.second, "n": [side.curve.n for side in sides]}
    return {**labels, "cells": cells, "lists": lists}


def case(
    change: Mapping[str, Any], sides: Sequence[EvaluationData], rollouts: Sequence[Mapping[str, Sequence[Rollout]]]
) -> dict[str, Any]:
    """One prompt that moved, with a few completions of each side, right ones first."""
    shown = []
    for side, groups, (right, judged) in zip(sides, rollouts, (change["first"], change["second"]), strict=True):
        few = sorted(groups.get(change["problem"], ()), key=lambda rollout: rollout.outcome != "right")[:COMPLETIONS]
        texts = [(r.outcome.replace("_", " "), cut(r.completion), cut(r.reason)) for r in few]
        shown.append({"label": side.label, "count": f"{right} of {judged} right", "rollouts": texts})
    p = f"Fisher's p = {change['p']:.2g}"
    return {"id": short(change["problem"], 90), "prompt": cut(change["prompt"]), "p": p, "sides": shown}


def cut(text: str) -> str:
    """The text, or its beginning and how much is left out."""
    return text if len(text) <= LENGTH else f"{text[:LENGTH]} … ({len(text) - LENGTH:,} more characters)"
