"""What papers state of their rules, each with the paper; and Adaptive Training, which is no table."""

from itertools import permutations

import numpy as np
import pytest

import advshape as adv
from advshape.catalogue.analysis import describe
from advshape.curriculum.adaptive import entropy_adaptive


@pytest.mark.parametrize("k", [4, 8])
def test_exceeding_moves_the_peak_to_one_right_answer(k):
    """Chen et al., arXiv:2508.10751, section 4.2.1: of 32 rollouts, eta peaks where 1/32 are right."""
    assert describe(f"passk_training_exceeding(k={k})", 32).peak == (1,)
    assert describe(f"passk_training(k={k})", 32).peak[0] > 1
    eta = adv.estimator("passk_training_exceeding", k=k).table(32).eta
    assert np.all(np.diff(eta[1:]) <= 1e-12)


def test_pass_at_1_peaks_at_a_half_and_pass_at_k_below_and_quiet_on_easy_prompts():
    """Chen et al., section 4.1.1, N = 32: Pass@1 is symmetric around 50%; Pass@k peaks at 25% and is weaker than on
    hard prompts where more than 60% are right."""
    one, many = adv.estimator("grpo").table(32).eta, adv.estimator("passk_training", k=4).table(32).eta
    np.testing.assert_allclose(one, one[::-1], atol=1e-12)
    assert (one.argmax(), many.argmax()) == (16, 8)
    assert one.max() > many.max()
    assert many[20:].max() < many[1:13].min()
    assert many[29:].max() == 0


def test_combination_is_pass_at_1_on_hard_and_pass_at_k_on_easy_prompts():
    """Chen et al., eq. 18: at c = 1 nearly GRPO, at c = n - 1 nearly Pass@k Training, which is silent there."""
    n = 32
    mixed, one, many = (
        adv.estimator(s).table(n) for s in ("passk_training_combination(k=4)", "grpo", "passk_training(k=4)")
    )
    assert mixed.positive[1] == pytest.approx(one.positive[1] * 31 / 32 + many.positive[1] / 32)
    assert mixed.negative[n - 1] == pytest.approx(one.negative[n - 1] / 32)
    assert many.negative[n - 1] == 0


@pytest.mark.parametrize("quantile", [0.25, 0.4, 0.6])
def test_qae_teaches_one_side_and_maximises_what_grpo_does(quantile):
    """Wu et al., arXiv:2509.22611, eq. 4: right answers only where p <= 1 - K, wrong ones only where p > 1 - K. So
    A+ - A- is GRPO's 1/std on both sides: as n grows the baseline alone differs; at finite n one weight vanishes."""
    n = 20
    table = adv.estimator("qae", quantile=quantile).table(n)
    c = np.arange(1, n)
    hard = c / n <= 1 - quantile + 1e-12
    assert np.all((table.positive[1:n] > 0) == hard)
    assert np.all((table.negative[1:n] < 0) == ~hard)
    gap = (table.positive - table.negative)[1:n]
    grpo = adv.estimator("grpo").table(n)
    np.testing.assert_allclose(gap, (grpo.positive - grpo.negative)[1:n], rtol=1e-12)
    assert np.flatnonzero(table.weight == 0).tolist() == [round((1 - quantile) * n)]


def test_ngrpo_learns_from_all_wrong_groups_as_if_one_more_were_right():
    """Nan et al., arXiv:2509.18851: the n rewards standardised with a virtual one of 1, by numpy's own mean and std."""
    for n in (2, 8):
        table = adv.estimator("ngrpo").table(n)
        for c in range(n + 1):
            r = np.r_[np.ones(c), np.zeros(n - c), 1.0]
            if c < n:
                assert table.negative[c] == pytest.approx(-r.mean() / r.std(ddof=1))
            if 0 < c < n:
                assert table.positive[c] == pytest.approx((1 - r.mean()) / r.std(ddof=1))
        assert table.negative[0] < 0
        assert table.positive[n] == 0


