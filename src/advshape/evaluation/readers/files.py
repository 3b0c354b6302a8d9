"""Files as they are found: plain or gzip, streamed line by line, with a last line that may be half-written."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from advshape.errors import AdvshapeError
from advshape.evaluation.logs.jsonl import LONGEST_LINE, parse_line
from advshape.evaluation.readers.base import Context

__all__ = ["beginning", "json_lines", "log_files", "open_log"]

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".eval", ".gz", ".ndjson")


def log_files(path: Path) -> list[Path]:
    """The files of a log: itself, or those of a folder that have a suffix of a log, by name."""
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.is_file() and p.suffix in SUFFIXES and p.name[0] not in "._")
        if not found:
            inner = sorted(p.name for p in path.iterdir() if p.is_dir())
            more = f"; it has the folders {', '.join(inner[:5])}" if inner else ""
            raise AdvshapeError(f"{path} holds no file that ends in {', '.join(SUFFIXES)}{more}")
        return sorted(found, key=_natural)
    if not path.exists():
        raise AdvshapeError(f"there is no file or folder {path}")
    if not path.is_file():
        raise AdvshapeError(f"{path} is neither a file nor a folder; a log cannot be read from a pipe")
    return [path]


def _natural(path: Path) -> tuple[int, str]:
    """verl names its files 1.jsonl, 2.jsonl, 10.jsonl."""
    return (int(path.stem) if path.stem.isdecimal() else 0, path.name)


def open_log(path: Path) -> IO[bytes]:
    """The file's bytes, unpacked if it starts like gzip, whatever its name says."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        return gzip.open(path) if packed else path.open("rb")  # type: ignore[return-value]
    except OSError as error:
        raise AdvshapeError(f"{path} cannot be opened: {error.strerror}") from error


def beginning(context: Context, size: int = 2**16) -> bytes:
    """The first bytes, unpacked; fewer, where a gzip stream ends before."""
    start = b""
    with open_log(context.path) as file:
        try:
            while len(start) < size and (more := file.read1(size - len(start))):  # type: ignore[attr-defined]
                start += more
        except (EOFError, OSError, zlib.error) as error:
            if not start:
                context.fail(f"cannot be read ({error})")
    return start


def raw_lines(context: Context) -> Iterator[tuple[int, bytes]]:
    """(number, line with its line end) of every line that is not blank.

    A gzip stream that ends early, as while its writer is at work, gives the lines before the cut and is counted.
    """
    with open_log(context.path) as file:
        number = 0
        while True:
            number += 1
            try:
                line = file.readline(LONGEST_LINE)
            except EOFError:
                context.skip("gzip stream that ends early", f"after line {number - 1}")
                return
            except (OSError, zlib.error) as error:
                context.fail(f"cannot be read ({error})", f"line {number}")
            if not line:
                return
            if len(line) >= LONGEST_LINE:
                context.fail(f"longer than {LONGEST_LINE >> 20} MiB", f"line {number}")
            if line.strip():
                yield number, line


def json_lines(context: Context) -> Iterator[tuple[int, Mapping[str, Any], bytes]]:
    """(number, object, raw line) of a JSON Lines file.

    A last line without line end that is no complete JSON is counted as half-written: its writer is at work or has
    crashed. Any other line that is no JSON object is an error with file and line.
    """
    for number, raw in raw_lines(context):
        line = parse_line(raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw, f"{context.path}, line {number}")
        if line is None:
            context.skip("half-written last line", f"line {number}")
            return
        yield number, line, raw
