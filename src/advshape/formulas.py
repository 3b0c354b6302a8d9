"""Which surrogate has these population formulas A+(rho), A-(rho)? F' = A+ - A-, integrated, with its error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from advshape.bernstein import FloatArray
from advshape.errors import AdvshapeError
from advshape.expression import Expression
from advshape.expression.integrate import antiderivative
from advshape.expression.polynomial import constant
from advshape.expression.tree import add, sub
from advshape.surrogate import Algebra, _rho
from advshape.table import AdvantageTable

__all__ = ["Formula", "IntegratedSurrogate", "closed_form", "plug_in_table"]

Formula = Callable[[FloatArray], FloatArray | float]
_REACH = 34  # in logit rho: 1 - rho reaches 2e-15 there, near the end of double precision


@dataclass(frozen=True, eq=False)
class IntegratedSurrogate(Algebra):
    """F with F'(rho) = positive(rho) - negative(rho), by quadrature; arXiv:2510.23049 (reverse).

    positive, negative: formulas of an array rho inside (0, 1). A constant changes no objective: F(0) = 0 where F is
    finite at 0, else F(1/2) = 0. Gauss-Legendre on unit panels of logit rho, where ends such as 1/sqrt(rho) are smooth;
    `error(rho)` is the difference to half the nodes plus the unresolved tails. Raises AdvshapeError where a formula is
    not finite inside (0, 1).

    >>> F = IntegratedSurrogate(lambda rho: np.sqrt((1 - rho) / rho), lambda rho: -np.sqrt(rho / (1 - rho)))
    >>> F.value([0.25, 1.0]).round(6)   # GRPO: 2 arcsin sqrt(rho)
    array([1.047198, 3.141593])
    """

    positive: Formula
    negative: Formula

    def __repr__(self) -> str:
        with np.errstate(invalid="ignore"):
            worst = float(np.nanmax(self.error([0.0, 0.25, 0.5, 0.75, 1.0])))
        return f"the integral of A+ - A- (by quadrature, error below {worst:.1g})"

    def derivative(self, rho: ArrayLike) -> FloatArray:
        rho = _rho(rho)
        with np.errstate(all="ignore"):
            slope = np.asarray(self.positive(rho), np.float64) - np.asarray(self.negative(rho), np.float64)
        if not np.all(np.isfinite(slope) | (rho == 0) | (rho == 1)):
            bad = float(np.broadcast_to(rho, slope.shape)[~np.isfinite(slope)].flat[0])
            raise AdvshapeError(f"the formulas are not finite at rho={bad:g}; they must be finite inside (0, 1)")
        return slope + np.zeros_like(rho)

    def value(self, rho: ArrayLike) -> FloatArray:
        return self._integral(rho, 24)[0]

    def error(self, rho: ArrayLike) -> FloatArray:
        """Estimated absolute error of value(rho), same shape; nan where the value is infinite."""
        fine, tails = self._integral(rho, 24)
        with np.errstate(invalid="ignore"):
            return np.abs(fine - self._integral(rho, 12)[0]) + tails + 1e-15 * np.maximum(1.0, np.abs(fine))

    def _slope_in_logit(self, t: FloatArray) -> FloatArray:
        """dF/dt = F'(rho) rho (1 - rho), t = logit rho."""
        with np.errstate(over="ignore"):
            rho = 1 / (1 + np.exp(-t))
        return self.derivative(rho) * np.exp(-np.abs(t)) / (1 + np.exp(-np.abs(t))) ** 2

    def _panels(self, left: FloatArray, right: FloatArray, nodes: int) -> FloatArray:
        x, mass = np.polynomial.legendre.leggauss(nodes)
        half = (right - left)[..., None] / 2
        return np.asarray((self._slope_in_logit(left[..., None] + half * (x + 1)) * mass * half).sum(-1))

    def _ends(self, nodes: int) -> tuple[FloatArray, FloatArray, tuple[float, float], float]:
        """Panel edges, F there (F(0) = 0 where finite), F at rho = 0 and 1, and the tails' uncertainty."""
        edges = np.arange(-_REACH, _REACH + 1.0)
        panels = self._panels(edges[:-1], edges[1:], nodes)
        low, high = _tail(panels[:4][::-1]), _tail(panels[-4:])
        values = np.concatenate([[0.0], np.cumsum(panels)])
        values = values - (values[_REACH] if np.isinf(low) else -low)
        doubt = sum(1e-3 * abs(tail) for tail in (low, high) if np.isfinite(tail))
        return edges, values, (-low if np.isinf(low) else 0.0, float(values[-1] + high)), doubt

    @cached_property
    def _fine(self) -> tuple[FloatArray, FloatArray, tuple[float, float], float]:
        return self._ends(24)

    def _integral(self, rho: ArrayLike, nodes: int) -> tuple[FloatArray, FloatArray]:
        rho = _rho(rho)
        edges, values, ends, doubt = self._fine if nodes == 24 else self._ends(nodes)
        with np.errstate(divide="ignore"):
            t = np.log(rho) - np.log1p(-rho)
        inside = np.clip(t, -_REACH, _REACH)
        panel = np.minimum(np.floor(inside + _REACH).astype(np.int64), len(edges) - 2)
        found = values[panel] + self._panels(edges[panel], inside, nodes)
        found = np.where(rho <= 0, ends[0], np.where(rho >= 1, ends[1], found))
        return found, np.where(np.isfinite(found), doubt, np.nan)


