"""Warning signs: none on recorded healthy runs, each bad trace at the step at which a reader of the rule expects it."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advshape.training.warning_signs import RULES, first_signs, warning_signs

RUNS = Path(__file__).parent / "data" / "runs"


def recorded(name):
    return [json.loads(line) for line in (RUNS / f"{name}.jsonl").read_text().splitlines()]


def found(history):
    return [(sign.name, sign.step) for sign in warning_signs(history)]


def trace(steps=60, **metrics):
    """A healthy trace in which some metrics are given, each as a function of the step, counted from 1."""
    healthy = {
        "loss": lambda s: 0.001,
        "grad_norm": lambda s: 0.3 + 0.1 * (s % 3),
        "reward": lambda s: 0.2 + 0.002 * s,
        "entropy": lambda s: 0.4,
        "completions/clipped_ratio": lambda s: 0.1,
        "advshape/prompts_mixed": lambda s: 0.7,
        "advshape/rollouts_not_judged": lambda s: 0.01,
        "kl": lambda s: 0.02,
    }
    return [{"step": s} | {name: f(s) for name, f in (healthy | metrics).items()} for s in range(1, steps + 1)]


@pytest.mark.parametrize("name", ["countdown", "countdown-grpo", "smollm2-arithmetic"])
def test_recorded_healthy_runs_give_none(name):
    assert found(recorded(name)) == []


def test_recorded_bad_runs():
    assert found(recorded("one-token")) == [("groups_dead", 5), ("all_clipped", 5)]
    assert found(recorded("learning-rate-0.5")) == [("groups_dead", 6), ("all_clipped", 6), ("entropy_collapse", 14)]


def test_healthy_trace_gives_none():
    assert found(trace()) == []


BAD = {
    "not_finite": ({"grad_norm": lambda s: math.nan if s >= 7 else 0.3}, 7),
    "groups_dead": ({"advshape/prompts_mixed": lambda s: 0.0 if s >= 10 else 0.5}, 14),
    "not_judged": ({"advshape/rollouts_not_judged": lambda s: 0.11 if s >= 11 else 0.0}, 15),  # 5 of 10 steps: .055
    "entropy_collapse": ({"entropy": lambda s: 0.02 if s >= 30 else 0.4}, 34),
    "all_clipped": ({"completions/clipped_ratio": lambda s: 1.0 if s >= 20 else 0.2}, 24),
    "kl_explosion": ({"kl": lambda s: 4.0 if s >= 20 else 0.0}, 21),  # 2 of 5 steps: 1.6; 1 of 5: .8
    "gradient_explosion": ({"grad_norm": lambda s: 9.0 if s >= 31 else 0.5}, 33),  # the median of 5
}


@pytest.mark.parametrize("name", BAD)
def test_each_bad_trace_fires_once_and_where_expected(name):
    metrics, step = BAD[name]
    assert found(trace(**metrics)) == [(name, step)]


def test_every_rule_is_tried():
    assert set(BAD) | {"reward_falls"} == set(RULES)


def test_falling_reward():
    """Noise of .05 around .4; from step 31 on a fall to .15 within 40 steps. Told while it falls, not before."""
    noise = np.random.default_rng(1).normal(0, 0.05, 100)
    history = trace(100, reward=lambda s: 0.4 - 0.25 * min(1, max(0, s - 30) / 40) + noise[s - 1])
    [(name, step)] = found(history)
    assert name == "reward_falls"
    assert 40 < step < 70
    again = trace(100, reward=lambda s: 0.4 + noise[s - 1])
    assert found(again) == []


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), level=st.floats(-2, 2), prompts=st.integers(4, 64))
def test_noise_alone_gives_no_falling_reward(seed, level, prompts):
    """Property: batches of independent prompts around one level, 150 steps."""
    rewards = level + np.random.default_rng(seed).uniform(-0.5, 0.5, (150, prompts)).mean(axis=1)
    assert found(trace(150, reward=lambda s: rewards[s - 1])) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["loss", "grad_norm", "reward", "entropy", "kl", "step",
                                                 "advshape/prompts_mixed", "completions/clipped_ratio"]),
                                st.none() | st.floats(-1e9, 1e9) | st.just(math.inf)), max_size=30))  # fmt: skip
def test_any_lines_give_each_sign_at_most_once(lines):
    """Property: missing, null and infinite values never raise, and a prefix's signs are the first of the whole's."""
    history = [{**line, "step": number} for number, line in enumerate(lines, 1)]
    signs = warning_signs(history)
    assert len({sign.name for sign in signs}) == len(signs)
    half = warning_signs(history[: len(history) // 2])
    assert signs[: len(half)] == half


def test_known_signs_are_not_said_again():
    history = trace(8, **{"advshape/prompts_mixed": lambda s: 0.0})
    assert [sign.name for sign in first_signs(history)] == ["groups_dead"]
    assert first_signs(history, ["groups_dead"]) == ()


def test_a_file_has_null_for_nan():
    assert found([{"step": 1, "loss": None, "grad_norm": 0.1}]) == [("not_finite", 1)]
    assert found([{"step": 1, "reward": None}]) == []


def test_stock_trainer_without_our_metrics():
    lines = [{"step": s, "frac_reward_zero_std": 1.0} for s in range(1, 6)]
    assert found(lines) == [("groups_dead", 5)]


def test_text_says_what_to_do():
    [sign] = warning_signs([{"step": 3, "loss": math.inf}])
    assert str(sign).startswith("step 3: loss is not finite; stop:")
    assert sign.to_json() == {"name": "not_finite", "step": 3, "seen": "loss is not finite", "advice": sign.advice}
