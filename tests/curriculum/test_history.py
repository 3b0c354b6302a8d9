"""History of a prompt: exact unbiasedness by enumeration, the bias of looking at the group itself, bookkeeping.

Enumeration: a logistic policy with success probability rho has d log pi / d theta = 1 - rho (right) or -rho (wrong) and
d rho / d theta = rho (1 - rho). Priors and group sizes are such that every posterior mean is a fraction over a power
of two, so that float64 holds each advantage exactly and expectations are compared as fractions, without a tolerance.
"""

import json
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import advshape as adv

HALF = adv.Beta(0.5, 0.5)
RHO = Fraction(1, 3)


def chance(outcome, rho=RHO):
    right = sum(outcome)
    return rho**right * (1 - rho) ** (len(outcome) - right)


def pull(outcome, advantages, rho=RHO):
    """One group's gradient estimate over d rho / d theta, exact."""
    scores = [(1 - rho) if r else -rho for r in outcome]
    total = sum(Fraction(float(a)) * s for a, s in zip(advantages, scores, strict=True))
    return total / len(outcome) / (rho * (1 - rho))


def visit(history, outcome, rule, peek=False):
    """One visit; with `peek` the history has seen the group before it is asked."""
    if peek:
        history.update(["p"], [sum(outcome)], [len(outcome)])
    found = adv.advantages(np.array([outcome], float), rule, history=history.prior(["p"]))[0]
    if not peek:
        history.update(["p"], [sum(outcome)], [len(outcome)])
    return found


def expected_pulls(rule, n, visits, peek=False):
    """E of each visit's pull over all outcomes of all visits so far."""
    totals = [Fraction(0)] * visits
    for outcomes in product(product((0, 1), repeat=n), repeat=visits):
        history = adv.PromptHistory(HALF, discount=1.0)
        mass = Fraction(1)
        for outcome in outcomes:
            mass *= chance(outcome)
        for i, outcome in enumerate(outcomes):
            totals[i] += mass * pull(outcome, visit(history, outcome, rule, peek))
    return totals


def true_pull(rule, n):
    """F_n'(rho) from the table's weights as fractions: E over the number of correct others."""
    weight = [Fraction(float(w)) for w in rule.table(n).weight]
    return sum(chance(others) * weight[sum(others)] for others in product((0, 1), repeat=n - 1))


@pytest.mark.parametrize("rule", ["rloo", "reinforce_k(k=2)"])
def test_earlier_visits_leave_the_gradient_exactly_unbiased(rule):
    rule = adv.estimator(rule)
    assert expected_pulls(rule, 2, visits=2) == [true_pull(rule, 2)] * 2


def test_it_holds_for_every_single_past():
    """Not on average over pasts only: whatever was seen before, the next group's expectation is the same."""
    rule = adv.estimator("rloo")
    for past in product((0, 1), repeat=2):
        total = Fraction(0)
        for outcome in product((0, 1), repeat=2):
            history = adv.PromptHistory(HALF, discount=1.0)
            history.update(["p"], [sum(past)], [2])
            total += chance(outcome) * pull(outcome, visit(history, outcome, rule))
        assert total == true_pull(rule, 2) == 1


@pytest.mark.parametrize("rule", ["rloo", "reinforce_k(k=2)"])
def test_the_current_group_in_its_own_prior_biases(rule):
    """Each reward sits in its own baseline with weight 1/(n - 1 + a + b): 1/4 at the first visit of a pair."""
    rule = adv.estimator(rule)
    assert expected_pulls(rule, 2, visits=1, peek=True) == [Fraction(3, 4) * true_pull(rule, 2)]


def test_that_bias_depends_on_the_past_so_it_is_another_objective():
    """Two groups of one (prior weight 1 and 3) by hand: factors 1 - 1/2 and 1 - 1/4 for prompts of unlike pasts."""
    rule = adv.estimator("reinforce")
    for population, factor in ((adv.Beta(0.5, 0.5), Fraction(1, 2)), (adv.Beta(1.5, 1.5), Fraction(3, 4))):
        total = Fraction(0)
        for outcome in ((0,), (1,)):
            history = adv.PromptHistory(population, discount=1.0)
            total += chance(outcome) * pull(outcome, visit(history, outcome, rule, peek=True))
        assert total == factor


def test_any_discount_and_size_to_rounding():
    """Property with general numbers; 1e-14: a few hundred roundings of numbers below 2."""
    rule, n = adv.estimator("pass_at_k(k=2)"), 4
    past = adv.PromptHistory(adv.Beta(0.7, 1.9), discount=0.83)
    for correct in (1, 3, 0):
        past.update(["p"], [correct], [n])
    total = Fraction(0)
    for outcome in product((0, 1), repeat=n):
        history = adv.PromptHistory(adv.Beta(0.7, 1.9), discount=0.83)
        history.load_state_dict(past.state_dict())
        total += chance(outcome) * pull(outcome, visit(history, outcome, rule))
    assert abs(float(total - true_pull(rule, n))) < 1e-14


