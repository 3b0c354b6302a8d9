"""pass@k and pass^k against enumeration of subsets and against exact integer arithmetic."""

from fractions import Fraction
from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advshape.errors import AdvshapeError
from advshape.passk import maj_at_k, max_at_k, min_at_k, pass_at_k, pass_hat_k


def enumerated(correct: int, n: int, k: int, rule) -> Fraction:
    """Oracle: look at every subset of k rollouts."""
    outcomes = [True] * correct + [False] * (n - correct)
    subsets = list(combinations(outcomes, k))
    return Fraction(sum(rule(subset) for subset in subsets), len(subsets))


@pytest.mark.parametrize(("estimator", "rule"), [(pass_at_k, any), (pass_hat_k, all)])
def test_enumeration_of_all_subsets(estimator, rule):
    for n in range(1, 10):
        for k in range(1, n + 1):
            expected = [float(enumerated(c, n, k, rule)) for c in range(n + 1)]
            # 1e-14: a sum of at most 9 logs and one exponential, each exact to 1e-16
            np.testing.assert_allclose(estimator(range(n + 1), n, k), expected, rtol=1e-14, atol=0)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_exact_integers_for_large_n(data):
    n = data.draw(st.integers(1, 100_000))
    k = data.draw(st.integers(1, n))
    c = data.draw(st.integers(0, n) | st.integers(0, min(n, 20)))
    total = comb(n, k)
    at_least_one = Fraction(total - comb(n - c, k), total)
    all_right = Fraction(comb(c, k), total)
    # 1e-11: a sum of up to 1e5 logs loses about 1e5 rounding errors of 1e-16
    np.testing.assert_allclose(pass_at_k(c, n, k), float(at_least_one), rtol=1e-11, atol=1e-300)
    np.testing.assert_allclose(pass_hat_k(c, n, k), float(all_right), rtol=1e-8, atol=1e-300)


def test_unbiased_over_binomial_outcomes():
    n, rho = 7, Fraction(2, 7)
    for k in range(1, n + 1):
        chance = [float(comb(n, c) * rho**c * (1 - rho) ** (n - c)) for c in range(n + 1)]
        assert np.dot(chance, pass_at_k(range(n + 1), n, k)) == pytest.approx(float(1 - (1 - rho) ** k), rel=1e-13)
        assert np.dot(chance, pass_hat_k(range(n + 1), n, k)) == pytest.approx(float(rho**k), rel=1e-13)


def test_ends_are_exact():
    assert pass_at_k(0, 100_000, 50_000) == 0
    assert not np.signbit(pass_at_k(0, 10, 5))
    assert pass_at_k(100_000, 100_000, 1) == 1
    assert pass_at_k(1, 64, 64) == 1
    assert pass_hat_k(64, 64, 64) == 1
    assert pass_hat_k(63, 64, 64) == 0
    assert pass_at_k(1, 100_000, 1) == pytest.approx(1e-5, rel=1e-15)


def test_broadcast_and_unequal_n():
    correct, n, k = np.array([0, 2, 3, 7]), np.array([4, 4, 8, 16]), np.array([1, 2, 4])
    table = pass_at_k(correct[:, None], n[:, None], k)
    assert table.shape == (4, 3)
    for i in range(4):
        for j in range(3):
            expected = float(enumerated(int(correct[i]), int(n[i]), int(k[j]), any))
            assert table[i, j] == pytest.approx(expected, rel=1e-13)
    assert pass_at_k([], 4, 2).shape == (0,)
    assert pass_at_k(3, 4, 2).shape == ()


