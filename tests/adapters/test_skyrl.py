"""SkyRL: parity through its own dispatch, its registry on a real Ray cluster, and its configuration.

parity, property; the environment of `make test-adapters` runs it, elsewhere it skips.
"""

import logging

import hostile
import numpy as np
import pytest
from local_ray import cluster

REASON = "skyrl is not installed; make test-adapters runs this in an environment of its own"
pytest.importorskip("skyrl", reason=REASON)
import ray
import torch
from skyrl.backends.skyrl_train.utils import ppo_utils
from skyrl.train.config import SkyRLTrainConfig

import advshape as adv
from advshape.adapters import skyrl as adapter
from advshape.audit.targets import names
from advshape.errors import AdvshapeError

REGISTRY = ppo_utils.AdvantageEstimatorRegistry
TOKENS = 4


@pytest.fixture
def register():
    """Registers under "advshape"; the registry is as before afterwards."""
    yield adapter.register
    REGISTRY._functions.pop("advshape", None)


def call(rewards, uids, lengths, dtype="float32", config=None):
    """SkyRL's dispatch on its own tensors: half of each reward on the first and half on the last token."""
    tokens = torch.zeros(len(rewards), TOKENS, dtype=torch.float64)
    tokens[:, 0] += torch.tensor(rewards, dtype=torch.float64) / 2
    tokens[:, TOKENS - 1] += torch.tensor(rewards, dtype=torch.float64) / 2
    mask = (torch.arange(TOKENS)[None, :] < torch.tensor(lengths)[:, None]).to(torch.int64)
    given = {"token_level_rewards": tokens.to(getattr(torch, dtype)), "response_mask": mask, "index": list(uids)}
    config = config or SkyRLTrainConfig().trainer.algorithm
    found = ppo_utils.compute_advantages_and_returns(**given, adv_estimator="advshape", config=config)
    return *found, mask


@pytest.mark.parametrize("case", hostile.CASES, ids=lambda case: case.name)
def test_hostile_cases(case, register):
    if case.refused:
        with pytest.raises(AdvshapeError, match=case.refused):
            register(case.rule)
            call(case.rewards, case.uids, case.lengths, case.dtype)
        return
    register(case.rule)
    found, returns, mask = call(case.rewards, case.uids, case.lengths, case.dtype)
    want = hostile.expected(case)[:, None] * mask.numpy()
    np.testing.assert_allclose(found.numpy(), want, rtol=case.tolerance, atol=case.tolerance)
    assert found.dtype == torch.float32
    assert torch.equal(found, returns)


def test_the_same_as_skyrls_own_where_both_mean_the_same(register):
    rewards, uids = hostile.mixed(9, [2, 5, 8, 3])
    for ours, theirs in (("rloo", "rloo"), ({"estimator": "grpo", "ddof": 1, "epsilon": 1e-6}, "grpo")):
        register(ours)
        found = call(rewards, uids, [3] * 18)[0]
        REGISTRY._functions["advshape"] = REGISTRY._functions[theirs]
        torch.testing.assert_close(found, call(rewards, uids, [3] * 18)[0], rtol=2e-5, atol=1e-6)
        REGISTRY._functions.pop("advshape")


@pytest.mark.parametrize(
    ("rule", "key", "value"),
    [
        ("rloo", "advantage_batch_normalize", True),
        ("rloo", "grpo_norm_by_std", False),
        ("rloo", "use_kl_in_reward", True),
        ("nsr", "dynamic_sampling.type", "filter"),
        ("nsr", "zero_variance_filter", True),
        ("psr", "zero_variance_filter", True),
    ],
)
def test_settings_that_undo_the_estimator_are_refused(rule, key, value, register):
    config = SkyRLTrainConfig.from_cli_overrides([f"trainer.algorithm.{key}={value}"]).trainer.algorithm
    register(rule)
    with pytest.raises(AdvshapeError, match=rf"^trainer\.algorithm\.{key}"):
        call([1.0, 0.0], "aa", [1, 1], config=config)


