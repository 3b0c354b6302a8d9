"""What do I believe about success rates before I look? Beta priors and their fit to measured counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from advshape import bernstein
from advshape.bernstein import FloatArray
from advshape.errors import AdvshapeError

__all__ = ["Beta", "fit_prior"]


@dataclass(frozen=True, eq=False)
class Beta:
    """Beta(a, b) belief about a prompt's success probability; a and b are numbers or arrays, one per prompt.

    a = 0 or b = 0 is allowed as a limit for baselines (a = b = 0 is the Haldane prior), not where a
    distribution over counts is needed.

    >>> Beta(0.5, 0.5).posterior_mean(3, 7)
    array(0.4375)
    """

    a: ArrayLike
    b: ArrayLike

    def __post_init__(self) -> None:
        for name, value in (("a", self.a), ("b", self.b)):
            numbers = np.asarray(value, dtype=np.float64)
            if not np.all(np.isfinite(numbers) & (numbers >= 0)):
                raise AdvshapeError(
                    f"Beta needs finite {name} >= 0, got {name}={value!r}; use Beta(0.5, 1.0) if unsure"
                )

    def __repr__(self) -> str:
        return f"Beta({self.a!r}, {self.b!r})"

    def posterior_mean(self, correct: ArrayLike, n: ArrayLike) -> FloatArray:
        """E[rho | `correct` of `n` are right] = (correct + a) / (n + a + b); arrays broadcast.

        Raises AdvshapeError where n + a + b = 0, which says nothing about rho.
        """
        a, b = np.asarray(self.a, dtype=np.float64), np.asarray(self.b, dtype=np.float64)
        total = np.asarray(n, dtype=np.float64) + a + b
        if np.any(total <= 0):
            raise AdvshapeError(
                f"{self!r} has no posterior mean without observations (n=0); use a + b > 0 or larger groups"
            )
        return np.asarray((np.asarray(correct, dtype=np.float64) + a) / total)

    def counts(self, n: int) -> FloatArray:
        """P(c of n right), c = 0..n: the beta-binomial distribution; shape (n + 1,). Needs scalar a, b > 0."""
        a, b = np.asarray(self.a, dtype=np.float64), np.asarray(self.b, dtype=np.float64)
        if a.ndim or b.ndim or a <= 0 or b <= 0:
            raise AdvshapeError(
                f"a distribution over counts needs one a > 0 and one b > 0, got {self!r}; "
                "use Beta(0.5, 1.0) or fit_prior(correct, n)"
            )
        return bernstein.beta_binomial(n, float(a), float(b))


def fit_prior(correct: ArrayLike, n: ArrayLike) -> Beta:
    """Beta prior fitted to measured counts by beta-binomial maximum likelihood, safe at the boundary.

    correct, n: arrays (prompts,) that broadcast, 0 <= correct <= n, n >= 1. The mean and the concentration a + b
    carry weak priors, worth half a right and half a wrong prompt and a standard deviation of 3 in
    log-concentration around 1, so that the answer stays finite when all prompts are solved, or none, or
    all alike.

    >>> prior = fit_prior([0, 1, 8, 3, 0, 7], 8)
    >>> bool(0.2 < prior.a / (prior.a + prior.b) < 0.6)
    True
    """
    from scipy.optimize import minimize
    from scipy.special import betaln

    correct, n = (np.atleast_1d(np.asarray(x, dtype=np.float64)) for x in (correct, n))
    c, total = np.broadcast_arrays(correct, n)
    if c.size == 0 or not np.all((c >= 0) & (c <= total) & (total >= 1)):
        raise AdvshapeError("fit_prior needs at least one prompt with 0 <= correct <= n and n >= 1; check counts")

    def negative_log_posterior(theta: FloatArray) -> float:
        mean, size = 1 / (1 + np.exp(-theta[0])), np.exp(theta[1])
        a, b = mean * size, (1 - mean) * size
        likelihood = float(np.sum(betaln(a + c, b + total - c) - betaln(a, b)))
        return -likelihood - 0.5 * float(np.log(mean * (1 - mean))) + float(theta[1] ** 2) / 18

    start = float(np.clip(c.sum() / total.sum(), 0.01, 0.99))
    found = minimize(
        negative_log_posterior,
        np.array([np.log(start / (1 - start)), 0.0]),
        method="L-BFGS-B",
        bounds=[(-14.0, 14.0), (-9.0, 12.0)],
    )
    mean, size = 1 / (1 + np.exp(-found.x[0])), np.exp(found.x[1])
    return Beta(float(mean * size), float((1 - mean) * size))
