"""What a configuration would do to the objective: verl's YAML or overrides, or a TRL recipe."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from advshape.adapters.verl.options import DEFAULTS, NAME, examine, flatten, objective_warnings
from advshape.doctor.finding import Finding
from advshape.doctor.keys import merged, strange
from advshape.doctor.recipe import recipe
from advshape.errors import AdvshapeError

__all__ = ["configuration"]


def configuration(given: Sequence[str], seconds: float, trust: bool = False) -> Iterator[Finding]:
    """Findings of a file (.toml: a TRL recipe; .yaml: verl's) and key=value overrides, with verl's keys.

    Raises AdvshapeError for what cannot be read.
    """
    files, overrides = [x for x in given if "=" not in x], [x for x in given if "=" in x]
    if len(files) > 1:
        raise AdvshapeError(f"--config takes one file, got {', '.join(files)}; give the rest as key=value")
    if files and not files[0].endswith((".yaml", ".yml")):
        yield from recipe(files[0], overrides, trust)
        return
    tree = _tree(Path(files[0])) if files else {}
    for word in overrides:
        tree = merged(tree, _override(word))
    yield from strange(tree, seconds)
    yield from _verl({k: v for k, v in flatten(tree).items() if not (isinstance(v, str) and v.startswith("${"))})


def _verl(settings: Mapping[str, Any]) -> Iterator[Finding]:
    name = str(settings.get("algorithm.adv_estimator", DEFAULTS["algorithm.adv_estimator"]))
    wrong: list[str] = []
    if name.partition("/")[0] != NAME:
        text = f"algorithm.adv_estimator={name}: verl's own estimator; ours are {NAME} and {NAME}/NAME"
        if "algorithm.advshape" in settings:
            text += ", and without them algorithm.advshape has no effect"
        yield Finding("problem", "objective", text)
    else:
        rule, _, wrong = examine(settings)
        if rule is not None and not wrong:
            yield Finding("ok", "objective", f"{rule.name}: {rule.verdict}")
        yield from (Finding("problem", "objective", line) for line in wrong)
    for line in objective_warnings(settings):
        if not any(line.partition("=")[0] in told for told in wrong):
            yield Finding("problem", "changes the objective", line)


def _override(word: str) -> dict[str, Any]:
    """`key=value` as a nested configuration: by Hydra's own grammar where it is installed, else the value as YAML."""
    try:
        from hydra.core.override_parser.overrides_parser import OverridesParser
    except ModuleNotFoundError:
        key, text = word.lstrip("+").split("=", 1)
        value = _yaml(re.sub(r":(?=\S)", ": ", text) if text.startswith("{") else text, word)
    else:
        try:
            found = OverridesParser.create().parse_override(word)
        except Exception as error:  # Hydra's own, which has no one root
            raise AdvshapeError(f"Hydra cannot read {word}: {str(error).splitlines()[0]}") from None
        key, value = found.key_or_group, found.value()
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)


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
    try:
        found = _yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise AdvshapeError(f"cannot read {path} as text ({error}); give verl's .yaml or a recipe's .toml") from None
    if not isinstance(found, dict):
        raise AdvshapeError(f"{path} holds no mapping of keys")
    tree: dict[str, Any] = {}
    for name in found.pop("defaults", []):
        beside = path.parent / f"{name}.yaml"
        if isinstance(name, str) and beside != path and beside.is_file():
            tree = merged(tree, _tree(beside))
    return merged(tree, found)
