"""rllm's documented hook `fn(rewards: list[np.ndarray], algorithm_config, **kwargs) -> (list, list)`, without rllm.

parity, property.
"""

import sys
from types import ModuleType, SimpleNamespace

import hostile
import numpy as np
import pytest

from advshape.adapters.objective import Objective
from advshape.adapters.rllm import HOMES, register, rllm_advantages
from advshape.errors import AdvshapeError


@pytest.mark.parametrize("case", hostile.CASES, ids=lambda case: case.name)
def test_hostile_cases(case):
    order = {uid: [i for i, own in enumerate(case.uids) if own == uid] for uid in dict.fromkeys(case.uids)}
    rewards = [np.array([case.rewards[i] for i in rows], dtype=np.float32) for rows in order.values()]
    if case.refused:
        with pytest.raises(AdvshapeError, match=case.refused):
            rllm_advantages(rewards, objective=Objective.read(case.rule))
        return
    given = {
        "algorithm_config": SimpleNamespace(stepwise_advantage_mode="broadcast"),
        "traj_groups": [None] * len(order),
    }
    found, returns = rllm_advantages(rewards=rewards, objective=Objective.read(case.rule), **given)
    assert [len(group) for group in found] == [len(rows) for rows in order.values()]
    assert all(a is b for a, b in zip(found, returns, strict=True))
    for group, rows in zip(found, order.values(), strict=True):
        np.testing.assert_allclose(group, hostile.expected(case)[rows], rtol=1e-6, atol=1e-6)


def test_no_groups_and_steps_as_rollouts():
    rule = Objective.read("rloo")
    assert rllm_advantages([], objective=rule) == ([], [])
    with pytest.raises(AdvshapeError, match=r"^rllm\.stepwise_advantage\.mode=per_step"):
        rllm_advantages([np.ones(2)], SimpleNamespace(stepwise_advantage_mode="per_step"), objective=rule)


@pytest.mark.parametrize("home", HOMES)
def test_register_finds_the_decorator_where_rllm_keeps_it(home, monkeypatch):
    registry = {}
    for i in range(1, home.count(".") + 2):
        name = ".".join(home.split(".")[:i])
        package = ModuleType(name)
        package.__path__ = []
        monkeypatch.setitem(sys.modules, name, package)
    sys.modules[home].register_rllm_adv_estimator = lambda name: lambda function: registry.setdefault(name, function)
    register("rloo")
    found, _ = registry["other"](rewards=[np.array([1.0, 0.0])], algorithm_config=None)
    assert found[0].tolist() == [1, -1]
    sys.modules[home].register_rllm_adv_estimator = lambda name, role: None
    with pytest.raises(AdvshapeError, match=r"register_rllm_adv_estimator takes \(name, role\)"):
        register("rloo")


def test_without_rllm():
    with pytest.raises(AdvshapeError, match="rllm is not installed"):
        register("rloo")
