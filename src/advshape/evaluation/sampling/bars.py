"""Progress bars that suit what they are written to: a line that is redrawn, or in a log a line now and then."""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO

__all__ = ["Lines", "bar_options", "stderr_width"]

SECONDS_BETWEEN_LINES = 30.0
LOG_WIDTH = 100


def bar_options() -> dict[str, Any]:
    """What every ``tqdm`` bar on standard error gets: on a terminal its width, else whole lines, one in 30 seconds."""
    if sys.stderr.isatty():
        return {"file": sys.stderr, "dynamic_ncols": True}
    return {
        "file": Lines(sys.stderr),
        "mininterval": SECONDS_BETWEEN_LINES,
        "miniters": 1,
        "ncols": LOG_WIDTH,
        "ascii": True,
    }


def stderr_width() -> int:
    """Columns of standard error; of a log, 100."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or LOG_WIDTH
    except (OSError, ValueError, AttributeError):
        return LOG_WIDTH


class Lines:
    """A text stream in which a redrawn line becomes lines: no carriage returns, no line twice in a row.

    >>> import sys
    >>> stream = Lines(sys.stdout)
    >>> for text in ("\\r 1/3", "\\r 1/3", "\\r 2/3  ", "\\n"):
    ...     stream.write(text)
    1/3
    2/3
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.last = ""

    def write(self, text: str) -> None:
        line = text.strip("\r\n ")
        if line and line != self.last:
            self.stream.write(line + "\n")
            self.last = line

    def flush(self) -> None:
        self.stream.flush()
