"""What did the target's process leave? Its answer, read once: every type checked, nothing that a terminal acts on.

The target shares that process, so it may have written anything in the answer's place.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["clean", "read"]

Check = Callable[[Any], bool]


def read(answer: Path, sizes: int | None) -> dict[str, Any]:
    """The answer: {"error": sentence}, else {"names": [...]} if `sizes` is None, else {"data": [...]} with the data of
    `examine.examine` for so many group sizes. Raises ValueError for anything else."""
    try:
        found = json.loads(answer.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("it nests too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("it is no object")
    if "error" in found:
        _check({"error": _text}, found, "the answer")
    elif sizes is None:
        _check({"names": _list_of(_text)}, found, "the answer")
    else:
        _check({"data": _list_of(lambda row: isinstance(row, dict), sizes)}, found, "the answer")
        for row in found["data"]:
            _check(_ROW, row, "data")
            _check(_lengths(row["n"]), row, "data")
            for first, *others in _TOGETHER:
                if len({row[key] is None for key in (first, *others)}) > 1:
                    raise ValueError(f"{first} and {' and '.join(others)} in data do not belong together")
    return {key: clean(value) for key, value in found.items()}


def clean(value: Any) -> Any:
    """Texts without characters that a terminal acts on or a reader cannot see (lines and tabs stay); JSON has no NaN
    and no infinity: null in their place."""
    if isinstance(value, str):
        return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in value)
    if isinstance(value, list):
        return [clean(inner) for inner in value]
    if isinstance(value, dict):
        return {clean(key): clean(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _check(wanted: dict[str, Check], found: dict[str, Any], where: str) -> None:
    for key, check in wanted.items():
        if key not in found:
            raise ValueError(f"{where} lacks {key}")
        if not check(found[key]):
            raise ValueError(f"{key} in {where} is not what it should be")


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _truth(value: Any) -> bool:
    return isinstance(value, bool)


def _number(value: Any) -> bool:
    return value is None or isinstance(value, float) or (_whole(value) and abs(value) < 2**63)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _or_null(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _list_of(check: Check, length: int | None = None) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value)) and (length is None or len(value) == length)


def _object(wanted: dict[str, Check]) -> Check:
    return lambda value: isinstance(value, dict) and all(k in value and check(value[k]) for k, check in wanted.items())


def _group_of_one(value: Any) -> bool:
    return _object({"refuses": _text})(value) or _object({"wrong": _number, "right": _number})(value)


def _curve(value: Any) -> bool:
    """Known columns of one length, the rates among them."""
    columns = {"rho", "F", "error", "F'", "F_n'", "bias", "second moment"}
    known = isinstance(value, dict) and {"rho"} <= set(value) <= columns
    return known and all(map(_list_of(_number, _RATES), value.values()))


_RATES = 10  # success rates at which a curve is listed
_ROWS = _list_of(_list_of(_number))
_ROW: dict[str, Check] = {
    "target": _text,
    "version": _text,
    "source": _text,
    "documentation": _text,
    "notes": _list_of(_text),
    "estimator": _or_null(_text),
    "kind": _or_null(_text),
    "smallest_n": _whole,
    "summary": _text,
    "n": lambda value: _whole(value) and 0 < value < 2**31,
    "nearest": _or_null(_text),
    "exact": _truth,
    "population": _or_null(_text),
    "surrogate": _or_null(_text),
    "closed_form": _or_null(_truth),
    "centered": _or_null(_truth),
    "up_to_batch_scale": _truth,
    "findings": _list_of(_object({"kind": _text, "message": _text, "rewards": _ROWS, "advantages": _ROWS})),
    "curve": _curve,
    "group_of_one": _group_of_one,
    "filters": _text,
}
_TOGETHER = (("positive", "negative", "offset"), ("weight", "slope_at_0_and_1", "finite_derivative"))


def _lengths(n: int) -> dict[str, Check]:
    """Of what has one number for each count."""
    sizes = {"positive": n + 1, "negative": n + 1, "weight": n, "offset": n, "slope_at_0_and_1": 2}
    sizes |= {"rho": _RATES, "finite_derivative": _RATES}
    return {key: _or_null(_list_of(_number, size)) for key, size in sizes.items()}
