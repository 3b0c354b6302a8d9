"""Recipes: what to train, on which problems, for which objective, as one TOML file.

A recipe has six tables: ``[model] [task] [objective] [sampling] [trainer] [evaluation]``.  This module reads them,
applies ``--set`` overrides and refuses unknown keys with the nearest known one.  It needs no torch.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from advshape.errors import AdvshapeError, nearest
from advshape.tasks.parameters import parse_value
from advshape.training.recipe.keys import EVALUATION_KEYS, MODEL_KEYS, SECTIONS, check_keys, check_sections

EVALUATION_DEFAULTS: dict[str, Any] = {
    "count": 256,
    "n": 64,
    "temperature": 1.0,
    "top_p": 1.0,
    "seed": 1,
    "before": True,
    "after": True,
}
# What a recipe gets when it does not say otherwise; everything else is TRL's own default.
TRAINER_DEFAULTS: dict[str, Any] = {
    "loss_type": "dr_grpo",
    "logging_steps": 1,
    "report_to": "none",
    "save_strategy": "steps",
    "save_steps": 50,
    "save_total_limit": 2,
    "seed": 0,
    "skip_zero_advantages": True,
}


@dataclass(frozen=True)
class Recipe:
    """A recipe as read: six plain tables and the name it is known by.

    >>> recipe = load_recipe("countdown", ["trainer.learning_rate=1e-5"])
    >>> recipe.objective["estimator"], recipe.trainer["learning_rate"]
    ('pass_at_k', 1e-05)
    """

    name: str
    model: Mapping[str, Any] = field(default_factory=dict)
    task: Mapping[str, Any] = field(default_factory=dict)
    objective: Mapping[str, Any] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    trainer: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)

    def tables(self) -> dict[str, dict[str, Any]]:
        """The six tables as plain dictionaries, in the order of the file."""
        return {section: dict(getattr(self, section)) for section in SECTIONS}

    def to_toml(self) -> str:
        """The recipe as TOML; ``parse_recipe`` reads it back unchanged."""
        import tomli_w

        tables = {key: table for key, table in self.tables().items() if table or key != "sampling"}
        return tomli_w.dumps({"name": self.name, **_without_none(tables)})

    def with_tables(self, **tables: Mapping[str, Any]) -> Recipe:
        """A copy with whole tables replaced."""
        return replace(self, **tables)  # type: ignore[arg-type]


def recipe_names() -> list[str]:
    """Names of the recipes that ship with the package."""
    folder = resources.files("advshape") / "recipes"
    return sorted(entry.name[: -len(".toml")] for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_recipe(spec: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by file or by the name of a shipped one, and apply ``section.key=value`` overrides.

    Raises ``AdvshapeError`` when there is no such recipe, the TOML is malformed, or a key is unknown.
    """
    path = Path(spec)
    if path.suffix == ".toml" or path.is_file():
        if not path.is_file():
            raise AdvshapeError(
                f"recipe file {str(path)!r} does not exist; give a .toml file or one of: {', '.join(recipe_names())}"
            )
        try:
            text, name = path.read_text(encoding="utf-8"), path.stem
        except (OSError, UnicodeDecodeError) as error:
            raise AdvshapeError(f"cannot read the recipe {path} as text ({error}); give a .toml file") from None
    else:
        name, known = str(spec), recipe_names()
        if name not in known:
            raise AdvshapeError(
                f"no recipe {name!r}{nearest(name, known) or '.'} Shipped recipes: {', '.join(known)}; "
                "or give the path of a .toml file"
            )
        text = (resources.files("advshape") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")
    return parse_recipe(text, name, overrides)


def parse_recipe(text: str, name: str = "recipe", overrides: Sequence[str] = ()) -> Recipe:
    """Recipe from TOML text; see ``load_recipe``."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise AdvshapeError(f"recipe {name!r} is not valid TOML: {error}") from None
    for override in overrides:
        _apply(data, override)
    check_sections(key for key in data if key != "name")
    for section in SECTIONS:
        if not isinstance(data.get(section, {}), dict):
            raise AdvshapeError(f"[{section}] must be a table, got {data[section]!r}")
    name = str(data.get("name", name))
    recipe = Recipe(name, **{section: data.get(section, {}) for section in SECTIONS})
    check_keys("model", recipe.model, MODEL_KEYS)
    check_keys("evaluation", recipe.evaluation, EVALUATION_KEYS)
    for table, key in (("model", "path"), ("task", "name")):
        if not isinstance(getattr(recipe, table).get(key), str):
            raise AdvshapeError(f"recipe {name!r} needs {key!r} in [{table}], as a string")
    return recipe


def with_defaults(recipe: Recipe) -> Recipe:
    """The recipe with the project's defaults written out, as a run directory stores it."""
    evaluation = EVALUATION_DEFAULTS | dict(recipe.evaluation)
    trainer = TRAINER_DEFAULTS | dict(recipe.trainer)
    if trainer["save_strategy"] != "steps" and "save_steps" not in recipe.trainer:
        trainer.pop("save_steps")
    objective = dict(recipe.objective)
    if "trainer" not in objective:
        objective.setdefault("scale", "rms")
    return recipe.with_tables(evaluation=evaluation, trainer=trainer, objective=objective)


def _apply(data: dict[str, Any], override: str) -> None:
    """Apply one ``section.key=value`` (or ``section={...}``) to the parsed recipe, in place."""
    target, equals, text = override.partition("=")
    keys = [key.strip() for key in target.split(".")]
    if not equals or not all(keys):
        raise AdvshapeError(
            f"--set needs section.key=value, got {override!r}; for example --set trainer.learning_rate=1e-5"
        )
    check_sections(key for key in keys[:1] if key != "name")
    table = data
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise AdvshapeError(f"--set {override!r}: {key!r} is not a table")
    table[keys[-1]] = parse_value(text.strip())


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return value
