"""The task maths: rows in, verdicts out; what goes wrong with the verifier is told, never a silent 0."""

import contextlib
import gzip
import json
import os
import signal
import time
import warnings

import pytest

from advshape.cli import main
from advshape.errors import AdvshapeError
from advshape.evaluation.logs.jsonl import read_jsonl
from advshape.tasks import Problem, Task, Verdict, load_task
from advshape.tasks.countdown import evaluate_expression
from advshape.tasks.judging import judge_all, verdicts
from advshape.tasks.maths import final_answer, last_boxed
from advshape.tasks.workers import Worker, WorkerFailed, WorkerPool
from advshape.training.rundir.directory import RunDirectory

pytest.importorskip("math_verify")
HALF = {"problem": "What is 1 - 1/2?", "solution": "It is $\\boxed{\\frac{1}{2}}$."}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def gsm(count, start=0):
    return [
        {"question": f"What is {i} + 1?", "answer": f"{i} + 1 = <<{i}+1={i + 1}>>{i + 1}\n#### {i + 1}"}
        for i in range(start, start + count)
    ]


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """Answers of several kinds, all in the training split."""
    answers = {
        "half": "1/2",
        "big": "#### 1,080",
        "tuple": "(1, 2]",
        "name": "\\text{Evelyn}",
        "term": "x^2+1",
        "root": "\\sqrt{2}",
        "percent": "50\\%",
        "odd": "#### $72",
    }
    rows = [{"question": name, "answer": answer} for name, answer in answers.items()]
    return load_task(
        "maths", path=write(tmp_path_factory.mktemp("maths") / "a.jsonl", rows), heldout_share=0, seconds=6
    )


def problem(task, name):
    return next(found for found in task.problems("train", 8) if found.data["question"] == name)


@pytest.mark.parametrize(
    ("name", "completion", "outcome"),
    [
        ("half", "So it is \\boxed{0.5}.", "right"),
        ("half", "\\boxed{\\frac12}", "right"),
        ("half", "First \\boxed{3}, no: \\boxed{2/4}", "right"),
        ("half", "\\boxed{0.3}", "wrong"),
        ("half", "\\boxed{\\frac12, 3}", "wrong"),
        ("half", "\\boxed{3} or \\boxed{\\frac12}", "right"),
        ("half", "\\boxed{\\frac12} or \\boxed{3}", "wrong"),
        ("half", "I do not know", "wrong"),
        ("half", "", "wrong"),
        ("half", "(" * 20_000, "wrong"),
        ("half", "\\boxed{" + "{" * 5000, "wrong"),
        ("half", "\ud800\x00 \\boxed{0.5}", "right"),
        ("half", "\\boxed{3} " * 20_000 + "\\boxed{0.5}", "right"),
        ("big", "The answer is $1080$.", "right"),
        ("big", "1,080", "right"),
        ("big", "\\boxed{1081}", "wrong"),
        ("odd", "\\boxed{72}", "right"),
        ("tuple", "$(1,2]$", "right"),
        ("tuple", "$[1,2]$", "wrong"),
        ("name", "\\boxed{Evelyn}", "right"),
        ("name", "\\boxed{Eve}", "wrong"),
        ("term", "\\boxed{1 + x^2}", "right"),
        ("term", "\\boxed{1 + x}", "wrong"),
        ("root", "\\boxed{2^{1/2}}", "right"),
        ("root", "\\boxed{1.414}", "wrong"),
    ],
)
def test_verdicts(task, name, completion, outcome):
    verdict = task.verdict(problem(task, name), completion)
    assert verdict.outcome == outcome, verdict
    assert bool(verdict.reason) == (outcome != "right")


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("First \\boxed{3}, no: \\boxed{1/2}", "\\frac{1}{2}"),
        ("\\boxed{0.5}", "\\frac{1}{2}"),
        ("The answer is 1,080.", "1080"),
        ("I do not know", ""),
        ("\\boxed{3} \\boxed{" + "1" * 150 + "}", "1" * 150),
    ],
)
def test_the_answer_for_a_vote_is_as_math_verify_spells_it(task, completion, answer):
    assert task.verdict(problem(task, "half"), completion).answer == answer


