"""Real-valued rewards: thresholds one by one, PKPO by its subsets, the 0/1 tables, ties, NaN, bounds, torch."""

import inspect
from itertools import combinations, pairwise
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import advshape as adv
from advshape.catalogue import ENTRIES
from advshape.shaping.layer_cake import _layer_cake

CENTRED = ["grpo", "rloo", "maxrl", "skew_r", "pass_at_k(k=2)", "rloo_k(k=3)", "passk_training(k=2)", "log_odds"]
cake = lambda r, rule, **more: adv.advantages(r, adv.estimator(rule), real="layer_cake", **more)


def by_thresholds(rewards, rule, low=None, high=None):
    """Every threshold between two neighbouring values, one 0/1 group at a time: no sort, no prefix sum."""
    judged = ~np.isnan(rewards)
    ends = [x for x in (low, high) if x is not None]
    values = sorted({*rewards[judged].tolist(), *ends})
    total = np.zeros(len(rewards))
    for below, above in pairwise(values):
        binary = np.where(judged, (rewards > (below + above) / 2) * 1.0, np.nan)
        total += (above - below) * adv.advantages(binary[None], adv.estimator(rule))[0]
    return total


def subsets(n, size, without=()):
    return [list(s) for s in combinations([i for i in range(n) if i not in without], size)]


def pkpo(rewards, k, variant):
    """n times PKPO's estimators (arXiv:2505.15201), over all subsets of k rollouts; the maximum of nothing is 0."""
    n, result = len(rewards), []
    best = lambda s: max((rewards[i] for i in s), default=0.0)
    every = subsets(n, k)
    for i in range(n):
        held = [s for s in every if i in s]
        s_i = sum(best(s) for s in held) / len(every)
        if variant == "pkpo_loo":
            others = subsets(n, k, without=(i,))
            s_i -= k / (n - 1) * sum(best(s) for s in others) / len(others)
        if variant == "pkpo_loo_minus_one":
            s_i -= sum(best([j for j in s if j != i]) for s in held) / len(every)
        result.append(n * s_i)
    return np.array(result)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("variant", ["pkpo_s", "pkpo_loo", "pkpo_loo_minus_one"])
def test_equals_pkpo_by_enumeration_of_subsets(variant, k):
    for seed in range(6):
        rewards = np.random.default_rng(seed).choice([0.0, 0.3, 0.5, 1.7, 2.0], size=6)
        found = cake(rewards, f"{variant}(k={k})", bounds=(0.0, None))
        np.testing.assert_allclose(found, pkpo(rewards, k, variant), rtol=1e-10, atol=1e-12)  # log-space binomials


def pkpo_loops(rewards, k, variant):
    """n times PKPO's s, s_loo and s_loo-1 as the paper computes them (arXiv:2505.15201): sums over sorted rewards.

    s_i = sum_j m_ij g_j with m_ii = C(i-1, k-1) / C(n, k) and m_ij = C(j-2, k-2) / C(n, k) for j > i, 1-based in
    ascending order; s_loo and s_loo-1 subtract the s of the group without i, with k and with k - 1.
    """

    def s(g, k):
        n, result = len(g), []
        for i in range(1, n + 1):
            total = comb(i - 1, k - 1) * g[i - 1]
            for j in range(i + 1, n + 1):
                total += comb(j - 2, k - 2) * g[j - 1] if k >= 2 else 0
            result.append(total / comb(n, k))
        return result

    n, order = len(rewards), np.argsort(rewards, kind="stable")
    g, found = rewards[order].tolist(), np.empty(len(rewards))
    for place, value in enumerate(s(g, k)):
        rest = g[:place] + g[place + 1 :]
        if variant == "pkpo_loo":
            value -= sum(s(rest, k)) / (n - 1)
        if variant == "pkpo_loo_minus_one" and k > 1:
            value -= k / (n * (k - 1)) * sum(s(rest, k - 1))
        found[order[place]] = n * value
    return found


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("variant", ["pkpo_s", "pkpo_loo", "pkpo_loo_minus_one"])
def test_parity_with_pkpos_loops(variant, k):
    for seed in range(4):
        rewards = np.random.default_rng(seed).exponential(size=16).round(1)
        found = cake(rewards, f"{variant}(k={k})", bounds=(0.0, None))
        np.testing.assert_allclose(found, pkpo_loops(rewards, k, variant), rtol=1e-9, atol=1e-11)  # log-space binomials


