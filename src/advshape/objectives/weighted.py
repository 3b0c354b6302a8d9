"""Which objectives weigh prompts by a curve of their own? Sqrt-R, GRPO-LEAD, a Gaussian, groups drawn anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from advshape import bernstein
from advshape.bernstein import FloatArray
from advshape.errors import AdvshapeError
from advshape.objectives.surrogate import Algebra, _rho

__all__ = ["GaussianGRPO", "LeadGRPO", "Rerolled", "SqrtR"]


@lru_cache(maxsize=4)
def _legendre(size: int) -> tuple[FloatArray, FloatArray]:
    """Gauss-Legendre nodes and masses on [-1, 1]; read only."""
    x, mass = np.polynomial.legendre.leggauss(size)
    x.flags.writeable = mass.flags.writeable = False
    return x, mass


@dataclass(frozen=True)
class SqrtR(Algebra):
    """F = -2 artanh sqrt(1-rho), F' = 1 / (rho sqrt(1-rho)). Sqrt-R, arXiv:2602.11128.

    >>> SqrtR().derivative(0.75)
    array(2.66666667)
    """

    formula, slope = "log(rho) - 2*log(1 + sqrt(1 - rho))", "1/(rho*sqrt(1 - rho))"

    def value(self, rho: ArrayLike) -> FloatArray:
        rho = _rho(rho)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(rho) - 2 * np.log1p(np.sqrt(1 - rho)))

    def derivative(self, rho: ArrayLike) -> FloatArray:
        rho = _rho(rho)
        with np.errstate(divide="ignore"):
            return np.asarray(1 / (rho * np.sqrt(1 - rho)))


@dataclass(frozen=True)
class GaussianGRPO(Algebra):
    """F' = exp(-(rho - center)^2 / (2 width^2)) / sqrt(rho (1-rho)): GRPO weighed by a Gaussian. arXiv:2605.11403.

    width: at least 0.02, below which the quadrature would miss the peak.

    >>> GaussianGRPO(center=0.5, width=0.35).derivative(0.5)
    array(2.)
    """

    center: float = 0.5
    width: float = 0.35

    def __post_init__(self) -> None:
        if not (0 <= self.center <= 1 and self.width >= 0.02):
            raise AdvshapeError(
                f"GaussianGRPO needs a center in [0, 1] and a width >= 0.02, got {self.center!r} and {self.width!r}"
            )

    @property
    def formula(self) -> str:
        return f"the integral of {self.slope}"

    @property
    def slope(self) -> str:
        return f"exp(-(rho - {self.center:.12g})**2/{2 * self.width**2:.12g})/sqrt(rho*(1 - rho))"

    def weight(self, rho: FloatArray) -> FloatArray:
        """exp(-(rho - center)^2 / (2 width^2))."""
        return np.asarray(np.exp(-((rho - self.center) ** 2) / (2 * self.width**2)))

    def derivative(self, rho: ArrayLike) -> FloatArray:
        rho = _rho(rho)
        with np.errstate(divide="ignore"):
            return np.asarray(self.weight(rho) / np.sqrt(rho * (1 - rho)))

    def value(self, rho: ArrayLike) -> FloatArray:
        return _by_angle(self.weight, rho)


def _by_angle(weight: Callable[[FloatArray], FloatArray], rho: ArrayLike) -> FloatArray:
    """The integral of weight(x) / sqrt(x (1-x)) from 0 to rho; with x = sin^2 theta, dx / sqrt(x (1-x)) = 2 d theta."""
    theta = np.arcsin(np.sqrt(_rho(rho)))[..., None]
    x, mass = _legendre(200)
    inner = np.sin(theta * (x + 1) / 2) ** 2
    return np.asarray((weight(inner) * mass).sum(-1) * theta[..., 0])


@dataclass(frozen=True)
class LeadGRPO(Algebra):
    """F' = (1-rho) w(rho)/s + rho w(1-rho)/s, s = sqrt(rho (1-rho)); F by quadrature. GRPO-LEAD, arXiv:2504.09696."""

    low: float
    high: float
    center: float
    steepness: float

    def weight(self, x: FloatArray) -> FloatArray:
        """w(x) = low + (high - low) / (1 + exp(steepness (x - center)))."""
        return self.low + (self.high - self.low) / (1 + np.exp(self.steepness * (x - self.center)))

    def derivative(self, rho: ArrayLike) -> FloatArray:
        rho = _rho(rho)
        with np.errstate(divide="ignore"):
            return ((1 - rho) * self.weight(rho) + rho * self.weight(1 - rho)) / np.sqrt(rho * (1 - rho))

    def value(self, rho: ArrayLike) -> FloatArray:
        return _by_angle(lambda x: (1 - x) * self.weight(x) + x * self.weight(1 - x), rho)

    @property
    def formula(self) -> str:
        return f"the integral of {self.slope}"

    @property
    def slope(self) -> str:
        return f"((1 - rho)*({self._weight('rho')}) + rho*({self._weight('1 - rho')}))/sqrt(rho*(1 - rho))"

    def _weight(self, x: str) -> str:
        low, rise = f"{self.low:.12g}", f"{self.high - self.low:.12g}"
        return f"{low} + {rise}/(1 + exp({self.steepness:.12g}*({x} - {self.center:.12g})))"


