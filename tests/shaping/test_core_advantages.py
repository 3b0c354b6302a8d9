"""Rewards in, advantages out: numpy, read-only numpy and torch; ragged groups; not judged; history; bad input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import advshape as adv

RULE = adv.estimator("rloo_k", k=2)


@pytest.fixture
def rewards():
    return np.random.default_rng(0).integers(0, 2, size=(7, 3, 5)).astype(float)


def loop(rewards, rule, too_small="raise"):
    """One group at a time, from the table's own vectors."""
    flat = rewards.reshape(-1, rewards.shape[-1])
    out = np.zeros_like(flat)
    for g, r in enumerate(flat):
        judged = ~np.isnan(r)
        n, c = int(judged.sum()), int(np.nansum(r))
        if n < rule.smallest_n and too_small == "zero":
            continue
        table = rule.table(n)
        out[g, judged] = [table.positive[c] if x else table.negative[c] for x in r[judged]]
    return out.reshape(rewards.shape)


def test_dense_and_not_judged(rewards):
    rewards.flags.writeable = False
    np.testing.assert_array_equal(adv.advantages(rewards, RULE), loop(rewards, RULE))
    holes = rewards.copy()
    holes[0, 0, :2], holes[3, 1, 4] = np.nan, np.nan
    np.testing.assert_allclose(adv.advantages(holes, RULE), loop(holes, RULE), rtol=1e-12)
    assert adv.advantages(holes, RULE)[0, 0, 0] == 0


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int64", "bool"])
def test_torch_equals_numpy(rewards, dtype):
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(rewards).to(getattr(torch, dtype))
    if tensor.dtype.is_floating_point:
        tensor.requires_grad_()
    found = adv.advantages(tensor, RULE)
    assert found.shape == tensor.shape
    assert not found.requires_grad
    assert found.dtype == (tensor.dtype if tensor.dtype.is_floating_point else torch.get_default_dtype())
    loose = {"rtol": 1e-2, "atol": 1e-2} if "16" in dtype else {"rtol": 1e-6, "atol": 1e-6}  # the dtype's own precision
    np.testing.assert_allclose(found.double().numpy(), adv.advantages(rewards, RULE), **loose)


def test_counts_are_exact_in_bfloat16():
    torch = pytest.importorskip("torch")
    r = torch.ones((1, 513), dtype=torch.bfloat16)  # bf16 cannot count beyond 256
    r[0, 0] = 0
    table = adv.estimator("rloo").table(513)
    assert float(adv.advantages(r.float(), adv.estimator("rloo"))[0, 0]) == pytest.approx(table.negative[512])
    assert float(adv.advantages(r, adv.estimator("rloo"))[0, 0]) == pytest.approx(-1.0)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([0.0, 1.0])), min_size=1, max_size=40), st.randoms())
def test_ragged_groups_are_groups_whatever_the_order(rows, random):
    sizes = {g: sum(1 for h, _ in rows if h == g) for g, _ in rows}
    flat = np.array([r for _, r in rows])
    ids = [f"uid-{g}" for g, _ in rows]
    found = adv.advantages(flat, RULE, groups=ids, too_small="zero")
    for g in sizes:
        at = [i for i, (h, _) in enumerate(rows) if h == g]
        np.testing.assert_allclose(found[at], loop(flat[at][None], RULE, "zero")[0], rtol=1e-12, atol=1e-15)
    order = list(range(len(rows)))
    random.shuffle(order)
    shuffled = adv.advantages(flat[order], RULE, groups=[ids[i] for i in order], too_small="zero")
    np.testing.assert_array_equal(shuffled, found[order])


def test_torch_groups_on_a_tensor_of_ids():
    torch = pytest.importorskip("torch")
    r, ids = torch.tensor([1.0, 0, 0, 1, 1]), torch.tensor([7, 3, 7, 3, 3])
    np.testing.assert_allclose(
        adv.advantages(r, RULE, groups=ids).numpy(), adv.advantages(r.numpy(), RULE, groups=ids.numpy()), rtol=1e-6
    )


