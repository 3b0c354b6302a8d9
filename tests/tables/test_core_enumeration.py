"""Enumeration: every estimator against its published definition and against all 2^n outcomes; no shared formulas."""

from fractions import Fraction
from functools import cache
from itertools import combinations, permutations, product

import numpy as np
import pytest
from scipy.integrate import quad

import advshape as adv


def subsets_fraction(items, size, test):
    """Share of the size-subsets of items that pass the test."""
    chosen = list(combinations(items, size))
    return sum(map(test, chosen)) / len(chosen)


def others(r, i):
    return [x for m, x in enumerate(r) if m != i]


def std(r):
    return np.std(r) if 0 < np.mean(r) < 1 else np.inf


def pair_kernel(r, k):
    """(1/(n-1)) sum_{l != i} (r_i - r_l) k P(k-1 of the remaining n-2 are all wrong)."""
    n = len(r)
    result = []
    for i in range(n):
        total = 0.0
        for m in set(range(n)) - {i}:
            rest = [x for q, x in enumerate(r) if q not in (i, m)]
            total += (r[i] - r[m]) * k * subsets_fraction(rest, k - 1, lambda s: not any(s))
        result.append(total / (n - 1))
    return result


def maxpo(r, k):
    """(1/(n-1)) sum_{l != i} k E[max(S, r_i) - max(S, r_l)], S a random (k-1)-subset of the n - 2 others; real r."""
    n, found = len(r), []
    for i in range(n):
        gains = []
        for m in set(range(n)) - {i}:
            rest = [x for q, x in enumerate(r) if q not in (i, m)]
            gains += [k * np.mean([max(*s, r[i]) - max(*s, r[m]) for s in combinations(rest, k - 1)])]
        found.append(sum(gains) / (n - 1))
    return found


def leave_one_out(r):
    """Mean and std of the others, torch's and numpy's std(ddof=1); not divided where that is 0."""
    spread = [np.std(others(r, i), ddof=1) for i in range(len(r))]
    return [(x - np.mean(others(r, i))) / (spread[i] + 1e-6 if spread[i] else 1) for i, x in enumerate(r)]


def asymmetric(r, weight):
    """weight(rho) (r - rho) of Heckel et al., with the limits at the ends: -1 if all are wrong, 0 if all are right."""
    rho = np.mean(r)
    return [weight(rho) * (x - rho) if 0 < rho < 1 else rho - 1 for x in r]


def marginal(r, k, before, after, baseline):
    """k x share of (k-1)-subsets of the others in which my answer decides, times (r_i - baseline)."""
    result = []
    for i, x in enumerate(r):
        rest = others(r, i)
        decide = subsets_fraction(rest, k - 1, lambda s: int(after(s)) - int(before(s)))
        result.append(k * decide * (x - (np.mean(rest) if baseline else 0)))
    return result


def pkpo_s(r, k):
    n = len(r)
    groups = list(combinations(range(n), k))
    return [sum(max(r[m] for m in g) for g in groups if i in g) / len(groups) for i in range(n)]


def pkpo_loo(r, k):
    n = len(r)
    return [n * (pkpo_s(r, k)[i] - np.mean(pkpo_s(others(r, i), k))) for i in range(n)]


def pkpo_loo_minus_one(r, k):
    n = len(r)
    groups = list(combinations(range(n), k))
    gain = lambda g, i: max(r[m] for m in g) - max((r[m] for m in g if m != i), default=0)
    return [n * sum(gain(g, i) for g in groups if i in g) / len(groups) for i in range(n)]


def chen(r, k):
    """Pass@k Training: all k-subsets as groups with reward max, normalised, averaged over the groups of a rollout."""
    groups = list(combinations(range(len(r)), k))
    reward = np.array([max(r[m] for m in g) for g in groups])
    spread = np.std(reward)
    score = (reward - reward.mean()) / spread if 0 < reward.mean() < 1 else 0 * reward
    return [np.mean([s for s, g in zip(score, groups, strict=True) if i in g]) for i in range(len(r))]


