"""What do I believe about success rates before I look? Beta priors and their fit to measured counts."""

from __future__ import annotations

from collections.abc import Callable
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
        return bernstein.beta_binomial(n, *self._proper())

    def expect(self, f: Callable[[FloatArray], FloatArray], degree: int = 0) -> FloatArray:
        """E[f(rho)] to about 11 digits of E|f|, of the largest where f has several values: two rules agree on them.

        Args:
            f: rho (m,) to values (..., m); smooth inside (0, 1).
            degree: of the polynomials that f is made of, so that the first rule sees their width.

        Returns:
            (...,) means.

        Raises:
            AdvshapeError: no rule agrees with the next finer one: f is not smooth, or narrower than `degree` says.

        >>> Beta(2.0, 3.0).expect(lambda rho: rho * (1 - rho)).round(12)
        np.float64(0.2)
        """
        last = None
        for refine in range(6):
            nodes, masses = self.quadrature(degree, refine)
            values = np.asarray(f(nodes), dtype=np.float64)
            mean, size = values @ masses, np.max(np.abs(values) @ masses)
            if last is not None and np.all(np.abs(mean - last) <= 1e-11 * size):
                return np.asarray(mean)[()]
            last = mean
        raise AdvshapeError(
            f"an expectation under {self!r} does not settle to 11 digits: the function has a jump or a pole inside "
            "(0, 1), or a feature too narrow to see; use a smoother one"
        )

    def quadrature(self, degree: int = 0, refine: int = 0) -> tuple[FloatArray, FloatArray]:
        """Nodes inside (0, 1) and masses that sum to 1: E[f(rho)] = masses @ f(nodes). Needs scalar a, b > 0.

        The trapezoidal rule in u, logit rho = 40 sinh(u / 40): there rho^a (1-rho)^b f(rho) is analytic and falls
        exponentially, so that the rule converges exponentially for every a and b, also where f ends like sqrt(rho) or
        an entropy. Its step follows the narrowest peak of rho^a (1-rho)^b times a Bernstein polynomial of this
        degree, half its standard deviation in logit rho (about 2 / sqrt(degree)): errors stay below 1e-11 of the
        largest |f| for such f at every degree up to 8192, n = 4,096 squared. One exception: doubles end at
        1 - rho = 1e-16, so that an f like sqrt(1-rho) is taken as 1e-8 instead of 0 on what mass lies beyond: much
        where b < 0.1.

        Args:
            degree: of the polynomials in f: 2 (n - 1) + 4 for squares of omega_n.
            refine: halve the step so many times.

        >>> nodes, masses = Beta(2.0, 3.0).quadrature()
        >>> (masses @ nodes).round(12)
        np.float64(0.4)
        """
        a, b = self._proper()
        step = min(0.25, max(_narrowest(a, b, degree) / 2, 1e-13)) / 2**refine
        # as far as a polynomial of this degree can move the weight: to where all, or none, of so many more were right
        low = _reach(a, b + degree, step)[0] - float(np.log1p(degree / b))
        high = _reach(a + degree, b, step)[1] + float(np.log1p(degree / a))
        low, high = (BEND * float(np.arcsinh(end / BEND)) for end in (low, high))
        u = np.linspace(low, high, max(1, int(np.ceil((high - low) / step))) + 1)
        t, stretch = BEND * np.sinh(u / BEND), np.cosh(u / BEND)  # logit rho - log(a / b), and its derivative in u
        logs = _log_density(a, b, t)
        masses = np.exp(logs - logs.max()) * stretch
        for end, power in ((0, a), (-1, b)):
            masses[end] *= _sum_beyond(power, abs(float(u[end])), float(u[1] - u[0]))
        return 1 / (1 + np.exp(np.log(b) - np.log(a) - t)), masses / masses.sum()

    def _proper(self) -> tuple[float, float]:
        a, b = np.asarray(self.a, dtype=np.float64), np.asarray(self.b, dtype=np.float64)
        if a.ndim or b.ndim or a <= 0 or b <= 0:
            raise AdvshapeError(
                f"a distribution over counts needs one a > 0 and one b > 0, got {self!r}; "
                "use Beta(0.5, 1.0) or fit_prior(correct, n)"
            )
        return float(a), float(b)


BEND = 40.0
"""Where the nodes begin to lie wider apart: beyond it, in the tails, nothing is narrow."""


def _narrowest(a: float, b: float, degree: int) -> float:
    """The least standard deviation of logit rho after i of `degree` more were right, i = 0..degree."""
    from scipy.special import polygamma

    right = np.clip((b - a + degree) / 2, 0, degree)  # where both counts are as equal as they can be
    return float(np.sqrt(polygamma(1, a + right) + polygamma(1, b + degree - right)))


def _sum_beyond(power: float, u: float, step: float) -> float:
    """Sum of e^(-power t) dt/du, t = 40 sinh(u / 40), over u, u + step, u + 2 step ..., relative to its first term.

    By the formula of Euler and Maclaurin, whose integral is known; where the terms fall fast they are a geometric
    series, and weigh nothing.
    """
    first, bent = float(np.cosh(u / BEND)), float(np.sinh(u / BEND)) / BEND
    if power * first * step > 1:
        return float(-1 / np.expm1(-power * first * step))
    third = -(power**3) * first**4 + 6 * power**2 * first**2 * bent - (4 * power * first**2 - bent) / BEND**2
    third -= 3 * power * bent**2
    slope = bent - power * first**2
    whole = 1 / max(power * step, 1e-290) + first / 2 - step / 12 * slope + step**3 / 720 * third
    return whole / first


