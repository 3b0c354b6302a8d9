"""What every family shares: entries written as plain vector formulas of c and n."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from advshape.bernstein import FloatArray, choose_ratio
from advshape.errors import AdvshapeError
from advshape.objectives.surrogate import Surrogate
from advshape.tables.estimator import AdvantageEstimator
from advshape.tables.table import AdvantageTable

Formula = Callable[[FloatArray, int], FloatArray | float]

__all__ = ["GUARDS", "NEGLIGIBLE", "Divisor", "by_counts", "by_rate", "fail_ratio", "label", "number", "whole"]

NEGLIGIBLE = 1e-3
"""Largest epsilon in a denominator that a surrogate may leave out: F' is then off by epsilon / std or epsilon / rho."""

GUARDS = ("add", "max", "variance")


@dataclass(frozen=True)
class Divisor:
    """What trainers divide by: a standard deviation with `ddof`, kept away from 0 by `epsilon`.

    ddof: None where the rule has none; guard: "add" is std + epsilon, "max" is max(std, epsilon), "variance" is
    sqrt(std^2 + epsilon).

    >>> Divisor(ddof=1, epsilon=0.1)(np.array([0.5]), 2).round(4)
    array([0.8071])
    """

    ddof: int | None = 0
    epsilon: float = 0.0
    guard: str = "add"

    @classmethod
    def of(cls, name: str, ddof: int | None, epsilon: float, guard: str) -> Divisor:
        """Checked; raises AdvshapeError with the entry's name."""
        if ddof not in (None, 0, 1) or isinstance(ddof, bool):
            raise AdvshapeError(f"{name} needs ddof = 0 or 1 (Bessel's correction, as in torch.std), got {ddof!r}")
        if guard not in GUARDS:
            allowed = "add (std + epsilon), max (max(std, epsilon)) or variance (sqrt(std^2 + epsilon))"
            raise AdvshapeError(f"{name} needs guard = {allowed}, got {guard!r}")
        return cls(ddof, number(name, "epsilon", epsilon, 0.0), guard)

    def __call__(self, std: FloatArray, n: int) -> FloatArray:
        """Of the deviation `std` of n numbers, taken with ddof = 0."""
        std = std * np.sqrt(n / (n - (self.ddof or 0)))
        if self.guard == "max":
            return np.maximum(std, self.epsilon)
        return np.sqrt(std**2 + self.epsilon) if self.guard == "variance" else std + self.epsilon

    def limit(self, surrogate: Surrogate) -> Surrogate | None:
        """The surrogate as n grows: that without epsilon; None where epsilon is too large to be left out."""
        return surrogate if self.epsilon <= NEGLIGIBLE else None

    @property
    def shown(self) -> dict[str, float | str]:
        """The parameters that a name has to show."""
        ddof = {} if self.ddof is None or self.ddof == self.epsilon == 0 else {"ddof": self.ddof}
        epsilon = {"epsilon": self.epsilon} if self.epsilon else {}
        return ddof | epsilon | ({"guard": self.guard} if self.epsilon and self.guard != "add" else {})


def label(name: str, **parameters: float | str) -> str:
    """How an entry with these parameters is called: a spec for `estimator`.

    >>> label("grpo", ddof=1, epsilon=1e-4)
    'grpo(ddof=1, epsilon=0.0001)'
    """
    shown = ", ".join(f"{key}={v if isinstance(v, str) else format(v, '.12g')}" for key, v in parameters.items())
    return f"{name}({shown})" if shown else name


def by_counts(
    name: str,
    surrogate: Surrogate | None,
    positive: Formula,
    negative: Formula,
    *,
    smallest_n: int,
    reference: str,
    use: str,
    avoid: str,
    note: str = "",
) -> AdvantageEstimator:
    """An entry given as A+(c, n) for c = 1..n and A-(c, n) for c = 0..n-1."""

    def build(n: int) -> AdvantageTable:
        c = np.arange(n + 1, dtype=np.float64)
        return AdvantageTable(
            np.concatenate([[0.0], positive(c[1:], n) + np.zeros(n)]),
            np.concatenate([negative(c[:-1], n) + np.zeros(n), [0.0]]),
        )

    return AdvantageEstimator(name, surrogate, build, smallest_n, reference, use, avoid, note)


def by_rate(
    name: str,
    surrogate: Surrogate | None,
    positive: Callable[[FloatArray], FloatArray],
    negative: Callable[[FloatArray], FloatArray],
    *,
    smallest_n: int = 2,
    reference: str,
    use: str,
    avoid: str,
    divisor: Divisor | None = None,
    deviation: Callable[[FloatArray], FloatArray] = lambda rho: np.sqrt(rho * (1 - rho)),
) -> AdvantageEstimator:
    """An entry given as A+(rho_hat), A-(rho_hat) in mixed groups; silent where c = 0 or c = n.

    divisor: divides both by the guarded `deviation`, that of the 0/1 rewards if nothing else is said.
    """

    def build(n: int) -> AdvantageTable:
        rho = np.arange(1, n) / n
        under = divisor(deviation(rho), n) if divisor else np.ones_like(rho)
        return AdvantageTable(np.r_[0.0, positive(rho) / under, 0.0], np.r_[0.0, negative(rho) / under, 0.0])

    return AdvantageEstimator(name, surrogate, build, smallest_n, reference, use, avoid)


def fail_ratio(j: FloatArray, n: int, k: int) -> FloatArray:
    """f(j) = C(n-1-j, k-1) / C(n-1, k-1): all k - 1 companions wrong when j of the other n - 1 are right."""
    return choose_ratio(n - 1 - j.astype(np.int64), k - 1, n - 1, k - 1)


def whole(name: str, key: str, value: object) -> int:
    """A whole number >= 1, or a clear error."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
        raise AdvshapeError(f"{name} needs a whole number {key} >= 1, got {value!r}")
    return int(value)


def number(name: str, key: str, value: object, low: float = -np.inf, high: float = np.inf) -> float:
    """A finite number in [low, high], or a clear error."""
    good = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not good or not (low <= float(value) <= high) or not np.isfinite(float(value)):  # type: ignore[arg-type]
        raise AdvshapeError(f"{name} needs a finite number {key} in [{low}, {high}], got {value!r}")
    return float(value)  # type: ignore[arg-type]
