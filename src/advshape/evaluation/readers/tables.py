"""Rows of CSV, JSON Lines, a JSON array or Parquet, as mappings from column to value."""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from advshape.evaluation.readers.base import Context, listed, shown
from advshape.evaluation.readers.files import beginning, json_lines, open_log
from advshape.evaluation.readers.json_stream import JsonStream
from advshape.evaluation.readers.parquet import batches, schema

__all__ = ["csv_header", "rows"]

LONGEST_CELL = 64 * 2**20


Content = bytes | tuple[str, ...] | None


def rows(context: Context) -> Iterator[tuple[str, Mapping[str, Any], Content]]:
    """(place, row, its content as it is written, where that is at hand) of every row."""
    head = beginning(context, 4096)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if head[:4] == b"PAR1":
        yield from _parquet_rows(context)
    elif start == b"{":
        for number, line, raw in json_lines(context):
            yield f"line {number}", line, raw
    elif start == b"[":
        yield from _array_rows(context)
    else:
        yield from _csv_rows(context)


def csv_header(text: str) -> tuple[list[str], str]:
    """The columns and the sign between them: the one of comma, tab and semicolon that the first line has most of."""
    sign = max(",\t;", key=text.count)
    try:
        return next(csv.reader([text], delimiter=sign, strict=True), []), sign
    except csv.Error:
        return [], sign


def _csv_rows(context: Context) -> Iterator[tuple[str, Mapping[str, Any], Content]]:
    limit = csv.field_size_limit()
    file = io.TextIOWrapper(open_log(context.path), encoding="utf-8-sig", newline="")
    tail = _Tail(file)
    try:
        csv.field_size_limit(max(limit, LONGEST_CELL))
        header, sign = csv_header(tail.first())
        if not header or len(set(header)) != len(header):
            context.fail(f"the first line has to name the columns, each once, got {listed(header)}", "line 1")
        reader = csv.reader(tail, delimiter=sign, strict=True)
        while True:
            before = reader.line_num
            try:
                row = next(reader, None)
            except csv.Error as error:
                unclosed = "unexpected end" in str(error)
                if unclosed and not tail.complete and reader.line_num == before + 1:
                    context.skip("half-written last row", f"line {reader.line_num + 1}")
                    return
                # an open quote may have swallowed many rows, so this is not taken for a half-written one
                message = "a quoted cell that is never closed begins here" if unclosed else f"no CSV ({error})"
                context.fail(message, f"line {before + 2}")
            except EOFError:
                context.skip("gzip stream that ends early", f"after line {reader.line_num + 1}")
                return
            except UnicodeDecodeError as error:
                context.fail(f"no UTF-8 ({error.reason})", f"line {reader.line_num + 2} or later")
            except (OSError, zlib.error) as error:
                context.fail(f"cannot be read ({error})", f"line {reader.line_num + 2}")
            if row is None:
                return
            place = f"line {reader.line_num + 1}"
            if not row:
                continue
            if len(row) != len(header):
                if len(row) < len(header) and not tail.complete and tail.ended:
                    context.skip("half-written last row", place)
                    return
                context.fail(f"{len(row)} cells where the first line names {len(header)} columns", place)
            yield place, dict(zip(header, row, strict=True)), tuple(row)
    finally:
        csv.field_size_limit(limit)
        file.close()


class _Tail:
    """Lines of a text file that remember whether the last one had its line end."""

    def __init__(self, file: io.TextIOWrapper) -> None:
        self._file = file
        self.complete = True
        self.ended = False

    def first(self) -> str:
        """The first line, with the further lines of a quoted cell."""
        try:
            return self._file.readline(2**20)
        except (UnicodeDecodeError, OSError, EOFError, zlib.error):
            return ""

    def __iter__(self) -> _Tail:
        return self

    def __next__(self) -> str:
        line = self._file.readline()
        if not line:
            self.ended = True
            raise StopIteration
        self.complete = line.endswith(("\n", "\r"))
        self.ended = not self.complete
        return line


def _array_rows(context: Context) -> Iterator[tuple[str, Mapping[str, Any], Content]]:
    with open_log(context.path) as file:
        stream = JsonStream(file, context)
        for position in stream.elements():
            place = f"entry {position}, {stream.place}"
            row = stream.value()
            if not isinstance(row, dict):
                context.fail(f"expected a JSON object, got {shown(row)}", place)
            yield place, row, None
        stream.finish()


def _parquet_rows(context: Context) -> Iterator[tuple[str, Mapping[str, Any], Content]]:
    options = context.options
    known = schema(context)
    asked = [
        options.prompt_column,
        options.correct_column,
        options.truncated_column,
        options.n_column,
        options.answer_column,
    ]
    wanted = [name for name in known if name in asked or name in context.settings or name in COUNTS]
    missing = [name for name in asked if name is not None and name not in known]
    if missing:
        context.fail(f"missing; the columns are {listed(known)}", name=missing[0])
    for first, batch in batches(context, wanted):
        for offset, row in enumerate(batch.to_pylist()):
            yield f"row {first + offset}", row, None


COUNTS = ("prompt", "problem", "n", "correct", "not_judged")
