"""Is this table known? The nearest entry of the catalogue, with its factor, epsilon and parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np

from advshape.bernstein import FloatArray
from advshape.catalogue import ENTRIES, estimator
from advshape.errors import AdvshapeError
from advshape.surrogate import Sum, Surrogate, terms
from advshape.table import AdvantageTable

__all__ = ["Match", "nearest", "nearest_weights"]

_FAVOURITES = ("reinforce", "rloo", "grpo", "skew_r", "pass_at_k", "rloo_k", "reinforce_k")  # of equals, named first
_FAMILIES = {  # entries with a continuous parameter, and the range that is searched
    "skew_r": ("strength", 0.0, 1.0),
    "weighted_reinforce": ("strength", -3.0, 3.0),
    "focal_grpo": ("gamma", 0.0, 8.0),
    "risk_sensitive": ("beta", -8.0, 8.0),
    "entropy_rloo": ("strength", -2.0, 4.0),
}


@dataclass(frozen=True)
class Match:
    """An entry of the catalogue that a table equals, or comes nearest to.

    name: spec for `adv.estimator`; factor: table = factor * entry; error: largest difference over the largest entry;
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
        times = "" if self.factor == 1 else f" x {self.factor:.4g}"
        others = [name for name in self.also if not name.endswith("=1)")]
        also = f" (the same table as {', '.join(others[:3])}{', ...' if len(others) > 3 else ''})" if others else ""
        if not self.exact:
            return f"no entry; nearest is {self.name}{times}, off by {self.error:.1%} of the largest advantage"
        if self.same == "weights":
            return f"{self.name}{times} in its weights: the same objective with another baseline"
        return f"{self.name}{times}{also}"


def nearest(table: AdvantageTable, known: FloatArray | None = None, tolerance: float = 1e-9) -> Match | None:
    """The catalogue entry that a table equals up to a positive factor, else the nearest one; None for a zero table.

    known: booleans (2, n + 1), which of positive and negative count (default all); tolerance: relative precision of the
    table's numbers. Tried in turn: every entry and every k, GRPO with ddof and epsilon, entries with a continuous
    parameter, then weights alone (same objective, another baseline).

    >>> print(nearest(estimator("grpo(ddof=1, epsilon=1e-4)").table(16)))
    grpo(ddof=1, epsilon=0.0001) (about grpo x 0.968)
    >>> print(nearest(estimator("rloo_k(k=3)").table(8).scaled(2.0)))
    rloo_k(k=3) x 2
    """
    n = table.n
    use = np.ones((2, n + 1), dtype=bool) if known is None else known
    target = _flat(table, use)
    if not np.any(target):
        return None
    exact = max(tolerance, 1e-9)
    found = [_compare(target, _flat(entry, use), name, exact) for name, entry in _entries(n)]
    matches = [m for m in found if m is not None]
    same = [m for m in matches if m.exact]
    if same:
        return _best(same)
    for match in chain(_grpo(table, use, exact), _families(target, n, use, exact), _beta_family(table, use, exact)):
        if match.exact:
            return match
        matches.append(match)
    if use[0, 1:].all() and use[1, :-1].all():
        same_weights = nearest_weights(table.weight, tolerance)
        if same_weights is not None:
            return same_weights
    return min(matches, key=lambda m: m.error, default=None)


def nearest_weights(weight: FloatArray, tolerance: float = 1e-9) -> Match | None:
    """The entry with these weights (n,) up to a positive factor: the same objective; None where there is none.

    >>> print(nearest_weights(np.full(8, 3.0)))
    reinforce x 3 in its weights: the same objective with another baseline
    """
    found = [
        _compare(weight, entry.weight, name, max(tolerance, 1e-9), "weights") for name, entry in _entries(len(weight))
    ]
    same = [m for m in found if m is not None and m.exact]
    return _best(same) if same else None


def _agree(a: Surrogate, b: Surrogate | None) -> bool:
    rho = np.linspace(0.05, 0.95, 19)
    if b is None:
        return False
    slopes = a.derivative(rho), b.derivative(rho)
    return bool(np.allclose(slopes[0] * slopes[1].mean(), slopes[1] * slopes[0].mean(), rtol=1e-6))


def _flat(table: AdvantageTable, use: FloatArray) -> FloatArray:
    return np.where(use, np.stack([table.positive, table.negative]), 0.0).ravel()


def _compare(target: FloatArray, entry: FloatArray, name: str, exact: float, same: str = "table") -> Match | None:
    size = float(entry @ entry)
    factor = float(target @ entry) / size if size > 0 else 0.0
    if factor <= 0:
        return None
    error = float(np.abs(target - factor * entry).max() / np.abs(target).max())
    if abs(factor - 1) <= 10 * exact:
        factor = 1.0
    return Match(name, factor, error, error <= 10 * exact, same)


def _best(same: list[Match]) -> Match:
    """Factor 1 first, then the names that everyone knows, then catalogue order."""
    order = sorted(same, key=lambda m: (m.factor != 1, "(" in m.name, m.name.partition("(")[0] not in _FAVOURITES))
    best = order[0]
    also = tuple(m.name for m in order[1:] if np.isclose(m.factor, best.factor, rtol=1e-6))
    return Match(best.name, best.factor, best.error, True, best.same, also)


