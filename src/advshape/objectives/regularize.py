"""Which objective is a regularised version of which? F = scale * base + Omega, and where F stops rising.

Reward-level regularisation adds Omega(rho) to a surrogate; derivatives add, so advantage tables add (arXiv:2510.23049).
A concave Omega pulls towards undecided prompts; where it is too strong F falls, and right answers are pushed down
there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from advshape.bernstein import FloatArray
from advshape.errors import AdvshapeError
from advshape.objectives.elementary import GRPO, Entropy, SkewR, Variance
from advshape.objectives.expression import as_surrogate
from advshape.objectives.literature import Focal
from advshape.objectives.surrogate import Algebra, Sum, Surrogate, _rho, terms

__all__ = ["KL", "Deviation", "Regularization", "base_of", "falling", "regularization"]

_THETA = np.linspace(0.0, np.pi / 2, 4003)[1:-1]
GRID = np.sin(_THETA) ** 2  # dense next to 0 and 1
_REACH = 34.0  # in logit rho: doubles lie 6% of 1 - rho apart there
_FAR = np.arange(15.75, _REACH + 0.25, 0.25)  # from where the grid stops
_LOGIT = np.concatenate([[-np.inf], -_FAR[::-1], np.log(GRID) - np.log1p(-GRID), _FAR, [np.inf]])


@dataclass(frozen=True)
class Deviation(Algebra):
    """Omega = sqrt(rho (1-rho)), the standard deviation of a 0/1 reward: what skew-R adds to GRPO.

    >>> Deviation().value(0.5)
    np.float64(0.5)
    """

    formula, slope = "sqrt(rho*(1 - rho))", "(0.5 - rho)/sqrt(rho*(1 - rho))"

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

    @property
    def formula(self) -> str:
        t = f"{self.target:.12g}"
        return f"rho*log(rho/{t}) + (1 - rho)*log((1 - rho)/(1 - {t}))"

    @property
    def slope(self) -> str:
        return f"log(rho/(1 - rho)) - log({self.target:.12g}/(1 - {self.target:.12g}))"

    def value(self, rho: ArrayLike) -> FloatArray:
        rho = _rho(rho)
        cross = rho * np.log(self.target) + (1 - rho) * np.log1p(-self.target)
        return -Entropy().value(rho) - cross

    def derivative(self, rho: ArrayLike) -> FloatArray:
        return np.log(1 - self.target) - np.log(self.target) - Entropy().derivative(rho)


@dataclass(frozen=True)
class Regularization:
    """F = scale * base + omega.

    name: omega in closed form where it is a multiple of a named regulariser, up to a constant, "0" where nothing is
    added; concave: whether omega' never rises; bends_up: where it does; falling: where F' < 0; both as (low, high)
    intervals of rho.
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
        formula = getattr(self.base, "formula", repr(self.base))
        where = f", {self.base!r} = {formula}" if formula != repr(self.base) else ""
        lines = [f"F = {times}{self.base!r} + Omega{where}", f"Omega = {self.name or repr(self.omega)}, {shape}"]
        if self.name == "0":
            lines = [f"F = {times}{self.base!r}: nothing is added to it"]
        if self.falling:
            lines.append(warning(self.falling))
        return "\n".join(lines)


