"""reasoning-gym's tasks: prompts, splits, verdicts, and what its scorers do with hostile answers."""

import ast
import inspect
import json
import sys
import textwrap

import numpy as np
import pytest

from advshape.errors import AdvshapeError
from advshape.tasks import Problem, Task, Verdict, load_task

pytest.importorskip("reasoning_gym")

from advshape.tasks.reasoning_gym import EVALUATES_ANSWERS, ReasoningGym, extract_answer


@pytest.fixture(scope="module")
def arithmetic():
    return load_task("reasoning_gym:basic_arithmetic", min_terms=2, max_terms=2, max_digits=2)


def test_problem_has_a_chat_prompt_and_json_data(arithmetic):
    assert isinstance(arithmetic, Task)
    problem = arithmetic.problems("train", 1)[0]
    [message] = problem.prompt
    assert message["role"] == "user"
    assert message["content"].startswith(problem.data["question"])
    assert "<answer>" in message["content"]
    assert json.loads(json.dumps(dict(problem.data))) == problem.data


def test_plain_prompt_and_own_instruction():
    task = load_task("reasoning_gym:basic_arithmetic", chat=False, instruction="")
    problem = task.problems("train", 1)[0]
    assert problem.prompt == problem.data["question"]


def test_verdict_right_wrong_and_partial_credit(arithmetic):
    for problem in arithmetic.problems("heldout", 20):
        answer = problem.data["answer"]
        assert arithmetic.verdict(problem, f"It is <answer>{answer}</answer>.") == Verdict("right", "", answer)
        assert arithmetic.verdict(problem, f"thinking\n{answer}\n") == Verdict("right", "", answer)
        assert arithmetic.verdict(problem, f"<answer>{int(answer) + 1}</answer>").outcome == "wrong"
        partial = arithmetic.verdict(problem, f"<answer>the answer is {answer}</answer>")
        assert partial.outcome == "wrong"
        assert partial.reason.startswith("score 0.")
        assert partial.answer == f"the answer is {answer}"
        assert arithmetic.verdict(problem, "") == Verdict("wrong", "no answer", "")


def test_answers_agree_with_an_independent_calculation(arithmetic):
    """The question itself, computed by Python, gets `right`: prompt and verifier belong together."""
    for problem in arithmetic.problems("train", 30):
        expression = problem.data["question"].removeprefix("Calculate ").rstrip(".")
        value = eval(expression, {"__builtins__": {}})
        assert arithmetic.verdict(problem, str(int(value))).outcome == "right", expression


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<answer>3</answer>", "3"),
        ("<answer>3</answer> no: <answer> 4\n</answer>", "4"),
        ("<answer>a<answer>5</answer>", "5"),
        ("<answer>3</answer> and <answer>unfinished", "3"),
        ("</answer>7<answer>", "</answer>7<answer>"),
        ("line\n\n  8  \n\n", "8"),
        ("one\r\ntwo\r\n", "two"),
        ("", ""),
        (" \n\t\n", ""),
    ],
)
def test_extract_answer(text, answer):
    assert extract_answer(text) == answer


def test_splits_share_no_question_even_in_a_tiny_task():
    task = load_task("reasoning_gym:basic_arithmetic", min_terms=2, max_terms=2, max_digits=1)
    split = {name: [p for seed in (0, 1) for p in task.problems(name, 60, seed)] for name in ("train", "heldout")}
    questions = {name: {p.data["question"] for p in problems} for name, problems in split.items()}
    assert not questions["train"] & questions["heldout"]
    for problems in split.values():
        assert len({p.id for p in problems[:60]}) == 60


def test_same_seed_same_problems_other_seed_other_items(arithmetic):
    few, many = arithmetic.problems("train", 5, seed=2), arithmetic.problems("train", 40, seed=2)
    assert many[:5] == few
    other = arithmetic.problems("train", 40, seed=3)
    assert not {p.data["item"] for p in many} & {p.data["item"] for p in other}


def test_verdict_rebuilds_a_problem_read_from_a_log(arithmetic):
    """Another process has only the JSON: the scorer's metadata comes back from the item's number."""
    problem = arithmetic.problems("train", 3)[2]
    fresh = load_task("reasoning_gym:basic_arithmetic", min_terms=2, max_terms=2, max_digits=2)
    copy = Problem(**json.loads(json.dumps({"id": problem.id, "prompt": problem.prompt, "data": problem.data})))
    assert fresh.verdict(copy, problem.data["answer"]).outcome == "right"
    other = load_task("reasoning_gym:basic_arithmetic", min_terms=5, max_terms=6)
    verdict = other.verdict(copy, problem.data["answer"])
    assert verdict.outcome == "not_judged"
    assert "another problem" in verdict.reason


@pytest.mark.parametrize("name", ["leg_counting", "number_format", "graph_color", "arc_1d"])
def test_other_tasks_work_with_their_defaults(name):
    task = ReasoningGym(name)
    for problem in task.problems("heldout", 3):
        assert task.verdict(problem, "<answer>surely not</answer>").outcome in ("wrong", "not_judged")
        if problem.data["answer"] is not None:
            assert task.verdict(problem, f"<answer>{problem.data['answer']}</answer>").outcome == "right"


