"""`advshape doctor`: behaviour of the command on configurations, and on trainers that are missing, silent or slow."""

from dataclasses import replace
from importlib.util import spec_from_file_location

import pytest

from advshape.adapters.registry import ADAPTERS, Adapter, after
from advshape.audit.names import TRAINERS
from advshape.cli import main
from advshape.doctor import keys, machine, trainers
from advshape.doctor.machine import ask_python


def doctor(capsys, *words):
    code = main(["doctor", "--config", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(
    "words",
    [
        ["algorithm.adv_estimator=advshape/rloo"],
        ["algorithm.adv_estimator=advshape", "+algorithm.advshape.estimator=pass_at_k", "+algorithm.advshape.k=4"],
        ["countdown"],
    ],
)
def test_nothing_wrong(capsys, words):
    code, out, _ = doctor(capsys, *words)
    assert code == 0
    assert "ok       objective: " in out
    assert "AdvantageEstimator" not in out
    assert "problem" not in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["algorithm.adv_estimator=grpo", "+algorithm.advshape.k=2"], "algorithm.advshape has no effect"),
        (
            ["algorithm.adv_estimator=advshape/pass_at_k", "+algorithm.advshape.k=8", "actor_rollout_ref.rollout.n=8"],
            "actor_rollout_ref.rollout.n=8: pass_at_k(k=8) needs at least 9",
        ),
        (
            ["algorithm.adv_estimator=advshape/grpo", "actor_rollout_ref.rollout.n=abc"],
            "actor_rollout_ref.rollout.n is a whole number of rollouts per prompt, got 'abc'",
        ),
        (
            ["algorithm.adv_estimator=advshape/nsr", "algorithm.filter_groups.enable=True"],
            "algorithm.filter_groups.enable",
        ),
        (
            ["algorithm.adv_estimator=advshape/rloo", "actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-mean"],
            "changes the objective: actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-mean: divides each rollout",
        ),
        (["countdown", "trainer.loss_type=grpo"], "changes the objective: loss_type=grpo: divides each rollout"),
        (
            ["countdown", "trainer.num_generations=10", "trainer.per_device_train_batch_size=12"],
            "recipe: the generation",
        ),
        (["countdown", "objective.estimatr=rloo"], "recipe: pass_at_k has no parameter 'estimatr'"),
        (
            ["algorithm.adv_estimatr=advshape/rloo"],
            "unknown key: algorithm.adv_estimatr: verl reads no such key; did you mean algorithm.adv_estimator?",
        ),
        (
            ["algorithm.adv_estimator=advshape", "algorithm.advshape={objectve: rloo, scale: rms}"],
            "needs an objective: add +algorithm.advshape.estimator=rloo",
        ),
        (
            ["algorithm.adv_estimator=advshape", "+algorithm.advshape={objectve:rloo,scale:rms}"],
            "it holds objectve, scale",
        ),
    ],
)
def test_a_problem_is_named_and_is_exit_code_1(capsys, words, said):
    code, out, _ = doctor(capsys, *words)
    assert code == 1
    assert said in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.yaml"], "no file 'nowhere.yaml'"),
        (["countdwn"], "did you mean 'countdown'"),
        (["a.yaml", "b.yaml"], "takes one file"),
        (["algorithm.adv_estimator=[a"], "as YAML"),
        (["BINARY.yaml"], "cannot read BINARY.yaml as text"),
    ],
)
def test_what_cannot_be_read_is_exit_code_2(capsys, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "BINARY.yaml").write_bytes(b"\xf9\x00")
    code, _, err = doctor(capsys, *words)
    assert code == 2
    assert said in err


def test_a_yaml_file_over_the_defaults_beside_it(capsys, tmp_path):
    (tmp_path / "base.yaml").write_text(
        "algorithm: {adv_estimator: advshape, advshape: {estimator: pass_at_k, k: 8}}\n"
    )
    (tmp_path / "mine.yaml").write_text(
        "defaults: [ppo_trainer, base, _self_]\nalgorithm: {advshape: {k: 3}}\n"
        "actor_rollout_ref: {rollout: {n: 4, top_k: '${data.top_k}'}}\n"
    )
    code, out, _ = doctor(capsys, str(tmp_path / "mine.yaml"))
    assert (code, out.splitlines()[-1]) == (
        0,
        "ok       objective: pass_at_k(k=3): unbiased for PassAtK(k=3), F = 1 - (1 - rho)**3",
    )


