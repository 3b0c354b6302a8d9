"""Prioritised batches: the promise as a property, frequencies by chi-square, determinism, bad input.

The chi-square looks at one drawn place of each batch: places of different batches are independent.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

import advshape as adv
from advshape.curriculum.prioritized import PrioritizedBatches

WEIGHTS = np.array([0.05, 0.3, 1.05, 0.55, 0.8, 0.05, 1.0])


@settings(deadline=None, max_examples=50)
@given(st.data(), st.integers(2, 40), st.integers(2, 12), st.integers(0, 10**9))
def test_every_prompt_comes_within_the_stated_number(data, prompts, batch, seed):
    """Property: in any window of `within` batches, even where the weights shun a prompt altogether."""
    least = -(-prompts // (batch - 1))
    within = data.draw(st.integers(least, least + 20))
    made = PrioritizedBatches(prompts, batch, within, seed)
    weights = np.zeros(prompts)
    weights[data.draw(st.integers(0, prompts - 1))] = 1.0
    drawn = [set(made.draw(number, weights).tolist()) for number in range(3 * within)]
    for first in range(2 * within):
        assert set.union(*drawn[first : first + within]) == set(range(prompts))
    assert all(len(made.draw(number, weights)) == batch for number in range(3))


@pytest.mark.parametrize("place", [-1, -3])
def test_frequencies_match_the_probabilities(place):
    made = PrioritizedBatches(prompts=7, batch=4, within=7, seed=5)
    drawn = np.array([made.draw(number, WEIGHTS)[place] for number in range(4000)])
    counts = np.bincount(drawn, minlength=7)
    share = WEIGHTS / WEIGHTS.sum()
    assert chisquare(counts, 4000 * share).pvalue > 0.01
    assert chisquare(counts, np.full(7, 4000 / 7)).pvalue < 1e-10, "the test can fail"


def test_all_places_together_have_the_stated_probabilities():
    """Systematic sampling: less variance than independent draws, the same mean; the turn adds its even part."""
    made = PrioritizedBatches(prompts=7, batch=4, within=7, seed=1)
    counts = np.bincount(np.concatenate([made.draw(number, WEIGHTS) for number in range(7000)]), minlength=7)
    expected = made.probabilities(WEIGHTS)
    assert expected == pytest.approx([1 / 28 + 3 / 4 * w / WEIGHTS.sum() for w in WEIGHTS])
    assert counts / 28000 == pytest.approx(expected, abs=4 * 0.5 / np.sqrt(28000))


def test_no_batch_is_far_from_its_mean():
    made = PrioritizedBatches(prompts=7, batch=6, within=7, seed=2)
    mean = 5 * WEIGHTS / WEIGHTS.sum()
    for number in range(200):
        counts = np.bincount(made.draw(number, WEIGHTS)[1:], minlength=7)
        assert np.all((counts >= np.floor(mean)) & (counts <= np.ceil(mean)))


def test_batches_depend_on_seed_number_and_weights_alone():
    one, other = (PrioritizedBatches(50, 8, 25, seed) for seed in (3, 4))
    weights = np.linspace(0.1, 1, 50)
    again = PrioritizedBatches(50, 8, 25, 3).draw(9, weights)  # without the nine before it
    for number in range(9):
        one.draw(number, weights[::-1])
    assert one.draw(9, weights).tolist() == again.tolist()
    assert one.draw(10, weights).tolist() != again.tolist()
    assert other.draw(9, weights).tolist() != again.tolist()


def test_an_uneven_weight_is_what_the_weighted_advantage_would_be():
    """By enumeration elsewhere (test_prioritized.py): probability p and weight w = p x prompts have one expectation."""
    history = adv.PromptHistory(adv.Beta(1.0, 1.0), discount=1.0)
    history.update([0, 1], [8, 0], [8, 8])
    weights = adv.priority(history.prior([0, 1, 2]), floor=0.05)
    made = PrioritizedBatches(3, 3, 3, 0)
    assert made.probabilities(weights).sum() == pytest.approx(1)
    assert np.argsort(made.probabilities(weights)).tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PrioritizedBatches(100, 10, 10), "within = 12 or more"),
        (lambda: PrioritizedBatches(100, 1, 100), "more prompts in a batch"),
        (lambda: PrioritizedBatches(100, 10, 0), "within must be"),
        (lambda: PrioritizedBatches(100, 10, 12.0), "within must be"),
        (lambda: PrioritizedBatches(100, 10, 12).draw(0, [1.0, 2.0]), "one weight for each of 100"),
        (lambda: PrioritizedBatches(2, 10, 12).draw(0, [0.0, 0.0]), "not all 0"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(adv.AdvshapeError, match=message):
        make()


def test_the_advised_number_is_enough():
    assert PrioritizedBatches(100, 10, 12).in_turn == 9


def test_the_last_point_is_within_the_weights(monkeypatch):
    """A uniform number just below 1 plus 499 rounds to 500; the prompts of weight 0 stay out."""

    class Last:
        def __init__(self, made):
            self.permutation = made.permutation

        def random(self):
            return 1 - 2.0**-53

    made, default = PrioritizedBatches(prompts=7, batch=501, within=7), np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda *seed: Last(default(*seed)))
    drawn = made.draw(0, [0, 1, 1, 1, 1, 1, 0])
    assert len(drawn) == 501
    assert not set(drawn[1:].tolist()) & {0, 6}
