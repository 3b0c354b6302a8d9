"""Where is a formula defined? Poles and gaps inside (0, 1) are refused; at the ends the limit is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from advshape.bernstein import FloatArray
from advshape.errors import AdvshapeError
from advshape.expression import tree
from advshape.expression.polynomial import Polynomial
from advshape.expression.text import show

__all__ = ["check", "end_value", "log", "root"]

_THETA = np.linspace(0, np.pi / 2, 259)[1:-1]
GRID, WRONG = np.sin(_THETA) ** 2, np.cos(_THETA) ** 2  # dense next to both ends, 1/2 among them
_NEAR = 10.0 ** -np.arange(2.0, 300.0, 2.0)


def check(node: tree.Node) -> None:
    """Refuse a formula that is not a finite real number everywhere inside (0, 1), saying where and which part."""
    with np.errstate(all="ignore"):
        for part, base in _risky(node):
            values = tree.evaluate(base, GRID, WRONG)
            needs_positive = not (isinstance(part, tree.Power) and part.exponent.denominator == 1)
            bad = ~(values > 0) if needs_positive else ~(np.abs(values) > 0)
            if isinstance(part, tree.Call) and part.name in ("arcsin", "entropy", "beta"):
                low = -1.0 if part.name == "arcsin" else 0.0
                bad = ~((values >= low - 1e-12) & (values <= 1 + 1e-12))
                values = np.ones_like(values)
            rho = GRID[bad][0] if bad.any() else _zero(base, values)
            if rho is not None:
                value = float(tree.evaluate(base, np.array(rho), np.array(1 - rho)))
                raise AdvshapeError(
                    f"{show(part)} is undefined at rho = {rho:.6g}, where {show(base)} = {value:.6g}; a surrogate "
                    "must be defined for every success probability in (0, 1)"
                )
        for what, tested in (("the formula", node), ("its derivative", tree.differentiate(node))):
            values = tree.evaluate(tested, GRID, WRONG)
            if not np.all(np.isfinite(values)):
                rho = GRID[~np.isfinite(values)][0]
                raise AdvshapeError(f"{what} is not a finite number at rho = {rho:.6g}; rescale or correct it")


def root(base: tree.Node, exponent: Fraction) -> tree.Node:
    """base ** exponent, refused where a fractional power meets a negative base, also if the power cancels later."""
    if exponent.denominator != 1:
        _refuse(base, lambda values: values < -1e-12, f"a power {float(exponent):.4g} of {show(base)}")
    return tree.power(base, exponent)


def log(base: tree.Node) -> tree.Node:
    """log(base), refused where the base is not positive, also if the logarithm cancels later."""
    _refuse(base, lambda values: ~(values > 0), f"log({show(base)})")
    return tree.call("log", base)


def _refuse(base: tree.Node, bad: Callable[[FloatArray], NDArray[np.bool_]], what: str) -> None:
    with np.errstate(all="ignore"):
        values = tree.evaluate(base, GRID, WRONG)
    wrong = bad(values)
    if wrong.any():
        rho, value = GRID[wrong][0], values[wrong][0]
        raise AdvshapeError(
            f"{what} is undefined at rho = {rho:.6g}, where {show(base)} = {value:.6g}; a surrogate must be "
            "defined for every success probability in (0, 1)"
        )


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
        yield node, node.base
    elif isinstance(node, tree.Call):
        yield from _risky(node.argument)
        if node.name != "exp":
            yield node, node.argument


def _zero(base: tree.Node, values: FloatArray) -> float | None:
    """A zero strictly inside (0, 1) between grid points: at a change of sign, or a minimum of the size that is 0."""
    size = np.abs(values)
    turns = np.flatnonzero(np.sign(values[1:]) != np.sign(values[:-1]))
    valley = (size[1:-1] <= size[:-2]) & (size[1:-1] <= size[2:])
    deep = 4 * size[1:-1] <= np.maximum(size[:-2], size[2:])  # a double zero next to a point makes this ratio 9 or more
    low = np.flatnonzero(valley & deep) + 1
    spans = [(i, i + 1) for i in turns] + [(i - 1, i + 1) for i in low]
    for left, right in spans:
        theta = np.linspace(_THETA[left], _THETA[right], 9)
        for _ in range(26):  # shrink around the smallest size; a zero reaches rounding
            sizes = np.abs(tree.evaluate(base, np.sin(theta) ** 2, np.cos(theta) ** 2))
            best = int(np.argmin(sizes))
            theta = np.linspace(theta[max(best - 1, 0)], theta[min(best + 1, 8)], 9)
        if sizes.min() <= 1e-12 * size.max():
            return float(np.sin(theta[4]) ** 2)
    return None


def end_value(node: tree.Node, end: int) -> float:
    """The limit of a tree at rho = 0 or 1: inf or -inf where infinite, NaN where it could not be determined."""
    small, zero = _NEAR, np.zeros(1)
    with np.errstate(all="ignore"):
        at = tree.evaluate(node, zero + end, 1 - zero - end)
        near = tree.evaluate(node, *((small, 1 - small) if end == 0 else (1 - small, small)))
    if isinstance(node, Polynomial) or np.isfinite(at[0]):
        return float(at[0]) + 0.0
    near = near[2:][np.isfinite(near[2:])]
    if near.size < 20:
        return float("nan")
    last, step = near[-1], np.diff(near)
    scale = max(1.0, abs(last))
    if np.all(np.abs(near[-10:] - last) <= 1e-9 * scale):
        settling = np.all(np.abs(step[1:]) <= np.abs(step[:-1]) + 1e-9 * scale)  # else rounding cancelled it
        return float(last) if settling else float("nan")
    growing = np.all(np.sign(step) == np.sign(last)) and abs(step[-1]) >= 0.9 * abs(step[-10])
    return float(np.copysign(np.inf, last)) if growing else float("nan")