def scores(groups):
    """(group reward - mean)/std of 0/1 group rewards; 0 where all are alike."""
    return (np.array(groups) - np.mean(groups)) / std(groups)


@cache
def chen_full(r, k):
    """Full sampling: the mean over every order of the rollouts, cut into groups of k; a left-over one gets 0."""
    n, total = len(r), np.zeros(len(r))
    orders = list(permutations(range(n)))
    for order in orders:
        groups = [order[m : m + k] for m in range(0, n - n % k, k)]
        for score, group in zip(scores([max(r[i] for i in g) for g in groups]), groups, strict=True):
            total[list(group)] += score
    return total / len(orders)


def chen_bootstrap(r, k):
    """Bootstrap: the mean over every sequence of n kinds of k-subset: mine or not, with a right answer or not."""
    n, subsets = len(r), list(combinations(range(len(r)), k))
    return [
        bootstrap_mean(n, tuple(sum((i in g, max(r[m] for m in g)) == kind for g in subsets) for kind in KINDS))
        for i in range(n)
    ]


KINDS = [(False, 0), (False, 1), (True, 0), (True, 1)]


@cache
def bootstrap_mean(n, counts):
    total = 0.0
    for drawn in product(range(4), repeat=n):
        chance = np.prod([counts[kind] / sum(counts) for kind in drawn])
        if chance > 0:
            total += chance * sum(
                s for s, kind in zip(scores([KINDS[x][1] for x in drawn]), drawn, strict=True) if KINDS[kind][0]
            )
    return total


def chen_mixed(r, k, share):
    pass_1 = np.array([(x - np.mean(r)) / std(r) for x in r])
    return share * np.array(chen(r, k)) + (1 - share) * pass_1


def qae(r):
    return [(x - np.quantile(r, 0.4, method="inverted_cdf")) / std(r) for x in r]


def ngrpo(r):
    """Standardised with one reward of 1 more; torch's and numpy's std(ddof=1)."""
    more = [*r, 1.0]
    return [(x - np.mean(more)) / np.std(more, ddof=1) if np.mean(r) < 1 else 0.0 for x in r]


def mixed(r, rule):
    """Plug-in rules are silent unless the group is mixed."""
    rho = np.mean(r)
    return [rule(x, rho) for x in r] if 0 < rho < 1 else [0.0] * len(r)


def slope_rule(slope):
    return lambda r: mixed(r, lambda x, rho: (x - rho) * slope(rho))


