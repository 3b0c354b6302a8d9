"""Randomised rules (Pass@k Training, arXiv:2508.10751): every draw against all possible ones, their mean against the
table; numpy and torch, ragged and unjudged groups, seeds."""

from itertools import combinations, permutations, product

import numpy as np
import pytest

import advshape as adv
from advshape.catalogue import ENTRIES

FULL, BOOTSTRAP = adv.estimator("passk_training_full", k=2), adv.estimator("passk_training_bootstrap", k=2)
RULES = [FULL, BOOTSTRAP, adv.estimator("passk_training_bootstrap", k=3, groups=4).scaled("rms"), FULL.scaled(0.5)]
ids = lambda rule: rule.name


def standardised(rewards):
    rewards = np.array(rewards, dtype=float)
    return (rewards - rewards.mean()) / rewards.std() if rewards.std() else 0 * rewards


def outcomes(r, name, k):
    """Every possible draw for the group r with its probability, as the paper's algorithms 1 and 2 build it."""
    n, found = len(r), {}
    if name == "full":
        ways = [[o[m : m + k] for m in range(0, n - n % k, k)] for o in permutations(range(n))]
    else:
        ways = list(product(combinations(range(n), k), repeat=n))
    for groups in ways:
        a = np.zeros(n)
        for score, group in zip(standardised([max(r[i] for i in g) for g in groups]), groups, strict=True):
            a[list(group)] += score
        key = tuple(a.round(9) + 0.0)
        found[key] = found.get(key, 0) + 1 / len(ways)
    return found


def check_rates(draw, r, possible, size=20_000):
    drawn = draw(np.tile(r, (size, 1)), np.random.default_rng(1)).round(9) + 0.0
    kinds, counts = np.unique(drawn, axis=0, return_counts=True)
    seen = dict(zip(map(tuple, kinds), counts, strict=True))
    assert set(seen) <= set(possible)
    for key, chance in possible.items():
        error = np.sqrt(size * chance * (1 - chance))
        assert abs(seen.get(key, 0) - size * chance) <= 5 * error + 1e-9  # 5 standard errors


@pytest.mark.parametrize(("name", "rule", "n"), [("full", FULL, 5), ("full", FULL, 4), ("bootstrap", BOOTSTRAP, 4)])
def test_draws_are_the_possible_ones_at_their_rates(name, rule, n):
    """Enumeration: no draw but those, each as often as it should be; their exact mean is the table."""
    for c in range(n + 1):
        r = np.r_[np.ones(c), np.zeros(n - c)]
        possible = outcomes(r, name, 2)
        check_rates(rule.draw, r, possible)
        mean = sum(p * np.array(key) for key, p in possible.items())
        table = rule.table(n)
        np.testing.assert_allclose(mean, np.where(r == 1, table.positive[c], table.negative[c]), atol=1e-8)


@pytest.mark.parametrize("rule", RULES, ids=ids)
@pytest.mark.parametrize("n", [6, 7])
def test_mean_of_seeded_draws_is_the_table(rule, n):
    rng, size, table = np.random.default_rng(2), 8_000, rule.table(n)
    for c in range(1, n):
        r = np.tile(np.r_[np.ones(c), np.zeros(n - c)], (size, 1))
        a = adv.advantages(r, rule, rng=rng)
        np.testing.assert_allclose(a.sum(1), 0, atol=1e-9)  # every draw is centred
        expected = np.where(r[0] == 1, table.positive[c], table.negative[c])
        assert np.all(np.abs(a.mean(0) - expected) <= 5 * a.std(0) / np.sqrt(size) + 1e-9)
        assert np.mean(a**2) >= np.mean(expected**2) - 1e-9  # the expectation never has more variance


def test_without_rng_the_expectation_and_no_global_state():
    rewards = np.random.default_rng(0).integers(0, 2, size=(50, 6))
    np.testing.assert_allclose(
        adv.advantages(rewards, BOOTSTRAP), adv.advantages(rewards, BOOTSTRAP.table(6)), atol=1e-12
    )
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = adv.advantages(rewards, BOOTSTRAP, rng=np.random.default_rng(3))
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    again = adv.advantages(rewards, BOOTSTRAP, rng=np.random.default_rng(3))
    other = adv.advantages(rewards, BOOTSTRAP, rng=np.random.default_rng(4))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_other_rules_leave_rng_alone():
    rng, rewards = np.random.default_rng(0), np.eye(4)
    state = rng.bit_generator.state
    for rule in ("grpo", "passk_training(k=2)"):
        np.testing.assert_array_equal(
            adv.advantages(rewards, adv.estimator(rule), rng=rng), adv.advantages(rewards, adv.estimator(rule))
        )
    assert rng.bit_generator.state == state


