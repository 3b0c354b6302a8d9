"""What all adapters share, and how each refuses a missing or changed trainer. Runs without any of them.

property, reduction.
"""

import importlib
import logging
from importlib import metadata

import numpy as np
import pytest

import advshape as adv
from advshape.adapters import objective
from advshape.adapters.objective import Objective, check_signature, require
from advshape.errors import AdvshapeError

CALLS = {  # adapter, distribution -> what a user calls
    ("skyrl", "skyrl"): lambda m: m.register("rloo"),
    ("swift", "ms-swift"): lambda m: m.patch("rloo"),
    ("openrlhf", "openrlhf"): lambda m: m.patch("rloo"),
    ("tunix", "google-tunix"): lambda m: m.register("rloo"),
}


@pytest.mark.parametrize(("adapter", "distribution"), CALLS)
def test_a_missing_trainer_and_an_unknown_version_are_one_sentence(adapter, distribution, monkeypatch):
    module = importlib.import_module(f"advshape.adapters.{adapter}")

    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(objective.metadata, "version", absent)
    with pytest.raises(AdvshapeError, match=f"^{distribution} is not installed for this Python; install version"):
        CALLS[adapter, distribution](module)
    monkeypatch.setattr(objective.metadata, "version", lambda name: "0.0.1")
    with pytest.raises(AdvshapeError, match=rf"^{distribution} 0\.0\.1 is not a version this adapter was proven with"):
        CALLS[adapter, distribution](module)


def test_another_version_can_be_tried(monkeypatch):
    monkeypatch.setattr(objective.metadata, "version", lambda name: "0.4.0")
    monkeypatch.setenv("ADVSHAPE_ANY_VERSION", "1")
    require("skyrl", ["0.3."])


def test_a_version_is_no_prefix_of_another(monkeypatch):
    monkeypatch.setattr(objective.metadata, "version", lambda name: "0.30.1")
    with pytest.raises(AdvshapeError, match=r"version 0\.3\.x"):
        require("skyrl", ["0.3."])


def test_a_changed_signature_is_one_sentence():
    check_signature(lambda a, b: 0, ("a", "b"), "f")
    with pytest.raises(AdvshapeError, match=r"^f takes \(a, c\), expected \(a, b\): this version of the trainer"):
        check_signature(lambda a, c: 0, ("a", "b"), "f")
    with pytest.raises(AdvshapeError, match=r"^f is missing"):
        check_signature(None, ("a",), "f")


def test_an_objective_is_read_from_text_mapping_and_estimator():
    for spec in (
        "pass_at_k(k=3)",
        {"estimator": "pass_at_k", "k": 3},
        '{"estimator": "pass_at_k", "k": 3}',
        adv.estimator("pass_at_k", k=3),
    ):
        np.testing.assert_array_equal(
            Objective.read(spec).rule.table(8).weight, adv.estimator("pass_at_k", k=3).table(8).weight
        )
    scaled = Objective.read({"estimator": "rloo", "scale": "rms"})
    np.testing.assert_array_equal(scaled.rule.table(4).weight, adv.estimator("rloo").scaled("rms").table(4).weight)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "no objective is named"),
        ("nonsense", "nonsense"),
        ('{"estimator"', "is no JSON"),
        ({"estimator": "nsr", "real": "layer_cake"}, "bounds"),
        ({"estimator": "rloo", "bounds": [0, 1]}, "go with real"),
    ],
)
def test_a_bad_objective_is_refused(spec, message):
    with pytest.raises(AdvshapeError, match=message):
        Objective.read(spec)


def test_groups_that_are_too_small_are_counted_in_the_log_without_padding(caplog):
    rule = Objective.read("rloo")
    with caplog.at_level(logging.WARNING, logger="advshape"):
        ids, tokens = ["a", "a", "b", "pad"], [True, False, True, False]  # an empty response is a rollout, a pad none
        found = rule.advantages(np.array([1.0, 0.0, 1.0, 1.0]), ids, lambda: tokens)
    assert found.tolist() == [1, -1, 0, 0]
    assert "1 of 2 groups have fewer judged rollouts than the 2 that rloo needs" in caplog.text
    caplog.clear()
    rule.advantages(np.array([1.0, 0.0]), ["a", "a"])
    assert not caplog.text


def test_filters_are_refused_where_they_would_remove_advantages():
    Objective.read("rloo").refuse_filter("some.key")
    for spec in ("nsr", "psr"):  # A-(0) = -1; A+(n) = 1
        with pytest.raises(AdvshapeError, match=r"^some\.key removes groups of equal rewards"):
            Objective.read(spec).refuse_filter("some.key")