@lru_cache(maxsize=8)
def _entries(n: int) -> tuple[tuple[str, AdvantageTable], ...]:
    found = []
    for spec in _specs(n):
        try:
            with np.errstate(all="ignore"):
                found.append((spec, estimator(spec).table(n)))
        except AdvshapeError:
            continue  # this k or this n does not exist for it
    return tuple(found)


def _specs(n: int) -> Iterator[str]:
    sizes = range(1, n + 1) if n <= 32 else sorted({*range(1, 17), *(2**i for i in range(5, 12)), n // 2, n - 1, n})
    for name, entry in ENTRIES.items():
        if "k" in inspect.signature(entry).parameters:
            yield from (f"{name}(k={k})" for k in sizes)
        else:
            yield name
    yield "grpo(ddof=1)"
    yield from (f"maxrl(order={order})" for order in sizes if order < n - 1)


def _grpo(table: AdvantageTable, use: FloatArray, exact: float) -> Iterator[Match]:
    """GRPO's denominator, read off as (r - mean) / A = factor' * std + epsilon', a line in the standard deviation."""
    n = table.n
    c = np.arange(1, n)
    with np.errstate(all="ignore"):
        right, wrong = (1 - c / n) / table.positive[1:n], (-c / n) / table.negative[1:n]
    below = np.concatenate([right[use[0, 1:n]], wrong[use[1, 1:n]]])
    rate = np.concatenate([c[use[0, 1:n]], c[use[1, 1:n]]]) / n
    if len(below) == 0 or not np.all(np.isfinite(below) & (below > 0)):
        return
    std = np.sqrt(rate * (1 - rate))
    if np.ptp(std) > 1e-9:
        line = np.linalg.lstsq(np.stack([std, np.ones_like(std)], 1), below, rcond=None)[0]
        guesses = [(float(line[0]), float(line[1]))]
    else:  # n = 2, 3: one standard deviation alone; try the epsilons in use
        slopes = (1.0, np.sqrt(n / (n - 1)))
        guesses = [(s, e) for s in slopes for e in (1e-4, 1e-5, 1e-6, 1e-8)]
    for slope, epsilon in guesses:
        if slope <= 0:
            continue
        ddof = 1 if abs(slope - np.sqrt(n / (n - 1))) < max(1e-7, 100 * exact) else 0
        factor = 1 / slope * (np.sqrt(n / (n - 1)) if ddof else 1.0)
        fitted = max(epsilon * factor, 0.0)
        for shown in (f"{fitted:.1g}", _tidy(fitted, exact)):  # float32 blurs an epsilon of 0.0001
            spec = f"grpo(ddof={ddof}, epsilon={shown})"
            match = _compare(_flat(table, use), _flat(estimator(spec).table(n), use), spec, exact)
            if match is not None:
                yield _Bessel(**vars(match), n=n) if ddof else match


@dataclass(frozen=True)
class _Bessel(Match):
    n: int = 2

    def __str__(self) -> str:
        return f"{super().__str__()} (about grpo x {self.factor * np.sqrt(1 - 1 / self.n):.3g})"


def _tidy(value: float, exact: float) -> str:
    """The shortest number within the precision: 0.0001 rather than 0.00010000000002."""
    for digits in range(1, 12):
        if abs(float(f"{value:.{digits}g}") - value) <= exact * max(0.1, abs(value)):
            return f"{value:.{digits}g}"
    return repr(value)


def _beta_family(table: AdvantageTable, use: FloatArray, exact: float) -> Iterator[Match]:
    """log(A+(c) - A-(c)) = (a-1) log rho + (b-1) log(1-rho) + const in plug-in tables."""
    n = table.n
    gap, both = (table.positive - table.negative)[1:n], (use[0] & use[1])[1:n]
    if n < 4 or not both.all() or not np.all(gap > 0):
        return
    rho = np.arange(1, n) / n
    design = np.stack([np.log(rho), np.log1p(-rho), np.ones(n - 1)], 1)
    a, b, _ = np.linalg.lstsq(design, np.log(gap), rcond=None)[0] + [1, 1, 0]
    if a > 0 and b > 0:
        spec = f"beta_family(a={_tidy(float(a), exact)}, b={_tidy(float(b), exact)})"
        match = _compare(_flat(table, use), _flat(estimator(spec).table(n), use), spec, exact)
        if match is not None:
            yield match


def _families(target: FloatArray, n: int, use: FloatArray, exact: float) -> Iterator[Match]:
    """Entries with one continuous parameter: a coarse scan, then a bounded search around its best point."""
    from scipy.optimize import minimize_scalar

    for name, (key, low, high) in _FAMILIES.items():

        def at(value: float, name: str = name, key: str = key) -> Match | None:
            spec = f"{name}({key}={float(value)!r})"
            try:
                return _compare(target, _flat(estimator(spec).table(n), use), spec, exact)
            except AdvshapeError:
                return None

        def loss(value: float, at: Callable[[float], Match | None] = at) -> float:
            match = at(value)
            return 1e9 if match is None else match.error

        grid = np.linspace(low, high, 33).tolist()
        start = min(grid, key=loss)
        step = grid[1] - grid[0]
        around = (max(low, start - step), min(high, start + step))
        found = minimize_scalar(loss, bounds=around, method="bounded", options={"xatol": 1e-10})
        for value in (start, float(_tidy(float(found.x), 1e-7)), float(found.x)):
            match = at(value)
            if match is not None and match.exact:
                break
        if match is not None:
            yield match