def _log_density(a: float, b: float, t: ArrayLike) -> FloatArray:
    """Of logit rho at t + log(a / b), relative to the peak: a t - (a + b) log(1 - m + m e^t), m = a / (a + b)."""
    t = np.asarray(t, dtype=np.float64)
    if a > b:
        return _log_density(b, a, -t)
    near = np.log1p(a / (a + b) * np.expm1(np.minimum(t, 1.0)))
    far = np.logaddexp(0.0, t + np.log(a) - np.log(b)) - np.log1p(a / b)
    return np.asarray(a * t - (a + b) * np.where(t < 1, near, far))


def _reach(a: float, b: float, step: float) -> tuple[float, float]:
    """From where to where in t: until the density has fallen by e^-40, or rho to e^-600, or 1 - rho to e^-36."""
    from scipy.optimize import brentq

    peak = np.log(a) - np.log(b)
    first, last = float(-600 - peak), float(36 - peak)

    def height(t: float) -> float:
        return float(_log_density(a, b, t)) + 40

    low = brentq(height, first, 0.0) if first < 0 and height(first) < 0 else first
    high = brentq(height, 0.0, last) if last > 0 and height(last) < 0 else last
    return min(low, last - step), max(high, first + step)


def fit_prior(correct: ArrayLike, n: ArrayLike) -> Beta:
    """Beta prior fitted to measured counts by beta-binomial maximum likelihood, safe at the boundary.

    correct, n: arrays (prompts,) of whole numbers that broadcast, 0 <= correct <= n, 1 <= n <= 10^7. The mean and the
    concentration a + b carry weak priors, worth half a right and half a wrong prompt and a standard deviation of 3 in
    log-concentration around 1. So the answer stays finite when all prompts are solved, or none, and when they are as
    alike as one rate would make them: the likelihood alone then asks for a + b = infinity, the answer is the large
    a + b where it gains less than the prior takes. Raises AdvshapeError for other counts.

    >>> prior = fit_prior([0, 1, 8, 3, 0, 7], 8)
    >>> bool(0.2 < prior.a / (prior.a + prior.b) < 0.6)
    True
    """
    from scipy.optimize import minimize, root

    correct, n = (np.atleast_1d(np.asarray(x, dtype=np.float64)) for x in (correct, n))
    c, total = np.broadcast_arrays(correct, n)
    whole = (c == np.floor(c)) & (total == np.floor(total))
    if c.size == 0 or not np.all(whole & (c >= 0) & (c <= total) & (total >= 1) & (total <= 1e7)):
        raise AdvshapeError(
            "fit_prior needs at least one prompt with whole numbers 0 <= correct <= n and 1 <= n <= 10^7; check counts"
        )
    above = [_above(x) for x in (c, total - c, total)]
    rate = float(np.clip(c.sum() / total.sum(), 0.01, 0.99))
    starts = [np.array([np.log(rate / (1 - rate)), size]) for size in np.arange(-6.0, 25.0, 3.0)]
    start = min(starts, key=lambda theta: _negative_log_posterior(theta, above)[0])
    theta = minimize(
        _negative_log_posterior, start, (above,), jac=True, method="L-BFGS-B", bounds=[(-40.0, 40.0), (-40.0, 60.0)]
    ).x
    finish = root(lambda x: _negative_log_posterior(x, above)[1], theta, tol=1e-12).x  # where differences of values end
    best = min((theta, finish), key=lambda x: float(np.abs(_negative_log_posterior(x, above)[1]).max()))
    mean, size = 1 / (1 + np.exp(-best[0])), np.exp(best[1])
    return Beta(float(mean * size), float(size / (1 + np.exp(best[0]))))


def _above(counts: FloatArray) -> FloatArray:
    """How many of the counts exceed i, i = 0..max - 1."""
    return np.cumsum(np.bincount(counts.astype(np.int64).ravel())[::-1])[::-1][1:].astype(np.float64)


def _negative_log_posterior(theta: FloatArray, above: list[FloatArray]) -> tuple[float, FloatArray]:
    """Value and gradient at logit of the mean m and log of the concentration s; a = m s, b = (1 - m) s.

    B(a + c, b + n - c) / B(a, b) = m^c (1 - m)^(n-c) prod (1 + i/a) prod (1 + i/b) / prod (1 + i/s), over i < c, n - c
    and n: no difference of log-gammas, so nothing is lost where s is large.
    """
    log_mean, log_rest = -np.logaddexp(0, -theta[0]), -np.logaddexp(0, theta[0])
    mean, rest, size = np.exp(log_mean), np.exp(log_rest), np.exp(theta[1])
    value = float(theta[1] ** 2 / 18 - 0.5 * (log_mean + log_rest))
    slope = np.array([0.5 * (mean - rest), theta[1] / 9])
    for many, share, turn, sign in zip(above, (mean, rest, 1.0), (rest, -mean, 0.0), (1, 1, -1), strict=True):
        i = np.arange(len(many))
        bent = i / (share * size + i)
        value -= sign * float(many @ np.log1p(i / (share * size)) + many.sum() * np.log(share))
        slope -= sign * np.array([turn * float(many @ (1 - bent)), -float(many @ bent)])
    return value, slope
