"""Which estimator does a random rule average to? Means of many draws, with their standard errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from advshape.bernstein import FloatArray

__all__ = ["MeanAdvantages", "mean_advantages"]

_CALLS, _TILES = 64, 64


@dataclass(frozen=True, eq=False)
class MeanAdvantages:
    """Advantages averaged over draws.

    mean: (2, n + 1), of right and of wrong rollouts by count, NaN where there are none; error: its standard errors;
    draws: how many of every group.
    """

    mean: FloatArray
    error: FloatArray
    draws: int

    def distance(self, table: FloatArray) -> float:
        """Largest difference to a table (2, n + 1), in standard errors; an event too rare for the draws to show may
        hide in one of them, so 1/draws of the largest advantage is added to each error."""
        hidden = float(np.nanmax(np.abs(self.mean))) / self.draws
        return float(np.nanmax(np.abs(self.mean - table) / (self.error + hidden + 1e-300)))

    def factor(self, table: FloatArray) -> float:
        """The multiple of a table that comes nearest to the mean; 0 for a table of zeros."""
        used = np.isfinite(self.mean)
        weight = 1 / (self.error[used] + float(np.nanmax(np.abs(self.mean))) / self.draws + 1e-300) ** 2
        size = float(weight @ table[used] ** 2)
        return float(weight @ (self.mean[used] * table[used])) / size if size > 0 else 0.0


def mean_advantages(
    call: Callable[[FloatArray], FloatArray], groups: FloatArray, refused: type[Exception] = ValueError
) -> MeanAdvantages | None:
    """Average over 64 calls on 64 copies of all groups; groups: (n + 1, n), c right in row c. None where the call
    raises `refused` or an advantage is not finite.

    Errors come from the spread between calls, so a rule may draw for a whole batch at once.

    >>> rng, groups = np.random.default_rng(0), np.array([[0.0, 0], [1, 0], [1, 1]])
    >>> found = mean_advantages(lambda rewards: rewards + rng.normal(size=rewards.shape), groups)
    >>> found.distance(np.array([[0.0, 1, 1], [0, 0, 0]])) < 4
    True
    """
    tiled = np.tile(groups, (_TILES, 1))
    right, wrong = groups.sum(-1), (1 - groups).sum(-1)
    means = []
    for _ in range(_CALLS):
        try:
            found = call(tiled).reshape(_TILES, *groups.shape).mean(0)
        except refused:
            return None
        if not np.isfinite(found).all():
            return None
        with np.errstate(invalid="ignore"):
            means.append(np.stack([(found * groups).sum(-1) / right, (found * (1 - groups)).sum(-1) / wrong]))
    seen = np.stack(means)
    return MeanAdvantages(seen.mean(0), seen.std(0, ddof=1) / np.sqrt(_CALLS), _CALLS * _TILES)
