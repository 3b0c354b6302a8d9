"""One large JSON document, read piece by piece, so that a log of 5 GB needs the memory of its largest entry.

Why not ijson: version 3.6.0 (C backend) reads 1.4 to 2.6 times as fast in CPU time as this reader's 105 to 135 MB/s
(`python bench/json_stream.py`, documents of inspect_ai and evalplus), but it refuses NaN, which inspect_ai writes, so
that this reader would stay as its fallback; it names no lines in errors; and it keeps the path of every open bracket:
20,000 nested brackets, 40 kB of a stranger's log, take 1 GB, and 100,000 all of a machine. Here they are an error.
"""

from __future__ import annotations

import codecs
import json
import re
import zlib
from collections.abc import Iterator
from typing import IO, Any, NoReturn

from advshape.evaluation.readers.base import Context

__all__ = ["JsonStream"]

CHUNK = 2**20
LARGEST = 256 * 2**20
UNCHECKED = 8 * 2**20
SPACE = re.compile(r"[ \t\n\r]*")
DELIMITERS = tuple(",:]} \t\n\r")
STRUCTURE = re.compile(r'["{}\[\]]')
STRING_END = re.compile(r'[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
DECODER = json.JSONDecoder()


class JsonStream:
    """A cursor over a JSON document.

    `members` walks an object and `elements` an array; what follows a key, or an element, is taken by `value`
    (decoded whole), by a further `members` or `elements`, or, if nobody takes it, skipped without decoding.
    """

    def __init__(self, file: IO[bytes], context: Context, what: str = "") -> None:
        self._file = file
        self._context = context
        self._what = what
        self._decode = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._at = 0
        self._lines = 1
        self._ended = False
        self._waiting = True
        self._first = False

    @property
    def place(self) -> str:
        """Where the cursor stands."""
        line = f"line {self._lines + self._text.count(chr(10), 0, self._at)}"
        return f"{self._what}, {line}" if self._what else line

    def members(self) -> Iterator[str]:
        """The keys of the object at the cursor."""
        self._open("{")
        while self._next("}"):
            key = self._decoded()
            if not isinstance(key, str):
                self._fail("expected a key")
            self._expect(":")
            self._waiting = True
            yield key
            self._pass()

    def elements(self) -> Iterator[int]:
        """The positions of the array at the cursor."""
        self._open("[")
        position = 0
        while self._next("]"):
            self._waiting = True
            yield position
            self._pass()
            position += 1

    def value(self) -> Any:
        """The value at the cursor, decoded."""
        self._waiting = False
        return self._decoded()

    def starts(self) -> str:
        """The first character of the value at the cursor."""
        return self._peek()

    def finish(self) -> None:
        """Nothing but space may follow."""
        self._pass()
        if self._peek():
            self._fail("something follows the end of the JSON document")

    def _open(self, bracket: str) -> None:
        if self._peek() != bracket:
            self._fail(f"expected {'an object' if bracket == '{' else 'an array'}")
        self._at += 1
        self._waiting = False
        self._first = True

    def _next(self, bracket: str) -> bool:
        """Whether one more entry follows; goes past the comma before it."""
        seen = self._peek()
        first, self._first = self._first, False
        if seen == bracket:
            self._at += 1
            return False
        if not first:
            self._expect(",")
        self._peek()
        return True

    def _expect(self, sign: str) -> None:
        if self._peek() != sign:
            self._fail(f"expected {sign!r}" if self._peek() else "the file ends in the middle of a value")
        self._at += 1

    def _pass(self) -> None:
        """Skip the value that nobody took."""
        if self._waiting:
            self._waiting = False
            self._skip()
        self._first = False

    def _peek(self) -> str:
        while True:
            found = SPACE.match(self._text, self._at)
            assert found is not None
            self._at = found.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._fill():
                return ""

    def _decoded(self) -> Any:
        self._peek()
        while True:
            whole, value = self._attempt()
            if whole:
                return value

    def _attempt(self) -> tuple[bool, Any]:
        """The value that begins here, if the text at hand holds all of it; else more text is there for the next try."""
        try:
            value, end = DECODER.raw_decode(self._text, self._at)
        except json.JSONDecodeError as error:
            if self._broken(error):
                self._complain(error)
        except (ValueError, RecursionError) as error:
            self._fail(str(error)[:100])
        else:
            if self._ends(end) or not self._fill():
                self._at = end
                return True, value
        return False, None

    def _skip(self) -> None:
        """Go past a value; one of more than 8 MiB without decoding, and so without checking it."""
        start = self._peek()
        while start not in ('"', "{", "[") or len(self._text) - self._at <= UNCHECKED:
            if self._attempt()[0]:
                return
        depth = 0
        while True:
            found = STRUCTURE.search(self._text, self._at)
            if found is None:
                self._at = len(self._text)
                if not self._fill():
                    self._fail("the file ends in the middle of a value")
                continue
            self._at = found.end()
            sign = found.group()
            if sign == '"':
                self._skip_string()
            else:
                depth += 1 if sign in "{[" else -1
            if depth == 0:
                return

    def _ends(self, end: int) -> bool:
        """Whether a value ends here, and is not the beginning of a number such as 1. or 2e- that was cut."""
        return self._text[end : end + 1] in DELIMITERS or end < len(self._text) - 4

    def _broken(self, error: json.JSONDecodeError) -> bool:
        """Whether a decoding error is final; if it lies at the end of what was read so far, reads on."""
        inside = error.pos < len(self._text) - 16 and not error.msg.startswith("Unterminated")
        return inside or not self._fill()

    def _complain(self, error: json.JSONDecodeError) -> NoReturn:
        at_end = self._ended and error.pos >= len(self._text) - 16
        self._fail("the file ends in the middle of a value" if at_end else error.msg)

    def _skip_string(self) -> None:
        while True:
            found = STRING_END.match(self._text, self._at)
            if found is not None:
                self._at = found.end()
                return
            if not self._fill():
                self._fail("the file ends in the middle of a string")

    def _fill(self) -> bool:
        """Read on; False at the end of the file."""
        if self._ended:
            return False
        kept = len(self._text) - self._at
        if kept > LARGEST:
            self._fail(f"a value longer than {LARGEST >> 20} MiB")
        try:
            data = self._file.read(max(CHUNK, kept))
            text = self._decode.decode(data, final=not data)
        except UnicodeDecodeError as error:
            self._fail(f"no UTF-8 ({error.reason})")
        except (EOFError, OSError, zlib.error) as error:
            self._fail(f"cannot be read ({error})")
        self._lines += self._text.count("\n", 0, self._at)
        self._text, self._at = self._text[self._at :] + text, 0
        self._ended = not data
        return bool(data)

    def _fail(self, message: str) -> NoReturn:
        self._context.fail(f"no JSON ({message})", self.place)
