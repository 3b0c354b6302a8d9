"""Recovery: killed at any of its file operations, a run resumed once ends with every file of one never stopped.

The moments are enumerated and not drawn: Python's audit hook tells of each file that is opened for writing, renamed,
made or removed below the run directory, and a forked child kills itself there, before it or with the file half written.
"""

import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest

pytest.importorskip("trl")
sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1])]
from test_resume import result
from test_resume import words as long_words

from advshape.cli import main
from advshape.training.rundir.directory import RunDirectory

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = [
    "objective.k=1",
    "task.train_problems=2",
    "trainer.max_steps=2",
    "trainer.steps_per_generation=1",
    "trainer.save_steps=1",
    "trainer.num_generations=2",
    "trainer.per_device_train_batch_size=2",
    "trainer.max_completion_length=4",
    "evaluation.count=2",
    "evaluation.n=2",
]
WRITING, MODE = os.O_WRONLY | os.O_RDWR, os.O_APPEND | os.O_TRUNC
# event -> which argument is the path
KINDS = {"os.rename": 1, "os.mkdir": 0, "os.remove": 0, "os.rmdir": 0, "shutil.rmtree": 0}


def words(out, *more):
    return long_words(out, *SMALL, *more)


def _import_once():
    """What every child needs, before the first is made."""
    import peft  # noqa: F401
    import plotly  # noqa: F401
    import trl.trainer.grpo_trainer  # noqa: F401


def forked(act):
    """The exit code of ``act()`` in a child, negative for a signal; its output goes nowhere."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, 1)
            os.dup2(null, 2)
            code = act()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def watched(out, arguments, at=None, half=False):
    """Run the command in a child that kills itself at its operation ``at`` below ``out``; (exit code, operations)."""
    log = out.with_suffix(".operations")

    def act():
        done = []

        def hook(event, values):
            if event == "open" and isinstance(values[0], str) and values[2] & WRITING:
                path = values[0]
            elif event in KINDS:
                path = os.fspath(values[KINDS[event]])
            else:
                return
            if not str(path).startswith(str(out)):
                return
            done.append(f"{event} {os.path.relpath(path, out)}")
            if len(done) - 1 == at:
                if half and event == "open":
                    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | (values[2] & MODE), 0o644)
                    os.write(descriptor, b'{"ha')
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        code = main(arguments)
        log.write_text("\n".join(done))
        return code

    return forked(act), log


def files(run):
    return {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()}


def everything(path):
    """What a finished run has, but for wall times and for how it was started."""
    run = RunDirectory(path)
    summary = json.loads((path / "summary.json").read_text().replace(str(path), "RUN"))
    summary["training"] = {k: v for k, v in summary["training"].items() if k not in ("seconds", "sittings")}
    for when in ("before", "after"):
        summary[when] = {k: v for k, v in summary[when].items() if k not in ("seconds", "notes")}
    summary.pop("command", None)
    page = run.report.read_text()
    said = re.findall("The run is not finished[^<]*|There is no finished evaluation[^<]*", page)
    texts = {"recipe": run.recipe.read_text(), "card": (run.model / "README.md").read_text()}
    return {"files": files(run), "result": result(path), "summary": summary, "said": said, **texts}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(everything of a run that was never stopped, its file operations)."""
    _import_once()
    path = tmp_path_factory.mktemp("whole") / "run"
    code, log = watched(path, words(path))
    assert code == 0
    return everything(path), log.read_text().splitlines()


def lost(whole, folder, moments):
    """The moments, of those given, after which a resumed run lacks something or cannot be resumed."""
    wanted, operations = whole
    found = []
    for at, half in moments:
        if half and not operations[at].startswith("open"):
            continue
        out = folder / f"run-{at}-{half}"
        code, _ = watched(out, words(out), at, half)
        assert code == -signal.SIGKILL, operations[at]
        moment = f"{at} {'half of' if half else 'before'} {operations[at]}"
        if code := forked(lambda out=out: main(["train", "--resume", str(out), "--quiet"])):
            found.append(f"{moment}: resume ended with {code}")
        else:
            has = everything(out)
            found += [f"{moment}: another {key}" for key in wanted if has[key] != wanted[key]]
    return found


def test_a_finished_run_is_whole(whole):
    found, _ = whole
    assert found["summary"]["status"] == "done"
    assert found["said"] == []
    assert {"report.html", "summary.json", "model/README.md", "model/model.safetensors"} <= found["files"]


def test_killed_at_its_beginning_or_its_end(whole, tmp_path):
    operations = whole[1]
    begun = operations.index("os.rename recipe.toml") + 1
    last = range(operations.index("os.rename evaluation/after.summary.json") + 1, len(operations))
    moments = [(at, half) for at in (begun, *last[-6:]) for half in (False, True)]
    assert not lost(whole, tmp_path, moments)


@pytest.mark.long
@pytest.mark.parametrize("half", [False, True], ids=["before", "half written"])
def test_killed_at_every_write(whole, tmp_path, half):
    """From the moment at which the recipe is there; before it there is no run, and the command can be given again."""
    begun = whole[1].index("os.rename recipe.toml") + 1
    assert not lost(whole, tmp_path, [(at, half) for at in range(begun, len(whole[1]))])


def test_killed_before_there_is_a_recipe(whole, tmp_path):
    """Nothing was begun, so the same command begins it."""
    for at in range(whole[1].index("os.rename recipe.toml") + 1):
        out = tmp_path / f"run-{at}"
        assert watched(out, words(out), at, half=True)[0] == -signal.SIGKILL
        assert forked(lambda out=out: main(words(out))) == 0
        assert everything(out) == whole[0]


def test_killed_while_it_replaces_another(whole, tmp_path, capsys):
    """What is left is never taken for the old run nor for the new one; --overwrite begins again."""
    out = tmp_path / "run"
    assert forked(lambda: main(words(out, "trainer.learning_rate=1e-3"))) == 0
    again = [*words(out), "--overwrite"]
    for at in (5, 6, 8):  # after folder, lock and status: metrics, rollouts, evaluation; something is left each time
        assert watched(out, again, at, half=True)[0] == -signal.SIGKILL
        assert main(["train", "--resume", str(out)]) == 2
        assert "start that one again with --overwrite" in capsys.readouterr().err
    assert forked(lambda: main(again)) == 0
    assert everything(out) == whole[0]


def test_killed_after_training_without_checkpoints(tmp_path):
    """A finished training is kept, though there is no checkpoint at which it could be cut back."""

    def command(out):
        return words(out, "trainer.save_strategy=no")

    code, log = watched(tmp_path / "whole", command(tmp_path / "whole"))
    assert code == 0
    at = log.read_text().splitlines().index("open evaluation/after.jsonl") + 1
    assert watched(tmp_path / "run", command(tmp_path / "run"), at)[0] == -signal.SIGKILL
    assert forked(lambda: main(["train", "--resume", str(tmp_path / "run"), "--quiet"])) == 0
    assert everything(tmp_path / "run") == everything(tmp_path / "whole")
