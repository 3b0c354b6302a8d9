"""What do I want to maximise? Surrogate rewards F(rho) of a prompt's success probability.

A surrogate offers its value, its derivative and, where F' is a polynomial, the Bernstein coefficients of F' in any
sufficient degree: everything else follows from these three. All take and return arrays of any shape.
At a singular end (GRPO at rho = 0) the derivative is inf, said honestly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from advshape import bernstein
from advshape.bernstein import FloatArray
from advshape.errors import AdvshapeError

__all__ = [
    "GRPO",
    "AllOfK",
    "Entropy",
    "Identity",
    "LogLikelihood",
    "PassAtK",
    "SkewR",
    "Sum",
    "Surrogate",
    "Variance",
    "non_polynomial_terms",
]


@runtime_checkable
class Surrogate(Protocol):
    """F(rho) with F' and, if F' is a polynomial, its `degree` (else None) and Bernstein coefficients."""

    @property
    def degree(self) -> int | None: ...
    def value(self, rho: ArrayLike) -> FloatArray: ...
    def derivative(self, rho: ArrayLike) -> FloatArray: ...
    def bernstein(self, degree: int) -> FloatArray | None: ...


class Algebra:
    """Sums and scalings: `PassAtK(8) + 0.1 * Entropy()` is a surrogate again."""

    degree: int | None = None

    def bernstein(self, degree: int) -> FloatArray | None:
        return None

    def __add__(self, other: Surrogate) -> Sum:
        return Sum((*terms(self), *terms(other)))

    def __mul__(self, factor: float) -> Sum:
        return Sum(tuple((float(factor) * w, f) for w, f in terms(self)))

    __rmul__ = __mul__

    def __sub__(self, other: Surrogate) -> Sum:
        return Sum((*terms(self), *((-w, f) for w, f in terms(other))))

    def __neg__(self) -> Sum:
        return self * -1.0


def terms(surrogate: object) -> tuple[tuple[float, Surrogate], ...]:
    """(weight, surrogate) pairs of a sum; a single surrogate is its own only term."""
    if isinstance(surrogate, Sum):
        return surrogate.parts
    if isinstance(surrogate, Surrogate):
        return ((1.0, surrogate),)
    raise AdvshapeError(
        f"only surrogates can be added, got {surrogate!r}; a constant changes no gradient, so leave it out"
    )


def non_polynomial_terms(surrogate: Surrogate) -> list[Surrogate]:
    """The terms whose derivative is no polynomial: those that rule out an unbiased table."""
    return [f for w, f in terms(surrogate) if w != 0 and f.degree is None]


def _rho(rho: ArrayLike) -> FloatArray:
    values = np.asarray(rho, dtype=np.float64)
    if not np.all((values >= 0) & (values <= 1)):
        bad = values[~((values >= 0) & (values <= 1))].flat[0]
        raise AdvshapeError(f"a success probability must lie in [0, 1], got {bad}; check rho")
    return values


def _angle(rho: FloatArray) -> FloatArray:
    """2 arcsin sqrt(rho), by the arc tangent: the arc sine loses half its digits near rho = 1."""
    return np.asarray(2 * np.arctan2(np.sqrt(rho), np.sqrt(1 - rho)))


def _whole(k: int, what: str) -> None:
    if not isinstance(k, int | np.integer) or isinstance(k, bool) or k < 1:
        raise AdvshapeError(f"{what} needs a whole number >= 1, got {k!r}")


@dataclass(frozen=True)
class Sum(Algebra):
    """Weighted sum of surrogates; derivatives add, so advantage tables add.

    >>> (0.5 * Identity() + 0.5 * PassAtK(2)).derivative(0.5)
    np.float64(1.0)
    """

    parts: tuple[tuple[float, Surrogate], ...]

    def __repr__(self) -> str:
        shown = " + ".join(repr(f) if w == 1 else f"{w:g} * {f!r}" for w, f in self.parts)
        return shown.replace("+ -", "- ") or "0"

    @property
    def degree(self) -> int | None:  # type: ignore[override]
        degrees = [f.degree for w, f in self.parts if w != 0]
        return None if None in degrees else max((d for d in degrees if d is not None), default=0)

    def value(self, rho: ArrayLike) -> FloatArray:
        return np.sum([w * f.value(rho) for w, f in self.parts if w != 0], axis=0) + np.zeros(np.shape(rho))

    def derivative(self, rho: ArrayLike) -> FloatArray:
        return np.sum([w * f.derivative(rho) for w, f in self.parts if w != 0], axis=0) + np.zeros(np.shape(rho))

    def bernstein(self, degree: int) -> FloatArray | None:
        total = np.zeros(degree + 1)
        for w, f in self.parts:
            if w != 0:
                b = f.bernstein(degree)
                if b is None:
                    return None
                total += w * b
        return total


@dataclass(frozen=True)
class Identity(Algebra):
    """F = rho: the success probability itself, pass@1 (REINFORCE, RLOO)."""

    degree = 0

    def value(self, rho: ArrayLike) -> FloatArray:
        return _rho(rho) + 0.0

    def derivative(self, rho: ArrayLike) -> FloatArray:
        return np.ones_like(_rho(rho))

    def bernstein(self, degree: int) -> FloatArray | None:
        return np.ones(degree + 1)


@dataclass(frozen=True)
class PassAtK(Algebra):
    """F = 1 - (1 - rho)^k: at least one of k attempts is right. arXiv:2510.23049

    >>> PassAtK(3).value([0.0, 0.5, 1.0])
    array([0.   , 0.875, 1.   ])
    """

    k: int

    def __post_init__(self) -> None:
        _whole(self.k, "PassAtK")

    @property
    def degree(self) -> int:  # type: ignore[override]
        return self.k - 1

    def value(self, rho: ArrayLike) -> FloatArray:
        rho = _rho(rho)
        with np.errstate(divide="ignore"):
            return -np.expm1(self.k * np.log1p(-rho))

    def derivative(self, rho: ArrayLike) -> FloatArray:
        return self.k * (1 - _rho(rho)) ** (self.k - 1)

    def bernstein(self, degree: int) -> FloatArray | None:
        if degree < self.k - 1:
            return None
        j = np.arange(degree + 1)
        return self.k * bernstein.choose_ratio(degree - j, self.k - 1, degree, self.k - 1)


@dataclass(frozen=True)
class AllOfK(Algebra):
    """F = rho^k: all k attempts are right (pass^k, reliability).

    >>> AllOfK(2).derivative(0.25)
    np.float64(0.5)
    """

    k: int

    def __post_init__(self) -> None:
        _whole(self.k, "AllOfK")

    @property
    def degree(self) -> int:  # type: ignore[override]
        return self.k - 1

    def value(self, rho: ArrayLike) -> FloatArray:
        return _rho(rho) ** self.k

    def derivative(self, rho: ArrayLike) -> FloatArray:
        return self.k * _rho(rho) ** (self.k - 1)

    def bernstein(self, degree: int) -> FloatArray | None:
        if degree < self.k - 1:
            return None
        return self.k * bernstein.choose_ratio(np.arange(degree + 1), self.k - 1, degree, self.k - 1)


@dataclass(frozen=True)
class GRPO(Algebra):
    """F = 2 arcsin sqrt(rho), F' = 1 / sqrt(rho (1 - rho)): GRPO's population surrogate. arXiv:2510.23049

    >>> GRPO().derivative([0.0, 0.5])
    array([inf,  2.])
    """

    def value(self, rho: ArrayLike) -> FloatArray:
        return _angle(_rho(rho))

    def derivative(self, rho: ArrayLike) -> FloatArray:
        rho = _rho(rho)
        with np.errstate(divide="ignore"):
            return 1 / np.sqrt(rho * (1 - rho))


@dataclass(frozen=True)
class LogLikelihood(Algebra):
    """F = log rho, or its truncation -sum_{k<=order} (1-rho)^k / k. MaxRL, arXiv:2602.02710.

    >>> LogLikelihood(order=2).derivative([0.25])
    array([1.75])
    """

    order: int | None = None

    def __post_init__(self) -> None:
        if self.order is not None:
            _whole(self.order, "LogLikelihood(order=...)")

    @property
    def degree(self) -> int | None:  # type: ignore[override]
        return None if self.order is None else self.order - 1

    def value(self, rho: ArrayLike) -> FloatArray:
        rho = _rho(rho)
        if self.order is None:
            with np.errstate(divide="ignore"):
                return np.log(rho)
        total = np.zeros_like(rho)
        for k in range(self.order, 0, -1):  # Horner
            total = (1 - rho) * (total + 1 / k)
        return -total

    def derivative(self, rho: ArrayLike) -> FloatArray:
        rho = _rho(rho)
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.order is None:
                return 1 / rho
            series = -np.expm1(self.order * np.log1p(-rho)) / rho
        return np.where(rho == 0, float(self.order), series)

    def bernstein(self, degree: int) -> FloatArray | None:
        if self.order is None or degree < self.order - 1:
            return None
        i, j = np.arange(self.order), np.arange(degree + 1)[:, None]
        return np.sum(bernstein.choose_ratio(degree - j, i, degree, i), axis=1)


@dataclass(frozen=True)
class SkewR(Algebra):
    """GRPO times (1 - strength * rho): F = (2 - s) arcsin sqrt(rho) + s sqrt(rho (1-rho)), s = strength.

    Reward-level regularisation of GRPO by the reward's standard deviation. arXiv:2510.23049

    >>> SkewR().derivative(0.5)
    np.float64(1.0)
    """

    strength: float = 1.0

    def value(self, rho: ArrayLike) -> FloatArray:
        rho = _rho(rho)
        return (1 - self.strength / 2) * _angle(rho) + self.strength * np.sqrt(rho * (1 - rho))

    def derivative(self, rho: ArrayLike) -> FloatArray:
        rho = _rho(rho)
        if self.strength == 1:
            with np.errstate(divide="ignore"):
                return np.sqrt((1 - rho) / rho)
        with np.errstate(divide="ignore"):
            return (1 - self.strength * rho) / np.sqrt(rho * (1 - rho))


@dataclass(frozen=True)
class Entropy(Algebra):
    """Omega = -rho log rho - (1-rho) log(1-rho), in nats: a regulariser that up-weights undecided prompts.

    >>> Entropy().derivative(0.5)
    np.float64(0.0)
    """

    def value(self, rho: ArrayLike) -> FloatArray:
        rho = _rho(rho)
        with np.errstate(divide="ignore", invalid="ignore"):
            right = np.where(rho > 0, rho * np.log(rho), 0.0)
            wrong = np.where(rho < 1, (1 - rho) * np.log1p(-rho), 0.0)
        return -(right + wrong)

    def derivative(self, rho: ArrayLike) -> FloatArray:
        rho = _rho(rho)
        with np.errstate(divide="ignore"):
            return np.log1p(-rho) - np.log(rho)


@dataclass(frozen=True)
class Variance(Algebra):
    """Omega = rho (1 - rho), the variance of a 0/1 reward; Omega' = 1 - 2 rho.

    >>> Variance().derivative(0.25)
    np.float64(0.5)
    """

    degree = 1

    def value(self, rho: ArrayLike) -> FloatArray:
        rho = _rho(rho)
        return rho * (1 - rho)

    def derivative(self, rho: ArrayLike) -> FloatArray:
        return 1 - 2 * _rho(rho)

    def bernstein(self, degree: int) -> FloatArray | None:
        return None if degree < 1 else 1 - 2 * np.arange(degree + 1) / degree
