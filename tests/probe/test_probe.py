"""Reverse: every catalogue entry recovered from its own code as a black box; one hostile function per finding."""

import inspect
import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import advshape as adv
from advshape.catalogue import ENTRIES

N = 6
mean = lambda r: r.mean(-1, keepdims=True)
centre = lambda r: r - mean(r)
kinds = lambda R: [f.kind for f in R.findings]


def entry(name, k=3):
    return adv.estimator(name, **({"k": k} if "k" in inspect.signature(ENTRIES[name]).parameters else {}))


def slope_by_enumeration(function, n, rho):
    """E[g] / (rho (1 - rho)) of a Bernoulli policy, over all 2^n groups, each alone in its batch."""
    groups = np.array(list(itertools.product([0.0, 1.0], repeat=n)))
    p = np.prod(np.where(groups == 1, rho, 1 - rho), axis=1)
    advantages = np.concatenate([function(group[None].copy()) for group in groups])
    return (p * (advantages * (groups - rho)).mean(1)).sum() / (rho * (1 - rho))


@pytest.mark.parametrize("name", adv.estimators())
def test_every_entry_is_recovered_from_its_own_code(name):
    rule = entry(name)
    black_box = lambda rewards: adv.advantages(rewards, rule)
    found = adv.reverse(black_box, N)
    table = rule.table(N)
    np.testing.assert_allclose(found.table.positive, table.positive, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.table.negative, table.negative, rtol=1e-12, atol=1e-12)
    assert rule.name in {found.match.name, *found.match.also} or name in {found.match.name, *found.match.also}
    assert found.match.exact
    assert found.match.factor == 1
    for rho in (0.1, 0.6):
        slope = slope_by_enumeration(black_box, N, rho)
        assert found.surrogate.derivative(rho) == pytest.approx(slope, rel=1e-9, abs=1e-12)
    assert not {"order", "batch", "random", "place", "mutates", "not finite", "dtype"} & set(kinds(found))
    if found.population is not None:
        rho = np.linspace(0.1, 0.9, 9)
        np.testing.assert_allclose(found.population.derivative(rho), rule.surrogate.derivative(rho), rtol=1e-9)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("grpo(ddof=1, epsilon=1e-4)", "grpo(ddof=1, epsilon=0.0001)"),
        ("grpo(epsilon=1e-6)", "grpo(ddof=0, epsilon=1e-06)"),
        ("grpo(ddof=1)", "grpo(ddof=1)"),
        ("focal_grpo(gamma=1.3)", "focal_grpo(gamma=1.3)"),
        ("risk_sensitive(beta=-3.1)", "risk_sensitive(beta=-3.1)"),
        ("entropy_rloo(strength=0.37)", "entropy_rloo(strength=0.37)"),
        ("beta_family(a=0.7, b=1.2)", "beta_family(a=0.7, b=1.2)"),
        ("pass_at_k(k=5)", "pass_at_k(k=5)"),
        ("maxrl(order=4)", "maxrl(order=4)"),
        ("maxrl(epsilon=1e-3)", "maxrl(epsilon=0.001)"),
    ],
)
def test_parameters_are_read_off(spec, name):
    for scale in (1.0,) if "ddof=1" in name else (1.0, 0.25):  # Bessel's factor and another are one factor
        rule = adv.estimator(spec)
        found = adv.reverse(lambda r, scale=scale, rule=rule: scale * adv.advantages(r, rule), 8)
        assert found.match.name == name
        assert found.match.factor == pytest.approx(scale, rel=1e-6)
        assert found.match.exact


@pytest.mark.parametrize("n", [4, 7, 16])
def test_trainers_grpo_in_two_lines(n):
    def trl(r):
        return (r - mean(r)) / (r.std(-1, ddof=1, keepdims=True) + 1e-4)

    found = adv.reverse(trl, n)
    assert found.nearest.startswith("grpo(ddof=1, epsilon=0.0001)")
    assert f"x {np.sqrt((n - 1) / n):.3g}" in found.nearest
    assert found.findings == ()
    assert "GRPO()" in str(found)


def test_another_baseline_is_the_same_objective():
    rule = adv.estimator("rloo_k(k=3)").with_baseline(adv.Beta(1, 2))
    found = adv.reverse(lambda r: adv.advantages(r, rule), 8)
    assert found.match.same == "weights"
    assert repr(found.population) == "PassAtK(k=3)"
    assert "another baseline" in found.nearest


