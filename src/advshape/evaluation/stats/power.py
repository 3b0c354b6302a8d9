"""Power of a paired comparison of pass@k: what is supposed to be true, and how often the sign-flip test finds it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from advshape.errors import AdvshapeError
from advshape.evaluation.stats.counts import Counts
from advshape.evaluation.stats.extrapolate import RateModel
from advshape.passk import pass_at_k

Floats = NDArray[np.float64]

__all__ = ["Alternative", "SimulatedPower", "alternative", "fit_change", "power", "shifted"]

NODES = 300
"""Equally likely success rates that stand for a Beta distribution."""
NORMAL = 9
"""Gauss-Hermite nodes of the spread."""
COMPARISONS = 4000
"""Simulated for each power up to 200 prompts (half as many beyond): a standard error of 0.6 points at 80 %."""
PATTERNS = 999
PARTS = 10


@dataclass(frozen=True, eq=False)
class Alternative:
    """What is supposed to be true: success rates of each prompt under both models, on weighted nodes.

    Attributes:
        before, after: (N,) success rates under the first and the second model.
        weight: (N,) probabilities, which sum to 1.
    """

    before: Floats
    after: Floats
    weight: Floats

    def gain(self, k: int) -> float:
        """Mean difference of pass@k."""
        return float(self.weight @ self._differences(k))

    def between(self, k: int) -> float:
        """V: variance between prompts of the true differences of pass@k."""
        own = self._differences(k)
        return float(self.weight @ (own - self.weight @ own) ** 2)

    def within(self, n: int, k: int) -> float:
        """W_1(n) + W_2(n): mean variance of pass@k as measured with n rollouts of each model."""
        from scipy.stats import binom

        c = np.arange(n + 1)
        value = pass_at_k(c, n, k)
        total = 0.0
        for rates in (self.before, self.after):
            chance = binom.pmf(c, n, rates[:, None])
            total += float(self.weight @ (chance @ value**2 - (chance @ value) ** 2))
        return total

    def _differences(self, k: int) -> Floats:
        return np.asarray((1 - self.before) ** k - (1 - self.after) ** k)

    def draw(self, n: int | None, k: int, shape: tuple[int, int], rng: np.random.Generator) -> Floats:
        """Differences of pass@k of simulated prompts as n rollouts measure them; n None: the true ones."""
        nodes = rng.choice(len(self.weight), p=self.weight, size=shape)
        if n is None:
            return self._differences(k)[nodes]
        value = pass_at_k(np.arange(n + 1), n, k)
        return value[rng.binomial(n, self.after[nodes])] - value[rng.binomial(n, self.before[nodes])]


def power(effect: float, prompts: int, level: float = 0.05) -> float:
    """Chance that a paired test over `prompts` finds a difference of `effect` standard deviations of one prompt.

    Noncentral t; right for many prompts, too low where a few large differences carry the mean: see `SimulatedPower`.

    >>> round(power(0.2, 200), 2)
    0.8
    """
    from scipy.stats import nct, t

    q = t.ppf(1 - level / 2, prompts - 1)
    shift = abs(effect) * np.sqrt(prompts)
    return float(nct.sf(q, prompts - 1, shift) + nct.cdf(-q, prompts - 1, shift))


class SimulatedPower:
    """Power of the sign-flip test at any number of prompts, from one set of simulated comparisons.

    Right also where few prompts carry the difference, unlike `power`. A tenth of the comparisons shares sign patterns.

    >>> tested = SimulatedPower(alternative(RateModel(1, 1), 1.0, 0.5), n=8, k=1, most=40)
    >>> tested.at(10) < tested.at(20) < tested.at(40) <= 1
    True
    """

    def __init__(
        self, pairs: Alternative, n: int | None, k: int, most: int, level: float = 0.05, seed: int = 0
    ) -> None:
        """`most`: largest number of prompts; n None: without end; `seed` of prompts, rollouts and signs."""
        rng = np.random.default_rng(seed)
        self.level = level
        repeats = COMPARISONS if most <= 200 else COMPARISONS // 2
        self.parts = [
            (pairs.draw(n, k, (repeats // PARTS, most), rng), rng.choice([-1.0, 1.0], (PATTERNS, most)))
            for _ in range(PARTS)
        ]

    def at(self, prompts: int) -> float:
        """Share of the comparisons whose first `prompts` prompts give a p-value of at most `level`."""
        return float(np.mean([self._found(d[:, :prompts], signs[:, :prompts]) for d, signs in self.parts]))

    def _found(self, d: Floats, signs: Floats) -> float:
        """The same for comparisons, (R, prompts), that share sign patterns, (patterns, prompts)."""
        observed, rounding = np.abs(d.sum(axis=1)), 1e-10 * np.abs(d).sum(axis=1)
        sums = np.abs(d @ signs.T)
        larger = (sums > (observed + rounding)[:, None]).sum(axis=1)
        hits = 0.5 * (larger + (sums >= (observed - rounding)[:, None]).sum(axis=1))
        return float(np.mean((0.5 + hits) / (1 + PATTERNS) <= self.level))


def alternative(rates: RateModel, shift: float, spread: float) -> Alternative:
    """Each prompt's log-odds change by shift + spread z, z normal; prompts that are never solved stay so."""
    from scipy.special import betainccinv, betaincinv, expit, roots_hermitenorm

    middle = (np.arange(NODES) + 0.5) / NODES
    rho, wrong = betaincinv(rates.a, rates.b, middle), betainccinv(rates.b, rates.a, middle)
    with np.errstate(divide="ignore"):
        odds = np.log(rho) - np.log(wrong)  # apart, so that rates near 1 keep their odds
    z, share = roots_hermitenorm(NORMAL) if spread > 0 else (np.zeros(1), np.ones(1))
    before = np.repeat(rho, len(z))
    after = expit((odds[:, None] + shift + spread * z).ravel())
    weight = np.tile(share / share.sum(), NODES) * (1 - rates.never) / NODES
    return Alternative(np.append(before, 0.0), np.append(after, 0.0), np.append(weight, rates.never))


