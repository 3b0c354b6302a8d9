"""`advshape doctor`: behaviour of the command on configurations, and on trainers that are missing, silent or slow."""

import pytest

from advshape.cli import main
from advshape.doctor import trainers
from advshape.doctor.machine import run_python


def doctor(capsys, *words):
    code = main(["doctor", "--config", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("words", [
    ["algorithm.adv_estimator=advshape/rloo"],
    ["algorithm.adv_estimator=advshape", "+algorithm.advshape.estimator=pass_at_k", "+algorithm.advshape.k=4"],
    ["countdown"],
])  # fmt: skip
def test_nothing_wrong(capsys, words):
    code, out, _ = doctor(capsys, *words)
    assert code == 0
    assert out.startswith("ok       objective: ")
    assert "AdvantageEstimator" not in out
    assert "problem" not in out


@pytest.mark.parametrize(("words", "said"), [
    (["algorithm.adv_estimator=grpo", "+algorithm.advshape.k=2"], "algorithm.advshape has no effect"),
    (["algorithm.adv_estimator=advshape/pass_at_k", "+algorithm.advshape.k=8", "actor_rollout_ref.rollout.n=8"],
     "actor_rollout_ref.rollout.n=8: pass_at_k(k=8) needs at least 9"),
    (["algorithm.adv_estimator=advshape/grpo", "actor_rollout_ref.rollout.n=abc"],
     "actor_rollout_ref.rollout.n is a whole number of rollouts per prompt, got 'abc'"),
    (["algorithm.adv_estimator=advshape/nsr", "algorithm.filter_groups.enable=True"], "algorithm.filter_groups.enable"),
    (["algorithm.adv_estimator=advshape/rloo", "actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-mean"],
     "changes the objective: actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-mean: divides each rollout"),
    (["countdown", "trainer.loss_type=grpo"], "changes the objective: loss_type=grpo: divides each rollout"),
])  # fmt: skip
def test_a_problem_is_named_and_is_exit_code_1(capsys, words, said):
    code, out, _ = doctor(capsys, *words)
    assert code == 1
    assert said in out


@pytest.mark.parametrize(("words", "said"), [
    (["nowhere.yaml"], "no file 'nowhere.yaml'"),
    (["countdwn"], "did you mean 'countdown'"),
    (["a.yaml", "b.yaml"], "takes one file"),
    (["algorithm.adv_estimator=[a"], "as YAML"),
])  # fmt: skip
def test_what_cannot_be_read_is_exit_code_2(capsys, words, said):
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
    assert (code, out) == (0, "ok       objective: pass_at_k(k=3)\n")


ANSWERS = {
    "knows": ('{"known": 40, "why": ""}', "ok", "knows our estimators"),
    "silent": ('{"known": 0, "why": "ImportError: no x"}', "problem", "which verl hides: ImportError: no x"),
    "unregistered": ('{"known": 0, "why": ""}', "problem", "the entry point is missing"),
}  # fmt: skip


@pytest.mark.parametrize("case", ANSWERS)
def test_a_trainer_is_asked_in_a_process_of_its_own(monkeypatch, case):
    answer, status, said = ANSWERS[case]
    monkeypatch.setattr(trainers, "installed", {"verl": "0.9.1"}.get)
    monkeypatch.setitem(trainers.PROBES, "verl", f"print({answer!r})")
    found = {f.subject: f for f in trainers.trainers(60)}
    assert found["trl"].status == "absent"
    assert found["verl"].status == status
    assert said in found["verl"].text


def test_a_policy_that_leaves_us_out_is_named(monkeypatch):
    monkeypatch.setenv("VERL_USE_EXTERNAL_PLUGINS", "none")
    monkeypatch.setattr(trainers, "installed", {"verl": "0.9.1"}.get)
    monkeypatch.setitem(trainers.PROBES, "verl", 'print(\'{"known": 0, "why": ""}\')')
    assert "VERL_USE_EXTERNAL_PLUGINS=none" in list(trainers.trainers(60))[-1].text


def test_another_version_is_a_problem_and_is_not_imported(monkeypatch):
    monkeypatch.setattr(trainers, "installed", {"verl": "0.12.0"}.get)
    monkeypatch.setitem(trainers.PROBES, "verl", "raise SystemExit('imported')")
    found = list(trainers.trainers(60))[-1]
    assert found.status == "problem"
    assert "version 0.12.0, but the adapter is proven with 0.9.1" in found.text


@pytest.mark.parametrize(("code", "seconds", "said"), [
    ("import time; time.sleep(30)", 0.5, "no answer within 0.5 seconds"),
    ("raise ImportError('broken')", 60, "ImportError: broken"),
    ("import os; os._exit(3)", 60, "ended with code 3"),
])  # fmt: skip
def test_a_process_that_hangs_breaks_or_dies_is_reported(code, seconds, said):
    found, why = run_python(code, seconds)
    assert found is None
    assert said in why
