"""verl 0.9.1: parity with `advshape.advantages` through DataProto and compute_advantage, of both trainers, and on Ray.

parity, property; the environment of `make test-adapters` runs it, elsewhere it skips.
"""

import inspect
import logging
import os
import shlex
import subprocess
import sys
from pathlib import Path

import hostile
import local_ray
import numpy as np
import pytest

if pytest.importorskip("verl", reason="verl is not installed: make test-adapters runs this"):
    import ray
    import torch
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import InstantiationException
    from omegaconf import OmegaConf
    from verl import DataProto
    from verl.trainer.ppo import core_algos
    from verl.trainer.ppo.ray_trainer import compute_advantage
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.trainer.ppo.v1.utils import compute_advantage_for_multi_trajectories
    from verl.utils.config import validate_config

import advshape as adv
from advshape.adapters.verl.options import DEFAULTS, flatten, objective, objective_warnings
from advshape.adapters.verl.sessions import session_keys
from advshape.catalogue import ENTRIES
from advshape.cli import main
from advshape.cli.snippets import verl_code
from advshape.errors import AdvshapeError

RECIPES = Path(adv.__file__).parent / "recipes"
TOKENS = 4


def batch(rewards, uids, lengths, dtype="float32"):
    """verl's batch: half of each reward on the first and half on the last token, the response at the left."""
    n = len(rewards)
    tokens = torch.zeros(n, TOKENS, dtype=torch.float64)
    tokens[:, 0] += torch.tensor(rewards, dtype=torch.float64) / 2
    tokens[:, TOKENS - 1] += torch.tensor(rewards, dtype=torch.float64) / 2
    mask = (torch.arange(TOKENS)[None, :] < torch.tensor(lengths)[:, None]).to(torch.int64)
    return DataProto.from_dict(
        tensors={"token_level_rewards": tokens.to(getattr(torch, dtype)), "response_mask": mask},
        non_tensors={"uid": np.array(uids, dtype=object)},
    )


def algorithm(rule=None, name="advshape", **sections):
    """The algorithm section of a whole configuration, as trainers hand it over."""
    own = {"adv_estimator": name, "advshape": dict(rule or {})}
    return OmegaConf.create({"algorithm": own | sections.pop("algorithm", {}), **sections}).algorithm


def legacy(data, config):
    return compute_advantage(data, config.adv_estimator, config=config)


def v1(data, config, keys=None):
    """Keys "{uid}_{session}_{output}" as the V1 trainer's agent loops write them; here one output a session."""
    keys = keys or [f"{uid}_{i}_0" for i, uid in enumerate(data.non_tensor_batch["uid"])]
    return compute_advantage_for_multi_trajectories(data, keys, config.adv_estimator, config=config)


@pytest.mark.parametrize("trainer", [legacy, v1])
@pytest.mark.parametrize("case", hostile.CASES, ids=lambda case: case.name)
def test_hostile_cases(case, trainer):
    data, config = batch(case.rewards, case.uids, case.lengths, case.dtype), algorithm(case.rule)
    before = data.batch["token_level_rewards"].clone()
    if case.refused:
        with pytest.raises(AdvshapeError, match=case.refused):
            trainer(data, config)
        return
    found = trainer(data, config).batch
    want = hostile.expected(case)[:, None] * found["response_mask"].numpy()
    np.testing.assert_allclose(found["advantages"].numpy(), want, rtol=case.tolerance, atol=case.tolerance)
    assert found["advantages"].dtype == torch.float32
    assert torch.equal(found["advantages"], found["returns"])
    torch.testing.assert_close(found["token_level_rewards"], before, rtol=0, atol=0, equal_nan=True)


def test_some_cases_speak():
    """A meta-test: zeros everywhere would not pass."""
    assert sum(bool(np.abs(hostile.expected(c)).max() > 0.1) for c in hostile.CASES if not c.refused) > 15


