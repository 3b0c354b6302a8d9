"""Epsilon and ddof in every entry that divides: each against the same rule written as trainers write it, on rewards."""

from inspect import signature
from itertools import combinations, permutations

import numpy as np
import pytest

import advshape as adv
from advshape.catalogue import ENTRIES

N = 6
GUARDS = {
    "add": lambda std, e: std + e,
    "max": lambda std, e: np.maximum(std, e),
    "variance": lambda std, e: np.sqrt(std**2 + e),
}


def focal(r, divide, gamma):
    return (1 - r.mean()) ** gamma * (r - r.mean()) / divide(r)


def subsets(r, k):
    chosen = [list(s) for s in combinations(range(len(r)), k)]
    return chosen, np.array([r[s].max() for s in chosen])


def passk(r, divide, k):
    """Every rollout's mean over its subsets of (best - mean) / deviation, the deviation over all subsets."""
    chosen, best = subsets(r, k)
    a = (best - best.mean()) / divide(best) if np.ptp(best) else 0 * best
    return np.array([a[[i in s for s in chosen]].mean() for i in range(len(r))])


def full(r, divide, k):
    """Mean over all splits into groups of k."""
    total, ways = np.zeros(len(r)), list(permutations(range(len(r))))
    for order in ways:
        groups = [list(order[m : m + k]) for m in range(0, len(r) - len(r) % k, k)]
        best = np.array([r[g].max() for g in groups])
        if np.ptp(best):
            for g, a in zip(groups, (best - best.mean()) / divide(best), strict=True):
                total[g] += a / len(ways)
    return total


def qae(r, divide, quantile):
    least = np.sort(r)[int(np.ceil(quantile * len(r))) - 1]
    return (r - least) / divide(r)


def ngrpo(r, divide, virtual):
    together = np.r_[r, np.ones(virtual)]
    return (r - together.mean()) / divide(together) if np.ptp(together) else 0 * r


def lead(r, divide):
    w = lambda x: 0.4 + 1.1 / (1 + np.exp(10 * (x - 0.75)))
    plain = (r - r.mean()) / divide(r)
    return np.where(r == 1, w(r.mean()), w(1 - r.mean())) * plain


def joint(r, divide, k):
    """k (1-m)^(k-1) (r - m) over the deviation of a reward that is 1 with chance 1 - (1-m)^k."""
    m, solved = r.mean(), 1 - (1 - r.mean()) ** k
    deviation = np.sqrt(np.average([(1 - solved) ** 2, solved**2], weights=[solved, 1 - solved]))
    return k * (1 - m) ** (k - 1) * (r - m) / divide(deviation)


def exponential(r, epsilon, beta):
    e = np.exp(beta * r)
    return (e / (e.mean() + epsilon) - 1) / beta


def leave_one_out(r, divide):
    found = []
    for i, x in enumerate(r):
        rest = np.delete(r, i)
        found.append((x - rest.mean()) / (divide(rest) if np.ptp(rest) else 1))
    return np.array(found)


def marginal(r, divide, k):
    """k P(k-1 of the others are all wrong) (r - mean) / deviation."""
    share = [np.mean([not r[list(s)].any() for s in combinations(set(range(len(r))) - {i}, k - 1)]) for i in range(N)]
    return k * np.array(share) * (r - r.mean()) / divide(r) if np.ptp(r) else 0 * r


DEVIATIONS = {  # name: (parameters, the rule as rewards, divide -> advantages)
    "grpo": ({}, lambda r, d: (r - r.mean()) / d(r)),
    "skew_r": ({"strength": 0.7}, lambda r, d: (1 - 0.7 * r.mean()) * (r - r.mean()) / d(r)),
    "prioritized_grpo": ({}, lambda r, d: focal(r, d, 1)),
    "focal_grpo": ({"gamma": 1.5}, lambda r, d: focal(r, d, 1.5)),
    "f_grpo": ({"gamma": 0.5}, lambda r, d: focal(r, d, 0.5)),
    "gaussian": (
        {"width": 0.2, "center": 0.3},
        lambda r, d: np.exp(-((r.mean() - 0.3) ** 2) / 0.08) * (r - r.mean()) / d(r),
    ),
    "grpo_leave_one_out": ({}, leave_one_out),
    "grpo_k_leave_one_out": ({"k": 3}, lambda r, d: marginal(r, d, 3)),
    "grpo_k": ({"k": 3}, lambda r, d: 3 * focal(r, d, 2)),
    "grpo_k_joint": ({"k": 3}, lambda r, d: joint(r, d, 3)),
    "grpo_lead": ({}, lead),
    "ngrpo": ({"virtual": 2}, lambda r, d: ngrpo(r, d, 2)),
    "qae": ({"quantile": 0.4}, lambda r, d: qae(r, d, 0.4)),
    "passk_training": ({"k": 2}, lambda r, d: passk(r, d, 2)),
    "passk_training_exceeding": ({"k": 2}, lambda r, d: passk(r, d, 2) * 0.4 / np.log(r.sum() + 0.5)),
    "passk_training_combination": (
        {"k": 2},
        lambda r, d: r.mean() * passk(r, d, 2) + (1 - r.mean()) * (r - r.mean()) / d(r),
    ),
    "passk_training_adaptive": (
        {"k": 2, "share": 0.3},
        lambda r, d: 0.7 * passk(r, d, 2) + 0.3 * (r - r.mean()) / d(r),
    ),
    "passk_training_full": ({"k": 2}, lambda r, d: full(r, d, 2)),
}
MEANS = {  # entries that divide by something else: an epsilon alone, or no choice of guard
    "maxrl": ({}, lambda r, e: (r - r.mean()) / (r.mean() + e)),
    "rejection": ({}, lambda r, e: r / (r.mean() + e)),
    "risk_sensitive": ({"beta": -1.3}, lambda r, e: exponential(r, e, -1.3)),
    "log_odds": ({}, lambda r, e: (r - r.mean()) / (r.var() + e)),
    "beta_family": (
        {"a": 0.4, "b": 1.2},
        lambda r, e: (r - r.mean()) / (r.mean() ** 0.6 * (1 - r.mean()) ** -0.2 + e),
    ),
}