@pytest.mark.parametrize("completion", ["9**9**9**9", "$\\sum_{i=1}^{10^{10}} i^i$"])
def test_an_answer_that_takes_too_long_is_not_judged(task, completion):
    start = time.monotonic()
    verdict = task.verdict(problem(task, "half"), completion)
    assert verdict.outcome == "not_judged"
    assert "took longer" in verdict.reason or "memory" in verdict.reason
    assert time.monotonic() - start < 60
    assert task.verdict(problem(task, "half"), "\\boxed{0.5}").outcome == "right"


def test_many_at_once_in_order(task):
    given = [
        (name, f"\\boxed{{{answer}}}")
        for name, answer in [("half", "0.5"), ("half", "7"), ("big", "1080"), ("root", "2"), ("term", "x^2+1")] * 4
    ]
    found = verdicts(task, [problem(task, name) for name, _ in given], [text for _, text in given])
    assert [verdict.outcome for verdict in found] == ["right", "wrong", "right", "wrong", "right"] * 4
    assert isinstance(task, Task)


@pytest.mark.parametrize(
    ("found", "completion"),
    [(Problem("x", "", {}), "1"), (Problem("x", "", {"answer": 3}), "1"), (Problem("x", "", {"answer": "3"}), 7)],
)
def test_what_this_task_did_not_hand_out_is_not_judged(task, found, completion):
    assert task.verdict(found, completion).outcome == "not_judged"


def test_an_answer_that_math_verify_cannot_read_is_not_judged(task):
    verdict = task.verdict(Problem("x", "", {"answer": " "}), "\\boxed{3}")
    assert verdict.outcome == "not_judged"
    assert "cannot read the data set's answer" in verdict.reason


# Answers in reference solutions


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("a\n#### 42", "42"),
        ("#### -1,234,567.5", "-1234567.5"),
        ("#### 1,2", "1,2"),
        ("#### $1,000", "$1000"),
        ("\\boxed{1} then \\fbox{2}", "2"),
        ("\\boxed{a_{1_{2}}}", "a_{1_{2}}"),
        ("$\\boxed 7$", "7"),
        ("plain", "plain"),
        ("\\boxed{open", "\\boxed{open"),
    ],
)
def test_final_answer(text, answer):
    assert final_answer(text) == answer


def test_a_solution_without_its_answer_is_an_error():
    assert last_boxed("none") is None
    with pytest.raises(AdvshapeError, match=r"no \\boxed\{\} answer; name the column"):
        final_answer("it is 3", boxed=True)
    with pytest.raises(AdvshapeError, match="the answer is empty"):
        final_answer("####  ")


# Files and data sets


def test_the_same_problems_from_every_kind_of_file(tmp_path):
    import pyarrow
    import pyarrow.parquet

    plain = load_task("maths", path=write(tmp_path / "a.jsonl", gsm(60)))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(gsm(60)), tmp_path / "c.parquet")
    for name in ("b.jsonl.gz", "c.parquet"):
        other = load_task("maths", path=str(tmp_path / name))
        assert other.data == plain.data
        assert other.problems("train", 40, seed=3) == plain.problems("train", 40, seed=3)
    assert plain.problems("train", 1)[0].data["answer"].isdigit()


def test_a_data_set_by_name(tmp_path):
    pytest.importorskip("datasets")
    folder = tmp_path / "set"
    folder.mkdir()
    write(folder / "train.jsonl", gsm(10))
    write(folder / "test.jsonl", gsm(5, start=100))
    task = load_task("maths", dataset=str(folder))
    assert {found.data["answer"] for found in task.problems("heldout", 5)} == {str(i) for i in range(101, 106)}
    with pytest.raises(AdvshapeError, match="has no split 'validation'; it has 'train', 'test'"):
        load_task("maths", dataset=str(folder), heldout_split="validation")
    with pytest.raises(AdvshapeError, match="cannot load the data set"):
        load_task("maths", dataset=str(tmp_path / "missing"))


def test_splits_are_disjoint_and_stable(tmp_path):
    small = load_task("maths", path=write(tmp_path / "a.jsonl", gsm(300)))
    large = load_task("maths", path=write(tmp_path / "b.jsonl", gsm(400)[::-1]))

    def ids(task, split):
        known = task._problems.train if split == "train" else task._problems.heldout
        return {found.id for found in task.problems(split, len(known), seed=1)}

    assert not ids(small, "train") & ids(small, "heldout")
    assert len(ids(small, "train")) + len(ids(small, "heldout")) == 300
    assert 10 <= len(ids(small, "heldout")) <= 60
    assert ids(small, "heldout") <= ids(large, "heldout")
    assert small.problems("train", 9, seed=5) == small.problems("train", 20, seed=5)[:9]
    assert small.problems("train", 9, seed=5) != small.problems("train", 9, seed=6)


