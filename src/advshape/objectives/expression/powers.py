"""Integrals of powers: rho^p (1-rho)^q by exact recurrences, and powers of any other linear function."""

from __future__ import annotations

from fractions import Fraction
from math import comb

from advshape.objectives.expression.polynomial import ONE, RHO, WRONG, ZERO, Polynomial, constant
from advshape.objectives.expression.tree import HALF, Add, Call, Mul, Node, Power, add, call, mul, power, sub

__all__ = ["MOST_STEPS", "linear_power", "mirrored", "powers"]

_ROOT, _WRONG_ROOT = Power(RHO, HALF), Power(WRONG, HALF)
MOST_STEPS = 24
_SHORT = 4  # beyond rho^p (1-rho)^q with p + q = 4, an incomplete beta function says more than its expansion


def powers(p: Polynomial, a: Fraction, b: Fraction) -> Node | None:
    """The integral of p rho^a (1-rho)^b; p is a sum of c_j rho^j (1-rho)^(d-j)."""
    if a >= 0 and b >= 0 and a.denominator == b.denominator == 1:
        return mul(p, power(RHO, a), power(WRONG, b)).antiderivative()  # type: ignore[union-attr]
    found: list[Node] = []
    for j, c in enumerate(p.numerators):
        if c:
            one = _monomial(a + j, b + p.degree - j)
            if one is None:
                return None
            found.append(mul(constant(Fraction(c, p.denominator)), one))
    return add(*found)


def _monomial(p: Fraction, q: Fraction) -> Node | None:
    """The integral of rho^p (1-rho)^q."""
    if abs(p) + abs(q) > MOST_STEPS:
        return None
    if p.denominator == q.denominator == 1:
        return _rational(int(p), int(q))
    if p.denominator == 1 and p >= 0:
        return mirrored(_one_sided(q, int(p)))
    if q.denominator == 1 and q >= 0:
        return _one_sided(p, int(q))
    if p <= -1:
        return _raised(p, q, of_wrong=False) if p != -1 else _pole(q, at_one=False)
    if q <= -1:
        return _raised(p, q, of_wrong=True) if q != -1 else _pole(p, at_one=True)
    short = p.denominator == q.denominator == 2 and p + q <= _SHORT
    return _half_powers(p, q) if short else Call("beta", RHO, (p + 1, q + 1))


def _raised(p: Fraction, q: Fraction, of_wrong: bool) -> Node | None:
    """((p+q+2) J(p+1, q) + rho^(p+1) (1-rho)^(q+1)) / (p+1), or its mirror image: one exponent raised by one."""
    below, keep = (q if of_wrong else p) + 1, p + q + 2
    rest = (_monomial(p, q + 1) if of_wrong else _monomial(p + 1, q)) if keep else ZERO
    if rest is None:
        return None
    edge = mul(constant((-1 if of_wrong else 1) / below), power(RHO, p + 1), power(WRONG, q + 1))
    return add(mul(constant(keep / below), rest), edge)


def _half_powers(p: Fraction, q: Fraction) -> Node:
    """Both exponents -1/2, 1/2, 3/2, ...: lowered to rho^(-1/2) (1-rho)^(-1/2), whose integral is 2 arcsin sqrt rho."""
    total = p + q + 1
    if p > 0:
        rest, edge = mul(constant(p / total), _half_powers(p - 1, q)), mul(power(RHO, p), power(WRONG, q + 1))
        return sub(rest, mul(constant(1 / total), edge))
    if q > 0:
        rest, edge = mul(constant(q / total), _half_powers(p, q - 1)), mul(power(RHO, p + 1), power(WRONG, q))
        return add(rest, mul(constant(1 / total), edge))
    return mul(constant(2), call("arcsin", _ROOT))


def _rational(p: int, q: int) -> Node:
    """Integer exponents, at least one of them negative: partial fractions."""
    if p < 0 and q < 0:
        m, k = -p, -q
        right = [(i - m, comb(k + i - 1, i)) for i in range(m)]  # 1/(rho^m (1-rho)^k) = sum of c rho^e + the mirrored
        wrong = [(i - k, comb(m + i - 1, i)) for i in range(k)]
        sides = [add(*(mul(constant(c), _one_sided(Fraction(e), 0)) for e, c in side)) for side in (right, wrong)]
        return add(sides[0], mirrored(sides[1]))
    return _one_sided(Fraction(p), q) if q >= 0 else mirrored(_one_sided(Fraction(q), p))