K = 3
DEFINITIONS = {
    "reinforce": lambda r: r,
    "psr": lambda r: r,
    "nsr": lambda r: [x - 1 for x in r],
    "weighted_reinforce": lambda r: [0.1 if x else -1 for x in r],
    "rloo": lambda r: [x - np.mean(others(r, i)) for i, x in enumerate(r)],
    "dr_grpo": lambda r: [x - np.mean(r) for x in r],
    "grpo": lambda r: [(x - np.mean(r)) / std(r) for x in r],
    "grpo_leave_one_out": leave_one_out,
    "rejection": lambda r: [x / max(np.mean(r), 1e-9) for x in r],
    "reinforce_k": lambda r: marginal(r, K, any, lambda s: 1, False),
    "rloo_k": lambda r: marginal(r, K, any, lambda s: 1, True),
    "pass_at_k": lambda r: pair_kernel(r, K),
    "maxpo": lambda r: maxpo(r, K),
    "pass_at_k_plug_in": slope_rule(lambda p: K * (1 - p) ** (K - 1)),
    "pkpo_s": lambda r: [len(r) * s for s in pkpo_s(r, K)],
    "pkpo_loo": lambda r: pkpo_loo(r, K),
    "pkpo_loo_minus_one": lambda r: pkpo_loo_minus_one(r, K),
    "leave_one_out_max": lambda r: [len(r) * (max(r) - max(others(r, i))) for i in range(len(r))],
    "grpo_k": slope_rule(lambda p: K * (1 - p) ** (K - 1) / np.sqrt(p * (1 - p))),
    "grpo_k_joint": slope_rule(lambda p: K * (1 - p) ** (K - 1) / np.sqrt((1 - p) ** K * (1 - (1 - p) ** K))),
    "grpo_k_leave_one_out": lambda r: [
        K * subsets_fraction(others(r, i), K - 1, lambda s: not any(s)) * (x - np.mean(r)) / std(r)
        for i, x in enumerate(r)
    ],
    "passk_training": lambda r: chen(r, K),
    "passk_training_full": lambda r: chen_full(tuple(r), 2),
    "passk_training_bootstrap": lambda r: chen_bootstrap(r, 2),
    "passk_training_exceeding": lambda r: np.array(chen(r, K)) * 0.4 / np.log(max(sum(r), 1) + 0.5),
    "passk_training_combination": lambda r: chen_mixed(r, K, np.mean(r)),
    "passk_training_adaptive": lambda r: chen_mixed(r, K, 0.5),
    "qae": qae,
    "ngrpo": ngrpo,
    "fade": lambda r: mixed(r, lambda x, p: (x - p) * (1 - p) ** 0.5),
    "all_of_k": lambda r: marginal(r, K, lambda s: 0, all, True),
    "majority_of_k": lambda r: marginal(r, K, lambda s: sum(s) > K / 2, lambda s: sum(s) + 1 > K / 2, True),
    "skew_r": lambda r: [(1 - np.mean(r)) * (x - np.mean(r)) / std(r) for x in r],
    "focal_grpo": lambda r: [(1 - np.mean(r)) ** 2 * (x - np.mean(r)) / std(r) for x in r],
    "f_grpo": lambda r: [(1 - np.mean(r)) ** 2 * (x - np.mean(r)) / std(r) for x in r],
    "gaussian": lambda r: [np.exp(-((np.mean(r) - 0.5) ** 2) / 0.245) * (x - np.mean(r)) / std(r) for x in r],
    "linear_r": lambda r: asymmetric(r, lambda p: 1 / p),
    "sqrt_r": lambda r: asymmetric(r, lambda p: 1 / (p * np.sqrt(1 - p))),
    "tsallis": slope_rule(lambda p: p**-0.75),
    "prioritized_rloo": lambda r: [(1 - np.mean(r)) * (x - np.mean(others(r, i))) for i, x in enumerate(r)],
    "prioritized_grpo": lambda r: [(1 - np.mean(r)) * (x - np.mean(r)) / std(r) for x in r],
    "maxrl": lambda r: mixed(r, lambda x, p: (x - p) / p) if np.mean(r) < 1 else [0.0] * len(r),
    "risk_sensitive": lambda r: [(np.exp(2 * x) / np.mean(np.exp(2 * np.array(r))) - 1) / 2 for x in r],
    "entropy_rloo": slope_rule(lambda p: 1 + 0.1 * np.log((1 - p) / p)),
    "log_odds": lambda r: mixed(r, lambda x, p: 1 / p if x else -1 / (1 - p)),
    "beta_family": slope_rule(lambda p: 1 / np.sqrt(p * (1 - p))),
    "grpo_lead": lambda r: mixed(
        r,
        lambda x, p: (x - p) / np.sqrt(p * (1 - p)) * (0.4 + 1.1 / (1 + np.exp(10 * ((p if x else 1 - p) - 0.75)))),
    ),
}
NEEDS_K = {
    "reinforce_k",
    "rloo_k",
    "pass_at_k",
    "pass_at_k_plug_in",
    "pkpo_s",
    "pkpo_loo",
    "pkpo_loo_minus_one",
    "grpo_k",
    "grpo_k_joint",
    "grpo_k_leave_one_out",
    "maxpo",
    "passk_training",
    "all_of_k",
    "majority_of_k",
    "passk_training_exceeding",
    "passk_training_combination",
    "passk_training_adaptive",
}
RANDOMISED = {"passk_training_full", "passk_training_bootstrap"}


