"""Exact polynomials in rho on [0, 1]: integers over one denominator, homogeneous in rho and 1 - rho.

p = sum_j c_j rho^j (1-rho)^(d-j). Products are convolutions, raising the degree is a product with (rho + 1 - rho)^m,
and c_j / C(d, j) are the Bernstein coefficients: no conversion ever subtracts large numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import comb, gcd

import numpy as np

from advshape.bernstein import FloatArray
from advshape.errors import AdvshapeError

__all__ = ["MAX_DEGREE", "ONE", "RHO", "WRONG", "ZERO", "Polynomial", "constant"]

MAX_DEGREE = 512
MAX_BITS = 20_000
MAX_WORK = 30_000


@dataclass(frozen=True)
class Polynomial:
    """sum_j numerators[j] rho^j (1-rho)^(degree-j) / denominator; make it with `reduced`, which is unique.

    >>> (ONE - (ONE - RHO) ** 2).bernstein(2)
    array([0., 1., 1.])
    """

    numerators: tuple[int, ...]
    denominator: int = 1

    @property
    def degree(self) -> int:
        return len(self.numerators) - 1

    @property
    def constant(self) -> Fraction | None:
        """The number that this is, if it is one."""
        return Fraction(self.numerators[0], self.denominator) if self.degree == 0 else None

    def __add__(self, other: Polynomial) -> Polynomial:
        degree = max(self.degree, other.degree)
        left, right = _raised(self.numerators, degree), _raised(other.numerators, degree)
        p, q = other.denominator, self.denominator
        return reduced([p * a + q * b for a, b in zip(left, right, strict=True)], p * q)

    def __neg__(self) -> Polynomial:
        return Polynomial(tuple(-c for c in self.numerators), self.denominator)

    def __sub__(self, other: Polynomial) -> Polynomial:
        return self + -other

    def __mul__(self, other: Polynomial) -> Polynomial:
        return reduced(_convolve(self.numerators, other.numerators), self.denominator * other.denominator)

    def __pow__(self, exponent: int) -> Polynomial:
        if self.degree * exponent > MAX_DEGREE or self._bits * exponent > MAX_BITS:
            raise AdvshapeError(
                f"a power of exponent {exponent} is too large to expand; formulas go to degree {MAX_DEGREE}, "
                "choose a smaller exponent"
            )
        result, square = ONE, self
        while exponent:
            if exponent % 2:
                result = result * square
            exponent //= 2
            square = square * square if exponent else square
        return result

    def divided(self, other: Polynomial) -> Polynomial | None:
        """self / other where that is a polynomial, else None."""
        quotient_degree = self.degree - other.degree
        if quotient_degree < 0 or not any(other.numerators):
            return ZERO if not any(self.numerators) and any(other.numerators) else None
        lead = max(i for i, c in enumerate(other.numerators) if c)
        if (quotient_degree + 1) * (lead + 1) > MAX_WORK:
            return None
        rest, quotient = [Fraction(c) for c in self.numerators], [Fraction(0)] * (quotient_degree + 1)
        for i in range(quotient_degree, -1, -1):
            quotient[i] = rest[i + lead] / other.numerators[lead]
            for m in range(lead + 1):
                rest[i + m] -= quotient[i] * other.numerators[m]
        if any(rest):
            return None
        common = int(np.lcm.reduce([1, *[q.denominator for q in quotient]], dtype=object))
        ints = [int(q * common) * other.denominator for q in quotient]
        return reduced(ints, common * self.denominator)

    def derivative(self) -> Polynomial:
        """d/d rho: (j+1) c_{j+1} - (d-j) c_j in degree d - 1."""
        d, c = self.degree, self.numerators
        return reduced([(j + 1) * c[j + 1] - (d - j) * c[j] for j in range(d)] or [0], self.denominator)

    def antiderivative(self) -> Polynomial:
        """The integral from 0 to rho."""
        d, total, rising = self.degree + 1, Fraction(0), [Fraction(0)]
        for j, c in enumerate(self.numerators):
            total += Fraction(c, self.denominator * comb(d - 1, j) * d)
            rising.append(total * comb(d, j + 1))
        common = int(np.lcm.reduce([q.denominator for q in rising], dtype=object))
        return reduced([int(q * common) for q in rising], common)

    def bernstein(self, degree: int) -> FloatArray:
        """Bernstein coefficients in a degree >= its own, each the exact ratio rounded once; shape (degree + 1,)."""
        raised = _raised(self.numerators, degree, limit=False)
        try:
            return np.array([c / (self.denominator * comb(degree, j)) for j, c in enumerate(raised)])
        except OverflowError:
            raise AdvshapeError("the formula's coefficients exceed 1e308; rescale it") from None

    def __call__(self, rho: FloatArray, wrong: FloatArray) -> FloatArray:
        """Values at rho, wrong = 1 - rho given apart so that both ends are exact."""
        d = self.degree
        total = np.zeros_like(rho)
        for j, factor in self._factors:
            total = total + factor * (rho**j * wrong ** (d - j))
        return total

    @cached_property
    def _factors(self) -> list[tuple[int, float]]:
        """(j, c_j) where c_j is not 0, rounded once."""
        try:
            return [(j, c / self.denominator) for j, c in enumerate(self.numerators) if c]
        except OverflowError:
            raise AdvshapeError("the formula's numbers exceed 1e308; rescale it") from None

    @property
    def at_ends(self) -> tuple[int, int, Polynomial]:
        """(a, b, rest): self = rho^a (1-rho)^b rest, with rest not 0 at either end; (0, 0, self) for 0."""
        where = [j for j, c in enumerate(self.numerators) if c]
        if not where:
            return 0, 0, self
        return (
            where[0],
            self.degree - where[-1],
            reduced(list(self.numerators[where[0] : where[-1] + 1]), self.denominator),
        )

    @property
    def _bits(self) -> int:
        return max(self.denominator.bit_length(), *(c.bit_length() for c in self.numerators))

    def powers(self, of_wrong: bool = False) -> list[Fraction]:
        """Coefficients of rho^0, rho^1, ... (or of the powers of 1 - rho)."""
        numerators = self.numerators[::-1] if of_wrong else self.numerators
        d = self.degree
        out = [0] * (d + 1)
        for j, c in enumerate(numerators):
            for m in range(d - j + 1) if c else ():
                out[j + m] += c
                c = -c * (d - j - m) // (m + 1)  # c (-1)^m C(d - j, m)
        return [Fraction(c, self.denominator) for c in out]


def reduced(numerators: list[int], denominator: int) -> Polynomial:
    """The unique form: lowest degree, lowest terms."""
    while len(numerators) > 1:
        quotient = [numerators[0]]
        for c in numerators[1:-1]:
            quotient.append(c - quotient[-1])
        if quotient[-1] != numerators[-1]:
            break
        numerators = quotient
    shared = gcd(denominator, *numerators)
    result = Polynomial(tuple(c // shared for c in numerators), denominator // shared)
    if result._bits > MAX_BITS:
        raise AdvshapeError("the formula's numbers grow too large to stay exact; use smaller numbers or exponents")
    return result


def constant(value: Fraction | int) -> Polynomial:
    """A number as a polynomial."""
    exact = Fraction(value)
    return Polynomial((exact.numerator,), exact.denominator)


def _convolve(left: tuple[int, ...], right: tuple[int, ...], limit: bool = True) -> list[int]:
    first = [(i, c) for i, c in enumerate(left) if c]
    second = [(i, c) for i, c in enumerate(right) if c]
    size = len(left) + len(right) - 1
    if limit and (size - 1 > MAX_DEGREE or len(first) * len(second) > MAX_WORK):
        raise AdvshapeError(
            f"the formula is a polynomial of degree {size - 1}, too large to expand; formulas go to degree "
            f"{MAX_DEGREE} (fewer with many terms), choose smaller exponents"
        )
    out = [0] * size
    for i, a in first:
        for j, b in second:
            out[i + j] += a * b
    return out


def _raised(numerators: tuple[int, ...], degree: int, limit: bool = True) -> list[int]:
    more = degree - len(numerators) + 1
    return _convolve(numerators, tuple(comb(more, i) for i in range(more + 1)), limit)


ZERO, ONE = Polynomial((0,)), Polynomial((1,))
RHO, WRONG = Polynomial((0, 1)), Polynomial((1, 0))