def test_a_rule_of_its_own_gets_the_nearest_entry_with_its_distance():
    odd = lambda r: centre(r) * (1 + np.sin(9 * mean(r)) ** 2)
    found = adv.reverse(odd, 8)
    assert not found.match.exact
    assert found.population is None
    assert "off by" in found.nearest
    assert found.surrogate.derivative(0.3) == pytest.approx(slope_by_enumeration(odd, 8, 0.3))


def test_at_two_rollouts_many_objectives_share_a_table_and_none_is_claimed():
    found = adv.reverse(lambda r: centre(r) / (r.std(-1, keepdims=True) + 1e-9), 2)
    assert {"rloo", "maxrl"} <= {found.match.name, *found.match.also}
    assert found.population is None


MEASURABLE = st.floats(-3, 3).filter(lambda x: x == 0 or abs(x) > 1e-100)  # smaller ones are the finding "underflow"


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 7).flatmap(lambda n: st.lists(MEASURABLE, min_size=2 * n, max_size=2 * n)))
def test_any_table_comes_back(numbers):
    n = len(numbers) // 2
    table = adv.AdvantageTable(np.r_[0.0, numbers[:n]], np.r_[numbers[n:], 0.0])
    found = adv.reverse(lambda r: adv.advantages(r, table), n)
    np.testing.assert_allclose(found.table.positive, table.positive, rtol=1e-12)
    np.testing.assert_allclose(found.table.negative, table.negative, rtol=1e-12)


def test_a_subnormal_advantage_beside_large_ones_is_measured():
    table = adv.AdvantageTable(np.array([0.0, 1, 1, 1, 1, 0]), np.array([0.0, -1, -1, -1, -5e-324, 0]))
    found = adv.reverse(table, 5)
    np.testing.assert_array_equal(found.table.negative, table.negative)


# ---- findings, each with a function that earns it --------------------------------------------------------------


class Noise:
    def __init__(self, every=1):
        self.rng, self.every, self.calls = np.random.default_rng(5), every, 0

    def __call__(self, r):
        self.calls += 1
        return centre(r) + 0.1 * self.rng.normal(size=r.shape) * (self.calls % self.every == 0)


def dropout(r, rng=np.random.default_rng(3)):  # noqa: B008
    return centre(r) * (rng.random(r.shape) > 0.02)


def seeded_noise(r):
    return centre(r) + 1e-3 * np.random.default_rng(0).normal(size=r.shape)


def first_right_wins(r):
    return centre(r) * (1 + (np.cumsum(r, -1) == 1) * r)


def alternation(r):
    """Differs on one pattern of 64: 0, 1, 0, 1, ..."""
    odd = (r == np.arange(r.shape[1]) % 2).all(-1, keepdims=True)
    return centre(r) * (1 + odd)


def ties_by_index(r):
    return np.argsort(np.argsort(r, -1, kind="stable"), -1) - (r.shape[-1] - 1) / 2


def by_position(r):
    return centre(r) * np.linspace(1, 2, r.shape[1])


def first_in_batch(r):
    out = centre(r)
    out[0] *= 2
    return out


def last_in_batch(r):
    out = centre(r)
    out[-1] *= 2
    return out


def running_mean(r):
    return r - np.cumsum(r.mean(-1))[:, None] / (1 + np.arange(len(r)))[:, None]


def batch_mean(r):
    return (r - r.mean()) / (r.std() + 1e-8)


def batch_std(r):
    return centre(r) / (r.std() + 1e-8)


def batch_sized(r):
    return centre(r) / len(r)


def curriculum(r):
    """Only groups below the batch's mean rate learn: no table, not even up to a scale."""
    return centre(r) * (mean(r) <= r.mean())


def many_groups(r):
    """A rule of its own once the batch is large."""
    return centre(r) if len(r) < 20 else centre(r) * (1 + mean(r))


def nan_when_dead(r):
    return centre(r) / r.std(-1, keepdims=True)


def infinite(r):
    return np.where(mean(r) == 0.5, np.inf, centre(r))


def filtered(r):
    return centre(r) * ((mean(r) > 0.2) & (mean(r) < 0.8))


def flipped(r):
    return -centre(r)


def flipped_when_easy(r):
    return centre(r) * np.where(mean(r) > 0.7, -1, 1)


def uncentred(r):
    return r - 0.5 * mean(r)


def zero(r):
    return 0 * r