def make(name):
    return adv.estimator(name, **({"k": K} if name in NEEDS_K else {"k": 2} if name in RANDOMISED else {}))


def test_every_entry_has_a_definition_here():
    assert set(adv.estimators()) == set(DEFINITIONS)


@pytest.mark.parametrize("name", sorted(DEFINITIONS))
@pytest.mark.parametrize("n", [4, 6])
def test_table_is_the_published_rule_on_every_outcome(name, n):
    outcomes = np.array(list(product([0.0, 1.0], repeat=n)))
    expected = np.array([DEFINITIONS[name](list(r)) for r in outcomes], dtype=float)
    np.testing.assert_allclose(adv.advantages(outcomes, make(name)), expected, rtol=1e-9, atol=1e-12)


VARIANTS = {
    "maxrl(epsilon=0.01)": lambda r: [(x - np.mean(r)) / (np.mean(r) + 0.01) for x in r],
    "maxrl(order=3)": lambda r: np.sum([np.array(pair_kernel(r, k)) / k for k in (1, 2, 3)], axis=0),
    "grpo(ddof=1, epsilon=0.01)": lambda r: [(x - np.mean(r)) / (np.std(r, ddof=1) + 0.01) for x in r],
    "skew_r(strength=0.4)": lambda r: [(1 - 0.4 * np.mean(r)) * (x - np.mean(r)) / std(r) for x in r],
}


@pytest.mark.parametrize("spec", VARIANTS)
def test_variant_is_the_published_rule_on_every_outcome(spec):
    outcomes = np.array(list(product([0.0, 1.0], repeat=6)))
    expected = np.array([VARIANTS[spec](list(r)) for r in outcomes], dtype=float)
    rule = adv.estimator(spec)
    np.testing.assert_allclose(adv.advantages(outcomes, rule), expected, rtol=1e-9, atol=1e-12)
    for rho in (Fraction(1, 10), Fraction(7, 9)):
        slope = rule.table(6).surrogate().derivative(float(rho))
        assert slope == pytest.approx(float(exact_slope(rule.table(6), rho)), rel=1e-10)


def exact_slope(table, rho):
    """E[(1/n) sum_i A_i d log p(r_i) / d rho] over all 2^n outcomes, in fractions."""
    n, total = table.n, Fraction(0)
    plus, minus = ([Fraction(float(x)) for x in v] for v in (table.positive, table.negative))
    for r in product([0, 1], repeat=n):
        c = sum(r)
        probability = rho**c * (1 - rho) ** (n - c)
        score = sum((plus[c] if x else minus[c]) * (x - rho) for x in r)
        total += probability * score / (n * rho * (1 - rho))
    return total


@pytest.mark.parametrize("name", sorted(DEFINITIONS))
def test_finite_surrogate_is_what_all_outcomes_say(name):
    table = make(name).table(7)
    for rho in (Fraction(1, 10), Fraction(1, 2), Fraction(7, 9)):
        found = table.surrogate().derivative(float(rho))
        assert found == pytest.approx(float(exact_slope(table, rho)), rel=1e-10, abs=1e-12)
        area, _ = quad(table.surrogate().derivative, 0, float(rho))
        assert table.surrogate().value(float(rho)) == pytest.approx(area, rel=1e-9, abs=1e-12)


def slope_of(measure, k, rho):
    """d/d rho of E[measure(r_1..r_k)], by the score function over all 2^k outcomes."""
    total = Fraction(0)
    for r in product([0, 1], repeat=k):
        probability = rho ** sum(r) * (1 - rho) ** (k - sum(r))
        total += measure(r) * probability * sum(x - rho for x in r) / (rho * (1 - rho))
    return total


MEASURES = {
    "pass": (any, adv.PassAtK),
    "all": (all, adv.AllOfK),
    "majority": (lambda r: sum(r) > len(r) / 2, adv.MajorityOfK),
}