def _one_sided(p: Fraction, q: int) -> Node:
    """rho^p (1-rho)^q, q = 0, 1, ...: the binomial theorem, power by power."""
    out: list[Node] = []
    for i in range(q + 1):
        e, sign = p + i + 1, constant((-1) ** i * comb(q, i))
        out.append(mul(sign, call("log", RHO) if e == 0 else mul(constant(1 / e), power(RHO, e))))
    return add(*out)


def mirrored(node: Node) -> Node:
    """Minus the tree with rho and 1 - rho exchanged: the integral of the mirrored integrand."""
    return mul(constant(-1), _swapped(node))


def _swapped(node: Node) -> Node:
    if isinstance(node, Polynomial):
        return Polynomial(node.numerators[::-1], node.denominator)
    if isinstance(node, Add):
        return add(*map(_swapped, node.terms))
    if isinstance(node, Mul):
        return mul(_swapped(node.coefficient), *map(_swapped, node.factors))
    if isinstance(node, Power):
        return power(_swapped(node.base), node.exponent)
    return Call(node.name, _swapped(node.argument), node.parameters)


def _pole(other: Fraction, at_one: bool) -> Node | None:
    """rho^-1 (1-rho)^other, or mirrored, for half-integers: lowered or raised to -1/2, a difference of logarithms."""
    if other.denominator != 2:
        return None
    if at_one:
        found = _pole(other, at_one=False)
        return None if found is None else mirrored(found)
    if other > 0:  # J(-1, q) = J(-1, q-1) + (1-rho)^q / q
        rest = _pole(other - 1, at_one=False)
        return None if rest is None else add(rest, mul(constant(1 / other), power(WRONG, other)))
    if other < -HALF:  # J(-1, q) = J(-1, q+1) - (1-rho)^(q+1) / (q+1)
        rest = _pole(other + 1, at_one=False)
        return None if rest is None else sub(rest, mul(constant(1 / (other + 1)), power(WRONG, other + 1)))
    return sub(call("log", RHO), mul(constant(2), call("log", add(ONE, _WRONG_ROOT))))


def linear_power(p: Polynomial, base: Polynomial, e: Fraction) -> Node | None:
    """The integral of p (c l^d)^e, l linear and positive: p in powers of l, each integrated."""
    found = _as_linear_power(base)
    if found is None or p.degree > MOST_STEPS:
        return None
    c, line, d = found
    start, end = (Fraction(x, line.denominator) for x in line.numerators)
    s, out = end - start, list[Node]()
    for i, times in enumerate(_in_powers_of(p, -start / s, 1 / s)):
        m = d * e + i + 1
        if times:
            one = call("log", line) if m == 0 else mul(constant(1 / m), power(line, m))
            out.append(mul(constant(times / s), one))
    return mul(power(constant(c), e), add(*out))


def _as_linear_power(base: Polynomial) -> tuple[Fraction, Polynomial, int] | None:
    """(c, l, d) with base = c l^d, l = 1 - rho/root linear and positive on (0, 1), or None."""
    plain = base.powers()
    d = max((i for i, c in enumerate(plain) if c), default=0)
    root = -plain[d - 1] / (d * plain[d]) if d else Fraction(0)
    if 0 <= root < 1:  # a root at 0 or 1 is a power of rho or 1 - rho
        return None
    line = ONE - RHO * constant(1 / root)
    return (plain[0], line, d) if constant(plain[0]) * line**d == base else None


def _in_powers_of(p: Polynomial, shift: Fraction, scale: Fraction) -> list[Fraction]:
    """Coefficients d_i with p(rho) = sum_i d_i l^i where rho = shift + scale l."""
    plain = p.powers()
    return [
        scale**i * sum((plain[m] * comb(m, i) * shift ** (m - i) for m in range(i, len(plain))), Fraction(0))
        for i in range(len(plain))
    ]
