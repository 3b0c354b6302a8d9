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

__all__ = [
    "Interval",
    "difference_interval",
    "mean_interval",
    "simultaneous_confidence",
    "t_quantile",
    "unpaired_interval",
]

TINY = 1e-12  # below this m (1 - m) is rounding
NEAR = 4
"""Successes (or failures), in prompts, below which the between-prompt variance is not trusted."""
FEW = 10
"""Successes (or failures) below which Poisson's limit may take the place of Wilson's end."""

FEW_CLUSTERS = 0.8
"""Clusters unlike the others, in all, below which prompts of a cluster are taken to go together."""

FEW_CHANGES = 5
"""Gains and losses, in prompts, below which the variance of differences is not trusted."""
HALVINGS = 40
"""Of the range of a difference, in the search for the end of an interval."""


class Interval(NamedTuple):
    """A mean over prompts with both ends of its interval; each of shape (K,)."""

    mean: Floats
    low: Floats
    high: Floats


def mean_interval(
    values: Floats,
    confidence: float = 0.95,
    clusters: NDArray[np.int64] | None = None,
    tail: float | None = None,
) -> Interval:
    """Wilson's interval with the effective sample size of the between-prompt variance, mended at the ends.

    With mean m and standard error s, N = m (1 - m) / s^2 independent 0/1 prompts would be as uncertain. Each
    end solves Wilson's equation |m - p| = q sqrt(p (1 - p) / N) with Student's quantile q, with two changes
    near 0 (and, mirrored, near 1), where few prompts carry the mean and s itself is hardly known:

    - the end away from 0 takes N no larger than the number of prompts when they solved fewer than 4 (of
      clustered prompts only as many as would be independent, and near 0 only the clusters);
    - the end towards 0 is no higher than Poisson's limit for m N successes when these are fewer than 10; its
      level is 5/4 of 1 - confidence up to 4 successes, where the other end cannot fail.

    Args:
        values: (M, K), each column one quantity in [0, 1], each row one prompt.
        confidence: nominal coverage, in (0, 1).
        clusters: (M,) integer labels of related prompts; None: all prompts are independent.
        tail: level of the limit for few successes; None: 1 - confidence.

    Source: Wilson 1927; the effective size as Korn & Graubard 1998 use it for surveys; the limit for few
    successes is Brown, Cai & DasGupta 2001, section 4.1.2. Coverage, measured: docs/evaluation.md.

    >>> mean_interval(np.zeros((10, 1))).high.round(2)
    array([0.34])
    """
    check_confidence(confidence)
    mean, error, units = _mean_and_error(values, clusters)
    alone = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    with np.errstate(divide="ignore", invalid="ignore"):
        prompts = np.where(error > 0, len(values) * alone**2 / error**2, units)
    prompts = np.clip(prompts, units, len(values))
    # Whether prompts of a cluster go together shows only where some clusters are unlike the others.
    unlike = units * np.minimum(mean, 1 - mean)
    prompts = units * (prompts / units) ** np.minimum(unlike / FEW_CLUSTERS, 1)
    q, level = t_quantile(confidence, units - 1), 1 - confidence if tail is None else tail
    low = _lower_end(mean, error, prompts, q, level)
    high = 1 - _lower_end(1 - mean, error, prompts, q, level)
    return Interval(mean, np.minimum(low, mean), np.maximum(high, mean))


