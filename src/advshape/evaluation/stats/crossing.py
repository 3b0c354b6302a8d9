"""Where two pass@k curves cross, with a bootstrap interval over prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from advshape.errors import AdvshapeError
from advshape.evaluation.stats.counts import Counts
from advshape.evaluation.stats.intervals import check_confidence, cluster_sums
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
    kinds, times = _kinds(first, second, ks, clusters)  # alike prompts are drawn together
    units, mean = int(times.sum()), times @ kinds / first.prompts
    if mean[0] * mean[-1] >= 0:
        return None
    rng, start = np.random.default_rng(seed), float(np.sign(mean[0]))
    found = np.empty(resamples)
    block = max(1, BLOCK // len(kinds))  # bounds the memory; the draws are the same
    for first_row in range(0, resamples, block):
        rows = slice(first_row, min(first_row + block, resamples))
        weights = rng.multinomial(units, times / units, size=rows.stop - rows.start)
        found[rows] = [_sign_change(row * start, ks) for row in weights @ kinds]
    tail = (1 - confidence) / 2
    reversed_ = np.isnan(found)
    low = np.quantile(np.where(reversed_, 0, found), tail, method="lower")
    high = np.quantile(np.where(reversed_, np.inf, found), 1 - tail, method="higher")
    share = float(np.mean((found > 0) & np.isfinite(found)))
    ahead: Literal["below", "above"] = "below" if start > 0 else "above"
    return Crossing(_sign_change(mean * start, ks), float(low), float(high), ahead, share, int(ks[-1]))


def _kinds(first: Counts, second: Counts, ks: Integers, clusters: Integers | None) -> tuple[Floats, Integers]:
    """Different rows of differences, (N, K), summed in clusters, and how often each is there, (N,).

    Prompts with the same counts make one row before pass@k is computed: few are different.
    """
    table = np.stack([first.correct, first.judged, second.correct, second.judged], axis=1)
    alike, row, times = np.unique(table, axis=0, return_inverse=True, return_counts=True)
    c, j, other_c, other_j = alike.T[:, :, None]
    differences = pass_at_k(other_c, other_j, ks) - pass_at_k(c, j, ks)
    if clusters is not None:
        differences = cluster_sums(differences[row.ravel()], clusters)
        times = np.ones(len(differences), dtype=np.int64)
    kinds, row = np.unique(differences, axis=0, return_inverse=True)
    return kinds, np.bincount(row.ravel(), weights=times).astype(np.int64)


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