def in_place(r):
    r -= mean(r)
    return r


def integer_division(r):
    return r - r.sum(-1, keepdims=True) / r.shape[-1] if r.dtype.kind == "f" else r


def refuses_dead(r):
    if (r.std(-1) == 0).any():
        raise ZeroDivisionError("dead group")
    return centre(r)


def refuses_single(r):
    if len(r) == 1:
        raise RuntimeError("needs two groups")
    return centre(r)


@pytest.mark.parametrize(
    ("function", "kind", "outside", "message"),
    [
        (Noise(), "random", True, "two calls on the same rewards"),
        (Noise(every=3), "random", True, "two calls"),
        (dropout, "random", True, "two calls"),
        (seeded_noise, "order", True, "equal rewards get unequal|order of a group"),
        (first_right_wins, "order", True, "equal rewards get unequal"),
        (ties_by_index, "order", True, "equal rewards"),
        (by_position, "order", True, "order of a group matters"),
        (alternation, "order", True, "order of a group matters"),
        (first_in_batch, "place", True, "another place in the batch"),
        (last_in_batch, "place", True, "another place in the batch"),
        (running_mean, "place", True, "another place in the batch"),
        (batch_mean, "batch scale", False, "its baseline is the batch's own"),
        (batch_std, "batch scale", False, "a table times a scale"),
        (batch_sized, "batch scale", False, "a table times a scale"),
        (curriculum, "batch", True, "alone, and .* beside"),
        (many_groups, "batch", True, "alone, and .* beside"),
        (nan_when_dead, "not finite", True, f"nan in groups with 0, {N} of {N} right"),
        (infinite, "not finite", True, f"inf in groups with {N // 2} of {N} right"),
        (filtered, "silent", False, f"groups with 1, {N - 1} of {N} right teach nothing"),
        (zero, "silent", False, "never teaches"),
        (flipped, "sign", False, "right answers are pushed down"),
        (flipped_when_easy, "sign", False, f"right answers are pushed down in groups with {N - 1} of {N}"),
        (uncentred, "not centred", False, "advantages sum to 0.5"),
        (uncentred, "dead groups", False, "all right teach too"),
        (in_place, "mutates", False, r"became \[0.8333"),
        (in_place, "dtype", False, "refuses int64"),
        (integer_division, "dtype", False, "as float64 and .* as int64"),
        (refuses_dead, "raises", True, f"groups with 0, {N} of {N} right: ZeroDivisionError: dead group"),
        (refuses_single, "raises", True, "RuntimeError: needs two groups"),
    ],
    ids=lambda x: getattr(x, "__name__", None),
)
def test_findings(function, kind, outside, message):
    found = adv.reverse(function, N)
    finding = next((f for f in found.findings if f.kind == kind), None)
    assert finding is not None, kinds(found)
    assert re.search(message, finding.message), finding.message
    assert found.outside == outside
    if outside:
        assert found.table is None
        assert found.surrogate is None
        assert found.population is None
    assert str(found)


def test_sound_rules_have_no_findings():
    for spec in ("grpo", "rloo", "maxrl", "skew_r"):
        assert kinds(adv.reverse(lambda r, spec=spec: adv.advantages(r, adv.estimator(spec)), N)) == []


def test_examples_are_small():
    finding = adv.reverse(first_right_wins, 9).findings[0]
    assert len(finding.rewards[0]) <= 3
    assert len(adv.reverse(batch_mean, 9).findings[0].rewards[0]) == 2
    example = adv.reverse(alternation, 6).findings[0]
    a, b = (alternation(np.array([row]))[0] for row in example.rewards)
    assert sorted(a) != sorted(b), "the example shows it"


def test_batch_scale_names_the_rule_and_its_objective():
    whitened = adv.reverse(batch_mean, 8)
    assert whitened.table is None
    np.testing.assert_allclose(np.ptp(whitened.surrogate.weight), 0, atol=1e-9)  # F_n' constant: rho, up to scale
    assert "another baseline, up to the batch's scale" in whitened.nearest
    by_std = adv.reverse(batch_std, 8)
    assert by_std.nearest == "rloo, up to the batch's scale"
    assert by_std.table is not None
    assert by_std.population is None


