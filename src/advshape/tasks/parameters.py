"""Parameters of tasks and recipes as words: KEY=VALUE."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

from advshape.errors import AdvshapeError


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """``KEY=VALUE`` arguments as a dictionary of TOML values.

    >>> parse_assignments(["four=0.5", "name=x"])
    {'four': 0.5, 'name': 'x'}
    """
    found: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise AdvshapeError(f"--set needs key=value, got {assignment!r}")
        found[key.strip()] = parse_value(text.strip())
    return found


def parse_value(text: str) -> Any:
    """A TOML value, or the text itself when it is none: ``--set objective.estimator=maxrl`` needs no quotes."""
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text
