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
from advshape.objectives.expression import Expression
from advshape.objectives.expression.integrate import antiderivative
from advshape.objectives.expression.polynomial import constant
from advshape.objectives.expression.tree import add, sub
from advshape.objectives.surrogate import Algebra, _rho

__all__ = ["Formula", "IntegratedSurrogate", "closed_form"]

Formula = Callable[[FloatArray], FloatArray | float]
_LEFT, _RIGHT = 600, 36  # in logit rho: doubles end near rho = 1e-300 and at 1 - rho = 1e-16
_SURE = 28  # beyond it formulas that contain 1 - rho lose digits


@dataclass(frozen=True, eq=False)
class IntegratedSurrogate(Algebra):
    """F with F'(rho) = positive(rho) - negative(rho), by quadrature; arXiv:2510.23049 (reverse).

    positive, negative: formulas of an array rho inside (0, 1). A constant changes no objective: F(0) = 0 where F is
    finite at 0, else F(1/2) = 0. Gauss-Legendre on panels of logit rho, where ends such as 1/sqrt(rho) are smooth,
    halved until both halves agree with the whole; peaks narrower than 0.005 of logit rho can be missed. What lies
    beyond the last panel follows from how dF/d(logit rho) falls: geometrically, or as a power of logit rho, which is
    summed only beyond 3/2. Where neither is sure, F is nan at that end and its error inf. Raises AdvshapeError where a
    formula is not finite inside (0, 1).

    >>> F = IntegratedSurrogate(lambda rho: np.sqrt((1 - rho) / rho), lambda rho: -np.sqrt(rho / (1 - rho)))
    >>> F.value([0.25, 1.0]).round(6)   # GRPO: 2 arcsin sqrt(rho)
    array([1.047198, 3.141593])
    """

    positive: Formula
    negative: Formula
    slope = "A+ - A-"

    def __repr__(self) -> str:
        errors = self.error([0.0, 0.25, 0.5, 0.75, 1.0])
        unsure = " and ".join(str(end) for end, e in ((0, errors[0]), (1, errors[-1])) if np.isinf(e))
        end = f"; it may diverge at rho = {unsure}" if unsure else ""
        return f"the integral of A+ - A- (by quadrature, error below {errors[np.isfinite(errors)].max():.1g}{end})"

    def derivative(self, rho: ArrayLike) -> FloatArray:
        rho = _rho(rho)
        with np.errstate(all="ignore"):
            slope = np.asarray(self.positive(rho), np.float64) - np.asarray(self.negative(rho), np.float64)
        if not np.all(np.isfinite(slope) | (rho == 0) | (rho == 1)):
            bad = float(np.broadcast_to(rho, slope.shape)[~np.isfinite(slope)].flat[0])
            raise AdvshapeError(f"the formulas are not finite at rho={bad:g}; they must be finite inside (0, 1)")
        return slope + np.zeros_like(rho)

    def value(self, rho: ArrayLike) -> FloatArray:
        """F(rho), same shape; inf where it diverges, nan where that cannot be told."""
        return self._at(rho)[0]

    def error(self, rho: ArrayLike) -> FloatArray:
        """Estimated absolute error of value(rho), same shape; nan where the value is infinite, inf where it is nan."""
        return self._at(rho)[1]

    def _slope_in_logit(self, t: FloatArray) -> FloatArray:
        """dF/dt = F'(rho) rho (1 - rho), t = logit rho."""
        with np.errstate(over="ignore"):
            rho = 1 / (1 + np.exp(-t))
        return self.derivative(rho) * np.exp(-np.abs(t)) / (1 + np.exp(-np.abs(t))) ** 2

    def _panels(self, left: FloatArray, right: FloatArray, nodes: int = 24) -> FloatArray:
        x, mass = np.polynomial.legendre.leggauss(nodes)
        half = (right - left)[..., None] / 2
        return np.asarray((self._slope_in_logit(left[..., None] + half * (x + 1)) * mass * half).sum(-1))

    def _start(self) -> float:
        """How far left the formulas can be trusted: not beyond where they overflow, or fall to 0 all at once."""
        for far in (_LEFT, 300, 150, 75):
            try:
                seen = np.abs(self._slope_in_logit(-np.linspace(_SURE, far, 500)))
            except AdvshapeError:
                continue
            if np.all(seen > 0) and np.max(np.abs(np.diff(np.log(seen)))) < 4 * far / 500:
                return float(far)
        return float(_RIGHT)

    def _refined(self, edges: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Edges, panels and their doubts: the worst 200 panels are halved, 30 times or until all agree."""
        left, right, whole = edges[:-1], edges[1:], self._panels(edges[:-1], edges[1:])
        doubt = np.full(len(whole), np.inf)
        core = float(np.abs(whole[np.abs(left) < 8]).sum())
        for _ in range(30):
            bad = np.argsort(-doubt)[: None if np.isinf(doubt).any() else 200]
            bad = bad[doubt[bad] > 1e-13 * np.abs(whole[bad]) + 1e-16 * core]
            if not bad.size:
                break
            middle = (left[bad] + right[bad]) / 2
            first, second = self._panels(left[bad], middle), self._panels(middle, right[bad])
            differ = np.abs(first + second - whole[bad]) / 2
            left = np.concatenate([np.delete(left, bad), left[bad], middle])
            right = np.concatenate([np.delete(right, bad), middle, right[bad]])
            whole = np.concatenate([np.delete(whole, bad), first, second])
            doubt = np.concatenate([np.delete(doubt, bad), differ, differ])
        order = np.argsort(left)
        return np.append(left[order], right.max()), whole[order], doubt[order]

    def _between(self, side: int, near: float, far: float) -> float:
        """The integral over t from side * near to side * far, outwards and positive where dF/dt is."""
        steps = np.arange(near, far)
        return float((self._panels(steps, steps + 1) if side > 0 else self._panels(-steps - 1, -steps)).sum())

    def _decay(self, side: int, t: float) -> float:
        """-d log |dF/dt| / d |t| over the five units before t."""
        near, far = abs(self._between(side, t - 5, t - 4)), abs(self._between(side, t - 1, t))
        return float(np.log(near / far)) / 4 if near > 0 and far > 0 else np.inf

    def _beyond(self, side: int, t: float, geometric: bool) -> float:
        """The integral beyond t if dF/dt goes on falling as exp(-rate |t|), or as a power of |t|."""
        last, rate = self._between(side, t - 1, t), self._decay(side, t)
        power = rate * (t - 2.5)
        return last / float(np.expm1(rate)) if geometric else last * (1 - 0.5 / t) ** power * t / (power - 1)

    def _tail(self, side: int, reach: float) -> tuple[float, float]:
        """What lies beyond t = side * reach, and its doubt: (inf, nan) where it diverges, (nan, inf) where unsure."""
        last = self._between(side, reach - 1, reach)
        if abs(last) <= 1e-300:
            return 0.0, 0.0
        rate, before = self._decay(side, reach), self._decay(side, reach / 2)
        power, steady = rate * (reach - 2.5), rate / before if before > 0 else np.inf
        geometric = steady > 0.95 or (power > 4 and steady > 0.8)
        if power < 0.02 or (not geometric and power <= 1):
            return float(np.copysign(np.inf, last)), np.nan
        if power < (1 if geometric else 1.5):
            return np.nan, np.inf
        tail, ahead = self._beyond(side, reach, geometric), 1 / rate if geometric else reach / (power - 1)
        change = self._beyond(side, reach - 4, geometric) - self._between(side, reach - 4, reach) - tail
        return tail, 2 * abs(change) * max(1.0, ahead / 4)

    @cached_property
    def _found(self) -> tuple[FloatArray, FloatArray, FloatArray, tuple[float, float], tuple[float, float]]:
        """Edges, F and its doubt there; F and its doubt at rho = 0 and 1."""
        start = self._start()
        edges = np.concatenate([np.arange(-start, -_RIGHT, 3.0), np.arange(-_RIGHT, _RIGHT + 0.125, 0.125)])
        edges, panels, doubts = self._refined(edges)
        values, doubt = _outward(edges, panels), _outward(edges, doubts, sign=1)
        reach = start if start > _RIGHT else float(_SURE)
        (low, low_doubt), (high, high_doubt) = self._tail(-1, reach), self._tail(1, _SURE)
        zero, one = (float(np.interp(t, edges, values)) for t in (-reach, _SURE))
        anchor, unsure = (zero - low, low_doubt + doubt[0]) if np.isfinite(low) else (0.0, 0.0)
        ends = (0.0 if np.isfinite(low) else -low), one + high - anchor
        sure = (low_doubt if not np.isfinite(low) else 0.0), high_doubt + doubt[-1] + unsure
        return edges, values - anchor, doubt + unsure, ends, sure

    def _at(self, rho: ArrayLike) -> tuple[FloatArray, FloatArray]:
        rho = _rho(rho)
        edges, values, doubts, ends, sure = self._found
        with np.errstate(divide="ignore"):
            t = np.log(rho) - np.log1p(-rho)
        inside = np.clip(t, edges[0], edges[-1])
        panel = np.clip(np.searchsorted(edges, inside, "right") - 1, 0, len(edges) - 2)
        rest, coarse = (self._panels(edges[panel], inside, nodes) for nodes in (24, 16))
        found = values[panel] + rest
        doubt = np.maximum(doubts[panel], doubts[panel + 1]) + np.minimum(np.abs(rest - coarse), np.abs(rest))
        doubt = doubt + np.where(t < edges[0], np.abs(found - ends[0]), 0.0)  # nan or inf where F goes on unseen
        found = np.where(rho <= 0, ends[0], np.where(rho >= 1, ends[1], found))
        doubt = np.where(rho <= 0, sure[0], np.where(rho >= 1, sure[1], doubt))
        return found, doubt + 4e-15 * np.maximum(1.0, np.where(np.isfinite(found), np.abs(found), 0.0))


def _outward(edges: FloatArray, panels: FloatArray, sign: int = -1) -> FloatArray:
    """Sums of panels from t = 0 to every edge, so that huge panels at one end cost the others no digits."""
    middle = int(np.searchsorted(edges, 0.0))
    return np.concatenate([sign * np.cumsum(panels[:middle][::-1])[::-1], [0.0], np.cumsum(panels[middle:])])


def closed_form(positive: Expression, negative: Expression) -> Expression | None:
    """F with F' = positive - negative as a formula, F(0) = 0 where that is finite; None where no rule finds one.

    Elementary, or with a named incomplete beta function; checked against F' on (0, 1) before it is returned.

    >>> from advshape.objectives.expression import parse
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
