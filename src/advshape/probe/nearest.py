"""Is this table known? The nearest entry of the catalogue, with its factor, epsilon and parameters."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from advshape.bernstein import FloatArray
from advshape.catalogue import ENTRIES, estimator
from advshape.errors import AdvshapeError
from advshape.probe.fit import fitted
from advshape.probe.match import Match, compared, flat
from advshape.probe.mean import MeanAdvantages
from advshape.tables.table import AdvantageTable

__all__ = ["Match", "MeanMatch", "nearest", "nearest_mean", "nearest_weights"]

_FAVOURITES = ("reinforce", "rloo", "grpo", "skew_r", "pass_at_k", "rloo_k", "reinforce_k")  # of equals, named first
_FAR = 4.0  # standard errors: one of 32 advantages is further off by chance in 1 of 400 probes


def nearest(table: AdvantageTable, known: FloatArray | None = None, tolerance: float = 1e-9) -> Match | None:
    """The catalogue entry that a table equals up to a factor, else the nearest one; None for a zero table.

    known: booleans (2, n + 1), which of positive and negative count (default all); tolerance: relative precision of the
    table's numbers. Tried in turn: every entry and every k, entries with free parameters, then weights alone (same
    objective, another baseline); all that again with the sign turned, which gives a negative factor.

    >>> print(nearest(estimator("grpo(ddof=1, epsilon=1e-4)").table(16)))
    grpo(ddof=1, epsilon=0.0001) (about grpo x 0.968)
    >>> print(nearest(estimator("rloo_k(k=3)").table(8).scaled(2.0)))
    rloo_k(k=3) x 2
    >>> print(nearest(estimator("grpo").table(8).scaled(-1.0)))
    -1 x grpo (the same table as beta_family)
    """
    n = table.n
    use = np.ones((2, n + 1), dtype=bool) if known is None else known
    if not np.any(flat(table, use)):
        return None
    turned, found = AdvantageTable(-table.positive, -table.negative), list[Match]()
    for search in (_plain, _further):
        for sign, one in ((1.0, table), (-1.0, turned)):
            some = [replace(m, factor=sign * m.factor) for m in search(one, use, max(tolerance, 1e-9))]
            same = [m for m in some if m.exact]
            if same:
                return _best(same)
            found += some
    return min(found, key=lambda m: m.error, default=None)


def _plain(table: AdvantageTable, use: FloatArray, exact: float) -> list[Match]:
    """Every entry with every k."""
    found = [compared(flat(table, use), flat(entry, use), name, exact) for name, entry in _entries(table.n)]
    return [m for m in found if m is not None]


def _further(table: AdvantageTable, use: FloatArray, exact: float) -> list[Match]:
    """Entries with free parameters, with a second whole number, and those with the same weights."""
    found = list(fitted(table, use, exact))
    if not any(m.exact for m in found):
        found += [m for m in _counted(flat(table, use), table.n, use, exact) if m.exact]
    if use[0, 1:].all() and use[1, :-1].all() and not any(m.exact for m in found):
        same_weights = _nearest_weights(table.weight, exact)
        found += [same_weights] if same_weights is not None else []
    return found


def nearest_weights(weight: FloatArray, tolerance: float = 1e-9) -> Match | None:
    """The entry with these weights (n,) up to a factor: the same objective; None where there is none.

    >>> print(nearest_weights(np.full(8, 3.0)))
    reinforce x 3 in its weights: the same objective with another baseline
    """
    for sign in (1.0, -1.0):
        found = _nearest_weights(sign * weight, max(tolerance, 1e-9))
        if found is not None:
            return replace(found, factor=sign * found.factor)
    return None


def _nearest_weights(weight: FloatArray, exact: float) -> Match | None:
    found = [compared(weight, entry.weight, name, exact, "weights") for name, entry in _entries(len(weight))]
    same = [m for m in found if m is not None and m.exact]
    return _best(same) if same else None


def nearest_mean(mean: MeanAdvantages, n: int) -> MeanMatch | None:
    """The entry whose table is the mean of a random rule within 4 standard errors, up to a positive factor; random
    entries come first. None where there is none."""
    known = [(name, table) for name, table in (*_entries(n), *_tables(tuple(_second_numbers(n)), n))]
    drawn = [(name, table) for name, table in known if "k=1)" not in name and estimator(name).draw is not None]
    for some in (drawn, known):
        found = [m for m in (_mean_match(mean, name, table) for name, table in some) if m.distance <= _FAR]
        if found:
            found.sort(key=lambda m: (m.factor != 1, round(m.distance, 6), "(" in m.name, m.name not in _FAVOURITES))
            same = tuple(m.name for m in found[1:] if m.factor == found[0].factor)
            return replace(found[0], also=same)
    return None


def _mean_match(mean: MeanAdvantages, name: str, table: AdvantageTable) -> MeanMatch:
    entry = np.stack([table.positive, table.negative])
    factor = 1.0
    if mean.distance(entry) > _FAR:
        factor = max(mean.factor(entry), 0.0)
    distance = mean.distance(factor * entry) if factor > 0 else np.inf
    return MeanMatch(name, factor, float("nan"), False, draws=mean.draws, distance=distance)


@dataclass(frozen=True)
class MeanMatch(Match):
    """An entry that a random rule averages to, as far as `draws` of every group show; distance: the largest
    difference in standard errors."""

    draws: int = 0
    distance: float = 0.0

    def __str__(self) -> str:
        times = "" if self.factor == 1 else f" x {self.factor:.3g}"
        others = [name for name in self.also if not name.endswith("=1)")]
        shown = f" (as it is of {', '.join(others[:3])}{', ...' if len(others) > 3 else ''})" if others else ""
        errors = f"{self.distance:.1f} standard errors" if self.distance > 0.05 else "rounding"
        return f"random; its mean over {self.draws:,} draws is within {errors} of {self.name}{times}{shown}"


def _best(same: list[Match]) -> Match:
    """The smallest error; of those with no more than rounding between them factor 1, then the names that everyone
    knows, then catalogue order."""
    least = min(m.error for m in same)
    same = [m for m in same if m.error <= max(10 * least, 1e-12)]
    order = sorted(same, key=lambda m: (m.factor != 1, "(" in m.name, m.name.partition("(")[0] not in _FAVOURITES))
    best = order[0]
    also = tuple(m.name for m in order[1:] if np.isclose(m.factor, best.factor, rtol=1e-6))
    return replace(best, also=also)


def _entries(n: int) -> tuple[tuple[str, AdvantageTable], ...]:
    return _tables(tuple(_specs(n)), n)


@lru_cache(maxsize=8)
def _tables(specs: tuple[str, ...], n: int) -> tuple[tuple[str, AdvantageTable], ...]:
    found = []
    for spec in specs:
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


def _counted(target: FloatArray, n: int, use: FloatArray, exact: float) -> Iterator[Match]:
    """Entries with a second whole number, too many to be tried first: NGRPO, QAE, the bootstrap."""
    for name, entry in _tables(tuple(_second_numbers(n)), n):
        match = compared(target, flat(entry, use), name, exact)
        if match is not None:
            yield match


def _short(low: float, high: float) -> str:
    """The shortest decimal strictly between."""
    return next(shown for d in range(1, 20) if low < float(shown := f"{(low + high) / 2:.{d}f}") < high)


def _second_numbers(n: int) -> Iterator[str]:
    few = range(1, 33)
    yield from (f"ngrpo(virtual={more}, ddof={ddof})" for more in few for ddof in (0, 1) if (more, ddof) != (1, 1))
    yield from (f"qae(quantile={_short((m - 1) / n, m / n)})" for m in range(1, n + 1))  # m = ceil(quantile n) decides
    sizes = sorted({2, 3, *(2**i for i in range(2, 11)), n // 2, 2 * n, 4 * n} - {0, 1, n})
    yield from (f"passk_training_bootstrap(k={k}, groups={size})" for k in range(2, min(n, 33)) for size in sizes)
