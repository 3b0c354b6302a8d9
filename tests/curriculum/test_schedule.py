"""Schedules: recovery of known tables step by step, ends on recorded metrics, by-count choice as a table, bad input.

Tables are compared with fractions of the leave-two-out formula, written here from its combinatorial meaning.
"""

import json
import math
from dataclasses import asdict
from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import advshape as adv
from advshape.curriculum.adaptive import mixed_by_count
from advshape.curriculum.read import read_schedule
from advshape.curriculum.schedule import MEASURED, Position, Ramp, Until

ANNEAL = {"estimator": "pass_at_k", "k": 4, "schedule": {"k": {"to": 1, "shape": "linear", "steps": [3, 9]}}}
STAGES = {
    "scale": "rms",
    "stages": [
        {"estimator": "pass_at_k", "k": 3, "until": "pass_at_1 > 0.5", "over": 2},
        {"estimator": "grpo", "until": "step >= 9"},
        {"estimator": "rloo_k", "k": 2, "scale": "none"},
    ],
}


def leave_two_out(k, n):
    """Centred Pass@k in mixed groups: K P(k - 1 drawn from n - 2 others are all wrong) (r - mean) n / (n - 1)."""
    positive, negative = [Fraction(0)] * (n + 1), [Fraction(0)] * (n + 1)
    for c in range(1, n):
        others = [1] * (c - 1) + [0] * (n - 1 - c)
        draws = list(combinations(others, k - 1))
        silent = Fraction(sum(not any(draw) for draw in draws), len(draws))
        positive[c], negative[c] = k * silent * Fraction(n - c, n - 1), -k * silent * Fraction(c, n - 1)
    return positive, negative


def test_known_tables_at_every_step():
    """Recovery: 4 up to step 3, 1 from step 9, halves up in between."""
    schedule, n = read_schedule(ANNEAL), 6
    expected = {1: 4, 2: 4, 3: 4, 4: 4, 5: 3, 6: 3, 7: 2, 8: 2, 9: 1, 10: 1, 1000: 1}
    assert {math.floor(4 - Fraction(t - 3, 2) + Fraction(1, 2)) == k for t, k in expected.items() if 3 <= t <= 9} == {
        True
    }
    for step, k in expected.items():
        objective = schedule.at(Position(), step)
        table = objective.easy.table(n)
        positive, negative = leave_two_out(k, n)
        np.testing.assert_allclose(table.positive, [float(x) for x in positive], atol=1e-14)
        np.testing.assert_allclose(table.negative, [float(x) for x in negative], atol=1e-14)
        assert objective.numbers == {"": 1.0, "_k": float(k)}


def test_mixture_weights_move_between_the_two_objectives():
    spec = {"surrogate": "w*(1-(1-rho)**4) + (1-w)*rho", "w": 1.0, "baseline": "centered"}
    schedule = read_schedule({**spec, "schedule": {"w": {"to": 0.0, "shape": "cosine", "steps": [1, 11]}}})
    many, one = leave_two_out(4, 7), leave_two_out(1, 7)
    for step, w in {1: 1.0, 6: 0.5, 11: 0.0, 20: 0.0}.items():
        table = schedule.at(Position(), step).easy.table(7)
        for got, a, b in zip((table.positive, table.negative), many, one, strict=True):
            np.testing.assert_allclose(
                got, [w * float(x) + (1 - w) * float(y) for x, y in zip(a, b, strict=True)], atol=1e-12
            )
    quarter = schedule.at(Position(), 3).numbers["_w"]
    assert quarter == pytest.approx((1 + math.cos(math.pi / 5)) / 2, abs=0.005), "hundredths of the way"


def test_each_objective_has_its_own_scale():
    schedule = read_schedule({**ANNEAL, "scale": "rms"})
    tables = [schedule.at(Position(), step).easy.table(8) for step in (1, 6, 12)]
    assert [table.rms() for table in tables] == pytest.approx([1.0] * 3)
    loose = read_schedule(ANNEAL)
    assert len({round(loose.at(Position(), step).easy.table(8).rms(), 3) for step in (1, 6, 12)}) == 3


