"""How many prompts and rollouts a paired comparison needs, and what more rollouts can and cannot buy.

The difference of pass@k at one prompt, as measured with n rollouts of each model, has variance

    V + W_1(n) + W_2(n):

V is the spread of the true differences between prompts, W the noise of n rollouts, averaged over prompts. More
rollouts reduce W and leave V; the mean over M prompts has variance (V + W_1(n) + W_2(n)) / M. So however many
rollouts there are, about V (q / difference)^2 prompts are needed: the floor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advshape.errors import AdvshapeError
from advshape.evaluation.curves import Counts
from advshape.evaluation.extrapolate import RateModel
from advshape.passk import pass_at_k

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

__all__ = ["Alternative", "Plan", "PlanRow", "alternative", "fit_change", "make_plan", "power"]

NODES = 300
"""Equally likely success rates that stand for a Beta distribution."""
NORMAL = 9
"""Gauss-Hermite nodes of the spread."""
LARGEST = 10_000_000
"""Prompts beyond which a plan is given up."""


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


@dataclass(frozen=True)
class PlanRow:
    """What is needed with n rollouts per prompt.

    Attributes:
        n: rollouts per prompt and model; None: without end, the floor.
        spread: standard deviation of the measured difference of one prompt.
        prompts: prompts needed; None where more than ten million are.
        detectable: the difference that `given` prompts would show with the asked power; None without `given`.
    """

    n: int | None
    spread: float
    prompts: int | None
    detectable: float | None

    @property
    def rollouts(self) -> int | None:
        """Rollouts per model."""
        return None if self.prompts is None or self.n is None else self.prompts * self.n


@dataclass(frozen=True)
class Plan:
    """Prompts and rollouts for a paired comparison at one registered k.

    Attributes:
        rates: success rates of the first model.
        difference, k: the change of pass@k that is to be found.
        shift, spread: mean and standard deviation, over prompts, of the change in log-odds that makes it.
        power, level: chance to find it, and chance to claim a change where there is none.
        given: number of prompts at hand, or None.
        rows: one for each n, the floor last.
    """

    rates: RateModel
    difference: float
    k: int
    shift: float
    spread: float
    power: float
    level: float
    given: int | None
    rows: tuple[PlanRow, ...] = field(default=())

    @property
    def cheapest(self) -> PlanRow | None:
        """The row with the fewest rollouts."""
        finite = [row for row in self.rows if row.rollouts is not None]
        return min(finite, key=lambda row: row.rollouts or 0, default=None)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        rows = [{**vars(row), "rollouts": row.rollouts} for row in self.rows]
        return {"kind": "plan", **vars(self), "rates": vars(self.rates), "rows": rows}


def make_plan(
    rates: RateModel,
    difference: float,
    k: int,
    *,
    ns: Sequence[int] | None = None,
    spread: float = 1.0,
    power: float = 0.8,
    level: float = 0.05,
    given: int | None = None,
) -> Plan:
    """Prompts that a paired comparison of pass@k needs, for several n.

    Args:
        rates: success rates under the first model, fitted or supposed.
        difference: true change of pass@k that is to be found; negative for a loss.
        k: the registered k.
        ns: rollouts per prompt; None: k, 2 k, 4 k ... 32 k.
        spread: how differently prompts change, standard deviation of the log-odds; see `fit_change`.
        power: chance to find it.
        level: of the two-sided test.
        given: prompts at hand.

    >>> plan = make_plan(RateModel(0.3, 0.6), 0.05, 8, ns=[8, 64])
    >>> [row.n for row in plan.rows], plan.rows[0].prompts > plan.rows[1].prompts > plan.rows[2].prompts
    ([8, 64, None], True)
    """
    from scipy.optimize import brentq

    _check(difference, k, power, level, spread)
    sizes = sorted(set(ns)) if ns is not None else [k * 2**i for i in range(6)]
    if not sizes or sizes[0] < k:
        raise AdvshapeError(f"pass@{k} needs n >= {k} rollouts per prompt, got {sizes}")
    pairs = alternative(rates, 0.0, spread)

    def missing(shift: float) -> float:
        return _shifted(pairs, shift).gain(k) - difference

    if missing(-40) > 0 or missing(40) < 0:
        now = float(rates.pass_at([k])[0])
        raise AdvshapeError(
            f"pass@{k} is {now:.3f} for these success rates; it cannot change by {difference:+g}"
            + (f", since {rates.never:.0%} of the prompts are never solved" if rates.never > 0.005 else "")
        )
    shift = float(brentq(missing, -40, 40))
    pairs = _shifted(pairs, shift)
    floor = pairs.between(k)
    needed = _noncentrality(power, level)
    rows = []
    for n, variance in [*((n, floor + pairs.within(n, k)) for n in sizes), (None, floor)]:
        sd = float(np.sqrt(variance))
        detectable = None if given is None else needed * sd / given**0.5
        rows.append(PlanRow(n, sd, _prompts(abs(difference) / sd, power, level), detectable))
    return Plan(rates, difference, k, shift, spread, power, level, given, tuple(rows))


def power(effect: float, prompts: int, level: float = 0.05) -> float:
    """Chance that a paired test over `prompts` finds a difference of `effect` standard deviations of one prompt.

    Noncentral t; the sign-flip test has the same power but for terms that vanish with the number of prompts.

    >>> round(power(0.2, 200), 2)
    0.8
    """
    from scipy.stats import nct, t

    q = t.ppf(1 - level / 2, prompts - 1)
    shift = abs(effect) * np.sqrt(prompts)
    return float(nct.sf(q, prompts - 1, shift) + nct.cdf(-q, prompts - 1, shift))


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


def _shifted(pairs: Alternative, shift: float) -> Alternative:
    """The same with all log-odds of the second model moved."""
    odds = np.exp(min(shift, 40.0))
    return replace(pairs, after=pairs.after * odds / (1 + pairs.after * (odds - 1)))


def _noncentrality(power: float, level: float) -> float:
    """Difference, in standard errors, that a test over many prompts finds with this power."""
    from scipy.special import ndtri

    return float(ndtri(1 - level / 2) + ndtri(power))


def _prompts(effect: float, target: float, level: float) -> int | None:
    """Fewest prompts, 2 or more, with at least this power; None beyond ten million."""
    low, high = 1, 2
    while power(effect, high, level) < target:
        low, high = high, high * 2
        if high > LARGEST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, middle, level) >= target else (middle, high)
    return high


def _check(difference: float, k: int, power: float, level: float, spread: float) -> None:
    if not 0 < abs(difference) < 1:
        raise AdvshapeError(f"a difference of pass@k lies between -1 and 1 and is not 0, got {difference:g}")
    if k < 1:
        raise AdvshapeError(f"k must be 1 or more, got {k}")
    if not (0 < level < 1 and level < power < 1):
        raise AdvshapeError(f"0 < level < power < 1 is needed, got level {level:g} and power {power:g}")
    if not 0 <= spread <= 10:
        raise AdvshapeError(f"the spread of the log-odds lies between 0 and 10, got {spread:g}; 1 is usual")
