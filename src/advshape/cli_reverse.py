"""What ``advshape reverse module:function`` prints."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys

import advshape as adv
from advshape.errors import AdvshapeError

__all__ = ["reverse"]


def reverse(name: str, n: int, as_json: bool = False) -> str:
    """What the advantage function `module:function` maximises with n rollouts, and its findings; text or JSON.

    The working directory is on the path. Raises ``AdvshapeError`` where there is no such function.
    """
    module, _, function_name = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        function = getattr(importlib.import_module(module), function_name)
    except (ModuleNotFoundError, ValueError, AttributeError) as error:
        raise AdvshapeError(
            f"no advantage function {name!r} ({error}); write module:function, as in rules:mine"
        ) from error
    found = adv.reverse(function, n)
    return _json(name, found) if as_json else f"{name} with {found}{_table(found)}"


def _json(spec: str, found: adv.Reversal) -> str:
    parts = {
        "target": spec,
        "n": found.n,
        "nearest": found.nearest,
        "exact": found.match is not None and found.match.exact,
        "population": repr(found.population) if found.population is not None else None,
        "up_to_batch_scale": found.scale_free,
        "findings": [dataclasses.asdict(finding) for finding in found.findings],
        "positive": found.table.positive.tolist() if found.table else None,
        "negative": found.table.negative.tolist() if found.table else None,
        "weight": found.surrogate.weight.tolist() if found.surrogate else None,
    }
    return json.dumps(parts, indent=1)


def _table(found: adv.Reversal) -> str:
    if found.table is None:
        return ""
    rows = [f"{'right':>5} {'A+ (right)':>12} {'A- (wrong)':>12}"]
    for c in range(found.n + 1):
        right = f"{found.table.positive[c]:.4f}" if c else ""
        wrong = f"{found.table.negative[c]:.4f}" if c < found.n else ""
        rows.append(f"{c:>5} {right:>12} {wrong:>12}".rstrip())
    return "\n\n" + "\n".join(rows)
