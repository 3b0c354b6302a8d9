"""Extrapolation: reduction to fit_prior, gradient, recovery of simulated truths, misfit found, interval coverage."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import approx_fprime
from scipy.stats import beta as beta_distribution
from scipy.stats import betabinom

from advshape.errors import AdvshapeError
from advshape.evaluation.stats.counts import Counts
from advshape.evaluation.stats.extrapolate import RateModel, _goodness, _loss, extrapolate, fit_rates
from advshape.tables.prior import fit_prior

BETA, ZERO = "beta-binomial", "zero-inflated beta-binomial"


def counts(correct, n):
    return Counts.of(map(str, range(len(correct))), correct, np.broadcast_to(n, len(correct)))


def test_pass_at_is_the_integral_over_rates():
    model = RateModel(0.7, 2.5, 0.3)
    for k in (1, 5, 300):
        integral = quad(lambda x, k=k: (1 - (1 - x) ** k) * beta_distribution.pdf(x, 0.7, 2.5), 0, 1, limit=200)[0]
        assert model.pass_at([k])[0] == pytest.approx(0.7 * integral, rel=1e-6)
    assert model.distribution(6)[1:] == pytest.approx(0.7 * betabinom.pmf(np.arange(1, 7), 6, 0.7, 2.5))
    assert model.distribution(6).sum() == pytest.approx(1)


def test_beta_binomial_is_fit_prior():
    """Reduction: without never-solved prompts the fit is the one of advshape.tables.prior."""
    rng = np.random.default_rng(0)
    for correct in (rng.binomial(16, rng.beta(0.3, 0.6, 100)), np.zeros(20, int), np.full(20, 16), np.full(20, 5)):
        prior, rates = fit_prior(correct, 16), fit_rates(correct, np.full(len(correct), 16))
        assert (rates.a, rates.b, rates.never) == (prior.a, prior.b, 0.0)


def test_the_zero_inflated_model_is_the_plain_one_where_no_prompt_is_unsolved():
    """Reduction: two searches, one answer."""
    correct = np.maximum(np.random.default_rng(0).binomial(16, np.random.default_rng(1).beta(3, 4, 200)), 1)
    plain, inflated = (fit_rates(correct, np.full(200, 16), model) for model in (BETA, ZERO))
    assert inflated.never < 0.001
    assert inflated.pass_at([1, 64]) == pytest.approx(plain.pass_at([1, 64]), abs=1e-4)


@pytest.mark.parametrize("theta", [[0.3, 0.2, -1.0], [-1.0, 1.0, 1.0], [0.3, 0.2, -12.0]])
def test_gradient(theta):
    correct, judged = np.array([0, 0, 1, 3, 4, 7, 8]), np.array([8, 4, 8, 8, 8, 8, 8])
    times = np.array([9, 2, 3, 1, 1, 2, 5])
    numeric = approx_fprime(theta, lambda x: _loss(x, correct, judged, times)[0], 1e-7)
    assert _loss(np.array(theta), correct, judged, times)[1] == pytest.approx(numeric, rel=1e-4, abs=1e-4)


def test_truths_are_recovered_beyond_n():
    """400 prompts of each model, n = 32 and 64 mixed: pass@1024 within its interval, and no alarm."""
    for seed, (model, never) in enumerate(((BETA, 0.0), (ZERO, 0.4))):
        rng = np.random.default_rng(seed)
        n = rng.choice([32, 64], 400)
        correct = rng.binomial(n, rng.beta(1.2, 2, 400) * (rng.random(400) >= never))
        found = extrapolate(counts(correct, n), [8, 1024], model, replicates=40)
        truth = RateModel(1.2, 2, never).pass_at([8, 1024])
        assert ((found.low <= truth) & (truth <= found.high)).all()
        assert found.fit > 0.05
        assert found.warning is None
        assert found.measured.tolist() == [True, False]
        assert "MODEL" in found.label


@pytest.mark.parametrize("model", [BETA, ZERO])
def test_two_points_are_no_beta(model):
    """A misspecified truth, half at 0.1 and half at 0.6: the goodness of fit warns."""
    rng = np.random.default_rng(0)
    found = extrapolate(counts(rng.binomial(64, rng.choice([0.1, 0.6], 200)), 64), [1000], model, replicates=40)
    assert found.fit < 0.05
    assert "does not fit" in found.warning
    assert "beyond 64" in found.warning
    assert found.to_json()["warning"] == found.warning


def test_never_solved_prompts_are_no_beta():
    rng = np.random.default_rng(0)
    correct = rng.binomial(64, rng.beta(2, 3, 200) * (rng.random(200) < 0.6))
    plain, inflated = (extrapolate(counts(correct, 64), [1000], model, replicates=40) for model in (BETA, ZERO))
    assert plain.fit < 0.05 < inflated.fit
    assert inflated.low[0] < 0.6 < inflated.high[0]
    assert plain.values[0] > 0.75, "the beta-binomial promises what never comes"


def test_goodness_of_fit_seldom_warns_of_a_true_model():
    """25 data sets of the model: at nominal 5 %, more than 5 warnings have a chance of 1 in 800."""
    warned = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        correct, judged = rng.binomial(16, rng.beta(0.3, 0.6, 80)), np.full(80, 16)
        warned += _goodness(fit_rates(correct, judged), correct, judged, BETA, 39, rng) < 0.05
    assert warned <= 5


def test_seeded_and_refused():
    data = counts([0, 3, 8, 1], 8)
    first, second = (extrapolate(data, [16], replicates=20, seed=3).to_json() for _ in range(2))
    assert first == second
    assert first["low"][0] < first["values"][0] < first["high"][0]
    for call, message in (
        (lambda: extrapolate(data, [0]), "1 or more"),
        (lambda: extrapolate(data.select([0]), [4]), "2 judged prompts"),
        (lambda: extrapolate(data, [4], "gamma"), "no model 'gamma'"),
        (lambda: extrapolate(data, [4], replicates=0), "at least 1 replicate"),
    ):
        with pytest.raises(AdvshapeError, match=message):
            call()
