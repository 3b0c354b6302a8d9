"""More surrogates from the literature; the same protocol as surrogate.py, one equation each."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import ArrayLike

from advshape import bernstein
from advshape.bernstein import FloatArray
from advshape.errors import AdvshapeError
from advshape.objectives.elementary import PassAtK, SkewR
from advshape.objectives.surrogate import Algebra, _power, _product, _rho, _whole

__all__ = [
    "BetaFamily",
    "Focal",
    "GRPOJoint",
    "GRPOTimesPassAtK",
    "LogOdds",
    "MajorityOfK",
    "PassAtKCombination",
    "RiskSensitive",
]


@dataclass(frozen=True)
class BetaFamily(Algebra):
    """F' = rho^(a-1) (1-rho)^(b-1), F the incomplete beta function B(rho; a, b). BNPO, arXiv:2506.02864.

    >>> BetaFamily(1.0, 1.0).value(0.3).round(9)
    np.float64(0.3)
    """

    a: float
    b: float

    def __post_init__(self) -> None:
        if not (self.a > 0 and self.b > 0):
            raise AdvshapeError(f"BetaFamily needs a > 0 and b > 0, got a={self.a}, b={self.b}")

    @property
    def formula(self) -> str:
        return f"beta({self.a:.12g}, {self.b:.12g})"

    @property
    def slope(self) -> str:
        return _product(_power("rho", self.a - 1), _power("(1 - rho)", self.b - 1))

    def value(self, rho: ArrayLike) -> FloatArray:
        from scipy.special import beta, betainc

        return np.asarray(betainc(self.a, self.b, _rho(rho)) * beta(self.a, self.b))

    def derivative(self, rho: ArrayLike) -> FloatArray:
        rho = _rho(rho)
        with np.errstate(divide="ignore"):
            return rho ** (self.a - 1) * (1 - rho) ** (self.b - 1)


@dataclass(frozen=True)
class Focal(BetaFamily):
    """F' = (1-rho)^gamma / sqrt(rho (1-rho)), F = B(rho; 1/2, gamma + 1/2)."""

    a: float = 0.5
    b: float = 0.5
    gamma: float = 0.0

    def __init__(self, gamma: float) -> None:
        if not gamma > -0.5:
            raise AdvshapeError(f"Focal needs gamma > -0.5, got {gamma}")
        object.__setattr__(self, "gamma", float(gamma))
        object.__setattr__(self, "a", 0.5)
        object.__setattr__(self, "b", float(gamma) + 0.5)

    def __repr__(self) -> str:
        return f"Focal(gamma={self.gamma:g})"

    @property
    def slope(self) -> str:
        return f"{_power('(1 - rho)', self.gamma)}/sqrt(rho*(1 - rho))"


@dataclass(frozen=True)
class GRPOTimesPassAtK(Algebra):
    """F' = k (1-rho)^(k-1) / sqrt(rho (1-rho)), F = k B(rho; 1/2, k - 1/2). GRPO_K, arXiv:2510.23049."""

    k: int

    def __post_init__(self) -> None:
        _whole(self.k, "GRPOTimesPassAtK")

    @property
    def formula(self) -> str:
        return _product(str(self.k), f"beta(0.5, {self.k - 0.5:g})")

    @property
    def slope(self) -> str:
        return f"{_product(str(self.k), _power('(1 - rho)', self.k - 1))}/sqrt(rho*(1 - rho))"

    def value(self, rho: ArrayLike) -> FloatArray:
        return self.k * BetaFamily(0.5, self.k - 0.5).value(rho)

    def derivative(self, rho: ArrayLike) -> FloatArray:
        return self.k * BetaFamily(0.5, self.k - 0.5).derivative(rho)


@dataclass(frozen=True)
class GRPOJoint(Algebra):
    """F = 2 arcsin sqrt(rho_k), rho_k = 1 - (1-rho)^k. GRPO_K with the pass@k deviation, arXiv:2510.23049.

    >>> from advshape import GRPO
    >>> bool(np.isclose(GRPOJoint(1).value(0.3), GRPO().value(0.3)))
    True
    """

    k: int

    def __post_init__(self) -> None:
        _whole(self.k, "GRPOJoint")

    @property
    def formula(self) -> str:
        return f"2*arcsin(sqrt(1 - (1 - rho)**{self.k}))"

    @property
    def slope(self) -> str:
        return f"{_product(str(self.k), _power('(1 - rho)', self.k / 2 - 1))}/sqrt(1 - (1 - rho)**{self.k})"

    def value(self, rho: ArrayLike) -> FloatArray:
        rho = _rho(rho)
        return np.asarray(2 * np.arctan2(np.sqrt(PassAtK(self.k).value(rho)), (1 - rho) ** (self.k / 2)))

    def derivative(self, rho: ArrayLike) -> FloatArray:
        rho = _rho(rho)
        solved = PassAtK(self.k).value(rho)
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = self.k * (1 - rho) ** (self.k / 2 - 1) / np.sqrt(solved)
        return np.asarray(slope)


@dataclass(frozen=True)
class LogOdds(Algebra):
    """F = logit rho, F' = 1 / (rho (1-rho)): the scale of softmax updates (omega = 1)."""

    formula, slope = "log(rho/(1 - rho))", "1/(rho*(1 - rho))"

    def value(self, rho: ArrayLike) -> FloatArray:
        rho = _rho(rho)
        with np.errstate(divide="ignore"):
            return np.log(rho) - np.log1p(-rho)

    def derivative(self, rho: ArrayLike) -> FloatArray:
        rho = _rho(rho)
        with np.errstate(divide="ignore"):
            return 1 / (rho * (1 - rho))


