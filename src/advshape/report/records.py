"""JSON files of a run, read with errors that name file, line and field."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from advshape.errors import AdvshapeError
from advshape.evaluation.logs.rollout_log import json_object

__all__ = ["json_records", "read_json"]


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty when there is no file."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise AdvshapeError(f"{path} is no JSON ({error}); repair or remove it") from error
    if not isinstance(value, dict):
        raise AdvshapeError(f"{path} holds {type(value).__name__}, expected a JSON object; repair or remove it")
    return value


def json_records(path: Path, needs: Mapping[str, type]) -> Iterator[dict[str, Any]]:
    """The records of a JSON Lines file, with the fields that each needs; a last line that was cut off is left out."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            where = f"{path}, line {number}"
            record = json_object(raw, where)
            if record is None:
                return
            for name, kind in needs.items():
                if not isinstance(record.get(name), kind):
                    seen = repr(record[name])[:60] if name in record else "nothing"
                    raise AdvshapeError(f"{where}: field {name!r} has to be {kind.__name__}, got {seen}; repair it")
            yield record