def test_everything_wrong_is_told_at_once(capsys):
    code, out, _ = doctor(
        capsys,
        "algorithm.adv_estimator=advshape/nsr",
        "algorithm.filter_groups.enable=true",
        "algorithm.use_kl_in_reward=true",
        "+algorithm.advshape.scale=big",
        "actor_rollout_ref.rollout.n=eight",
    )
    assert code == 1
    told = [line for line in out.splitlines() if line.startswith("problem  objective: ")]
    for said in ("unknown scale 'big'", "filter_groups.enable=True removes", "use_kl_in_reward=True", "got 'eight'"):
        assert sum(said in line for line in told) == 1
    code, out, _ = doctor(
        capsys,
        "countdown",
        "objective={estimator='pass_at_k', k=99, real='cake'}",
        "trainer.loss_typ=x",
        "evaluation.n=0",
        "model.path=nowhere/at-all",
    )
    assert code == 1
    for said in ("at least 100 rollouts", "real='cake'", "'loss_typ'", "[evaluation] n", "nowhere/at-all"):
        assert sum(said in line for line in out.splitlines()) == 1


@pytest.fixture
def verl(tmp_path, monkeypatch):
    """A stand-in for an installed verl: nothing but its configuration files."""
    folder = tmp_path / "verl" / "trainer" / "config"
    (folder / "model_engine").mkdir(parents=True)
    (folder / "_generated_ppo_trainer.yaml").write_text(
        "algorithm: {_target_: math.Missing, adv_estimator: gae, rollout_correction: {rollout_is: null}}\n"
        "actor_rollout_ref: {rollout: {n: 1, engine_kwargs: {}}, actor: {lr: 1.0, checkpoint: null}}\n"
    )
    (folder / "_generated_ppo_megatron_trainer.yaml").write_text("actor_rollout_ref: {actor: {megatron: {tp: 1}}}\n")
    (tmp_path / "verl" / "__init__.py").write_text("")
    spec = spec_from_file_location("verl", tmp_path / "verl" / "__init__.py")
    monkeypatch.setattr(keys, "find_spec", lambda name: spec)


RLOO = "algorithm.adv_estimator=advshape/rloo"


@pytest.mark.parametrize(
    "word",
    [
        "actor_rollout_ref.actor.megatron.tp=2",
        "actor_rollout_ref.rollout.engine_kwargs.vllm.x=1",
        "actor_rollout_ref.actor.checkpoint.mode=all",
        "hydra.run.dir=x",
        "model_engine=megatron",
        "+algorithm.advshape={}",
        "actor@actor_rollout_ref.actor=megatron_actor",
    ],
)
def test_keys_that_verl_has(capsys, verl, word):
    assert doctor(capsys, RLOO, word)[:2] == (0, "ok       objective: rloo: unbiased for Identity(), F = rho\n")


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("+algorithm.adv_estimatr=gae", "did you mean algorithm.adv_estimator?"),
        ("+algorithm.advshap.k=3", "did you mean algorithm.advshape?"),
        ("actor_rollout_ref.rollot.n=3", "did you mean actor_rollout_ref.rollout.n?"),
        ("actor_rollout_ref.actor.lr.x=3", "did you mean actor_rollout_ref.actor.lr?"),
        ("qwertz=3", "look it up in verl's documentation"),
    ],
)
def test_keys_that_verl_has_not(capsys, verl, word, near):
    code, out, _ = doctor(capsys, RLOO, word)
    assert code == 1
    (line,) = [line for line in out.splitlines() if "problem" in line]
    assert line.startswith(f"problem  unknown key: {word.lstrip('+').split('=')[0]}: verl")
    assert near in line


