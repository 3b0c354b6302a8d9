"""The curves of `advshape passk` as a table (CSV) and as a figure (matplotlib); a MODEL is dashed and named so."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advshape.evaluation.results.measures import MEASURES
from advshape.report.data.text import csv_text
from advshape.report.figures.curves import draw_models, draw_pass_curves, new_figure, save_figure

if TYPE_CHECKING:
    from advshape.evaluation.results.log_results import LogResult

__all__ = ["draw_results", "results_csv"]

HEAD = ("log", "settings", "measure", "source", "k", "value", "low", "high", "confidence", "prompts", "n", "fit_p")


def results_csv(labels: Sequence[str], results: Sequence[LogResult]) -> str:
    """A row for each log, measure and k; `source` is "measured", or the MODEL, whose goodness of fit is `fit_p`."""
    rows: list[list[Any]] = []
    for label, result in zip(labels, results, strict=True):
        settings = " ".join(f"{name}={value}" for name, value in result.log.settings.items())
        for name, curve in result.curves.items():
            ends = zip(curve.ks.tolist(), curve.values, curve.low, curve.high, strict=True)
            rows += [
                [
                    label,
                    settings,
                    MEASURES[name][0],
                    "measured",
                    k,
                    *map(_number, values),
                    curve.confidence,
                    curve.prompts,
                    curve.n,
                    None,
                ]
                for k, *values in ends
            ]
        for model in result.models:
            ends = zip(model.ks.tolist(), model.values, model.low, model.high, strict=True)
            rows += [
                [
                    label,
                    settings,
                    "pass@k",
                    model.label,
                    k,
                    *map(_number, values),
                    model.confidence,
                    result.curve.prompts,
                    model.n,
                    model.fit,
                ]
                for k, *values in ends
            ]
    return csv_text(HEAD, rows)


def draw_results(labels: Sequence[str], results: Sequence[LogResult], path: str | os.PathLike[str]) -> Path:
    """One panel for each measure, one line for each log; MODELs go on from n, dashed, in the panel of pass@k."""
    measures = list(results[0].curves)
    labels = [f" {label}" if label.startswith("_") else label for label in labels]  # matplotlib hides names with _
    figure, panels = new_figure(len(measures))
    for measure, axes in zip(measures, panels, strict=True):
        curves = {label: result.curves[measure] for label, result in zip(labels, results, strict=True)}
        models = {label: result.models for label, result in zip(labels, results, strict=True) if result.models}
        draw_pass_curves(curves, axes)
        if measure == "pass" and models:
            draw_models(models, axes)
        axes.set_ylabel(f"{MEASURES[measure][0]}, mean over prompts")
    return save_figure(figure, path)[0]


def _number(value: float) -> float | None:
    return None if value != value else float(value)
