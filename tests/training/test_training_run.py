"""Runs through the real command: the run directory, the advantages in it, stopping, going on, failing."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from fractions import Fraction
from pathlib import Path

import pytest

from advshape.cli import main
from advshape.evaluation.logs.jsonl import append_jsonl, read_jsonl
from advshape.training.recipe.load import load_recipe
from advshape.training.rundir.directory import RunDirectory

SMALL = [
    "trainer.max_steps=2",
    "trainer.per_device_train_batch_size=32",
    "trainer.gradient_accumulation_steps=2",
    "evaluation.count=4",
    "evaluation.n=8",
]
NO_EVALUATION = ["evaluation.before=false", "evaluation.after=false"]


def words(recipe, out, *overrides):
    found = ["train", str(recipe), "--out", str(out), "--quiet"]
    for override in (*SMALL, *overrides):
        found += ["--set", override]
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One finished small run of the shipped recipe."""
    out = tmp_path_factory.mktemp("runs") / "small"
    assert main(words("countdown", out)) == 0
    return RunDirectory(out)


def test_everything_is_there(run):
    assert {path.name for path in run.path.iterdir()} >= {
        "recipe.toml",
        "metrics.jsonl",
        "rollouts.jsonl",
        "summary.json",
        "evaluation",
        "checkpoints",
        "model",
        "report.html",
    }
    assert load_recipe(run.recipe).trainer["max_steps"] == 2
    assert {path.name for path in run.model.iterdir()} >= {"README.md", "config.json", "model.safetensors"}
    assert "pass_at_k" in (run.model / "README.md").read_text()


def test_summary(run):
    summary = run.summary()
    assert summary["status"] == "done"
    assert summary["seed"] == 0
    assert {"torch", "trl", "transformers", "advshape", "python"} <= set(summary["versions"])
    for when in ("before", "after"):
        curve = summary[when]["curve"]
        assert curve["ks"] == [1, 2, 4, 8]
        for low, value, high in zip(curve["low"], curve["values"], curve["high"], strict=True):
            assert low <= value <= high
        outcomes = summary[when]["outcomes"]
        assert outcomes["right"] + outcomes["wrong"] + outcomes["not_judged"] == 4 * 8
    assert summary["change"]["ks"] == [1, 2, 4, 8]
    assert summary["training"]["steps"] == 2
    assert sum(summary["training"]["verdicts"].values()) == 2 * 64


def test_metrics_have_every_step(run):
    lines = list(read_jsonl(run.metrics))
    assert [line["step"] for line in lines if "loss" in line] == [1, 2]
    assert all("advshape/pass_at_1" in line for line in lines if "loss" in line)


def test_logged_advantages_are_those_of_pass_at_8(run):
    """Centred pass@8 of 16 rollouts in fractions, up to the one scale; mixed groups only."""
    groups = defaultdict(list)
    for line in read_jsonl(run.rollouts):
        groups[line["step"], line["problem"]].append(line)
    assert len(groups) == 2 * 4
    factors = []
    for lines in groups.values():
        assert len(lines) == 16
        c = sum(line["verdict"] == "right" for line in lines)
        for line in lines:
            assert line["reward"] == (1.0 if line["verdict"] == "right" else 0.0)
            expected = centred(8, 16, c, line["verdict"] == "right")
            if expected:
                factors.append(line["advantage"] / float(expected))
            else:
                assert line["advantage"] == 0
    assert factors
    assert max(factors) == pytest.approx(min(factors), rel=1e-5)  # advantages are float32
    assert factors[0] > 0


def centred(k, n, c, right):
    """Mean over the other rollout to set aside: F' estimated from the n - 2 left, times the centred reward."""
    if c in (0, n):
        return Fraction(0)
    silent = Fraction(math.comb(n - 2 - (c - 1), k - 1), math.comb(n - 2, k - 1))
    return k * silent * (Fraction(n - c, n - 1) if right else Fraction(-c, n - 1))


def test_model_can_be_used_again(run, tmp_path, capsys):
    code = main(
        [
            "evaluate",
            str(run.model),
            "--task",
            "countdown",
            "-n",
            "4",
            "--count",
            "2",
            "--quiet",
            "--out",
            str(tmp_path / "again"),
            "--json",
        ]
    )
    found = json.loads(capsys.readouterr().out)
    assert code == 0
    assert found["n"] == 4
    assert (tmp_path / "again" / "rollouts.jsonl").is_file()
    assert main(["evaluate", str(run.path), "--task", "countdown"]) == 2
    assert f"give its model: {run.model}" in capsys.readouterr().err


