"""The training curves of a run, from what the trainer logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from advshape.report.charts import Chart, chart

__all__ = ["training_charts"]

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
OBJECTIVE = "advshape/objective"


def training_charts(metrics: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """The training curves that the log has values for; where the objective changed, its parameters step by step."""
    charts = []
    for number, (title, axis, series) in enumerate((*TRAINING, ("Objective in force", "value", _objective(metrics)))):
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
            layout = {"xaxis": {"title": "step"}, "yaxis": {"title": axis}, "showlegend": len(data) > 1}
            table = {"head": ["series", "step", "value"], "rows": rows}
            charts.append(chart(f"training-{number}", title, data, layout, alt, table))
    return charts


def _objective(metrics: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The objective's numbers that are not the same in every step: metric -> label."""
    names = sorted({name for line in metrics for name in line if name.startswith(OBJECTIVE)})
    moving = [name for name in names if len({line.get(name) for line in metrics} - {None}) > 1]
    return {name: name.removeprefix(f"{OBJECTIVE}_") if name != OBJECTIVE else "stage" for name in moving}


def _line(steps: list[int], values: list[float], label: str, slot: int) -> Chart:
    return {
        "x": steps,
        "y": values,
        "name": label,
        "mode": "lines" if len(steps) > 1 else "markers",
        "line": {"color": f"c{slot + 1}", "width": 1.8, "dash": ("solid", "dash", "dot")[slot % 3]},
        "hovertemplate": "step %{x}: %{y:.4g}",
    }