@pytest.mark.parametrize("kind", sorted(MEASURES))
@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("baseline", ["zero", "leave_one_out", "centered", adv.Beta(0.5, 1.0)], ids=str)
def test_unbiased_tables_have_the_exact_slope(kind, k, baseline):
    measure, surrogate = MEASURES[kind]
    table = adv.unbiased(surrogate(k), baseline).table(7)
    for rho in (Fraction(1, 7), Fraction(3, 5)):
        assert float(exact_slope(table, rho)) == pytest.approx(float(slope_of(measure, k, rho)), rel=1e-10)


@pytest.mark.parametrize(
    "surrogate",
    [
        adv.Identity(),
        adv.PassAtK(4),
        adv.AllOfK(3),
        adv.GRPO(),
        adv.LogLikelihood(),
        adv.LogLikelihood(5),
        adv.SkewR(),
        adv.SkewR(0.3),
        adv.Entropy(),
        adv.Variance(),
        adv.BetaFamily(0.7, 1.9),
        adv.Focal(2.0),
        adv.GRPOJoint(3),
        adv.LogOdds(),
        adv.RiskSensitive(2.0),
        adv.MajorityOfK(5),
        2 * adv.PassAtK(3) - 0.5 * adv.Entropy(),
        adv.estimator("grpo_lead").surrogate,
        adv.estimator("grpo_k(k=3)").surrogate,
    ],
    ids=repr,
)
def test_derivatives_are_derivatives_and_polynomials_are_exact(surrogate):
    rho = np.linspace(0.03, 0.97, 11)
    h = 1e-6  # central differences: error h^2 F''' and eps / h, together near 1e-9
    numeric = (surrogate.value(rho + h) - surrogate.value(rho - h)) / (2 * h)
    np.testing.assert_allclose(surrogate.derivative(rho), numeric, rtol=2e-6, atol=2e-6)
    if surrogate.degree is None:
        assert surrogate.bernstein(12) is None
    else:
        for m in (surrogate.degree, surrogate.degree + 4):
            table = adv.AdvantageTable.from_weights(surrogate.bernstein(m), np.zeros(m + 1))
            np.testing.assert_allclose(
                table.surrogate().derivative(rho), surrogate.derivative(rho), rtol=1e-9, atol=1e-15
            )
        if surrogate.degree:
            assert surrogate.bernstein(surrogate.degree - 1) is None


def test_linear_r_is_the_likelihood_of_order_n_exactly():
    """In fractions: A+ = n/c - 1 and A- = -1 in all groups give E[g] = sum_{k<=n} (1-rho)^(k-1), as rejection does."""
    for n in (1, 2, 5):
        for rho in (Fraction(1, 9), Fraction(3, 4)):
            total = Fraction(0)
            for r in product([0, 1], repeat=n):
                c = sum(r)
                chance = rho**c * (1 - rho) ** (n - c)
                total += chance * sum((Fraction(n, c) - 1 if x else -1) * (x - rho) for x in r) / (n * rho * (1 - rho))
            assert total == sum((1 - rho) ** (k - 1) for k in range(1, n + 1))
            table = adv.estimator("linear_r").table(n)
            assert table.surrogate().derivative(float(rho)) == pytest.approx(float(total), rel=1e-12)


def test_maxpo_on_real_rewards_is_the_layer_cake_of_its_table():
    rewards = np.random.default_rng(1).normal(size=(20, 7)).round(1)  # rounded: ties
    found = adv.advantages(rewards, "maxpo(k=3)", real="layer_cake")
    np.testing.assert_allclose(found, [maxpo(list(r), 3) for r in rewards], atol=1e-12)


def test_the_oracle_can_fail():
    table = adv.AdvantageTable.from_weights(adv.PassAtK(3).bernstein(6) * 1.001, np.zeros(7))
    rho = Fraction(1, 7)
    assert float(exact_slope(table, rho)) != pytest.approx(float(slope_of(any, 3, rho)), rel=1e-6)
