"""Reference vectors, reductions and stated facts of the theory."""

import math
from fractions import Fraction
from inspect import signature
from itertools import product

import numpy as np
import pytest

import advshape as adv
from advshape.catalogue import ENTRIES

VECTORS = {
    "rloo_k(k=3)": (
        [3, 1.8367, 1.0204, 0.4898, 0.1837, 0.0408, 0, 0],
        [0, -0.3061, -0.4082, -0.3673, -0.2449, -0.1020, 0, 0],
    ),
    "pass_at_k(k=3)": (
        [3, 1.7143, 0.8571, 0.3429, 0.0857, 0, 0, 0],
        [0, -0.4286, -0.5714, -0.5143, -0.3429, -0.1429, 0, 0],
    ),
    "passk_training(k=3)": (
        [1.2910, 0.7454, 0.4663, 0.2774, 0.1348, 0, 0, 0],
        [0, -0.1844, -0.2485, -0.2798, -0.2774, -0.2247, 0, 0],
    ),
    "skew_r": (
        [2.3150, 1.2990, 0.8069, 0.5, 0.2905, 0.1443, 0.0472, 0],
        [0, -0.3307, -0.4330, -0.4841, -0.5, -0.4841, -0.4330, -0.3307],
    ),
}


@pytest.mark.parametrize("name", sorted(VECTORS))
def test_reference_vectors(name):
    table = adv.estimator(name).table(8)
    np.testing.assert_allclose(table.positive[1:], VECTORS[name][0], atol=6e-5)  # printed to four digits
    np.testing.assert_allclose(table.negative[:-1], VECTORS[name][1], atol=6e-5)


@pytest.mark.parametrize(
    ("name", "slopes"),
    [
        ("rloo_k(k=3)", [2.7075, 1.92, 0.75, 0.12]),
        ("pass_at_k_plug_in(k=3)", [1.8529, 1.4191, 0.7178, 0.2379]),
        ("passk_training(k=3)", [1.1719, 0.8854, 0.4801, 0.1285]),
        ("grpo", [2.4731, 2.1067, 1.8557, 2.1067]),
        ("maxrl", [6.0333, 3.9514, 1.9844, 1.25]),
        ("risk_sensitive(beta=2)", [1.4188, 1.0968, 0.7094, 0.5075]),
    ],
)
def test_reference_slopes(name, slopes):
    np.testing.assert_allclose(
        adv.estimator(name).table(8).surrogate().derivative([0.05, 0.2, 0.5, 0.8]), slopes, atol=6e-5
    )