def test_existing_run_is_never_overwritten_silently(run, capsys):
    before = run.recipe.read_text()
    assert main(words("countdown-grpo", run.path)) == 2
    said = capsys.readouterr().err
    assert "--overwrite" in said
    assert "--resume" not in said, "it is done"
    assert run.recipe.read_text() == before
    assert main(["train", "--resume", str(run.path)]) == 2
    assert "done" in capsys.readouterr().err


def test_stock_trl_and_overwrite(run, tmp_path):
    """The comparison trains with TRL's own trainer: its advantages have TRL's Bessel factor and epsilon."""
    out = shutil.copytree(run.path, tmp_path / "copy")
    stock = ["objective={trainer='stock'}", "trainer.scale_rewards=group", "trainer.max_steps=1", *NO_EVALUATION]
    assert main([*words("countdown-grpo", out, *stock), "--overwrite"]) == 0
    found = RunDirectory(out)
    assert found.summary()["objective"] == "stock TRL GRPO"
    assert "before" not in found.summary()  # nothing of the old run is left
    groups = defaultdict(list)
    for line in read_jsonl(found.rollouts):
        groups[line["problem"]].append((line["reward"], line["advantage"]))
    mixed = [group for group in groups.values() if len({reward for reward, _ in group}) == 2]
    assert mixed
    for group in mixed:
        mean = sum(reward for reward, _ in group) / 16
        deviation = math.sqrt(sum((reward - mean) ** 2 for reward, _ in group) / 15)
        for reward, advantage in group:
            assert advantage == pytest.approx((reward - mean) / (deviation + 1e-4), rel=1e-5)


def test_a_failing_task_ends_with_1_and_says_so(tmp_path, monkeypatch, capsys):
    (tmp_path / "broken_task.py").write_text(
        "from advshape.tasks.countdown import Countdown\n"
        "class Broken(Countdown):\n"
        "    def verdict(self, problem, completion):\n"
        "        raise RuntimeError('the verifier fell over')\n"
        "def make():\n"
        "    return Broken()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    code = main(words("countdown", tmp_path / "run", "task.name=broken_task:make", *NO_EVALUATION))
    assert code == 1
    assert "the verifier fell over" in capsys.readouterr().err
    assert RunDirectory(tmp_path / "run").summary()["status"] == "failed"


def test_ctrl_c_then_resume(tmp_path):
    """Stopped after some steps: readable, a checkpoint, and the way on; resumed: every step once, then done."""
    out = tmp_path / "run"
    command = words("countdown", out, "trainer.max_steps=40", "trainer.save_strategy=no", *NO_EVALUATION)
    process = subprocess.Popen(
        [sys.executable, "-m", "advshape", *command],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    wait_for_line(out / "metrics.jsonl", process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130, said
    assert f"advshape train --resume {out}" in said
    directory = RunDirectory(out)
    assert directory.summary()["status"] == "interrupted"
    _, step = directory.last_checkpoint()
    assert 1 <= step < 40
    assert directory.summary()["training"]["steps"] == step
    shorten(out, step + 2)
    assert main(["train", "--resume", str(out), "--quiet"]) == 0
    steps = [line["step"] for line in read_jsonl(directory.metrics) if "loss" in line]
    assert steps == list(range(1, step + 3))
    rollouts = [line["step"] for line in read_jsonl(directory.rollouts)]
    assert all(rollouts.count(s) == 64 for s in steps)
    assert directory.summary()["status"] == "done"
    assert directory.summary()["training"]["sittings"] == 2


def wait_for_line(path, process):
    for _ in range(3000):
        if path.exists() and path.read_text().count("\n"):
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    raise AssertionError("no step within five minutes")


def shorten(out: Path, steps: int) -> None:
    """The rest of 40 steps would only cost time."""
    recipe = out / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("max_steps = 40", f"max_steps = {steps}"))


def test_jsonl_after_a_crash(tmp_path):
    path = tmp_path / "metrics.jsonl"
    append_jsonl(path, [{"step": 1, "x": float("nan")}, {"step": 2, "x": 1.5}])
    with path.open("a") as file:
        file.write('{"step": 3, "x"')
    assert list(read_jsonl(path)) == [{"step": 1, "x": None}, {"step": 2, "x": 1.5}]
    RunDirectory(tmp_path).cut_back(1)
    assert path.read_text() == '{"step": 1, "x": null}\n'
