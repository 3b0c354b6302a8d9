"""load_task, the protocol, and users' own tasks."""

import subprocess
import sys
from pathlib import Path

import pytest

from advshape.errors import AdvshapeError
from advshape.tasks import Problem, Task, Verdict, load_task
from advshape.tasks.countdown import Countdown

OWN_TASK = """
from advshape.tasks import Problem, Verdict

class Parity:
    name = "parity"
    def __init__(self, limit): self.limit = limit
    def problems(self, split, count, seed=0):
        first = 0 if split == "train" else self.limit
        return [Problem(f"parity-{i}", f"is {i} even?", {"i": i}) for i in range(first, first + count)]
    def verdict(self, problem, completion):
        return Verdict("right") if (completion == "yes") == (problem.data["i"] % 2 == 0) else Verdict("wrong", "no")

def make(limit: int = 100, *, strict: bool = False): return Parity(limit)
def number() -> "Task": return 7
def shell(cmd): open(cmd, "w").close(); return 0
def broken() -> "Task": raise RuntimeError("the user's own error")
constant = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A user's module in the working directory."""
    (tmp_path / "own_parity_task.py").write_text(OWN_TASK)
    (tmp_path / "own_broken_import.py").write_text(
        "import surely_not_installed_anywhere\ndef make() -> surely_not_installed_anywhere.Task: ...\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "own_parity_task"
    sys.modules.pop("own_parity_task", None)


def test_countdown_by_name():
    assert load_task("countdown") == Countdown()
    assert load_task("countdown", four=1.0, largest=9) == Countdown(four=1.0, largest=9)


def test_own_task_from_the_working_directory(own):
    task = load_task(f"{own}:make", limit=10)
    assert isinstance(task, Task)
    problem = task.problems("heldout", 1)[0]
    assert problem == Problem("parity-10", "is 10 even?", {"i": 10})
    assert task.verdict(problem, "yes") == Verdict("right")


def test_a_class_is_a_function_too(own):
    assert load_task(f"{own}:Parity", limit=3).name == "parity"
    assert load_task("advshape.tasks.countdown:Countdown", four=0.0) == Countdown(four=0.0)


@pytest.mark.parametrize(
    ("spec", "parameters", "message"),
    [
        ("countdwon", {}, "did you mean 'countdown'"),
        ("reasoning-gym:basic_arithmetic", {}, "no module 'reasoning-gym'"),
        ("reasoning_gym", {}, "did you mean 'reasoning_gym:NAME'"),
        (
            "",
            {},
            "a task is 'countdown', 'maths', 'code', 'human_eval', 'reasoning_gym:NAME' or your own 'module:function'",
        ),
        ("countdown", {"spec": 1}, "unexpected keyword argument 'spec'"),  # not an argument of the loader
        ("countdown:", {}, "did you mean 'countdown'"),
        (":make", {}, "a task is"),
        ("own_parity_task:", {}, "a task is"),
        ("no_such_module_anywhere:make", {}, "no module 'no_such_module_anywhere'"),
        ("advshape.no_such_part:make", {}, "no module 'advshape.no_such_part'"),
        ("own_parity_task:mkae", {}, "defines no 'mkae'; it declares Parity, make, number, broken. A task is a class"),
        ("own_parity_task:constant", {}, "defines no 'constant'"),
        ("own_parity_task:shell", {"cmd": "PWNED"}, "'shell' in"),
        ("subprocess:getoutput", {"cmd": "touch PWNED"}, "does not declare a task. A task is a class"),
        ("os:system", {"command": "touch PWNED"}, "defines no 'system'"),
        ("sys:exit", {}, "no module 'sys'"),
        ("numpy.testing:assert_equal", {}, "numpy"),
        ("own_parity_task:number", {}, "returned int; a task has a name"),
        ("own_parity_task:make", {"limits": 3}, "allowed: limit: int = 100, strict: bool = False"),
        ("own_parity_task:Parity", {}, "missing a required argument: 'limit'"),
        ("countdown", {"fuor": 1.0}, "allowed: four: 'float' = 0.6, largest: 'int' = 20"),
        ("countdown", {"name": "x"}, "unexpected keyword argument 'name'"),
        ("countdown", {"four": 2.0}, "between 0 and 1"),
    ],
)
def test_errors_say_what_is_allowed(own, spec, parameters, message):
    with pytest.raises(AdvshapeError) as caught:
        load_task(spec, **parameters)
    assert message in str(caught.value)
    assert not Path("PWNED").exists()


def test_errors_of_the_users_own_code_pass_through(own):
    with pytest.raises(RuntimeError, match="the user's own error"):
        load_task(f"{own}:broken")
    with pytest.raises(ModuleNotFoundError, match="surely_not_installed_anywhere"):
        load_task("own_broken_import:make")


def test_countdown_needs_neither_torch_nor_reasoning_gym():
    code = (
        "import sys; from advshape.tasks import load_task; load_task('countdown').problems('train', 3);"
        "print([m for m in ('torch', 'transformers', 'reasoning_gym', 'sympy') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