ANSWERS = {
    "knows": ('{"known": 40, "why": ""}', "ok", "knows our estimators"),
    "silent": ('{"known": 0, "why": "ImportError: no x"}', "problem", "which verl hides: ImportError: no x"),
    "unregistered": ('{"known": 0, "why": ""}', "problem", "the entry point is missing"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_a_trainer_is_asked_in_a_process_of_its_own(monkeypatch, case):
    answer, status, said = ANSWERS[case]
    monkeypatch.setattr(trainers, "installed", {"verl": "0.9.1"}.get)
    monkeypatch.setitem(ADAPTERS, "verl", replace(ADAPTERS["verl"], probe=f"print({answer!r})"))
    found = {f.subject: f for f in trainers.trainers(60)}
    assert found["trl"].status == "absent"
    assert found["verl"].status == status
    assert said in found["verl"].text


def test_a_policy_that_leaves_us_out_is_named(monkeypatch):
    monkeypatch.setenv("VERL_USE_EXTERNAL_PLUGINS", "none")
    monkeypatch.setattr(trainers, "installed", {"verl": "0.9.1"}.get)
    monkeypatch.setitem(ADAPTERS, "verl", replace(ADAPTERS["verl"], probe='print(\'{"known": 0, "why": ""}\')'))
    assert "VERL_USE_EXTERNAL_PLUGINS=none" in {f.subject: f for f in trainers.trainers(60)}["verl"].text


def test_another_version_is_a_problem_and_is_not_imported(monkeypatch):
    monkeypatch.setattr(trainers, "installed", {"verl": "0.12.0"}.get)
    monkeypatch.setitem(ADAPTERS, "verl", replace(ADAPTERS["verl"], probe="raise SystemExit('imported')"))
    found = {f.subject: f for f in trainers.trainers(60)}["verl"]
    assert found.status == "problem"
    assert "version 0.12.0, but the adapter is proven with 0.9.1" in found.text


@pytest.mark.parametrize("name", ["skyrl", "swift", "openrlhf", "tunix"])
def test_a_trainer_that_a_script_patches_is_tried(monkeypatch, name):
    """With the version that the tests run, the adapter itself says what is missing: here the trainer's code."""
    distribution = ADAPTERS[name].distribution
    monkeypatch.setattr(trainers, "installed", {distribution: "9.9"}.get)
    found = {f.subject: f for f in trainers.trainers(60)}
    assert found[name].status == "problem"
    assert f"{distribution} is not installed for this Python; install version" in found[name].text
    assert {f.status for subject, f in found.items() if subject != name} == {"absent"}


def test_audit_and_adapters_name_the_same_packages():
    assert {name: package for name, (package, _) in TRAINERS.items()}.items() <= {
        name: adapter.distribution for name, adapter in ADAPTERS.items()
    }.items()


@pytest.mark.parametrize(("known", "status"), [("True", "ok"), ("False", "problem"), ("1 / 0", "problem")])
def test_what_the_trainer_says_after_the_adapter_ran_decides(monkeypatch, known, status):
    monkeypatch.setattr(trainers, "installed", {"skyrl": "0.3.0"}.get)
    monkeypatch.setitem(ADAPTERS, "skyrl", Adapter("skyrl", after("ours = print", "pass", known)))
    assert {f.subject: f for f in trainers.trainers(60)}["skyrl"].status == status


@pytest.mark.parametrize(
    ("code", "seconds", "said"),
    [
        ("import time; time.sleep(30)", 0.5, "no answer within 0.5 seconds"),
        ("raise ImportError('broken')", 60, "ImportError: broken"),
        ("import os; os._exit(3)", 60, "exit code 3"),
    ],
)
def test_a_process_that_hangs_breaks_or_dies_is_reported(code, seconds, said):
    found, why = ask_python(code, seconds)
    assert found is None
    assert said in why


def test_advshape_that_was_never_installed_is_a_problem(monkeypatch):
    monkeypatch.setattr(machine, "installed", lambda name: None)
    (found,) = machine.extras()
    assert (found.status, found.subject) == ("problem", "advshape")
