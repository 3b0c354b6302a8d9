"""Which objective is a regularised version of which? F = scale * base + Omega, and where F stops rising.

Reward-level regularisation adds Omega(rho) to a surrogate; derivatives add, so advantage tables add (arXiv:2510.23049).
A concave Omega pulls towards undecided prompts; where it is too strong F falls, and right answers are pushed down
there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from advshape.bernstein import FloatArray
from advshape.errors import AdvshapeError
from advshape.surrogate import GRPO, Algebra, Entropy, SkewR, Sum, Surrogate, Variance, _rho, terms
from advshape.surrogates import Focal

__all__ = ["KL", "Deviation", "Regularization", "base_of", "falling", "regularization"]

_THETA = np.linspace(0.0, np.pi / 2, 4003)[1:-1]
GRID = np.sin(_THETA) ** 2  # dense next to 0 and 1


@dataclass(frozen=True)
class Deviation(Algebra):
    """Omega = sqrt(rho (1-rho)), the standard deviation of a 0/1 reward: what skew-R adds to GRPO.

    >>> Deviation().value(0.5)
    np.float64(0.5)
    """

    def value(self, rho: ArrayLike) -> FloatArray:
        rho = _rho(rho)
        return np.sqrt(rho * (1 - rho))

    def derivative(self, rho: ArrayLike) -> FloatArray:
        rho = _rho(rho)
        with np.errstate(divide="ignore"):
            return (0.5 - rho) / np.sqrt(rho * (1 - rho))


@dataclass(frozen=True)
class KL(Algebra):
    """KL(Bernoulli(rho) || Bernoulli(target)) in nats; subtract it to hold success rates near a target.

    target: strictly between 0 and 1; KL(0.5) is log 2 minus the entropy.

    >>> KL(0.5).value([0.5, 1.0]).round(6)
    array([0.      , 0.693147])
    """

    target: float

    def __post_init__(self) -> None:
        if not 0 < self.target < 1:
            raise AdvshapeError(f"KL needs a target rate strictly between 0 and 1, got {self.target!r}")

    def value(self, rho: ArrayLike) -> FloatArray:
        rho = _rho(rho)
        cross = rho * np.log(self.target) + (1 - rho) * np.log1p(-self.target)
        return -Entropy().value(rho) - cross

    def derivative(self, rho: ArrayLike) -> FloatArray:
        return np.log(1 - self.target) - np.log(self.target) - Entropy().derivative(rho)


@dataclass(frozen=True)
class Regularization:
    """F = scale * base + omega.

    name: omega in closed form where it is a multiple of a named regulariser, up to a constant; concave: whether omega'
    never rises; bends_up: where it does; falling: where F' < 0; both as (low, high) intervals of rho.
    """

    objective: Surrogate
    base: Surrogate
    scale: float
    omega: Surrogate
    name: str | None
    concave: bool
    bends_up: tuple[tuple[float, float], ...]
    falling: tuple[tuple[float, float], ...]

    def __str__(self) -> str:
        times = "" if self.scale == 1 else f"{self.scale:.6g} * "
        shape = "concave" if self.concave else f"not concave: it bends up for rho in {_spans(self.bends_up)}"
        lines = [f"F = {times}{self.base!r} + Omega", f"Omega = {self.name or repr(self.omega)}, {shape}"]
        if self.falling:
            lines.append(warning(self.falling))
        return "\n".join(lines)


def base_of(objective: Surrogate) -> Surrogate | None:
    """The objective without its regularising terms, GRPO for skew-R and focal; None where nothing regularises.

    >>> from advshape.surrogate import Identity
    >>> base_of(Identity() + 0.1 * Entropy()), base_of(SkewR()), base_of(Identity())
    (Identity(), GRPO(), None)
    """
    if isinstance(objective, SkewR | Focal):
        return GRPO()
    kept = tuple((w, f) for w, f in terms(objective) if not _regularises(f))
    if not kept or len(kept) == len(terms(objective)):
        return None
    return kept[0][1] if len(kept) == 1 and kept[0][0] == 1 else Sum(kept)


def _regularises(term: Surrogate) -> bool:
    return isinstance(term, Entropy | Variance | Deviation | KL) or _named(term.derivative(GRID)) is not None


def regularization(objective: Surrogate, base: Surrogate | None = None, scale: float | None = None) -> Regularization:
    """What `objective` adds to `base`: Omega = objective - scale * base, its shape, and where the objective falls.

    base: None takes `base_of(objective)`, kept whole where it is the rest of a sum. scale: how much of the base is
    kept; None makes Omega equal at both ends, so that it prefers solved prompts no more than hopeless ones (1 where an
    end is infinite). Shapes are judged on 4,001 points, dense at the ends.

    >>> from advshape.surrogate import GRPO, SkewR
    >>> print(regularization(SkewR(), GRPO()))
    F = 0.5 * GRPO() + Omega
    Omega = 1 * Deviation(), concave
    """
    if base is None:
        base = base_of(objective)
        if base is None:
            raise AdvshapeError(f"{objective!r} shows no base that it regularises; pass one, such as Identity()")
        scale = 1.0 if scale is None and isinstance(objective, Sum) else scale
    kept = _matched_ends(objective, base) if scale is None else float(scale)
    omega = _minus(objective, kept, base)
    slope = objective.derivative(GRID) - kept * base.derivative(GRID)
    rising = np.diff(slope) > 1e-9 * np.maximum(1e-3, np.abs(slope[1:]))
    bends = _intervals(np.concatenate([rising, rising[-1:]]))
    return Regularization(objective, base, kept, omega, _named(slope), not bends, bends, falling(objective))


def falling(surrogate: Surrogate) -> tuple[tuple[float, float], ...]:
    """Intervals of rho where F' < 0: there the objective pushes right answers down.

    >>> from advshape.surrogate import Identity
    >>> [(round(low, 4), round(high, 4)) for low, high in falling(Identity() + 0.5 * Entropy())]
    [(0.8808, 1.0)]
    """
    slope = surrogate.derivative(GRID)
    size = np.abs(slope[np.isfinite(slope)]).min(initial=np.inf)
    below = slope < -1e-12 * max(1.0, float(size))
    return tuple((_refine(surrogate, low, -1), _refine(surrogate, high, 1)) for low, high in _intervals(below))


def warning(spans: tuple[tuple[float, float], ...]) -> str:
    """One sentence on where an objective falls."""
    return f"F falls for rho in {_spans(spans)}: right answers are pushed down there; weaken the regulariser"


def _minus(objective: Surrogate, scale: float, base: Surrogate) -> Surrogate:
    """objective - scale * base with equal terms collected."""
    total: dict[Surrogate, float] = {}
    for weight, term in [*terms(objective), *((-scale * w, f) for w, f in terms(base))]:
        total[term] = total.get(term, 0.0) + weight
    return Sum(tuple((w, f) for f, w in total.items() if w != 0))


def _matched_ends(objective: Surrogate, base: Surrogate) -> float:
    rise = [float(f.value(1.0) - f.value(0.0)) for f in (objective, base)]
    return rise[0] / rise[1] if np.all(np.isfinite(rise)) and rise[1] != 0 else 1.0


def _named(slope: FloatArray) -> str | None:
    """lambda * (a named regulariser) whose slope this is, to 1e-8 of its size."""
    inner = (GRID > 1e-4) & (GRID < 1 - 1e-4)
    for known in (Entropy(), Variance(), Deviation()):
        one = known.derivative(GRID)[inner]
        strength = float(slope[inner] @ one / (one @ one))
        if abs(strength) > 1e-9 and np.allclose(slope[inner], strength * one, rtol=1e-8, atol=1e-8 * abs(strength)):
            return f"{strength:.6g} * {known!r}"
    return None


def _intervals(inside: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Runs of True on the grid; a run that touches an end is taken to reach it."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(int)))
    ends = np.concatenate([[0.0], GRID[1:-1], [1.0]])
    return tuple((float(ends[a]), float(ends[b - 1])) for a, b in edges.reshape(-1, 2))


def _refine(surrogate: Surrogate, rho: float, side: int) -> float:
    """The change of sign of F' next to a grid point where F' < 0, by bisection; 0 and 1 stay."""
    if rho in (0.0, 1.0):
        return rho
    outside = float(GRID[np.searchsorted(GRID, rho) + side])
    inside = rho
    for _ in range(60):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if float(surrogate.derivative(middle)) < 0 else (inside, middle)
    return inside


def _spans(spans: tuple[tuple[float, float], ...]) -> str:
    return " and ".join(f"({_edge(low)}, {_edge(high)})" for low, high in spans)


def _edge(rho: float) -> str:
    return f"1 - {1 - rho:.2g}" if 0.999 < rho < 1 else f"{rho:.4g}"