def test_batch_scale_is_said_to_need_many_prompts():
    """And what is said of one prompt is true: (r - group mean) / batch std, a group at a time, is GRPO."""
    for rule in (batch_std, batch_mean):
        found = adv.reverse(rule, 8)
        assert "holds for batches of many prompts" in next(f.message for f in found.findings if f.kind == "batch scale")
    assert "as n grows, up to the batch's scale, in batches of many prompts" in str(adv.reverse(batch_std, 8))
    alone = adv.reverse(lambda r: np.concatenate([batch_std(group[None]) for group in r]), 8)
    assert alone.match.name == "grpo"


def test_where_only_the_baseline_is_the_batchs_the_scale_is_known():
    """F_n' = factor exactly: of two groups that differ in one reward, in one batch, the batch's mean cancels."""
    for factor in (1.0, 3.0, -2.0):
        found = adv.reverse(lambda r, factor=factor: factor * (r - r.mean()), 8)
        assert not found.scale_free
        assert found.table is None
        np.testing.assert_allclose(found.surrogate.weight, factor, rtol=1e-12)
        assert found.match.factor == pytest.approx(factor, rel=1e-12)
        assert found.population.value(0.25) == pytest.approx(factor / 4)
        assert "up to" not in str(found)
        assert [f.kind for f in found.findings] == ["batch", "batch baseline", *["sign"] * (factor < 0)]
        assert "only its baseline is the batch's own" in found.findings[1].message


def test_where_a_rule_is_not_finite_the_rest_is_still_named():
    """The first line says so, whether the rest has a name or not: many read no further."""
    found = adv.reverse(nan_when_dead, 8)
    assert found.nearest.startswith("grpo")
    assert found.nearest.endswith(" where it is finite")
    assert str(found).splitlines()[0].endswith(" where it is finite")
    unnamed = adv.reverse(lambda r: nan_when_dead(r) * (1 + r.mean(-1, keepdims=True) ** 3), 8)
    assert "n = 8: not finite in some groups, so no surrogate; elsewhere no entry; nearest is" in str(unnamed)
    assert "where it is finite" not in str(adv.reverse("grpo", 8))


def test_a_parameter_of_the_nearest_entry_is_shown_with_four_digits():
    """None is exact: more digits than the distance allows would tell nothing. The match keeps them all."""
    found = adv.reverse(("-rho", "-1"), 8)
    assert not found.match.exact
    for number in re.findall(r"\d+\.\d+", str(found.match)):
        assert len(number.replace(".", "").lstrip("0")) <= 4, found.match
    assert adv.estimator(found.match.name).table(8) is not None


def test_torch_functions():
    torch = pytest.importorskip("torch")

    def trl(r: torch.Tensor):
        return (r - r.mean(dim=1, keepdim=True)) / (r.std(dim=1, keepdim=True) + 1e-4)

    assert adv.reverse(trl, 8).nearest.startswith("grpo(ddof=1, epsilon=0.0001)")
    in_float32 = adv.reverse(lambda r: trl(r.float()), 8)
    assert in_float32.nearest.startswith("grpo(ddof=1, epsilon=0.0001)")
    with_graph = adv.reverse(lambda r: trl(r) * torch.ones(1, requires_grad=True), 8)
    assert with_graph.nearest.startswith("grpo(ddof=1")

    def in_place_torch(r):
        return r.sub_(r.mean(dim=1, keepdim=True))

    assert "mutates" in kinds(adv.reverse(in_place_torch, 4))


def test_one_formula_two_libraries():
    """numpy's std is the population's, torch's is Bessel's: the same source is two rules."""
    pytest.importorskip("torch")
    polymorphic = lambda r: (r - r.mean(-1, keepdims=True)) / (r.std(-1, keepdims=True) + 1e-4)
    assert "array type" in kinds(adv.reverse(polymorphic, 8))
    assert adv.reverse(polymorphic, 8, arrays="numpy").nearest == "grpo(ddof=0, epsilon=0.0001)"
    assert adv.reverse(polymorphic, 8, arrays="torch").nearest.startswith("grpo(ddof=1, epsilon=0.0001)")


