"""OpenRLHF: parity through its own experience maker, its launcher, and the hook for Ray's workers.

parity, property; the environment of `make test-adapters` runs it, elsewhere it skips. flash_attn, deepspeed and vllm,
which need a GPU and play no part in advantages, are replaced by stand-ins where they are missing.
"""

import os
import subprocess
import sys
from importlib import import_module
from types import SimpleNamespace
from unittest import mock

import hostile
import numpy as np
import pytest
from by_position import by_position
from local_ray import cluster

REASON = "openrlhf is not installed; make test-adapters runs this in an environment of its own"
pytest.importorskip("openrlhf", reason=REASON)
import torch

from advshape.adapters import openrlhf as adapter
from advshape.audit.trainers import module
from advshape.errors import AdvshapeError

experience_maker = module("openrlhf")  # replaces packages that need a GPU by stand-ins
MAKER = experience_maker.RemoteExperienceMaker
ORIGINAL = MAKER.compute_advantages_and_returns, experience_maker.apply_length_penalties
TOKENS = 4


@pytest.fixture(autouse=True)
def restore():
    yield
    MAKER.compute_advantages_and_returns, experience_maker.apply_length_penalties = ORIGINAL


def maker(n, word="dr_grpo", kl=0.0, **given):
    args = mock.MagicMock()
    args.algo.advantage = SimpleNamespace(estimator=word, gamma=1.0, lambd=1.0, no_std_norm=False)
    args.algo.dynamic_filtering_enable = given.get("filter", False)
    args.rollout.n_samples_per_prompt = n
    args.reward = SimpleNamespace(
        clip_range=given.get("clip", (-1e6, 1e6)),
        overlong_buffer_len=None,
        stop_properly_penalty_coef=given.get("penalty"),
    )
    found = object.__new__(MAKER)
    found.strategy, found.args, found.advantage_estimator = SimpleNamespace(args=args), args, word
    found.kl_ctl = SimpleNamespace(value=kl)
    return found


def experiences(rewards, lengths, dtype="float32", size=3, kl=0.0):
    """Micro-batches of `size` rollouts in shuffled order; `index` holds the place of each."""
    order = np.random.default_rng(0).permutation(len(rewards))
    parts = [order[i : i + size] for i in range(0, len(order), size)]
    mask = (torch.arange(TOKENS)[None, :] < torch.tensor(lengths)[:, None]).float()
    return [
        SimpleNamespace(
            index=part.tolist(),
            rewards=torch.tensor(rewards, dtype=getattr(torch, dtype))[part],
            info={},
            kl=torch.full((len(part), TOKENS), kl),
            action_mask=mask[part],
            values=None,
        )
        for part in parts
    ]


def by_rollout(found, size):
    """(B, T) advantages in the order of the prompts."""
    result = torch.full((size, TOKENS), torch.nan)
    for experience in found:
        result[experience.index] = experience.advantages
    return result


@pytest.mark.parametrize("case", hostile.CASES, ids=lambda case: case.name)
def test_hostile_cases(case):
    case, n = by_position(case)
    if n == 1:
        pytest.skip("OpenRLHF's dr_grpo asserts more than one sample per prompt")
    if n is None or case.refused:
        with pytest.raises(AdvshapeError, match=case.refused or "are no groups of --rollout.n_samples_per_prompt"):
            adapter.patch(case.rule)
            held = maker(n or max(map(case.uids.count, case.uids)))
            held.compute_advantages_and_returns(experiences(case.rewards, case.lengths, case.dtype))
        return
    adapter.patch(case.rule)
    held, given = maker(n), experiences(case.rewards, case.lengths, case.dtype)
    found = by_rollout(held.compute_advantages_and_returns(given), len(case.rewards))
    mask = np.arange(TOKENS) < np.array(case.lengths)[:, None]
    want = hostile.expected(case)[:, None] * mask
    np.testing.assert_allclose(np.where(mask, found.numpy(), 0), want, rtol=case.tolerance, atol=case.tolerance)
    assert held.advantage_estimator == held.args.algo.advantage.estimator == "dr_grpo"  # as before


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("rloo", "rloo"),
        ("dr_grpo", "dr_grpo"),
        ({"estimator": "grpo", "ddof": 1, "epsilon": 1e-9}, "group_norm"),
    ],
)
def test_the_same_as_openrlhfs_own_where_both_mean_the_same(ours, theirs):
    """With a KL penalty in the reward too, which stays OpenRLHF's."""
    rewards = hostile.mixed(9, [8] * 4, 0.3, 0.7)[0]
    given = {"lengths": [3] * 32, "kl": 0.25}
    want = by_rollout(maker(8, theirs, kl=0.1).compute_advantages_and_returns(experiences(rewards, **given)), 32)
    adapter.patch(ours)
    found = by_rollout(maker(8, kl=0.1).compute_advantages_and_returns(experiences(rewards, **given)), 32)
    torch.testing.assert_close(found, want, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("rule", "given", "key"),
    [
        ("rloo", {"word": "reinforce_baseline"}, "--algo.advantage.estimator reinforce_baseline"),
        ("rloo", {"word": "gae"}, "--algo.advantage.estimator gae"),
        ("nsr", {"filter": True}, "--algo.dynamic_filtering_enable"),
        ("maxrl", {"clip": (-2, 2)}, "--reward.clip_range -2 2 would clip"),
    ],
)
def test_arguments_that_undo_the_estimator_are_refused(rule, given, key):
    adapter.patch(rule)
    with pytest.raises(AdvshapeError, match=f"^{key}"):
        maker(8, **given).compute_advantages_and_returns(experiences([1.0] + [0.0] * 7, [1] * 8))