@pytest.mark.parametrize("rule", ["grpo", "pass_at_k(k=2)", "nsr", "pkpo_loo(k=2)"])
def test_equals_a_numeric_integral_over_thresholds(rule):
    """The midpoint rule on a grid of 1/32: exact where the rewards lie on the grid."""
    rng, grid = np.random.default_rng(2), (np.arange(-64, 64) + 0.5) / 32
    rewards = rng.integers(-64, 64, size=(5, 7)) / 32
    binary = (rewards[None] > grid[:, None, None]) * 1.0
    expected = adv.advantages(binary, adv.estimator(rule)).sum(0) / 32
    np.testing.assert_allclose(cake(rewards, rule, bounds=(-2, 2)), expected, rtol=1e-10, atol=1e-12)


@settings(deadline=None, max_examples=80)
@given(
    st.sampled_from(CENTRED),
    st.lists(st.sampled_from([-2.5, -1.0, 0.0, 0.1, 0.1 + 1e-9, 3.0]) | st.floats(-9, 9), min_size=4, max_size=12),
    st.randoms(),
)
def test_equals_the_thresholds_one_by_one(rule, rewards, random):
    rewards = np.array(rewards)
    found = cake(rewards, rule)
    np.testing.assert_allclose(found, by_thresholds(rewards, rule), rtol=1e-9, atol=1e-9)
    for value in set(rewards.tolist()):
        assert len(set(found[rewards == value].tolist())) == 1, "ties are exact"
    order = list(range(len(rewards)))
    random.shuffle(order)
    np.testing.assert_array_equal(cake(rewards[order], rule), found[order])
    np.testing.assert_allclose(cake(2 * rewards + 1, rule), 2 * found, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", adv.estimators())
def test_on_0_1_rewards_it_is_the_table(name):
    n, needs_k = 7, "k" in inspect.signature(ENTRIES[name]).parameters
    rule = adv.estimator(name, **({"k": 3} if needs_k else {}))
    rewards = (np.arange(n) < np.arange(n + 1)[:, None]) * 1.0
    found = adv.advantages(rewards, rule, real="layer_cake", bounds=(0, 1))
    np.testing.assert_allclose(found, adv.advantages(rewards, rule), rtol=1e-13, atol=1e-13)


def test_rloo_keeps_its_published_form_and_grpo_does_not():
    rewards = np.array([0.2, 1.9, 0.4, -3.0])
    mean_of_others = (rewards.sum() - rewards) / 3
    np.testing.assert_allclose(cake(rewards, "rloo"), rewards - mean_of_others)
    np.testing.assert_allclose(cake([0.0, 2.0], "grpo"), [-2, 2])


def test_not_judged_rollouts_and_small_groups():
    rewards = np.array(
        [[0.3, np.nan, 1.4, 0.3, 2.0], [np.nan, 5.0, np.nan, np.nan, np.nan], [np.nan] * 5, [0.1, 0.2, 0.3, 0.4, 0.5]]
    )
    found = cake(rewards, "rloo_k(k=2)", too_small="zero")
    np.testing.assert_allclose(found[0], by_thresholds(rewards[0], "rloo_k(k=2)"), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(found[3], by_thresholds(rewards[3], "rloo_k(k=2)"), rtol=1e-12, atol=1e-15)
    assert not found[1:3].any()
    with pytest.raises(adv.AdvshapeError, match=r"needs n >= 2|no judged"):
        cake(rewards, "rloo_k(k=2)")
    empty_beside_full = cake(np.array([[np.nan] * 3, [0.5, 2.0, 1.0]]), "rloo", too_small="zero")
    np.testing.assert_allclose(empty_beside_full, [[0, 0, 0], [-1, 1.25, -0.25]])
    bounded = cake(rewards[0], "nsr", bounds=(-1, 4))
    np.testing.assert_allclose(bounded, by_thresholds(rewards[0], "nsr", -1, 4), rtol=1e-12)


def test_groups_of_unequal_size_by_id():
    flat, ids = np.array([0.5, 3.0, 1.0, 1.0, -2.0]), ["a", "b", "a", "b", "b"]
    found = adv.advantages(flat, adv.estimator("grpo"), groups=ids, real="layer_cake")
    np.testing.assert_allclose(found[[0, 2]], by_thresholds(flat[[0, 2]], "grpo"))
    np.testing.assert_allclose(found[[1, 3, 4]], by_thresholds(flat[[1, 3, 4]], "grpo"))


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_an_advantage_beyond_half_precision_is_an_error(library):
    """GRPO's advantage of the best is sum of steps times A+: here 60000 sqrt(3), beyond float16's 65504."""
    xp = pytest.importorskip(library)
    rewards = [[-60000.0, 0.0, 0.0, 60000.0], [0.0, 1.0, 2.0, 3.0]]
    grpo = adv.estimator("grpo")
    with pytest.raises(adv.AdvshapeError, match=r"an advantage of .*e\+05 is beyond .*, float16; pass float32 rewards"):
        adv.advantages(xp.asarray(rewards, dtype=xp.float16), grpo, real="layer_cake")
    wide = adv.advantages(xp.asarray(rewards, dtype=xp.float32), grpo, real="layer_cake")
    small = adv.advantages(xp.asarray(rewards[1:], dtype=xp.float16), grpo, real="layer_cake")
    assert small.dtype == xp.float16
    np.testing.assert_allclose(np.asarray(small, dtype=float), np.asarray(wide[1:], dtype=float), rtol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "int64", "bool"])
def test_torch_equals_numpy(dtype):
    torch = pytest.importorskip("torch")
    rewards = np.random.default_rng(1).integers(0, 4, size=(5, 2, 6)).astype(float)
    tensor = torch.tensor(rewards if dtype != "bool" else rewards > 1).to(getattr(torch, dtype))
    rewards = tensor.double().numpy()
    for rule, bounds in (("grpo", None), ("weighted_reinforce", (0, 3))):
        found = cake(tensor, rule, bounds=bounds)
        assert found.shape == tensor.shape
        assert found.dtype == (tensor.dtype if tensor.dtype.is_floating_point else torch.get_default_dtype())
        loose = 1e-2 if dtype == "bfloat16" else 1e-6  # the dtype's own precision
        np.testing.assert_allclose(found.double().numpy(), cake(rewards, rule, bounds=bounds), rtol=loose, atol=loose)
    holes = torch.tensor([[0.5, float("nan"), 2.0], [1.0, 0.0, 4.0]], requires_grad=True)
    found = cake(holes, "rloo")
    assert not found.requires_grad
    np.testing.assert_allclose(found.numpy(), cake(holes.detach().numpy(), "rloo"), rtol=1e-6)


def test_the_kernel_of_other_devices_equals_numpys():
    """On a CPU tensors are worked on as arrays; what a GPU runs is called here by hand."""
    torch = pytest.importorskip("torch")
    rewards = np.random.default_rng(3).normal(size=(40, 5)).round(1)
    for holes, low in ((0.0, None), (0.3, -9.0)):
        rewards[np.random.default_rng(4).random(rewards.shape) < holes] = np.nan
        sizes, rule = (~np.isnan(rewards)).sum(-1), adv.estimator("weighted_reinforce" if low else "grpo")
        tables = [np.zeros((6, 6)), np.zeros((6, 6))]
        for n in set(sizes.tolist()) - {0, 1}:
            tables[0][n, :n], tables[1][n, :n] = rule.table(n).weight, rule.table(n).offset
        bounds = (low, None if low is None else 9.0)
        found = _layer_cake(torch, torch.tensor(rewards), torch.tensor(sizes), *tables, bounds)
        expected = _layer_cake(np, rewards, sizes, *tables, bounds)
        assert np.abs(expected).max() > 1
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 3, 1500])
@pytest.mark.parametrize("n", [2, 16, 40])
def test_blocks_and_both_ways_to_sum(groups, n):
    """RLOO by its plain formula, over block borders, for short and long groups."""
    rewards = np.random.default_rng(5).normal(size=(groups, n))
    expected = rewards - (rewards.sum(-1, keepdims=True) - rewards) / (n - 1)
    np.testing.assert_allclose(cake(rewards, "rloo"), expected, rtol=0, atol=1e-13)
    assert cake(rewards[:0], "rloo").shape == (0, n)