def base_of(objective: Surrogate) -> Surrogate | None:
    """The objective without its regularising terms, GRPO for skew-R and focal; None where nothing regularises.

    >>> from advshape.objectives.elementary import Identity
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


def regularization(
    objective: Surrogate | str, base: Surrogate | str | None = None, scale: float | None = None
) -> Regularization:
    """What `objective` adds to `base`: Omega = objective - scale * base, its shape, and where the objective falls.

    Both may be formulas. base: None takes `base_of(objective)`, kept whole where it is the rest of a sum. scale: how
    much of the base is kept; None makes Omega equal at both ends, so that it prefers solved prompts no more than
    hopeless ones (1 where an end is infinite). Shapes are judged on 4,001 points, dense at the ends.

    >>> from advshape.objectives.elementary import GRPO, SkewR
    >>> print(regularization(SkewR(), GRPO()))
    F = 0.5 * GRPO() + Omega, GRPO() = 2*arcsin(sqrt(rho))
    Omega = 1 * Deviation(), concave
    """
    objective, base = as_surrogate(objective), None if base is None else as_surrogate(base)
    if base is None:
        base = base_of(objective)
        if base is None:
            raise AdvshapeError(f"{objective!r} shows no base that it regularises; pass one, such as Identity()")
        scale = 1.0 if scale is None and isinstance(objective, Sum) else scale
    kept = _matched_ends(objective, base) if scale is None else float(scale)
    omega = _minus(objective, kept, base)
    whole, part = objective.derivative(GRID), kept * base.derivative(GRID)
    slope = whole - part
    if np.all(np.abs(slope) <= 1e-12 * (np.abs(whole) + np.abs(part))):
        return Regularization(objective, base, kept, Sum(()), "0", True, (), falling(objective))
    typical = float(np.mean(np.abs(slope) * GRID * (1 - GRID)))
    rising = np.diff(slope) > 1e-9 * np.maximum(1e-2 * typical, np.abs(slope[1:]))
    bends = _intervals(np.concatenate([rising, rising[-1:]]))
    return Regularization(objective, base, kept, omega, _named(slope), not bends, bends, falling(objective))


def falling(surrogate: Surrogate | str) -> tuple[tuple[float, float], ...]:
    """Intervals of rho where F' < 0, of a surrogate or its formula: there the objective pushes right answers down.

    Found on a grid in logit rho up to 2e-15 from both ends, refined by bisection; the limits F'(0) and F'(1) decide
    beyond. F' counts as negative where it is below -1e-12 of its own terms and of its mean size.

    >>> from advshape.objectives.elementary import Identity
    >>> [(round(low, 4), round(high, 4)) for low, high in falling(Identity() + 0.5 * Entropy())]
    [(0.8808, 1.0)]
    """
    surrogate, rho = as_surrogate(surrogate), _rate(_LOGIT)
    with np.errstate(invalid="ignore"):
        slope = surrogate.derivative(rho)
        parts = np.sum([np.abs(w * f.derivative(rho)) for w, f in terms(surrogate)], axis=0)
        pull = np.abs(slope) * rho * (1 - rho)
        size = np.maximum(np.where(np.isfinite(parts), parts, 0.0), pull[np.isfinite(pull)].mean())
        inside = slope < -1e-12 * size
    inside[[0, -1]] |= inside[[1, -2]]  # a run that reaches the last point before an end reaches the end
    return tuple((_end_of_run(surrogate, a, a - 1), _end_of_run(surrogate, b, b + 1)) for a, b in _runs(inside))


def warning(spans: tuple[tuple[float, float], ...]) -> str:
    """One sentence on where an objective falls.

    >>> from advshape.objectives.elementary import Identity
    >>> print(warning(falling(Identity() + 0.02 * Entropy())))    # beyond logit rho = 50, where 1 - rho = 2e-22
    F falls for rho in (1 - 1.8e-15, 1), or in a part of it too short for double precision: right answers are pushed
    down there; so close to an end it hardly matters
    """
    fine = any(_is_fine(span) for span in spans)
    where = _spans(spans) + (", or in a part of it too short for double precision" if fine else "")
    short = all(high - low < 1e-4 for low, high in spans)
    advice = "so close to an end it hardly matters" if short else "weaken the regulariser"
    return f"F falls for rho in {where}: right answers are pushed down there; {advice}"


def _is_fine(span: tuple[float, float]) -> bool:
    """Whether only the limit at an end is known to be negative."""
    return span in ((0.0, float(_rate(-_REACH))), (float(_rate(_REACH)), 1.0))


def _rate(logit: ArrayLike) -> FloatArray:
    """rho, full precision next to 0."""
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-np.asarray(logit))))[()]


def _end_of_run(surrogate: Surrogate, inner: int, outer: int) -> float:
    """rho where F' changes sign between a point of _LOGIT with F' < 0 and the next without; 0 and 1 stay."""
    if not 0 <= outer < len(_LOGIT):
        return float(_rate(_LOGIT[inner]))
    inside, outside = _LOGIT[[inner, outer]]
    if np.isinf(inside):
        return float(_rate(outside))  # all that is known
    for _ in range(60):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if surrogate.derivative(_rate(middle)) < 0 else (inside, middle)
    return float(_rate(inside))


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


def _intervals(inside: NDArray[np.bool_]) -> tuple[tuple[float, float], ...]:
    """Runs of True on the grid; a run that touches an end is taken to reach it."""
    ends = np.concatenate([[0.0], GRID[1:-1], [1.0]])
    return tuple((float(ends[a]), float(ends[b])) for a, b in _runs(inside))


def _runs(inside: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last index of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(int)))
    return [(int(a), int(b) - 1) for a, b in edges.reshape(-1, 2)]


def _spans(spans: tuple[tuple[float, float], ...]) -> str:
    return " and ".join(f"({_edge(low)}, {_edge(high)})" for low, high in spans)


def _edge(rho: float) -> str:
    return f"1 - {1 - rho:.2g}" if 0.999 < rho < 1 else f"{rho:.4g}"
