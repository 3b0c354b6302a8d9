"""What is an estimator at group size n? The advantage table, its exact finite-n surrogate and its second moment.

A group of n rollouts with 0/1 rewards, c of them right: a right rollout gets positive[c], a wrong one negative[c].
The same table seen by one rollout, with j of the OTHER n - 1 right: A = weight[j] * r - offset[j]. The weight alone
decides what is optimised; for given weights the offset decides the variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from advshape import bernstein
from advshape.bernstein import FloatArray
from advshape.errors import AdvshapeError
from advshape.objectives.expression import as_surrogate
from advshape.objectives.surrogate import Algebra, Surrogate
from advshape.objectives.weighted import Rerolled
from advshape.tables.prior import Beta

__all__ = ["DEFAULT_PRIOR", "AdvantageTable", "FiniteSurrogate", "counts_text"]

DEFAULT_PRIOR = Beta(0.5, 1.0)


BLOCK = 2**22
"""Values of the Bernstein basis held at once."""


@dataclass(frozen=True, eq=False, repr=False)
class FiniteSurrogate(Algebra):
    """What a table really optimises with n rollouts: g = (1/n) sum_i A_i grad log pi(y_i), E[g] = F_n'(rho) grad rho,

    F_n'(rho) = E_{j ~ Bin(n-1, rho)}[weight[j]].

    F_n is the polynomial of degree n with F_n(0) = 0 (Davis & Recht, arXiv:2510.13651). Holds for n independent
    on-policy rollouts; clipping after the first step on a batch, top-p and replay are outside it.
    """

    weight: FloatArray

    @property
    def n(self) -> int:
        return len(self.weight)

    def __repr__(self) -> str:
        return f"FiniteSurrogate(n={self.n})"

    @property
    def slope(self) -> str:
        return f"the sum over j of weight[j] C({self.n - 1}, j) rho^j (1 - rho)^({self.n - 1} - j)"

    @property
    def degree(self) -> int:  # type: ignore[override]
        return self.n - 1

    def value(self, rho: ArrayLike) -> FloatArray:
        cumulative = np.concatenate([[0.0], np.cumsum(self.weight)]) / self.n
        return bernstein.basis(self.n, rho) @ cumulative

    def derivative(self, rho: ArrayLike) -> FloatArray:
        flat = np.asarray(rho, dtype=np.float64).ravel()
        size = max(1, BLOCK // self.n)  # thousands of nodes times thousands of polynomials do not fit in memory
        parts = [bernstein.basis(self.n - 1, flat[i : i + size]) @ self.weight for i in range(0, len(flat), size)]
        return np.concatenate([np.empty(0), *parts]).reshape(np.shape(rho))[()]

    def bernstein(self, degree: int) -> FloatArray | None:
        return None if degree < self.n - 1 else bernstein.elevate(self.weight, degree)


@dataclass(frozen=True, eq=False)
class AdvantageTable:
    """positive[c], negative[c], c = 0..n, both float64 of shape (n + 1,); positive[0] = negative[n] = 0 cannot occur.

    >>> AdvantageTable.from_weights([1.0, 1.0], [0.0, 1.0]).positive   # RLOO, n = 2
    array([0., 1., 0.])
    """

    positive: FloatArray
    negative: FloatArray

    def __post_init__(self) -> None:
        for name in ("positive", "negative"):
            vector = np.array(getattr(self, name), dtype=np.float64)
            if vector.ndim != 1 or len(vector) < 2 or not np.all(np.isfinite(vector)):
                raise AdvshapeError(
                    f"{name} must be a finite vector of length n + 1 >= 2, got shape {vector.shape}: {vector}"
                )
            vector[0 if name == "positive" else -1] = 0.0
            vector.flags.writeable = False
            object.__setattr__(self, name, vector)
        if len(self.positive) != len(self.negative):
            raise AdvshapeError(
                f"positive and negative must have one length, got {len(self.positive)} and {len(self.negative)}"
            )

    @classmethod
    def from_weights(cls, weight: ArrayLike, offset: ArrayLike) -> AdvantageTable:
        """The table with A = weight[j] r - offset[j]; both of shape (n,), by number j of correct others."""
        weight, offset = np.broadcast_arrays(np.asarray(weight, np.float64), np.asarray(offset, np.float64))
        return cls(np.concatenate([[0.0], weight - offset]), np.concatenate([-offset, [0.0]]))

    @property
    def n(self) -> int:
        """Group size."""
        return len(self.positive) - 1

    @property
    def weight(self) -> FloatArray:
        """weight[j] = positive[j + 1] - negative[j], shape (n,): decides what is optimised."""
        return self.positive[1:] - self.negative[:-1]

    @property
    def offset(self) -> FloatArray:
        """offset[j] = -negative[j], shape (n,): for given weights decides the variance."""
        return -self.negative[:-1]

    @property
    def baseline(self) -> FloatArray:
        """offset / weight, shape (n,); NaN where the weight is 0."""
        weight = self.weight
        return np.divide(self.offset, weight, out=np.full(self.n, np.nan), where=weight != 0)

    def surrogate(self) -> FiniteSurrogate:
        """The exact surrogate that this table optimises with n rollouts."""
        return FiniteSurrogate(self.weight)

    def without_dead_groups(self) -> AdvantageTable:
        """This table behind a filter of all-wrong and all-right groups: positive[n] = negative[0] = 0.

        Dropping dead groups from a batch does no more than this: the batch then is a mean over fewer groups, which
        rescales each prompt's expected step by a factor that only the others set. Nothing changes where both were 0.
        """
        c = np.arange(self.n + 1)
        dead = (c == 0) | (c == self.n)
        return AdvantageTable(np.where(dead, 0.0, self.positive), np.where(dead, 0.0, self.negative))

    def rerolled(self) -> Rerolled:
        """What this table optimises when each prompt's group is drawn anew until it is mixed.

        F' = F_n' / (1 - rho^n - (1-rho)^n) of `without_dead_groups`: the pull on prompts that are hardly ever or
        nearly always solved grows without bound. DAPO's dynamic sampling (arXiv:2503.14476) draws new prompts
        instead, which is dropping: F_n' stays.

        >>> rloo = AdvantageTable.from_weights([1.0, 1.0], [0.0, 1.0])     # RLOO, n = 2: F' = 1/(2 rho (1-rho))
        >>> rloo.rerolled().derivative(0.1).round(4)
        np.float64(5.5556)
        """
        if self.n < 2:
            raise AdvshapeError("a group of one rollout is never mixed; re-rolling needs n >= 2")
        return Rerolled(tuple(self.without_dead_groups().weight.tolist()))

    def bias(self, target: Surrogate | str, rho: ArrayLike) -> FloatArray:
        """F_n'(rho) - F'(rho) against a target surrogate, or its formula; same shape as rho."""
        return self.surrogate().derivative(rho) - as_surrogate(target).derivative(rho)

    def second_moment(self, rho: ArrayLike) -> FloatArray:
        """(1/n^2) E[sum_i A_i^2] at success probability rho; same shape as rho.

        Proportional to E||g||^2 in the isotropic-score model: score norms do not depend on the reward, and cross terms
        between rollouts are neglected.
        """
        return bernstein.basis(self.n, rho) @ (self.mean_square / self.n)

    @property
    def mean_square(self) -> FloatArray:
        """Mean of A_i^2 over a group with c right, shape (n + 1,)."""
        c = np.arange(self.n + 1.0)
        return (c * self.positive**2 + (self.n - c) * self.negative**2) / self.n

    @property
    def eta(self) -> FloatArray:
        """eta(c) = c |A+| + (n - c) |A-|, shape (n + 1,): how much weight a group with c right gets.

        Chen et al., arXiv:2508.10751, where it is the sum of absolute advantages.
        """
        return np.abs(self.masses).sum(0)

    @property
    def masses(self) -> FloatArray:
        """eta split by sign of the reward, c A+ and (n - c) A-, shape (2, n + 1); their sum is 0 where centred.

        n times the gradient mass on right and (with its sign) on wrong answers, arXiv:2607.01490.
        """
        c = np.arange(self.n + 1.0)
        return np.stack([c * self.positive, (self.n - c) * self.negative])

    @property
    def omega(self) -> FloatArray:
        """omega(c) = (c/n) A+(c) = -(1 - c/n) A-(c), shape (n + 1,): the weight omega(rho_hat) of arXiv:2510.23049.

        A group's mean gradient is omega times (mean score of its right answers - mean score of its wrong ones), and
        F'(rho) = omega / (rho (1-rho)) as n grows. Raises AdvshapeError where groups are not centred: right and wrong
        answers then have weights of their own, `masses / n`.

        >>> AdvantageTable.from_weights([1.0, 1.0], [0.0, 1.0]).omega   # RLOO, n = 2
        array([0. , 0.5, 0. ])
        """
        if not self.centered:
            raise AdvshapeError(
                "only a centred table has one weight omega; right and wrong answers of this one have weights of their "
                "own, table.masses / table.n"
            )
        return self.masses[0] / self.n

    @property
    def centered(self) -> bool:
        """Whether every group's advantages sum to zero, to 1e-9 of the largest."""
        return bool(np.all(np.abs(self.masses.sum(0)) <= 1e-9 * max(float(self.eta.max()), 1e-300)))

    def rms(self, prior: Beta = DEFAULT_PRIOR) -> float:
        """sqrt(E[mean A^2 | 0 < c < n]) under a prior over success probabilities; 1 for GRPO."""
        mixed = slice(1, self.n)
        p = prior.counts(self.n)[mixed]
        if self.n < 2:
            raise AdvshapeError("rms scaling looks at mixed groups, which need n >= 2; use n >= 2 or scale='none'")
        if not p.sum() > 0:
            raise AdvshapeError(f"rms scaling looks at mixed groups, which {prior!r} never has; use a wider prior")
        return float(np.sqrt(p @ self.mean_square[mixed] / p.sum()))

    def scaled(self, convention: Literal["none", "rms"] | float, prior: Beta = DEFAULT_PRIOR) -> AdvantageTable:
        """Times a number, or scaled to unit `rms` under the prior, so that one learning rate suits every objective."""
        factor = self.scale(convention, prior)
        return self if convention == "none" else AdvantageTable(self.positive * factor, self.negative * factor)

    def scale(self, convention: Literal["none", "rms"] | float, prior: Beta = DEFAULT_PRIOR) -> float:
        """The factor that `scaled` multiplies by."""
        if convention == "none":
            return 1.0
        if isinstance(convention, str) and convention != "rms":
            raise AdvshapeError(f"unknown scale {convention!r}; use 'none', 'rms' or a number")
        if convention == "rms" and self.rms(prior) == 0:
            raise AdvshapeError("a table that is zero in every mixed group cannot be scaled to unit rms")
        return 1 / self.rms(prior) if convention == "rms" else float(convention)

    def with_baseline(self, prior: Beta) -> AdvantageTable:
        """The same weights (the same objective) with the posterior mean of the others as baseline.

        Minimum variance under the isotropic-score model and this prior: A = weight[j] (r - E[rho | j of n - 1]).
        """
        beta = prior.posterior_mean(np.arange(self.n), self.n - 1)
        if beta.ndim != 1:
            raise AdvshapeError("a table takes one prior; for one prior per prompt use advantages(..., history=)")
        return AdvantageTable.from_weights(self.weight, self.weight * beta)


def counts_text(counts: NDArray[np.integer[Any]]) -> str:
    """Rising counts in words: 0, 1, 2 as 0-2, and no more than 8 of them one by one."""
    first, last = int(counts[0]), int(counts[-1])
    if len(counts) > 2 and last - first == len(counts) - 1:
        return f"{first}-{last}"
    return ", ".join(str(int(c)) for c in counts[:8]) + (", ..." if len(counts) > 8 else "")