def test_every_name_is_registered_and_answers():
    data = batch(*hostile.mixed(0, [8, 8]), [2] * 16)
    for name in adv.estimators():
        own = {"k": 3} if "k" in inspect.signature(ENTRIES[name]).parameters else {}
        rule = adv.estimator(name, **own)
        found = legacy(data, algorithm(own, f"advshape/{name}")).batch["advantages"]
        uids = list(data.non_tensor_batch["uid"])
        want = adv.advantages(data.batch["token_level_rewards"].sum(-1).double(), rule, groups=uids, too_small="zero")
        np.testing.assert_allclose(found[:, 0], want, rtol=1e-6, atol=1e-6)
        assert not found[:, 2:].any()


@pytest.mark.parametrize(
    ("ours", "rule", "theirs"),
    [
        ("advshape/rloo", {}, "rloo"),
        ("advshape/rloo", {}, "rloo_vectorized"),
        ("advshape/grpo", {"ddof": 1, "epsilon": 1e-6}, "grpo"),
        ("advshape/grpo", {"ddof": 1, "epsilon": 1e-6}, "grpo_vectorized"),
    ],
)
def test_the_same_as_verls_own_where_both_mean_the_same(ours, rule, theirs):
    rewards, uids = hostile.mixed(9, [2, 5, 8, 3])
    a = legacy(batch(rewards, uids, [3] * 18), algorithm(rule, ours)).batch["advantages"]
    b = legacy(batch(rewards, uids, [3] * 18), algorithm({}, theirs)).batch["advantages"]
    torch.testing.assert_close(a, b, rtol=2e-5, atol=1e-6)  # verl's epsilon stands in float32
    assert a.any()


def test_masked_tokens_get_nothing_wherever_the_mask_has_holes():
    data = batch([1.0, 0.0, 0.0], ["a"] * 3, [4] * 3)
    data.batch["response_mask"] = torch.tensor([[1, 0, 1, 1], [0, 0, 0, 1], [1, 1, 0, 0]])
    found = legacy(data, algorithm({}, "advshape/rloo")).batch["advantages"]
    assert found.tolist() == [[1, 0, 1, 1], [0, 0, 0, -0.5], [-0.5, -0.5, 0, 0]]


SESSIONS = [  # key, reward of the session's last output
    ("a_0_0", 9.0),
    ("b_0_0", 0.0),
    ("a_0_1", 9.0),
    ("a_1_0", 0.0),
    ("a_0_2", 1.0),
    ("a_2_1", 0.0),
    ("a_2_0", 9.0),
    ("b_1_0", 1.0),
    ("b_1_1", 0.0),
]


def test_a_session_with_several_outputs_counts_once():
    """a: sessions 1, 0, 0; b: 0, 0. All outputs of a session get its advantage, as verl does for its own grpo."""
    keys, rewards = zip(*SESSIONS, strict=True)
    data = batch(rewards, [key[0] for key in keys], [1] * 9)
    found = v1(data, algorithm({}, "advshape/rloo"), keys).batch["advantages"][:, 0]
    assert found.tolist() == [1, 0, 1, -0.5, 1, -0.5, -0.5, 0, 0]
    theirs = v1(batch(rewards, [key[0] for key in keys], [1] * 9), algorithm({}, "grpo"), keys).batch["advantages"]
    ours = v1(data, algorithm({"ddof": 1, "epsilon": 1e-6}, "advshape/grpo"), keys).batch["advantages"]
    torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=1e-6)


def test_groups_larger_than_n_are_refused_where_sessions_are_not_shown():
    config = algorithm({}, "advshape/rloo", actor_rollout_ref={"rollout": {"n": 2}})
    data = batch([1.0, 0.0, 0.0], ["a"] * 3, [1] * 3)
    with pytest.raises(AdvshapeError, match=r"a group has 3 rows and actor_rollout_ref\.rollout\.n=2"):
        legacy(data, config)
    v1(data, config)  # here a prompt may have its own number of rollouts


def test_a_v1_trainer_that_hides_its_sessions_is_refused():
    frame = {"__name__": "verl.trainer.ppo.v1.next_version", "call": lambda: session_keys()}
    exec("def other():\n    return call()", frame)
    with pytest.raises(AdvshapeError, match="does not show which outputs belong to one session"):
        frame["other"]()