def test_holes_ragged_groups_and_shapes():
    rng = np.random.default_rng(5)
    rewards = rng.integers(0, 2, size=(40, 3, 8)).astype(np.float32)
    rewards[rng.random(rewards.shape) < 0.2] = np.nan
    rewards.flags.writeable = False
    a = adv.advantages(rewards, FULL, rng=np.random.default_rng(0), too_small="zero")
    assert a.shape == rewards.shape
    assert a.dtype == np.float32
    assert np.all(a[np.isnan(rewards)] == 0)
    np.testing.assert_allclose(a.sum(-1), 0, atol=1e-5)
    assert np.any(a)
    assert np.all(a[rewards == 1] >= 0)  # a right rollout's group is right
    flat, place = rewards[0].ravel(), np.repeat([5, 1, 9], 8)
    order = np.random.default_rng(1).permutation(24)
    ragged = adv.advantages(flat[order], FULL, groups=place[order], rng=np.random.default_rng(0), too_small="zero")
    sums = [ragged[place[order] == g].sum() for g in (1, 5, 9)]
    np.testing.assert_allclose(sums, 0, atol=1e-5)


def test_mean_of_draws_with_holes_is_the_smaller_table():
    r = np.tile([1.0, np.nan, 0.0, 0.0, 0.0, np.nan, 1.0], (20_000, 1))
    a, table = adv.advantages(r, BOOTSTRAP, rng=np.random.default_rng(0)), BOOTSTRAP.table(5)
    expected = np.where(np.isnan(r[0]), 0, np.where(r[0] == 1, table.positive[2], table.negative[2]))
    assert np.all(np.abs(a.mean(0) - expected) <= 5 * a.std(0) / np.sqrt(len(a)) + 1e-9)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64", "bool"])
def test_torch_draws_what_numpy_draws(dtype):
    torch = pytest.importorskip("torch")
    rewards = np.random.default_rng(0).integers(0, 2, size=(30, 6))
    tensor = torch.tensor(rewards).to(getattr(torch, dtype))
    if tensor.is_floating_point():
        tensor.requires_grad_()
    found = adv.advantages(tensor, FULL, rng=np.random.default_rng(7))
    assert not found.requires_grad
    assert found.dtype == (tensor.dtype if tensor.is_floating_point() else torch.get_default_dtype())
    exact = adv.advantages(rewards, FULL, rng=np.random.default_rng(7))
    np.testing.assert_allclose(found.double().numpy(), exact, rtol=1e-2 if dtype == "bfloat16" else 1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: adv.advantages(np.eye(4), FULL, rng=5), r"numpy Generator, got 5; use rng=np.random.default_rng\(0\)"),
        (lambda: adv.advantages(np.eye(4), FULL, rng=np.random.default_rng(0), history=adv.Beta(1, 1)), "leave rng"),
        (lambda: adv.advantages(np.eye(4), FULL, rng=np.random.default_rng(0), real="layer_cake"), "leave rng"),
        (lambda: adv.advantages(np.eye(3), FULL, rng=np.random.default_rng(0)), "needs n >= 4.*two groups of 2"),
        (lambda: adv.advantages(0.5 * np.eye(4), FULL, rng=np.random.default_rng(0)), "0, 1 or NaN"),
        (lambda: adv.advantages([[np.nan] * 4], FULL, rng=np.random.default_rng(0)), "no judged rollout"),
        (lambda: adv.estimator("passk_training_bootstrap(k=2, groups=1)"), "groups >= 2"),
        (lambda: adv.estimator("passk_training_bootstrap", k=4).table(4), "needs n >= 5.*the same"),
        (lambda: adv.estimator("passk_training_adaptive(k=2, share=2)"), "share"),
    ],
)
def test_errors_say_what_was_seen_and_what_to_do(call, message):
    with pytest.raises(adv.AdvshapeError, match=message):
        call()


def test_reductions_of_the_random_forms():
    """k = 1: each rollout its own group, GRPO. Many bootstrap groups: the analytical table times groups k / n."""
    for n in (2, 5, 8):
        one, grpo = adv.estimator("passk_training_full(k=1)").table(n), adv.estimator("grpo").table(n)
        np.testing.assert_allclose([one.positive, one.negative], [grpo.positive, grpo.negative], atol=1e-12)
    size, n, k = 20_000, 8, 3
    many = adv.estimator("passk_training_bootstrap", k=k, groups=size).table(n)
    limit = adv.estimator("passk_training", k=k).table(n)
    scale = size * k / n
    np.testing.assert_allclose(many.positive / scale, limit.positive, atol=2e-3)  # the paper's asymptotic form
    np.testing.assert_allclose(many.negative / scale, limit.negative, atol=2e-3)


def test_a_baseline_makes_a_rule_exact_and_only_two_are_random():
    assert FULL.with_baseline(adv.Beta(0.5, 1.0)).draw is None
    assert FULL.scaled("none").draw is FULL.draw
    random = {name for name in ENTRIES if adv.estimator(name, **needed(name)).draw is not None}
    assert random == {"passk_training_full", "passk_training_bootstrap"}


def needed(name):
    from inspect import signature

    return {"k": 3} if "k" in signature(ENTRIES[name]).parameters else {}


def test_the_check_of_draws_can_fail():
    """Always the given order is no random split, and a wrong scale no draw at all."""
    r = np.r_[1.0, 0, 0, 1]
    possible = outcomes(r, "full", 2)
    fixed = lambda rewards, rng: np.repeat(np.apply_along_axis(standardised, 1, rewards[:, ::2]), 2, 1)
    for draw in (fixed, lambda rewards, rng: 1.1 * FULL.draw(rewards, rng)):
        with pytest.raises(AssertionError):
            check_rates(draw, r, possible)
    check_rates(FULL.draw, r, possible)
