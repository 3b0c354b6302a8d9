"""Which objectives does everyone start from? Pass@1, pass@k, all of k, GRPO's and MaxRL's, and the regularisers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from advshape import bernstein
from advshape.bernstein import FloatArray
from advshape.objectives.surrogate import Algebra, _power, _product, _rho, _whole

__all__ = ["GRPO", "AllOfK", "Entropy", "Identity", "LogLikelihood", "PassAtK", "SkewR", "Variance"]


def _angle(rho: FloatArray) -> FloatArray:
    """2 arcsin sqrt(rho), by the arc tangent: the arc sine loses half its digits near rho = 1."""
    return np.asarray(2 * np.arctan2(np.sqrt(rho), np.sqrt(1 - rho)))


@dataclass(frozen=True)
class Identity(Algebra):
    """F = rho: the success probability itself, pass@1 (REINFORCE, RLOO)."""

    degree = 0

    formula, slope = "rho", "1"

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

    @property
    def formula(self) -> str:
        return "rho" if self.k == 1 else f"1 - (1 - rho)**{self.k}"

    @property
    def slope(self) -> str:
        return _product(str(self.k), _power("(1 - rho)", self.k - 1))

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

    @property
    def formula(self) -> str:
        return _power("rho", self.k)

    @property
    def slope(self) -> str:
        return _product(str(self.k), _power("rho", self.k - 1))

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

    formula, slope = "2*arcsin(sqrt(rho))", "1/sqrt(rho*(1 - rho))"

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

    @property
    def formula(self) -> str:
        return "log(rho)" if self.order is None else f"log_likelihood({self.order})"

    @property
    def slope(self) -> str:
        return "1/rho" if self.order is None else f"(1 - (1 - rho)**{self.order})/rho"

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

    @property
    def formula(self) -> str:
        angle, deviation = (f"{w:.12g}" for w in (2 - self.strength, self.strength))
        return f"{_product(angle, 'arcsin(sqrt(rho))')} + {_product(deviation, 'sqrt(rho*(1 - rho))')}"

    @property
    def slope(self) -> str:
        return f"(1 - {_product(f'{self.strength:.12g}', 'rho')})/sqrt(rho*(1 - rho))"

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

    formula, slope = "-rho*log(rho) - (1 - rho)*log(1 - rho)", "log(1 - rho) - log(rho)"

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

    formula, slope = "rho*(1 - rho)", "1 - 2*rho"

    def value(self, rho: ArrayLike) -> FloatArray:
        rho = _rho(rho)
        return rho * (1 - rho)

    def derivative(self, rho: ArrayLike) -> FloatArray:
        return 1 - 2 * _rho(rho)

    def bernstein(self, degree: int) -> FloatArray | None:
        return None if degree < 1 else 1 - 2 * np.arange(degree + 1) / degree
