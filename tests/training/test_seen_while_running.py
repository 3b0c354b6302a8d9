"""A run through the real command in which no answer fits: what it says, keeps, and sends to trackers."""

import contextlib
import io
import os
import subprocess
import sys

import pytest

from advshape.cli import main
from advshape.evaluation.logs.jsonl import read_jsonl
from advshape.training.recipe.trackers import TRACKERS, kept_in
from advshape.training.rundir.directory import RunDirectory

SMALL = [
    "trainer.per_device_train_batch_size=16",
    "trainer.gradient_accumulation_steps=2",
    "evaluation.count=4",
    "evaluation.n=8",
]
NO_EVALUATION = ["evaluation.before=false", "evaluation.after=false"]


def train(out, *overrides):
    """Exit code and what the command said on standard error."""
    found = ["train", "countdown", "--out", str(out)]
    for override in (*SMALL, *overrides):
        found += ["--set", override]
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = main(found)
    return code, said.getvalue()


@pytest.fixture(scope="module")
def clipped(tmp_path_factory):
    """Six steps in which every completion is cut off after one token."""
    out = tmp_path_factory.mktemp("runs") / "clipped"
    code, said = train(
        out,
        "trainer.max_steps=6",
        "trainer.max_completion_length=1",
        "trainer.report_to=tensorboard",
        "trainer.save_strategy=no",
    )
    assert code == 0, said
    return RunDirectory(out), said


def test_each_warning_is_said_once_with_what_to_do(clipped):
    _, said = clipped
    assert said.count("advshape: warning at step 5") == 2
    assert "max_completion_length is too short" in said
    assert "choose easier problems" in said


def test_warnings_are_kept_in_the_summary(clipped):
    signs = clipped[0].summary()["warning_signs"]
    assert [(sign["name"], sign["step"]) for sign in signs] == [("groups_dead", 5), ("all_clipped", 5)]
    assert all(sign["seen"] and sign["advice"] for sign in signs)


def test_a_log_has_lines_and_no_control_characters(clipped):
    _, said = clipped
    assert "countdown  6/6  reward .000  pass@8 .000  dead 100%" in said
    assert not set(said) & {"\r", "\x1b", "\x08"}


def test_tensorboard_has_what_metrics_jsonl_has(clipped):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    directory, _ = clipped
    events = EventAccumulator(str(directory.trackers / "tensorboard"))
    events.Reload()
    lines = [line for line in read_jsonl(directory.metrics) if "loss" in line]
    ours = {name for line in lines for name in line if name.startswith("advshape/")}
    assert {"advshape/pass_at_1", "advshape/pass_at_8", "advshape/rollouts_not_judged"} <= ours
    for name in (*sorted(ours), "reward", "entropy"):
        scalars = events.Scalars(f"train/{name}")
        assert [event.step for event in scalars] == [1, 2, 3, 4, 5, 6]
        assert [event.value for event in scalars] == pytest.approx([line[name] for line in lines], rel=1e-6)


@pytest.mark.parametrize("tracker", ["wandb", "trackio"])
def test_other_trackers_at_home(tracker, tmp_path):
    pytest.importorskip(tracker)
    words = [sys.executable, "-m", "advshape", "train", "countdown", "--out", str(tmp_path / "run")]
    for override in (*SMALL, "trainer.max_steps=1", f"trainer.report_to={tracker}", *NO_EVALUATION):
        words += ["--set", override]
    homes = {"WANDB_MODE": "offline", "TRACKIO_DIR": str(tmp_path / "trackio")}
    done = subprocess.run(words, env=os.environ | homes, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pattern = {"wandb": "run/trackers/wandb/offline-run-*", "trackio": "trackio/advshape*"}[tracker]
    assert list(tmp_path.glob(pattern))


def test_stock_trainer_logs_the_same_shares(tmp_path):
    """TRL's own trainer, whose metrics have none of ours: counted again from the rollouts, by hand."""
    code, said = train(
        tmp_path / "run",
        "objective={trainer='stock'}",
        "trainer.max_steps=2",
        "trainer.logging_steps=2",
        *NO_EVALUATION,
    )
    assert code == 0, said
    directory = RunDirectory(tmp_path / "run")
    [line] = [line for line in read_jsonl(directory.metrics) if "loss" in line]
    rollouts = list(read_jsonl(directory.rollouts))
    groups = [[rollouts[start + i]["reward"] for i in range(16)] for start in range(0, len(rollouts), 16)]
    assert len(groups) == 4
    assert line["advshape/prompts_mixed"] == pytest.approx(sum(len(set(group)) == 2 for group in groups) / 4)
    assert line["advshape/pass_at_16"] == pytest.approx(sum(max(group) for group in groups) / 4)
    assert line["advshape/pass_at_1"] == pytest.approx(sum(map(sum, groups)) / 64)


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_missing_package_is_one_sentence_before_anything(tracker, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("advshape.training.recipe.trackers._installed", lambda package: False)
    code = main(["train", "countdown", "--out", str(tmp_path / "run"), "--set", f"trainer.report_to={tracker}"])
    assert code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"pip install {tracker}" in said
    assert not (tmp_path / "run").exists()


def test_a_folder_is_no_package(tmp_path, monkeypatch, capsys):
    """W&B leaves a folder named wandb where it runs; Python would take it for a package."""
    if any(name in sys.modules for name in ("wandb",)):
        pytest.skip("wandb is installed")
    (tmp_path / "wandb").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["train", "countdown", "--dry-run", "--set", "trainer.report_to=wandb"]) == 2
    assert "pip install wandb" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("tensorbord", "did you mean 'tensorboard'?"),
        ('["tensorboard", "mlflow"]', "allowed:"),
        ("3", "a list of names"),
    ],
)
def test_unknown_trackers(value, says, capsys):
    assert main(["train", "countdown", "--dry-run", "--set", f"trainer.report_to={value}"]) == 2
    assert says in capsys.readouterr().err


