"""Which table at which group size? A rule for any n, with the objective that it aims at, its paper and advice."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np

from advshape.bernstein import FloatArray
from advshape.errors import AdvshapeError
from advshape.objectives.surrogate import Sum, Surrogate, spell, terms
from advshape.tables.prior import Beta
from advshape.tables.table import DEFAULT_PRIOR, AdvantageTable

__all__ = ["AdvantageEstimator"]

Draw = Callable[[FloatArray, np.random.Generator], FloatArray]
UNIT_RMS = " at unit rms"


@dataclass(frozen=True, eq=False)
class AdvantageEstimator:
    """A rule for any group size: `table(n)` builds its AdvantageTable.

    name: how it is called; surrogate: the F it aims at (None: unknown); build: n -> table;
    smallest_n: the smallest group it allows; reference: paper and equation.
    draw: of a randomised rule, one random outcome: rewards (groups, n) of 0 and 1 and a generator -> advantages of the
    same shape. Its table then is the exact expectation over the draws, which has the same mean and less variance;
    None for every other rule.
    unscaled: of a rule at unit rms, the rule in its own units and the prior; see `in_group`.
    parts: of a sum, its (weight, estimator) pairs.

    Estimators add and take factors, since tables do: E[g] is linear in the advantages.

    >>> from advshape.catalogue import estimator
    >>> 0.7 * estimator("grpo") + 0.3 * estimator("nsr")
    AdvantageEstimator(0.7 * grpo + 0.3 * nsr)
    """

    name: str
    surrogate: Surrogate | None
    build: Callable[[int], AdvantageTable]
    smallest_n: int
    reference: str
    use: str = ""
    avoid: str = ""
    note: str = ""
    draw: Draw | None = None
    unscaled: tuple[AdvantageEstimator, Beta] | None = None
    parts: tuple[tuple[float, AdvantageEstimator], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "_cached", lru_cache(maxsize=64)(self.build))
        object.__setattr__(self, "_in_group", lru_cache(maxsize=64)(self._rescaled))

    def __repr__(self) -> str:
        return f"AdvantageEstimator({self.name})"

    def table(self, n: int) -> AdvantageTable:
        """The table at group size n; raises AdvshapeError below `smallest_n`."""
        if not isinstance(n, int | np.integer) or isinstance(n, bool) or n < self.smallest_n:
            hint = f" ({self.note})" if self.note else ""
            raise AdvshapeError(
                f"{self.name} needs n >= {self.smallest_n} rollouts per prompt, got n={n!r}{hint}; "
                "sample more rollouts or choose an estimator that allows smaller groups"
            )
        return self._cached(int(n))  # type: ignore[attr-defined]

    @property
    def kind(self) -> str:
        """'unbiased', 'unbiased up to a constant' or 'biased' towards its surrogate, computed from the table.

        Biased: the expected gradient is no constant times that of its `surrogate`. It still is that of F_n,
        `table(n).surrogate()`, exactly, for every rule.
        """
        if self.surrogate is None:
            return "unknown surrogate"
        rho = np.linspace(0.05, 0.95, 19)
        aim = self.surrogate.derivative(rho)
        if not aim.any():
            raise AdvshapeError("the objective does not depend on rho, so no rule can raise it; use rho in the formula")
        factors = []
        for n in (max(self.smallest_n, 3), max(self.smallest_n, 3) + 4):
            found = self.table(n).surrogate().derivative(rho)
            factors.append(float(found @ aim) / float(aim @ aim))
            if not np.allclose(found, factors[-1] * aim, rtol=0, atol=1e-9 * float(np.abs(aim).max())):
                return "biased"
        return "unbiased" if np.allclose(factors, 1, rtol=1e-9) else "unbiased up to a constant"

    @property
    def verdict(self) -> str:
        """`kind`, with the F against which it is meant.

        >>> from advshape.catalogue import estimator
        >>> estimator("grpo").verdict
        'biased against GRPO(), F = 2*arcsin(sqrt(rho))'
        """
        if self.surrogate is None:
            return "no surrogate for all n; table(n).surrogate() is exact for each"
        return f"{self.kind} {'against' if self.kind == 'biased' else 'for'} {spell(self.surrogate)}"

    def scaled(self, convention: Literal["none", "rms"] | float, prior: Beta = DEFAULT_PRIOR) -> AdvantageEstimator:
        """The same rule in other units: "rms", at unit `AdvantageTable.rms` under the prior; or times a number.

        One learning rate then suits every objective. The surrogate keeps its own units with "rms" and takes the factor
        of a number. `advantages` takes the factor of the largest group, rollouts that were not judged counted, for all
        of a call (`in_group`). It is made for 0/1 rewards; real ones give another rms, usually a smaller one.

        >>> from advshape.catalogue import estimator
        >>> round(estimator("pass_at_k(k=4)").scaled("rms").table(8).rms(), 12)
        1.0
        """
        if convention == "none":
            return self
        if not isinstance(convention, str):
            return self * convention
        if convention != "rms":
            raise AdvshapeError(f"unknown scale {convention!r}; use 'none', 'rms' or a number")
        if self.unscaled is not None and repr(self.unscaled[1]) == repr(prior):
            return self
        build, draw = self.build, self.draw

        def scaled_draw(rewards: FloatArray, rng: np.random.Generator) -> FloatArray:
            assert draw is not None
            return draw(rewards, rng) * build(rewards.shape[-1]).scale("rms", prior)

        return replace(
            self,
            name=f"{self.name}{UNIT_RMS}",
            build=lambda n: build(n).scaled("rms", prior),
            smallest_n=max(2, self.smallest_n),
            draw=None if draw is None else scaled_draw,
            unscaled=(self, prior),
            parts=(),
        )

    def in_group(self, n: int) -> AdvantageEstimator:
        """The rule in a batch whose largest group holds n rollouts: at unit rms, every group with the factor of n.

        With a factor of its own for each number of judged rollouts, prompts of one batch would weigh differently:
        pass_at_k(k=8) of 16 would count .72 times as much where 9 were judged. Other rules are returned as they are.

        >>> from advshape.catalogue import estimator
        >>> rule = estimator("pass_at_k(k=8)").scaled("rms")
        >>> (rule.table(9).weight[0] / rule.in_group(16).table(9).weight[0]).round(2)
        np.float64(0.72)
        """
        if self.unscaled is None and not any(rule.unscaled for _, rule in self.parts):
            return self
        return self._in_group(int(n))  # type: ignore[attr-defined]

    def _rescaled(self, n: int) -> AdvantageEstimator:
        if self.unscaled is None:
            return _sum(tuple((weight, rule.in_group(n)) for weight, rule in self.parts))
        rule, prior = self.unscaled
        if n < self.smallest_n:  # no table has a factor; the smaller groups that are judged have none either
            return self
        plain = rule * rule.table(n).scale("rms", prior)
        return replace(plain, name=self.name, surrogate=self.surrogate, smallest_n=self.smallest_n)

    def with_baseline(self, prior: Beta) -> AdvantageEstimator:
        """The same objective with the posterior-mean baseline; see AdvantageTable.with_baseline. No longer random."""
        build, name = self.build, f"{self.name} with {prior!r} baseline"
        return replace(
            self, name=name, build=lambda n: build(n).with_baseline(prior), draw=None, unscaled=None, parts=()
        )

    def __add__(self, other: AdvantageEstimator) -> AdvantageEstimator:
        if not isinstance(other, AdvantageEstimator):
            raise AdvshapeError(
                f"only estimators can be added to {self.name}, got {other!r}; advshape.estimator(...) makes one of a "
                "name, advshape.unbiased(...) of an objective"
            )
        return _sum((*_parts(self), *_parts(other)))

    def __mul__(self, factor: float) -> AdvantageEstimator:
        number = isinstance(factor, int | float | np.integer | np.floating) and not isinstance(factor, bool)
        if not number or not np.isfinite(factor):
            raise AdvshapeError(f"an estimator takes a finite number as its factor, got {factor!r}")
        return _sum(tuple((float(factor) * weight, rule) for weight, rule in _parts(self)))

    __rmul__ = __mul__

    def __sub__(self, other: AdvantageEstimator) -> AdvantageEstimator:
        return self + -1.0 * other

    def __neg__(self) -> AdvantageEstimator:
        return self * -1.0


Parts = tuple[tuple[float, AdvantageEstimator], ...]


def _parts(rule: AdvantageEstimator) -> Parts:
    return rule.parts or ((1.0, rule),)


def _sum(parts: Parts) -> AdvantageEstimator:
    """The weighted sum of tables, which maximises the weighted sum of what they maximise."""
    if len(parts) == 1 and parts[0][0] == 1:
        return parts[0][1]
    rules = [rule for _, rule in parts]
    aims = [(weight, rule.surrogate) for weight, rule in parts]
    surrogate = Sum(tuple((w * v, f) for w, aim in aims if aim is not None for v, f in terms(aim)))
    by_n = len(parts) > 1 and any(rule.unscaled for rule in rules)  # unit rms is another factor for each n

    def build(n: int) -> AdvantageTable:
        tables = [(weight, rule.table(n)) for weight, rule in parts]
        return AdvantageTable(
            np.sum([w * t.positive for w, t in tables], axis=0), np.sum([w * t.negative for w, t in tables], axis=0)
        )

    def draw(rewards: FloatArray, rng: np.random.Generator) -> FloatArray:
        return np.asarray(np.sum([weight * _drawn(rule, rewards, rng) for weight, rule in parts], axis=0))

    return AdvantageEstimator(
        name=_joined(parts),
        surrogate=None if by_n or any(aim is None for _, aim in aims) else surrogate,
        build=build,
        smallest_n=max(rule.smallest_n for rule in rules),
        reference="; ".join(dict.fromkeys(rule.reference for rule in rules)),
        use="to mix rules: the sum maximises the sum of what they maximise",
        avoid="with parts of unequal scale, unless each is brought to unit rms first",
        note="; ".join(dict.fromkeys(rule.note for rule in rules if rule.note)),
        draw=draw if any(rule.draw for rule in rules) else None,
        parts=parts,
    )


def _joined(parts: Parts) -> str:
    """A spec for `advshape.estimator`: 0.7 * grpo - 0.3 * nsr; parts that hold blanks stand in brackets."""
    shown = ""
    for weight, rule in parts:
        name = f"({rule.name})" if " " in re.sub(r"\([^()]*\)", "", rule.name) else rule.name
        size = name if abs(weight) == 1 else f"{abs(weight):.12g} * {name}"
        minus = weight < 0
        shown += f" {'-' if minus else '+'} {size}" if shown else f"{'-' if minus else ''}{size}"
    return shown


def _drawn(rule: AdvantageEstimator, rewards: FloatArray, rng: np.random.Generator) -> FloatArray:
    """One outcome of a rule, random or not: rewards (groups, n) of 0 and 1."""
    if rule.draw is not None:
        return rule.draw(rewards, rng)
    table, c = rule.table(rewards.shape[-1]), rewards.sum(-1, keepdims=True).astype(np.int64)
    return np.where(rewards == 1, table.positive[c], table.negative[c])
