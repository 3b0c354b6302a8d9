"""Where two pass@k curves cross, with a bootstrap interval over prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from advshape.errors import AdvshapeError
from advshape.evaluation.curves import Counts
from advshape.evaluation.intervals import check_confidence, cluster_sums
from advshape.passk import pass_at_k

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

__all__ = ["Crossing", "crossing"]

FINE = 64
"""All whole k up to here are looked at; beyond, 16 in each doubling."""
BLOCK = 2_000_000
"""Weights drawn at once."""


@dataclass(frozen=True)
class Crossing:
    """The attempts k at which the leader changes between two curves, with an interval.

    Attributes:
        k: where the mean difference changes sign, linear in log k between whole k.
        low, high: ends of the interval; 0 stands for below one attempt, inf for beyond n.
        ahead: where the second run is ahead: at fewer attempts than k ("below"), or at more ("above").
        share: share of the resamples whose curves cross in this direction within 1..n.
        n: the largest k looked at.
    """

    k: float
    low: float
    high: float
    ahead: Literal["below", "above"]
    share: float
    n: int


def crossing(
    first: Counts,
    second: Counts,
    confidence: float = 0.95,
    clusters: Integers | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Crossing | None:
    """Where the second curve meets the first, or None where one is ahead at k = 1 and at k = n.

    The interval is the percentile bootstrap over prompts (or clusters). A resample in which one curve is ahead
    throughout crosses below 1 or beyond n; one that crosses the other way round counts against both ends. So
    the interval is finite only where the data show both the lead at few attempts and its loss at many.

    Args:
        first, second: counts of the same prompts in the same order, all judged.
        confidence: nominal coverage.
        clusters: (M,) integer labels of related prompts.
        resamples, seed: of the bootstrap.

    >>> sure = Counts.of("abcd", [8, 8, 0, 0], [8] * 4)
    >>> broad = Counts.of("abcd", [2, 2, 2, 2], [8] * 4)
    >>> found = crossing(sure, broad)
    >>> round(found.k, 2), found.ahead
    (2.17, 'above')
    """
    check_confidence(confidence)
    if resamples < 1:
        raise AdvshapeError(f"a bootstrap needs at least 1 resample, got {resamples}; 2000 is usual")
    ks = _grid(min(first.n, second.n))
    values = [pass_at_k(c.correct[:, None], c.judged[:, None], ks) for c in (first, second)]
    differences = values[1] - values[0]
    mean = differences.mean(axis=0)
    if mean[0] * mean[-1] >= 0:
        return None
    sums = differences if clusters is None else cluster_sums(differences, clusters)
    kinds, times = np.unique(sums, axis=0, return_counts=True)  # alike prompts are drawn together
    rng, start = np.random.default_rng(seed), float(np.sign(mean[0]))
    found = np.empty(resamples)
    block = max(1, BLOCK // len(kinds))  # bounds the memory; the draws are the same
    for first_row in range(0, resamples, block):
        rows = slice(first_row, min(first_row + block, resamples))
        weights = rng.multinomial(len(sums), times / len(sums), size=rows.stop - rows.start)
        found[rows] = [_sign_change(row * start, ks) for row in weights @ kinds]
    tail = (1 - confidence) / 2
    reversed_ = np.isnan(found)
    low = np.quantile(np.where(reversed_, 0, found), tail, method="lower")
    high = np.quantile(np.where(reversed_, np.inf, found), 1 - tail, method="higher")
    share = float(np.mean((found > 0) & np.isfinite(found)))
    ahead: Literal["below", "above"] = "below" if start > 0 else "above"
    return Crossing(_sign_change(mean * start, ks), float(low), float(high), ahead, share, int(ks[-1]))


def _sign_change(difference: Floats, ks: Integers) -> float:
    """First k at which a difference that starts positive is 0; 0 or inf without a change; NaN if it ends positive."""
    if difference[0] <= 0:
        return float("nan") if difference[-1] > 0 else 0.0
    if difference[-1] > 0:
        return float("inf")
    i = int(np.argmax(difference <= 0))
    share = difference[i - 1] / (difference[i - 1] - difference[i])
    return float(np.exp(np.log(ks[i - 1]) + share * np.log(ks[i] / ks[i - 1])))


def _grid(n: int) -> Integers:
    """1..n, thinned beyond 64."""
    if n <= FINE:
        return np.arange(1, n + 1, dtype=np.int64)
    beyond = np.geomspace(FINE, n, 2 + int(16 * np.log2(n / FINE)))
    return np.unique(np.concatenate([np.arange(1, FINE + 1), np.round(beyond), [n]]).astype(np.int64))
