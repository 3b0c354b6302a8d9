"""JSON and JSON Lines as our files and other tools' logs have them: bytes, streamed, with the errors' file and line."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import IO, Any

from advshape.errors import AdvshapeError

Kinds = Mapping[str, type | UnionType]

__all__ = [
    "Kinds",
    "append_jsonl",
    "check_fields",
    "numbered_lines",
    "parse_line",
    "plain",
    "read_json",
    "read_jsonl",
    "to_line",
]

LONGEST_LINE = 256 * 2**20
"""Bytes of one line; a longer one is an error instead of all the memory."""


def read_jsonl(path: Path, needs: Kinds | None = None) -> Iterator[dict[str, Any]]:
    """The records of a JSON Lines file, streamed; none when there is no file.

    A last line that was cut off, even inside a character, is left out: its writer is at work or has crashed.

    Args:
        path: the file.
        needs: {field: type} that every record must have, see `check_fields`.

    Raises:
        AdvshapeError: a line that is not a JSON object, or lacks a field; with file and line.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, raw in numbered_lines(file, path):
            where = f"{path}, line {number}"
            record = parse_line(raw, where)
            if record is None:
                return
            check_fields(record, needs or {}, where)
            yield record


def check_fields(record: Mapping[str, Any], kinds: Kinds, where: str, optional: bool = False) -> None:
    """Hold fields to their types; True and False are bool alone, and an integer has 64 bits.

    Args:
        record: what was read.
        kinds: {field: type}.
        where: what errors call it.
        optional: a field that is missing is fine.

    Raises:
        AdvshapeError: a field of another type, or a missing one.

    >>> check_fields({"step": "7"}, {"step": int}, "a.jsonl, line 2")
    Traceback (most recent call last):
    advshape.errors.AdvshapeError: a.jsonl, line 2: field 'step' has to be int, got '7'; repair it
    """
    for name, kind in kinds.items():
        if optional and name not in record:
            continue
        value = record.get(name)
        strange = isinstance(value, bool) and kind is not bool
        strange |= isinstance(value, int) and not -(2**63) <= value < 2**63
        if strange or not isinstance(value, kind):
            seen = repr(value)[:60] if name in record else "nothing"
            wanted = kind.__name__ if isinstance(kind, type) else str(kind)
            raise AdvshapeError(f"{where}: field {name!r} has to be {wanted}, got {seen}; repair it")


def numbered_lines(file: IO[bytes] | gzip.GzipFile, path: Path) -> Iterator[tuple[int, bytes]]:
    """(number, line with its line end) of every line that is not blank.

    Raises:
        AdvshapeError: a line of more than `LONGEST_LINE` bytes.
    """
    number = 0
    while raw := file.readline(LONGEST_LINE):
        number += 1
        if len(raw) >= LONGEST_LINE:
            raise AdvshapeError(f"{path}, line {number}: longer than {LONGEST_LINE >> 20} MiB; remove the line")
        if raw.strip():
            yield number, raw


def parse_line(raw: bytes, where: str) -> dict[str, Any] | None:
    """The object in a line of JSON Lines; None where the line was cut off before its end.

    Raises:
        AdvshapeError: the line is not a JSON object; `where` names it.

    >>> parse_line(b'{"step": 1}\\n', "a.jsonl, line 1"), parse_line(b'{"st', "a.jsonl, line 2")
    ({'step': 1}, None)
    """
    try:
        line = json.loads(raw)
    except (ValueError, RecursionError) as error:
        if not raw.endswith(b"\n"):
            return None
        raise AdvshapeError(f"{where}: not JSON ({str(error)[:100]}); remove or repair the line") from error
    if not isinstance(line, dict):
        raise AdvshapeError(f"{where}: expected a JSON object, got {type(line).__name__}; remove or repair the line")
    return line


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty when there is no file.

    Raises:
        AdvshapeError: the file cannot be read, or holds something else.
    """
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        raise AdvshapeError(f"{path} is not JSON ({str(error)[:100]}); repair or remove it") from error
    if not isinstance(value, dict):
        raise AdvshapeError(f"{path} holds {type(value).__name__}, expected a JSON object; repair or remove it")
    return value


def append_jsonl(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Append records, one JSON object per line."""
    with path.open("ab") as file:
        file.writelines(to_line(record).encode() for record in records)


def to_line(record: Mapping[str, Any]) -> str:
    """One line of strict JSON: NaN and infinities become null, lone surrogates `\\ufffd`."""
    text = json.dumps(plain(record), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "replace").decode() + "\n"


def plain(value: Any) -> Any:
    """A value that strict JSON can hold: arrays to lists, NaN and infinities to null, other objects to their text.

    >>> plain({"a": float("nan"), 2: (1, 2.5)})
    {'a': None, '2': [1, 2.5]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
