"""The functions that a formula may call: everything else is refused, some with a reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import comb

from advshape.errors import AdvshapeError
from advshape.objectives.expression.domain import log, root
from advshape.objectives.expression.polynomial import MAX_DEGREE, ONE, Polynomial, constant
from advshape.objectives.expression.tree import HALF, Call, Node, add, call, mul, power, sub

__all__ = ["ALIASES", "CONSTANTS", "FUNCTIONS", "REFUSED", "Function", "whole"]


@dataclass(frozen=True)
class Function:
    """takes: constants in order, each with its default (None: must be given); `build(constants..., x)`."""

    takes: Mapping[str, Fraction | None]
    build: Callable[..., Node]
    about: str
    x_needed: bool = False


def whole(name: str, value: Fraction, least: int = 1) -> int:
    """A whole number in least..MAX_DEGREE, or a clear error."""
    if value.denominator != 1 or not least <= value <= MAX_DEGREE:
        raise AdvshapeError(
            f"{name} takes a whole number from {least} to {MAX_DEGREE} in a formula, got {float(value):.6g}"
        )
    return int(value)


def _raise_to(x: Node, exponent: int) -> Node:
    return power(x, Fraction(exponent))


def _wrong(x: Node) -> Node:
    return sub(ONE, x)


def _pass_at(k: Fraction, x: Node) -> Node:
    return sub(ONE, _raise_to(_wrong(x), whole("pass_at", k)))


def _log_likelihood(order: Fraction, x: Node) -> Node:
    if order == 0:
        return log(x)
    terms = range(1, whole("log_likelihood", order) + 1)
    return add(*(mul(constant(Fraction(-1, k)), _raise_to(_wrong(x), k)) for k in terms))


def _majority(k: Fraction, x: Node) -> Node:
    size = whole("majority_of", k)
    if size % 2 == 0:
        raise AdvshapeError(f"majority_of takes an odd k, got {size}; use {size - 1} or {size + 1}")
    right = range((size + 1) // 2, size + 1)
    return add(*(mul(constant(comb(size, c)), _raise_to(x, c), _raise_to(_wrong(x), size - c)) for c in right))


def _kl(target: Fraction, x: Node) -> Node:
    """KL(Bernoulli(x) || Bernoulli(target)) = -entropy(x) - x log t - (1-x) log(1-t)."""
    if not 0 < target < 1:
        raise AdvshapeError(f"kl takes a target rate strictly between 0 and 1, got {float(target):g}")
    right, wrong = log(constant(target)), log(constant(1 - target))
    return sub(mul(constant(-1), call("entropy", x)), add(mul(right, x), mul(wrong, _wrong(x))))


def _grpo(x: Node) -> Node:
    return mul(constant(2), call("arcsin", root(x, HALF)))


def _deviation(x: Node) -> Node:
    return root(mul(x, _wrong(x)), HALF)


def _skew_r(strength: Fraction, x: Node) -> Node:
    turned = mul(constant(2 - strength), call("arcsin", root(x, HALF)))
    return add(turned, mul(constant(strength), _deviation(x)))


def _beta(a: Fraction, b: Fraction, x: Node) -> Node:
    if not (a > 0 and b > 0):
        raise AdvshapeError(f"beta takes a > 0 and b > 0, got a={float(a):g}, b={float(b):g}")
    if a.denominator == b.denominator == 1 and isinstance(x, Polynomial):
        slope = _raise_to(x, whole("beta", a) - 1), _raise_to(_wrong(x), whole("beta", b) - 1)
        if x == Polynomial((0, 1)):
            product = mul(*slope)
            assert isinstance(product, Polynomial)
            return product.antiderivative()
    return Call("beta", x, (a, b))


def _risk_sensitive(beta: Fraction, x: Node) -> Node:
    if beta == 0:
        raise AdvshapeError("risk_sensitive takes beta other than 0; its limit at 0 is rho itself")
    rise = sub(call("exp", constant(beta)), ONE)
    return mul(constant(1 / beta), log(add(ONE, mul(rise, x))))


_ZERO, _ONE = Fraction(0), Fraction(1)

FUNCTIONS: dict[str, Function] = {
    "exp": Function({}, lambda x: call("exp", x), "e**x", x_needed=True),
    "log": Function({}, lambda x: log(x), "natural logarithm", x_needed=True),
    "sqrt": Function({}, lambda x: root(x, HALF), "square root", x_needed=True),
    "arcsin": Function({}, lambda x: call("arcsin", x), "inverse sine, in radians", x_needed=True),
    "identity": Function({}, lambda x: x, "rho"),
    "entropy": Function({}, lambda x: call("entropy", x), "-x log x - (1-x) log(1-x), in nats"),
    "variance": Function({}, lambda x: mul(x, _wrong(x)), "x (1-x)"),
    "deviation": Function({}, _deviation, "sqrt(x (1-x)), the standard deviation of a 0/1 reward"),
    "kl": Function({"target": None}, _kl, "KL(x || target) of two 0/1 rewards, in nats"),
    "pass_at": Function({"k": None}, _pass_at, "1 - (1-x)**k: one of k attempts is right"),
    "all_of": Function({"k": None}, lambda k, x: _raise_to(x, whole("all_of", k)), "x**k: all k attempts are right"),
    "majority_of": Function({"k": None}, _majority, "more than half of an odd number k of attempts are right"),
    "log_likelihood": Function({"order": _ZERO}, _log_likelihood, "log x, or its series to an order"),
    "log_odds": Function({}, lambda x: sub(log(x), log(_wrong(x))), "log(x/(1-x))"),
    "grpo": Function({}, _grpo, "2 arcsin sqrt(x)"),
    "grpo_joint": Function({"k": None}, lambda k, x: _grpo(_pass_at(k, x)), "2 arcsin sqrt(1 - (1-x)**k)"),
    "skew_r": Function({"strength": _ONE}, _skew_r, "(2-s) arcsin sqrt(x) + s sqrt(x (1-x))"),
    "focal": Function({"gamma": None}, lambda g, x: _beta(HALF, g + HALF, x), "beta(1/2, gamma + 1/2)"),
    "beta": Function({"a": None, "b": None}, _beta, "incomplete beta function B(x; a, b), slope x**(a-1) (1-x)**(b-1)"),
    "risk_sensitive": Function({"beta": None}, _risk_sensitive, "log(1 + x (e**beta - 1)) / beta"),
}

ALIASES = {
    "PassAtK": "pass_at",
    "AllOfK": "all_of",
    "Entropy": "entropy",
    "Variance": "variance",
    "Identity": "identity",
    "GRPO": "grpo",
    "GRPOJoint": "grpo_joint",
    "LogLikelihood": "log_likelihood",
    "SkewR": "skew_r",
    "KL": "kl",
    "Deviation": "deviation",
    "LogOdds": "log_odds",
    "MajorityOfK": "majority_of",
    "RiskSensitive": "risk_sensitive",
    "BetaFamily": "beta",
    "Focal": "focal",
    "asin": "arcsin",
    "ln": "log",
}

CONSTANTS = {"pi": Fraction(3.141592653589793), "e": Fraction(2.718281828459045)}

_KINK = (
    "has a kink: F' jumps there, so no table is unbiased for it and a plug-in table changes at one count only; "
    "use a smooth form such as pass_at(k), all_of(k), kl(target) or log_likelihood(order)"
)
REFUSED = {name: f"{name} {_KINK}" for name in ("min", "max", "abs", "floor", "ceil", "round", "sign", "clip", "where")}
