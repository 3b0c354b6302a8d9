"""Where is a formula defined? Poles and gaps inside (0, 1) are refused; at the ends the limit is taken."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from advshape.bernstein import FloatArray
from advshape.errors import AdvshapeError
from advshape.objectives.expression import tree
from advshape.objectives.expression.polynomial import ONE, Polynomial, constant
from advshape.objectives.expression.text import show

__all__ = ["check", "end_value", "log", "root"]

_THETA = np.linspace(0, np.pi / 2, 259)[1:-1]
GRID, WRONG = np.sin(_THETA) ** 2, np.cos(_THETA) ** 2  # dense next to both ends, 1/2 among them
_FAR = np.append(np.geomspace(3e-5, 0.9e-15, 53), np.geomspace(1e-16, 1e-300, 72))  # on towards an end
_LOGIT = np.concatenate([np.log(_FAR[::-1]), np.log(GRID / WRONG), -np.log(_FAR)])
_NEAR = 10.0 ** -np.arange(2.0, 300.0, 2.0)
_ROUNDING = 1e-13


def check(node: tree.Node) -> None:
    """Refuse a formula that is not a finite real number everywhere inside (0, 1), saying where and which part."""
    with np.errstate(all="ignore"):
        for part, base in _risky(node):
            places: tuple[float | None, ...]
            if isinstance(part, tree.Call) and part.name in ("arcsin", "entropy", "beta"):
                low = constant(-1 if part.name == "arcsin" else 0)
                places = (_negative(tree.sub(base, low), 1e-12), _negative(tree.sub(ONE, base), 1e-12))
            elif isinstance(part, tree.Power) and part.exponent.denominator == 1:
                places = (_zero(base),)
            else:
                places = (_negative(base), _zero(base))
            for place in places:
                _refuse(part, base, place)
        for what, tested in (("the formula", node), ("its derivative", tree.differentiate(node))):
            values = tree.evaluate(tested, GRID, WRONG)
            if not np.all(np.isfinite(values)):
                rho = GRID[~np.isfinite(values)][0]
                raise AdvshapeError(f"{what} is not a finite number at rho = {rho:.6g}; rescale or correct it")


def root(base: tree.Node, exponent: Fraction) -> tree.Node:
    """base ** exponent, refused where a fractional power meets a negative base, also if the power cancels later."""
    if exponent.denominator != 1:
        with np.errstate(all="ignore"):
            _refuse(tree.Power(base, exponent), base, _negative(base, 1e-12))
    return tree.power(base, exponent)


def log(base: tree.Node) -> tree.Node:
    """log(base), refused where the base is not positive, also if the logarithm cancels later."""
    with np.errstate(all="ignore"):
        for place in (_negative(base), _zero(base)):
            _refuse(tree.Call("log", base), base, place)
    return tree.call("log", base)


def _refuse(part: tree.Node, base: tree.Node, place: float | None) -> None:
    """The error, if there is a place in logit rho; part: what stands around the base."""
    if place is None:
        return
    rho, wrong = _rates(np.array(place))
    value = float(tree.evaluate(base, rho, wrong))
    where = f"1 - {wrong:.6g}" if wrong < 1e-4 else f"{rho:.6g}"
    raise AdvshapeError(
        f"{show(part)} is undefined at rho = {where}, where {show(base)} = {value:.6g}; "
        "a surrogate must be defined for every success probability in (0, 1)"
    )


def _rates(logit: FloatArray) -> tuple[FloatArray, FloatArray]:
    """rho and 1 - rho, each to full precision."""
    return 1 / (1 + np.exp(-logit)), 1 / (1 + np.exp(logit))


def _sign(node: tree.Node, rho: FloatArray, wrong: FloatArray) -> FloatArray:
    """The sign of the values, 0 where rounding could have made it."""
    values = tree.evaluate(node, rho, wrong)
    return np.where(np.abs(values) > _ROUNDING * _size(node, rho, wrong), np.sign(values), 0.0)


def _size(node: tree.Node, rho: FloatArray, wrong: FloatArray) -> FloatArray:
    """What the rounding of a value is relative to: its size if no two terms cancelled."""
    if isinstance(node, Polynomial):
        return Polynomial(tuple(map(abs, node.numerators)), node.denominator)(rho, wrong)
    if isinstance(node, tree.Add):
        return np.sum([_size(t, rho, wrong) for t in node.terms], axis=0)
    if isinstance(node, tree.Mul):
        return np.prod([_size(f, rho, wrong) for f in (node.coefficient, *node.factors)], axis=0)
    size = np.abs(tree.evaluate(node, rho, wrong))
    if isinstance(node, tree.Power):
        lost = _size(node.base, rho, wrong) / np.abs(tree.evaluate(node.base, rho, wrong))
        return size * lost ** abs(float(node.exponent))
    if isinstance(node.argument, Polynomial):
        return size
    slope = np.abs(tree.evaluate(tree.slope_of(node), rho, wrong))
    return size + np.where(slope > 0, slope * _size(node.argument, rho, wrong), 0.0)


def _negative(base: tree.Node, slack: float = 0.0) -> float | None:
    """Where in logit rho, next to 1/2, the base is below 0 beyond rounding, or within the grid below -slack."""
    if _one_sided(base, 1):
        return None
    rho, wrong = _rates(_LOGIT)
    inner = (rho >= GRID[0]) & (wrong >= WRONG[-1])
    below = np.where(inner, tree.evaluate(base, rho, wrong) < -slack, _sign(base, rho, wrong) < 0)
    return float(min(_LOGIT[below], key=abs)) if below.any() else None


def _risky(node: tree.Node) -> Iterator[tuple[tree.Node, tree.Node]]:
    """(part, argument) wherever an argument must not vanish or leave its range."""
    if isinstance(node, tree.Add):
        for term in node.terms:
            yield from _risky(term)
    elif isinstance(node, tree.Mul):
        for factor in node.factors:
            yield from _risky(factor)
    elif isinstance(node, tree.Power):
        yield from _risky(node.base)
        if node.exponent < 0 or node.exponent.denominator != 1:
            yield node, node.base
    elif isinstance(node, tree.Call):
        yield from _risky(node.argument)
        if node.name != "exp":
            yield node, node.argument


def _one_sided(base: tree.Node, side: int) -> bool:
    """Whether a polynomial's coefficients in rho^j (1-rho)^(d-j) show that it keeps this sign inside (0, 1)."""
    return isinstance(base, Polynomial) and any(base.numerators) and min(side * c for c in base.numerators) >= 0