def check(spec, parameters, rule):
    table = adv.estimator(spec, **parameters).table(N)
    for c in range(N + 1):
        r = np.r_[np.ones(c), np.zeros(N - c)]
        with np.errstate(divide="ignore"):
            found = rule(r)
        np.testing.assert_allclose(np.where(r == 1, table.positive[c], table.negative[c]), found, 1e-12, 1e-13)


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("name", DEVIATIONS)
@pytest.mark.parametrize("epsilon", [1e-4, 0.3])
def test_division_by_a_deviation(name, guard, epsilon):
    given, rule = DEVIATIONS[name]
    for ddof in (0, 1) if "ddof" in signature(ENTRIES[name]).parameters else (None,):
        more = {} if ddof is None else {"ddof": ddof}

        def divide(x, ddof=ddof):
            return GUARDS[guard](x if np.ndim(x) == 0 else x.std(ddof=ddof or 0), epsilon)

        check(name, {**given, **more, "epsilon": epsilon, "guard": guard}, lambda r, d=divide: rule(r, d))


@pytest.mark.parametrize("name", MEANS)
def test_division_by_something_else(name):
    given, rule = MEANS[name]
    check(name, {**given, "epsilon": 0.05}, lambda r: rule(r, 0.05))


def test_the_bootstrap_draws_what_its_table_expects():
    """2 subsets of 5 choose 3: all pairs of subsets."""
    rule, r = adv.estimator("passk_training_bootstrap(k=3, groups=2, ddof=1, epsilon=0.2)"), np.array([1, 1, 0, 0, 0.0])
    chosen, best = subsets(r, 3)
    total = np.zeros(5)
    for i, one in enumerate(chosen):
        for j, other in enumerate(chosen):
            pair = np.array([best[i], best[j]])
            for who, a in zip((one, other), (pair - pair.mean()) / (pair.std(ddof=1) + 0.2), strict=True):
                total[who] += a / len(chosen) ** 2
    table = rule.table(5)
    np.testing.assert_allclose(total, np.where(r == 1, table.positive[2], table.negative[2]), atol=1e-12)
    drawn = rule.draw(np.tile(r, (20_000, 1)), np.random.default_rng(0))
    assert (np.abs(drawn.mean(0) - total) < 5 * drawn.std(0) / 141).all()


def test_every_entry_with_an_epsilon_is_checked_here():
    having = {name for name, entry in ENTRIES.items() if "epsilon" in signature(entry).parameters}
    assert having - {"passk_training_bootstrap"} == set(DEVIATIONS) | set(MEANS)


@pytest.mark.parametrize("name", [*DEVIATIONS, *MEANS])
def test_a_name_is_a_spec_and_a_large_epsilon_has_no_surrogate(name):
    given = {**DEVIATIONS, **MEANS}[name][0]
    for epsilon in (1e-6, 0.3):
        rule = adv.estimator(name, **given, epsilon=epsilon)
        again = adv.estimator(rule.name)
        np.testing.assert_array_equal(again.table(N).positive, rule.table(N).positive)
        assert (rule.surrogate is None) == (epsilon == 0.3 or name == "passk_training_exceeding")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("skew_r(ddof=2)", "ddof = 0 or 1"),
        ("grpo_k(k=2, guard=clip)", "add .*max .*variance"),
        ("focal_grpo(epsilon=-1)", "epsilon"),
        ("beta_family(a=1, b=1, epsilon=x)", "epsilon"),
    ],
)
def test_wrong_parameters(spec, message):
    with pytest.raises(adv.AdvshapeError, match=message):
        adv.estimator(spec)
