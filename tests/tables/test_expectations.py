"""Enumeration: every expectation under a prior has its 11 digits, against closed forms in mpmath."""

import mpmath as mp
import numpy as np
import pytest

import advshape as adv
from advshape import AdvshapeError, Beta
from advshape.bernstein import log_choose
from advshape.catalogue.analysis import describe, scale_factor

PRIORS = [(0.5, 1.0), (0.05, 5.0), (20.0, 20.0), (300.0, 2.0), (0.01, 0.01)]


def squared(n, i):
    """(rho (1-rho) B_i^n)^2, in logarithms."""

    def f(rho):
        with np.errstate(divide="ignore"):
            right, wrong = (i + 1) * np.log(rho), (n - i + 1) * np.log1p(-rho)
        return np.exp(2 * (log_choose(n, i) + right + wrong))

    return f


@pytest.mark.parametrize(("a", "b"), PRIORS)
@pytest.mark.parametrize("n", [1, 400, 4095])
def test_squares_of_bernstein_polynomials(n, a, b):
    prior = Beta(a, b)
    for i in {0, 1, n // 3, n // 2, n - 1, n}:
        with mp.workdps(40):
            exact = mp.binomial(n, i) ** 2 * mp.beta(2 * i + a + 2, 2 * (n - i) + b + 2) / mp.beta(a, b)
            if exact < mp.mpf(10) ** -280:
                continue  # smaller than what doubles can square
            exact = float(exact)
        # 2e-11: the logarithms of a binomial of 4,095 carry 1e-12, doubled by the square; the rest is the rule's
        assert prior.expect(squared(n, i), 2 * n + 4) == pytest.approx(exact, rel=2e-11)


def test_the_step_of_degree_0_would_miss_them():
    """Break the rule: nodes that do not follow the degree are off by far more than 1e-11."""
    nodes, masses = Beta(0.5, 1.0).quadrature()
    with mp.workdps(40):
        exact = float(mp.binomial(400, 200) ** 2 * mp.beta(402.5, 403) / mp.beta(0.5, 1))
    assert abs(masses @ squared(400, 200)(nodes) / exact - 1) > 1e-3


@pytest.mark.parametrize(("a", "b"), PRIORS[:3])
def test_functions_that_end_like_roots_and_entropies(a, b):
    for f, mpf in ((np.sqrt, mp.sqrt), (lambda r: -r * np.log(r), lambda r: -r * mp.log(r) if r else mp.mpf(0))):
        with mp.workdps(30):
            if f is np.sqrt:
                exact = mp.beta(a + 0.5, b) / mp.beta(a, b)
            else:
                exact = mp.mpf(a) / (a + b) * (mp.psi(0, a + b + 1) - mp.psi(0, a + 1))
        assert Beta(a, b).expect(f) == pytest.approx(float(exact), rel=1e-10)
        assert mpf(mp.mpf(0)) == 0


@pytest.mark.parametrize(("n", "k"), [(400, 8), (1024, 64)])
def test_descriptions_of_large_groups(n, k):
    """Second moments, scales and biases of Pass@K at sizes where a fixed grid failed, from exact sums."""
    table, prior = adv.estimator("reinforce_k", k=k).table(n), Beta(0.5, 1.0)
    row = describe(adv.estimator("reinforce_k", k=k), n)
    assert row.rms_bias == pytest.approx(0, abs=1e-10 * k)
    with mp.workdps(30):  # E[omega^2] = K^2 B(a + 2, b + 2 K) / B(a, b)
        size = float(k * mp.sqrt(mp.beta(2.5, 1 + 2 * k) / mp.beta(0.5, 1)))
        pull = mp.mpf(k) * mp.beta(1.5, 1 + k) / (mp.beta(1.5, 2))
    assert row.alignment == pytest.approx(1, abs=1e-11)
    if row.bias_share is not None and row.rms_bias:
        assert row.rms_bias / row.bias_share == pytest.approx(size, rel=1e-9)
    assert scale_factor(table, "rloo", prior) == pytest.approx(float(1 / pull), rel=1e-10)


def test_a_jump_is_refused():
    with pytest.raises(AdvshapeError, match="does not settle to 11 digits"):
        Beta(0.5, 1.0).expect(lambda rho: (rho > 0.37).astype(float))


def test_several_at_once():
    found = Beta(2.0, 3.0).expect(lambda rho: np.stack([rho, rho**2]))
    assert found == pytest.approx([0.4, 0.2], rel=1e-12)