def test_history_keeps_the_weights_and_uses_each_prompts_past():
    rewards = np.array([[1.0, 0, 0, 1], [1.0, 0, np.nan, 0]])
    past = adv.Beta(np.array([0.5, 30.0]), np.array([1.0, 10.0]))
    found = adv.advantages(rewards, adv.estimator("rloo"), history=past)
    # A = r - (j + a) / (m - 1 + a + b), j right among the m - 1 other judged ones
    assert found[0, 0] == pytest.approx(1 - 1.5 / 4.5)
    assert found[0, 1] == pytest.approx(-2.5 / 4.5)
    assert found[1, 0] == pytest.approx(1 - 30 / 42)
    assert found[1, 1] == pytest.approx(-31 / 42)
    assert found[1, 2] == 0
    flat = adv.advantages(
        rewards.ravel(),
        adv.estimator("rloo"),
        groups=np.repeat([5, 2], 4),
        history=adv.Beta(np.repeat([0.5, 30.0], 4), np.repeat([1.0, 10.0], 4)),
    )
    np.testing.assert_allclose(flat.reshape(2, 4), found)


def test_history_is_unbiased_and_the_current_group_is_not():
    """Enumeration: with a prior from earlier visits E[g] is F'; with the group's own counts it is not."""
    from itertools import product

    outcomes, rho = np.array(list(product([0.0, 1.0], repeat=4))), 0.3
    p = rho ** outcomes.sum(1) * (1 - rho) ** (4 - outcomes.sum(1))
    slope = lambda A: (p * (A * (outcomes - rho)).mean(1)).sum() / (rho * (1 - rho))
    rule = adv.estimator("rloo_k", k=2)
    good = adv.advantages(outcomes, rule, history=adv.Beta(np.full(16, 2.0), np.full(16, 5.0)))
    assert slope(good) == pytest.approx(2 * (1 - rho))
    own = adv.Beta(5 * outcomes.sum(1), 5 * (4 - outcomes.sum(1)))
    assert slope(adv.advantages(outcomes, rule, history=own)) != pytest.approx(2 * (1 - rho), rel=0.05)


def test_tables_and_functions_are_rules_too(rewards):
    np.testing.assert_array_equal(adv.advantages(rewards, RULE.table(5)), adv.advantages(rewards, RULE))
    centre = lambda r: r - r.mean(-1, keepdims=True)
    np.testing.assert_allclose(adv.advantages(rewards, centre), adv.advantages(rewards, adv.estimator("dr_grpo")))
    with pytest.raises(adv.AdvshapeError, match="must return shape"):
        adv.advantages(rewards, lambda r: r[:1])