def test_small_groups_are_counted_but_padding_is_not(caplog):
    """verl pads a batch with rows of one more uid, reward 0 and no response token."""
    data = batch([1.0, 0.0, 1.0, 0.0], ["a", "a", "b", "pad"], [1, 1, 1, 0])
    with caplog.at_level(logging.WARNING, "advshape"):
        found = v1(data, algorithm({}, "advshape/rloo")).batch["advantages"][:, 0]
    assert found.tolist() == [1, -1, 0, 0]
    assert [r.getMessage() for r in caplog.records if "groups" in r.getMessage()] == [
        "1 of 2 groups have fewer judged rollouts than the 2 that rloo needs: advantages 0"
    ]


N4 = {"rollout": {"n": 4}}


@pytest.mark.parametrize(
    ("name", "rule", "sections", "message"),
    [
        ("advshape", {}, {}, r"needs an objective: add \+algorithm\.advshape\.estimator"),
        ("advshape", {"estimator": "rlo"}, {}, r"algorithm\.advshape: unknown estimator 'rlo', did you mean 'rloo'"),
        ("advshape/rloo", {"k": 3}, {}, r"algorithm\.advshape: rloo has no parameter 'k'"),
        ("advshape/rloo", {"estimator": "grpo"}, {}, r"advshape/rloo and algorithm\.advshape\.estimator both"),
        ("advshape/pass_at_k", {"k": 8}, {"actor_rollout_ref": N4}, r"actor_rollout_ref\.rollout\.n=4: .* at least 9"),
        (
            "advshape/nsr",
            {},
            {"algorithm": {"filter_groups": {"enable": True}}},
            r"algorithm\.filter_groups\.enable=True",
        ),
        (
            "advshape/grpo",
            {},
            {"algorithm": {"norm_adv_by_std_in_grpo": False}},
            r"algorithm\.norm_adv_by_std_in_grpo=Fa",
        ),
        ("advshape/rloo", {}, {"algorithm": {"use_kl_in_reward": True}}, r"algorithm\.use_kl_in_reward=True"),
        ("advshape/rloo", {"scale": "big"}, {}, r"algorithm\.advshape: unknown scale 'big'"),
        ("advshape/rloo", {"real": "cake"}, {}, r"algorithm\.advshape: real='cake'"),
    ],
)
def test_what_contradicts_the_table_is_an_error_that_names_the_key(name, rule, sections, message):
    config = algorithm(rule, name, **sections)
    with pytest.raises(AdvshapeError, match=message):
        legacy(batch([1.0, 0.0], ["a", "a"], [1, 1]), config)


@pytest.mark.parametrize(
    ("name", "sections"),
    [
        ("advshape/rloo", {"algorithm": {"filter_groups": {"enable": True}, "norm_adv_by_std_in_grpo": True}}),
        ("advshape/dr_grpo", {"algorithm": {"norm_adv_by_std_in_grpo": False}}),
        ("advshape/nsr", {"algorithm": {"filter_groups": {"enable": False}}}),
    ],
)
def test_what_agrees_with_the_table_is_no_error(name, sections):
    assert legacy(batch([1.0, 0.0], ["a", "a"], [1, 1]), algorithm({}, name, **sections)).batch["advantages"].any()


def test_no_uids_is_an_error():
    tokens = torch.ones(2, 1)
    with pytest.raises(AdvshapeError, match="no uids"):
        core_algos.get_adv_estimator_fn("advshape/rloo")(tokens, tokens, config=None)


def composed(name, *overrides):
    """A configuration as `python -m verl.trainer.main_ppo --config-dir ... --config-name NAME` composes it."""
    GlobalHydra.instance().clear()
    folder = (
        str(RECIPES) if name.startswith("verl-") else str(Path(sys.modules["verl"].__file__).parent / "trainer/config")
    )
    with initialize_config_dir(folder, version_base=None):
        return compose(name, overrides=list(overrides))


