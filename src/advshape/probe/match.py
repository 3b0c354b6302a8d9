"""A table compared with an entry of the catalogue: the factor between them and what is left."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from advshape.bernstein import FloatArray
from advshape.catalogue import estimator
from advshape.objectives.surrogate import Sum, Surrogate, terms
from advshape.tables.table import AdvantageTable

__all__ = ["Match", "compared", "flat", "tidy"]


@dataclass(frozen=True)
class Match:
    """An entry of the catalogue that a table equals, or comes nearest to.

    name: spec for `adv.estimator`; factor: table = factor * entry, negative where the sign is wrong; error:
    largest difference over the largest entry;
    exact: within the precision of the numbers; same: "table", or "weights" (one objective, another baseline);
    also: other names of the same table.
    """

    name: str
    factor: float
    error: float
    exact: bool
    same: str = "table"
    also: tuple[str, ...] = ()

    @property
    def surrogate(self) -> Surrogate | None:
        """factor times the entry's surrogate; None where the match is not exact, the entry has none, or entries with
        different surrogates share this table (at n = 2 many do)."""
        aim = estimator(self.name).surrogate if self.exact else None
        if aim is None or not all(_agree(aim, estimator(name).surrogate) for name in self.also):
            return None
        if self.factor == 1:
            return aim
        return Sum(tuple((self.factor * w, f) for w, f in terms(aim)))

    def __str__(self) -> str:
        factor = f"{self.factor:.4g}"
        name = self.name if self.exact else _LONG.sub(lambda found: f"{float(found[0]):.4g}", self.name)
        named = name if factor == "1" else f"{name} x {factor}"
        if self.factor < 0:
            named = f"{factor} x {name}"
        others = [name for name in self.also if not name.endswith("=1)")]
        also = f" (the same table as {', '.join(others[:3])}{', ...' if len(others) > 3 else ''})" if others else ""
        if not self.exact:
            return f"no entry; nearest is {named}, off by {self.error:.1%} of the largest advantage"
        if self.same == "weights":
            return f"{named} in its weights: the same objective with another baseline"
        return f"{named}{also}"


_LONG = re.compile(r"-?\d+\.\d+(?:e[-+]?\d+)?")


def _agree(a: Surrogate, b: Surrogate | None) -> bool:
    rho = np.linspace(0.05, 0.95, 19)
    if b is None:
        return False
    slopes = a.derivative(rho), b.derivative(rho)
    return bool(np.allclose(slopes[0] * slopes[1].mean(), slopes[1] * slopes[0].mean(), rtol=1e-6))


def flat(table: AdvantageTable, use: FloatArray) -> FloatArray:
    """Positive and negative entries in one row, 0 where they do not count."""
    return np.where(use, np.stack([table.positive, table.negative]), 0.0).ravel()


def compared(target: FloatArray, entry: FloatArray, name: str, exact: float, same: str = "table") -> Match | None:
    """The match of a flat table with an entry by least squares; None for a factor <= 0."""
    size = float(entry @ entry)
    factor = float(target @ entry) / size if size > 0 else 0.0
    if factor <= 0:
        return None
    error = float(np.abs(target - factor * entry).max() / np.abs(target).max())
    if abs(factor - 1) <= 10 * exact:
        factor = 1.0
    return Match(name, factor, error, error <= 10 * exact, same)


def tidy(value: float, exact: float) -> str:
    """The shortest number within the precision: 0.0001 rather than 0.00010000000002."""
    for digits in range(1, 12):
        if abs(float(f"{value:.{digits}g}") - value) <= exact * max(0.1, abs(value)):
            return f"{value:.{digits}g}"
    return repr(value)
