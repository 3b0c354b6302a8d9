"""The training curves of a run, from what the trainer logged."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from advshape.report.charts.evaluation import Chart, chart

__all__ = ["training_charts"]

# What the trainer logs and a reader wants to see: (title, axis, {metric: label}).
TRAINING: tuple[tuple[str, str, dict[str, str]], ...] = (
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
    (
        "Rollouts without an answer",
        "share of rollouts",
        {"completions/clipped_ratio": "cut off", "advshape/rollouts_not_judged": "not judged"},
    ),
    ("KL from the reference", "nats per token", {"kl": "KL"}),
    ("Gradient norm", "norm before clipping", {"grad_norm": "gradient norm"}),
)
OBJECTIVE = "advshape/objective"
PASSES = ("pass@k of the training batches", "mean over prompts")


def training_charts(metrics: Sequence[Mapping[str, Any]], signs: Sequence[Mapping[str, Any]] = ()) -> list[Chart]:
    """The training curves that the log has values for, with a line at each step where a warning was given; where the
    objective changed, its parameters step by step."""
    charts = []
    shown = (*TRAINING, ("Objective in force", "value", _objective(metrics)), (*PASSES, _passes(metrics)))
    for number, (title, axis, series) in enumerate(shown):
        data, rows = [], []
        for i, (name, label) in enumerate(series.items()):
            points = [(m["step"], m[name]) for m in metrics if m.get(name) is not None and "step" in m]
            if points:
                line = _line([p[0] for p in points], [p[1] for p in points], label, i)
                if name.startswith(OBJECTIVE):
                    line["line"]["shape"] = "hv"  # a step holds until the next one
                data.append(line)
                rows += [[label, step, value] for step, value in points]
        if rows:
            first, last = rows[0], rows[-1]
            alt = f"{title} over {last[1]} steps; {first[0]} starts at {first[2]:.3g}, {last[0]} ends at {last[2]:.3g}."
            layout: Chart = {"xaxis": {"title": "step"}, "yaxis": {"title": axis}, "showlegend": len(data) > 1}
            if signs:
                data.append(_marks([sign["step"] for sign in signs], [row[2] for row in rows]))
                layout["showlegend"] = True
                alt += " A dotted line marks each warning: " + ", ".join(_words(sign) for sign in signs) + "."
            table = {"head": ["series", "step", "value"], "rows": rows}
            charts.append(chart(f"training-{number}", title, data, layout, alt, table))
    return charts


def _objective(metrics: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The objective's numbers that are not the same in every step: metric -> label."""
    names = sorted({name for line in metrics for name in line if name.startswith(OBJECTIVE)})
    moving = [name for name in names if len({line.get(name) for line in metrics} - {None}) > 1]
    return {name: name.removeprefix(f"{OBJECTIVE}_") if name != OBJECTIVE else "stage" for name in moving}


def _passes(metrics: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The pass@k that were logged, smallest k first."""
    names = {name for line in metrics for name in line if re.fullmatch(r"advshape/pass_at_\d+", name)}
    ks = sorted(int(name.rpartition("_")[2]) for name in names)
    return {f"advshape/pass_at_{k}": f"pass@{k}" for k in ks}


def _marks(steps: Sequence[int], values: Sequence[float]) -> Chart:
    """A vertical line at each step, as high as the values go."""
    ends = [min(values), max(values), None] if min(values) < max(values) else [min(values), min(values) + 1, None]
    line = {"color": "c0", "width": 1.4, "dash": "dot"}
    x = [x for step in dict.fromkeys(steps) for x in (step, step, None)]
    return {
        "x": x,
        "y": ends * (len(x) // 3),
        "name": "warnings",
        "mode": "lines",
        "line": line,
        "hovertemplate": "warning at step %{x}",
    }


def _words(sign: Mapping[str, Any]) -> str:
    return f"{str(sign['name']).replace('_', ' ')} at step {sign['step']}"


def _line(steps: list[int], values: list[float], label: str, slot: int) -> Chart:
    return {
        "x": steps,
        "y": values,
        "name": label,
        "mode": "lines" if len(steps) > 1 else "markers",
        "line": {"color": f"c{slot + 1}", "width": 1.8, "dash": ("solid", "dash", "dot")[slot % 3]},
        "hovertemplate": "step %{x}: %{y:.4g}",
    }