@pytest.mark.parametrize(("recipe", "nodes"), [("verl-one-node", 1), ("verl-nodes", 4)])
def test_recipes_pass_verls_own_validation_and_ours(recipe, nodes):
    config = composed(recipe)
    validate_config(config, need_reference_policy(config), need_critic(config))
    assert (config.trainer.nnodes, config.trainer.n_gpus_per_node) == (nodes, 8)
    assert not need_critic(config)
    settings = flatten(config)
    rule, options = objective(settings)
    assert rule.name == "pass_at_k(k=8) at unit rms"
    assert options == {}
    assert objective_warnings(settings) == []
    OmegaConf.resolve(config)  # as the V1 trainer does, and then hands over the section
    data = batch(*hostile.mixed(1, [16, 16]), [1] * 32)
    assert v1(data, config.algorithm).batch["advantages"].any()


def test_verl_refuses_a_broken_recipe():
    """A meta-test: the validation can fail."""
    config = composed("verl-one-node", "actor_rollout_ref.actor.use_dynamic_bsz=false")
    with pytest.raises(InstantiationException, match="ppo_micro_batch_size"):
        validate_config(config, False, False)


@pytest.mark.parametrize("spec", ["rloo", {"surrogate": "0.5*rho + 0.5*(1-(1-rho)**4)", "build": "plug_in"}])
def test_hydra_takes_the_lines_that_derive_prints(spec):
    words = shlex.split(verl_code(spec, 6).replace("\\\n", " "), comments=True)[3:]
    config = composed("ppo_trainer", *words)
    found = legacy(batch(*hostile.mixed(1, [6, 6]), [1] * 12), config.algorithm).batch["advantages"]
    want = legacy(
        batch(*hostile.mixed(1, [6, 6]), [1] * 12), algorithm({"estimator": spec} if isinstance(spec, str) else spec)
    ).batch["advantages"]
    assert torch.equal(found, want)
    assert found.any()


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["algorithm.adv_estimator=advshape/maxrl"], "maxrl"),
        (["algorithm.adv_estimator=advshape/pass_at_k", "+algorithm.advshape.k=4"], "pass_at_k(k=4)"),
        (["algorithm.adv_estimator=advshape", "+algorithm.advshape={estimator:pass_at_k,k:4}"], "pass_at_k(k=4)"),
        (["algorithm.adv_estimator=advshape", '+algorithm.advshape.estimator="pass_at_k(k=4)"'], "pass_at_k(k=4)"),
        (["algorithm.adv_estimator=advshape", '+algorithm.advshape.surrogate="1-(1-rho)**4"'], None),
    ],
)
def test_hydra_takes_our_overrides(overrides, expected):
    config = composed("ppo_trainer", "actor_rollout_ref.rollout.n=8", *overrides)
    rule, _ = objective(flatten(config))
    assert expected in (None, rule.name)
    data = batch(*hostile.mixed(1, [8, 8]), [1] * 16)
    for trainer in (legacy, v1):
        assert trainer(data, config.algorithm).batch["advantages"].any()


@pytest.mark.parametrize("recipe", ["verl-one-node", "verl-nodes"])
def test_the_doctor_finds_nothing_wrong_with_the_recipes(recipe, capsys):
    assert main(["doctor", "--config", str(RECIPES / f"{recipe}.yaml")]) == 0
    assert capsys.readouterr().out == "ok       objective: pass_at_k(k=8) at unit rms\n"


def test_the_doctor_knows_verls_keys_from_misspelt_ones(capsys):
    words = [
        "algorithm.adv_estimator=advshape/rloo",
        "+algorithm.gdpo_reward_keys=[a]",
        "model_engine=megatron",
        "+algorithm.filter_groups.enabel=true",
        "actor_rollout_ref.rollot.n=8",
    ]
    assert main(["doctor", "--config", *words]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("problem")] == [
        f"problem  unknown key: {key}: verl 0.9.1 reads no such key; did you mean {near}?"
        for key, near in [
            ("algorithm.filter_groups.enabel", "algorithm.filter_groups.enable"),
            ("actor_rollout_ref.rollot.n", "actor_rollout_ref.rollout.n"),
        ]
    ]