@dataclass(frozen=True)
class RiskSensitive(Algebra):
    """F = log(1 + rho (e^beta - 1)) / beta. RS-GRPO, arXiv:2509.24261.

    >>> RiskSensitive(2.0).value(1.0).round(9)
    np.float64(1.0)
    """

    beta: float

    def __post_init__(self) -> None:
        if not 0 < abs(self.beta) <= 700:  # e^beta ends there
            raise AdvshapeError(f"RiskSensitive needs 0 < |beta| <= 700, got {self.beta}; beta = 0 is Identity()")

    @property
    def formula(self) -> str:
        return f"log({self._mean})/({self.beta:.12g})"

    @property
    def slope(self) -> str:
        return f"(exp({self.beta:.12g}) - 1)/({self.beta:.12g}*({self._mean}))"

    @property
    def _mean(self) -> str:
        return f"1 + (exp({self.beta:.12g}) - 1)*rho"

    def value(self, rho: ArrayLike) -> FloatArray:
        rho = _rho(rho)
        with np.errstate(divide="ignore"):  # log1p keeps the digits of small rho, a sum of positive terms the others
            low, high = np.log1p(np.minimum(rho, 0.5) * np.expm1(self.beta)), np.log(self._mean_exponential(rho))
        return np.where(rho < 0.5, low, high) / self.beta

    def derivative(self, rho: ArrayLike) -> FloatArray:
        return np.asarray(np.expm1(self.beta) / self._mean_exponential(_rho(rho)) / self.beta)

    def _mean_exponential(self, rho: FloatArray) -> FloatArray:
        """E[exp(beta r)] of a 0/1 reward."""
        return np.asarray((1 - rho) + rho * np.exp(self.beta))


@dataclass(frozen=True)
class MajorityOfK(Algebra):
    """F = P(Bin(k, rho) > k/2), odd k; F' = k C(k-1, h) rho^h (1-rho)^h, h = (k-1)/2.

    >>> MajorityOfK(3).value(0.5).round(9)
    np.float64(0.5)
    """

    k: int

    def __post_init__(self) -> None:
        _whole(self.k, "MajorityOfK")
        if self.k % 2 == 0:
            raise AdvshapeError(f"a majority needs an odd k, got k={self.k}; use k={self.k - 1} or k={self.k + 1}")

    @property
    def degree(self) -> int:  # type: ignore[override]
        return self.k - 1

    @property
    def formula(self) -> str:
        return f"majority_of({self.k})"

    @property
    def slope(self) -> str:
        h = (self.k - 1) // 2
        return _product(str(self.k * comb(2 * h, h)), _power("(rho*(1 - rho))", h))

    def value(self, rho: ArrayLike) -> FloatArray:
        return bernstein.basis(self.k, _rho(rho))[..., (self.k + 1) // 2 :].sum(-1)

    def derivative(self, rho: ArrayLike) -> FloatArray:
        return self.k * bernstein.basis(self.k - 1, _rho(rho))[..., (self.k - 1) // 2]

    def bernstein(self, degree: int) -> FloatArray | None:
        if degree < self.k - 1:
            return None
        own = np.zeros(self.k)
        own[(self.k - 1) // 2] = self.k
        return bernstein.elevate(own, degree)


@dataclass(frozen=True)
class PassAtKCombination(Algebra):
    """F' = rho A_k' + (1-rho) A_1', A_k' = (1-rho)^(k/2-1)/sqrt(rho_k), A_1' = 1/sqrt(rho (1-rho)), rho_k = pass@k.

    Chen et al., arXiv:2508.10751, eq. 18: Pass@1 Training on hard prompts, Pass@k Training on easy ones.
    F = arcsin sqrt(rho) + sqrt(rho (1-rho)) + (2 arcsin sqrt(rho_k) - B(rho_k; 1/2, 1/2 + 1/k)) / k.

    >>> from advshape import GRPO
    >>> bool(np.isclose(PassAtKCombination(1).value(0.3), GRPO().value(0.3)))
    True
    """

    k: int

    def __post_init__(self) -> None:
        _whole(self.k, "PassAtKCombination")

    @property
    def _solved(self) -> str:
        return f"1 - (1 - rho)**{self.k}"

    @property
    def formula(self) -> str:
        return (
            f"arcsin(sqrt(rho)) + sqrt(rho*(1 - rho)) + (2*arcsin(sqrt({self._solved})) "
            f"- beta(0.5, 0.5 + 1/{self.k}, {self._solved}))/{self.k}"
        )

    @property
    def slope(self) -> str:
        easy = _product("rho", _power("(1 - rho)", self.k / 2 - 1))
        return f"sqrt((1 - rho)/rho) + {easy}/sqrt({self._solved})"

    def value(self, rho: ArrayLike) -> FloatArray:
        from scipy.special import beta, betainc, betaincc

        rho, b = _rho(rho), 0.5 + 1 / self.k
        solved, unsolved = PassAtK(self.k).value(rho), (1 - rho) ** self.k  # by the smaller one: neither end cancels
        share = np.where(solved < 0.5, betainc(0.5, b, solved), betaincc(b, 0.5, unsolved))
        return np.asarray(SkewR().value(rho) + (GRPOJoint(self.k).value(rho) - beta(0.5, b) * share) / self.k)

    def derivative(self, rho: ArrayLike) -> FloatArray:
        rho = _rho(rho)
        with np.errstate(invalid="ignore"):
            easy = np.where(rho > 0, rho * GRPOJoint(self.k).derivative(rho) / self.k, 0.0)
        return np.asarray(SkewR().derivative(rho) + easy)
