"""Text to tree: a tokenizer and a recursive descent over a small grammar. Nothing is ever executed.

sum    := product (("+" | "-") product)*
product:= signed (("*" | "/") signed)*
signed := ("+" | "-") signed | power
power  := atom ("**" signed)?
atom   := NUMBER | NAME | NAME "(" [argument ("," argument)*] ")" | "(" sum ")"
argument := [NAME "="] sum
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import NoReturn

from advshape.errors import AdvshapeError
from advshape.objectives.expression.domain import log, root
from advshape.objectives.expression.functions import ALIASES, CONSTANTS, FUNCTIONS, REFUSED
from advshape.objectives.expression.polynomial import RHO, Polynomial, constant
from advshape.objectives.expression.tree import Node, add, call, mul, power

__all__ = ["MAX_DEPTH", "MAX_LENGTH", "NAME", "read"]

MAX_LENGTH = 2_000
MAX_DEPTH = 40
NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)*", re.ASCII)
_NUMBER = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_SIGNS = ("**", "+", "-", "*", "/", "(", ")", ",", "=")
_HINTS = {
    "^": "write ** for powers",
    "@": "write pass_at(8) for pass@8",
    ".": "there are no attributes here, only + - * / ** and named functions",
    "[": "there is no indexing",
    "{": "there are no sets or formats",
    "'": "there are no strings",
    '"': "there are no strings",
    "_": "names neither start nor end with an underscore",
    "\u03c1": "write rho",
    "\u2212": "write - for minus",
}


@dataclass(frozen=True)
class _Token:
    kind: str  # number, name, sign, end
    text: str
    at: int


def read(text: str, parameters: Mapping[str, Fraction]) -> Node:
    """The tree of a formula over rho and the named parameters; raises AdvshapeError for anything else."""
    if len(text) > MAX_LENGTH:
        raise AdvshapeError(
            f"a formula may have {MAX_LENGTH} characters, got {len(text)}, beginning {text[:30]!r}; shorten it, for "
            "instance with pass_at(k)"
        )
    parser = _Parser(text, parameters)
    tree = parser.sum()
    if parser.here.kind != "end":
        parser.refuse("expected an operator")
    unused = [name for name in parameters if name not in parser.used]
    if unused:
        name, number = unused[0], float(parameters[unused[0]])
        raise AdvshapeError(
            f"the formula {text[:60]!r} has no parameter {name!r}; write {name} into it, as in {name}*entropy(rho), or "
            f"leave {name}={number:g} out"
        )
    return tree


def _tokens(text: str) -> list[_Token]:
    out, at = [], 0
    while at < len(text):
        if text[at] in " \t\n\r":
            at += 1
            continue
        number, name = _NUMBER.match(text, at), NAME.match(text, at)
        found, kind = number or name, "number" if number else "name"
        word = found.group() if found else next((s for s in _SIGNS if text.startswith(s, at)), "")
        if not word:
            hint = _HINTS.get(text[at], "use rho, numbers, + - * / ** and named functions")
            raise AdvshapeError(f"cannot read {text[at]!r} at character {at + 1} of {_near(text, at)}: {hint}")
        if len(word) > 40:
            raise AdvshapeError(f"numbers and names may have 40 characters, got {word[:20]!r}... at character {at + 1}")
        out.append(_Token(kind if found else "sign", word, at))
        at += len(word)
    return [*out, _Token("end", "", len(text))]


class _Parser:
    """One pass over the tokens; `here` is the next one."""

    def __init__(self, text: str, parameters: Mapping[str, Fraction]) -> None:
        self.text, self.parameters = text, parameters
        self.tokens, self.at, self.depth = _tokens(text), 0, 0
        self.used: set[str] = set()

    @property
    def here(self) -> _Token:
        return self.tokens[self.at]

    def takes(self, *signs: str) -> str:
        """Consume one of these signs if it comes next."""
        token = self.here
        if token.kind == "sign" and token.text in signs:
            self.at += 1
            return token.text
        return ""

    def refuse(self, why: str) -> NoReturn:
        token = self.here
        seen = repr(token.text) if token.text else "the end"
        raise AdvshapeError(
            f"{why}, got {seen} at character {token.at + 1} of {_near(self.text, token.at)}; a formula looks like "
            "1-(1-rho)**8 + 0.1*entropy(rho)"
        )

    def need(self, sign: str) -> None:
        if not self.takes(sign):
            self.refuse(f"expected {sign!r}")

    def sum(self) -> Node:
        terms = [self.product()]
        while sign := self.takes("+", "-"):
            right = self.product()
            terms.append(right if sign == "+" else mul(constant(-1), right))
        return add(*terms)

    def product(self) -> Node:
        factors = [self.signed()]
        while sign := self.takes("*", "/"):
            right = self.signed()
            factors.append(right if sign == "*" else power(right, Fraction(-1)))
        return mul(*factors) if len(factors) > 1 else factors[0]

    def signed(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise AdvshapeError(f"a formula may nest {MAX_DEPTH} levels of brackets, signs and powers; simplify it")
        sign = self.takes("+", "-")
        result = self.signed() if sign else self.power()
        self.depth -= 1
        return mul(constant(-1), result) if sign == "-" else result

    def power(self) -> Node:
        base = self.atom()
        if not self.takes("**"):
            return base
        exponent = self.signed()
        number = exponent.constant if isinstance(exponent, Polynomial) else None
        if number is not None:
            return root(base, number)
        return call("exp", mul(exponent, log(base)))

    def atom(self) -> Node:
        token = self.here
        if token.kind == "number":
            self.at += 1
            return constant(_number(token.text))
        if token.kind == "name":
            self.at += 1
            return self.function(token) if self.takes("(") else self.name(token)
        if not self.takes("("):
            self.refuse("expected a number, a name or a bracket")
        inner = self.sum()
        self.need(")")
        return inner

    def name(self, token: _Token) -> Node:
        word = token.text
        if word in self.parameters:
            self.used.add(word)
            return constant(self.parameters[word])
        if word == "rho":
            return RHO
        if word in CONSTANTS:
            return constant(CONSTANTS[word])
        if word in FUNCTIONS or word in ALIASES:
            raise AdvshapeError(f"{word} is a function: write {_usage(ALIASES.get(word, word))}")
        raise AdvshapeError(
            f"unknown name {word!r} at character {token.at + 1}{_nearest(word, self.parameters)}; a formula knows rho, "
            f"pi, e and parameters with a number: parse(..., {word}=0.1), `advshape derive --set {word}=0.1`, or the "
            "number in its place"
        )

    def function(self, token: _Token) -> Node:
        word = ALIASES.get(token.text, token.text)
        if word in REFUSED:
            raise AdvshapeError(f"{REFUSED[word]} (character {token.at + 1})")
        if word not in FUNCTIONS:
            raise AdvshapeError(
                f"unknown function {word!r} at character {token.at + 1}{_nearest(word)}; known: {', '.join(FUNCTIONS)}"
            )
        return self.bind(word)

    def bind(self, word: str) -> Node:
        function, given = FUNCTIONS[word], dict[str, Node]()
        order = [*function.takes, "x"]
        while not self.takes(")"):
            key = self.key() or (order[len(given)] if len(given) < len(order) else "")
            if key not in order or key in given:
                raise AdvshapeError(f"{word} takes ({', '.join(order)}), each once; write {_usage(word)}")
            if self.here.text == "None" and function.takes.get(key) is not None:
                self.at += 1
                given[key] = constant(function.takes[key] or 0)
            else:
                given[key] = self.sum()
            if self.here.text != ")" and not self.takes(","):
                self.refuse("expected ',' or ')'")
        values = []
        for name, default in function.takes.items():
            node = given.get(name, None if default is None else constant(default))
            number = node.constant if isinstance(node, Polynomial) else None
            if number is None:
                seen = "nothing" if node is None else "a formula of rho"
                raise AdvshapeError(f"{word} needs a number for {name}, got {seen}; write {_usage(word)}")
            values.append(number)
        if function.x_needed and "x" not in given:
            raise AdvshapeError(f"{word} needs an argument; write {_usage(word)}")
        return function.build(*values, given.get("x", RHO))

    def key(self) -> str:
        """A keyword `name =`, or nothing."""
        after = self.tokens[min(self.at + 1, len(self.tokens) - 1)]
        if self.here.kind == "name" and after.text == "=":
            self.at += 2
            return self.tokens[self.at - 2].text
        return ""


def _number(text: str) -> Fraction:
    _, _, exponent = text.lower().partition("e")
    if abs(int(exponent or 0)) > 300:
        raise AdvshapeError(f"numbers may reach 1e300, got {text}")
    return Fraction(text)


def _usage(word: str) -> str:
    values = {"k": "8", "order": "8", "target": "0.5", "a": "0.5", "b": "0.5"}
    shown = [values.get(name, "1") for name in FUNCTIONS[word].takes]
    return f"{word}({', '.join(shown or ['rho'])})"


def _near(text: str, at: int) -> str:
    return repr(text[max(0, at - 20) : at + 20])


def _nearest(word: str, extra: Mapping[str, Fraction] | None = None) -> str:
    close = difflib.get_close_matches(word, ["rho", *FUNCTIONS, *ALIASES, *(extra or ())], n=1, cutoff=0.6)
    return f", did you mean {close[0]!r}?" if close else ""
