"""How is an estimator written as text? Names with parameters, their sums and factors, and `at unit rms` at the end.

    pass_at_k(k=8)        0.7*grpo + 0.3*nsr        0.5 * (pass_at_k(k=8) at unit rms) - 0.1 * psr

A fixed grammar, read from left to right; nothing is executed. `at unit rms` belongs to all that stands before it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from advshape.errors import AdvshapeError

__all__ = ["Named", "Spec", "read", "read_name"]

LONGEST, DEEPEST = 1000, 20
UNIT_RMS = ["at", "unit", "rms"]
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<mark>[-+*()])|(?P<end>\Z))"
)
_QUOTED = r"\"[^\"]*\"|'[^']*'"
_INSIDE = re.compile(rf"((?:{_QUOTED}|[^()\"'])*)\)")
_COMMA = re.compile(rf",(?=(?:{_QUOTED}|[^\"'])*\Z)")
_VALUE = re.compile(r"[-+.\d]+(?:e[-+]?\d+)?")
_PARAMETER = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([-+\w.]+))\s*")


@dataclass(frozen=True)
class Named:
    """A name with its parameters; the key "" is a value that stands first, without a name."""

    name: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Spec:
    """A weighted sum of names and of other sums, perhaps at unit rms."""

    terms: tuple[tuple[float, Named | Spec], ...]
    unit_rms: bool = False

    @property
    def alone(self) -> Named | None:
        """The name where there is no other and no factor."""
        weight, first = self.terms[0]
        if len(self.terms) > 1 or weight != 1:
            return None
        return first.alone if isinstance(first, Spec) else first

    @property
    def names(self) -> tuple[str, ...]:
        """Of all its terms."""
        return tuple(n for _, term in self.terms for n in (term.names if isinstance(term, Spec) else (term.name,)))


def read(text: str) -> Spec:
    """Raises AdvshapeError, with the place, for anything that is not in the grammar.

    >>> read("0.7*grpo + rloo_k(k=8)").terms
    ((0.7, Named(name='grpo', parameters={})), (1.0, Named(name='rloo_k', parameters={'k': 8})))
    """
    if len(text) > LONGEST:
        raise AdvshapeError(f"an estimator's text has at most {LONGEST} characters, this one has {len(text)}")
    reader = _Reader(text)
    spec = reader.sum()
    if reader.kind != "end":
        raise reader.error()
    return spec


def read_name(text: str) -> Named | None:
    """A name with parameters and nothing beside it, else None.

    >>> read_name("PassAtK(k=8)"), read_name("rho + 1")
    (Named(name='PassAtK', parameters={'k': 8}), None)
    """
    try:
        spec = read(text)
    except AdvshapeError:
        return None
    return None if spec.unit_rms else spec.alone


class _Reader:
    def __init__(self, text: str) -> None:
        self.text, self.at, self.depth = text, 0, 0
        self.kind = self.found = ""
        self.next()

    def next(self) -> str:
        """Step on; the token that was left."""
        left, match = self.found, _TOKEN.match(self.text, self.at)
        if match is None:
            self.kind, self.found = "other", self.text[self.at :].strip()[:20]
        else:
            self.kind, self.at = str(match.lastgroup), match.end()
            self.found = match[self.kind]
        return left

    def error(self) -> AdvshapeError:
        where = "its end" if self.kind == "end" else f"{self.found[:20]!r}"
        return AdvshapeError(
            f"cannot read {self.text[:80]!r} at {where}; write a name with parameters, such as pass_at_k(k=8), or a "
            "sum such as 0.7*grpo + 0.3*nsr, perhaps with 'at unit rms' behind it"
        )

    def sum(self) -> Spec:
        self.depth += 1
        if self.depth > DEEPEST:
            raise AdvshapeError(f"{self.text[:80]!r} nests more than {DEEPEST} brackets; write it out")
        terms = [self.term(-1.0 if self.sign() == "-" else 1.0)]
        while self.kind == "mark" and self.found in "+-":
            terms.append(self.term(-1.0 if self.next() == "-" else 1.0))
        self.depth -= 1
        return Spec(tuple(terms), self.unit_rms())

    def sign(self) -> str:
        return self.next() if self.kind == "mark" and self.found in "+-" else ""

    def term(self, weight: float) -> tuple[float, Named | Spec]:
        while self.kind == "number":
            weight *= float(self.next())
            self.expect("*")
        one = self.atom()
        while self.kind == "mark" and self.found == "*":
            self.next()
            if self.kind != "number":
                raise self.error()
            weight *= float(self.next())
        return weight, one

    def atom(self) -> Named | Spec:
        if self.kind == "mark" and self.found == "(":
            self.next()
            spec = self.sum()
            self.expect(")")
            return spec
        if self.kind != "name":
            raise self.error()
        name = self.next()
        return Named(name, self.parameters() if self.kind == "mark" and self.found == "(" else {})

    def parameters(self) -> dict[str, Any]:
        inside = _INSIDE.match(self.text, self.at)
        if inside is None:
            raise self.error()
        self.at = inside.end()
        self.next()
        return _parameters(inside[1], self.text)

    def expect(self, mark: str) -> None:
        if self.kind != "mark" or self.found != mark:
            raise self.error()
        self.next()

    def unit_rms(self) -> bool:
        if self.kind != "name":
            return False
        for word in UNIT_RMS:
            if self.found != word:
                raise self.error()
            self.next()
        return True


def _parameters(inside: str, text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in _COMMA.split(inside) if inside.strip() else ():
        match = _PARAMETER.fullmatch(part)
        if match is None and not found and _VALUE.fullmatch(part.strip()):
            found[""] = _literal(part.strip())  # the first one, without its name
            continue
        if match is None:
            raise AdvshapeError(f"cannot read the parameter {part.strip()!r} in {text[:80]!r}; write key=value")
        key, double, single, bare = match.groups()
        if key in found:
            raise AdvshapeError(f"the parameter {key!r} stands twice in {text[:80]!r}; give it once")
        quoted = double if double is not None else single
        found[key] = quoted if quoted is not None else _literal(bare)
    return found


def _literal(text: str) -> Any:
    if text in ("None", "none"):
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