@settings(deadline=None)
@given(
    st.integers(1, 32),
    st.integers(1, 32),
    st.sampled_from(["linear", "cosine"]),
    st.integers(1, 50),
    st.integers(1, 50),
)
def test_ramps_stay_between_their_ends_and_turn_nowhere(start, to, shape, first, length):
    for ends in ((start, to), (float(start), float(to))):
        ramp = Ramp(ends[0], (ends[1],), shape, (first, first + length))
        values = [ramp.at(step) for step in range(1, first + length + 3)]
        assert values[0] == values[first - 1] == start
        assert values[-1] == values[first + length - 1] == to
        assert values == sorted(values, reverse=to < start)
        assert all(isinstance(v, int) for v in values) == ramp.whole == isinstance(ends[0], int)


def test_steps_of_a_staircase():
    ramp = Ramp(8, (4, 1), "step", (5, 7))
    assert [ramp.at(step) for step in range(1, 9)] == [8, 8, 8, 8, 4, 4, 1, 1]


def replay(schedule, recorded, start=None):
    """The names in force at each step of a run that measured `recorded`, one generation a step."""
    here, names = start or Position(), []
    for step, value in enumerate(recorded, 1):
        here = schedule.begin(here, step)
        names.append(schedule.at(here, step).easy.name)
        here = schedule.measure(here, {"pass_at_1": value, "surrogate": 9.0})
    return here, names


def test_until_fires_at_the_right_step_on_recorded_metrics():
    """pass_at_1 first has a mean of two above 1/2 after step 5, so that stage 2 begins with step 6."""
    recorded = [0.1, 0.9, 0.1, 0.45, 0.6, 0.0, 0.0, 0.0, 0.0, 0.0]
    here, names = replay(read_schedule(STAGES), recorded)
    assert [name.partition("(")[0] for name in names] == ["pass_at_k"] * 5 + ["grpo at unit rms"] * 3 + ["rloo_k"] * 2
    assert here.starts == (1, 6, 9)
    assert names[0] == "pass_at_k(k=3) at unit rms"
    assert names[-1] == "rloo_k(k=2)"


def test_not_judged_batches_do_not_end_a_stage():
    here, _ = replay(read_schedule(STAGES), [0.9, float("nan"), 0.9])
    assert here.starts == (1,)
    here, _ = replay(read_schedule(STAGES), [0.9, float("nan"), 0.9, 0.9, 0.9])
    assert here.starts == (1, 5)


def test_steps_of_a_later_stage_count_from_its_first():
    table = {"stages": [{"estimator": "grpo", "until": "step >= 11"}, ANNEAL]}
    schedule = read_schedule(table)
    here = schedule.begin(Position(), 11)
    assert [schedule.at(here, step).numbers["_k"] for step in (11, 13, 16, 19)] == [4, 4, 3, 1]


@pytest.mark.parametrize("cut", range(1, 9))
def test_position_survives_json_at_every_step(cut):
    """Recovery: the position is the whole state; cut anywhere, the rest of the run is the same."""
    schedule, recorded = read_schedule(STAGES), [0.1, 0.9, 0.1, 0.45, 0.6, 0.0, 0.0, 0.0, 0.0, 0.0]
    whole, names = replay(schedule, recorded)
    here = Position()
    for step, value in enumerate(recorded, 1):
        if step == cut:
            here = schedule.position(json.loads(json.dumps(asdict(here))))
        here = schedule.begin(here, step)
        assert schedule.at(here, step).easy.name == names[step - 1]
        here = schedule.measure(here, {"pass_at_1": value})
    assert here == whole