@pytest.mark.parametrize(("alpha", "delta"), [(1.0, 0.3), (2.0, 1.0), (2.5, 0.5)])
def test_fade_has_the_masses_it_names(alpha, delta):
    """Decugis et al., arXiv:2607.01490: m_S = p q^alpha on right answers, m_F = m_S / delta on wrong ones."""
    n = 12
    table = adv.estimator("fade", alpha=alpha, delta=delta).table(n)
    p = np.arange(n + 1) / n
    right, wrong = table.masses / n
    np.testing.assert_allclose(right, p * (1 - p) ** alpha, atol=1e-12)
    np.testing.assert_allclose(-wrong, p * (1 - p) ** alpha / delta, atol=1e-12)
    np.testing.assert_allclose(np.abs(table.masses).sum(0), table.eta)
    assert table.centered == (delta == 1)


def test_fade_reduces_to_dr_grpo_and_its_baseline_alone_is_free():
    dr_grpo, fade = adv.estimator("dr_grpo").table(9), adv.estimator("fade(alpha=1, delta=1)").table(9)
    np.testing.assert_allclose([fade.positive, fade.negative], [dr_grpo.positive, dr_grpo.negative], atol=1e-12)


def test_adaptive_training_switches_the_upper_half():
    """Chen et al., section 4.2.3: the half of the prompts with the highest entropy gets Pass@1 advantages."""
    rng = np.random.default_rng(0)
    rewards = rng.integers(0, 2, size=(2, 4, 6)).astype(float)
    rewards[0, 1, 2] = np.nan
    entropy = rng.permutation(8).reshape(2, 4) / 10
    found = entropy_adaptive(rewards, entropy, k=2)
    one, many = (adv.advantages(rewards, adv.estimator(s)) for s in ("grpo", "passk_training(k=2)"))
    for place in np.ndindex(2, 4):
        np.testing.assert_array_equal(found[place], (one if entropy[place] >= 0.4 else many)[place])
    np.testing.assert_array_equal(entropy_adaptive(rewards, entropy, k=2, share=1.0), one)
    np.testing.assert_array_equal(entropy_adaptive(rewards, entropy, k=2, share=0.0), many)
    ties = entropy_adaptive(rewards[0], np.zeros(4), k=2)
    np.testing.assert_array_equal(ties, np.r_[one[0, :2], many[0, 2:]])  # of equals the earlier


def test_adaptive_training_averages_to_its_entry():
    """Enumeration: over every order of the entropies the mean is the fixed mix, a table; the rule itself has none."""
    rewards = np.tile([1.0, 0, 0, 1, 0], (4, 1))
    ways = [entropy_adaptive(rewards, order, k=3) for order in permutations(range(4))]
    entry = adv.advantages(rewards, adv.estimator("passk_training_adaptive", k=3))
    np.testing.assert_allclose(np.mean(ways, axis=0), entry, atol=1e-12)
    found = adv.reverse(lambda r: entropy_adaptive(r, np.arange(len(r)), k=3), 5)
    assert found.outside
    assert found.table is None


def test_adaptive_training_in_torch_and_its_errors():
    torch = pytest.importorskip("torch")
    rewards, entropy = np.eye(4)[[0, 1, 2, 3]], [0.3, 0.1, 0.2, 0.9]
    found = entropy_adaptive(torch.tensor(rewards, dtype=torch.float32), torch.tensor(entropy), k=2)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), entropy_adaptive(rewards, entropy, k=2), rtol=1e-6)
    for wrong, message in (([0.1], "one finite number per prompt"), ([0.1, 0.2, np.nan, 0.4], "finite")):
        with pytest.raises(adv.AdvshapeError, match=message):
            entropy_adaptive(rewards, wrong, k=2)
    with pytest.raises(adv.AdvshapeError, match=r"share.*\[0, 1\], got 1.5"):
        entropy_adaptive(rewards, entropy, k=2, share=1.5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_entropy_adaptive_takes_half_precision(dtype):
    torch = pytest.importorskip("torch")
    rewards = torch.tensor([[1.0, 0, 0, 0], [1.0, 1.0, 0, 0]])
    entropy = torch.tensor([0.5, 1.5], requires_grad=True)
    half = getattr(torch, dtype)
    found = adv.entropy_adaptive(rewards.to(half), entropy.to(half), k=2)
    assert found.dtype == half
    want = adv.entropy_adaptive(rewards.double().numpy(), [0.5, 1.5], k=2)
    np.testing.assert_array_equal(found.float().numpy(), torch.tensor(want).to(half).float().numpy())
    assert adv.entropy_adaptive(rewards.double().numpy().astype("float16"), [0.5, 1.5], k=2).dtype == np.float16