@dataclass(frozen=True)
class Rerolled(Algebra):
    """F' = F_n' / (1 - rho^n - (1-rho)^n) of a table with these n weights, n >= 2; F(1/2) = 0.

    Groups are drawn anew until they are mixed. F is no polynomial; where weight[0] != 0 it is unbounded at rho = 0,
    where weight[n-1] != 0 at rho = 1. Gauss-Legendre on the bounded part, the two logarithms in closed form.

    >>> Rerolled((1.0, 1.0)).value(0.9).round(6) == np.round(np.log(9) / 2, 6)     # half the log-odds
    np.True_
    """

    weight: tuple[float, ...]

    @property
    def n(self) -> int:
        return len(self.weight)

    def __post_init__(self) -> None:
        if self.n < 2:
            raise AdvshapeError(f"Rerolled needs n >= 2 weights, got {self.n}; a group of one is never mixed")

    def __repr__(self) -> str:
        return f"Rerolled(n={self.n})"

    @property
    def formula(self) -> str:
        return f"the integral of {self.slope}"

    @property
    def slope(self) -> str:
        return f"F_n'/(1 - rho**{self.n} - (1 - rho)**{self.n}) with n = {self.n}"

    def _ratio(self, rho: FloatArray) -> FloatArray:
        """F_n' rho (1-rho) / (1 - rho^n - (1-rho)^n), smooth on [0, 1]; 1 - ... is rho (1-rho) times the divisor."""
        n, i = self.n, np.arange(self.n - 1.0)
        divisor = bernstein.basis(n - 2, rho) @ (n * (n - 1) / ((i + 1) * (n - 1 - i)))
        return np.asarray(bernstein.basis(n - 1, rho) @ np.asarray(self.weight) / divisor)

    def derivative(self, rho: ArrayLike) -> FloatArray:
        rho, n = _rho(rho), self.n
        with np.errstate(divide="ignore", invalid="ignore"):
            inside = self._ratio(rho) / (rho * (1 - rho))
        for end, first, second in ((0.0, self.weight[0], self.weight[1]), (1.0, self.weight[-1], self.weight[-2])):
            limit = (n - 1) / n * second if first == 0 else np.copysign(np.inf, first)
            inside = np.where(rho == end, limit, inside)
        return inside

    def value(self, rho: ArrayLike) -> FloatArray:
        rho = _rho(rho)
        low, high = self.weight[0] / self.n, self.weight[-1] / self.n
        x, mass = _legendre(400)
        half = (rho[..., None] - 0.5) / 2
        inner = 0.5 + half * (x + 1)
        ratio = self._ratio(inner)
        bounded = (half * mass * ((ratio - low) / inner + (ratio - high) / (1 - inner))).sum(-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            left = low * np.log(2 * rho) if low else 0.0
            right = -high * np.log(2 * (1 - rho)) if high else 0.0
        return np.asarray(bounded + left + right)
