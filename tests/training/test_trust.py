"""Security: a recipe of a stranger runs no code before its user says so."""

import json
import sys

import pytest

pytest.importorskip("trl")
from advshape.cli import main
from advshape.training.rundir.directory import RunDirectory
from advshape.training.rundir.origin import sign_task, was_begun_here

RECIPE = """
[model]
path = "countdown"
[task]
name = "{name}"
{more}
[objective]
estimator = "rloo"
[trainer]
max_steps = 1
num_generations = 2
per_device_train_batch_size = 2
save_steps = 1
[evaluation]
before = false
after = false
"""
TASK = """
open("RAN", "w").close()
from advshape.tasks import Problem, Verdict

class Easy:
    name = "easy"
    def problems(self, split, count, seed=0):
        return [Problem(f"{split}-{i}", "1 2=3:", {}) for i in range(count)]
    def verdict(self, problem, completion):
        return Verdict("wrong", "no")
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "strangers_task.py").write_text(TASK)
    yield tmp_path
    sys.modules.pop("strangers_task", None)


def write(name, more=""):
    with open("r.toml", "w") as file:
        file.write(RECIPE.format(name=name, more=more))


@pytest.mark.parametrize("command", [["train", "r.toml", "--dry-run"], ["doctor", "--config", "r.toml"]])
def test_checking_a_recipe_runs_none_of_its_code(here, capsys, command):
    write("strangers_task:Easy")
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "strangers_task:Easy" in said
    assert "strangers_task.py, line 5" in said
    assert "--trust" in said
    assert not (here / "RAN").exists()
    assert main([*command, "--trust"]) == 0
    assert (here / "RAN").exists()


@pytest.mark.parametrize(
    "command", [["train", "r.toml", "--dry-run"], ["train", "r.toml"], ["doctor", "--config", "r.toml"]]
)
@pytest.mark.parametrize("trust", [[], ["--trust"]])
def test_what_is_no_task_never_runs(here, command, trust):
    write("subprocess:getoutput", 'cmd = "touch PWNED"')
    assert main([*command, *trust]) in (1, 2)  # doctor: a problem found
    assert not (here / "PWNED").exists()


def test_a_run_begun_elsewhere_asks(here, capsys):
    write("strangers_task:Easy")
    directory = RunDirectory(here / "run")
    directory.create((here / "r.toml").read_text())
    directory.update_summary(status="training", origin="0" * 64)
    assert main(["train", "--resume", "run"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "which this user did not begin would run the code of task strangers_task:Easy" in said
    assert not (here / "RAN").exists()


def test_a_run_begun_here_goes_on(here, monkeypatch):
    write("strangers_task:Easy")
    assert main(["train", "r.toml", "--out", "run", "--quiet"]) == 0
    summary = RunDirectory(here / "run").summary()
    assert was_begun_here(_task(here), summary["origin"])
    RunDirectory(here / "run").update_summary(status="training")
    (here / "RAN").unlink()
    sys.modules.pop("strangers_task")
    assert main(["train", "--resume", "run", "--quiet"]) == 0
    assert (here / "RAN").exists()
    # the same directory with another task in its recipe, or for another user, asks
    recipe = here / "run" / "recipe.toml"
    RunDirectory(here / "run").update_summary(status="training")
    recipe.write_text(recipe.read_text().replace("strangers_task:Easy", "strangers_task:Easier"))
    (here / "strangers_task.py").write_text(TASK + "class Easier(Easy):\n    def verdict(self, p, c): ...\n")
    assert main(["train", "--resume", "run", "--quiet"]) == 2
    monkeypatch.setenv("XDG_STATE_HOME", str(here / "other"))
    recipe.write_text(recipe.read_text().replace("strangers_task:Easier", "strangers_task:Easy"))
    assert main(["train", "--resume", "run", "--quiet"]) == 2


def _task(here):
    import tomllib

    return tomllib.loads((here / "run" / "recipe.toml").read_text())["task"]


def test_signatures(here, monkeypatch):
    table = {"name": "a:b", "n": 1}
    signature = sign_task(table)
    assert was_begun_here(table, signature)
    for other in ({**table, "n": 2}, {"name": "a:b"}):
        assert not was_begun_here(other, signature)
    for forged in (None, "", 3, signature[:-1] + "0" * (signature[-1] != "0"), json.dumps(signature)):
        assert not was_begun_here(table, forged)
    assert (here / "state" / "advshape" / "key").stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")
    assert sign_task(table) is None
    assert not was_begun_here(table, signature)