@pytest.mark.parametrize(
    ("rewards", "options", "message"),
    [
        ([[1.0, 0.5]], {}, r"0, 1 or NaN.*got 0.5 at index \(0, 1\).*threshold"),
        ([[1.0, np.inf]], {}, "got inf"),
        (np.zeros((3, 0)), {}, "at least one rollout"),
        (1.0, {}, "at least one rollout"),
        ([[1.0]], {}, "needs n >= 2"),
        ([[1.0, np.nan, 0.0], [np.nan] * 3], {}, "no judged rollout|needs n >= 2"),
        ([1.0, 0.0, 1.0], {"groups": [1, "a", 1]}, "all of one kind"),
        ([1.0, 0.0, 1.0], {"groups": [1, None, 1]}, "all of one kind"),
        ([1.0, 0.0, 1.0], {"groups": [1.0, np.nan, 1.0]}, "a group id is NaN"),
        ([1.0, 0.0, 1.0], {"groups": [1, 1]}, "one id per rollout"),
        ([], {"groups": []}, "one id per rollout"),
        ([[1.0, 0.0]], {"groups": [1, 1]}, "flat rewards"),
        ([[1.0, 0.0]], {"too_small": "skip"}, "'raise' or 'zero'"),
        ([[1.0, 0.0]], {"history": adv.Beta([1.0, 2.0, 3.0], 1.0)}, "one entry per prompt"),
    ],
)
def test_bad_input_is_a_clear_error(rewards, options, message):
    with pytest.raises(adv.AdvshapeError, match=message):
        adv.advantages(np.asarray(rewards, dtype=float), adv.estimator("rloo"), **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: adv.estimator("glpo"), "did you mean 'grpo'"),
        (lambda: adv.estimator("GRPO"), "did you mean 'grpo'"),
        (lambda: adv.estimator("focal"), "did you mean 'focal_grpo'"),
        (lambda: adv.estimator("foo"), "unknown estimator 'foo'; `advshape estimators` lists all"),
        (lambda: adv.estimator("ppo"), "unknown estimator 'ppo'; `advshape estimators` lists all"),
        (lambda: adv.estimator("pass_at_k(k=8,k=9)"), "stands twice"),
        (lambda: adv.estimator("grpo").scaled("rmss"), "unknown scale"),
        (lambda: adv.advantages(np.array([["1", "0"]]), adv.estimator("rloo")), "must be numbers"),
        (lambda: adv.advantages(np.array([[1, None]], dtype=object), adv.estimator("rloo")), "must be numbers"),
        (lambda: adv.Focal(-1.0), "gamma"),
        (lambda: adv.RiskSensitive(0.0), "beta"),
        (lambda: adv.estimator("pass_at_k"), "needs k"),
        (lambda: adv.estimator("pass_at_k", kk=3), "no parameter 'kk'.*did you mean 'k'"),
        (lambda: adv.estimator("rloo", k=3), "takes none"),
        (lambda: adv.estimator("pass_at_k", k=0), "k >= 1"),
        (lambda: adv.estimator("pass_at_k", k=2.5), "k >= 1"),
        (lambda: adv.estimator("pass_at_k(k=__import__('os'))"), "cannot read"),
        (lambda: adv.estimator("grpo(epsilon=-1)"), "epsilon"),
        (lambda: adv.estimator("grpo(ddof=2)"), "ddof"),
        (lambda: adv.estimator("pass_at_k", k=8).table(8), "needs n >= 9.*one rollout more than k"),
        (lambda: adv.estimator("rloo_k", k=8).table(4), "needs n >= 8"),
        (lambda: adv.unbiased(adv.PassAtK(8) + 0.1 * adv.Entropy()), r"no unbiased table.*Entropy\(\)"),
        (lambda: adv.unbiased(adv.PassAtK(8), "mean"), "unknown baseline"),
        (lambda: adv.PassAtK(0), ">= 1"),
        (lambda: adv.PassAtK(2).value(1.5), r"\[0, 1\], got 1.5"),
        (lambda: adv.MajorityOfK(4), "odd k"),
        (lambda: adv.Beta(-1, 1), "a >= 0"),
        (lambda: adv.Beta(0, 0).counts(3), "one a > 0"),
        (lambda: adv.Identity() + 1, "only surrogates"),
        (lambda: adv.estimator({"surrogate": "PassAtK", "k": 2, "build": "best"}), "unknown build"),
        (lambda: adv.estimator({"surrogate": "PasAtK", "k": 2}), "did you mean 'PassAtK'"),
        (lambda: adv.estimator({"k": 2}), "either an estimator or a surrogate"),
        (lambda: adv.minimum_mse(adv.PassAtK(2), signal=0), "positive"),
        (lambda: adv.fit_prior([5], 4), "correct <= n"),
    ],
)
def test_errors_say_what_was_seen_and_what_to_do(call, message):
    with pytest.raises(adv.AdvshapeError, match=message):
        call()


def test_unbiased_and_centred_fields_are_computed():
    assert adv.estimator("pass_at_k", k=3).kind == "unbiased"
    assert adv.estimator("dr_grpo").kind == "unbiased up to a constant"
    assert adv.estimator("grpo").kind == "biased"
    assert adv.estimator("pass_at_k", k=3).table(8).centered
    assert not adv.estimator("rloo_k", k=3).table(8).centered


