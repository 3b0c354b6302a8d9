"""Recipes: what is read is what is written, and everything unknown is an error with the nearest known name."""

import tomllib

import pytest

from advshape.cli import main
from advshape.errors import AdvshapeError
from advshape.tasks.parameters import parse_assignments
from advshape.training.recipe.load import Recipe, load_recipe, parse_recipe, recipe_names, with_defaults

MINIMAL = """
[model]
path = "countdown"
[task]
name = "countdown"
[objective]
estimator = "grpo"
[trainer]
max_steps = 3
"""


def test_shipped_recipes():
    assert {"countdown", "countdown-grpo", "smollm2-arithmetic"} <= set(recipe_names())
    for name in recipe_names():
        recipe = load_recipe(name)
        assert recipe.trainer["loss_type"] == "dr_grpo"  # other normalisers may weigh rollouts by length
        assert recipe.objective["scale"] == "rms"
        assert not {"use_cpu", "bf16", "fp16", "output_dir"} & set(recipe.trainer)


def test_the_two_countdown_recipes_differ_in_the_objective_alone():
    one, other = load_recipe("countdown").tables(), load_recipe("countdown-grpo").tables()
    assert one.pop("objective") != other.pop("objective")
    assert one == other


@pytest.mark.parametrize("name", recipe_names())
def test_resolved_recipe_reads_back_unchanged(name):
    resolved = with_defaults(load_recipe(name))
    again = parse_recipe(resolved.to_toml(), "other")
    assert again == resolved
    assert with_defaults(again) == resolved


def test_file_gives_its_name(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(MINIMAL)
    assert load_recipe(str(path)).name == "mine"


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("trainer.learning_rate=1e-5", "trainer", "learning_rate", 1e-5),
        ("trainer.beta=0.04", "trainer", "beta", 0.04),
        ("objective.estimator=maxrl", "objective", "estimator", "maxrl"),
        ("objective.estimator='maxrl'", "objective", "estimator", "maxrl"),
        ("evaluation.before=false", "evaluation", "before", False),
        ("model.lora.r=4", "model", "lora", {"r": 4}),
        ("task.four = 0.5", "task", "four", 0.5),
    ],
)
def test_override(override, section, key, value):
    found = getattr(parse_recipe(MINIMAL, overrides=[override]), section)[key]
    assert found == value
    assert type(found) is type(value)


def test_override_of_a_whole_table():
    recipe = load_recipe("countdown", ['objective={estimator = "maxrl"}'])
    assert recipe.objective == {"estimator": "maxrl"}


@pytest.mark.parametrize(
    ("text", "overrides", "words"),
    [
        (MINIMAL + "[trainr]\nbeta = 0", [], ["'trainr'", "no table 'trainr'", "'trainer'"]),
        (MINIMAL + "[evaluation]\ncuont = 4", [], ["'cuont'", "[evaluation]", "'count'"]),
        (MINIMAL.replace("path", "pth"), [], ["'pth'", "[model]", "'path'"]),
        (MINIMAL.replace('name = "countdown"', ""), [], ["'name'", "[task]"]),
        (MINIMAL + "x = ", [], ["not valid TOML"]),
        (MINIMAL, ["learning_rate"], ["section.key=value"]),
        (MINIMAL, ["trainre.beta=0"], ["'trainre'", "'trainer'"]),
        (MINIMAL, ["model=3"], ["[model]", "table"]),
        (MINIMAL, ["model.path.x=3"], ["'path'", "not a table"]),
    ],
)
def test_errors_name_what_was_seen_and_the_nearest(text, overrides, words):
    with pytest.raises(AdvshapeError) as error:
        parse_recipe(text, overrides=overrides)
    for word in words:
        assert word in str(error.value)


def test_unknown_recipe_gets_the_nearest_name(tmp_path):
    with pytest.raises(AdvshapeError, match="did you mean 'countdown-grpo'"):
        load_recipe("countdown-gpro")
    with pytest.raises(AdvshapeError, match="does not exist"):
        load_recipe(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(AdvshapeError, match=r"binary.toml as text"):
        load_recipe(tmp_path / "binary.toml")


def test_assignments():
    assert parse_assignments(["a=1", "b=[1, 2]", "c=word"]) == {"a": 1, "b": [1, 2], "c": "word"}
    with pytest.raises(AdvshapeError, match="key=value"):
        parse_assignments(["a"])


def test_recipe_is_written_as_toml():
    data = tomllib.loads(Recipe("x", model={"path": "m", "dtype": None}).to_toml())
    assert data["model"] == {"path": "m"}  # None has no word in TOML: it is left out


def test_another_estimator_over_the_recipes_own_parameters_says_how(capsys, tmp_path):
    assert main(["train", "countdown", "--set", "objective.estimator=rloo", "--dry-run"]) == 2
    assert """--set 'objective={estimator = "rloo"}'""" in capsys.readouterr().err
    assert main(["train", "countdown", "--set", 'objective={estimator = "rloo"}', "--dry-run"]) == 0


def test_a_run_directory_that_cannot_be_made(capsys):
    assert main(["train", "countdown", "--set", "trainer.max_steps=1", "--out", "/dev/null/x"]) == 2
    assert "cannot be made" in capsys.readouterr().err