def test_the_doctor_reads_overrides_as_hydra_does(capsys):
    own = "algorithm.adv_estimator=advshape"
    assert main(["doctor", "--config", own, "+algorithm.advshape={estimator:pass_at_k,k:4}"]) == 0
    assert main(["doctor", "--config", own, "+algorithm.advshape.estimator=pass_at_k(k=4)"]) == 2
    found = capsys.readouterr()
    assert found.out == "ok       objective: pass_at_k(k=4)\n"
    assert "Hydra cannot read +algorithm.advshape.estimator=pass_at_k(k=4)" in found.err


def test_defaults_are_verls():
    found = flatten(composed("ppo_trainer"))
    assert {key: found.get(key) for key in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize("key", [key for key in DEFAULTS if key != "algorithm.advshape"])
def test_keys_that_are_read_exist_in_verl(key):
    assert OmegaConf.select(composed("ppo_trainer"), key, throw_on_missing=True) == DEFAULTS[key]


@pytest.fixture(scope="module")
def cluster():
    with local_ray.cluster(num_cpus=2) as started:
        yield started


def worker_class():
    @ray.remote(num_cpus=1, max_restarts=0)
    class Worker:
        """A worker that imports verl and nothing of ours by name, as verl's own do."""

        def process(self):
            return os.getpid()

        def advantages(self, data, config):
            from verl.trainer.ppo.ray_trainer import compute_advantage

            return compute_advantage(data, config.adv_estimator, config=config).batch["advantages"]

        def die(self):
            os._exit(17)

    return Worker


def test_two_ray_workers_find_the_plug_in_and_a_dead_one_is_reported(cluster):
    rewards, uids = hostile.mixed(11, [4, 8, 6, 8])
    whole, config = batch(rewards, uids, [2] * 26), algorithm({"k": 3}, "advshape/pass_at_k")
    shares = [[i for i, uid in enumerate(uids) if uid in own] for own in (("uid-0", "uid-3"), ("uid-1", "uid-2"))]
    workers = [worker_class().remote() for _ in shares]
    jobs = [worker.process.remote() for worker in workers]
    assert len({*ray.get(jobs, timeout=900), os.getpid()}) == 3
    jobs = [w.advantages.remote(whole.select_idxs(rows), config) for w, rows in zip(workers, shares, strict=True)]
    parts = ray.get(jobs, timeout=900)
    want = legacy(whole, config).batch["advantages"]
    found = torch.zeros_like(want)
    for rows, part in zip(shares, parts, strict=True):
        found[rows] = part
    torch.testing.assert_close(found, want, rtol=0, atol=0)
    assert found.any()
    dead = workers[1].die.remote()
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(dead, timeout=120)
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(workers[1].process.remote(), timeout=120)
    assert ray.get(workers[0].process.remote(), timeout=120)  # the other one lives on


def test_an_error_in_a_worker_arrives_with_its_message(cluster):
    config = algorithm({}, "advshape/rloo", algorithm={"use_kl_in_reward": True})
    job = worker_class().remote().advantages.remote(batch([1.0, 0.0], ["a", "a"], [1, 1]), config)
    with pytest.raises(AdvshapeError, match=r"algorithm\.use_kl_in_reward=True"):
        ray.get(job, timeout=900)


def test_without_trl_and_transformers_of_ours_the_plug_in_still_loads():
    """The plug-in may need what verl needs, and nothing of our extra `trl`."""
    code = (
        "import sys\nfor name in ('trl', 'matplotlib', 'plotly'):\n"
        "    sys.modules[name] = None\n"
        "import verl\nfrom verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY\n"
        "print('advshape/rloo' in ADV_ESTIMATOR_REGISTRY)"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=900)
    assert done.stdout.split()[-1:] == ["True"], done.stderr