def _tail(last: FloatArray) -> float:
    """What lies beyond the outermost panels, outermost last: a geometric series by their ratio, inf if it diverges."""
    if abs(last[-1]) <= 1e-300:
        return 0.0
    ratio = last[-1] / last[-2] if last[-2] != 0 else np.inf
    if not abs(ratio) < 0.999:  # dF/dt does not fall: F has no finite end there
        return float(np.copysign(np.inf, last[-1]))
    return float(last[-1] * ratio / (1 - ratio))


def closed_form(positive: Expression, negative: Expression) -> Expression | None:
    """F with F' = positive - negative as a formula, F(0) = 0 where that is finite; None where no rule finds one.

    Elementary, or with a named incomplete beta function; checked against F' on (0, 1) before it is returned.

    >>> from advshape.expression import parse
    >>> closed_form(parse("sqrt((1-rho)/rho)"), parse("-sqrt(rho/(1-rho))"))
    2*arcsin(sqrt(rho))
    >>> closed_form(parse("exp(2*rho)/(1+rho)"), parse("0")) is None    # no elementary antiderivative
    True
    """
    try:
        node = antiderivative(sub(positive.node, negative.node))
        if node is None:
            return None
        start = float(Expression(node).value(0.0))
        found = Expression(add(node, constant(-_tidy(start)))) if np.isfinite(start) else Expression(node)
    except AdvshapeError:  # numbers too large to stay exact: the quadrature serves
        return None
    rho = np.sin(np.linspace(0.0, np.pi / 2, 203)[1:-1]) ** 2
    slope = positive.value(rho) - negative.value(rho)
    same = np.allclose(found.derivative(rho), slope, rtol=1e-8, atol=1e-12 * float(np.abs(slope).max()))
    return found if same else None


def _tidy(value: float) -> Fraction:
    """The short fraction that a double stands for, if there is one within rounding."""
    short = Fraction(value).limit_denominator(10_000)
    return short if abs(float(short) - value) <= 1e-14 * max(1.0, abs(value)) else Fraction(value)


def plug_in_table(positive: Formula, negative: Formula, n: int) -> AdvantageTable:
    """The formulas at rho_hat = c/n in mixed groups, silent at c = 0 and c = n."""
    rho = np.arange(1, n) / n
    with np.errstate(all="ignore"):
        right, wrong = (np.asarray(f(rho), np.float64) + np.zeros(n - 1) for f in (positive, negative))
    return AdvantageTable(np.r_[0.0, right, 0.0], np.r_[0.0, wrong, 0.0])
