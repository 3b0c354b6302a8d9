"""Beta priors: the fit is the optimum of a likelihood by mpmath; the quadrature has mpmath's moments for every Beta."""

from collections import Counter

import numpy as np
import pytest
from mpmath import mp, mpf

import advshape as adv
from advshape.catalogue.analysis import batch_error, share_by_rate

mp.dps = 40
SHAPES = [1e-3, 0.1, 1.0, 2.0, 400.0, 1e5]


def random_counts(seed):
    """Overdispersed, alike, solved or not; equal or unequal numbers of rollouts."""
    rng = np.random.default_rng(seed)
    prompts = int(rng.integers(1, 60))
    n = rng.choice([1, 2, 8, 64, 1000], prompts) if seed % 2 else np.full(prompts, rng.choice([1, 4, 16, 256]))
    rates = [rng.beta(0.3, 0.5, prompts), np.full(prompts, rng.random()), rng.beta(50, 20, prompts), np.zeros(prompts)]
    return rng.binomial(n, rates[seed // 2 % 4]), n


def log_posterior(mean_logit, log_size, kinds):
    """Beta-binomial likelihood by log-gammas at 40 digits, with the priors that the docstring states."""
    size, mean = mp.exp(log_size), 1 / (1 + mp.exp(-mpf(mean_logit)))
    a, b = mean * size, size / (1 + mp.exp(mpf(mean_logit)))
    total = mp.log(mean * b / size) / 2 - mpf(log_size) ** 2 / (2 * mpf(3) ** 2)
    for (c, n), times in kinds.items():
        total += times * (mp.log(mp.beta(a + c, b + n - c)) - mp.log(mp.beta(a, b)))
    return total


@pytest.mark.parametrize(
    ("correct", "n"),
    [
        ([4] * 200, 8),
        ([8] * 200, 16),
        ([0] * 50, 8),
        ([8] * 50, 8),
        ([1], 1),
        ([0, 8] * 40, 8),
        ([5], 1000),
        ([3, 500_000, 10], 1_000_000),
        ([500_000] * 100, 1_000_000),
        *(random_counts(seed) for seed in range(50)),
    ],
)
def test_the_fit_is_the_optimum(correct, n):
    """No neighbour within 1e-6 and no point of a coarse grid is better, at 40 digits."""
    prior = adv.fit_prior(correct, n)
    kinds = Counter(zip(*(x.tolist() for x in np.broadcast_arrays(correct, n)), strict=True))
    here = mp.log(mpf(prior.a) / mpf(prior.b)), mp.log(mpf(prior.a) + mpf(prior.b))
    best, step = log_posterior(*here, kinds), mpf(10) ** -6
    for i, j in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        assert log_posterior(here[0] + i * step, here[1] + j * step, kinds) < best
    if len(kinds) < 10:
        for log_size in range(-6, 22, 3):
            for shift in (-2, -0.5, 0, 0.5, 2):
                assert log_posterior(here[0] + shift, log_size, kinds) <= best + mpf(10) ** -20  # the grid may hit it


@pytest.mark.parametrize("counts", [([1.5], 4), ([np.nan], 4), ([1], 1e8), ([5], 4), ([], 4)])
def test_counts_that_cannot_be_fitted(counts):
    with pytest.raises(adv.AdvshapeError, match="whole numbers 0 <= correct <= n"):
        adv.fit_prior(*counts)


def moment(a, b, i, j):
    """E[rho^i (1-rho)^j] under Beta(a, b)."""
    a, b = mpf(a), mpf(b)
    return mp.gammaprod([a + i, b + j, a + b], [a, b, a + b + i + j])


@pytest.mark.parametrize("a", SHAPES)
@pytest.mark.parametrize("b", SHAPES)
def test_quadrature_has_the_moments_of_every_beta(a, b):
    nodes, masses = adv.Beta(a, b).quadrature()
    assert np.all((nodes > 0) & (nodes < 1) & (masses >= 0))
    tail = 2e-8 * min(1.0, (3e-16 * (a + b)) ** b)  # sqrt(1-rho) on the mass beyond the last double below 1
    omega = nodes * (1 - nodes)
    size, ends = mpf(a) + mpf(b), (mpf(a), mpf(b))
    entropy = sum(x / size * (mp.digamma(size + 1) - mp.digamma(x + 1)) for x in ends)
    for got, want, allowed in (
        (nodes, moment(a, b, 1, 0), 0),
        (nodes**16, moment(a, b, 16, 0), 0),
        ((1 - nodes) ** 300, moment(a, b, 0, 300), 0),
        (omega * adv.PassAtK(300).derivative(nodes), 300 * moment(a, b, 1, 300), 0),
        ((omega * adv.GRPO().derivative(nodes)) ** 2, moment(a, b, 1, 1), 0),
        (omega * adv.GRPO().derivative(nodes), moment(a, b, 0.5, 0.5), tail),
        (omega * adv.LogOdds().derivative(nodes), 1, 0),
        (adv.Entropy().value(nodes), entropy, 0),
    ):
        assert abs(masses @ got - float(want)) <= 1e-12 * max(1.0, float(np.abs(got).max())) + allowed


@pytest.mark.parametrize(
    "shape", [(400, 400), (2, 900), (2000, 0.5), (1e-12, 1), (1, 1e-12), (1e5, 1e5), (1e300, 1e-300)]
)
def test_concentrated_priors_have_finite_answers(shape):
    """REINFORCE of n = 8 against pass@2: E[(omega_n - omega)^2] = E[rho^2 (1-rho)^2 (1 - 2 (1-rho))^2], exactly."""
    prior, table = adv.Beta(*shape), adv.estimator("rloo").table(8)
    want = sum(k * moment(*shape, 2, 2 + i) for i, k in enumerate((1, -4, 4)))
    described = adv.describe("rloo", 8, prior, target=adv.PassAtK(2))
    assert described.rms_bias**2 == pytest.approx(float(want), rel=1e-9, abs=1e-30)
    assert np.isfinite([*described.error.values(), *described.shares]).all()
    assert np.isfinite(batch_error(table, adv.GRPO(), [1, 10], prior=prior, overlap=0.5)).all()
    assert np.isfinite(adv.minimum_mse(adv.PassAtK(16), prior).table(8).weight).all()
    assert adv.describe("grpo", 8, prior, scale="rloo").second_moment >= 0


def test_shares_do_not_cancel_where_the_prior_is_sure():
    """omega_n of RLOO at n = 2 is rho (1-rho): the shares below and above the median of Beta(x+1, x+1) are halves."""
    assert share_by_rate(adv.estimator("rloo").table(2), [0, 0.5, 1], adv.Beta(1e9, 1e9)) == pytest.approx([0.5, 0.5])


def test_a_prior_without_mixed_groups_has_no_rms():
    with pytest.raises(adv.AdvshapeError, match="never has"):
        adv.estimator("grpo").table(8).rms(adv.Beta(1e300, 1e-300))
