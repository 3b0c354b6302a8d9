"""Names for tables: recovery of entries from formulas written here, wrong signs, and random rules by their means."""

from dataclasses import replace

import numpy as np
import pytest

import advshape as adv
from advshape.errors import AdvshapeError
from advshape.probe.nearest import nearest

N = 8
C = np.arange(N + 1.0)
RHO = C / N


def rule(positive, negative):
    """An advantage function from two vectors over the counts."""

    def function(rewards):
        right = rewards.sum(-1).astype(int)[:, None]
        return np.where(rewards == 1, np.asarray(positive)[right], np.asarray(negative)[right])

    return function


def mixed(values):
    return np.r_[0.0, np.broadcast_to(values, N + 1)[1:-1], 0.0]


INNER = np.clip(RHO, 1 / N, 1 - 1 / N)
GRPO = np.sqrt((1 - INNER) / INNER), -np.sqrt(INNER / (1 - INNER))


def fade(alpha, delta):
    return mixed((1 - RHO) ** alpha), mixed(-((1 - RHO) ** (alpha - 1)) * RHO / delta)


def qae(least_wrong):
    std, hard = np.sqrt(INNER * (1 - INNER)), least_wrong <= N - C
    return mixed(np.where(hard, 1 / std, 0)), mixed(np.where(hard, 0, -1 / std))


def virtual(more, ddof):  # NGRPO by its definition: standardise the group together with `more` right answers
    positive, negative = np.zeros(N + 1), np.zeros(N + 1)
    for c in range(N + 1):
        together = np.r_[np.ones(c + more), np.zeros(N - c)]
        std = together.std(ddof=ddof) or 1.0
        positive[c], negative[c] = (1 - together.mean()) / std, (0 - together.mean()) / std
    return np.r_[0.0, positive[1:]], np.r_[negative[:-1], 0.0]


def adaptive(k, share):  # Pass@k Training by the best of every k-subset, standardised over the subsets
    from itertools import combinations

    tables = np.zeros((2, N + 1))
    for c in range(1, N):
        rewards = np.r_[np.ones(c), np.zeros(N - c)]
        subsets = list(combinations(range(N), k))
        best = np.array([rewards[list(s)].max() for s in subsets])
        if best.std() > 0:
            z = (best - best.mean()) / best.std()
            tables[:, c] = [np.mean([z[i] for i, s in enumerate(subsets) if who in s]) for who in (0, N - 1)]
    return tuple((1 - share) * t + share * mixed(g) for t, g in zip(tables, GRPO, strict=True))


