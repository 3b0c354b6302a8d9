"""Counts, curves, bounds and paired differences: against direct computation, reductions and known intervals."""

from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import xlogy
from scipy.stats import binom, binomtest

from advshape.errors import AdvshapeError
from advshape.evaluation.logs.count import count_rollouts
from advshape.evaluation.logs.rollout_log import Rollout
from advshape.evaluation.stats.counts import Counts
from advshape.evaluation.stats.curves import PassCurve, paired_difference, pass_bounds, pass_curve
from advshape.evaluation.stats.intervals import difference_interval, mean_interval, t_quantile


def counts(correct, judged, **more):
    return Counts.of([f"p{i}" for i in range(len(correct))], correct, judged, **more)


def test_counts_of_rollouts():
    outcomes = [("a", "right"), ("b", "wrong"), ("a", "not_judged"), ("a", "right"), ("b", "wrong")]
    rollouts = [Rollout(p, i, "", "", outcome, truncated=i == 2) for i, (p, outcome) in enumerate(outcomes)]
    found = count_rollouts(rollouts)
    assert found.problems == ("a", "b")
    assert found.correct.tolist() == [2, 0]
    assert found.judged.tolist() == [2, 2]
    assert found.not_judged.tolist() == [1, 0]
    assert found.truncated.tolist() == [1, 0]
    assert found.totals() == {"right": 2, "wrong": 2, "not_judged": 1, "truncated": 1}


def test_curve_is_the_mean_over_prompts_of_subset_shares():
    correct = [0, 1, 3, 5, 5]
    curve = pass_curve(counts(correct, [5] * 5), ks=[1, 2, 3, 5])
    for k, value in zip(curve.ks, curve.values, strict=True):
        shares = []
        for c in correct:
            subsets = list(combinations([1] * c + [0] * (5 - c), int(k)))
            shares.append(np.mean([max(s) for s in subsets]))
        assert value == pytest.approx(np.mean(shares), rel=1e-13)
    assert (curve.low <= curve.values).all()
    assert (curve.values <= curve.high).all()
    assert curve.at(3) == (curve.values[2], curve.low[2], curve.high[2])
    with pytest.raises(AdvshapeError, match="no pass@4"):
        curve.at(4)


def test_default_attempts_stop_at_the_fewest_judged():
    curve = pass_curve(counts([1, 1, 0], [9, 70, 0], not_judged=[61, 0, 70]))
    assert curve.ks.tolist() == [1, 2, 4, 8]
    assert (curve.prompts, curve.n, curve.unjudged) == (2, 9, 1)
    with pytest.raises(AdvshapeError, match="1 of 2 prompts have fewer"):
        pass_curve(counts([1, 1], [9, 70]), ks=[16])
    with pytest.raises(AdvshapeError, match="no rollout was judged"):
        pass_curve(counts([0, 0], [0, 0], not_judged=[3, 3]))
    with pytest.raises(AdvshapeError, match="at least 2"):
        pass_curve(counts([1], [4]))


def test_one_rollout_per_prompt_is_wilsons_interval():
    """With n = 1 the values are 0/1; m (1 - m) / s^2 is then M - 1, so the interval is Wilson's for M - 1."""
    correct = np.array([1] * 12 + [0] * 29)
    interval = mean_interval(correct[:, None].astype(float), 0.9)
    m = correct.mean()
    # Wilson's ends solve |m - p| = q sqrt(p (1 - p) / size): check the equation instead of the closed form
    for end in (interval.low[0], interval.high[0]):
        assert abs(m - end) == pytest.approx(t_quantile(0.9, 40) * np.sqrt(end * (1 - end) / 40), rel=1e-9)