# bookkeeping


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(["a", "b", "c", 7]), st.integers(0, 4), st.integers(0, 4)), max_size=5),
        max_size=6,
    ),
    st.sampled_from([0.0, 0.5, 0.9, 1.0]),
)
def test_counts_by_a_plain_loop(batches, discount):
    """Property, against a dictionary and a loop over single groups."""
    history, plain = adv.PromptHistory(adv.Beta(0.5, 1.0), discount), {}
    for batch in batches:
        batch = [(key, min(c, m), m) for key, c, m in batch]
        history.update([b[0] for b in batch], [b[1] for b in batch], [b[2] for b in batch])
        for key in {b[0] for b in batch if b[2] > 0}:
            old = plain.get(key, (0.0, 0.0, 0))
            right = sum(c for k, c, m in batch if k == key)
            wrong = sum(m - c for k, c, m in batch if k == key)
            plain[key] = (discount * old[0] + right, discount * old[1] + wrong, old[2] + 1)
    keys = ["a", 7, "b", "never", "c"]
    prior = history.prior(keys)
    expected = [plain.get(key, (0.0, 0.0, 0)) for key in keys]
    np.testing.assert_allclose(prior.a, [0.5 + e[0] for e in expected], rtol=1e-14)
    np.testing.assert_allclose(prior.b, [1.0 + e[1] for e in expected], rtol=1e-14)
    assert history.visits(keys).tolist() == [e[2] for e in expected]
    assert len(history) == len(plain)


def test_a_prior_is_a_snapshot():
    history = adv.PromptHistory(HALF)
    before = history.prior(["p"])
    history.update(["p"], [4], [4])
    assert (before.a.tolist(), before.b.tolist()) == ([0.5], [0.5])
    assert history.prior(["p"]).a.tolist() == [4.5]


def test_much_past_is_the_point_baseline_and_none_the_population():
    history = adv.PromptHistory(adv.Beta(0.5, 1.0), discount=1.0)
    history.update(["p"], [250_000], [1_000_000])
    rewards, rule = np.array([[1.0, 0.0, 1.0]] * 2), adv.estimator("rloo")
    found = adv.advantages(rewards, rule, history=history.prior(["p", "new"]))
    np.testing.assert_allclose(found[0], rewards[0] - 0.25, atol=1e-5)
    np.testing.assert_array_equal(found[1], adv.advantages(rewards[1], rule.with_baseline(adv.Beta(0.5, 1.0))))


def test_state_survives_json_bit_for_bit():
    history = adv.PromptHistory(adv.Beta(0.3, 0.9), discount=0.7)
    for seed in range(5):
        correct = np.random.default_rng(seed).integers(0, 9, 3)
        history.update(["x", 12, f"new {seed}"], correct, [8, 8, 8])
    again = adv.PromptHistory(adv.Beta(0.3, 0.9), discount=0.7)
    again.load_state_dict(json.loads(json.dumps(history.state_dict())))
    for h in (history, again):
        h.update(["late", "x"], [1, 2], [8, 8])
    assert again.state_dict() == history.state_dict()
    assert again.prior([12]).a == history.prior([12]).a
    assert len(again) == 8


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda h: h.update(["p"], [5], [4]), r"'p' has 5 right of 4"),
        (lambda h: h.update(["p"], [0.5], [4]), "whole numbers"),
        (lambda h: h.update(["p"], [np.nan], [4]), "nan right of 4"),
        (lambda h: h.update(["p"], [1], [np.inf]), "whole numbers"),
        (lambda h: h.update(["p", "q"], [1], [4]), "2 ids"),
        (lambda h: h.update("p", [1], [4]), "put it in brackets"),
        (lambda h: h.prior([1.5]), r"string or an integer, got 1\.5"),
        (lambda h: h.prior([None]), "NoneType"),
        (lambda h: h.prior([True]), "bool"),
        (lambda h: adv.PromptHistory(0.5), r"one Beta\(a, b\)"),
        (lambda h: adv.PromptHistory(adv.Beta([1.0, 2.0], 1.0)), "two numbers"),
        (lambda h: adv.PromptHistory(discount=1.1), r"\[0, 1\], got 1\.1"),
        (lambda h: adv.PromptHistory(discount=np.nan), "got nan"),
        (lambda h: h.load_state_dict({"ids": []}), "prior, discount, right"),
        (lambda h: h.load_state_dict(adv.PromptHistory(discount=0.5).state_dict()), r"discount 0\.5.*has 0\.9"),
        (lambda h: h.load_state_dict(h.state_dict() | {"ids": ["a"]}), "1 ids, counts"),
        (
            lambda h: h.load_state_dict(h.state_dict() | {"ids": ["a"], "right": [-1], "wrong": [0], "visits": [1]}),
            "finite and >= 0",
        ),
    ],
)
def test_bad_input_is_a_clear_error_and_changes_nothing(act, message):
    history = adv.PromptHistory()
    with pytest.raises(adv.AdvshapeError, match=message):
        act(history)
    assert len(history) == 0
    assert history.state_dict() == adv.PromptHistory().state_dict()
