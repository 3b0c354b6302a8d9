"""How many prompts and rollouts a paired comparison needs, and what more rollouts can and cannot buy.

The difference of pass@k at one prompt, as measured with n rollouts of each model, has variance

    V + W_1(n) + W_2(n):

V is the spread of the true differences between prompts, W the noise of n rollouts, averaged over prompts. More
rollouts reduce W and leave V; the mean over M prompts has variance (V + W_1(n) + W_2(n)) / M. So however many
rollouts there are, about V (q / difference)^2 prompts are needed: the floor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from advshape.errors import AdvshapeError
from advshape.evaluation.stats.extrapolate import RateModel
from advshape.evaluation.stats.power import Alternative, SimulatedPower, alternative, shifted
from advshape.evaluation.stats.power import power as normal_power

__all__ = ["Plan", "PlanRow", "make_plan"]

FEW = 1000
"""Prompts up to which power is simulated; the noncentral t distribution is good enough for more."""
LARGEST = 10_000_000
"""Prompts beyond which a plan is given up."""


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
        return shifted(pairs, shift).gain(k) - difference

    if missing(-40) > 0 or missing(40) < 0:
        now = float(rates.pass_at([k])[0])
        raise AdvshapeError(
            f"pass@{k} is {now:.3f} for these success rates; it cannot change by {difference:+g}"
            + (f", since {rates.never:.0%} of the prompts are never solved" if rates.never > 0.005 else "")
        )
    shift = float(brentq(missing, -40, 40))
    pairs = shifted(pairs, shift)
    floor = pairs.between(k)
    needed = _noncentrality(power, level)
    rows = []
    for n, variance in [*((n, floor + pairs.within(n, k)) for n in sizes), (None, floor)]:
        sd = float(np.sqrt(variance))
        detectable = None if given is None else needed * sd / given**0.5
        rows.append(PlanRow(n, sd, _prompts(pairs, n, k, abs(difference) / sd, power, level), detectable))
    return Plan(rates, difference, k, shift, spread, power, level, given, tuple(rows))


def _noncentrality(power: float, level: float) -> float:
    """Difference, in standard errors, that a test over many prompts finds with this power."""
    from scipy.special import ndtri

    return float(ndtri(1 - level / 2) + ndtri(power))


def _prompts(pairs: Alternative, n: int | None, k: int, effect: float, target: float, level: float) -> int | None:
    """Fewest prompts with at least this power; None beyond ten million."""
    found = _normal_prompts(effect, target, level)
    if found is None or found > FEW:
        return found
    most = found + found // 4 + 20
    tested = SimulatedPower(pairs, n, k, most, level)
    if tested.at(most) < target:
        return most
    low, high = 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if tested.at(middle) >= target else (middle, high)
    return high


def _normal_prompts(effect: float, target: float, level: float) -> int | None:
    """Fewest prompts by the noncentral t distribution."""
    low, high = 1, 2
    while normal_power(effect, high, level) < target:
        low, high = high, high * 2
        if high > LARGEST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if normal_power(effect, middle, level) >= target else (middle, high)
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
