"""Permutation tests for a mean difference, and Holm's correction for several of them.

p is the mid-p-value: patterns whose statistic equals the observed one count half (Lancaster 1961). The plain
p-value claims a difference where there is none in far fewer than 5 % of cases when few prompts differ, as at
k = n; the mid-p-value keeps near 5 % there (Fagerland, Lydersen & Laake 2013) and is the plain one elsewhere.
bench/power.py measures both kinds of error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from advshape.errors import AdvshapeError
from advshape.evaluation.stats.intervals import cluster_sums

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

__all__ = ["holm", "label_permutation_test", "sign_flip_test"]

EXACT = 14
"""Units up to which all sign patterns are tried (2^14) instead of a sample of them."""
ROUNDING = 1e-10
"""Relative difference below which two statistics are equal."""
BLOCK = 4_000_000
"""Signs drawn at once; bounds the memory."""


def sign_flip_test(
    differences: Floats, clusters: Integers | None = None, permutations: int = 10_000, seed: int = 0
) -> Floats:
    """Two-sided p-value of "the mean difference is 0": the share of sign patterns with as large a mean.

    Under the null hypothesis that each prompt's difference is as likely to be d as -d (two runs of one recipe)
    the test is exact but for the half counted ties; where only the mean is 0 it holds for many prompts, as
    Student's t does. Signs flip by cluster. With at most 14 prompts (or clusters) that differ all patterns are
    tried; otherwise `permutations` random ones, the observed one among them (Phipson & Smyth 2010).

    Args:
        differences: (M, K), second evaluation minus first.
        clusters: (M,) integer labels of related prompts; None: all prompts are independent.
        permutations: random sign patterns; the same for all K columns.
        seed: of these patterns.

    Returns:
        (K,) p-values; 1 where no prompt differs.

    >>> sign_flip_test(np.array([[1.0], [1.0], [1.0], [1.0], [0.0]]))
    array([0.0625])
    """
    _check(differences, permutations)
    sums = differences if clusters is None else cluster_sums(differences, clusters)
    sums = sums[(sums != 0).any(axis=1)]
    units = len(sums)
    observed, rounding = np.abs(sums.sum(axis=0)), ROUNDING * np.abs(sums).sum(axis=0)
    if units <= EXACT:
        patterns = (np.arange(2**units)[:, None] >> np.arange(units)) & 1
        return _hits(np.abs((2.0 * patterns - 1) @ sums), observed, rounding) / 2**units
    kinds, times = np.unique(sums, axis=0, return_counts=True)  # alike prompts: their signs add up to a binomial
    rng = np.random.default_rng(seed)

    def hits(size: int) -> Floats:
        signs = 2.0 * rng.binomial(times, 0.5, (size, len(kinds))) - times
        return _hits(np.abs(signs @ kinds), observed, rounding)

    return _monte_carlo(hits, permutations, len(kinds))


def label_permutation_test(
    first: Floats,
    second: Floats,
    clusters: tuple[Integers, Integers] | None = None,
    permutations: int = 10_000,
    seed: int = 0,
) -> Floats:
    """Two-sided p-value of "both samples of prompts come from one population", for runs that share no prompts.

    Prompts (or whole clusters) are dealt out anew between the two runs; the statistic is the difference of the
    means.

    Args:
        first, second: (M1, K) and (M2, K).
        clusters: labels of related prompts in each; None: all prompts are independent.
        permutations: random deals.
        seed: of the deals.

    Returns:
        (K,) p-values.

    >>> label_permutation_test(np.zeros((8, 1)), np.ones((8, 1)), permutations=999).round(4)
    array([0.0005])
    """
    _check(np.concatenate([first, second]), permutations)
    labels = clusters or (np.arange(len(first)), np.arange(len(second)))
    parts = [
        cluster_sums(np.column_stack([v, np.ones(len(v))]), c) for v, c in zip((first, second), labels, strict=True)
    ]
    both, size = np.concatenate(parts), len(parts[0])
    total = both.sum(axis=0)

    def gap(taken: Floats) -> Floats:
        rest = total - taken
        return np.abs(rest[..., :-1] / rest[..., -1:] - taken[..., :-1] / taken[..., -1:])

    observed = gap(parts[0].sum(axis=0))
    rng = np.random.default_rng(seed)

    def hits(count: int) -> Floats:
        chosen = np.argsort(rng.random((count, len(both))), axis=1) < size
        return _hits(gap(chosen @ both), observed, ROUNDING)

    return _monte_carlo(hits, permutations, len(both))


def holm(p: ArrayLike) -> Floats:
    """Holm's adjusted p-values (Holm 1979): all claims with adjusted p <= 0.05 hold together with 95 %.

    NaN (not tested) stays NaN and does not count.

    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    values = np.asarray(p, dtype=np.float64)
    flat = values.ravel()
    tested = np.flatnonzero(~np.isnan(flat))
    order = tested[np.argsort(flat[tested], kind="stable")]
    out = np.full(flat.shape, np.nan)
    scaled = flat[order] * np.arange(len(order), 0, -1)
    out[order] = np.minimum(np.maximum.accumulate(scaled), 1) if len(order) else scaled
    return out.reshape(values.shape)


def _check(values: Floats, permutations: int) -> None:
    if values.ndim != 2 or not np.isfinite(values).all():
        raise AdvshapeError(f"a permutation test needs finite values (M, K), got shape {values.shape}")
    if permutations < 1:
        raise AdvshapeError(f"a permutation test needs at least 1 permutation, got {permutations}; 10000 is usual")


def _hits(statistic: Floats, observed: Floats, rounding: Floats | float) -> Floats:
    """Patterns with a larger statistic than the observed one, and half of those that tie with it; (K,)."""
    larger = (statistic > observed + rounding).sum(axis=0)
    return np.asarray(0.5 * (larger + (statistic >= observed - rounding).sum(axis=0)))


def _monte_carlo(hits: Callable[[int], Floats], permutations: int, units: int) -> Floats:
    """(1/2 + hits) / (1 + permutations), in blocks that bound the memory."""
    total = sum(hits(size) for size in _blocks(permutations, max(1, BLOCK // max(1, units))))
    return (0.5 + np.asarray(total, dtype=np.float64)) / (1.0 + permutations)


def _blocks(total: int, size: int) -> Iterator[int]:
    for start in range(0, total, size):
        yield min(size, total - start)
