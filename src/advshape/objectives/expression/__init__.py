"""How do I type my own F? `parse("1-(1-rho)**8 + 0.1*entropy(rho)")` is a surrogate; nothing typed is ever executed.

Start at `syntax`. Where the formula is a polynomial, its arithmetic is exact, so that `unbiased` works for it;
derivatives are symbolic; at an end where the formula cannot be evaluated the limit is taken, and infinite ends are
reported (`findings`).
"""

from __future__ import annotations

from fractions import Fraction
from functools import cached_property
from numbers import Rational, Real

import numpy as np
from numpy.typing import ArrayLike

from advshape.bernstein import FloatArray
from advshape.errors import AdvshapeError
from advshape.objectives.expression import text, tree
from advshape.objectives.expression.domain import check, end_value
from advshape.objectives.expression.functions import ALIASES, CONSTANTS, FUNCTIONS, REFUSED
from advshape.objectives.expression.polynomial import Polynomial
from advshape.objectives.expression.syntax import NAME, read
from advshape.objectives.surrogate import Sum, Surrogate, _rho

__all__ = ["Expression", "as_surrogate", "parse"]


def parse(formula: str, /, **parameters: float | Fraction) -> Expression:
    """The surrogate that a formula of rho describes.

    Operators + - * / **; exp, log, sqrt, arcsin; entropy, variance, deviation, kl(target), pass_at(k), all_of(k),
    majority_of(k), log_likelihood(order), grpo(), skew_r(strength), focal(gamma), beta(a, b), risk_sensitive(beta),
    log_odds(), each of rho or, as last argument, of another formula; pi, e; named parameters as keywords. The repr of
    a sum of surrogates is a formula too. Raises AdvshapeError, saying where, for anything else, and for formulas that
    are undefined somewhere inside (0, 1).

    >>> parse("1-(1-rho)**8").bernstein(7)
    array([8., 0., 0., 0., 0., 0., 0., 0.])
    >>> parse("rho + strength*entropy(rho)", strength=0.1)
    rho + 0.1*entropy(rho)
    >>> parse("rho + strength*entropy(rho)", strength=0.1).slope
    '1 + 0.1*log(1 - rho) - 0.1*log(rho)'
    >>> parse("(1-(1-rho)**8)/rho").degree      # a polynomial after all; F' has degree 6
    6
    """
    if not isinstance(formula, str):
        raise AdvshapeError(f"a formula is a string such as '1-(1-rho)**8', got {type(formula).__name__}")
    numbers = {name: _parameter(name, value) for name, value in parameters.items()}
    try:
        node = read(str(formula), numbers)
    except RecursionError:
        raise AdvshapeError("the formula nests too deeply; simplify it") from None
    check(node)
    return Expression(node)


def as_surrogate(objective: object) -> Surrogate:
    """The surrogate itself, or that of a formula. Raises AdvshapeError for anything else, with what to call.

    >>> as_surrogate("pass_at(4)")
    1 - (1 - rho)**4
    """
    if isinstance(objective, str):
        try:
            return parse(objective)
        except AdvshapeError as error:
            raise AdvshapeError(f"{error}; a rule such as rloo is named by advshape.estimator(...)") from None
    if not isinstance(objective, Surrogate):
        seen = f"{objective!r:.80}"
        raise AdvshapeError(
            f"an objective is a surrogate such as PassAtK(8), or text such as '1-(1-rho)**8', got {seen}; that of an "
            "estimator is its .surrogate"
        )
    return objective


class Expression(Sum):
    """A typed surrogate; as a Sum, its parts are its polynomial part and each further term."""

    node: tree.Node

    def __init__(self, node: tree.Node) -> None:
        object.__setattr__(self, "node", node)

    def __repr__(self) -> str:
        return self.formula

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and self.node == other.node

    def __hash__(self) -> int:
        return hash(self.node)

    @cached_property
    def formula(self) -> str:
        """F as a formula that can be typed again (numbers shown to 16 digits)."""
        return text.show(self.node)

    @cached_property
    def slope(self) -> str:
        """F' as a formula."""
        return text.show(self._slope)

    @cached_property
    def _slope(self) -> tree.Node:
        return tree.differentiate(self.node)

    @property
    def parts(self) -> tuple[tuple[float, Surrogate], ...]:
        if isinstance(self.node, tree.Add):
            return tuple((1.0, _Term(node)) for node in self.node.terms)
        return ((1.0, self),)

    @property
    def degree(self) -> int | None:  # type: ignore[override]
        return self._slope.degree if isinstance(self.node, Polynomial) and isinstance(self._slope, Polynomial) else None

    def value(self, rho: ArrayLike) -> FloatArray:
        return _evaluate(self.node, self._ends[0], rho)

    def derivative(self, rho: ArrayLike) -> FloatArray:
        return _evaluate(self._slope, self._ends[1], rho)

    def bernstein(self, degree: int) -> FloatArray | None:
        if self.degree is None or degree < self.degree:
            return None
        assert isinstance(self._slope, Polynomial)
        return self._slope.bernstein(degree)

    @cached_property
    def _ends(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """F at 0 and 1, F' at 0 and 1: limits, inf where infinite, NaN where undetermined."""
        return (
            (end_value(self.node, 0), end_value(self.node, 1)),
            (end_value(self._slope, 0), end_value(self._slope, 1)),
        )

    @property
    def findings(self) -> tuple[str, ...]:
        """What is singular at the ends: 'F' -> inf as rho -> 0'; empty where F and F' are finite on [0, 1].

        >>> parse("2*arcsin(sqrt(rho))").findings
        ("F' -> inf as rho -> 0", "F' -> inf as rho -> 1")
        """
        out = []
        for name, ends in zip(("F", "F'"), self._ends, strict=True):
            for end, value in enumerate(ends):
                if np.isnan(value):
                    out.append(f"{name} has no limit that could be determined as rho -> {end}")
                elif np.isinf(value):
                    out.append(f"{name} -> {value:g} as rho -> {end}")
        return tuple(out)


class _Term(Expression):
    """A term of a larger formula: bracketed where it is itself a sum, so that sums of terms read right."""

    def __repr__(self) -> str:
        return f"({self.formula})" if text.is_sum(self.formula) else self.formula


def _evaluate(node: tree.Node, ends: tuple[float, float], rho: ArrayLike) -> FloatArray:
    values = _rho(rho)
    with np.errstate(all="ignore"):
        inner = tree.evaluate(node, values, 1 - values)
    return np.where(values == 0, ends[0], np.where(values == 1, ends[1], inner))[()]


def _parameter(name: str, value: object) -> Fraction:
    taken = {"rho", *FUNCTIONS, *ALIASES, *CONSTANTS, *REFUSED}
    if not NAME.fullmatch(name) or len(name) > 40 or name in taken:
        raise AdvshapeError(
            f"{name[:40]!r} cannot name a parameter: it is taken or no plain name; use another such as lam"
        )
    if not isinstance(value, bool):
        if isinstance(value, Rational):
            return Fraction(value)
        if isinstance(value, Real) and np.isfinite(float(value)):
            return Fraction(repr(float(value)))
    raise AdvshapeError(f"the parameter {name} needs a finite number, got {value!r}")