@pytest.mark.parametrize("name", ["maxrl", "grpo", "rloo"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_low_precision_rounds_once_also_with_holes_and_history(name, dtype):
    torch = pytest.importorskip("torch")
    kind, rule = getattr(torch, dtype), adv.estimator(name)
    r = np.r_[np.ones(255), np.zeros(1), np.nan]
    for history in (None, adv.Beta(0.5, 0.5)):
        exact = adv.advantages(r, rule, history=history)
        found = adv.advantages(torch.tensor(r).to(kind), rule, history=history).double().numpy()
        np.testing.assert_allclose(found, exact, rtol=2**-8)  # one rounding to 8 bits


def test_scaled_rules_leave_single_rollouts_alone():
    found = adv.advantages([[1.0, np.nan], [1.0, 0.0]], adv.estimator("psr").scaled("rms"), too_small="zero")
    assert (found[0] == 0).all()
    assert adv.estimator("pass_at_k", k=245).kind == "unbiased"


def test_ids_and_rows_that_cannot_be():
    rule = adv.estimator("rloo")
    mixed_integers = adv.advantages([1, 0, 1.0, 0], rule, groups=[1, 1, np.int64(2), 2])
    assert mixed_integers.tolist() == [1, -1, 1, -1]
    with pytest.raises(adv.AdvshapeError, match="rows of different lengths"):
        adv.advantages([[1, 0], [1]], rule)
    with pytest.raises(adv.AdvshapeError, match="a group id is NaN"):
        adv.advantages([1, 0, 1.0, 0], rule, groups=[0.0, np.nan, 0.0, np.nan])
    with pytest.raises(adv.AdvshapeError, match=r"\['int', 'str'\]"):
        adv.advantages([1, 0, 1.0, 0], rule, groups=[1, 1, "a", "a"])


def test_parameters_without_a_name_and_given_twice():
    assert adv.estimator("pass_at_k(8)").name == "pass_at_k(k=8)"
    assert adv.make_surrogate("PassAtK(8)") == adv.PassAtK(8)
    for spec, named in (
        ("pass_at_k(8, k=9)", {}),
        ("rloo(3)", {}),
        ("pass_at_k(k=8)", {"k": 4}),
        ("pass_at_k(8)", {"k": 4}),
    ):
        with pytest.raises(adv.AdvshapeError, match=r"twice|belongs to no parameter"):
            adv.estimator(spec, **named)


def test_integer_ids_that_no_numpy_integer_holds_stay_apart():
    ids = [2**63, 2**63, 2**63 + 1, -1]
    found = adv.advantages([1.0, 0.0, 1.0, 0.0], adv.estimator("rloo"), groups=ids, too_small="zero")
    np.testing.assert_array_equal(found, [1, -1, 0, 0])


def test_large_integer_rewards_keep_their_digits_in_groups():
    torch = pytest.importorskip("torch")
    rewards = torch.tensor([2**24, 2**24 + 1])
    for found in (
        adv.advantages(rewards, adv.estimator("rloo"), groups=[0, 0], real="layer_cake"),
        adv.advantages(rewards, adv.estimator("rloo"), real="layer_cake"),
    ):
        assert found.tolist() == [-1, 1]
        assert found.dtype == torch.float32


def test_history_of_any_layout_and_a_masked_array():
    torch = pytest.importorskip("torch")
    rewards, a = np.array([[1.0, 0, 1], [0, 0, 1]]), np.array([1.0, 2.0])
    turned = adv.Beta(a[::-1], np.array([3.0, 1.0])[::-1])
    plain = adv.Beta(a[::-1].copy(), np.array([1.0, 3.0]))
    expected = adv.advantages(rewards, adv.estimator("rloo"), history=plain)
    found = adv.advantages(torch.tensor(rewards), adv.estimator("rloo"), history=turned)
    np.testing.assert_allclose(found.numpy(), expected)
    with pytest.raises(adv.AdvshapeError, match="filled"):
        adv.advantages(np.ma.array(rewards, mask=rewards == 0), adv.estimator("rloo"))