def test_every_objective_that_can_come_up_is_listed():
    found = {rule.name for _, rule in read_schedule(ANNEAL).estimators()}
    assert found == {f"pass_at_k(k={k})" for k in (1, 2, 3, 4)}
    hard = {"estimator": "grpo", "hard": {**ANNEAL, "below": 0.25}}
    assert {rule.name for _, rule in read_schedule(hard).estimators()} == found | {"grpo"}
    where = {rule.name: where for where, rule in read_schedule(hard).estimators()}
    assert where["pass_at_k(k=1)"] == "hard prompts, step 9"
    stages = {"stages": [{"estimator": "grpo", "until": "step > 4"}, ANNEAL]}
    where = {rule.name: where for where, rule in read_schedule(stages).estimators()}
    assert where["pass_at_k(k=1)"] == "stage 2, step 9 of it"


# the group's own count: a table again


def test_chens_combination_is_a_mixture_by_count():
    """Reduction: (c/n) A_passk + (1 - c/n) A_pass1, Chen et al., section 4.2.2."""
    rule = mixed_by_count(adv.estimator("passk_training", k=3), adv.estimator("grpo"), lambda rate: rate)
    for n in (4, 8):
        got, published = rule.table(n), adv.estimator("passk_training_combination", k=3).table(n)
        np.testing.assert_allclose(got.positive, published.positive, atol=1e-13)
        np.testing.assert_allclose(got.negative, published.negative, atol=1e-13)


def test_a_choice_by_the_groups_own_count_is_another_objective():
    """Enumeration over all groups: hard if c/n < 1/2 has neither rule's slope; by an earlier visit it has one."""
    n, rho = 4, Fraction(1, 3)
    easy, hard = adv.estimator("rloo"), adv.estimator("pass_at_k", k=2)
    by_count = mixed_by_count(hard, easy, lambda rate: rate < 0.5)

    def slope(rule):
        total = Fraction(0)
        for outcome in product((0, 1), repeat=n):
            c = sum(outcome)
            found = adv.advantages(np.array([outcome], float), rule.table(n))[0]
            scores = [(1 - rho) if r else -rho for r in outcome]
            step = sum(Fraction(float(a)) * s for a, s in zip(found, scores, strict=True)) / n
            total += rho**c * (1 - rho) ** (n - c) * step
        return float(total / (rho * (1 - rho)))

    assert slope(by_count) == pytest.approx(by_count.table(n).surrogate().derivative(float(rho)), abs=1e-12)
    assert slope(easy) == pytest.approx(1.0)
    assert slope(hard) == pytest.approx(2 * (1 - 1 / 3))
    assert not 1.0 <= slope(by_count) <= 4 / 3, "outside both: no choice between the two objectives"


