"""``summary.json`` and ``metrics.jsonl`` of a run, held to their form: a run may come from anywhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from advshape.errors import AdvshapeError
from advshape.evaluation.logs.jsonl import Kinds, check_fields, read_json, read_jsonl

__all__ = ["curve_points", "is_number", "read_metrics", "read_summary"]

SUMMARY: Kinds = {
    "status": str,
    "name": str,
    "command": str,
    "objective": str,
    "error": str,
    "planned": dict,
    "versions": dict,
    "warnings": list,
    "warning_signs": list,
    "before": dict,
    "training": dict,
    "after": dict,
}
SIGN: Kinds = {"step": int, "name": str, "seen": str, "advice": str}


def read_summary(path: Path) -> dict[str, Any]:
    """What a run says of itself; empty when there is no file.

    Raises:
        AdvshapeError: not JSON, or a field of another form than a run writes; with the file and the field.
    """
    summary = read_json(path)
    check_fields(summary, SUMMARY, str(path), optional=True)
    check_fields(summary.get("planned", {}), {"steps": int}, f"{path}: planned", optional=True)
    check_fields(summary.get("training", {}), {"seconds": int | float}, f"{path}: training", optional=True)
    for text in summary.get("warnings", []):
        if not isinstance(text, str):
            raise AdvshapeError(f"{path}: warnings has to be a list of texts, got {str(text)[:60]}; repair it")
    for sign in summary.get("warning_signs", []):
        if not isinstance(sign, dict):
            raise AdvshapeError(f"{path}: warning_signs has to be a list of step, name, seen, advice; repair it")
        check_fields(sign, SIGN, f"{path}: warning_signs")
    return summary


def curve_points(evaluation: Mapping[str, Any], where: str) -> list[tuple[float, ...]]:
    """(k, pass@k, low, high) of the curve in a summary's evaluation; ends that are null are NaN.

    Raises:
        AdvshapeError: no curve, or not as many numbers for each of the four.

    >>> curve_points({"curve": {"ks": [1], "values": [0.5], "low": [None], "high": [None]}}, "summary.json")
    [(1.0, 0.5, nan, nan)]
    """
    check_fields(evaluation, {"curve": dict}, where)
    columns = [evaluation["curve"].get(name) for name in ("ks", "values", "low", "high")]
    if not all(isinstance(column, list) and all(map(is_number, column)) for column in columns) or (
        len(set(map(len, columns))) > 1 or not columns[0]
    ):
        raise AdvshapeError(f"{where}: a curve is as many ks, values, low and high, all numbers or null; repair it")
    return [tuple(math.nan if x is None else float(x) for x in row) for row in zip(*columns, strict=True)]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The steps that a trainer logged; a last line that is being written is left out.

    Raises:
        AdvshapeError: a line that is not JSON, has no step, or has something other than numbers.
    """
    found = []
    for number, line in enumerate(read_jsonl(path, {"step": int}), start=1):
        for name, value in line.items():
            if not is_number(value):
                raise AdvshapeError(
                    f"{path}, record {number}: field {name!r} has to be a number, or null, got {value!r:.60}; repair it"
                )
        found.append(line)
    return found


def is_number(value: Any) -> bool:
    """Whether it is a finite number, or null (which stands for one that is not finite).

    >>> is_number(None), is_number(2), is_number(float("inf")), is_number("2"), is_number(10**400)
    (True, True, False, False, False)
    """
    try:
        return value is None or math.isfinite(value)
    except (TypeError, OverflowError):
        return False
