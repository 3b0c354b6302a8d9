"""Analysis: published statements about peaks and ends; moments by enumeration and quadrature; theory's error ratios."""

from itertools import pairwise, product

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta as beta_distribution

import advshape as adv
from advshape.catalogue import analysis
from advshape.errors import AdvshapeError

PRIOR = adv.Beta(0.5, 1.0)


def sum_of_absolute_advantages(rule, n, c):
    return float(np.abs(rule(np.r_[np.ones(c), np.zeros(n - c)])).sum())


def grpo_of(r):
    return (r - r.mean()) / r.std() if r.std() else 0 * r


def test_where_eta_peaks():
    """Chen et al., arXiv:2508.10751, analysis section (n = 32, k = 4): Pass@1 at 50% right, Pass@k at 25%."""
    rows = {row.name: row for row in analysis.compare(["grpo", "rloo", "passk_training(k=4)"], 32)}
    assert rows["grpo"].peak == rows["rloo"].peak == (16,)
    assert rows["passk_training(k=4)"].peak == (8,)
    eta = [sum_of_absolute_advantages(grpo_of, 32, c) for c in range(33)]
    np.testing.assert_allclose(adv.estimator("grpo").table(32).eta, eta, atol=1e-12)
    peaks = [analysis.describe(f"passk_training(k={k})", 32).peak[0] for k in (1, 2, 4, 8, 16)]
    assert peaks == sorted(peaks, reverse=True)  # a larger k looks at harder prompts
    assert peaks[0] == 16


@pytest.mark.parametrize("n", [2, 5, 16, 64])
def test_pull_at_the_ends(n):
    """Theory, section 1: GRPO's F_n' saturates at sqrt(n-1) at both ends; Pass@k pulls k at 0 and 0 at 1."""
    row = analysis.describe("grpo", n)
    assert row.at_zero == pytest.approx(np.sqrt(n - 1), rel=1e-12)
    assert row.at_one == pytest.approx(np.sqrt(n - 1), rel=1e-12)
    rho, table = 1e-9, adv.estimator("grpo").table(n)  # slope of the enumerated expectation next to 0
    assert table.surrogate().derivative(rho) == pytest.approx(np.sqrt(n - 1), rel=1e-6)
    if n >= 5:
        row = analysis.describe("pass_at_k(k=4)", n)
        assert (row.at_zero, row.at_one) == (pytest.approx(4), 0)


@pytest.mark.parametrize("n", [2, 3, 8, 16])
def test_maxrl_has_order_n_minus_one(n):
    """arXiv:2602.02710: with n rollouts MaxRL is the log-likelihood of order n - 1, unbiased."""
    row = analysis.describe("maxrl", n, target=adv.LogLikelihood(n - 1))
    assert row.rms_bias < 1e-13
    assert analysis.describe("maxrl", n).rms_bias > 1e-3  # of the full log-likelihood it is biased


@pytest.mark.parametrize(("n", "k"), [(4, 2), (8, 8), (16, 4)])
def test_rloo_k_is_the_haldane_optimum(n, k):
    """Theory, section 3.4: RLOO_K is the posterior-mean baseline of a = b = 0."""
    haldane = adv.unbiased(adv.PassAtK(k), adv.Beta(0.0, 0.0)).table(n)
    np.testing.assert_allclose(adv.estimator("rloo_k", k=k).table(n).positive, haldane.positive, atol=1e-12)
    np.testing.assert_allclose(adv.estimator("rloo_k", k=k).table(n).negative, haldane.negative, atol=1e-12)


def test_second_moment_by_enumeration():
    table, rho, total = adv.estimator("passk_training", k=2).table(6), 0.3, 0.0
    for outcome in product((0, 1), repeat=6):
        r = np.array(outcome)
        a = np.where(r, table.positive[r.sum()], table.negative[r.sum()])
        total += rho ** r.sum() * (1 - rho) ** (6 - r.sum()) * np.sum(a**2) / 36
    seen = analysis.curves(table, adv.Identity(), [rho])["second_moment"][0]
    assert seen == pytest.approx(total, rel=1e-12)


