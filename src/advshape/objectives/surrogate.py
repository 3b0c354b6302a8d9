"""What do I want to maximise? Surrogate rewards F(rho) of a prompt's success probability.

A surrogate offers its value, its derivative and, where F' is a polynomial, the Bernstein coefficients of F' in any
sufficient degree: everything else follows from these three. All take and return arrays of any shape.
At a singular end (GRPO at rho = 0) the derivative is inf, said honestly.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from advshape.bernstein import FloatArray
from advshape.errors import AdvshapeError

__all__ = ["Algebra", "Sum", "Surrogate", "non_polynomial_terms", "spell", "terms"]


_LEAD = re.compile(r"(\d+(?:\.\d+)?)\*(?!\*)")


@runtime_checkable
class Surrogate(Protocol):
    """F(rho) with F' and, if F' is a polynomial, its `degree` (else None) and Bernstein coefficients."""

    @property
    def degree(self) -> int | None: ...
    def value(self, rho: ArrayLike) -> FloatArray: ...
    def derivative(self, rho: ArrayLike) -> FloatArray: ...
    def bernstein(self, degree: int) -> FloatArray | None: ...


class Algebra:
    """Sums and scalings: `PassAtK(8) + 0.1 * Entropy()` is a surrogate again.

    formula, slope: F and F' as text, in the grammar of `advshape.parse` where F has a closed form there.
    """

    degree: int | None = None

    @property
    def formula(self) -> str:
        return repr(self)

    @property
    def slope(self) -> str:
        return f"F' of {self!r}"

    def bernstein(self, degree: int) -> FloatArray | None:
        return None

    def __add__(self, other: Surrogate) -> Sum:
        return Sum((*terms(self), *terms(other)))

    def __mul__(self, factor: float) -> Sum:
        return Sum(tuple((float(factor) * w, f) for w, f in terms(self)))

    __rmul__ = __mul__

    def __sub__(self, other: Surrogate) -> Sum:
        return Sum((*terms(self), *((-w, f) for w, f in terms(other))))

    def __neg__(self) -> Sum:
        return self * -1.0


def terms(surrogate: object) -> tuple[tuple[float, Surrogate], ...]:
    """(weight, surrogate) pairs of a sum; a single surrogate is its own only term."""
    if isinstance(surrogate, Sum):
        return surrogate.parts
    if isinstance(surrogate, Surrogate):
        return ((1.0, surrogate),)
    if isinstance(surrogate, str):
        raise AdvshapeError(f"a surrogate is needed, got text; write advshape.parse({surrogate[:60]!r})")
    raise AdvshapeError(
        f"only surrogates can be added, got {surrogate!r}; a constant changes no gradient, so leave it out; an "
        "estimator's objective is its .surrogate"
    )


def non_polynomial_terms(surrogate: Surrogate) -> list[Surrogate]:
    """The terms whose derivative is no polynomial: those that rule out an unbiased table."""
    return [f for w, f in terms(surrogate) if w != 0 and f.degree is None]


def spell(surrogate: Surrogate) -> str:
    """The surrogate by name and by formula; a user's own surrogate without a `formula` by name alone.

    >>> from advshape.objectives.elementary import GRPO
    >>> spell(GRPO())
    'GRPO(), F = 2*arcsin(sqrt(rho))'
    """
    name, formula = repr(surrogate), getattr(surrogate, "formula", None)
    return name if formula in (None, name) else f"{name}, F = {formula}"


def _rho(rho: ArrayLike) -> FloatArray:
    values = np.asarray(rho, dtype=np.float64)
    if not np.all((values >= 0) & (values <= 1)):
        bad = values[~((values >= 0) & (values <= 1))].flat[0]
        raise AdvshapeError(f"a success probability must lie in [0, 1], got {bad}; check rho")
    return values


def _times(weight: float, formula: str) -> str:
    """0.7 times 2*rho as 1.4*rho, times 1 - rho as 0.7*(1 - rho)."""
    factor = formula if weight == 1 else _bracketed(formula)
    lead = _LEAD.match(factor) if weight != 1 else None
    if lead:
        weight, factor = weight * float(lead[1]), factor[lead.end() :]
    return factor if weight == 1 else f"{weight:.12g}*{factor}"


def _bracketed(formula: str) -> str:
    """In brackets where a factor in front would reach its first term alone."""
    depth, plain = 0, True
    for i, letter in enumerate(formula):
        depth += (letter == "(") - (letter == ")")
        plain &= depth > 0 or letter not in "+-" or formula[max(i - 1, 0)] == "*"
    return formula if plain and " of " not in formula else f"({formula})"


def _power(base: str, exponent: float) -> str:
    """base to an exponent, as short as it can be typed."""
    if exponent in (0, 1):
        return base if exponent else "1"
    return f"{base}**{exponent:.12g}" if exponent > 0 else f"{base}**({exponent:.12g})"


def _product(*factors: str) -> str:
    """Factors without those that are 1."""
    return "*".join(f for f in factors if f != "1") or "1"


def _whole(k: int, what: str) -> None:
    if not isinstance(k, int | np.integer) or isinstance(k, bool) or k < 1:
        raise AdvshapeError(f"{what} needs a whole number >= 1, got {k!r}")


@dataclass(frozen=True)
class Sum(Algebra):
    """Weighted sum of surrogates; derivatives add, so advantage tables add.

    >>> from advshape.objectives.elementary import Identity, PassAtK
    >>> (0.5 * Identity() + 0.5 * PassAtK(2)).derivative(0.5)
    np.float64(1.0)
    """

    parts: tuple[tuple[float, Surrogate], ...]

    def __repr__(self) -> str:
        shown = " + ".join(repr(f) if w == 1 else f"{w:g} * {f!r}" for w, f in self.parts)
        return shown.replace("+ -", "- ") or "0"

    @property
    def formula(self) -> str:
        return self._joined("formula")

    @property
    def slope(self) -> str:
        return self._joined("slope")

    def _joined(self, kind: str) -> str:
        shown = [(w, str(getattr(f, kind, repr(f)))) for w, f in self.parts if w != 0]
        text = " + ".join(_times(w, one) for w, one in shown)
        return text.replace("+ -", "- ") or "0"

    @property
    def degree(self) -> int | None:  # type: ignore[override]
        degrees = [f.degree for w, f in self.parts if w != 0]
        return None if None in degrees else max((d for d in degrees if d is not None), default=0)

    def value(self, rho: ArrayLike) -> FloatArray:
        return np.sum([w * f.value(rho) for w, f in self.parts if w != 0], axis=0) + np.zeros(np.shape(rho))

    def derivative(self, rho: ArrayLike) -> FloatArray:
        return np.sum([w * f.derivative(rho) for w, f in self.parts if w != 0], axis=0) + np.zeros(np.shape(rho))

    def bernstein(self, degree: int) -> FloatArray | None:
        total = np.zeros(degree + 1)
        for w, f in self.parts:
            if w != 0:
                b = f.bernstein(degree)
                if b is None:
                    return None
                total += w * b
        return total
