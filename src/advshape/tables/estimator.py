"""Which table at which group size? A rule for any n, with the objective that it aims at, its paper and advice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np

from advshape.bernstein import FloatArray
from advshape.errors import AdvshapeError
from advshape.objectives.surrogate import Surrogate
from advshape.tables.prior import Beta
from advshape.tables.table import DEFAULT_PRIOR, AdvantageTable

__all__ = ["AdvantageEstimator"]


@dataclass(frozen=True, eq=False)
class AdvantageEstimator:
    """A rule for any group size: `table(n)` builds its AdvantageTable.

    name: how it is called; surrogate: the F it aims at (None: unknown); build: n -> table;
    smallest_n: the smallest group it allows; reference: paper and equation.
    draw: of a randomised rule, one random outcome: rewards (groups, n) of 0 and 1 and a generator -> advantages of the
    same shape. Its table then is the exact expectation over the draws, which has the same mean and less variance;
    None for every other rule.
    """

    name: str
    surrogate: Surrogate | None
    build: Callable[[int], AdvantageTable]
    smallest_n: int
    reference: str
    use: str = ""
    avoid: str = ""
    note: str = ""
    draw: Callable[[FloatArray, np.random.Generator], FloatArray] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "_cached", lru_cache(maxsize=64)(self.build))

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
        """'unbiased', 'unbiased up to a constant' or 'biased' towards its surrogate, computed from the table."""
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

    def scaled(self, convention: Literal["none", "rms"] | float, prior: Beta = DEFAULT_PRIOR) -> AdvantageEstimator:
        """The same estimator with every table scaled; see AdvantageTable.scaled."""
        if convention == "none":
            return self
        if isinstance(convention, str) and convention != "rms":
            raise AdvshapeError(f"unknown scale {convention!r}; use 'none', 'rms' or a number")
        smallest = max(2, self.smallest_n) if convention == "rms" else self.smallest_n
        label = f"{self.name} at unit rms" if convention == "rms" else f"{convention:g} * {self.name}"
        build, draw = self.build, self.draw

        def scaled_draw(rewards: FloatArray, rng: np.random.Generator) -> FloatArray:
            assert draw is not None
            return draw(rewards, rng) * build(rewards.shape[-1]).scale(convention, prior)

        return replace(
            self,
            name=label,
            build=lambda n: build(n).scaled(convention, prior),
            smallest_n=smallest,
            draw=None if draw is None else scaled_draw,
        )

    def with_baseline(self, prior: Beta) -> AdvantageEstimator:
        """The same objective with the posterior-mean baseline; see AdvantageTable.with_baseline. No longer random."""
        build, name = self.build, f"{self.name} with {prior!r} baseline"
        return replace(self, name=name, build=lambda n: build(n).with_baseline(prior), draw=None)