def test_error_by_another_quadrature():
    """E[(omega_n - omega)^2] and the noise by scipy's adaptive quadrature over the Beta density."""
    table, target, prior = adv.estimator("grpo").table(8), adv.PassAtK(3), adv.Beta(2.0, 3.0)
    density = beta_distribution(2, 3).pdf
    gap = lambda x: density(x) * (x * (1 - x) * (table.surrogate().derivative(x) - target.derivative(x))) ** 2
    noise = lambda x: density(x) * table.second_moment(x)
    want = [quad(gap, 0, 1)[0] + quad(noise, 0, 1)[0] / signal for signal in (16, 1024)]
    np.testing.assert_allclose(analysis.error(table, target, [16, 1024], prior), want, rtol=1e-9)
    row = analysis.describe(adv.estimator("grpo"), 8, prior, target)
    assert row.error[16.0] == pytest.approx(want[0], rel=1e-9)
    assert row.second_moment == pytest.approx(quad(noise, 0, 1)[0], rel=1e-9)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 1.0])
def test_error_of_a_batch_by_simulation(overlap):
    """Prompts with gradients of unit length, one direction shared in part; noise of each group in fresh directions."""
    table, target, rng, signal = adv.estimator("grpo").table(6), adv.PassAtK(3), np.random.default_rng(2), 4.0
    for prompts in (1, 5):
        rho = rng.beta(0.5, 1.0, (40_000, prompts))
        d = rho * (1 - rho) * (table.surrogate().derivative(rho) - target.derivative(rho))
        shared = np.sqrt(overlap) * d.mean(1)
        own = (np.sqrt(1 - overlap) * d / prompts) ** 2  # orthogonal directions: squares add
        noise = table.second_moment(rho) / signal / prompts**2
        each = shared**2 + own.sum(1) + noise.sum(1)
        found = float(analysis.batch_error(table, target, prompts, signal, overlap, PRIOR))
        assert found == pytest.approx(each.mean(), abs=4 * each.std() / 200)
    if overlap:
        limit = analysis.batch_error(table, target, [1e6, 1e9], signal, overlap, PRIOR)
        assert limit[0] == pytest.approx(limit[1], rel=1e-3)  # the mean bias stays
    with pytest.raises(AdvshapeError, match="prompts >= 1"):
        analysis.batch_error(table, target, 0)


@pytest.mark.parametrize(("k", "n"), [(4, 8), (8, 16)])
@pytest.mark.parametrize(
    ("build", "ratios", "spread"),
    [
        ("unbiased", (1.16, 1.05, 1.004), 0.03),
        ("plug_in", (1.55, 4.2, 58), 0.35),
        ("rloo_k", (1.21, 1.09, 1.05), 0.04),
    ],
)
def test_theorys_error_ratios(k, n, build, ratios, spread):
    """Theory, section 3.5: error over the minimum at signal 16 / 64 / 1024, Beta(.5, 1); two sizes share a figure."""
    target = adv.PassAtK(k)
    if build == "rloo_k":
        table = adv.estimator("rloo_k", k=k).table(n)
    else:
        made = adv.unbiased(target, PRIOR) if build == "unbiased" else adv.plug_in(target).with_baseline(PRIOR)
        table = made.table(n)
    for signal, ratio in zip((16, 64, 1024), ratios, strict=True):
        best = adv.minimum_mse(target, PRIOR, signal, nonnegative=False).table(n)
        seen = analysis.error(table, target, signal, PRIOR) / analysis.error(best, target, signal, PRIOR)
        assert seen == pytest.approx(ratio, rel=spread)
        assert seen >= 1 - 1e-9