def test_trackers_leave_the_environment_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    before = dict(os.environ)
    with kept_in(tmp_path / "trackers", "tensorboard"):
        assert os.environ["TENSORBOARD_LOGGING_DIR"] == str(tmp_path / "trackers" / "tensorboard")
        assert os.environ["WANDB_PROJECT"] == "mine"
    assert dict(os.environ) == before
    with kept_in(tmp_path / "none", "none"):
        assert dict(os.environ) == before
    assert not (tmp_path / "none").exists()


def test_the_report_shows_the_warnings(clipped):
    page = clipped[0].report.read_text()
    assert "Warning at step 5: 100% of the completions" in page
    assert "A dotted line marks each warning: groups dead at step 5, all clipped at step 5." in page
    assert "pass@k of the training batches" in page


def test_model_card(clipped):
    """Written again after the last evaluation; its front matter is read back by huggingface_hub."""
    from huggingface_hub import ModelCard

    directory, _ = clipped
    summary = directory.summary()
    card = ModelCard.load(directory.model / "README.md")
    assert {"advshape", "trl"} <= set(card.data.tags)
    assert card.data.library_name == "transformers"
    measured = {result.metric_type: result.metric_value for result in card.data.eval_results}
    after = summary["after"]["curve"]
    assert measured == {
        f"pass@{k}": pytest.approx(v, abs=1e-6) for k, v in zip(after["ks"], after["values"], strict=True)
    }
    for when in ("before", "after"):
        curve = summary[when]["curve"]
        assert f"| {when} | {curve['values'][0]:.3f} [{curve['low'][0]:.3f}, {curve['high'][0]:.3f}] |" in card.text
    for part in (
        "`PassAtK(k=8), F = 1 - (1 - rho)**8`",
        "pass_at_k(k=8) at unit rms",
        "n = 16",
        "max_completion_length = 1\n",
        "torch ",
        "step 5: 100% of the completions",
        "2510.23049",
        "6 steps",
    ):
        assert part in card.text, part


def test_model_cards_of_other_objectives():
    from huggingface_hub import ModelCard

    from advshape.training.card import model_card
    from advshape.training.recipe.load import load_recipe
    from advshape.training.recipe.plan import make_plan

    said = {
        "{trainer='stock'}": "TRL's own GRPO advantages",
        "{surrogate='1-(1-rho)**4', baseline='leave_one_out'}": "F = 1 - (1 - rho)**4",
        "{estimator='leave_one_out_max'}": "advshape reverse 'leave_one_out_max' -n 16",
        "{estimator='entropy_rloo'}": "`Identity() + 0.1 * Entropy(), F = rho + 0.1*(-rho*log(rho) - ",
        "{estimator='pass_at_k', k=3, schedule={k={to=1, shape='linear', steps=[1, 3]}}}": "It changes during the run:",
    }
    for objective, words in said.items():
        plan = make_plan(load_recipe("countdown", [f"objective={objective}"]))
        card = ModelCard(model_card(plan, {}))
        assert words in card.text
        assert "Not evaluated." in card.text
        assert card.data.eval_results is None
        assert "base_model" not in card.data.to_dict()
