"""What a configuration would do to the objective: verl's YAML or overrides, or a TRL recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from advshape.adapters.verl_options import DEFAULTS, NAME, flatten, objective, objective_warnings
from advshape.doctor.finding import Finding
from advshape.errors import AdvshapeError

__all__ = ["configuration"]


def configuration(given: Sequence[str]) -> Iterator[Finding]:
    """Findings of a file (.toml: a TRL recipe; .yaml: verl's) and key=value overrides, with verl's keys.

    Raises AdvshapeError for what cannot be read.
    """
    files, overrides = [x for x in given if "=" not in x], [x for x in given if "=" in x]
    if len(files) > 1:
        raise AdvshapeError(f"--config takes one file, got {', '.join(files)}; give the rest as key=value")
    if files and not files[0].endswith((".yaml", ".yml")):
        yield from _recipe(files[0], overrides)
        return
    settings = flatten(_tree(Path(files[0]))) if files else {}
    for word in overrides:
        key, value = word.lstrip("+").split("=", 1)
        _put(settings, key, _yaml(value, word))
    yield from _verl({k: v for k, v in settings.items() if not (isinstance(v, str) and v.startswith("${"))})


def _recipe(spec: str, overrides: Sequence[str]) -> Iterator[Finding]:
    """A recipe of `advshape train`, with its own checks."""
    from types import SimpleNamespace

    from advshape.adapters.trl_options import objective_warnings as trl_warnings
    from advshape.training.objective import resolve_objective
    from advshape.training.recipe import load_recipe, with_defaults

    recipe = with_defaults(load_recipe(spec, overrides))
    rule = resolve_objective(recipe.objective)
    yield Finding("ok", "objective", str(rule) if rule else "TRL's own advantages (stock trainer)")
    for line in trl_warnings(SimpleNamespace(**recipe.trainer)):
        yield Finding("problem", "changes the objective", line)


def _verl(settings: Mapping[str, Any]) -> Iterator[Finding]:
    name = str(settings.get("algorithm.adv_estimator", DEFAULTS["algorithm.adv_estimator"]))
    if name.partition("/")[0] != NAME:
        text = f"algorithm.adv_estimator={name}: verl's own estimator; ours are {NAME} and {NAME}/NAME"
        if "algorithm.advshape" in settings:
            text += ", and without them algorithm.advshape has no effect"
        yield Finding("problem", "objective", text)
    else:
        try:
            rule, _ = objective(settings)
            yield Finding("ok", "objective", rule.name)
        except AdvshapeError as error:
            yield Finding("problem", "objective", str(error))
    for line in objective_warnings(settings):
        yield Finding("problem", "changes the objective", line)


def _put(settings: dict[str, Any], key: str, value: Any) -> None:
    """One override; keys under algorithm.advshape go into its mapping."""
    head = "algorithm.advshape."
    if key.startswith(head):
        settings["algorithm.advshape"] = dict(settings.get("algorithm.advshape") or {}) | {key[len(head) :]: value}
    else:
        settings[key] = value


def _yaml(text: str, where: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise AdvshapeError(f"cannot read {where} as YAML: {str(error).splitlines()[0]}") from None


def _tree(path: Path) -> dict[str, Any]:
    """A YAML file over those of its `defaults` that lie beside it, as Hydra merges them."""
    if not path.is_file():
        raise AdvshapeError(f"no file {str(path)!r}; give verl's .yaml or a recipe's .toml")
    found = _yaml(path.read_text(encoding="utf-8"), str(path))
    if not isinstance(found, dict):
        raise AdvshapeError(f"{path} holds no mapping of keys")
    tree: dict[str, Any] = {}
    for name in found.pop("defaults", []):
        beside = path.parent / f"{name}.yaml"
        if isinstance(name, str) and beside != path and beside.is_file():
            tree = _merged(tree, _tree(beside))
    return _merged(tree, found)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = dict(below)
    for key, value in above.items():
        inside = isinstance(value, dict) and isinstance(both.get(key), dict)
        both[key] = _merged(both[key], value) if inside else value
    return both
