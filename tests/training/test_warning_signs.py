"""Warning signs: none on recorded healthy runs, each bad trace at the step at which a reader of the rule expects it."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advshape.training.monitor.warning_signs import RULES, first_signs, warning_signs

RUNS = Path(__file__).parents[1] / "data" / "runs"


def recorded(name):
    return [json.loads(line) for line in (RUNS / f"{name}.jsonl").read_text().splitlines()]


def found(history):
    return [(sign.name, sign.step) for sign in warning_signs(history)]


def trace(steps=60, **metrics):
    """A healthy trace in which some metrics are given, each as a function of the step, counted from 1."""
    healthy = {
        "loss": lambda s: 0.001,
        "grad_norm": lambda s: 0.3 + 0.1 * (s % 3),
        "reward": lambda s: 0.3 + 0.02 * (s % 5),
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


def series(seed, phi, sd, steps):
    """A first-order autoregression around 0 of that standard deviation, from its stationary distribution on."""
    rng, values = np.random.default_rng(seed), []
    for _ in range(steps):
        before = values[-1] if values else rng.normal(0, sd) / math.sqrt(1 - phi**2) * phi
        values.append(phi * before + rng.normal(0, sd * math.sqrt(1 - phi**2)))
    return np.array(values)


def fall_seen(rewards):
    """The step at which a falling reward is told, else None: that rule alone, at every second step, to be fast."""
    lines = [{"reward": float(reward)} for reward in rewards]
    rule = RULES["reward_falls"][0]
    return next((end for end in range(40, len(lines) + 1, 2) if rule(lines[:end])), None)


@pytest.mark.parametrize(("phi", "most"), [(0.0, 0), (0.5, 0), (0.9, 10), (0.97, 30)])
def test_noise_that_is_alike_from_step_to_step_is_no_falling_reward(phi, most):
    """Statistics: 200 traces of 200 steps around .4, standard deviation .1; seen: 0, 0, 6 and 21 alarms.

    With phi = .97 a trace wanders for 66 steps at a time and does lose 40 % for as long now and then.
    """
    seen = sum(fall_seen(0.4 + series(seed, phi, 0.1, 200)) is not None for seed in range(200))
    assert seen <= most


@pytest.mark.parametrize(("phi", "sd"), [(0.0, 0.05), (0.5, 0.04), (0.9, 0.03)])
@pytest.mark.parametrize("length", [1, 40, 80])
def test_a_falling_reward_is_told(phi, sd, length):
    """From .4 to .1 at once or over that many steps, from step 60 on: in all of 20 traces, and not before it falls."""
    course = 0.4 - 0.3 * np.clip((np.arange(1, 201) - 60) / length, 0, 1)
    told = [fall_seen(course + series(seed, phi, sd, 200)) for seed in range(20)]
    assert None not in told
    assert min(told) > 62
    assert max(told) <= 60 + length + 60


@pytest.mark.parametrize("seed", range(5))
def test_a_run_that_goes_well_gives_none(seed):
    """Reward up to .95, entropy down to a thirtieth, gradients up to twentyfold: what solving a task looks like."""
    rng = np.random.default_rng(seed)
    rewards = [0.1 + 0.85 / (1 + math.exp(-(s - 60) / 20)) for s in range(1, 201)]
    rewards = rng.binomial(512, rewards) / 512
    history = trace(
        200,
        **{
            "reward": lambda s: float(rewards[s - 1]),
            "advshape/pass_at_1": lambda s: float(rewards[s - 1]),
            "entropy": lambda s: 0.02 + 0.6 * math.exp(-s / 30),
            "grad_norm": lambda s: 0.05 * (1 + 19 * min(1.0, s / 100)),
        },
    )
    assert found(history) == []


def test_entropy_that_falls_while_the_reward_rests_is_told():
    """Recovery of the rule's aim: the same entropy, and a reward that stays at .3."""
    rewards = 0.3 + series(1, 0.0, 0.03, 200)
    history = trace(200, entropy=lambda s: 0.02 + 0.6 * math.exp(-s / 30), reward=lambda s: float(rewards[s - 1]))
    [(name, step)] = found(history)
    assert (name, step) == ("entropy_collapse", 87)  # .6 exp(-85/30) = .035 amid its five steps, a tenth less .02


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), level=st.floats(-2, 2), prompts=st.integers(4, 64))
def test_noise_alone_gives_no_falling_reward(seed, level, prompts):
    """Property: batches of independent prompts around one level, 150 steps."""
    rewards = level + np.random.default_rng(seed).uniform(-0.5, 0.5, (150, prompts)).mean(axis=1)
    assert found(trace(150, reward=lambda s: rewards[s - 1])) == []


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(
                [
                    "loss",
                    "grad_norm",
                    "reward",
                    "entropy",
                    "kl",
                    "step",
                    "advshape/prompts_mixed",
                    "completions/clipped_ratio",
                ]
            ),
            st.none() | st.floats(-1e9, 1e9) | st.just(math.inf),
        ),
        max_size=30,
    )
)
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