def same(a, b, n, factor=1.0):
    a, b = adv.estimator(a).table(n), adv.estimator(b).table(n)
    np.testing.assert_allclose(a.positive, factor * b.positive, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(a.negative, factor * b.negative, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n", [3, 8, 17])
def test_reductions(n):
    same("rloo_k(k=1)", "rloo", n)
    same("pass_at_k(k=1)", "rloo", n)
    same("reinforce_k(k=1)", "reinforce", n)
    same("dr_grpo", "rloo", n, (n - 1) / n)
    same("pkpo_loo_minus_one(k=2)", "reinforce_k(k=2)", n)
    same(f"pkpo_loo_minus_one(k={n})", "leave_one_out_max", n)
    same("grpo(ddof=1)", "grpo", n, math.sqrt((n - 1) / n))
    same("focal_grpo(gamma=1)", "skew_r", n)
    same("focal_grpo(gamma=0)", "grpo", n)
    same("skew_r(strength=0)", "grpo", n)
    same("grpo_k(k=2)", "skew_r", n, 2.0)
    same("grpo_k(k=1)", "grpo", n)
    same("grpo_k_joint(k=1)", "grpo", n)
    same("passk_training(k=1)", "grpo", n)
    same("beta_family(a=0.5, b=0.5)", "grpo", n)
    same("majority_of_k(k=1)", "rloo", n)
    same("all_of_k(k=1)", "rloo", n)


@pytest.mark.parametrize("n", [4, 9])
def test_forward_rebuilds_the_catalogue(n):
    pairs = [
        (adv.unbiased(adv.Identity(), "leave_one_out"), "rloo"),
        (adv.unbiased(adv.PassAtK(3), "zero"), "reinforce_k(k=3)"),
        (adv.unbiased(adv.PassAtK(3), "leave_one_out"), "rloo_k(k=3)"),
        (adv.unbiased(adv.PassAtK(3), adv.Beta(0.0, 0.0)), "rloo_k(k=3)"),  # RLOO_K is the Haldane case
        (adv.unbiased(adv.PassAtK(3), "centered"), "pass_at_k(k=3)"),
        (adv.unbiased(adv.AllOfK(3), "leave_one_out"), "all_of_k(k=3)"),
        (adv.plug_in(adv.GRPO()), "grpo"),
        (adv.plug_in(adv.PassAtK(3)), "pass_at_k_plug_in(k=3)"),
        (adv.plug_in(adv.SkewR()), "skew_r"),
        (adv.plug_in(adv.RiskSensitive(2.0)), "risk_sensitive"),
        (adv.plug_in(adv.LogOdds()), "log_odds"),
        (adv.unbiased(adv.LogLikelihood(n - 1), "centered"), "maxrl"),
    ]
    for built, name in pairs:
        known = adv.estimator(name).table(n)
        np.testing.assert_allclose(built.table(n).positive, known.positive, rtol=1e-9, atol=1e-12, err_msg=name)
        np.testing.assert_allclose(built.table(n).negative, known.negative, rtol=1e-9, atol=1e-12, err_msg=name)


def test_stated_facts():
    for n in (2, 8, 64):
        assert adv.estimator("grpo").table(n).surrogate().derivative(0.0) == pytest.approx(math.sqrt(n - 1))
        rho = np.linspace(0, 1, 9)
        order = adv.LogLikelihood(n - 1).derivative(rho)  # MaxRL of n rollouts has order n - 1
        np.testing.assert_allclose(adv.estimator("maxrl").table(n).surrogate().derivative(rho), order, rtol=1e-9)
        log_n = adv.LogLikelihood(n).derivative(rho)
        np.testing.assert_allclose(adv.estimator("rejection").table(n).surrogate().derivative(rho), log_n, rtol=1e-9)
    assert adv.estimator("prioritized_rloo").table(2).surrogate().derivative([0.1, 0.9]) == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("n", [256, 4096])
def test_large_groups_to_1e9(n):
    k = n // 4
    reinforce, centred = adv.estimator("reinforce_k", k=k).table(n), adv.estimator("pass_at_k", k=k).table(n)
    for c in [1, 2, 3, n // 8, n // 2]:
        exact = k * Fraction(math.comb(n - c, k - 1), math.comb(n - 1, k - 1))
        if exact > Fraction(1, 10**290):  # below, float64 has no normal numbers
            assert reinforce.positive[c] == pytest.approx(float(exact), rel=1e-9)
            pair = exact * Fraction(n - k - c + 1, n - k)
            assert centred.positive[c] == pytest.approx(float(pair), rel=1e-9)
    assert adv.estimator("pass_at_k", k=k).table(n).surrogate().derivative(1e-3) == pytest.approx(
        k * (1 - 1e-3) ** (k - 1), rel=1e-9
    )


def test_posterior_mean_baseline_minimises_the_second_moment():
    prior, n = adv.Beta(0.5, 1.5), 6
    weights = adv.PassAtK(3).bernstein(n - 1)
    from scipy.stats import beta

    rho = np.linspace(0.0005, 0.9995, 1000)
    mass = beta(0.5, 1.5).cdf(rho + 0.0005) - beta(0.5, 1.5).cdf(rho - 0.0005)
    cost = lambda table: float(mass @ table.second_moment(rho))
    best = adv.unbiased(adv.PassAtK(3), prior).table(n)
    assert cost(best) < cost(adv.estimator("rloo_k(k=3)").table(n))
    rng = np.random.default_rng(0)
    for _ in range(50):
        other = adv.AdvantageTable.from_weights(weights, best.offset + 0.05 * rng.standard_normal(n))
        assert cost(other) > cost(best) - 1e-6  # 1e-6: the grid's error


def test_second_moment_by_enumeration():
    table, n, rho = adv.estimator("pass_at_k(k=2)").table(5), 5, 0.3
    total = 0.0
    for r in product([0, 1], repeat=n):
        c = sum(r)
        squares = sum((table.positive[c] if x else table.negative[c]) ** 2 for x in r)
        total += rho**c * (1 - rho) ** (n - c) * squares / n**2
    assert table.second_moment(rho) == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize(
    ("n", "k", "table_one"), [(8, 4, {16: (1.16, 1.55), 64: (1.05, 4.2), 1024: (1.004, 58)}), (16, 8, {})]
)
def test_minimum_mse_ratios_of_the_theory(n, k, table_one):
    """Theory section 3.5: errors relative to the optimum, Beta(.5, 1), all with the posterior-mean baseline."""
    prior, target = adv.Beta(0.5, 1.0), adv.PassAtK(k)
    from scipy.special import roots_jacobi

    x, w = roots_jacobi(300, 0.0, -0.5)
    rho, w = (x + 1) / 2, w / w.sum()

    def error(table, signal):
        table = table.with_baseline(prior)
        bias = w @ (table.bias(target, rho) * rho * (1 - rho)) ** 2
        return bias + (w @ table.second_moment(rho)) / signal

    for signal in (16.0, 64.0, 1024.0):
        best = error(adv.minimum_mse(target, prior, signal, nonnegative=False).table(n), signal)
        for candidate in (adv.unbiased(target, prior), adv.plug_in(target)):
            assert error(candidate.table(n), signal) > best
        if signal in table_one:
            unbiased, plug_in = (
                error(e.table(n), signal) / best for e in (adv.unbiased(target, prior), adv.plug_in(target))
            )
            assert unbiased == pytest.approx(table_one[signal][0], rel=0.01)  # printed to three digits
            assert plug_in == pytest.approx(table_one[signal][1], rel=0.02)


def test_rms_scale():
    assert adv.estimator("grpo").table(8).rms() == pytest.approx(1.0)
    scaled = adv.estimator("pass_at_k", k=4).scaled("rms").table(8)
    assert scaled.rms() == pytest.approx(1.0)
    with pytest.raises(adv.AdvshapeError, match="cannot be scaled"):
        adv.estimator("leave_one_out_max").scaled("rms", adv.Beta(1, 1)).table(2).scaled(0.0).scaled("rms")


def test_fit_prior_recovers_and_survives_the_boundary():
    rng = np.random.default_rng(0)
    counts = rng.binomial(32, rng.beta(0.7, 2.0, size=4000))
    prior = adv.fit_prior(counts, 32)
    assert prior.a == pytest.approx(0.7, rel=0.1)  # standard error of the fit is near 2.5 %
    assert prior.b == pytest.approx(2.0, rel=0.1)
    for all_alike in (np.zeros(20), np.full(20, 8.0), np.full(20, 4.0)):
        prior = adv.fit_prior(all_alike, 8)
        assert np.isfinite([prior.a, prior.b]).all()
        assert min(prior.a, prior.b) > 0


def test_softmax_policy_gradient_of_unbiased_rules():
    """Gradient: E[(1/n) sum A_i grad log pi(y_i)] over all 5^4 groups equals autograd's gradient of F(rho(theta))."""
    torch = pytest.importorskip("torch")
    theta = torch.tensor([0.3, -0.2, 0.5, 0.1, -0.7], dtype=torch.float64, requires_grad=True)
    right = torch.tensor([0, 1, 0, 0, 1], dtype=torch.float64)
    groups = torch.tensor(list(product(range(5), repeat=4)))
    logp = torch.log_softmax(theta, 0)
    probability = logp.detach()[groups].sum(1).exp()
    tested = []
    for name in adv.estimators():
        rule = adv.estimator(name, **({"k": 3} if "k" in signature(ENTRIES[name]).parameters else {}))
        of_group = {  # their F depends on the group's size, here 4
            "leave_one_out_max": adv.PassAtK(4),
            "maxrl": adv.LogLikelihood(3),
            "rejection": adv.LogLikelihood(4),
        }.get(name)
        if rule.kind != "unbiased" and of_group is None:
            continue
        A = adv.advantages(right[groups], rule)
        loss = (probability * (A * logp[groups]).mean(1)).sum()
        (found,) = torch.autograd.grad(loss, theta, retain_graph=True)
        rho = (torch.softmax(theta, 0) * right).sum()
        (direction,) = torch.autograd.grad(rho, theta, retain_graph=True)
        slope = torch.as_tensor((of_group or rule.surrogate).derivative(float(rho.detach())))
        torch.testing.assert_close(found, slope * direction, rtol=1e-10, atol=1e-12)
        tested.append(name)
    assert len(tested) >= 16
