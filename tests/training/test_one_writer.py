"""Recovery: one process writes a run at a time, and checkpoints are ordered by step, whatever the clock says."""

import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

pytest.importorskip("trl")
from advshape.cli import main
from advshape.errors import AdvshapeError
from advshape.evaluation.logs import lock
from advshape.training.recipe.load import load_recipe
from advshape.training.rundir.directory import RunDirectory
from advshape.training.rundir.resume import ExactResume

HOLD = """
import sys, time
from advshape.training.rundir.directory import RunDirectory
with RunDirectory(sys.argv[1]).locked():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def held(tmp_path):
    """A run that was begun, and another process that writes it."""
    directory = RunDirectory(tmp_path / "run")
    directory.create(load_recipe("countdown").to_toml())
    directory.update_summary(status="training")
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(directory.path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    yield directory, holder
    holder.kill()
    holder.communicate()


def test_a_second_sitting_is_refused_and_loses_nothing(held, capsys):
    directory, _ = held
    directory.metrics.write_text(json.dumps({"step": 1}) + "\n")
    assert main(["train", "--resume", str(directory.path)]) == 2
    assert "is being written by another process; wait for it" in capsys.readouterr().err
    assert directory.metrics.read_text() == '{"step": 1}\n'  # nothing was cut back
    assert main(["train", "countdown", "--out", str(directory.path), "--overwrite"]) == 2
    assert directory.summary() == {"status": "training"}


def test_the_death_of_a_sitting_releases_the_run(held):
    directory, holder = held
    with pytest.raises(AdvshapeError, match="another process"), directory.locked():
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with directory.locked():
        pass


def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch):
    import fcntl

    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (tmp_path / "x").open("ab") as file, pytest.raises(AdvshapeError, match="cannot be locked"):
        lock.lock_file(file, tmp_path / "x")


class Saves:
    """A trainer as far as saving goes: it leaves a folder of the step."""

    def __init__(self, place):
        self.place = str(place)
        self.args = SimpleNamespace(save_total_limit=2)
        self.state = SimpleNamespace(global_step=0)
        self.accelerator = SimpleNamespace(is_main_process=True, wait_for_everyone=lambda: None)

    def _get_output_dir(self, trial):
        return self.place

    def _save_checkpoint(self, model, trial):
        os.makedirs(f"{self._get_output_dir(trial)}/checkpoint-{self.state.global_step}")


def test_a_clock_that_was_set_back_deletes_no_new_checkpoint(tmp_path):
    class Trainer(ExactResume, Saves):
        __init__ = Saves.__init__

    trainer = Trainer(tmp_path)
    for step in (9, 12, 15, 18):
        trainer.state.global_step = step
        trainer._save_checkpoint(None, None)
        ahead = 2_000_000_000 + 86_400 * (20 - step)  # each older one looks newer, and all lie ahead of the clock
        os.utime(tmp_path / f"checkpoint-{step}", (ahead, ahead))
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-15", "checkpoint-18"]