def test_given_splits_stay_apart(tmp_path):
    first, second = write(tmp_path / "a.jsonl", gsm(6)), write(tmp_path / "b.jsonl", gsm(4, start=4))
    with pytest.warns(UserWarning, match="2 problems of .* are also held out"):
        task = load_task("maths", path=first, heldout_path=second)
    assert len(task.problems("train", 4)) == 4
    with pytest.raises(AdvshapeError, match=r"has 4 train problems, asked for 5; .*train_problems = 4 in \[task\]"):
        task.problems("train", 5)


def test_prompts(tmp_path):
    path = write(tmp_path / "a.jsonl", [HALF])
    options = {"path": path, "heldout_share": 0}
    assert load_task("maths", **options).problems("train", 1)[0].prompt == [
        {
            "role": "user",
            "content": "What is 1 - 1/2?\n\nPlease reason step by step, and put your final answer within \\boxed{}.",
        }
    ]
    plain = load_task("maths", **options, chat=False, instruction="").problems("train", 1)[0]
    assert plain.prompt == "What is 1 - 1/2?"
    assert plain.data["answer"] == "\\frac{1}{2}"


def test_twice_the_same_is_once_and_with_another_answer_an_error(tmp_path):
    task = load_task("maths", path=write(tmp_path / "a.jsonl", gsm(3) * 2), heldout_share=0)
    assert len(task.problems("train", 3)) == 3
    rows = [*gsm(2), {"question": "What is 0 + 1?", "answer": "#### 2"}]
    with pytest.raises(AdvshapeError, match="row 3: the same problem occurs before with another answer"):
        load_task("maths", path=write(tmp_path / "b.jsonl", rows))