@pytest.mark.parametrize("solved", [0, 1])
def test_all_or_none_solved_has_a_wide_interval(solved):
    for prompts in (2, 30, 500):
        curve = pass_curve(counts([64 * solved] * prompts, [64] * prompts))
        exact = binomtest(solved * prompts, prompts).proportion_ci(0.95, "exact")
        assert (curve.low <= solved).all()
        assert (solved <= curve.high).all()
        width = curve.high - curve.low
        # Clopper-Pearson is known to be conservative, Wilson with Student's quantile is of the same size
        assert (width > 0.5 * (exact.high - exact.low)).all()
        assert (width < 3 * (exact.high - exact.low)).all()


def test_clusters_of_copies_count_once():
    """Four copies of each prompt, declared as clusters, say no more than the prompts alone."""
    rng = np.random.default_rng(3)
    correct = rng.binomial(16, rng.beta(0.5, 1, 40))
    alone = pass_curve(counts(correct, [16] * 40))
    copies = pass_curve(counts(np.repeat(correct, 4), [16] * 160), clusters=np.repeat(np.arange(40), 4))
    np.testing.assert_allclose(copies.low, alone.low, rtol=1e-12)
    np.testing.assert_allclose(copies.high, alone.high, rtol=1e-12)
    naive = pass_curve(counts(np.repeat(correct, 4), [16] * 160))
    assert (naive.high - naive.low < 0.6 * (copies.high - copies.low)).all()
    with pytest.raises(AdvshapeError, match="3 cluster labels for 40"):
        pass_curve(counts(correct, [16] * 40), clusters=[1, 2, 3])


def test_bounds_hold_every_completion_of_the_verdicts():
    data = counts([1, 2], [2, 3], not_judged=[2, 1])
    ks, low, high = pass_bounds(data, [1, 2, 4])
    for extra in [(0, 0), (1, 1), (2, 0), (2, 1)]:
        curve = pass_curve(counts([1 + extra[0], 2 + extra[1]], [4, 4]), ks=ks.tolist())
        assert (low <= curve.values + 1e-15).all()
        assert (curve.values <= high + 1e-15).all()
    assert low[0] == pytest.approx(3 / 8, rel=1e-13)
    assert high[0] == pytest.approx(6 / 8, rel=1e-13)


def test_difference_is_paired_by_problem():
    first = counts([0, 4, 2], [4, 4, 4])
    second = Counts.of(["p2", "p0", "p1"], [2, 1, 4], [4, 4, 4])
    change = paired_difference(first, second, ks=[1])
    assert change.difference[0] == pytest.approx((0.25 + 0 + 0) / 3)
    reverse = paired_difference(second, first, ks=[1])
    np.testing.assert_allclose([reverse.low, reverse.high], [-change.high, -change.low], rtol=1e-12)
    with pytest.raises(AdvshapeError, match="1 are only in the first, 0 only in the second"):
        paired_difference(first, second.select([0, 1]))
    gone = Counts.of(["p0", "p1", "p2"], [1, 0, 2], [4, 0, 4], not_judged=[0, 4, 0])
    assert paired_difference(first, gone).left_out == 1


def test_pairing_uses_the_correlation():
    rng = np.random.default_rng(0)
    rho = rng.beta(0.5, 1, 300)
    first, second = (counts(rng.binomial(64, np.minimum(rho * f, 1)), [64] * 300) for f in (1, 1.1))
    paired = paired_difference(first, second, ks=[1])
    curves = [pass_curve(c, ks=[1]) for c in (first, second)]
    alone = np.hypot(*(c.high - c.low for c in curves))
    assert (paired.high - paired.low < 0.4 * alone).all()


def test_difference_without_change_has_width():
    same = counts([0, 4] * 20, [4] * 40)
    change = paired_difference(same, same)
    assert (change.difference == 0).all()
    assert (change.high > 0.02).all()
    assert difference_interval(np.zeros((40, 1)), 0.99).high > change.high[0]


