"""Enumeration: no feasible table has a smaller error than minimum_mse's, judged by Gauss-Jacobi quadrature and SciPy's
binomials, which share nothing with the code."""

import numpy as np
import pytest
from scipy.special import roots_jacobi
from scipy.stats import betabinom, binom

import advshape as adv
from advshape import AdvshapeError, Beta
from advshape.tables.minimum_mse import solve_nonnegative

PRIORS = [(0.5, 1.0), (0.05, 5.0), (20.0, 20.0), (3.0, 0.4)]


def error(n, a, b, signal, slope, spare=40):
    """The function weights -> error, with a rule that is exact for polynomials of degree 2 (n + spare) - 1."""
    x, mass = roots_jacobi(n + spare, b - 1, a - 1)
    rho, mass = (1 + x) / 2, mass / mass.sum()
    basis = binom.pmf(np.arange(n), n - 1, rho[:, None])
    aim = slope(rho)
    beta = (np.arange(n) + a) / (n - 1 + a + b)
    noise = betabinom.pmf(np.arange(n), n - 1, a, b) * beta * (1 - beta) / (n * signal)
    return lambda weight: float(mass @ (rho * (1 - rho) * (basis @ weight - aim)) ** 2 + noise @ weight**2)


def check(n, k, a, b, signal, seed=0):
    found = adv.minimum_mse(adv.PassAtK(k), Beta(a, b), signal).table(n).weight
    judge = error(n, a, b, signal, lambda rho: k * (1 - rho) ** (k - 1), 40 + k)
    least = judge(found)
    assert np.all(found >= 0)
    free = adv.minimum_mse(adv.PassAtK(k), Beta(a, b), signal, nonnegative=False).table(n).weight
    assert judge(free) <= least * (1 + 1e-9)
    rivals = [np.maximum(free, 0.0), adv.plug_in(adv.PassAtK(k)).table(n).weight, np.zeros(n), np.ones(n)]
    if k <= n:
        rivals.append(adv.unbiased(adv.PassAtK(k), "zero").table(n).weight)
    rng = np.random.default_rng(seed)
    for _ in range(200):
        size = 10.0 ** rng.uniform(-6, 0)
        moved = found * (1 + size * rng.standard_normal(n)) if rng.random() < 0.5 else found + size * rng.random(n)
        rivals.append(np.maximum(moved, 0.0))
    worst = max(least / judge(np.maximum(rival, 0.0)) for rival in rivals)
    # 1e-9: an exact minimum loses to rounding alone, of the judge's sums and of weights that are flat directions
    assert worst <= 1 + 1e-9, (n, k, a, b, signal, worst)


@pytest.mark.parametrize(("a", "b"), PRIORS)
@pytest.mark.parametrize("signal", [1.0, 64.0, 1e9])
@pytest.mark.parametrize(("n", "k"), [(2, 8), (3, 2), (16, 64), (40, 8)])
def test_nothing_feasible_is_better(n, k, a, b, signal):
    check(n, k, a, b, signal)


@pytest.mark.long
@pytest.mark.parametrize(("a", "b"), PRIORS)
@pytest.mark.parametrize("signal", [1.0, 64.0, 1024.0, 1e9])
@pytest.mark.parametrize(("n", "k"), [(129, 8), (401, 8), (600, 32), (1024, 8)])
def test_nothing_feasible_is_better_in_large_groups(n, k, a, b, signal):
    check(n, k, a, b, signal)


@pytest.mark.parametrize("surrogate", [adv.GRPO(), adv.LogOdds(), adv.Entropy(), adv.parse("sqrt(rho)")])
def test_objectives_that_are_no_polynomials(surrogate):
    """With Beta(2, 2) all four slopes are square-integrable; 400 nodes more than the rule needs for polynomials."""
    for n in (4, 24):
        found = adv.minimum_mse(surrogate, Beta(2.0, 2.0), 64.0).table(n).weight
        judge = error(n, 2.0, 2.0, 64.0, surrogate.derivative, 1500)
        rng = np.random.default_rng(n)
        for _ in range(100):
            rival = np.maximum(found * (1 + 10.0 ** rng.uniform(-5, 0) * rng.standard_normal(n)), 0.0)
            assert judge(found) <= judge(rival) * (1 + 1e-7)  # the judge's rule is not exact here


@pytest.mark.parametrize("signal", [1e-9, 1e6, 1e12, 1e300])
@pytest.mark.parametrize("n", [1, 2, 33])
def test_any_positive_signal(n, signal):
    for a, b in PRIORS:
        for nonnegative in (True, False):
            weight = adv.minimum_mse(adv.PassAtK(8), Beta(a, b), signal, nonnegative).table(n).weight
            assert np.all(np.isfinite(weight))


def test_a_large_signal_asks_for_no_bias():
    assert adv.minimum_mse(adv.PassAtK(4), signal=1e12).table(8).weight == pytest.approx(
        adv.unbiased(adv.PassAtK(4)).table(8).weight, abs=1e-6
    )


def test_a_count_that_never_occurs_gets_the_slope_at_its_posterior_mean():
    """Beta(20, 20), n = 1024: no wrong answer among the others has probability 1e-31; it is no zero of rounding."""
    weight = adv.minimum_mse(adv.PassAtK(8), Beta(20.0, 20.0)).table(400).weight
    assert weight[0] == pytest.approx(8 * (1 - 20 / 439) ** 7)


@pytest.mark.parametrize("signal", [0, -1.0, float("nan"), float("inf")])
def test_what_is_no_signal(signal):
    with pytest.raises(AdvshapeError, match="signal must be a positive number"):
        adv.minimum_mse(adv.PassAtK(8), signal=signal)


def test_too_large_a_group():
    with pytest.raises(AdvshapeError, match="n <= 1024"):
        adv.minimum_mse(adv.PassAtK(8)).table(1025)


def test_pivoting_finds_the_minimum_over_all_sets():
    """Against all 2^n choices of free variables."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        n = int(rng.integers(1, 7))
        factor, right = np.triu(rng.standard_normal((n, n))) + 2 * np.eye(n), rng.standard_normal(n)
        best = np.inf
        for code in range(2**n):
            free = np.array([code >> i & 1 for i in range(n)], dtype=bool)
            x = np.zeros(n)
            if free.any():
                x[free] = np.linalg.lstsq(factor[:, free], right, rcond=None)[0]
            if np.all(x >= 0):
                best = min(best, float(np.sum((factor @ x - right) ** 2)))
        found = solve_nonnegative(factor, right)
        assert np.all(found >= 0)
        assert np.sum((factor @ found - right) ** 2) == pytest.approx(best, rel=1e-12, abs=1e-13)
