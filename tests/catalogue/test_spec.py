"""Estimators as text: what the grammar takes, what it refuses and how it says so; text wherever a rule is expected."""

import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import advshape as adv
from advshape.adapters.objective import Objective
from advshape.adapters.verl.options import objective
from advshape.catalogue.spec import read
from advshape.curriculum.read import read_schedule

SUM = "0.7*grpo + 0.3*nsr"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (" pass_at_k ( k = 8 ) ", "pass_at_k(k=8)"),
        ("pass_at_k(8)", "pass_at_k(k=8)"),
        ("grpo(guard='max', epsilon=1e-3)", "grpo(ddof=0, epsilon=0.001, guard=max)"),
        ("+grpo - -1*nsr", None),
        ("-(grpo + nsr)", "-grpo - nsr"),
        ("2*grpo*.5e0", "grpo"),
        ("0.5 * (2*grpo + (nsr))", "grpo + 0.5 * nsr"),
        ("pass_at_k(k=2) at unit rms", "pass_at_k(k=2) at unit rms"),
        ("grpo + (psr + nsr at unit rms)", "grpo + (psr + nsr at unit rms)"),
    ],
)
def test_grammar(text, name):
    if name is None:
        with pytest.raises(adv.AdvshapeError, match="at '-'"):
            adv.estimator(text)
    else:
        assert adv.estimator(text).name == name


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("0.7*", "at its end"),
        ("grpo grpo", "at 'grpo'"),
        ("grpo at unit", "at its end"),
        ("grpo(k", "at '('"),
        ("grpo)", "at ')'"),
        ("2*3", "at its end"),
        ("nan*grpo", "at 'grpo'"),
        ("1e999*grpo", "finite number"),
        ("grpo; import os", "at '; import os'"),
        ("__import__('os')", "unknown estimator '__import__'|cannot read the parameter"),
        ("(" * 21 + "grpo" + ")" * 21, "more than 20 brackets"),
        ("+".join(["grpo"] * 300), "at most 1000 characters"),
        ("grpo(epsilon=1, epsilon=2)", "stands twice"),
        ("rlo", "did you mean 'rloo'"),
        ("0.5*rlo + grpo", "did you mean 'rloo'"),
        ("rloo_k", "write for instance"),
    ],
)
def test_refused(text, part):
    with pytest.raises(adv.AdvshapeError, match=part.replace("(", r"\(").replace(")", r"\)")):
        adv.estimator(text)


@given(st.text(alphabet="grpo+-*/()0123456789.e,='\" atunirms_k", max_size=60))
@settings(max_examples=300, deadline=1000)
def test_any_text_is_read_or_refused(text):
    with suppress(adv.AdvshapeError):
        read(text)


@pytest.mark.parametrize("text", ["PassAtK(k=8)", "PassAtK(8)", "pass_at(4)", "1-(1-rho)**8", "rho"])
def test_an_objective_is_told_from_a_rule(text):
    with pytest.raises(adv.AdvshapeError, match="as an objective it makes an estimator by") as raised:
        adv.estimator(text)
    assert f"advshape.unbiased({text!r})" in str(raised.value)
    adv.unbiased(text)


@pytest.mark.parametrize("build", [adv.unbiased, adv.plug_in, adv.minimum_mse])
def test_builds_take_text_and_say_what_else_is_meant(build):
    named, typed = build(adv.PassAtK(4)).table(8), build("pass_at(4)").table(8)
    np.testing.assert_allclose(typed.weight, named.weight, rtol=1e-12, atol=1e-14)
    for wrong, part in (
        ("rloo_k(k=8)", "advshape.estimator"),
        (adv.estimator("grpo"), "is its .surrogate"),
        (3, "got 3"),
    ):
        with pytest.raises(adv.AdvshapeError, match=part):
            build(wrong)


def test_advantages_take_text_and_mappings():
    rewards = np.array([[1.0, 0, 0, 0], [1, 1, 0, 0]])
    made = adv.advantages(rewards, adv.estimator("rloo_k", k=3))
    np.testing.assert_array_equal(adv.advantages(rewards, "rloo_k(k=3)"), made)
    np.testing.assert_array_equal(adv.advantages(rewards, {"estimator": "rloo_k", "k": 3}), made)
    with pytest.raises(adv.AdvshapeError, match="unknown estimator"):
        adv.advantages(rewards, "rlo")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: adv.advantages([[1.0, 0.0]], adv.PassAtK(2)), r"advshape\.unbiased\(F\) for an objective F"),
        (lambda: adv.advantages([[1.0, 0.0]], "PassAtK(k=2)"), r"advshape\.unbiased\('PassAtK\(k=2\)'\)"),
        (lambda: adv.estimator(adv.PassAtK(2)), r"advshape\.unbiased"),
        (lambda: adv.estimator(adv.estimator("grpo"), k=3), "name it by text"),
        (lambda: adv.estimator("grpo") + adv.PassAtK(8), r"advshape\.unbiased\(\.\.\.\) of an objective"),
        (lambda: adv.PassAtK(8) + adv.estimator("grpo"), r"estimator's objective is its \.surrogate"),
        (lambda: adv.PassAtK(8) + "rho", r"advshape\.parse\('rho'\)"),
        (lambda: adv.unbiased("grpo"), r"write grpo\(rho\).*advshape\.estimator"),
        (lambda: adv.reverse("PassAtK(k=8)", 8), r"advshape\.unbiased"),
    ],
)
def test_the_error_says_the_call(call, said):
    with pytest.raises(adv.AdvshapeError, match=said):
        call()


def test_objectives_take_text_where_they_are_judged():
    assert adv.describe("rloo", 8, target="rho").rms_bias == pytest.approx(0, abs=1e-12)
    assert adv.estimator("rloo").table(8).bias("rho", 0.3) == pytest.approx(0, abs=1e-12)
    ((low, high),) = adv.falling("rho + entropy(rho)")
    assert (low, high) == (pytest.approx(1 / (1 + np.exp(-1))), 1)
    assert adv.regularization("rho + 0.5*entropy(rho)", "rho").scale == 1


def test_parameters_beside_text():
    assert adv.estimator("pass_at_k at unit rms", k=4).name == "pass_at_k(k=4) at unit rms"
    with pytest.raises(adv.AdvshapeError, match="belong to none of its parts"):
        adv.estimator("rloo_k + pass_at_k", k=4)


def test_one_resolver_everywhere():
    """The same sum, at unit rms, through a mapping, JSON, verl's keys and a recipe's [objective]."""
    made = adv.estimator(f"{SUM} at unit rms")
    mapping = {"estimator": SUM, "scale": "rms"}
    verl = {"algorithm.adv_estimator": "advshape", "algorithm.advshape": mapping}
    schedule = read_schedule(mapping).first
    for rule in (adv.estimator(mapping), Objective.read(json.dumps(mapping)).rule, objective(verl)[0], schedule):
        assert rule.name == made.name
        np.testing.assert_array_equal(rule.table(8).positive, made.table(8).positive)
    assert Objective.read(SUM).rule.name == "0.7 * grpo + 0.3 * nsr"


@pytest.mark.parametrize(("scale", "part"), [("rsm", "scale"), (True, "factor"), (None, "factor"), (np.nan, "factor")])
def test_wrong_scale(scale, part):
    with pytest.raises(adv.AdvshapeError, match=part):
        adv.estimator({"estimator": "rloo", "scale": scale})
