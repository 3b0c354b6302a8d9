"""Trees as formulas that can be read and typed again."""

from __future__ import annotations

from fractions import Fraction

from advshape.objectives.expression.polynomial import ONE, Polynomial
from advshape.objectives.expression.tree import HALF, Add, Call, Mul, Node, Power

__all__ = ["is_sum", "show"]


def is_sum(text: str) -> bool:
    """Whether the formula needs brackets as a factor: a + or - outside all brackets (not a leading minus)."""
    depth = 0
    for i, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if depth == 0 and i and sign in "+-" and text[i - 1] == " ":
            return True
    return False


def show(node: Node) -> str:
    """The formula of a tree.

    >>> from advshape.objectives.expression.polynomial import constant
    >>> show((ONE - Polynomial((1, 0)) ** 8) * constant(Fraction(1, 2)))
    '0.5 - 0.5*(1 - rho)**8'
    """
    if isinstance(node, Polynomial):
        ways = [(node.powers(), "rho"), (node.powers(of_wrong=True), "(1 - rho)")]
        shown = [_powers(powers, name) for powers, name in ways if _is_short(powers)]
        return min(shown, key=len, default=f"<polynomial of degree {node.degree}>")
    if isinstance(node, Add):
        return " + ".join(show(t) for t in node.terms).replace("+ -", "- ")
    if isinstance(node, Mul):
        over = [f for f in node.factors if not (isinstance(f, Power) and f.exponent < 0)]
        under = [f for f in node.factors if isinstance(f, Power) and f.exponent < 0]
        below = [_bracket(f.base, power=True) if f.exponent == -1 else show(Power(f.base, -f.exponent)) for f in under]
        above = "*".join(_bracket(f) for f in over) or "1"
        text = above if node.coefficient == ONE else _times(node.coefficient, above)
        return text if not below else f"{text}/{below[0]}" if len(below) == 1 else f"{text}/({'*'.join(below)})"
    if isinstance(node, Power):
        if node.exponent == HALF:
            return f"sqrt({show(node.base)})"
        if node.exponent < 0:
            inverse = Power(node.base, -node.exponent)
            return f"1/{_bracket(node.base, power=True) if node.exponent == -1 else show(inverse)}"
        e = _number(node.exponent)
        return f"{_bracket(node.base, power=True)}**{e if node.exponent.denominator == 1 else f'({e})'}"
    values = [_number(p) for p in node.parameters]
    return f"{node.name}({', '.join([*values, show(node.argument)])})"


def _times(coefficient: Polynomial, above: str) -> str:
    number = coefficient.constant
    if number == -1:
        return f"-{above}"
    head = _bracket(coefficient) if number is None else _number(number)
    return head if above == "1" else f"{head}*{above}"


def _bracket(node: Node, power: bool = False) -> str:
    text = show(node)
    atom = isinstance(node, Call) or text == "rho" or text.isdigit() or (not power and not is_sum(text))
    return text if atom and not text.startswith("-") and (power or "/" not in text) else f"({text})"


def _powers(coefficients: list[Fraction], name: str) -> str:
    parts: list[str] = []
    for i, c in enumerate(coefficients):
        if not c:
            continue
        base = "" if i == 0 else name if i == 1 else f"{name}**{i}"
        size = _number(abs(c))
        body = size if not base else base if size == "1" else f"{size}*{base}"
        sign = "-" if c < 0 else "+"
        parts.append(f" {sign} {body}" if parts else f"{'-' if c < 0 else ''}{body}")
    return "".join(parts) or "0"


def _is_short(powers: list[Fraction]) -> bool:
    return sum(c != 0 for c in powers) <= 24 and all(abs(c) < 10**300 for c in powers)


def _number(value: Fraction) -> str:
    if value.denominator == 1 and abs(value) < 10**16:
        return str(value.numerator)
    decimal = repr(float(value))
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > 30 or (
        Fraction(decimal) == value and len(decimal) <= 6
    ):
        return decimal
    return str(value)