def fit_change(first: Counts, second: Counts, rates: RateModel) -> tuple[float, float]:
    """(shift, spread) of the log-odds between two models on the same prompts, by maximum likelihood.

    Args:
        first, second: counts of the same prompts in the same order, all judged; for instance of a pilot study, or of
            two seeds of one recipe.
        rates: success rates fitted to the first.
    """
    from scipy.optimize import minimize
    from scipy.stats import binom

    if first.problems != second.problems:
        raise AdvshapeError("the two evaluations must have the same prompts, in the same order")
    ones, at_one = np.unique(np.stack([first.correct, first.judged]), axis=1, return_inverse=True)
    twos, at_two = np.unique(np.stack([second.correct, second.judged]), axis=1, return_inverse=True)
    known = alternative(rates, 0.0, 0.0)
    chance = binom.pmf(ones[0][:, None], ones[1][:, None], known.before) * known.weight

    def loss(theta: Floats) -> float:
        after = alternative(rates, float(theta[0]), float(np.exp(theta[1])))
        share = after.weight[:NORMAL] / after.weight[:NORMAL].sum()
        rho = np.append(after.after[:-1].reshape(NODES, NORMAL), np.zeros((1, NORMAL)), axis=0)
        seen = binom.pmf(twos[0][:, None, None], twos[1][:, None, None], rho) @ share
        table = np.log(np.maximum(chance @ seen.T, 1e-300))
        return -float(table[at_one, at_two].sum()) + float(theta[1]) ** 2 / 18

    found = minimize(loss, np.array([0.0, -0.5]), method="Nelder-Mead", options={"xatol": 1e-2, "fatol": 1e-2})
    return float(found.x[0]), float(np.exp(found.x[1]))


def shifted(pairs: Alternative, shift: float) -> Alternative:
    """The same with all log-odds of the second model moved."""
    odds = np.exp(min(shift, 40.0))
    return replace(pairs, after=pairs.after * odds / (1 + pairs.after * (odds - 1)))