def test_nan_stays_nan():
    values = pass_at_k([np.nan, 4.0, 0.0], 4, 4)
    assert np.isnan(values[0])
    np.testing.assert_array_equal(values[1:], [1, 0])
    assert np.isnan(pass_hat_k(np.nan, 4, 1))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((1, 4, 8), ["k=8", "n=4", "sample at least 8"]),
        (([1, 1], [4, 16], 8), ["1 of 2 entries", "smallest n is 4", "sample at least 8"]),
        ((0, 0, 1), ["k=1", "n=0"]),
        ((5, 4, 1), ["0..n", "correct=5", "n=4"]),
        ((-1, 4, 1), ["0..n", "correct=-1"]),
        ((0.5, 4, 1), ["integers", "0.5", "counts, not rates"]),
        ((1, np.inf, 1), ["n must hold integers"]),
        ((1, np.nan, 1), ["n must hold integers"]),
        ((1, 4, np.nan), ["k must hold integers"]),
        ((1, 4, 0), ["k >= 1", "k=0"]),
        (("1", 4, 1), ["correct must hold integers"]),
        (([1, 2], [4, 4, 4], 1), ["broadcast", "(2,)", "(3,)"]),
    ],
)
def test_bad_input_says_what_to_do(arguments, words):
    for estimator in (pass_at_k, pass_hat_k):
        with pytest.raises(AdvshapeError) as error:
            estimator(*arguments)
        for word in words:
            assert word in str(error.value)


def test_many_prompts_are_fast():
    import time

    rng = np.random.default_rng(0)
    n = rng.integers(64, 129, 100_000)
    correct = rng.binomial(n, 0.3)
    start = time.perf_counter()
    pass_at_k(correct[:, None], n[:, None], 2 ** np.arange(7))
    assert time.perf_counter() - start < 5  # takes .1 s on a quiet core


def test_best_and_worst_of_k_by_enumeration():
    rng = np.random.default_rng(0)
    rewards = rng.normal(size=(4, 7)).round(1)
    rewards[1, 2] = rewards[1, 5] = np.nan
    rewards[2] = 3
    for k in range(1, 6):
        for estimator, rule in ((max_at_k, max), (min_at_k, min)):
            values = estimator(rewards, k)
            for row, value in zip(rewards, values, strict=True):
                judged = row[~np.isnan(row)]
                assert value == pytest.approx(np.mean([rule(s) for s in combinations(judged, k)]), abs=1e-13)


def test_best_of_k_reduces_to_pass_at_k():
    for c in range(17):
        rewards = [1.0] * c + [0.0] * (16 - c)
        for k in (1, 3, 16):
            assert max_at_k(rewards, k) == pytest.approx(pass_at_k(c, 16, k), abs=1e-14)
            assert min_at_k(rewards, k) == pytest.approx(pass_hat_k(c, 16, k), abs=1e-14)
    large = max_at_k(np.arange(100_000.0), 50_000)
    assert large == pytest.approx(100_001 * 50_000 / 50_001 - 1, rel=1e-12)  # mean of the maximum of a sample
    with pytest.raises(AdvshapeError, match="k=4, n=3"):
        max_at_k([[1.0, 2.0, 3.0, np.nan]], 4)
    with pytest.raises(AdvshapeError, match="finite"):
        max_at_k([np.inf], 1)


def test_majority_by_enumeration():
    for votes in ([3, 2, 1], [1, 1, 1, 1], [2, 2, 2], [5], [4, 0, 1, 3], [1, 6]):
        answers = [j for j, count in enumerate(votes) for _ in range(count)]
        for k in range(1, len(answers) + 1):
            for right in range(len(votes)):
                shares = []
                for subset in combinations(answers, k):
                    tally = [subset.count(j) for j in range(len(votes))]
                    winners = [j for j, count in enumerate(tally) if count == max(tally)]
                    shares.append((right in winners) / len(winners))
                assert maj_at_k(votes, right, k) == pytest.approx(np.mean(shares), abs=1e-13)
            assert maj_at_k(votes, None, k) == 0
    assert maj_at_k(np.array([200, 100], dtype=np.uint8), 0, 1) == pytest.approx(2 / 3)


def test_majority_of_two_answers_is_a_hypergeometric_tail():
    from scipy.stats import hypergeom

    for k in (1, 7, 31):
        assert maj_at_k([40, 60], 0, k) == pytest.approx(hypergeom(100, 40, k).sf(k // 2), rel=1e-10)
    for bad in ([1, 1], 0, 3), ([-1, 3], 0, 1), ([600, 600], 0, 1), ([1, 1], 2, 1):
        with pytest.raises(AdvshapeError):
            maj_at_k(*bad)
