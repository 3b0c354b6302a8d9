"""ms-swift: parity through both functions that its trainers call, and through its import of plug-in files.

parity, property; the environment of `make test-adapters` runs it, elsewhere it skips.
"""

import sys
from types import ModuleType, SimpleNamespace

import hostile
import numpy as np
import pytest
from by_position import by_position

REASON = "ms-swift is not installed; make test-adapters runs this in an environment of its own"
pytest.importorskip("swift.rl_core", reason=REASON)
import torch
from swift.rl_core import advantage
from swift.utils import import_external_file

from advshape.adapters import swift as adapter
from advshape.errors import AdvshapeError

ORIGINAL = {name: getattr(advantage, name) for name in adapter.SIGNATURES}


@pytest.fixture(autouse=True)
def restore():
    yield
    for name, function in ORIGINAL.items():
        setattr(advantage, name, function)


def matrix(case):
    return torch.tensor(case.rewards, dtype=torch.float64).to(getattr(torch, case.dtype))[:, None]


def refusal(case):
    """What `combine_rewards` says, which names the reward function, where it speaks before `advshape.advantages`."""
    return f"{case.refused}|a reward is 1" if case.refused else ""


@pytest.mark.parametrize("case", hostile.CASES, ids=lambda case: case.name)
def test_hostile_cases_by_position(case):
    case, n = by_position(case)
    given = {"reward_weights": torch.ones(1), "num_generations": n or max(map(case.uids.count, case.uids))}
    if n is None or case.refused:
        with pytest.raises(AdvshapeError, match=refusal(case) or "are no groups of num_generations"):
            adapter.patch(case.rule)
            advantage.compute_advantages(matrix(case), **given)
        return
    adapter.patch(case.rule)
    found, rewards = advantage.compute_advantages(matrix(case), **given)
    np.testing.assert_allclose(found, hostile.expected(case), rtol=case.tolerance, atol=case.tolerance)
    np.testing.assert_allclose(rewards, np.nan_to_num(np.float32(case.rewards)))  # what ms-swift logs


@pytest.mark.parametrize("case", hostile.CASES, ids=lambda case: case.name)
def test_hostile_cases_by_request(case):
    """Every second rollout has an earlier row of the same request, whose reward is the same (ms-swift checks that)."""
    rows = [i for i in range(len(case.rewards)) for _ in range(1 + i % 2)]
    given = {
        "reward_weights": torch.ones(1),
        "prompt_ids": [case.uids[i] for i in rows],
        "request_ids": [f"request-{i}" for i in rows],
    }
    if case.refused:
        with pytest.raises(AdvshapeError, match=refusal(case)):
            adapter.patch(case.rule)
            advantage.compute_advantages_dynamic(matrix(case)[rows], **given)
        return
    adapter.patch(case.rule)
    found, _ = advantage.compute_advantages_dynamic(matrix(case)[rows], **given)
    np.testing.assert_allclose(found, hostile.expected(case)[rows], rtol=case.tolerance, atol=case.tolerance)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("rloo", {"advantage_estimator": "rloo", "scale_rewards": "none"}),
        ({"estimator": "grpo", "ddof": 1, "epsilon": 1e-4}, {"scale_rewards": "group"}),
        ("dr_grpo", {"scale_rewards": "none"}),
    ],
)
def test_the_same_as_ms_swifts_own_where_both_mean_the_same(ours, theirs):
    rewards = torch.tensor(hostile.mixed(9, [8] * 4)[0])[:, None]
    given = {"reward_weights": torch.ones(1), "num_generations": 8}
    want = advantage.compute_advantages(rewards, **given, **theirs)
    adapter.patch(ours)
    for a, b in zip(advantage.compute_advantages(rewards, **given), want, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-5, atol=1e-6)


def test_several_reward_functions_are_summed_with_their_weights():
    adapter.patch("rloo")
    scores = torch.tensor([[1.0, torch.nan, 7.0], [torch.nan, 0.0, 8.0], [torch.nan, torch.nan, 9.0]])
    found, _ = advantage.compute_advantages(scores, torch.tensor([1.0, 1.0, 0.0]), 3)
    assert found.tolist() == [1, -1, 0]  # the third function only monitors: the last rollout is not judged


def test_a_plug_in_file_patches_every_module_that_holds_the_function(tmp_path):
    """With ms-swift's own import of `--external_plugins`, also a second time, as its data loader's workers do."""
    trainer = ModuleType("a_trainer_imported_before")
    trainer.compute_advantages = advantage.compute_advantages
    sys.modules[trainer.__name__] = trainer
    try:
        for number, spec in enumerate(("rloo", "reinforce")):
            plugin = tmp_path / f"advshape_plugin_{number}.py"
            plugin.write_text(f"from advshape.adapters.swift import patch\n\npatch({spec!r})\n")
            import_external_file(str(plugin))
            found = trainer.compute_advantages(torch.tensor([[1.0], [0.0]]), torch.ones(1), 2)[0]
            assert found.tolist() == [[1, -1], [1, 0]][number]
        assert trainer.compute_advantages is advantage.compute_advantages
        assert trainer.compute_advantages.__wrapped__ is ORIGINAL["compute_advantages"]
    finally:
        del sys.modules[trainer.__name__]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"advantage_estimator": "rloo"}, "--advantage_estimator rloo"),
        ({"scale_rewards": "gdpo"}, "--scale_rewards gdpo"),
        ({"scale_rewards": "batch"}, "--scale_rewards batch"),
        ({"kl_in_reward": True, "beta": 0.1}, "--kl_in_reward true"),
    ],
)
def test_options_that_undo_the_estimator_are_refused(options, key):
    adapter.patch("rloo")
    with pytest.raises(AdvshapeError, match=f"^{key}"):
        advantage.compute_advantages(torch.zeros(2, 1), torch.ones(1), 2, **options)


def test_the_filter_of_the_calling_trainer_is_seen():
    class Trainer(SimpleNamespace):
        def compute(self):
            return advantage.compute_advantages(torch.tensor([[1.0], [0.0]]), torch.ones(1), 2)[0].tolist()

    adapter.patch("rloo")
    assert Trainer(dynamic_sample=True).compute() == [1, -1]
    adapter.patch("nsr")
    assert Trainer(dynamic_sample=False).compute() == [0, -1]
    with pytest.raises(AdvshapeError, match=r"^--dynamic_sample true removes groups"):
        Trainer(dynamic_sample=True).compute()


def test_a_changed_signature_patches_nothing(monkeypatch):
    changed = lambda rewards, prompts: rewards
    monkeypatch.setattr(advantage, "compute_advantages_dynamic", changed)
    with pytest.raises(AdvshapeError, match=r"compute_advantages_dynamic takes \(rewards, prompts\), expected"):
        adapter.patch("rloo")
    assert advantage.compute_advantages is ORIGINAL["compute_advantages"]