@pytest.mark.parametrize(
    ("rows", "parameters", "message"),
    [
        (
            [{"frage": "1?", "answer": "1"}],
            {},
            "no question column 'question' or 'problem' or 'prompt'; it has "
            "'frage', 'answer'; name it with question= (in a recipe: task.question)",
        ),
        ([{"question": "1?", "loesung": "1"}], {}, "no answer column 'answer' or 'final_answer' or 'solution'; it has"),
        ([{"question": "1?", "answer": "1"}], {"answer": "anwser"}, "did you mean 'answer'?"),
        ([{"question": "1?", "answer": ""}], {}, "row 1: the column 'answer' holds no text"),
        ([*gsm(2), {"question": "?", "answer": None}], {}, "row 3: the column 'answer' holds no text (None)"),
        ([{"problem": "1?", "solution": "one"}], {}, "row 1: the solution has no \\boxed{} answer"),
        ([["a"]], {}, "line 1 is list; each line is one JSON object"),
        ([], {}, "holds no problem"),
        (gsm(1), {"heldout_share": 2}, "heldout_share is a share between 0 and 1, got 2"),
        (gsm(1), {"seconds": 0}, "seconds is a number above 0"),
        (gsm(1), {"workers": 0}, "workers is a whole number between 1 and 1024"),
        (gsm(1), {"pth": "x"}, "did you mean 'path'?"),
        (gsm(1), {"dataset": "x"}, "one of path="),
        (gsm(1), {"config": "main"}, "go with dataset="),
    ],
)
def test_errors_say_what_is_there(tmp_path, rows, parameters, message):
    with pytest.raises(AdvshapeError) as caught:
        load_task("maths", path=write(tmp_path / "a.jsonl", rows), **parameters)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"question": "1"\n', "a.jsonl, line 1 is not JSON"),
        ("a.jsonl", b"\xff\xfe\x00", "cannot read"),
        ("a.jsonl.gz", b"no gzip", "cannot read"),
        ("a.parquet", b"no parquet", "cannot read"),
        ("a.csv", b"question,answer\n", "problems come in files that end in .jsonl, .jsonl.gz, .parquet"),
        ("b.jsonl", None, "there is no file"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(AdvshapeError) as caught:
        load_task("maths", path=str(tmp_path / name))
    assert message in str(caught.value)


def test_neither_file_nor_data_set():
    with pytest.raises(AdvshapeError, match=r"needs one of path=.*got neither"):
        load_task("maths")


# The workers

WORKER = """
import json, os, sys, time
def main():
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        if question == "sleep": time.sleep(10**6)
        if question == "die": os._exit(7)
        if question == "many": print("1\\n2", flush=True); continue
        print(json.dumps([question, os.getpid()]), flush=True)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "worker_for_tests.py").write_text(WORKER)
    (tmp_path / "worker_that_fails.py").write_text("def main(): raise SystemExit(3)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "worker_for_tests"


def test_a_worker_that_hangs_is_ended_and_replaced(module):
    pool = WorkerPool(module)
    first = pool.ask("a", 30)[1]
    assert pool.ask("b", 30) == ["b", first]
    with pytest.raises(WorkerFailed, match=r"took longer than 0\.5 s"):
        pool.ask("sleep", 0.5)
    second = pool.ask("c", 30)[1]
    assert second != first
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    with pytest.raises(WorkerFailed, match=r"crashed \(exit code 7\)"):
        pool.ask("die", 30)
    third = pool.ask("d", 30)[1]
    os.kill(third, signal.SIGKILL)
    time.sleep(0.2)
    assert pool.ask("e", 30)[0] == "e"  # ended while idle: replaced, the question is not lost


def test_workers_end_with_their_pool(module):
    pool = WorkerPool(module)
    pid = pool.ask("a", 30)[1]
    del pool
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_worker_that_does_not_start(module):
    with pytest.raises(WorkerFailed, match=r"does not start: the verifier crashed \(exit code 3\)"):
        Worker("worker_that_fails")


def test_a_judge_that_raises_spoils_its_own_verdict_only():
    def judge(item):
        if item == 2:
            raise RuntimeError("broken")
        return Verdict("right")

    found = judge_all(judge, [1, 2, 3], workers=3)
    assert [verdict.outcome for verdict in found] == ["right", "not_judged", "right"]
    assert found[1].reason == "the verifier raised RuntimeError: broken"


class Broken:
    name = "broken"

    def problems(self, split, count, seed=0):
        return []

    def verdict(self, problem, completion):
        raise RuntimeError("always")


class BrokenBatch(Broken):
    def verdicts(self, problems, completions):
        raise RuntimeError("always")


class Short(Broken):
    def verdicts(self, problems, completions):
        return []


def test_a_verifier_that_raises_on_every_rollout_is_not_judged():
    for broken in (Broken(), BrokenBatch()):
        found = verdicts(broken, [Problem("a", "")] * 2, ["", ""])
        assert found == [Verdict("not_judged", "the verifier raised RuntimeError: always")] * 2
    with pytest.raises(AdvshapeError, match="'broken' gave 0 verdicts on 1 completions"):
        verdicts(Short(), [Problem("a", "")], [""])


# The whole way


def test_two_steps_through_the_real_command(tmp_path):
    """Countdown puzzles asked as maths: the shipped model answers 4*7+12, and math-verify finds that it is 40."""
    puzzles = load_task("countdown").problems("train", 40, seed=2)
    rows = [{"question": found.prompt, "answer": str(found.data["target"])} for found in puzzles]
    path = write(tmp_path / "puzzles.jsonl", rows)
    (tmp_path / "recipe.toml").write_text(f"""
[model]
path = "countdown"
[task]
name = "maths"
path = {path!r}
heldout_share = 0.3
chat = false
instruction = ""
[objective]
estimator = "pass_at_k"
k = 4
[trainer]
max_steps = 2
per_device_train_batch_size = 16
gradient_accumulation_steps = 2
num_generations = 8
max_completion_length = 16
learning_rate = 1e-5
loss_type = "dr_grpo"
beta = 0.0
[evaluation]
count = 4
n = 4
""")
    out = tmp_path / "run"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main(["train", str(tmp_path / "recipe.toml"), "--out", str(out), "--quiet"]) == 0
    run = RunDirectory(out)
    summary = run.summary()
    assert summary["status"] == "done"
    counts = summary["training"]["verdicts"]
    assert sum(counts.values()) == 64
    assert counts["right"] > 0
    assert counts["wrong"] > 0
    targets = {row["question"]: int(row["answer"]) for row in rows}
    asked = {
        found.id: targets[found.prompt]
        for found in load_task("maths", path=path, heldout_share=0.3, chat=False, instruction="")._problems.train
    }
    for rollout in read_jsonl(out / "rollouts.jsonl"):
        with contextlib.suppress(AdvshapeError):  # where our own reader of expressions finds none
            right = evaluate_expression(rollout["completion"]) == asked[rollout["problem"]]
            assert right == (rollout["verdict"] == "right"), rollout
