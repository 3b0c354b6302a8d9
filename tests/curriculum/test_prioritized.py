"""Prioritised sampling by enumeration: as a weight and as a probability it has one expectation; in-group it has not.

A population of prompts with logistic policies, one parameter each; a step is the vector of expected gradients. All
chances are fractions. The weights are fractions over powers of two, so the library's float64 holds them exactly.
"""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

import advshape as adv

RHOS = (Fraction(1, 3), Fraction(3, 5), Fraction(9, 10))
RULES = ["rloo", "reinforce", "weighted_reinforce"]


def chance(outcome, rho):
    right = sum(outcome)
    return rho**right * (1 - rho) ** (len(outcome) - right)


def gradient(outcome, rule, rho, weight=1):
    """Exact gradient of one group: advantages of the library, times a weight."""
    found = adv.advantages(np.array([outcome], float), rule)[0]
    scores = [(1 - rho) if r else -rho for r in outcome]
    return weight * sum(Fraction(float(a)) * s for a, s in zip(found, scores, strict=True)) / len(outcome)


def expected(rule, rho, n, weight=lambda outcome: 1):
    outcomes = product((0, 1), repeat=n)
    return sum(chance(o, rho) * gradient(o, rule, rho, weight(o)) for o in outcomes)


def pasts(n):
    """Every history of one earlier visit of n rollouts for each prompt, with its chance and its library weights."""
    for outcomes in product(product((0, 1), repeat=n), repeat=len(RHOS)):
        history = adv.PromptHistory(adv.Beta(1.0, 1.0), discount=1.0)
        history.update(range(len(RHOS)), [sum(o) for o in outcomes], [n] * len(RHOS))
        mass = Fraction(1)
        for outcome, rho in zip(outcomes, RHOS, strict=True):
            mass *= chance(outcome, rho)
        yield mass, adv.priority(history.prior(range(len(RHOS))), floor=0.25)


@pytest.mark.parametrize("rule", RULES)
def test_weight_and_probability_have_one_expectation_up_to_the_mean_weight(rule):
    """For every past: sum_i p_i E[g_i] x mean(w) = (1/M) sum_i w_i E[g_i], prompt by prompt, as fractions."""
    rule, count = adv.estimator(rule), len(RHOS)
    steps = [expected(rule, rho, 2) for rho in RHOS]
    for _, weights in pasts(2):
        exact = [Fraction(float(w)) for w in weights]
        mean = sum(exact) / count
        probabilities = adv.sampling_probabilities(weights)
        np.testing.assert_allclose(probabilities, [float(w / sum(exact)) for w in exact], rtol=1e-15)
        as_weight = [w * step / count for w, step in zip(exact, steps, strict=True)]
        as_probability = [w / sum(exact) * step for w, step in zip(exact, steps, strict=True)]
        assert [mean * step for step in as_probability] == as_weight
        assert len(set(exact)) == 1 or as_probability != [step / count for step in steps]  # it does something


def test_over_all_pasts_each_prompts_step_is_its_mean_weight_times_its_gradient():
    """The weight looks at earlier rollouts alone: E[w g] = E[w] E[g], enumerated over both visits."""
    rule = adv.estimator("rloo")
    for i, rho in enumerate(RHOS):
        joint = mean = Fraction(0)
        for mass, weights in pasts(2):
            weight = Fraction(float(weights[i]))
            mean += mass * weight
            joint += mass * expected(rule, rho, 2, lambda o, w=weight: w)
        assert joint == mean * expected(rule, rho, 2)
        assert mean == Fraction(5, 4) - (1 + 2 * rho) / 4  # E[1 - (1 + c)/4] + 1/4


def test_the_groups_own_rate_is_another_estimator():
    """E[(1 - rho_hat) g] is not E[1 - rho_hat] E[g]; RLOO in pairs optimises rho / 2, no priority at all."""
    rule = adv.estimator("rloo")
    for rho in RHOS:
        slope = rho * (1 - rho)
        in_group = expected(rule, rho, 2, lambda o: 1 - Fraction(sum(o), 2))
        assert in_group == Fraction(1, 2) * slope  # F' = 1/2 whatever rho is
        assert in_group != (1 - rho) * expected(rule, rho, 2)
    table = adv.estimator("prioritized_rloo").table(2)
    assert table.surrogate().derivative([0.1, 0.5, 0.9]).tolist() == [0.5] * 3


def test_in_larger_groups_the_groups_own_rate_stays_biased():
    """n = 4: F' = 3/4 - rho/2, which prioritises less than 1 - rho; it comes near only as n grows."""
    rule = adv.estimator("rloo")
    for rho in RHOS:
        in_group = expected(rule, rho, 4, lambda o: 1 - Fraction(sum(o), 4))
        off = abs(in_group / (rho * (1 - rho)) - (Fraction(3, 4) - rho / 2))
        assert off < Fraction(1, 10**15)  # RLOO's thirds are rounded in float64
    bias = [abs(adv.estimator("prioritized_rloo").table(n).surrogate().derivative(0.9) - 0.1) for n in (2, 8, 64, 512)]
    assert bias == sorted(bias, reverse=True)
    assert bias[-1] < 0.01


def test_unseen_prompts_have_the_populations_priority():
    history = adv.PromptHistory(adv.Beta(1.0, 3.0), discount=1.0)
    history.update(["solved", "dead"], [8, 0], [8, 8])
    weights = adv.priority(history.prior(["solved", "dead", "new"]))
    np.testing.assert_allclose(weights, [3 / 12, 11 / 12, 3 / 4], rtol=1e-15)
    assert adv.sampling_probabilities(weights).sum() == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: adv.priority(adv.Beta(1.0, 1.0), floor=-0.1), "floor must be"),
        (lambda: adv.priority(adv.Beta(1.0, 1.0), floor=np.nan), "floor must be"),
        (lambda: adv.priority(adv.Beta(0.0, 0.0)), "no posterior mean"),
        (lambda: adv.sampling_probabilities([0.0, 0.0]), "not all 0"),
        (lambda: adv.sampling_probabilities([]), "not all 0"),
        (lambda: adv.sampling_probabilities([1.0, -1.0, 3.0]), ">= 0"),
        (lambda: adv.sampling_probabilities([1.0, np.nan]), "finite"),
    ],
)
def test_bad_input_is_a_clear_error(act, message):
    with pytest.raises(adv.AdvshapeError, match=message):
        act()
