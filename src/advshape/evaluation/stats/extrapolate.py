"""pass@k beyond the number of rollouts, by a MODEL of the success rates: with goodness of fit and an interval.

Nothing measured says what happens beyond n. A model fitted to the counts does, as far as it is true: the fit
can be tested where there are rollouts, not beyond.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from advshape.errors import AdvshapeError
from advshape.evaluation.stats.counts import Counts
from advshape.evaluation.stats.intervals import check_confidence
from advshape.tables.prior import fit_prior

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Model = Literal["beta-binomial", "zero-inflated beta-binomial"]

__all__ = ["MODELS", "Extrapolation", "RateModel", "extrapolate", "fit_rates"]

MODELS: tuple[Model, ...] = ("beta-binomial", "zero-inflated beta-binomial")

BINS = 10
BAD = 0.05
"""Goodness of fit below which the model is said not to fit."""


@dataclass(frozen=True)
class RateModel:
    """Success rates of prompts: a share `never` is 0, the others follow Beta(a, b).

    >>> RateModel(1.0, 1.0, 0.5).pass_at([1, 3])
    array([0.25 , 0.375])
    """

    a: float
    b: float
    never: float = 0.0

    def pass_at(self, ks: Sequence[int] | Integers) -> Floats:
        """Mean pass@k, (K,): (1 - never) (1 - B(a, b + k) / B(a, b))."""
        from scipy.special import betaln

        k = np.asarray(ks, dtype=np.float64)
        return np.asarray(-(1 - self.never) * np.expm1(betaln(self.a, self.b + k) - betaln(self.a, self.b)))

    def log_counts(self, correct: Integers, judged: Integers) -> Floats:
        """Log-probability of `correct` of `judged` right, elementwise, without the binomial coefficient."""
        from scipy.special import betaln

        beta = betaln(self.a + correct, self.b + judged - correct) - betaln(self.a, self.b)
        with np.errstate(divide="ignore"):
            zero = np.where(correct == 0, np.log(self.never), -np.inf)
        return np.asarray(np.logaddexp(np.log1p(-self.never) + beta, zero))

    def distribution(self, n: int) -> Floats:
        """P(c of n right), c = 0..n."""
        from advshape.bernstein import beta_binomial

        found: Floats = (1 - self.never) * beta_binomial(n, self.a, self.b)
        found[0] += self.never
        return found

    def draw(self, judged: Integers, rng: np.random.Generator) -> Integers:
        """Counts of new prompts with these numbers of rollouts, (M,)."""
        rates = rng.beta(self.a, self.b, len(judged)) * (rng.random(len(judged)) >= self.never)
        return rng.binomial(judged, rates)


@dataclass(frozen=True, eq=False)
class Extrapolation:
    """pass@k of a fitted model.

    Attributes:
        model: its name; show it with every number, and the word MODEL.
        rates: the fitted distribution of success rates.
        ks: (K,) attempts.
        values, low, high: (K,) mean pass@k of the model and its bootstrap interval over prompts, which holds
            for a true model only; NaN where no rollout, or every one, is right.
        measured: (K,) whether k is within the rollouts of every prompt, where an unbiased estimate exists.
        confidence: nominal coverage.
        fit: p-value of the goodness of fit (parametric bootstrap); small: the model is wrong already at n.
        n: fewest judged rollouts of a prompt.
    """

    model: Model
    rates: RateModel
    ks: Integers
    values: Floats
    low: Floats
    high: Floats
    measured: NDArray[np.bool_]
    confidence: float
    fit: float
    n: int

    @property
    def label(self) -> str:
        """For legends and tables."""
        return f"MODEL ({self.model})"

    @property
    def warning(self) -> str | None:
        """What has to be said beside the numbers where the model does not fit."""
        if np.isnan(self.low).any():
            return (
                f"all rollouts came out alike, so the {self.model} model says what was believed before them, without"
                " an interval: do not use it; sample more rollouts"
            )
        if self.fit >= BAD:
            return None
        return (
            f"the {self.model} model does not fit the counts (p = {self.fit:.3f}): do not use its pass@k beyond"
            f" {self.n}; sample more rollouts instead"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        arrays = {k: v.tolist() for k, v in vars(self).items() if isinstance(v, np.ndarray)}
        others = {"model": self.model, "confidence": self.confidence, "fit": self.fit, "n": self.n}
        rates = {"a": self.rates.a, "b": self.rates.b, "never": self.rates.never}
        return {**others, **arrays, "rates": rates, "label": self.label, "warning": self.warning}


def extrapolate(
    counts: Counts,
    ks: Sequence[int],
    model: Model = "beta-binomial",
    confidence: float = 0.95,
    replicates: int = 200,
    seed: int = 0,
) -> Extrapolation:
    """pass@k of a model fitted to the counts, also for k above the rollouts.

    The beta-binomial lets every prompt be solved in the end; the zero-inflated one has a share of prompts that
    never are. Counts alone hardly tell them apart, and beyond n they part: look at both.

    The goodness of fit compares the histogram of the counts' probability integral transforms (Czado, Gneiting
    & Held 2009) with uniform by chi-squared; its p-value comes from `replicates` data sets drawn from the fitted
    model and fitted again. The interval is the percentile bootstrap over prompts, fitted again each time.

    Args:
        counts: right and judged rollouts by prompt; numbers of rollouts may differ.
        ks: attempts, 1 or more.
        model: "beta-binomial" or "zero-inflated beta-binomial".
        confidence: nominal coverage of the interval.
        replicates: of both bootstraps.
        seed: of both.

    >>> counts = Counts.of(map(str, range(40)), [0] * 20 + [1, 2, 3, 4] * 5, [4] * 40)
    >>> found = extrapolate(counts, [1, 100], replicates=20)
    >>> found.label, found.measured
    ('MODEL (beta-binomial)', array([ True, False]))
    """
    check_confidence(confidence)
    chosen = np.array(list(ks), dtype=np.int64)
    if not chosen.size or (chosen < 1).any():
        raise AdvshapeError(f"k must be 1 or more, got {list(ks)}")
    if replicates < 1:
        raise AdvshapeError(f"a bootstrap needs at least 1 replicate, got {replicates}; 200 is usual")
    used = counts.select(counts.judged > 0)
    if used.prompts < 2:
        raise AdvshapeError(f"a model of success rates needs 2 judged prompts or more, got {used.prompts}")
    c, n = used.correct, used.judged
    rates = fit_rates(c, n, model)
    rng = np.random.default_rng(seed)
    resampled = [fit_rates(c[i], n[i], model, rates) for i in rng.integers(0, len(c), (replicates, len(c)))]
    tail = (1 - confidence) / 2
    low, high = np.quantile([fitted.pass_at(chosen) for fitted in resampled], [tail, 1 - tail], axis=0)
    values = rates.pass_at(chosen)
    fit = _goodness(rates, c, n, model, replicates, rng)
    ends = np.minimum(low, values), np.maximum(high, values)
    if c.sum() in (0, n.sum()):  # resampled prompts are all alike: no interval
        ends = np.full(len(chosen), np.nan), np.full(len(chosen), np.nan)
    return Extrapolation(model, rates, chosen, values, *ends, chosen <= used.n, confidence, fit, used.n)


def fit_rates(
    correct: Integers, judged: Integers, model: Model = "beta-binomial", start: RateModel | None = None
) -> RateModel:
    """The model fitted to counts by maximum likelihood: `fit_prior`, or its weak priors with a share never solved.

    The share of prompts that are never solved has a Beta(1, 2) prior, so that it stays below 1 and tends to 0
    where the counts do not ask for it.

    Args:
        correct, judged: (M,) counts.
        model: which one.
        start: where the zero-inflated model is looked for first, such as the fit to similar counts; None: two places
            far apart.
    """
    from scipy.optimize import minimize

    if model not in MODELS:
        raise AdvshapeError(f"no model {model!r}; use {' or '.join(map(repr, MODELS))}")
    if model == "beta-binomial":
        prior = fit_prior(correct, judged)
        return RateModel(float(np.asarray(prior.a)), float(np.asarray(prior.b)))
    kinds, times = np.unique(np.stack([correct, judged]), axis=1, return_counts=True)
    starts = _starts(correct, judged) if start is None else [_pack(start)]
    found = [
        minimize(_loss, first, (kinds[0], kinds[1], times), jac=True, method="L-BFGS-B", bounds=BOUNDS)
        for first in starts
    ]
    return _unpack(min(found, key=lambda result: result.fun).x)


BOUNDS = [(-14.0, 14.0), (-9.0, 12.0), (-14.0, 6.0)]
"""Of the logit of the mean, the log of a + b, and the logit of the share that is never solved."""


def _loss(theta: Floats, correct: Integers, judged: Integers, times: Integers) -> tuple[float, Floats]:
    """Negative log-posterior and its gradient."""
    from scipy.special import psi

    rates = _unpack(theta)
    a, b, never = rates.a, rates.b, rates.never
    mean, size = a / (a + b), a + b
    likelihood = rates.log_counts(correct, judged)
    loss = -float(times @ likelihood) - 0.5 * np.log(mean * (1 - mean)) - np.log1p(-never) + theta[1] ** 2 / 18
    chance = np.where(correct == 0, np.exp(np.log(never) - likelihood), 0.0)
    weight = times * (1 - chance)  # of the prompts of this kind that are not among the never solved
    common = psi(size) - psi(size + judged)
    by_a = weight @ (psi(a + correct) - psi(a) + common)
    by_b = weight @ (psi(b + judged - correct) - psi(b) + common)
    slope = [
        -size * mean * (1 - mean) * (by_a - by_b) - 0.5 * (1 - 2 * mean),
        -a * by_a - b * by_b + theta[1] / 9,
        -float(times @ (chance - never)) + never,
    ]
    return float(loss), np.array(slope)


def _unpack(theta: Floats) -> RateModel:
    mean, size = 1 / (1 + np.exp(-theta[0])), np.exp(theta[1])
    never = 1 / (1 + np.exp(-theta[2]))
    return RateModel(float(mean * size), float((1 - mean) * size), float(never))


def _pack(rates: RateModel) -> Floats:
    never = np.clip(rates.never, 1e-6, 0.99)
    return np.array([np.log(rates.a / rates.b), np.log(rates.a + rates.b), np.log(never / (1 - never))])


def _starts(correct: Integers, judged: Integers) -> list[Floats]:
    """One start without never-solved prompts and one in which most unsolved prompts are never solved."""
    starts = []
    for never in (0.01, 0.9 * float(np.mean(correct == 0)) + 0.005):
        mean = float(np.clip(correct.sum() / judged.sum() / (1 - never), 0.01, 0.99))
        starts.append(_pack(RateModel(mean, 1 - mean, never)))
    return starts


def _goodness(
    rates: RateModel, correct: Integers, judged: Integers, model: Model, replicates: int, rng: np.random.Generator
) -> float:
    """(1 + data sets of the model that fit worse) / (1 + replicates)."""
    observed = _misfit(rates, correct, judged)
    worse = 0
    for _ in range(replicates):
        drawn = rates.draw(judged, rng)
        worse += _misfit(fit_rates(drawn, judged, model, rates), drawn, judged) >= observed
    return (1 + worse) / (1 + replicates)


def _misfit(rates: RateModel, correct: Integers, judged: Integers) -> float:
    """Chi-squared of the histogram of probability integral transforms, in tenths."""
    edges = np.linspace(0, 1, BINS + 1)
    heights = np.zeros(BINS)
    for n in np.unique(judged):
        below = np.concatenate([[0.0], np.cumsum(rates.distribution(int(n)))])
        seen = np.bincount(correct[judged == n], minlength=int(n) + 1)
        start, width = below[:-1, None], np.maximum(np.diff(below), 1e-300)[:, None]
        heights += seen @ np.diff(np.clip((edges - start) / width, 0, 1), axis=1)
    expected = len(correct) / BINS
    return float(((heights - expected) ** 2).sum() / expected)
