"""slime's documented hook `fn(args, samples) -> (raw_rewards, rewards)`; slime itself is not on a package index.

parity, property.
"""

from types import SimpleNamespace

import hostile
import numpy as np
import pytest

from advshape.adapters.slime import post_process_rewards
from advshape.errors import AdvshapeError


class Sample(SimpleNamespace):  # the fields of slime.utils.types.Sample that the hook reads
    def get_reward_value(self, args):
        return self.reward if not args.reward_key else self.reward[args.reward_key]


def arguments(rule, **given):
    return SimpleNamespace(advshape=rule, reward_key=None, advantage_estimator="grpo", **given)


def samples(rewards, groups, rollouts=None):
    rollouts = rollouts or [None] * len(rewards)
    rows = zip(rewards, groups, rollouts, strict=True)
    return [Sample(reward=r, group_index=g, rollout_id=i) for r, g, i in rows]


@pytest.mark.parametrize("case", hostile.CASES, ids=lambda case: case.name)
def test_hostile_cases(case):
    rewards = [float(np.float32(r)) for r in case.rewards]
    if case.refused:
        with pytest.raises(AdvshapeError, match=case.refused):
            post_process_rewards(arguments(case.rule), samples(rewards, case.uids))
        return
    raw, found = post_process_rewards(arguments(case.rule), samples(rewards, case.uids))
    np.testing.assert_allclose(found, hostile.expected(case), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(raw, rewards)
    assert isinstance(found, list)
    assert isinstance(found[0], float)


def test_a_rollout_with_several_samples_counts_once():
    given = samples([1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0], [5, 5, 5, 5, 5, 6, 6], [0, 0, 0, 1, 2, None, None])
    _, found = post_process_rewards(arguments("rloo"), given)  # group 5 has three rollouts: 1, 0, 0
    assert found == [1, 1, 1, -0.5, -0.5, 1, -1]


def test_samples_of_one_rollout_with_different_rewards_are_refused():
    with pytest.raises(AdvshapeError, match=r"rollout_id 3 have rewards 1\.0 and 0\.0"):
        post_process_rewards(arguments("rloo"), samples([1.0, 0.0], [0, 0], [3, 3]))


def test_none_is_not_judged_and_a_reward_key_is_read():
    given = samples([{"acc": 1.0}, {"acc": None}, {"acc": 0.0}], [0, 0, 0])
    args = arguments("rloo")
    args.reward_key = "acc"
    assert post_process_rewards(args, given)[1] == [1, 0, -1]


def test_the_objective_comes_from_the_environment_where_no_argument_has_it(monkeypatch):
    monkeypatch.delenv("ADVSHAPE", raising=False)
    with pytest.raises(AdvshapeError, match="no objective is named; set ADVSHAPE="):
        post_process_rewards(arguments(None), samples([1.0, 0.0], [0, 0]))
    monkeypatch.setenv("ADVSHAPE", "reinforce")
    assert post_process_rewards(arguments(None), samples([1.0, 0.0], [0, 0]))[1] == [1, 0]


@pytest.mark.parametrize(
    ("rule", "given", "key"),
    [
        ("rloo", {"normalize_advantages": True}, "--normalize-advantages"),
        ("rloo", {"advantage_estimator": "ppo"}, "--advantage-estimator ppo"),
        ("rloo", {"custom_advantage_function_path": "a.b"}, "--custom-advantage-function-path"),
        ("nsr", {"dynamic_sampling_filter_path": "filters.check_reward_nonzero_std"}, "--dynamic-sampling-filter-path"),
    ],
)
def test_arguments_that_undo_the_estimator_are_refused(rule, given, key):
    args = SimpleNamespace(**{**vars(arguments(rule)), **given})
    with pytest.raises(AdvshapeError, match=f"^{key}"):
        post_process_rewards(args, samples([1.0, 0.0], [0, 0]))


def test_no_group_index_is_refused():
    with pytest.raises(AdvshapeError, match="no group_index"):
        post_process_rewards(arguments("rloo"), samples([1.0, 0.0], [0, None]))
