"""Intervals for a mean over prompts whose values lie in [0, 1], and for a mean of paired differences.

The prompts are the sample: the intervals say what would change with other prompts of the same kind. They hold
the noise of a finite number of rollouts too, because it is part of the spread between prompts. They do not
hold the spread between training seeds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from advshape.errors import AdvshapeError

Floats = NDArray[np.float64]

__all__ = ["Interval", "difference_interval", "mean_interval", "t_quantile"]


class Interval(NamedTuple):
    """A mean over prompts with both ends of its interval; each of shape (K,)."""

    mean: Floats
    low: Floats
    high: Floats


def mean_interval(values: Floats, confidence: float = 0.95, clusters: NDArray[np.int64] | None = None) -> Interval:
    """Wilson's interval with the effective sample size of the between-prompt variance.

    With mean m and variance s^2 of the mean, m (1 - m) / s^2 independent 0/1 prompts would be as uncertain;
    Wilson's score interval for that many holds where all or no prompts are solved, where Student's t does not.
    Near the boundary (fewer than about four prompts' worth of successes or failures) s^2 is itself not known,
    and the effective size is capped at the number of prompts.

    Args:
        values: (M, K), each column one quantity in [0, 1], each row one prompt.
        confidence: nominal coverage, in (0, 1).
        clusters: (M,) integer labels of related prompts; None: all prompts are independent.

    Source: Wilson 1927; effective size as in Korn & Graubard 1998 for surveys; coverage: docs/evaluation.md.

    >>> mean_interval(np.zeros((10, 1))).high.round(2)
    array([0.34])
    """
    check_confidence(confidence)
    mean, error, units = _mean_and_error(values, clusters)
    q = t_quantile(confidence, units - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.where(error > 0, mean * (1 - mean) / error**2, np.inf)
    near = units * np.minimum(mean, 1 - mean) < q**2
    size = np.where(near, np.minimum(size, units), size)
    shrink = 1 / (1 + q**2 / size)
    centre = (mean + q**2 / (2 * size)) * shrink
    half = q * shrink * np.sqrt(mean * (1 - mean) / size + q**2 / (4 * size**2))
    # Rounding can leave -1e-17; at 0 and 1 the interval has to hold the mean.
    low = np.where(mean == 0, 0.0, np.clip(centre - half, 0, mean))
    high = np.where(mean == 1, 1.0, np.clip(centre + half, mean, 1))
    return Interval(mean, low, high)


def difference_interval(
    differences: Floats, confidence: float = 0.95, clusters: NDArray[np.int64] | None = None
) -> Interval:
    """Student's t for paired differences with one pseudo-pair more on each side.

    The two pseudo-prompts differ by plus and minus the largest difference seen (1 where all are 0), half
    weight each: without them the interval has no width when no prompt changed, and is too short when few did.

    Args:
        differences: (M, K), each in [-1, 1], second evaluation minus first.
        confidence: nominal coverage, in (0, 1).
        clusters: (M,) integer labels of related prompts; None: all prompts are independent.

    Source: the idea is Agresti & Min 2005, for paired 0/1 outcomes.

    >>> difference_interval(np.zeros((10, 1))).high.round(2)
    array([0.23])
    """
    check_confidence(confidence)
    mean, error, units = _mean_and_error(differences, clusters)
    largest = np.abs(differences).max(axis=0)
    largest = np.where(largest > 0, largest, 1.0)
    half = t_quantile(confidence, units - 1) * np.sqrt(error**2 + (largest / units) ** 2)
    return Interval(mean, np.maximum(mean - half, -1), np.minimum(mean + half, 1))


def t_quantile(confidence: float, freedom: int) -> float:
    """Two-sided Student quantile: P(|T| <= q) = confidence.

    >>> round(t_quantile(.95, 9), 3)
    2.262
    """
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + confidence) / 2))


def check_confidence(confidence: float) -> None:
    """Raise unless 0 < confidence < 1."""
    if not 0 < confidence < 1:
        raise AdvshapeError(f"confidence must lie between 0 and 1, got {confidence}; 0.95 is usual")


def _mean_and_error(values: Floats, clusters: NDArray[np.int64] | None) -> tuple[Floats, Floats, int]:
    """Mean, its standard error, and the number of independent units (prompts or clusters)."""
    prompts = len(values)
    mean = values.mean(axis=0)
    deviations = values - mean
    if clusters is not None:
        labels, rows = np.unique(clusters, return_inverse=True)
        summed = np.zeros((len(labels), values.shape[1]))
        np.add.at(summed, rows, deviations)
        deviations = summed
    units = len(deviations)
    if units < 2:
        raise AdvshapeError(f"an interval over prompts needs at least 2 of them (or 2 clusters), got {units}")
    error = np.sqrt((deviations**2).sum(axis=0) * units / (units - 1)) / prompts
    return mean, error, units