@pytest.mark.parametrize(
    ("table", "name"),
    [
        (fade(2.2, 0.4), "fade(alpha=2.2, delta=0.4)"),
        (fade(1.0, 0.5), "fade(alpha=1, delta=0.5)"),
        (qae(6), "qae(quantile=0.7)"),  # 0.7 * 8 = 5.6: at least 6 wrong
        (virtual(3, 0), "ngrpo(virtual=3, ddof=0)"),
        (virtual(2, 1), "ngrpo(virtual=2, ddof=1)"),
        (adaptive(3, 0.3), "passk_training_adaptive(k=3, share=0.3)"),
        (adaptive(2, 0.85), "passk_training_adaptive(k=2, share=0.85)"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_parameters_are_recovered_from_the_rule_by_its_definition(table, name):
    assert adv.reverse(rule(*table), N).nearest.split(" (the same")[0] == name
    twice = adv.reverse(rule(*(2 * t for t in table)), N).match
    assert twice.exact
    recovered = twice.factor * adv.estimator(twice.name).table(N).positive
    np.testing.assert_allclose(recovered, 2 * table[0], atol=1e-8 * np.abs(table[0]).max())


def test_the_bootstrap_is_recovered_with_its_number_of_groups():
    table = adv.estimator("passk_training_bootstrap(k=3, groups=4)").table(N)
    assert adv.reverse(table, N).nearest == "passk_training_bootstrap(k=3, groups=4)"


@pytest.mark.parametrize("tolerance", [1e-6, 1e-2])
def test_the_smallest_error_names_a_table_that_several_entries_fit(tolerance):
    table = adv.estimator("maxrl(order=5)").table(N)  # grpo_k(k=2) is within 6% of it; 1e-2 takes 10%
    blurred = adv.AdvantageTable(np.float32(table.positive), np.float32(table.negative))
    assert nearest(blurred, tolerance=tolerance).name == "maxrl(order=5)"


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ([-t for t in map(mixed, GRPO)], "-1 x grpo"),
        ([-2 * np.r_[0, np.ones(N)], np.zeros(N + 1)], "-2 x reinforce"),
        ([-3 * t for t in fade(2.2, 0.4)], "-3 x fade(alpha=2.2, delta=0.4)"),
    ],
    ids=["grpo", "reinforce", "fade"],
)
def test_a_turned_sign_is_named_with_its_factor_and_found(table, name):
    found = adv.reverse(rule(*table), N)
    assert found.nearest.split(" (the same")[0] == name
    assert "sign" in {f.kind for f in found.findings}
    slope = found.population.derivative(0.5)
    assert slope < 0


def drawn(spec, seed):
    rng, entry = np.random.default_rng(seed), adv.estimator(spec)
    return lambda rewards: entry.draw(rewards, rng)


@pytest.mark.parametrize(
    "spec", ["passk_training_bootstrap(k=4)", "passk_training_bootstrap(k=2, groups=4)", "passk_training_full(k=2)"]
)
def test_random_entries_are_recovered_from_their_draws(spec):
    found = adv.reverse(drawn(spec, 7), N)
    assert found.surrogate is None
    assert found.match.name == spec
    assert f"standard errors of {spec}" in str(found)
    assert not found.match.exact
    assert found.match.distance < 4


def test_the_limit_in_standard_errors_is_kept_by_chance():
    """4 standard errors, 14 advantages: a true entry is missed in one of 1,000 probes, and this seeds ten."""
    far = [adv.reverse(drawn("passk_training_full(k=4)", seed), N).match for seed in range(10)]
    assert all(m is not None and m.name == "passk_training_full(k=4)" for m in far)
    assert max(m.distance for m in far) > 0.8  # the errors are not blown up: the largest of 14 is no accident


def test_other_random_rules_are_named_by_their_mean_or_not_at_all():
    rng, (positive, negative) = np.random.default_rng(3), map(mixed, GRPO)
    clean = rule(positive, negative)
    noisy = adv.reverse(lambda r: clean(r) + rng.normal(size=r.shape), N)
    assert noisy.match.name == "grpo"
    half = adv.reverse(lambda r: clean(r) * (rng.random(r.shape) < 0.5), N)
    assert half.match.factor == pytest.approx(0.5, abs=0.02)
    whole_batch = adv.reverse(lambda r: clean(r) + rng.normal(), N)  # one draw for a batch: errors are between calls
    assert whole_batch.match is None or whole_batch.match.distance < 4
    for own in (lambda r: clean(r) ** 3 + rng.normal(size=r.shape), lambda r: -clean(r) + rng.normal(size=r.shape)):
        assert adv.reverse(own, N).match is None
    nothing = adv.reverse(lambda r: rng.normal(size=r.shape), N)
    assert nothing.match is None
    assert any(f.kind == "silent" and "is 0 within" in f.message for f in nothing.findings)


def test_complex_advantages_are_refused_not_cut_to_their_real_part():
    with pytest.raises(AdvshapeError, match="returned complex numbers"):
        adv.reverse(lambda r: r - r.mean(-1, keepdims=True) + 1j * r, N)
    some = adv.reverse(lambda r: np.emath.sqrt(r.mean(-1, keepdims=True) - 0.2) + 0 * r, N)
    assert some.table is None
    assert any(
        f.kind == "raises" and "groups with 0, 1 of 8 right: it returned complex" in f.message for f in some.findings
    )
    torch = pytest.importorskip("torch")
    with pytest.raises(AdvshapeError, match="returned complex numbers"):
        adv.reverse(lambda r: torch.complex(r, r), N, arrays="torch")


@pytest.mark.parametrize("n", [2, 5, 8])
def test_only_a_lone_right_answer_or_only_all_right_have_a_closed_form_with_these_n(n):
    """Parity: finite differences of the named power are F_n'; a rule with more weights has no such line."""
    for place, name, power in ((0, "PassAtK", lambda x: 1 - (1 - x) ** n), (n - 1, "AllOfK", lambda x: x**n)):
        weight = np.zeros(n)
        weight[place] = 0.5 * n
        found = adv.reverse(adv.AdvantageTable.from_weights(weight, np.zeros(n)), n)
        said = next(line for line in str(replace(found, population=None)).splitlines() if "exactly" in line)
        assert said.startswith(f"maximises 0.5 * {name}(k={n}), F = 0.5*")
        assert said.endswith(", exactly, with these n")
        for x in (0.1, 0.5, 0.9):
            slope = 0.5 * (power(x + 1e-6) - power(x - 1e-6)) / 2e-6
            assert found.surrogate.derivative(x) == pytest.approx(slope, rel=1e-3)
    assert "exactly" not in str(replace(adv.reverse("rloo", n), population=None))