def test_filters_are_welcome_where_the_estimator_is_silent(register):
    config = SkyRLTrainConfig.from_cli_overrides(["trainer.algorithm.zero_variance_filter=true"]).trainer.algorithm
    register("rloo")
    assert call([1.0, 0.0], "aa", [1, 1], config=config)[0][:, 0].tolist() == [1, -1]


def test_padding_is_not_counted_as_a_small_group(register, caplog):
    register("rloo")
    with caplog.at_level(logging.WARNING, logger="advshape"):
        call([1.0, 0.0, 0.0], ["a", "a", "pad0"], [1, 1, 0])
        assert not caplog.text
        call([1.0, 0.0, 0.0], ["a", "a", "b"], [1, 1, 1])
    assert "1 of 2 groups" in caplog.text


def test_a_name_that_is_taken_and_a_changed_signature(register, monkeypatch):
    with pytest.raises(AdvshapeError, match="SkyRL takes an objective as text or a mapping"):
        register(adv.estimator("rloo"))
    with pytest.raises(ValueError, match="'rloo' already registered"):
        register("rloo", "rloo")
    monkeypatch.setattr(ppo_utils, "compute_advantages_and_returns", lambda rewards: rewards)
    with pytest.raises(AdvshapeError, match=r"compute_advantages_and_returns takes \(rewards\), expected"):
        register("rloo")


def test_the_audit_lists_skyrls_own_estimators_and_not_ours(register):
    before = names("skyrl")
    register("rloo")
    assert names("skyrl") == before
    assert "grpo" in before


def test_the_entry_point_registers_what_the_command_line_names(monkeypatch):
    """Up to the start of Ray: SkyRL's own validation accepts the name."""
    from skyrl.train.utils import utils

    class Reached(Exception):
        pass

    def start(config):
        raise Reached(config.trainer.algorithm.advantage_estimator)

    monkeypatch.setattr(utils, "initialize_ray", start)
    name = 'advshape/{"estimator":"pass_at_k","k":2,"real":"layer_cake"}'
    monkeypatch.setattr("sys.argv", ["x", f"trainer.algorithm.advantage_estimator={name}", "trainer.logger=console"])
    try:
        from skyrl.train.entrypoints import main_base  # noqa: F401
    except ImportError as error:
        pytest.skip(f"SkyRL's entry point needs more than is installed here: {error}")
    try:
        with pytest.raises(Reached, match="pass_at_k"):
            adapter.main()
    finally:
        REGISTRY._functions.pop(name, None)
    monkeypatch.setattr("sys.argv", ["x", "trainer.algorithm.advantage_estimator=grpo"])
    with pytest.raises(AdvshapeError, match=r"advantage_estimator=grpo: this entry point takes advshape/NAME"):
        adapter.main()


def test_two_ray_workers_find_the_estimator_in_the_registry(register):
    """Registered before Ray starts, as in an entry script; the workers never call `register`."""
    register("pass_at_k(k=2)")
    rewards, uids = hostile.mixed(3, [8] * 4)
    want = call(rewards, uids, [2] * 32)[0]
    with cluster(num_cpus=2):
        ppo_utils.sync_registries()

        @ray.remote
        def work(rewards, uids):
            import os

            import torch
            from skyrl.backends.skyrl_train.utils import ppo_utils

            tokens = torch.zeros(len(rewards), 4)
            tokens[:, 3] = torch.tensor(rewards)
            mask = (torch.arange(4) < 2).int().repeat(len(rewards), 1)
            given = {"token_level_rewards": tokens, "response_mask": mask, "index": list(uids), "config": None}
            found = ppo_utils.compute_advantages_and_returns(**given, adv_estimator="advshape")
            return os.getpid(), found[0].numpy()

        half = ray.get([work.remote(rewards, uids), work.remote(rewards, uids)])
    for _, found in half:
        np.testing.assert_allclose(found, want.numpy(), rtol=1e-6, atol=1e-6)