def test_shares_by_rate_against_quadrature():
    table, prior, bins = adv.estimator("pass_at_k", k=4).table(12), adv.Beta(0.7, 1.3), [0, 0.1, 0.4, 1]
    density = beta_distribution(0.7, 1.3).pdf
    pull = lambda x: density(x) * x * (1 - x) * table.surrogate().derivative(x)
    mass = np.array([quad(pull, low, high, limit=200)[0] for low, high in pairwise(bins)])
    np.testing.assert_allclose(analysis.share_by_rate(table, bins, prior), mass / mass.sum(), rtol=1e-7)


def test_shares_by_count_against_sampling():
    table, rng = adv.estimator("grpo").table(6), np.random.default_rng(0)
    rho = rng.beta(0.5, 1.0, 100_000)
    c = rng.binomial(6, rho)
    spent = np.bincount(c, weights=table.eta[c], minlength=7)
    shares = analysis.share_by_count(table, PRIOR)
    np.testing.assert_allclose(shares, spent / spent.sum(), atol=0.005)  # 100,000 groups: 3 deviations = 0.005
    assert shares.sum() == pytest.approx(1)


def test_a_falling_objective_has_negative_shares_and_findings():
    strong = adv.plug_in(adv.Identity() + 2.0 * adv.Entropy())
    row = analysis.describe(strong, 16)
    assert row.shares[-1] < 0
    assert row.negative_weights
    assert sum(abs(s) for s in row.shares) == pytest.approx(1)
    assert any("F falls" in line for line in analysis.findings(strong, 16))
    assert analysis.findings(adv.estimator("rloo"), 8) == []


def test_alignment_is_a_cosine():
    table = adv.estimator("dr_grpo").table(8)
    assert analysis.alignment(table, adv.Identity()) == pytest.approx(1, abs=1e-12)  # a constant factor only
    assert analysis.describe("dr_grpo", 8).bias_share == pytest.approx(1 / 8, rel=1e-9)
    assert analysis.alignment(table, adv.PassAtK(8)) < 0.9
    assert analysis.alignment(table, -1.0 * adv.Identity()) == pytest.approx(-1, abs=1e-12)


def test_three_scales():
    table = adv.estimator("pass_at_k", k=4).table(16)
    assert analysis.scale_factor(table, "none") == 1
    assert table.scaled(analysis.scale_factor(table, "rms")).rms() == pytest.approx(1)
    matched = table.scaled(analysis.scale_factor(table, "rloo", PRIOR))
    pull = lambda t: quad(lambda u: 2 * u * 0.5 / u * u**2 * (1 - u**2) * t.surrogate().derivative(u**2), 0, 1)[0]
    assert pull(matched) == pytest.approx(pull(adv.estimator("rloo").table(16)), rel=1e-9)  # rho = u^2, Beta(.5, 1)
    row = analysis.describe("pass_at_k(k=4)", 16, scale="rms")
    assert row.rms_bias < 1e-12  # its own target is scaled along
    with pytest.raises(AdvshapeError, match="unknown scale"):
        analysis.scale_factor(table, "fast")


def test_several_estimators_at_one_size():
    rows = analysis.compare(["grpo", "rloo_k(k=4)", adv.plug_in(adv.parse("rho + 0.1*entropy(rho)"))], 16)
    assert [row.name for row in rows[:2]] == ["grpo", "rloo_k(k=4)"]
    assert rows[1].as_row()["kind"] == "unbiased"
    with pytest.raises(AdvshapeError, match="needs n >= 4"):
        analysis.compare(["grpo", "rloo_k(k=4)"], 3)


def test_bad_input_is_named():
    table = adv.estimator("rloo").table(4)
    for bins in ([0, 0.5], [0, 0.5, 0.5, 1], [1, 0]):
        with pytest.raises(AdvshapeError, match="bins must rise"):
            analysis.share_by_rate(table, bins)
    with pytest.raises(AdvshapeError, match="signal must be positive"):
        analysis.error(table, adv.Identity(), 0)