def test_a_changed_signature_and_another_version_patch_nothing(monkeypatch):
    monkeypatch.setattr(experience_maker, "apply_length_penalties", lambda samples: None)
    with pytest.raises(AdvshapeError, match=r"apply_length_penalties takes \(samples\), expected"):
        adapter.patch("rloo")
    assert MAKER.compute_advantages_and_returns is ORIGINAL[0]


def test_patching_again_replaces_the_objective():
    for spec in ("rloo", "reinforce"):
        adapter.patch(spec)
        found = maker(2).compute_advantages_and_returns(experiences([1.0, 0.0], [1, 1]))
        assert by_rollout(found, 2)[:, 0].tolist() == {"rloo": [1, -1], "reinforce": [1, 0]}[spec]


def test_the_worker_hook_waits_for_the_import(monkeypatch):
    """In a process of its own: nothing is imported by the hook, and the class is patched after the import."""
    code = (
        "import sys\n"
        "from advshape.adapters import openrlhf as adapter; adapter.setup()\n"
        "print('openrlhf' in sys.modules, 'torch' in sys.modules)\n"
        "from advshape.audit.trainers import module\n"
        "maker = module('openrlhf').RemoteExperienceMaker\n"
        "print(maker.compute_advantages_and_returns.__wrapped__.__name__, adapter.patch.__module__)\n"
    )
    environment = {**os.environ, "ADVSHAPE": "rloo", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert run.stdout.split("\n")[:2] == ["False False", "compute_advantages_and_returns advshape.adapters.openrlhf"]


def test_the_launcher_hands_hook_and_objective_to_ray(monkeypatch):
    """Up to OpenRLHF's first `ray.init`, with its own argument parser."""
    import ray

    class Reached(Exception):
        pass

    def init(*_, runtime_env, **__):
        raise Reached(runtime_env)

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("ADVSHAPE", "pass_at_k(k=2)")
    given = "--algo.advantage.estimator dr_grpo --rollout.n_samples_per_prompt 8 --reward.remote_url r.py"
    monkeypatch.setattr("sys.argv", ["x", *given.split(), "--actor.model_name_or_path", "m"])
    with pytest.raises(Reached) as reached:
        adapter.main()
    environment = reached.value.args[0]
    assert environment["env_vars"]["ADVSHAPE"] == "pass_at_k(k=2)"
    assert "NCCL_DEBUG" in environment["env_vars"]
    module, _, function = environment["worker_process_setup_hook"].rpartition(".")
    assert getattr(import_module(module), function) is adapter.setup


def test_a_ray_worker_is_patched_by_the_hook():
    """What the launcher hands to `ray.init`, in a real cluster; the worker names our adapter nowhere."""
    path = os.pathsep.join(p for p in sys.path if p)
    given = {
        "env_vars": {"ADVSHAPE": "pass_at_k(k=2)", "PYTHONPATH": path},
        "worker_process_setup_hook": "advshape.adapters.openrlhf.setup",
    }
    with cluster(num_cpus=1, runtime_env=given) as ray:

        @ray.remote
        def work():
            from advshape.audit.trainers import module

            method = module("openrlhf").RemoteExperienceMaker.compute_advantages_and_returns
            rule = dict(zip(method.__code__.co_freevars, method.__closure__, strict=True))["objective"].cell_contents
            return os.getpid(), rule.rule.name

        pid, name = ray.get(work.remote())
    assert pid != os.getpid()
    assert name == "pass_at_k(k=2)"
