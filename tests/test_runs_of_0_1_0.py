"""Recovery: runs and logs that version 0.1.0 wrote are read, compared, resumed and continued as what they are."""

import json
import shutil
from pathlib import Path

import pytest

from advshape.cli import main
from advshape.tasks import Problem, load_task

DATA = Path(__file__).parent / "data" / "v0_1_0"


@pytest.fixture
def there(tmp_path, monkeypatch):
    shutil.copytree(DATA, tmp_path / "data")
    monkeypatch.chdir(tmp_path / "data")
    return tmp_path / "data"


def same(found, recorded, place=""):
    """Every number and word that was recorded is found again, to the last digit; more may have come."""
    if isinstance(recorded, dict):
        for key, value in recorded.items():
            assert key in found, f"{place}.{key}"
            same(found[key], value, f"{place}.{key}")
    elif isinstance(recorded, list):
        assert len(found) == len(recorded), place
        for number, (one, other) in enumerate(zip(found, recorded, strict=True)):
            same(one, other, f"{place}[{number}]")
    elif isinstance(recorded, float):
        assert found == pytest.approx(recorded, rel=1e-12), place
    else:
        assert found == recorded, place


@pytest.mark.parametrize(
    ("words", "recorded"),
    [(["compare", "done", "other"], "compare.json"), (["passk", "complete/rollouts.jsonl"], "passk.json")],
)
def test_the_numbers_are_the_recorded_ones(there, capsys, words, recorded):
    assert main([*words, "--json"]) == 0
    same(json.loads(capsys.readouterr().out), json.loads((there / recorded).read_text()))


def test_a_changed_number_would_be_seen():
    with pytest.raises(AssertionError, match=r"\.a\[1\]"):
        same({"a": [1.0, 2.0], "b": 0}, {"a": [1.0, 2.000001]})


def test_report(there):
    pytest.importorskip("plotly")
    assert main(["report", "done"]) == 0
    page = (there / "done" / "report.html").read_text()
    summary = json.loads((there / "done" / "summary.json").read_text())
    assert f"{summary['before']['curve']['values'][0]:.3f}" in page
    assert "pass_at_k(k=2) at unit rms" in page


def test_a_stopped_run_ends_with_the_bits_that_0_1_0_gave(there, one_thread):
    pytest.importorskip("trl")
    assert main(["train", "--resume", "stopped", "--quiet"]) == 0
    for file in ("rollouts.jsonl", "evaluation/before.jsonl", "evaluation/after.jsonl"):
        assert (there / "stopped" / file).read_bytes() == (there / "done" / file).read_bytes(), file

    def metrics(run):
        lines = [json.loads(line) for line in (there / run / "metrics.jsonl").read_text().splitlines()]
        walls = ("seconds", "step_time", "advshape/seconds_saved")
        return [{key: value for key, value in line.items() if key not in walls} for line in lines]

    same(metrics("stopped"), metrics("done"))


EVALUATE = ["evaluate", "countdown", "--quiet", "--json"]
COUNTDOWN = ["--task", "countdown", "--count", "6", "-n", "8"]


def test_a_complete_log_is_complete(there, capsys):
    pytest.importorskip("transformers")
    before = (there / "complete" / "rollouts.jsonl").read_bytes()
    assert main([*EVALUATE, *COUNTDOWN, "--out", "complete"]) == 0
    assert (there / "complete" / "rollouts.jsonl").read_bytes() == before  # nothing sampled, nothing judged again
    found = json.loads(capsys.readouterr().out)
    assert found["outcomes"] == {"right": 10, "wrong": 38, "not_judged": 0, "truncated": 0}
    assert found["notes"] == []  # no other verifier


def test_a_cut_log_goes_on(there, capsys, one_thread):
    pytest.importorskip("transformers")
    assert main([*EVALUATE, *COUNTDOWN, "--out", "cut"]) == 0
    lines = [sorted((there / name / "rollouts.jsonl").read_text().splitlines()) for name in ("cut", "complete")]
    assert lines[0] == lines[1]


@pytest.mark.parametrize("task", ["maths", "code"])
def test_other_tasks_sample_nothing_again(there, capsys, task):
    """A log of maths is complete; one of code, whose sandbox judges more fairly now, is judged again."""
    pytest.importorskip("transformers")
    if task == "maths":
        pytest.importorskip("math_verify")
    elif shutil.which("bwrap") is None:
        pytest.skip("judging programs needs bubblewrap")
    before = (there / task / "rollouts.jsonl").read_text().splitlines()
    source = [word for entry in (f"path={task}.jsonl", "heldout_share=1.0", "chat=false") for word in ("--set", entry)]
    count = ["--task", task, *source, "--count", "2", "-n", "4", "--max-new-tokens", "8"]
    assert main([*EVALUATE, *count, "--out", task]) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    after = (there / task / "rollouts.jsonl").read_text().splitlines()
    assert after[: len(before)] == before
    rollouts = [json.loads(line) for line in after if '"kind": "settings"' not in line]
    assert {line["completion"] for line in rollouts[8:]} <= {line["completion"] for line in rollouts[:8]}
    judged_again = any("judged again by this verifier, not sampled again" in note for note in notes)
    rule = json.loads(before[0])["settings"]["verifier"].split()[1]
    assert (len(rollouts), judged_again) == ((8, False) if rule == type_of(task).VERIFIER else (16, True))


def type_of(task):
    return type(load_task(task, path=f"{task}.jsonl", heldout_share=1.0))


@pytest.mark.parametrize("name", ["countdown", "maths"])
def test_a_verifier_of_the_same_name_gives_the_same_verdicts(name):
    """VERIFIER names a rule: as long as it has the name of 0.1.0, it decides and reads answers as 0.1.0 did."""
    recorded = json.loads((DATA / "verdicts.json").read_text())[name]
    if name == "maths":
        pytest.importorskip("math_verify")
        task = load_task(name, path=str(DATA / "golds.jsonl"), heldout_share=1.0, workers=1)
        problems = {problem.data["question"]: problem for problem in task.problems("heldout", 8)}
    else:
        task = load_task(name)
        problems = {problem.id: problem for problem in task.problems("heldout", 12, seed=3)}
    changed = [
        (problem, completion, outcome, verdict.outcome)
        for problem, completion, outcome, answer in recorded
        if (verdict := task.verdict(problems[problem], completion))
        and (verdict.outcome, verdict.answer) != (outcome, answer)
    ]
    if {"countdown": "78dd0349", "maths": "0dbd7ef0"}[name] == type(task).VERIFIER:
        assert not changed, f"{len(changed)} verdicts changed: give {type(task).__name__}.VERIFIER a new name"
    assert isinstance(problems[recorded[0][0]], Problem)
