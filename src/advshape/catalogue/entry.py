"""What every family shares: entries written as plain vector formulas of c and n."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from advshape.bernstein import FloatArray, choose_ratio
from advshape.errors import AdvshapeError
from advshape.objectives.surrogate import Surrogate
from advshape.tables.table import AdvantageEstimator, AdvantageTable

Formula = Callable[[FloatArray, int], FloatArray | float]

__all__ = ["NEGLIGIBLE", "by_counts", "by_rate", "fail_ratio", "number", "whole"]

NEGLIGIBLE = 1e-3
"""Largest epsilon in a denominator that a surrogate may leave out: F' is then off by epsilon / std or epsilon / rho."""


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
) -> AdvantageEstimator:
    """An entry given as A+(rho_hat), A-(rho_hat) in mixed groups; silent where c = 0 or c = n."""

    def build(n: int) -> AdvantageTable:
        rho = np.arange(1, n) / n
        return AdvantageTable(np.r_[0.0, positive(rho) + 0 * rho, 0.0], np.r_[0.0, negative(rho) + 0 * rho, 0.0])

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