def _zero(base: tree.Node) -> float | None:
    """A zero strictly inside (0, 1), in logit rho: at a point, a change of sign, or a minimum that rounding cannot
    tell from 0."""
    if _one_sided(base, 1) or _one_sided(base, -1):
        return None
    logit = np.log(GRID / WRONG)
    bad = ~(np.abs(tree.evaluate(base, GRID, WRONG)) > 0)
    if bad.any():
        return float(logit[bad][0])
    rho, wrong = _rates(_LOGIT)
    sign, size = _sign(base, rho, wrong), np.abs(tree.evaluate(base, rho, wrong))
    sure = np.flatnonzero(sign)
    logit, sign, size = _LOGIT[sure], sign[sure], size[sure]
    for i in np.flatnonzero(sign[1:] != sign[:-1]):
        return _shrunk(base, logit[i], logit[i + 1])
    valley = (size[1:-1] <= size[:-2]) & (size[1:-1] <= size[2:])
    deep = 4 * size[1:-1] <= np.maximum(size[:-2], size[2:])  # a double zero next to a point makes this ratio 9 or more
    for i in np.flatnonzero(valley & deep):
        place = _shrunk(base, logit[i], logit[i + 2])
        if _sign(base, *_rates(np.array(place))) == 0:
            return place
    return None


def _shrunk(base: tree.Node, low: float, high: float) -> float:
    """The logit of the smallest |base| between two others."""
    for _ in range(26):
        logit = np.linspace(low, high, 9)
        best = int(np.argmin(np.abs(tree.evaluate(base, *_rates(logit)))))
        low, high = logit[max(best - 1, 0)], logit[min(best + 1, 8)]
    return float(logit[best])


def end_value(node: tree.Node, end: int) -> float:
    """The limit of a tree at rho = 0 or 1: inf or -inf where infinite, NaN where it could not be determined."""
    small, zero = _NEAR, np.zeros(1)
    with np.errstate(all="ignore"):
        at = tree.evaluate(node, zero + end, 1 - zero - end)
        near = tree.evaluate(node, *((small, 1 - small) if end == 0 else (1 - small, small)))
    if isinstance(node, Polynomial) or np.isfinite(at[0]):
        return float(at[0]) + 0.0
    far, near = np.abs(near[:2]), near[2:][np.isfinite(near[2:])]
    if near.size < 20 or (near[-1] == 0 and far[1] >= 0.9 * far[0] > 0):  # 0 by cancelled digits, not by a trend
        return float("nan")
    last, step = near[-1], np.diff(near)
    scale = max(1.0, abs(last))
    if np.all(np.abs(near[-10:] - last) <= 1e-9 * scale):
        settling = np.all(np.abs(step[1:]) <= np.abs(step[:-1]) + 1e-9 * scale)  # else rounding cancelled it
        return float(last) if settling else float("nan")
    growing = np.all(np.sign(step) == np.sign(last)) and abs(step[-1]) >= 0.9 * abs(step[-10])
    return float(np.copysign(np.inf, last)) if growing else float("nan")
