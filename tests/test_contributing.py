"""The checklists of CONTRIBUTING.md, followed with a dummy: in a copy of the package, the files that a checklist names
are the only ones touched, and then the dummy works through the public surface."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def steps(title):
    """The files that each numbered step of a checklist begins with."""
    section = TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return [Path(path) for path in re.findall(r"(?m)^\d\. `([\w./-]+)`", section)]


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """The package as it stands, without the model that ships with it."""
    place = tmp_path_factory.mktemp("package")
    shutil.copytree(ROOT / "src", place / "src", ignore=shutil.ignore_patterns("__pycache__", "models"))
    return place


class Contributor:
    """Edits the files of one checklist and runs the result."""

    def __init__(self, place, title, name):
        self.place, self.name = place, name
        self.files = [path for path in steps(title) if path.parts[0] == "src"]
        self.touched = []

    def create(self, text):
        """Write the file whose name is open."""
        (path,) = [path for path in self.files if path.stem == "NAME"]
        file = self.place / path.with_name(f"{self.name}.py")
        assert file.parent.is_dir()
        file.write_text(text)
        self.touched.append(path)

    def edit(self, *changes):
        """Change the one file that is already there: regular expression, replacement, each found exactly once."""
        (path,) = [path for path in self.files if path.stem != "NAME"]
        text = (self.place / path).read_text()
        for pattern, replacement in changes:
            text, found = re.subn(pattern, replacement, text, flags=re.MULTILINE)
            assert found == 1, f"{path}: {pattern} is there {found} times"
        (self.place / path).write_text(text)
        self.touched.append(path)

    def run(self, *words):
        """The command in the changed copy; every file of the checklist has been touched by now."""
        assert sorted(self.touched) == sorted(self.files)
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.place,
            env={**os.environ, "PYTHONPATH": str(self.place / "src"), "COLUMNS": "100"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    def advshape(self, *words):
        return self.run("-m", "advshape", *words)


@pytest.mark.parametrize("title", re.findall(r"(?m)^## (Add .+)$", TEXT))
def test_a_checklist_names_files_that_are_there_or_like_others(title):
    found = steps(title)
    assert len(found) == len(re.findall(r"(?m)^\d\. ", TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]))
    assert any(path.parts[0] == "src" for path in found)
    assert any(path.parts[0] == "tests" for path in found)
    assert any(path.suffix == ".md" for path in found)
    for path in found:
        assert list(ROOT.glob(str(path).replace("NAME", "*"))), path


def test_every_checklist_is_followed_here():
    followed = set(re.findall(r"Contributor\(copied, \"(.+?)\"", Path(__file__).read_text()))
    assert followed == set(re.findall(r"(?m)^## (Add .+)$", TEXT))


ESTIMATOR = '''

def dummy(strength: float = 1.0) -> AdvantageEstimator:
    """RLOO, times `strength`."""
    return by_counts(
        "dummy",
        strength * Identity(),
        lambda c, n: strength * (n - c) / (n - 1),
        lambda c, n: -strength * c / (n - 1),
        smallest_n=2,
        reference="nobody",
        use="to follow a checklist",
        avoid="elsewhere",
    )
'''


def test_an_estimator(copied):
    new = Contributor(copied, "Add an estimator", "dummy")
    new.edit((r"^__all__ = \[", '__all__ = [\n    "dummy",'), (r"\Z", ESTIMATOR))
    listed = new.advshape("estimators")
    assert re.search(r"(?m)^dummy +2  unbiased +yes +Identity\(\)", listed)
    assert "nobody" in new.advshape("estimators", "dummy")
    assert "2 * Identity()" in new.advshape("reverse", "dummy(strength=2)", "-n", "4")
    assert "| `dummy(strength=1.0)` | 2 | unbiased | yes |" in new.advshape("estimators", "--markdown")


READER = '''"""A format of nobody's: `task<TAB>pass`, under a first line that names it."""

from advshape.evaluation.readers.base import Reader, Row
from advshape.evaluation.readers.files import raw_lines


def recognises(head):
    with open(head.path) as file:
        return file.readline() == "dummy log\\n"


def read(context):
    with open(context.path) as file:
        for number, line in enumerate(file.readlines()[1:], 2):
            task, verdict = line.split()
            yield Row(f"line {number}", task, float(verdict == "pass"))


