"""Rollouts of a log as counts: what was right, by prompt."""

from __future__ import annotations

from collections.abc import Iterable

from advshape.evaluation.logs.rollout_log import Rollout
from advshape.evaluation.stats.counts import Counts

__all__ = ["count_rollout", "count_rollouts"]


def count_rollouts(rollouts: Iterable[Rollout]) -> Counts:
    """Count rollouts by problem, in order of first appearance; settings are not told apart.

    >>> outcomes = ["right", "wrong", "not_judged"]
    >>> count_rollouts(Rollout("p", i, "", "", outcome) for i, outcome in enumerate(outcomes)).totals()
    {'right': 1, 'wrong': 1, 'not_judged': 1, 'truncated': 0}
    """
    rows: dict[str, list[int]] = {}
    for rollout in rollouts:
        count_rollout(rows, rollout)
    return Counts.from_rows(rows)


def count_rollout(rows: dict[str, list[int]], rollout: Rollout) -> None:
    """Add one rollout to the row of its problem: right, judged, not judged, truncated."""
    row = rows.setdefault(rollout.problem, [0, 0, 0, 0])
    row[0] += rollout.outcome == "right"
    row[1] += rollout.outcome != "not_judged"
    row[2] += rollout.outcome == "not_judged"
    row[3] += rollout.truncated
