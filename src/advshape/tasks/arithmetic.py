"""Integer expressions with ``+ - * /`` and brackets, read from a model's text and evaluated exactly."""

from __future__ import annotations

from collections.abc import Sequence

from advshape.errors import AdvshapeError

__all__ = ["LONGEST_COMPLETION", "PRECEDENCE", "evaluate", "evaluate_expression", "tokenize"]

LONGEST_COMPLETION = 100
"""Characters that are read; every Countdown puzzle has a solution of at most 15."""
PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}
DIGITS = frozenset("0123456789")


def evaluate_expression(text: str) -> int:
    """The value of an integer expression with ``+ - * /`` and brackets; ``/`` must be exact.

    Raises:
        AdvshapeError: not such an expression, longer than 100 characters, or division with a remainder.

    >>> evaluate_expression("(1+2)*3 - 8/4")
    7
    """
    return evaluate(tokenize(text))


def tokenize(text: str) -> list[int | str]:
    """Numbers and operators of an expression; ASCII only, spaces allowed between tokens."""
    if len(text) > LONGEST_COMPLETION:
        raise AdvshapeError(f"{len(text)} characters; an expression has at most {LONGEST_COMPLETION}")
    tokens: list[int | str] = []
    place = 0
    while place < len(text):
        character = text[place]
        end = place + 1
        if character in DIGITS:
            while end < len(text) and text[end] in DIGITS:
                end += 1
            if character == "0" and end > place + 1:
                raise AdvshapeError(f"number {text[place:end]} starts with 0")
            tokens.append(int(text[place:end]))
        elif character in "+-*/()":
            tokens.append(character)
        elif character != " ":
            raise AdvshapeError(f"unexpected character {character!a} at position {place + 1}")
        place = end
    if not tokens:
        raise AdvshapeError("no expression")
    return tokens


def evaluate(tokens: Sequence[int | str]) -> int:
    """Value of a token list by two stacks (Dijkstra's shunting yard): no recursion, so no depth limit."""
    values: list[int] = []
    waiting: list[str] = []
    operand_next = True
    for token in tokens:
        if (isinstance(token, int) or token == "(") != operand_next:
            raise AdvshapeError(f"{token} where {'a number' if operand_next else 'an operator'} belongs")
        if isinstance(token, int):
            values.append(token)
            operand_next = False
        elif token == "(":
            waiting.append(token)
        elif token == ")":
            while waiting and waiting[-1] != "(":
                apply(values, waiting.pop())
            if not waiting:
                raise AdvshapeError("a closing bracket without its opening one")
            waiting.pop()
        else:
            while waiting and waiting[-1] != "(" and PRECEDENCE[waiting[-1]] >= PRECEDENCE[token]:
                apply(values, waiting.pop())
            waiting.append(token)
            operand_next = True
    if operand_next:
        raise AdvshapeError("the expression ends where a number belongs")
    while waiting:
        operator = waiting.pop()
        if operator == "(":
            raise AdvshapeError("an opening bracket without its closing one")
        apply(values, operator)
    return values[0]


def apply(values: list[int], operator: str) -> None:
    """Replace the two topmost values by their result."""
    b, a = values.pop(), values.pop()
    if operator == "/":
        if b == 0 or a % b:
            raise AdvshapeError(f"{a}/{b} is not an exact division")
        values.append(a // b)
    else:
        values.append({"+": a + b, "-": a - b, "*": a * b}[operator])