READER = Reader("dummy", "log of nobody", (), recognises, read)
'''


def test_a_log_reader(copied):
    new = Contributor(copied, "Add a log reader", "dummy")
    new.create(READER)
    new.edit(
        (r"^    count_table,$", "    count_table,\n    dummy,"), (r"for module in \(own,", "for module in (dummy, own,")
    )
    (copied / "log.txt").write_text("dummy log\n" + "a pass\na fail\nb fail\nb fail\n")
    out = new.advshape("passk", "log.txt", "-k", "1,2")
    assert "log of nobody" in out
    assert "2 prompts" in out
    assert "0.25" in out
    assert "0.5" in out


ADAPTER = '''"""Our advantages inside a trainer of nobody's: its rewards come flat, with a group number for each."""

from advshape.adapters.objective import Objective

HOOKS = []


def register(spec):
    objective = Objective.read(spec)
    HOOKS.append(lambda rewards, groups: objective.advantages(rewards, groups))
'''
ADAPTED = """
import numpy as np
from advshape.doctor import trainers
from advshape.adapters.dummy import HOOKS, register
register("rloo")
print(HOOKS[0](np.array([1.0, 0.0]), np.array([7, 7])).tolist())
trainers.installed = {"dummy-trainer": "1.0"}.get
print(*trainers.trainers(60), sep="\\n")
"""


def test_a_trainer_adapter(copied):
    new = Contributor(copied, "Add a trainer adapter", "dummy")
    new.create(ADAPTER)
    ours = "from advshape.adapters.dummy import register as ours"
    probe = f'after("{ours}", "from advshape.adapters.dummy import HOOKS", "len(HOOKS) > 0")'
    new.edit((r"^ADAPTERS = \{", f'ADAPTERS = {{\n    "dummy": Adapter("dummy-trainer", {probe}),'))
    out = new.run("-c", ADAPTED)
    assert "[1.0, -1.0]" in out
    assert "ok       dummy: version 1.0, takes our estimators" in out
    assert "absent   verl" in out


TASK = '''"""Is a number even?"""

from dataclasses import dataclass

from advshape.tasks.protocol import Problem, Verdict, check_request


@dataclass(frozen=True)
class Dummy:
    name: str = "dummy"

    def problems(self, split, count, seed=0):
        check_request(split, count)
        return [Problem(f"{split}-{i}", f"Is {i} even?", {"even": i % 2 == 0}) for i in range(count)]

    def verdict(self, problem, completion):
        return Verdict("right") if (completion == "yes") == problem.data["even"] else Verdict("wrong", "it is not")
'''
POSED = """
from advshape.tasks import load_task
task = load_task("dummy")
one, two = task.problems("heldout", 2)
print(one.prompt, task.verdict(one, "yes").outcome, task.verdict(two, "yes").outcome)
"""


def test_a_task(copied):
    new = Contributor(copied, "Add a task", "dummy")
    new.create(TASK)
    new.edit((r"^BUILT_IN = \{", 'BUILT_IN = {\n    "dummy": "advshape.tasks.dummy:Dummy",'))
    assert new.run("-c", POSED) == "Is 0 even? right wrong\n"
    nearest = "from advshape.tasks import load_task\ntry: load_task('dumy')\nexcept ValueError as e: print(e)"
    assert "did you mean 'dummy'" in new.run("-c", nearest)


COMMAND = '''"""`advshape dummy`: says a word."""


def add(commands):
    sub = commands.add_parser("dummy", help="say a word", allow_abbrev=False)
    sub.add_argument("word")
    sub.set_defaults(run=run)


def run(options):
    print(options.word)
    return 0
'''


def test_a_command(copied):
    new = Contributor(copied, "Add a command", "dummy")
    new.create(COMMAND)
    new.edit(
        (r"^(from advshape\.cli import .*)doctor,", r"\1doctor, dummy,"), (r"^COMMANDS = \(", "COMMANDS = (dummy, ")
    )
    assert re.search(r"(?m)^    dummy +say a word$", new.advshape("--help"))
    assert "usage: advshape dummy [-h] word" in new.advshape("dummy", "--help")
    assert new.advshape("dummy", "hello") == "hello\n"


def test_the_check_can_fail(copied):
    new = Contributor(copied, "Add a command", "forgotten")
    new.create(COMMAND)
    with pytest.raises(AssertionError):
        new.advshape("--help")  # entry.py was not touched
    with pytest.raises(AssertionError, match="is there 0 times"):
        new.edit(("no such line", ""))
