"""What a run's numbers say, in words and in small text tables; every word is computed from the data."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any


def outcome(summary: Mapping[str, Any]) -> str:
    """The end of a training run: pass@k before and after, and which changes exceed their intervals."""
    rows = [
        (label, summary[when]["curve"]) for label, when in (("before", "before"), ("after", "after")) if when in summary
    ]
    lines = [curves_table(rows)] if rows else []
    if "change" in summary:
        lines.append(change_sentence(summary["change"]))
    return "\n".join(lines)


def evaluate_command(model: str, task: Mapping[str, Any]) -> str:
    """The command that evaluates a model on a recipe's ``[task]``.

    >>> evaluate_command("runs/x/model", {"name": "countdown", "four": 0.5, "train_problems": 64})
    'advshape evaluate runs/x/model --task countdown --set four=0.5'
    """
    words = ["advshape", "evaluate", model, "--task", task["name"]]
    for key, value in task.items():
        if key not in ("name", "train_problems", "seed"):
            words += ["--set", f"{key}={json.dumps(value)}"]
    return shlex.join(words)


def curve_text(evaluation: Mapping[str, Any]) -> str:
    """One evaluation as text: the curve with its intervals, and what was judged."""
    curve, outcomes = evaluation["curve"], evaluation["outcomes"]
    lines = [f"pass@{k:<4} {value:.3f}  [{low:.3f}, {high:.3f}]" for k, value, low, high in _columns(curve)]
    lines.append(
        f"{evaluation['prompts']} problems x {evaluation['n']} rollouts: {outcomes['right']} right, "
        f"{outcomes['wrong']} wrong, {outcomes['not_judged']} not judged, {outcomes['truncated']} cut off; "
        f"{curve['confidence']:.0%} intervals over problems"
    )
    return "\n".join(lines)


def curves_table(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Curves side by side: one row for each label, one column for each k, intervals below the values."""
    ks = rows[0][1]["ks"]
    width = max(len(label) for label, _ in rows)
    head = " " * width + "".join(f"{f'pass@{k}':>15}" for k in ks)
    lines = [head]
    for label, curve in rows:
        cells = [(f"{v:.3f}", f"[{low:.3f}, {high:.3f}]") for _, v, low, high in _columns(curve)]
        lines.append(f"{label:<{width}}" + "".join(f"{value:>15}" for value, _ in cells))
        lines.append(" " * width + "".join(f"{interval:>15}" for _, interval in cells))
    return "\n".join(lines)


def change_sentence(change: Mapping[str, Any], subject: str = "training") -> str:
    """One sentence on a paired difference: which k rose, which fell, which cannot be told from no change."""
    groups: dict[str, list[str]] = {"raised": [], "lowered": [], "left": []}
    for k, value, low, high in zip(change["ks"], change["difference"], change["low"], change["high"], strict=True):
        kind = "raised" if low > 0 else "lowered" if high < 0 else "left"
        groups[kind].append(f"pass@{k} ({value:+.3f} [{low:+.3f}, {high:+.3f}])")
    said = [f"{kind} {', '.join(items)}" for kind, items in groups.items() if items and kind != "left"]
    unsure = f"no change can be told from none at {', '.join(groups['left'])}" if groups["left"] else ""
    confidence = f"{change['confidence']:.0%} intervals, paired over {change['prompts']} problems"
    if not said:
        return f"{subject}: {unsure}; {confidence}."
    return f"{subject} {' and '.join(said)}{f'; {unsure}' if unsure else ''}; {confidence}."


def _columns(curve: Mapping[str, Any]) -> zip[tuple[Any, ...]]:
    return zip(curve["ks"], curve["values"], curve["low"], curve["high"], strict=True)