def _lower_end(mean: Floats, error: Floats, prompts: Floats, q: float, tail: float) -> Floats:
    """Lower end of the interval; the upper end is the same for 1 - mean, seen from above."""
    from scipy.special import gammaincinv

    spread = mean * (1 - mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.where((error > 0) & (spread > TINY), spread / error**2, prompts)
    near_one = prompts * (1 - mean) < NEAR
    size = np.where(near_one, np.minimum(size, prompts), size)
    shrink = 1 / (1 + q**2 / size)
    half = q * np.sqrt(spread / size + q**2 / (4 * size**2))
    low = (mean + q**2 / (2 * size) - half) * shrink
    successes = mean * size
    alone = np.clip(5 - successes, 0, 1)  # the other end cannot fail there, so this one may fail more often
    poisson = gammaincinv(np.maximum(successes, 1e-9), tail * (1 + alone / 4)) / size
    low = np.where(successes < FEW, np.minimum(low, poisson), low)
    return np.where(mean > 0, np.maximum(low, 0), 0)


def simultaneous_confidence(
    values: Floats, confidence: float = 0.95, clusters: NDArray[np.int64] | None = None, seed: int = 0
) -> float:
    """The pointwise confidence at which the intervals of all columns hold together with `confidence`.

    The columns of a pass@k curve are strongly correlated, so this is far below Bonferroni's level. The largest
    of K correlated normal deviates is simulated, with the correlations of the columns.

    Args:
        values: (M, K), as for `mean_interval`.
        confidence: nominal coverage of the whole curve.
        clusters: (M,) integer labels of related prompts.
        seed: of the simulation (20,000 draws).

    >>> same = np.repeat(np.arange(10)[:, None] / 10, 3, axis=1)
    >>> round(simultaneous_confidence(same, 0.95), 2)
    0.95
    """
    from scipy.special import ndtr

    check_confidence(confidence)
    deviations = _deviations(values, clusters)
    spread = np.sqrt((deviations**2).sum(axis=0))
    unit = deviations[:, spread > 0] / spread[spread > 0]
    if unit.shape[1] == 0:
        return confidence
    weights, vectors = np.linalg.eigh(unit.T @ unit)
    root = vectors * np.sqrt(np.maximum(weights, 0))
    draws = np.random.default_rng(seed).standard_normal((20_000, unit.shape[1])) @ root.T
    largest = np.quantile(np.abs(draws).max(axis=1), confidence)
    return max(confidence, float(2 * ndtr(largest) - 1))


def difference_interval(
    differences: Floats, confidence: float = 0.95, clusters: NDArray[np.int64] | None = None
) -> Interval:
    """Tango's score interval for paired differences, with the effective sample size of their variance.

    With a and b the means of the positive and of the negative parts (both >= 0), m = a - b and standard error s,
    N = (a + b - m^2) / s^2 pairs of 0/1 outcomes would be as uncertain. Each end solves the score equation
    |m - x| = q sqrt(V(x) / N) with Student's quantile q; V(x) is the variance at the difference x of 0/1 pairs whose
    share of losses is most likely given x. Where the changes, gains and losses, amount to fewer than 5 prompts (or
    clusters) in all, s is hardly known, and N is no larger than their number.

    The interval has a width where no prompt changed, and is not symmetric: it is longer towards larger differences.

    Args:
        differences: (M, K), each in [-1, 1], second evaluation minus first.
        confidence: nominal coverage, in (0, 1).
        clusters: (M,) integer labels of related prompts; None: all prompts are independent.

    Source: Tango 1998 for 0/1 pairs; the effective size as in `mean_interval`. Coverage, measured: docs/evaluation.md.

    >>> difference_interval(np.zeros((10, 1))).high.round(2)
    array([0.34])
    """
    check_confidence(confidence)
    mean, error, units = _mean_and_error(differences, clusters)
    gain, loss = (np.maximum(part, 0).mean(axis=0) for part in (differences, -differences))
    spread = gain + loss - mean**2
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.where((error > 0) & (spread > TINY), spread / error**2, units)
    size = np.where(units * (gain + loss) < FEW_CHANGES, np.minimum(size, units), size)
    q = t_quantile(confidence, units - 1)
    return Interval(mean, -_score_end(loss, gain, size, q), _score_end(gain, loss, size, q))


def _score_end(gain: Floats, loss: Floats, size: Floats, q: float) -> Floats:
    """Upper end of the score interval, by bisection; the lower end is that of the reverse difference."""
    mean = gain - loss
    low, high = mean, np.ones_like(mean)
    for _ in range(HALVINGS):
        x = (low + high) / 2
        inside = size * (x - mean) ** 2 <= q**2 * _score_variance(gain, loss, x)
        low, high = np.where(inside, x, low), np.where(inside, high, x)
    return high


def _score_variance(gain: Floats, loss: Floats, x: Floats) -> Floats:
    """Variance of a 0/1 pair at the difference x, from the most likely share of losses (Tango 1998, equation 5)."""
    b = (2 - gain + loss) * x - gain - loss
    losses = (np.sqrt(np.maximum(b**2 + 8 * loss * x * (1 - x), 0)) - b) / 4
    return np.maximum(2 * losses + x * (1 - x), 0)


def unpaired_interval(first: Interval, second: Interval) -> Interval:
    """Interval for the difference of two independent means, second minus first, from their own intervals.

    Newcombe 1998 (method 10): the distances of both means to their ends add in squares.

    >>> one = Interval(np.array([0.4]), np.array([0.2]), np.array([0.6]))
    >>> unpaired_interval(one, one).low.round(3)
    array([-0.283])
    """
    mean = second.mean - first.mean
    below = np.hypot(second.mean - second.low, first.high - first.mean)
    above = np.hypot(second.high - second.mean, first.mean - first.low)
    return Interval(mean, np.maximum(mean - below, -1), np.minimum(mean + above, 1))


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


def cluster_sums(values: Floats, clusters: NDArray[np.int64]) -> Floats:
    """Sums of the rows (M, K) of each cluster, (C, K), in the order of the sorted labels.

    >>> cluster_sums(np.array([[1.0], [2.0], [4.0]]), np.array([7, 3, 7]))
    array([[2.], [5.]])
    """
    labels, rows = np.unique(clusters, return_inverse=True)
    summed = np.zeros((len(labels), values.shape[1]))
    np.add.at(summed, rows, values)
    return summed


def _mean_and_error(values: Floats, clusters: NDArray[np.int64] | None) -> tuple[Floats, Floats, int]:
    """Mean, its standard error, and the number of independent units (prompts or clusters)."""
    deviations = _deviations(values, clusters)
    units = len(deviations)
    if units < 2:
        raise AdvshapeError(f"an interval over prompts needs at least 2 of them (or 2 clusters), got {units}")
    error = np.sqrt((deviations**2).sum(axis=0) * units / (units - 1)) / len(values)
    return values.mean(axis=0), error, units


def _deviations(values: Floats, clusters: NDArray[np.int64] | None) -> Floats:
    """Deviations from the mean, (M, K); summed within clusters, (C, K)."""
    deviations: Floats = values - values.mean(axis=0)
    return deviations if clusters is None else cluster_sums(deviations, clusters)