def test_scorer_that_raises_gives_not_judged(arithmetic, monkeypatch):
    problem = arithmetic.problems("train", 1)[0]

    def crash(answer, entry):
        raise RecursionError("too deep")

    monkeypatch.setattr(arithmetic._block(0), "score_answer", crash)
    verdict = arithmetic.verdict(problem, "1")
    assert verdict == Verdict("not_judged", "the scorer raised RecursionError: too deep")
    assert np.isnan(verdict.reward)


def test_scorer_cannot_change_the_stored_problem(arithmetic, monkeypatch):
    problem = arithmetic.problems("train", 1)[0]

    def vandal(answer, entry):
        entry.clear()
        return 0.0

    with monkeypatch.context() as patch:
        patch.setattr(arithmetic._block(0), "score_answer", vandal)
        arithmetic.verdict(problem, "1")
    assert arithmetic.verdict(problem, problem.data["answer"]).outcome == "right"


HOSTILE = [
    "9" * 1_000_000,
    "<answer>" * 200_000,
    "</answer>" * 200_000,
    "<answer>" + "(" * 500_000 + "</answer>",
    "<answer></answer>",
    "<answer>\x00</answer>",
    "<answer>\ud800</answer>",
    "<answer>nan</answer>",
    "<answer>inf</answer>",
    "<answer>1e999</answer>",
    "<answer>٣</answer>",
    "\n" * 1_000_000,
    "<answer>__import__('os').abort()</answer>",
]


@pytest.mark.parametrize("name", ["basic_arithmetic", "graph_color", "mini_sudoku"])
def test_security_hostile_completions_never_raise_and_never_pass(name):
    task = ReasoningGym(name)
    problem = task.problems("train", 1)[0]
    for completion in [*HOSTILE, None, b"1"]:
        verdict = task.verdict(problem, completion)
        assert verdict.outcome in ("wrong", "not_judged"), completion[:50]
        assert 0 < len(verdict.reason) < 400
    for data in ({}, {"item": "x", "question": ""}, {"item": -1, "question": ""}, None):
        assert task.verdict(Problem("x", "x", data), "1").outcome == "not_judged"


@pytest.mark.parametrize("name", sorted(EVALUATES_ANSWERS))
def test_security_tasks_that_execute_answers_are_refused(name):
    with pytest.raises(AdvshapeError, match="executes the model's answers"):
        load_task(f"reasoning_gym:{name}")


def test_tasks_that_execute_answers_run_when_asked():
    task = load_task("reasoning_gym:spiral_matrix", run_answers=True)
    problem = task.problems("train", 1)[0]
    assert task.verdict(problem, problem.data["answer"]).outcome == "right"


def calls_of(function) -> set[str]:
    """Names of everything a function calls."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    functions = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {getattr(f, "attr", None) or getattr(f, "id", "") for f in functions}


def test_security_the_list_of_executing_tasks_is_complete():
    """Follow every call from each task's score_answer through its own module; look for eval and its kin."""
    from reasoning_gym.factory import DATASETS

    executing = set()
    for name, (cls, _) in DATASETS.items():
        module, seen, todo = sys.modules[cls.__module__], set(), {"score_answer"}
        while todo:
            called = todo.pop()
            seen.add(called)
            function = getattr(cls, called, None) or getattr(module, called, None)
            owner = getattr(function, "__module__", "") or ""
            if inspect.isfunction(function) and owner.startswith("reasoning_gym"):
                todo |= calls_of(function) - seen
        own_parser = inspect.isfunction(getattr(module, "parse_expr", None)) and (
            module.parse_expr.__module__ == cls.__module__
        )
        dangerous = {"eval", "exec", "sympify", "compile", "system"} | (set() if own_parser else {"parse_expr"})
        if seen & dangerous:
            executing.add(name)
    own_text_only = {"bitwise_arithmetic", "number_sorting"}  # read: they evaluate their own question or answer
    assert executing - own_text_only == EVALUATES_ANSWERS


@pytest.mark.parametrize(
    ("spec", "parameters", "message"),
    [
        ("reasoning_gym:basic_arithmetics", {}, "nearest is reasoning_gym:basic_arithmetic"),
        ("reasoning_gym:", {}, "unknown task reasoning_gym:"),
        ("reasoning_gym:leg_counting", {"min_animal": 3}, "allowed: chat, instruction, max_animals"),
        ("reasoning_gym:leg_counting", {"seed": 3}, "has no parameter 'seed'"),
        ("reasoning_gym:basic_arithmetic", {"min_terms": 9, "max_terms": 2}, "refuses"),
    ],
)
def test_errors_say_what_is_allowed(spec, parameters, message):
    with pytest.raises(AdvshapeError) as caught:
        load_task(spec, **parameters)
    assert message in str(caught.value)


def test_more_problems_than_the_task_has():
    task = load_task("reasoning_gym:chain_sum", min_terms=2, max_terms=2, min_digits=1, max_digits=1)
    with pytest.raises(AdvshapeError, match=r"gave only \d+ distinct heldout problems in 4500 draws"):
        task.problems("heldout", 200)
    with pytest.raises(AdvshapeError, match="seed must be between"):
        task.problems("train", 1, seed=-1)
    with pytest.raises(AdvshapeError, match="'train' and 'heldout'"):
        task.problems("test", 1)
