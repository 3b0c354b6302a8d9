"""The training rollouts that a page shows: whole steps within a budget of text, the file read in two streams."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from advshape.evaluation.logs.jsonl import read_jsonl

__all__ = ["LONGEST", "TRAINING_BUDGET", "kept_training"]

LONGEST = 20_000
"""Characters of one text that a page may hold."""
TRAINING_BUDGET = 4_000_000
"""Characters of training completions that one page may hold; more makes browsers slow."""
NEEDS = {"step": int, "problem": str, "completion": str}
SHOWN = ("step", "problem", "completion", "reward", "verdict", "reason", "advantage")


def kept_training(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """(the fields that a page shows of the kept rollouts, what to say about the others).

    The first pass sums the text of each step, the second keeps whole steps, evenly spaced: of a log of any size
    no more is held than the page shows. No file, no rollouts.
    """
    sizes: dict[int, int] = {}
    for record in read_jsonl(path, NEEDS):
        size = min(len(record["completion"]), LONGEST) + 24
        sizes[record["step"]] = sizes.get(record["step"], 0) + size
    keep = _kept_steps(sizes)
    kept = [_shown(record) for record in read_jsonl(path, NEEDS) if record["step"] in keep]
    if len(keep) == len(sizes):
        return kept, []
    return kept, [
        f"The browser holds the training rollouts of {len(keep)} of {len(sizes)} steps, evenly spaced, to"
        " keep the page small; all are in rollouts.jsonl."
    ]


def _kept_steps(sizes: Mapping[int, int]) -> set[int]:
    """As many steps, evenly spaced, as the budget has room for at their mean size; one at least."""
    steps, total = sorted(sizes), sum(sizes.values())
    if total <= TRAINING_BUDGET:
        return set(steps)
    wanted = max(1, int(len(steps) * TRAINING_BUDGET / total))
    return {steps[round(i * (len(steps) - 1) / max(1, wanted - 1))] for i in range(wanted)}


def _shown(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in SHOWN if name in record}
