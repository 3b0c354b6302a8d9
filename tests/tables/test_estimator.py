"""Sums and factors of estimators, and unit rms with one factor for a batch: against advantages written out by hand."""

from itertools import product

import numpy as np
import pytest

import advshape as adv


def outcomes(n):
    return np.array(list(product([0.0, 1.0], repeat=n)))


def test_a_sum_is_the_sum_of_the_advantages_and_of_the_gradients():
    """On all 2^n outcomes, with GRPO and NSR written on rewards; F_n' adds, and so does F."""
    rule = 0.7 * adv.estimator("grpo") + 0.3 * adv.estimator("nsr")
    r = outcomes(5)
    with np.errstate(invalid="ignore", divide="ignore"):
        grpo = (r - r.mean(1, keepdims=True)) / r.std(1, keepdims=True)
    grpo[r.std(1) == 0] = 0
    np.testing.assert_allclose(adv.advantages(r, rule), 0.7 * grpo + 0.3 * (r - 1), atol=1e-14)
    rho = np.linspace(0.1, 0.9, 5)
    parts = [adv.estimator(name).table(5).surrogate().derivative(rho) for name in ("grpo", "nsr")]
    np.testing.assert_allclose(rule.table(5).surrogate().derivative(rho), 0.7 * parts[0] + 0.3 * parts[1], rtol=1e-13)
    np.testing.assert_allclose(rule.surrogate.derivative(rho), 0.7 / np.sqrt(rho * (1 - rho)) + 0.3, rtol=1e-13)


@pytest.mark.parametrize(
    ("rule", "name", "kind", "smallest"),
    [
        (lambda e: e("rloo") - 0.5 * e("rloo_k(k=4)"), "rloo - 0.5 * rloo_k(k=4)", "unbiased", 4),
        (lambda e: -e("rloo"), "-rloo", "unbiased", 2),
        (lambda e: 2 * (e("psr") + 3 * e("nsr")), "2 * psr + 6 * nsr", "unbiased", 1),
        (lambda e: e("dr_grpo") * np.float32(0.5), "0.5 * dr_grpo", "unbiased up to a constant", 2),
        (lambda e: e("rloo").scaled(2.0), "2 * rloo", "unbiased", 2),
        (lambda e: e("grpo") + e("leave_one_out_max"), "grpo + leave_one_out_max", "unknown surrogate", 2),
        (lambda e: 0.5 * e("rloo").scaled("rms") + e("nsr"), "0.5 * (rloo at unit rms) + nsr", "unknown surrogate", 2),
        (lambda e: (e("rloo") + e("nsr")).scaled("rms"), "rloo + nsr at unit rms", "unbiased up to a constant", 2),
        (lambda e: 1 * e("rloo"), "rloo", "unbiased", 2),
    ],
)
def test_names_of_sums_are_specs(rule, name, kind, smallest):
    made = rule(adv.estimator)
    assert (made.name, made.smallest_n) == (name, smallest)
    assert made.kind == kind
    again = adv.estimator(made.name)
    for n in (smallest, smallest + 4):
        np.testing.assert_array_equal(again.table(n).positive, made.table(n).positive)
        np.testing.assert_array_equal(again.table(n).negative, made.table(n).negative)


def test_a_sum_draws_where_a_part_is_random():
    """One draw of the sum is that of the random part, by the same seed, plus the other part's advantages."""
    random, r = adv.estimator("passk_training_full(k=2)"), outcomes(6)[[3, 21, 40]]
    rule = 2 * random - adv.estimator("rloo")
    found = adv.advantages(r, rule, rng=np.random.default_rng(5))
    apart = 2 * adv.advantages(r, random, rng=np.random.default_rng(5)) - adv.advantages(r, "rloo")
    np.testing.assert_allclose(found, apart, atol=1e-14)
    np.testing.assert_allclose(
        rule.table(6).positive, 2 * random.table(6).positive - adv.estimator("rloo").table(6).positive
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda e: e + "nsr", "only estimators can be added to grpo, got 'nsr'"),
        (lambda e: e * "2", "a finite number as its factor, got '2'"),
        (lambda e: np.inf * e, "finite number"),
        (lambda e: True * e, "finite number"),
        (lambda e: e.scaled("rsm"), "use 'none', 'rms' or a number"),
    ],
)
def test_what_cannot_be_added(wrong, message):
    with pytest.raises(adv.AdvshapeError, match=message):
        wrong(adv.estimator("grpo"))