@pytest.mark.parametrize(("gains", "losses", "same"), [(20, 10, 70), (9, 0, 50), (3, 1, 30), (0, 4, 26), (5, 5, 0)])
def test_the_ends_of_a_difference_solve_the_score_equation(gains, losses, same):
    """Oracle: the most likely 0/1 pairs with that difference, by a search over the likelihood itself."""
    differences = np.array([1.0] * gains + [-1.0] * losses + [0.0] * same)[:, None]
    interval, m, pairs = difference_interval(differences, 0.9), differences.mean(), len(differences)
    for x in (interval.low[0], interval.high[0]):

        def cost(lost, x=x):
            return -(xlogy(gains, lost + x) + xlogy(losses, lost) + xlogy(same, 1 - 2 * lost - x))

        lost = minimize_scalar(cost, bounds=(max(0, -x), (1 - x) / 2), method="bounded", options={"xatol": 1e-12}).x
        variance = (2 * lost + x - x**2) / (pairs - 1)  # one less, from the variance of a sample
        assert abs(m - x) == pytest.approx(t_quantile(0.9, pairs - 1) * np.sqrt(variance), rel=2e-4)
    mirrored = difference_interval(-differences, 0.9)
    np.testing.assert_allclose([mirrored.low, mirrored.high], [-interval.high, -interval.low], rtol=1e-9)


@pytest.mark.parametrize("prompts", [30, 100, 200])
def test_coverage_of_a_change_that_only_solves_prompts(prompts):
    """Enumeration: gains ~ Bin(M, x), every x from 0.1 % to 50 %. Student's t reaches 3 % here."""
    gains, rates = np.arange(prompts + 1), np.arange(1, 501) / 1000
    interval = difference_interval((np.arange(prompts)[:, None] < gains).astype(float))
    held = (interval.low <= rates[:, None]) & (rates[:, None] <= interval.high)
    assert (binom.pmf(gains, prompts, rates[:, None]) * held).sum(axis=1).min() >= 0.93


def test_a_difference_stays_within_its_range():
    rng = np.random.default_rng(1)
    interval = difference_interval(rng.choice([-1, -0.5, 0, 0.5, 1], (12, 300), p=[0.05, 0.05, 0.2, 0.1, 0.6]))
    assert (interval.low >= -1).all()
    assert (interval.high <= 1).all()
    assert (interval.low < interval.mean).all()
    assert (interval.mean <= interval.high).all()


def test_curve_survives_json():
    curve = pass_curve(counts([0, 1, 4], [4, 4, 4]))
    again = PassCurve.from_json(curve.to_json())
    for name, value in vars(curve).items():
        np.testing.assert_array_equal(getattr(again, name), value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Counts.of(["a", "a"], [1, 1], [1, 1]), "unique"),
        (lambda: Counts.of(["a"], [2], [1]), "2 right of 1 judged"),
        (lambda: Counts.of(["a"], [-1], [1]), "negative"),
        (lambda: Counts.of(["a"], [1, 1], [1, 1]), "shape"),
        (lambda: pass_curve(counts([1, 1], [2, 2]), ks=[0]), "1 or more"),
        (lambda: pass_curve(counts([1, 1], [2, 2]), ks=[]), "1 or more"),
        (lambda: pass_curve(counts([1, 1], [2, 2]), confidence=95), "between 0 and 1"),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(AdvshapeError, match=words):
        make()


@pytest.mark.parametrize("labels", [[1, "1", 2, "2"], [(0, 1), (0, 2), (1, 1), None], [2**63, 2**63 + 1, -1, -2]])
def test_cluster_labels_of_every_kind_stay_apart(labels):
    four = counts([1, 2, 3, 0], [4] * 4)
    found, expected = pass_curve(four, clusters=labels), pass_curve(four, clusters=np.arange(4))
    np.testing.assert_array_equal(found.low, expected.low)
    with pytest.raises(AdvshapeError, match="cluster label"):
        pass_curve(four, clusters=[[1], [2], [3], [4]])