def test_estimators_tables_names_and_sizes():
    for rule in ("grpo", adv.estimator("grpo"), adv.estimator("grpo").table(8)):
        assert adv.reverse(rule, 8).match.name == "grpo"
    assert adv.reverse(lambda r: r, 1).match.name == "reinforce"
    assert adv.reverse(lambda r: centre(r), 100).match.name == "dr_grpo"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: adv.reverse(lambda r: r[:, 0], 4), r"returned shape \(5,\)"),
        (lambda: adv.reverse(lambda r: None, 4), "took no batch|not an array"),
        (lambda: adv.reverse(lambda r: 1 / 0, 4), "ZeroDivisionError"),
        (lambda: adv.reverse(lambda: 0, 4), "TypeError"),
        (lambda: adv.reverse(centre, 0), "n >= 1"),
        (lambda: adv.reverse(centre, 2.0), "n >= 1"),
        (lambda: adv.reverse(3, 4), "cannot reverse 3"),
        (lambda: adv.reverse(centre, 4, arrays="jax"), "'auto', 'numpy' or 'torch'"),
        (lambda: adv.reverse(adv.estimator("grpo").table(8), 4), "table is for n=8"),
        (lambda: adv.reverse("glpo", 4), "did you mean 'grpo'"),
        (lambda: adv.reverse("pass_at_k(k=4)", 4), "needs n >= 5"),
        (lambda: adv.reverse((centre,), 4), "pair"),
        (lambda: adv.reverse((lambda p: 1 / (p - 0.5), lambda p: 0 * p), 4), "not finite at rho=0.5"),
    ],
)
def test_bad_input_is_a_clear_error(call, message):
    with pytest.raises(adv.AdvshapeError, match=message):
        call()


# ---- formulas ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "grpo",
        "skew_r",
        "focal_grpo",
        "pass_at_k_plug_in",
        "grpo_k",
        "grpo_k_joint",
        "risk_sensitive",
        "entropy_rloo",
        "log_odds",
        "grpo_lead",
    ],
)
def test_formulas_integrate_to_the_closed_form(name):
    """(1 - rho) F' and -rho F' are plug-in formulas; their integral must give F back up to a constant."""
    F = entry(name).surrogate
    pair = (lambda rho: (1 - rho) * F.derivative(rho), lambda rho: -rho * F.derivative(rho))
    found = adv.reverse(pair, 8)
    rho = np.array([1e-9, 1e-3, 0.1, 0.5, 0.77, 0.999])
    difference = found.population.value(rho) - F.value(rho)
    error = found.population.error(rho)
    np.testing.assert_allclose(difference, difference[3], atol=1e-7)  # GRPO's tail beyond logit 34: 2e-8
    assert (error < 1e-6).all()
    np.testing.assert_allclose(found.population.derivative(rho), F.derivative(rho), rtol=1e-9)
    np.testing.assert_allclose(found.table.positive[1:8], pair[0](np.arange(1, 8) / 8))


def test_formulas_with_infinite_ends():
    log = adv.IntegratedSurrogate(lambda rho: 1 / rho - 1, lambda rho: -1 + 0 * rho)  # MaxRL: F = log rho
    assert log.value(0.0) == -np.inf
    assert log.value(1.0) - log.value(0.25) == pytest.approx(np.log(4))
    assert np.isnan(log.error(0.0))
    grpo = adv.reverse((lambda rho: np.sqrt((1 - rho) / rho), lambda rho: -np.sqrt(rho / (1 - rho))), 8)
    assert grpo.population.value(1.0) == pytest.approx(np.pi, abs=1e-6)
    assert grpo.match.name == "grpo"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_names_the_right_rule(dtype):
    torch = pytest.importorskip("torch")
    rule = adv.estimator("pass_at_k(k=4)")
    found = adv.reverse(
        lambda r: adv.advantages(torch.as_tensor(r).double(), rule).to(getattr(torch, dtype)), 8, arrays="torch"
    )
    assert found.nearest.startswith("pass_at_k(k=4)")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["grpo", "rloo"])
def test_half_precision_does_not_take_two_percent_for_rounding(dtype, name):
    """A rule whose rows are bent by 2 % has not the name of the straight one, and its precision is told."""
    torch = pytest.importorskip("torch")
    table, bend = adv.estimator(name).table(8), 1 + 0.02 * np.cos(np.pi * np.arange(9) / 8)

    def rule(r):
        right, wrong = (torch.as_tensor(a * bend)[r.sum(-1).long()][:, None] for a in (table.positive, table.negative))
        return torch.where(r == 1, right, wrong).to(getattr(torch, dtype))

    found = adv.reverse(rule, 8, arrays="torch")
    assert "precision" in {f.kind for f in found.findings}
    assert not (found.match.exact and found.match.name == name)


