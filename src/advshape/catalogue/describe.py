"""What is known of an entry of the catalogue? Its parameters, rule, objective, kind, source, advice, as plain data."""

from __future__ import annotations

import inspect
import re
from typing import Any

from advshape.catalogue import ENTRIES, estimator

__all__ = ["FAMILIES", "NOTE", "describe_catalogue", "describe_entry", "signature"]

FAMILIES = {
    "policy_gradient": "REINFORCE, GRPO and their normalisations",
    "pass_at_k": "Pass@k, all-of-k and majority-of-k",
    "passk_training": "Pass@k Training",
    "prompt_weights": "Prompts weighed by difficulty",
    "reward_level": "Other functions of the success rate",
}
NOTE = "n >=, kind and maximises: with k = 4 (majority_of_k: k = 3) where a k is needed."


def describe_catalogue() -> list[dict[str, Any]]:
    """Every entry's description, by family; see `describe_entry`."""
    return [describe_entry(name) for name in ENTRIES]


def describe_entry(spec: str) -> dict[str, Any]:
    """What is known of an entry: parameters with defaults, rule, objective, kind, centred, smallest n, source, advice.

    kind and centred are computed from its tables; k = 4 where one is needed and not given. Raises AdvshapeError for
    an unknown name.
    """
    name = spec.partition("(")[0].strip()
    example: dict[str, int] = {}
    if "(" not in spec and name in ENTRIES:
        needed = [p.name for p in inspect.signature(ENTRIES[name]).parameters.values() if p.default is p.empty]
        example = dict.fromkeys(needed, 3 if name == "majority_of_k" else 4)
    entry = estimator(spec, **example)
    factory = ENTRIES[name]
    documentation = inspect.getdoc(factory) or ""
    return {
        "name": name,
        "family": factory.__module__.rpartition(".")[2],
        "parameters": [
            {"name": p.name, "required": p.default is p.empty, "default": None if p.default is p.empty else p.default}
            for p in inspect.signature(factory).parameters.values()
        ],
        "shown": entry.name,
        "example": example,
        "rule": documentation.partition("\n")[0],
        "documentation": documentation,
        "surrogate": repr(entry.surrogate) if entry.surrogate else None,
        "formula": getattr(entry.surrogate, "formula", None),
        "slope": getattr(entry.surrogate, "slope", None),
        "kind": entry.kind,
        "verdict": entry.verdict,
        "centered": all(entry.table(n).centered for n in (max(2, entry.smallest_n), entry.smallest_n + 5)),
        "random": entry.draw is not None,
        "smallest_n": entry.smallest_n,
        "needs": entry.note,
        "reference": entry.reference,
        "papers": re.findall(r"\d{4}\.\d{5}", entry.reference),
        "use": entry.use,
        "avoid": entry.avoid,
    }


def signature(row: dict[str, Any], defaults: bool = True) -> str:
    """An entry with its parameters, as it is written."""
    kept = [p for p in row["parameters"] if defaults or p["required"]]
    shown = ", ".join(p["name"] if p["required"] else f"{p['name']}={p['default']}" for p in kept)
    return f"{row['name']}({shown})" if shown else row["name"]
