"""Recovery and refusal through the command: damaged checkpoints, other recipes, full disks, models and data that lack
something. (A verifier that raises: test_training_run.py; batches that hold no whole groups: test_training_plan.py.)"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("trl")
sys.path.append(str(Path(__file__).parents[1]))
from advshape.cli import main
from advshape.evaluation.logs.jsonl import read_jsonl
from advshape.training.rundir.directory import RunDirectory
from tiny_model import save_model, save_problems

SETTINGS = [
    "trainer.max_steps=4",
    "trainer.save_steps=2",
    "trainer.per_device_train_batch_size=32",
    "trainer.gradient_accumulation_steps=1",
    "evaluation.before=false",
    "evaluation.after=false",
]


def words(out, *more):
    return ["train", "countdown", "--out", str(out), "--quiet", *[w for s in (*SETTINGS, *more) for w in ("--set", s)]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("finished") / "run"
    assert main(words(path)) == 0
    return path


@pytest.fixture
def stopped(finished, tmp_path):
    """The run, as if it had been stopped after its last checkpoint."""
    run = RunDirectory(shutil.copytree(finished, tmp_path / "run"))
    run.update_summary(status="interrupted", training={**run.summary()["training"], "finished": False})
    return run


def edit(run, old, new):
    text = run.recipe.read_text()
    assert old in text
    run.recipe.write_text(text.replace(old, new))


def truncate(file):
    file.write_bytes(file.read_bytes()[:-100])


def flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "harm", "said"),
    [
        ("model.safetensors", flip, "CRC-32"),
        ("optimizer.pt", truncate, "written were"),
        ("rng_state.pth", Path.unlink, "is missing"),
    ],
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(finished, stopped, capsys, name, harm, said):
    """And what comes out is what the run that was never stopped gave."""
    harm(stopped.checkpoints / "checkpoint-4" / name)
    assert main(["train", "--resume", str(stopped.path), "--quiet"]) == 0
    err = capsys.readouterr().err
    assert f"checkpoint-4 is damaged: {name}" in err
    assert said in err
    assert "going on from checkpoint-2" in err
    assert (stopped.model / "model.safetensors").read_bytes() == (finished / "model/model.safetensors").read_bytes()
    assert [line["step"] for line in read_jsonl(stopped.metrics)] == [1, 2, 3, 4]


def test_all_damaged_is_an_error_and_nothing_is_touched(stopped, capsys):
    for step in (2, 4):
        truncate(stopped.checkpoints / f"checkpoint-{step}" / "optimizer.pt")
    before = stopped.metrics.read_bytes()
    assert main(["train", "--resume", str(stopped.path)]) == 2
    err = capsys.readouterr().err
    assert "no checkpoint" in err
    assert "checkpoint-2 is damaged" in err
    assert "--overwrite" in err
    assert stopped.metrics.read_bytes() == before


def test_a_changed_recipe_is_shown_and_refused(stopped, capsys):
    edit(stopped, "learning_rate = 0.0001", "learning_rate = 0.001")
    edit(stopped, "k = 8", "k = 4")
    assert main(["train", "--resume", str(stopped.path)]) == 2
    err = capsys.readouterr().err
    assert "trainer.learning_rate was 0.0001, is 0.001" in err
    assert "objective.k was 8, is 4" in err


def test_a_checkpoint_of_another_recipe_is_refused(stopped, tmp_path, capsys):
    other = tmp_path / "other"
    assert main(words(other, "objective={estimator='rloo'}", "trainer.max_steps=2")) == 0
    shutil.rmtree(stopped.checkpoints)
    shutil.copytree(other / "checkpoints", stopped.checkpoints)
    capsys.readouterr()
    assert main(["train", "--resume", str(stopped.path)]) == 2
    assert "objective.estimator was 'rloo', is 'pass_at_k'" in capsys.readouterr().err


def test_more_steps_are_no_other_recipe(stopped, capsys):
    edit(stopped, "max_steps = 4", "max_steps = 5")
    assert main(["train", "--resume", str(stopped.path), "--quiet"]) == 0
    assert "changed since checkpoint-4: trainer.max_steps was 4, is 5" in capsys.readouterr().err
    assert [line["step"] for line in read_jsonl(stopped.metrics)] == [1, 2, 3, 4, 5]


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path):
    """A limit on the size of files, in place of a disk: the optimiser's state does not fit, the weights do."""
    command = [
        sys.executable,
        "-c",
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000)); "
        "from advshape.cli import main; sys.exit(main(sys.argv[1:]))",
    ]
    done = subprocess.run(
        [*command, *words(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 1, done.stderr[-2000:]
    assert "checkpoint-2 could not be written" in done.stderr
    assert "make room, then go on with --resume" in done.stderr
    run = RunDirectory(tmp_path / "run")
    assert run.summary()["status"] == "failed"
    assert not list(run.checkpoints.glob("**/checkpoint-*"))
    assert main(["train", "--resume", str(run.path), "--quiet"]) == 0
    assert [line["step"] for line in read_jsonl(run.metrics)] == [1, 2, 3, 4]


def test_a_data_set_without_the_column_says_which_it_has(tmp_path, capsys):
    path = save_problems(tmp_path / "sums.jsonl", question="frage")
    code = main(["train", "countdown", "--dry-run", "--set", f"task={{name='maths', path='{path}'}}"])
    assert code == 2
    assert "no question column 'question' or 'problem' or 'prompt'; it has 'frage', 'answer'" in capsys.readouterr().err


def test_a_model_without_a_chat_template_is_told_before_it_loads(tmp_path, capsys):
    model, sums = save_model(tmp_path / "model", chat=False), save_problems(tmp_path / "sums.jsonl")
    task = f"task={{name='maths', path='{sums}'}}"
    command = words(tmp_path / "run", f"model.path={model}", "trainer.max_completion_length=4", "trainer.max_steps=1")
    assert main([*command, "--set", task]) == 2
    err = capsys.readouterr().err
    assert "no chat template" in err
    assert "chat = false" in err
    assert not (tmp_path / "run").exists()
    assert main([*command, "--set", task, "--set", "task.chat=false"]) == 0


def test_a_model_without_a_pad_token_pads_with_its_end_token(tmp_path):
    model, sums = save_model(tmp_path / "model", pad=False), save_problems(tmp_path / "sums.jsonl")
    more = [
        f"model.path={model}",
        f"task={{name='maths', path='{sums}'}}",
        "trainer.max_completion_length=4",
        "trainer.max_steps=1",
        "evaluation.after=true",
        "evaluation.count=2",
        "evaluation.n=2",
    ]
    assert main(words(tmp_path / "run", *more)) == 0
    run = RunDirectory(tmp_path / "run")
    assert len(list(read_jsonl(run.rollouts))) == 32
    assert run.summary()["after"]["prompts"] == 2
