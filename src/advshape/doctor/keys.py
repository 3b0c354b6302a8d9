"""Does verl know these keys? Hydra takes a misspelt one without a word; verl's own configuration files tell."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from advshape.adapters.verl.options import DEFAULTS, NAME
from advshape.doctor.finding import Finding
from advshape.doctor.machine import ask_python, installed

__all__ = ["merged", "strange"]

OWN = f"algorithm.{NAME}"  # what stands below it is not verl's
FIELDS = """
import dataclasses, importlib, json
found = {{}}
for path in {targets!r}:
    module, _, name = path.rpartition(".")
    found[path] = [field.name for field in dataclasses.fields(getattr(importlib.import_module(module), name))]
print(json.dumps(found))
"""


def strange(tree: Mapping[str, Any], seconds: float) -> Iterator[Finding]:
    """Keys of a configuration that verl's has not, with the nearest that it has.

    Without verl, or without its files, only keys are told that resemble one which matters to the objective.
    """
    keys = [key for key in _paths(tree) if key != OWN and not key.startswith(f"{OWN}.")]
    known = _verls()
    if known is None:
        yield Finding(
            "absent",
            "keys",
            "verl is not here: a misspelt key is told only where it resembles one that matters to the objective",
        )
        unknown = [key for key in keys if key not in DEFAULTS and difflib.get_close_matches(key, DEFAULTS, 1, 0.9)]
        names = list(DEFAULTS)
    else:
        unknown = _without_fields([key for key in keys if not _has(known, key)], known, seconds)
        names = [*_paths(known), OWN]
    whose = " ".join(filter(None, ("verl", installed("verl"))))
    for key in unknown:
        near = difflib.get_close_matches(key, names, 1, 0.8)
        hint = f"did you mean {near[0]}?" if near else "look it up in verl's documentation, or leave it out"
        yield Finding("problem", "unknown key", f"{key}: {whose} reads no such key; {hint}")


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two nested configurations as one; what `above` says counts."""
    both = dict(below)
    for key, value in above.items():
        inside = isinstance(value, dict) and isinstance(both.get(key), dict)
        both[key] = merged(both[key], value) if inside else value
    return both


def _verls() -> dict[str, Any] | None:
    """The keys of all of verl's PPO configurations, as verl itself writes them out."""
    import yaml

    spec = find_spec("verl")
    folder = Path(spec.origin).parent / "trainer" / "config" if spec and spec.origin else Path()
    files = sorted(folder.glob("_generated_ppo*_trainer.yaml")) if spec else []
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    trees = [yaml.load(file.read_text(encoding="utf-8"), loader) for file in files]
    groups: dict[str, Any] = {path.name: {} for path in folder.iterdir() if path.is_dir()} if files else {}
    return reduce(merged, trees, groups | {"hydra": {}}) if files else None  # `model_engine=megatron` chooses a file


def _paths(tree: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _paths(value, f"{above}{key}.")
        else:
            yield f"{above}{key}"


def _node(known: Any, parts: Iterable[str]) -> tuple[Any, bool]:
    """What stands at the end of a path, and whether there is such a path; below an empty one anything may stand."""
    for part in parts:
        if known is None or known == {}:
            return known, True
        if not isinstance(known, Mapping) or part not in known:
            return known, False
        known = known[part]
    return known, True


def _has(known: Any, key: str) -> bool:
    return "@" in key or "/" in key or _node(known, key.split("."))[1]  # the former choose one of Hydra's files


def _without_fields(unknown: list[str], known: Any, seconds: float) -> list[str]:
    """Those that are not among the fields of the class that verl makes of their section."""
    owner = {key: node.get("_target_") for key in unknown if isinstance(node := _node(known, key.split("."))[0], dict)}
    targets = sorted({target for target in owner.values() if target})
    fields: Any = ask_python(FIELDS.format(targets=targets), seconds)[0] if targets else {}
    return [key for key in unknown if key.split(".")[-1] not in (fields or {}).get(owner.get(key), ())]
