"""Entries of the catalogue with free parameters, read off a table or searched for: which values fit it best?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from advshape.bernstein import FloatArray
from advshape.catalogue import estimator
from advshape.errors import AdvshapeError
from advshape.probe.match import Match, compared, flat, tidy
from advshape.tables.table import AdvantageTable

__all__ = ["fitted"]

_FAMILIES = {  # entries with a continuous parameter, and the range that is searched
    "skew_r": ("strength", 0.0, 1.0),
    "weighted_reinforce": ("strength", -3.0, 3.0),
    "focal_grpo": ("gamma", 0.0, 8.0),
    "risk_sensitive": ("beta", -8.0, 8.0),
    "entropy_rloo": ("strength", -2.0, 4.0),
}


def fitted(table: AdvantageTable, use: FloatArray, exact: float) -> Iterator[Match]:
    """The best match of every family: GRPO with ddof and epsilon, MaxRL with epsilon, the beta family, FADE, the
    adaptive mix of Pass@k Training, and entries with one continuous parameter; use: (2, n + 1), which entries count."""
    for found in (_grpo, _maxrl, _families, _fade, _adaptive, _beta_family):
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # beside a subnormal advantage: no fit
            matches = list(found(table, use, exact))
        yield from [m for m in matches if m.exact][:1] or matches


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
        for ddof in _shortest_first(slope, epsilon, n, exact):
            factor = np.sqrt(n / (n - ddof)) / slope
            fitted = max(epsilon * factor, 0.0)
            for shown in (f"{fitted:.1g}", tidy(fitted, exact)):  # float32 blurs an epsilon of 0.0001
                spec = f"grpo(ddof={ddof}, epsilon={shown})"
                match = compared(flat(table, use), flat(estimator(spec).table(n), use), spec, exact)
                if match is not None:
                    yield _Bessel(**vars(match), n=n) if ddof else match


def _shortest_first(slope: float, epsilon: float, n: int, exact: float) -> list[int]:
    """Both ddof describe one table; first the one whose factor is 1, else whose epsilon has fewer digits."""

    def length(ddof: int) -> tuple[bool, int]:
        factor = np.sqrt(n / (n - ddof)) / slope
        return abs(factor - 1) > max(1e-7, 100 * exact), len(tidy(max(epsilon * factor, 0.0), max(exact, 1e-9)))

    return sorted((0, 1), key=length)


def _maxrl(table: AdvantageTable, use: FloatArray, exact: float) -> Iterator[Match]:
    """MaxRL's denominator, read off as (r - mean) / A = factor' * mean + epsilon', a line in the mean."""
    n = table.n
    rate, both = np.arange(1, n) / n, (use[0] & use[1])[1:n]
    with np.errstate(all="ignore"):
        below = (1 - rate) / table.positive[1:n]
    if n < 4 or not both.all() or not np.all(np.isfinite(below) & (below > 0)):
        return
    slope, epsilon = np.polyfit(rate, below, 1)
    if slope > 0 and epsilon > 0:
        for shown in (f"{epsilon / slope:.1g}", tidy(float(epsilon / slope), exact)):
            yield from _named(f"maxrl(epsilon={shown})", table, use, exact)


@dataclass(frozen=True)
class _Bessel(Match):
    n: int = 2

    def __str__(self) -> str:
        return f"{super().__str__()} (about grpo x {self.factor * np.sqrt(1 - 1 / self.n):.3g})"


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
        spec = f"beta_family(a={tidy(float(a), exact)}, b={tidy(float(b), exact)})"
        yield from _named(spec, table, use, exact)


def _fade(table: AdvantageTable, use: FloatArray, exact: float) -> Iterator[Match]:
    """log A+ = alpha log(1 - rho) + const, and delta = (rho A+) / ((1 - rho) -A-)."""
    n = table.n
    rho, both = np.arange(1, n) / n, (use[0] & use[1])[1:n]
    right, wrong = table.positive[1:n], -table.negative[1:n]
    if n < 4 or not both.all() or not np.all((right > 0) & (wrong > 0)):
        return
    alpha = np.polyfit(np.log1p(-rho), np.log(right), 1)[0]
    delta = np.median(rho * right / ((1 - rho) * wrong))
    if alpha > 1 - 1e-9 and delta >= 0.01:
        shown = tidy(max(float(alpha), 1.0), exact), tidy(float(delta), exact)
        yield from _named(f"fade(alpha={shown[0]}, delta={shown[1]})", table, use, exact)


def _adaptive(table: AdvantageTable, use: FloatArray, exact: float) -> Iterator[Match]:
    """a grpo + b passk_training(k) by least squares, for each k; share = a / (a + b)."""
    for k in range(2, min(table.n, 33)):
        grpo = flat(estimator("grpo").table(table.n), use)
        other = flat(estimator("passk_training", k=k).table(table.n), use)
        (a, b), _, rank, _ = np.linalg.lstsq(np.stack([grpo, other], 1), flat(table, use), rcond=None)
        if rank == 2 and a > 0 and b > 0:
            share = tidy(float(a / (a + b)), exact)
            yield from _named(f"passk_training_adaptive(k={k}, share={share})", table, use, exact)


def _named(spec: str, table: AdvantageTable, use: FloatArray, exact: float) -> Iterator[Match]:
    match = compared(flat(table, use), flat(estimator(spec).table(table.n), use), spec, exact)
    if match is not None:
        yield match


def _families(table: AdvantageTable, use: FloatArray, exact: float) -> Iterator[Match]:
    """Entries with one continuous parameter: a coarse scan, then a bounded search around its best point."""
    from scipy.optimize import minimize_scalar

    target, n = flat(table, use), table.n
    for name, (key, low, high) in _FAMILIES.items():

        def at(value: float, name: str = name, key: str = key) -> Match | None:
            spec = f"{name}({key}={float(value)!r})"
            try:
                return compared(target, flat(estimator(spec).table(n), use), spec, exact)
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
        for value in (start, float(tidy(float(found.x), 1e-7)), float(found.x)):
            match = at(value)
            if match is not None and match.exact:
                break
        if match is not None:
            yield match
