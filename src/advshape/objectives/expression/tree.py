"""Formulas as trees: exact polynomials, sums, products, powers, five functions; built, differentiated, evaluated.

Trees are made by `add`, `mul`, `power` and `call` alone, which fold whatever is polynomial, so that a formula is a
polynomial exactly where its tree is one leaf (conservative: no identity between functions is guessed).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from advshape.bernstein import FloatArray
from advshape.errors import AdvshapeError
from advshape.objectives.expression.polynomial import MAX_DEGREE, ONE, RHO, WRONG, ZERO, Polynomial, constant

__all__ = [
    "Add",
    "Call",
    "Mul",
    "Node",
    "Power",
    "add",
    "call",
    "differentiate",
    "evaluate",
    "mul",
    "power",
    "slope_of",
    "sub",
]


@dataclass(frozen=True)
class Add:
    terms: tuple[Node, ...]


@dataclass(frozen=True)
class Mul:
    """coefficient times factors, none of which is a polynomial."""

    coefficient: Polynomial
    factors: tuple[Node, ...]


@dataclass(frozen=True)
class Power:
    base: Node
    exponent: Fraction


@dataclass(frozen=True)
class Call:
    """exp, log, arcsin, entropy of the argument, or beta: the incomplete beta function B(x; a, b)."""

    name: str
    argument: Node
    parameters: tuple[Fraction, ...] = ()


Node = Polynomial | Add | Mul | Power | Call
HALF = Fraction(1, 2)


def add(*nodes: Node) -> Node:
    """Sum; equal terms are collected, powers of rho and 1 - rho brought to a common denominator."""
    plain, groups = ZERO, dict[tuple[Node, ...], list[tuple[Fraction, Fraction, Polynomial]]]()
    for term in (t for node in nodes for t in (node.terms if isinstance(node, Add) else (node,))):
        if isinstance(term, Polynomial):
            plain = plain + term
            continue
        times, factors = (term.coefficient, term.factors) if isinstance(term, Mul) else (ONE, (term,))
        low = {f.base: f.exponent for f in factors if isinstance(f, Power) and f.base in (RHO, WRONG)}
        a, b = low.get(RHO, Fraction(0)), low.get(WRONG, Fraction(0))
        rest = tuple(f for f in factors if not (isinstance(f, Power) and f.base in low))
        groups.setdefault((constant(a % 1), constant(b % 1), *rest), []).append((a, b, times))
    terms: list[Node] = []
    for key, parts in groups.items():
        a, b = min(p[0] for p in parts), min(p[1] for p in parts)
        total = ZERO
        for more_a, more_b, times in parts:
            total = total + times * RHO ** int(more_a - a) * WRONG ** int(more_b - b)
        node = mul(total, power(RHO, a), power(WRONG, b), *key[2:])
        if isinstance(node, Polynomial):
            plain = plain + node
        else:
            terms += node.terms if isinstance(node, Add) else [node]
    terms = [plain, *terms] if plain != ZERO else terms
    return terms[0] if len(terms) == 1 else Add(tuple(terms)) if terms else ZERO


def sub(left: Node, right: Node) -> Node:
    """left - right."""
    return add(left, mul(constant(-1), right))


def mul(*nodes: Node) -> Node:
    """Product; powers of one base are collected and exact divisions carried out."""
    coefficient, exponents = ONE, dict[Node, Fraction]()
    stack = list(reversed(nodes))
    while stack:
        node = stack.pop()
        if isinstance(node, Polynomial):
            coefficient = coefficient * node
        elif isinstance(node, Mul):
            stack += [*reversed(node.factors), node.coefficient]
        else:
            base, e = (node.base, node.exponent) if isinstance(node, Power) else (node, Fraction(1))
            exponents[base] = exponents.get(base, Fraction(0)) + e
    if coefficient == ZERO:
        return ZERO
    factors: list[Node] = []
    for base, e in exponents.items():
        if isinstance(base, Polynomial):
            coefficient, e = _cancelled(coefficient, base, e)
        factor = power(base, e)
        if isinstance(factor, Polynomial):
            coefficient = coefficient * factor
        elif isinstance(factor, Mul):
            coefficient, factors = coefficient * factor.coefficient, [*factors, *factor.factors]
        else:
            factors.append(factor)
    if not factors:
        return coefficient
    if len(factors) == 1 and isinstance(factors[0], Add) and coefficient.constant is not None:
        return add(*(mul(coefficient, term) for term in factors[0].terms))
    return _product(coefficient, tuple(factors))


def _cancelled(coefficient: Polynomial, base: Polynomial, e: Fraction) -> tuple[Polynomial, Fraction]:
    """Powers of rho or 1 - rho in the coefficient joined with e; other bases divided out while e is negative."""
    if base in (RHO, WRONG):
        right, wrong, rest = coefficient.at_ends
        found = right if base == RHO else wrong
        kept = WRONG**wrong if base == RHO else RHO**right
        return rest * kept, e + found
    while e < 0:
        quotient = coefficient.divided(base)
        if quotient is None:
            break
        coefficient, e = quotient, e + 1
    return coefficient, e


def _product(coefficient: Polynomial, factors: tuple[Node, ...]) -> Node:
    return factors[0] if coefficient == ONE and len(factors) == 1 else Mul(coefficient, factors)


def power(base: Node, exponent: Fraction) -> Node:
    """base ** exponent for a constant exponent."""
    if abs(exponent) > MAX_DEGREE:
        raise AdvshapeError(f"an exponent may reach {MAX_DEGREE}, got one of about {float(exponent):.3g}")
    whole = exponent.denominator == 1
    if exponent == 0:
        return ONE
    if isinstance(base, Polynomial):
        if whole and exponent > 0:
            return base ** int(exponent)
        if base.constant is not None:
            return constant(_number_power(base.constant, exponent))
        right, wrong, rest = base.at_ends
        if base not in (RHO, WRONG) and right + wrong:
            return mul(power(RHO, right * exponent), power(WRONG, wrong * exponent), power(rest, exponent))
    if exponent == 1:
        return base
    if isinstance(base, Power) and (whole or base.exponent.denominator != 1):
        return power(base.base, base.exponent * exponent)
    if isinstance(base, Call) and base.name == "exp":
        return call("exp", mul(constant(exponent), base.argument))
    if isinstance(base, Mul) and whole:
        return mul(power(base.coefficient, exponent), *(power(f, exponent) for f in base.factors))
    return Power(base, exponent)


def _number_power(base: Fraction, exponent: Fraction) -> Fraction:
    if base == 0 and exponent < 0:
        raise AdvshapeError("the formula divides by zero; check its denominators")
    if exponent.denominator == 1:
        inverse = constant(1 / base) if exponent < 0 else constant(base)
        return (inverse ** abs(int(exponent))).constant or Fraction(0)
    if base < 0:
        raise AdvshapeError(f"{float(base):g} ** {float(exponent):g} is no real number; check the formula")
    return _finite(lambda: float(base) ** float(exponent), "a power")


def _finite(compute: Callable[[], float], what: str) -> Fraction:
    try:
        return Fraction(compute())
    except (OverflowError, ValueError):
        raise AdvshapeError(f"{what} of a constant in the formula is not a finite real number; check it") from None


def call(name: str, argument: Node, parameters: tuple[Fraction, ...] = ()) -> Node:
    """exp, log, arcsin, entropy or beta of a tree; constants become the nearest double."""
    number = argument.constant if isinstance(argument, Polynomial) else None
    inverse = {"exp": "log", "log": "exp"}.get(name)
    if number is not None and name != "beta":
        if name == "entropy" and not 0 <= number <= 1:
            raise AdvshapeError(f"entropy takes a probability in [0, 1], got {float(number):g}")
        plain = {"exp": math.exp, "log": math.log, "arcsin": math.asin, "entropy": _entropy_of}[name]
        return constant(_finite(lambda: plain(number), name))
    if isinstance(argument, Call) and argument.name == inverse:
        return argument.argument
    if name == "exp" and isinstance(argument, Mul) and isinstance(argument.factors[0], Call):
        inner, times = argument.factors[0], argument.coefficient.constant
        if inner.name == "log" and len(argument.factors) == 1 and times is not None:
            return power(inner.argument, times)
    return Call(name, argument, parameters)


def _entropy_of(x: Fraction) -> float:
    return -sum(float(p) * math.log(p) for p in (x, 1 - x) if p > 0)


def differentiate(node: Node) -> Node:
    """d/d rho."""
    if isinstance(node, Polynomial):
        return node.derivative()
    if isinstance(node, Add):
        return add(*(differentiate(t) for t in node.terms))
    if isinstance(node, Mul):
        parts = (node.coefficient, *node.factors)
        return add(*(mul(*parts[:i], differentiate(p), *parts[i + 1 :]) for i, p in enumerate(parts)))
    if isinstance(node, Power):
        return mul(constant(node.exponent), power(node.base, node.exponent - 1), differentiate(node.base))
    square = power(node.argument, Fraction(2)) if node.name == "arcsin" else None
    if isinstance(square, Polynomial):  # arcsin(x)' = (x**2)' / (2 x sqrt(1 - x**2)), whose roots stay exact
        inner = power(sub(ONE, square), -HALF)
        return mul(constant(HALF), square.derivative(), power(node.argument, Fraction(-1)), inner)
    return mul(slope_of(node), differentiate(node.argument))


def slope_of(node: Call) -> Node:
    """The derivative of a function at its argument."""
    x = node.argument
    if node.name == "exp":
        return node
    if node.name == "log":
        return power(x, Fraction(-1))
    if node.name == "arcsin":
        return power(sub(ONE, power(x, Fraction(2))), -HALF)
    if node.name == "entropy":
        return sub(call("log", sub(ONE, x)), call("log", x))
    a, b = node.parameters
    return mul(power(x, a - 1), power(sub(ONE, x), b - 1))


def evaluate(node: Node, rho: FloatArray, wrong: FloatArray) -> FloatArray:
    """Values at rho, with wrong = 1 - rho given apart; NaN and inf as the operations give them."""
    if isinstance(node, Polynomial):
        return node(rho, wrong)
    if isinstance(node, Add):
        return np.sum([evaluate(t, rho, wrong) for t in node.terms], axis=0)
    if isinstance(node, Mul):
        parts = [evaluate(f, rho, wrong) for f in (node.coefficient, *node.factors)]
        return np.prod(parts, axis=0)
    if isinstance(node, Power):
        return np.asarray(evaluate(node.base, rho, wrong) ** float(node.exponent))
    return _function(node, rho, wrong)


def _function(node: Call, rho: FloatArray, wrong: FloatArray) -> FloatArray:
    x = node.argument
    if node.name == "exp":
        return np.exp(evaluate(x, rho, wrong))
    if node.name == "log":
        value = evaluate(x, rho, wrong)
        near = evaluate(sub(ONE, x), rho, wrong) if isinstance(x, Polynomial) else 1 - value
        return np.where(np.abs(near) < 0.5, np.log1p(-near), np.log(value))
    right, other = evaluate(x, rho, wrong), _not_negative(evaluate(sub(ONE, x), rho, wrong))
    if node.name == "arcsin":  # arctan2 keeps full precision next to 1, where 1 - x**2 is known exactly
        square = power(x, Fraction(2))
        rest = evaluate(sub(ONE, square), rho, wrong) if isinstance(square, Polynomial) else other * (1 + right)
        return np.arctan2(right, np.sqrt(_not_negative(rest)))
    right = _not_negative(right)
    if node.name == "entropy":
        terms = [np.where(p == 0, 0.0, p * np.log(np.where(p == 0, 1.0, p))) for p in (right, other)]
        return 0.0 - (terms[0] + terms[1])
    from scipy.special import beta, betainc

    a, b = (float(p) for p in node.parameters)
    return np.asarray(betainc(a, b, np.minimum(right, 1.0)) * beta(a, b))


def _not_negative(values: FloatArray) -> FloatArray:
    """Rounding below zero set to zero; what is truly negative stays and gives NaN."""
    return np.where((values < 0) & (values > -1e-12), 0.0, values)
