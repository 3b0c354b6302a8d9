"""Recovery and parity: the real `advshape train` on two CPU processes (gloo), by accelerate launch and by torchrun.

Killed and resumed, a run ends with the bits of the one that was never stopped; replicated (DDP) and sharded (FSDP2).
accelerate offers FSDP on accelerators only, so that start goes through this file, which makes accelerate's choice for
it (see test_trl_processes.py); all else is the command.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("trl")
sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1])]
from test_resume import WALL_TIMES

from advshape.evaluation.logs.jsonl import read_jsonl
from advshape.training.rundir.directory import RunDirectory

pytestmark = pytest.mark.long

# a group of 16 lies on both processes; a generation serves two steps; 6 steps, checkpoints at 2, 4 and 6
SETTINGS = [
    "trainer.max_steps=6",
    "trainer.num_generations=16",
    "trainer.per_device_train_batch_size=8",
    "trainer.gradient_accumulation_steps=1",
    "trainer.steps_per_generation=2",
    "trainer.save_steps=2",
    "task.train_problems=8",
    "objective.history=true",
]
SHARDED = ["trainer.fsdp=true", "trainer.fsdp_config={version=2, auto_wrap_policy='TRANSFORMER_BASED_WRAP'}"]
ACCELERATE = ["accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--num_machines=1", "-m", "advshape"]
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc_per_node=2"]
STARTS = {"accelerate": ACCELERATE, "torchrun": [*TORCHRUN, "-m", "advshape"], "fsdp2": [*TORCHRUN, __file__]}


def words(out, kind, *more):
    settings = [*SETTINGS, *(SHARDED if kind == "fsdp2" else []), *more]
    return ["train", "countdown", "--out", str(out), "--quiet", *[w for s in settings for w in ("--set", s)]]


def start(kind, arguments):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true"}
    return subprocess.Popen(
        [sys.executable, "-m", *STARTS[kind], *arguments],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def finish(kind, arguments):
    process = start(kind, arguments)
    said, _ = process.communicate(timeout=900)
    assert process.returncode == 0, said[-3000:]
    return said


def workers(process):
    """The two training processes of a start, by rank."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            variables = dict(v.split("=", 1) for v in (entry / "environ").read_text().split("\0") if "=" in v)
        except (OSError, ValueError):
            continue
        if parent == process.pid and "RANK" in variables:
            found[int(variables["RANK"])] = int(entry.name)
    return [found[rank] for rank in sorted(found)]


def at_step(process, path, step):
    """Wait until a checkpoint of that step is there, and return the training processes."""
    deadline = time.monotonic() + 900
    while (RunDirectory(path).last_checkpoint() or (None, 0))[1] < step:
        assert process.poll() is None, process.stdout.read()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return workers(process)


def result(path):
    """Everything that must not depend on how often a run was stopped."""
    run = RunDirectory(path)
    metrics = [{k: v for k, v in line.items() if k not in WALL_TIMES} for line in read_jsonl(run.metrics)]
    assert run.summary()["status"] == "done"
    assert run.summary()["processes"] == 2
    return metrics, run.rollouts.read_bytes(), (run.model / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A kind's run that is never stopped, made once."""
    made = {}

    def make(kind):
        if kind not in made:
            path = tmp_path_factory.mktemp(kind) / "run"
            finish(kind, words(path, kind))
            made[kind] = result(path)
        return made[kind]

    return make


def test_accelerate_launch_and_torchrun_do_the_same(whole):
    metrics, rollouts, _ = whole("accelerate")
    assert [line["step"] for line in metrics] == [1, 2, 3, 4, 5, 6]
    assert len(rollouts.splitlines()) == 3 * 2 * 16, "three generations of two groups, from both processes"
    assert whole("torchrun") == whole("accelerate")


def test_two_steps_of_accelerate_launch_say_how_to_evaluate(tmp_path):
    path = tmp_path / "run"
    said = finish("accelerate", words(path, "accelerate", "trainer.max_steps=2"))
    assert f"advshape evaluate {path}/model --task countdown" in said
    assert [line["step"] for line in read_jsonl(RunDirectory(path).metrics)] == [1, 2]


@pytest.mark.parametrize("kind", ["torchrun", "fsdp2"])
@pytest.mark.parametrize("victims", ["all", "one"])
def test_killed_and_resumed(whole, tmp_path, kind, victims):
    """SIGKILL for all processes, as in a power cut, or for the second alone: then the others end by themselves."""
    path = tmp_path / "run"
    process = start(kind, words(path, kind))
    ranks = at_step(process, path, 2)
    if victims == "all":
        os.kill(process.pid, signal.SIGKILL)
    for pid in ranks if victims == "all" else ranks[1:]:
        os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode != 0
    assert RunDirectory(path).summary()["status"] in ("training", "failed")
    assert 2 <= RunDirectory(path).last_checkpoint()[1] < 6
    finish(kind, ["train", "--resume", str(path), "--quiet"])
    assert result(path) == whole(kind)


@pytest.mark.parametrize("kind", ["accelerate", "torchrun"])
def test_ctrl_c_saves_a_checkpoint_and_the_run_goes_on(whole, tmp_path, kind):
    """As a terminal does it: SIGINT for the whole group of processes."""
    path = tmp_path / "run"
    process = start(kind, words(path, kind, "trainer.save_steps=100"))
    while len(list(read_jsonl(RunDirectory(path).metrics))) < 2:
        assert process.poll() is None, process.stdout.read()[-3000:]
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert f"advshape train --resume {path}" in said
    run = RunDirectory(path)
    assert run.summary()["status"] == "interrupted"
    assert 2 <= run.last_checkpoint()[1] < 6
    finish(kind, ["train", "--resume", str(path), "--quiet"])
    assert result(path) == whole(kind)


if __name__ == "__main__":
    from test_trl_processes import offer_fsdp_on_cpu

    from advshape.cli import main

    offer_fsdp_on_cpu()
    sys.exit(main(sys.argv[1:]))
