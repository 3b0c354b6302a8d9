"""From F' back to F in closed form: rules for what is elementary, or a named incomplete beta function, on (0, 1).

A formula is a sum of terms p(rho) rho^a (1-rho)^b times other factors. Terms of powers alone are integrated by exact
recurrences; one logarithm by parts; exponentials and powers of a linear function by their own rules. What none of the
rules serves gives None: nothing is guessed.
"""

from __future__ import annotations

from fractions import Fraction

from advshape.objectives.expression.polynomial import ONE, RHO, WRONG, ZERO, Polynomial, constant
from advshape.objectives.expression.powers import MOST_STEPS, linear_power, mirrored, powers
from advshape.objectives.expression.tree import (
    HALF,
    Add,
    Call,
    Mul,
    Node,
    Power,
    add,
    call,
    differentiate,
    mul,
    power,
    sub,
)

__all__ = ["antiderivative"]

Parts = tuple[Polynomial, Fraction, Fraction, tuple[Node, ...]]


def antiderivative(slope: Node) -> Node | None:
    """A tree F with dF/drho = slope, up to a constant; None where no rule serves.

    >>> from advshape.objectives.expression.text import show
    >>> show(antiderivative(mul(power(RHO, -HALF), power(WRONG, HALF))))    # sqrt((1 - rho)/rho): skew-R
    'arcsin(sqrt(rho)) + sqrt(rho)*sqrt(1 - rho)'
    >>> show(antiderivative(power(RHO, Fraction(-1))))
    'log(rho)'
    """
    split = [_entropy_apart(term) for term in _terms(spread(slope))]
    logs: dict[str, Polynomial] = {"right": ZERO, "wrong": ZERO}
    out: list[Node] = []
    for term in _terms(add(*split)):
        found = _log_of_end(term)
        if found is not None:
            logs[found[0]] = logs[found[0]] + found[1]
            continue
        one = _term(term)
        if one is None:
            return None
        out.append(one)
    rest = _logarithms(logs["right"], logs["wrong"])
    return None if rest is None else add(*out, rest)


def spread(node: Node) -> Node:
    """The same function with roots and logarithms of products as products and sums; rho and 1 - rho are positive.

    >>> from advshape.objectives.expression.text import show
    >>> show(spread(power(mul(WRONG, power(RHO, Fraction(-1))), HALF)))   # sqrt((1 - rho)/rho)
    'sqrt(1 - rho)/sqrt(rho)'
    """
    if isinstance(node, Add):
        return add(*map(spread, node.terms))
    if isinstance(node, Mul):
        return mul(node.coefficient, *map(spread, node.factors))
    if not isinstance(node, Power | Call):
        return node
    inner = spread(node.base if isinstance(node, Power) else node.argument)
    if isinstance(node, Call) and node.name != "log":
        return Call(node.name, inner, node.parameters)
    p, a, b, rest = _parts(inner)
    right, wrong, p = p.at_ends
    a, b, other = a + right, b + wrong, mul(p, *rest)
    if isinstance(node, Power):
        e = node.exponent
        return mul(power(RHO, a * e), power(WRONG, b * e), power(other, e))
    return add(mul(constant(a), call("log", RHO)), mul(constant(b), call("log", WRONG)), call("log", other))


def _terms(node: Node) -> tuple[Node, ...]:
    return node.terms if isinstance(node, Add) else (node,)


def _parts(term: Node) -> Parts:
    """(p, a, b, rest): term = p rho^a (1-rho)^b times the factors in rest."""
    if isinstance(term, Polynomial):
        return term, Fraction(0), Fraction(0), ()
    p, factors = (term.coefficient, term.factors) if isinstance(term, Mul) else (ONE, (term,))
    low = {f.base: f.exponent for f in factors if isinstance(f, Power) and f.base in (RHO, WRONG)}
    rest = tuple(f for f in factors if not (isinstance(f, Power) and f.base in low))
    return p, low.get(RHO, Fraction(0)), low.get(WRONG, Fraction(0)), rest