def test_rounding_in_dead_groups_is_no_dependence_on_the_batch():
    weights = np.full(8, 1 / 8)
    found = adv.reverse(lambda r: 0.1 * r - ((0.1 * r) @ weights)[:, None], 8)
    assert not {f.kind for f in found.findings} & {"batch", "order", "place", "batch scale"}


def test_what_a_batch_adds_is_no_scale():
    """A batch of all-wrong groups gets -1 more: no scale of a table says that, so there is no surrogate."""

    def rule(rewards):
        own = rewards - rewards.mean(-1, keepdims=True)
        return own - 1 if len(rewards) > 1 and not rewards.any() else own

    found = adv.reverse(rule, 8)
    assert found.surrogate is None
    assert found.nearest is None
    assert [f.kind for f in found.findings] == ["batch"]


def test_the_scale_of_rare_batches_is_told():
    """Batches with 1 to 12 % right count three times: the factor is in the finding."""

    def rule(rewards):
        return (rewards - rewards.mean(-1, keepdims=True)) * (3 if 0.01 < rewards.mean() < 0.12 else 1)

    found = adv.reverse(rule, 8)
    assert found.scale_free
    assert "factor of 3 here" in next(f.message for f in found.findings if f.kind == "batch scale")


@pytest.mark.parametrize(("size", "kind"), [(1e308, "overflow"), (1e160, "overflow"), (1e-160, "underflow")])
def test_advantages_whose_squares_leave_double_precision_are_told_not_named(size, kind):
    """No warning, no wrong name: for functions, tables and formulas. Just inside the name is right."""
    rule = lambda r: size * centre(r)
    table = adv.estimator("rloo").table(8).scaled(size)
    formulas = (f"{min(size, 1e300)}*(1-rho)", f"{-min(size, 1e300)}*rho")
    for target in (rule, table, formulas):
        found = adv.reverse(target, 8)
        assert kinds(found) == [kind], target
        assert found.match is None
        assert "divide the rule by" in str(found)
    for inside in (1e140, 1e-140):
        found = adv.reverse(lambda r, inside=inside: inside * centre(r), 8)
        assert found.match.name in ("dr_grpo", "rloo")


def test_a_probe_costs_the_square_of_n_not_its_cube():
    """Rewards seen by the rule: n = 64 has 16 times those of n = 16, not 64 times."""
    seen = []

    def rule(rewards):
        seen[-1] += rewards.size
        return centre(rewards)

    for n in (16, 64):
        seen.append(0)
        assert adv.reverse(rule, n).match.name == "dr_grpo"
    assert seen[1] < 20 * seen[0]
    assert seen[0] < 100_000  # 230,000 where every group is laid beside every crowd


def test_a_crowd_that_matters_only_whole_is_found():
    """Only in a batch with more than 30 groups, and only where some group is half right; or only among dead ones."""

    def crowded(rewards):
        return centre(rewards) * (2 if len(rewards) > 30 and (rewards.mean(-1) == 0.5).any() else 1)

    def dying(rewards):
        return centre(rewards) * (2 if (rewards.std(-1) == 0).mean() > 0.9 and len(rewards) > 5 else 1)

    for rule in (crowded, dying):
        assert "batch" in kinds(adv.reverse(rule, 16))


@pytest.mark.parametrize(("name", "mean"), [("maxrl", True), ("grpo", False)])
def test_a_large_epsilon_has_no_surrogate_without_epsilon(name, mean):
    """Enumeration over n = 2000: with epsilon 1/2, F_n' at 0.1 is far from the slope of log rho and of the arcsine."""
    rule = adv.estimator(name, epsilon=0.5)
    slope = float(rule.table(2000).surrogate().derivative(0.1))
    assert slope == pytest.approx(1 / (0.1 + 0.5) if mean else 1 / (0.3 + 0.5), rel=0.01)
    found = adv.reverse(rule, 16)
    assert found.population is None
    assert "maximises" not in str(found)
    small = adv.estimator(name, epsilon=1e-4)
    assert float(small.surrogate.derivative(0.1)) == pytest.approx(10 if mean else 1 / 0.3)


@pytest.mark.parametrize("period", [7, 20, 37])
def test_a_rule_that_counts_its_calls_is_not_blamed_on_the_batch(period):
    calls = []

    def rule(r):
        calls.append(1)
        return (r - np.asarray(r).mean(-1, keepdims=True)) * (2 if len(calls) % period == 0 else 1)

    found = adv.reverse(rule, 6)
    assert [f.kind for f in found.findings if f.kind in ("batch", "random")] == ["random"]