def rms(rule, n):
    """Root of the mean A^2 in mixed groups with rho ~ Beta(1/2, 1), by the rewards of every outcome: no table."""
    rho = (np.arange(200_000) + 0.5) / 200_000
    rho = rho**2  # Beta(1/2, 1) by its quantiles
    squares = chance = 0.0
    r = outcomes(n)[1:-1]
    a = adv.advantages(r, rule)
    for c in range(1, n):
        some = r.sum(1) == c
        p = np.mean(rho**c * (1 - rho) ** (n - c))
        squares += p * np.mean(a[some] ** 2, axis=1).sum()
        chance += p * some.sum()
    return np.sqrt(squares / chance)


def test_unit_rms_is_one_factor_for_a_batch_whatever_was_judged():
    """pass_at_k(k=4), groups of 9 of which some rollouts were not judged: every group has the factor of 9."""
    rule = adv.estimator("pass_at_k(k=4)")
    factor = 1 / rms(rule, 9)  # quantiles: a relative error of 1e-5
    rewards = np.random.default_rng(2).integers(0, 2, size=(30, 9)).astype(float)
    rewards[np.random.default_rng(3).random(rewards.shape) < 0.2] = np.nan
    plain = adv.advantages(rewards, rule, too_small="zero")
    for scaled in (
        rule.scaled("rms"),
        "pass_at_k(k=4) at unit rms",
        {"estimator": "pass_at_k", "k": 4, "scale": "rms"},
    ):
        found = adv.advantages(rewards, scaled, too_small="zero")
        np.testing.assert_allclose(found, factor * plain, rtol=2e-5)
    assert np.isnan(rewards).any(1).sum() > 10
    mixed = adv.advantages(rewards, "2 * (pass_at_k(k=4) at unit rms) + nsr", too_small="zero")
    served = (~np.isnan(rewards)).sum(1, keepdims=True) >= 5
    np.testing.assert_allclose(
        mixed, np.where(served, 2 * factor * plain + adv.advantages(rewards, "nsr"), 0), rtol=4e-5
    )


def test_unit_rms_in_ragged_groups_follows_the_largest_of_the_call():
    rule, groups = adv.estimator("rloo_k(k=2)"), np.repeat([0, 1, 2], [6, 4, 5])
    rewards = np.random.default_rng(4).integers(0, 2, size=15).astype(float)
    plain = adv.advantages(rewards, rule, groups=groups)
    found = adv.advantages(rewards, rule.scaled("rms"), groups=groups)
    np.testing.assert_allclose(found, plain * rule.table(6).scale("rms"), rtol=1e-13)


def test_unit_rms_of_random_rules_and_of_groups_that_are_too_small():
    rule, r = adv.estimator("passk_training_full(k=2)"), outcomes(6)[[3, 21, 40]]
    factor = rule.table(6).scale("rms")
    drawn = [adv.advantages(r, one, rng=np.random.default_rng(1)) for one in (rule, rule.scaled("rms"))]
    np.testing.assert_allclose(drawn[1], factor * drawn[0], rtol=1e-13)
    assert not adv.advantages(np.ones((2, 3)), "pass_at_k(k=8) at unit rms", too_small="zero").any()


def test_scaling_twice_is_scaling_once():
    once = adv.estimator("pass_at_k(k=2)").scaled("rms")
    assert once.scaled("rms") is once
    assert once.scaled("rms", adv.Beta(1, 1)).name == "pass_at_k(k=2) at unit rms at unit rms"