@pytest.mark.parametrize("n", [3, 16, 33])
def test_rewards_alike_in_all_but_their_last_bits(n):
    """Rewards that differ by ulps are told apart: the same as for the ulps themselves; signed zeros are equal."""
    ulps = np.random.default_rng(6).integers(0, 40, size=(50, n)) * 1.0
    for rule in ("maxrl", "grpo"):
        found = cake(1.0 + ulps * 2.0**-52, rule) * 2.0**52
        np.testing.assert_allclose(found, cake(ulps, rule), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(cake(ulps, "maxrl")[0], by_thresholds(ulps[0], "maxrl"), rtol=1e-9, atol=1e-9)
    zeros = cake(np.array([[1.0, -0.0, 0.0]]), "rloo")[0]
    assert zeros[1] == zeros[2] == -0.5


def test_a_mode_that_flushes_subnormals_changes_nothing():
    torch = pytest.importorskip("torch")
    rewards = [[0.0, 0.0, 1.0, 0.0], [0.0, -0.0, 0.0, -1.0]]
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor has no such mode")
    try:
        found = cake(np.array(rewards), "rloo")
    finally:
        torch.set_flush_denormal(False)
    third = 1 / 3
    np.testing.assert_allclose(found, [[-third, -third, 1, -third], [third, third, third, -1]], rtol=1e-12)


@pytest.mark.parametrize("cast", [np.asarray, lambda x: __import__("torch").as_tensor(x)], ids=["numpy", "torch"])
def test_the_layout_in_memory_does_not_matter(cast):
    rewards = np.random.default_rng(7).normal(size=(2, 5, 4))
    expected = rewards - (rewards.sum(-1, keepdims=True) - rewards) / 3
    for layout in (
        rewards.copy("F"),
        np.repeat(rewards, 2, axis=-1)[..., ::2],
        rewards.transpose(2, 0, 1).copy().transpose(1, 2, 0),
    ):
        np.testing.assert_allclose(np.asarray(cake(cast(layout), "rloo")), expected, rtol=0, atol=1e-13)


def test_groups_do_not_touch():
    """One group's rewards may lie further from the next group's than floating point reaches."""
    rewards = np.array([[1.2e308, 1.1e308], [-1.2e308, -1.1e308], [np.nan, 0.5]])
    step = (1.2e308 - 1.1e308) / 2
    np.testing.assert_allclose(cake(rewards[:2], "dr_grpo"), [[step, -step], [-step, step]], rtol=1e-12)
    np.testing.assert_allclose(cake(rewards, "dr_grpo", too_small="zero")[2], [0, 0])


def test_input_stays_as_it_was():
    rewards = np.array([[3.0, 1.0, 2.0]])
    rewards.flags.writeable = False
    cake(rewards, "rloo")
    np.testing.assert_array_equal(rewards, [[3.0, 1.0, 2.0]])
    assert cake(np.float32([[0, 1, 5]]), "rloo").dtype == np.float32


def test_maximises_the_integral_of_the_surrogate():
    """Enumeration: three reward values; E[g] against finite differences of J = sum of steps times F(P(r > t))."""
    from itertools import product

    values, n, rule = np.array([0.0, 0.4, 1.0]), 4, adv.estimator("pass_at_k(k=2)")
    p = np.array([0.5, 0.3, 0.2])
    objective = lambda p: 0.4 * rule.surrogate.value(p[1] + p[2]) + 0.6 * rule.surrogate.value(p[2])
    draws = np.array(list(product(range(3), repeat=n)))
    advantage = adv.advantages(values[draws], rule, real="layer_cake")
    mass = p[draws].prod(1)
    for out in (0, 1, 2):  # softmax: d log p(y) / d theta_out = 1[y = out] - p[out]
        gradient = (mass * (advantage * ((draws == out) - p[out])).mean(1)).sum()
        move = lambda h, out=out: p * np.exp(h * (np.arange(3) == out))
        up, down = (objective(move(h) / move(h).sum()) for h in (1e-5, -1e-5))
        assert gradient == pytest.approx((up - down) / 2e-5, abs=1e-9)  # central difference: O(h^2)


@pytest.mark.parametrize(
    ("rewards", "rule", "options", "message"),
    [
        ([0.5, 1.0], "grpo", {}, r'got 0.5.*real="layer_cake"'),
        ([0.5, 1.0, 0.7], "pkpo_loo(k=2)", {"real": "layer_cake"}, r"A\+\(n\) = .*low end.*bounds="),
        ([0.5, 1.0, 0.7], "nsr", {"real": "layer_cake", "bounds": (0, None)}, r"A-\(0\) = .*high end"),
        ([0.5, 1.0, 0.7], "nsr", {"real": "layer_cake", "bounds": (0, 0.9)}, "1.0 lies outside high=0.9"),
        ([0.5, 1.0, 0.7], "grpo", {"real": "layer_cake", "bounds": (0.6, 2)}, "0.5 lies outside low=0.6"),
        ([0.5, 1.0], "grpo", {"real": "layer_cake", "bounds": (1, 0)}, "low <= high"),
        ([0.5, 1.0], "grpo", {"real": "layer_cake", "bounds": (0, np.nan)}, "finite"),
        ([0.5, 1.0], "grpo", {"real": "layer_cake", "bounds": 1}, r"\(low, high\)"),
        ([0.5, np.inf], "grpo", {"real": "layer_cake"}, "infinite"),
        ([-1.7e308, 1.7e308], "grpo", {"real": "layer_cake"}, "further apart"),
        ([0.0, 1.0], "grpo", {"real": "std"}, 'None or "layer_cake"'),
        ([0.0, 1.0], "grpo", {"bounds": (0, 1)}, "goes with it"),
        ([0.0, 1.0], "grpo", {"real": "layer_cake", "history": adv.Beta(1, 1)}, "history= counts right"),
    ],
)
def test_bad_input_is_a_clear_error(rewards, rule, options, message):
    with pytest.raises(adv.AdvshapeError, match=message):
        adv.advantages(np.array(rewards), adv.estimator(rule), **options)


def test_a_function_takes_rewards_as_they_are():
    with pytest.raises(adv.AdvshapeError, match="real= needs an estimator"):
        adv.advantages(np.array([[0.5, 1.0]]), lambda r: r, real="layer_cake")
    np.testing.assert_array_equal(adv.advantages(np.array([[0.5, 1.0]]), lambda r: r), [[0.5, 1.0]])


def test_a_reward_equal_to_a_bound_is_inside_in_every_precision():
    rewards = np.array([[-0.1, 0.0, 0.2, 0.3]])
    rule = adv.estimator("pkpo_loo", k=2)
    wide = adv.advantages(rewards, rule, real="layer_cake", bounds=(-0.1, 0.3))
    narrow = adv.advantages(rewards.astype(np.float32), rule, real="layer_cake", bounds=(-0.1, 0.3))
    assert np.allclose(wide, narrow, atol=1e-6)  # float32