# bad input


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({**ANNEAL, "schedule": {"k": {"to": 1, "shape": "lineer", "steps": [1, 2]}}}, ["'lineer'", "'linear'"]),
        ({**ANNEAL, "schedule": {"kk": {"to": 1, "shape": "step", "steps": [2]}}}, ["'kk'", "'k'"]),
        ({**ANNEAL, "schedule": {"k": {"to": 1, "shpe": "step", "steps": [2]}}}, ["'shpe'", "'shape'"]),
        ({**ANNEAL, "schedule": {"k": {"to": 1, "steps": [2, 3]}}}, ["shape", "got"]),
        ({**ANNEAL, "schedule": {"k": {"to": 1, "shape": "linear", "steps": [9, 3]}}}, ["rising", "[9, 3]"]),
        ({**ANNEAL, "schedule": {"k": {"to": 1, "shape": "linear", "steps": [9]}}}, ["[first, last]"]),
        ({**ANNEAL, "schedule": {"k": {"to": [2, 1], "shape": "step", "steps": [9]}}}, ["each of the 2"]),
        ({**ANNEAL, "schedule": {"k": {"to": "one", "shape": "linear", "steps": [1, 9]}}}, ["'one'", "number"]),
        ({**ANNEAL, "schedule": {"k": 3}}, ["shape", "got 3"]),
        ({**ANNEAL, "schedule": 3}, ["table"]),
        ({"estimator": "grpo", "schedule": ANNEAL["schedule"]}, ["'k'", "it has none"]),
        (
            {
                "surrogate": "w*rho+(1-w)*rho**2",
                "w": 1,
                "schedule": {"w": {"to": 0, "shape": "linear", "steps": [1, 9]}},
            },
            ["one jump", "1.0", "0.0"],
        ),
        ({"estimator": "pas_at_k", "k": 2}, ["'pas_at_k'", "'pass_at_k'"]),
        ({"estimator": "grpo", "scale": "max"}, ["'max'", "rms"]),
        ({"k": 2}, ["estimator", "got k"]),
        ({"estimator": "grpo", "until": "pass_at_1 > 0.5"}, ["no stage comes after"]),
        ({"estimator": "grpo", "over": 3}, ["over", "until"]),
        ({"estimator": "grpo", "hard": {"estimator": "rloo"}}, ["below"]),
        ({"estimator": "grpo", "hard": {"estimator": "rloo", "below": 1.5}}, ["(0, 1)"]),
        ({"estimator": "grpo", "hard": {"estimator": "rloo", "below": 0.5, "until": "step > 3"}}, ["move it up"]),
        ({"stages": []}, ["[[objective.stages]]"]),
        ({"stages": [{"estimator": "grpo"}], "k": 3}, ["'k'", "stages"]),
        ({"stages": [{"estimator": "grpo"}, {"estimator": "rloo"}]}, ["number 1", "until"]),
        ({"stages": [{"estimator": "grpo", "until": "pass_at1 > 0.5"}, ANNEAL]}, ["'pass_at1'", "'pass_at_1'"]),
        ({"stages": [{"estimator": "grpo", "until": "pass_at_1 = 0.5"}, ANNEAL]}, ["pass_at_1 = 0.5", ">="]),
        ({"stages": [{"estimator": "grpo", "until": "pass_at_1 > 0.5", "over": 0}, ANNEAL]}, ["over", "0"]),
        ({"stages": [{"estimator": "grpo", "until": "pass_at_1 > 1.2.3"}, ANNEAL]}, ["'1.2.3'"]),
    ],
)
def test_bad_input_says_what_is_allowed(table, words):
    with pytest.raises(adv.AdvshapeError) as error:
        read_schedule(table)
    for word in words:
        assert word in str(error.value)


def test_a_checkpoint_of_another_schedule_is_refused():
    with pytest.raises(adv.AdvshapeError, match="stage 2 of a schedule, this one has 1"):
        read_schedule(ANNEAL).position({"starts": [1, 5], "recent": []})


def test_metrics_of_until_are_spelt_as_the_trainer_logs_them():
    torch = pytest.importorskip("torch")
    from advshape.adapters.trl.metrics import binary_metrics, real_metrics

    rewards = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    logged = {*binary_metrics(rewards, [[0, 0.5, 1]] * 2), *real_metrics(rewards, [[0, 0.5, 1]] * 2, (0, 1))}
    assert logged | {"step", "prompts_none_judged", "rollouts_not_judged"} == set(MEASURED)
    assert Until("surrogate", "<", 0.2, 1).reached(3, [0.1])


@pytest.mark.parametrize(("start", "to"), [(0, 1), (0, 7), (8, 1), (3, 10)])
def test_cosine_rounds_halves_up(start, to):
    """Half of the way of a half wave is one half exactly, and cos(pi / 2) in floats is not 0."""
    assert Ramp(start, (to,), "cosine", (1, 3)).at(2) == math.floor((start + to) / 2 + 0.5)
    assert [Ramp(0, (2,), "cosine", (1, 13)).at(step) for step in (4, 5, 9)] == [0, 1, 2]