def _term(term: Node) -> Node | None:
    p, a, b, rest = _parts(term)
    if not rest:
        return powers(p, a, b)
    if len(rest) > 1:
        return None
    factor = rest[0]
    if isinstance(factor, Call) and factor.name == "log" and factor.argument in (RHO, WRONG):
        return _by_parts(p, a, b, factor)
    if a or b:
        return None
    if isinstance(factor, Call) and factor.name == "exp":
        return _exponential(p, factor)
    if isinstance(factor, Power) and isinstance(factor.base, Polynomial):
        return linear_power(p, factor.base, factor.exponent) or _chain(p, factor.base, factor.exponent)
    return None


def _entropy_apart(term: Node) -> Node:
    """entropy(rho) as -rho log rho - (1-rho) log(1-rho)."""
    p, a, b, rest = _parts(term)
    if Call("entropy", RHO) not in rest:
        return term
    others = [f for f in rest if f != Call("entropy", RHO)]
    pieces = (mul(constant(-1), x, call("log", x)) for x in (RHO, WRONG))
    return add(*(mul(p, power(RHO, a), power(WRONG, b), *others, piece) for piece in pieces))


def _log_of_end(term: Node) -> tuple[str, Polynomial] | None:
    """("right", p) for p log rho, ("wrong", p) for p log(1-rho), p a polynomial."""
    p, a, b, rest = _parts(term)
    if len(rest) != 1 or a.denominator > 1 or b.denominator > 1 or a < 0 or b < 0:
        return None
    for name, end in (("right", RHO), ("wrong", WRONG)):
        if rest[0] == Call("log", end):
            return name, p * RHO ** int(a) * WRONG ** int(b)
    return None


def _logarithms(right: Polynomial, wrong: Polynomial) -> Node | None:
    """The integral of right log rho + wrong log(1-rho); log(1-rho) - log rho is the slope of the entropy."""
    total: Node = ZERO
    if wrong.constant and right.constant is not None:
        total, right, wrong = mul(wrong, call("entropy", RHO)), right + wrong, ZERO
    for p, end in ((right, RHO), (wrong, WRONG)):
        found = _by_parts(p, Fraction(0), Fraction(0), Call("log", end)) if p != ZERO else ZERO
        if found is None:
            return None
        total = add(total, found)
    return total


def _by_parts(p: Polynomial, a: Fraction, b: Fraction, log: Call) -> Node | None:
    """The integral of p rho^a (1-rho)^b log x, x = rho or 1 - rho: u log x minus the integral of u x'/x."""
    if p.degree > MOST_STEPS:
        return None
    if log.argument == WRONG:
        found = _by_parts(Polynomial(p.numerators[::-1], p.denominator), b, a, Call("log", RHO))
        return None if found is None else mirrored(found)
    if mul(p, power(RHO, a), power(WRONG, b)) == power(RHO, Fraction(-1)):
        return mul(constant(HALF), power(log, Fraction(2)))
    u = powers(p, a, b)
    if u is None or any(isinstance(f, Call) for t in _terms(u) for f in _parts(t)[3]):
        return None  # u has a logarithm of its own: a dilogarithm
    if isinstance(u, Polynomial) and u.numerators[0]:  # the constant of u is free: u(0) = 0 leaves no log squared
        u = u - constant(Fraction(u.numerators[0], u.denominator))
    rest = antiderivative(mul(u, power(RHO, Fraction(-1))))
    return None if rest is None else sub(mul(u, log), rest)


def _exponential(p: Polynomial, exp: Call) -> Node | None:
    """The integral of p exp(l), l linear: (p/s - p'/s^2 + p''/s^3 - ...) exp(l), s = l'."""
    slope = differentiate(exp.argument)
    s = slope.constant if isinstance(slope, Polynomial) else None
    if not s or p.degree > MOST_STEPS:
        return None
    total, factor = ZERO, 1 / s
    while p != ZERO:
        total, p, factor = total + p * constant(factor), p.derivative(), -factor / s
    return mul(total, exp)


def _chain(p: Polynomial, base: Polynomial, e: Fraction) -> Node | None:
    """The integral of c q' q^e: c q^(e+1) / (e+1), or c log q."""
    ratio = p.divided(base.derivative())
    c = None if ratio is None else ratio.constant
    if c is None:
        return None
    if e == -1:
        half = base.bernstein(base.degree).sum()
        return mul(constant(c), call("log", base if half > 0 else -base))
    return mul(constant(c / (e + 1)), power(base, e + 1))
