"""Code in a Python process of its own, with a time limit after which its whole process group is gone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

__all__ = ["Done", "run_python"]

TAIL = 2**20
"""Bytes of each stream that are kept: the last ones."""


@dataclass(frozen=True)
class Done:
    """How a process ended.

    Attributes:
        code: its exit code, negative for a signal; None where the time was over and it was killed.
        output, error: the end of what it wrote, decoded.
    """

    code: int | None
    output: str
    error: str

    @property
    def last_words(self) -> str:
        """The last line that it wrote on standard error, or its exit code."""
        lines = self.error.strip().splitlines()
        return lines[-1] if lines else f"exit code {self.code}"


def run_python(
    arguments: Sequence[str],
    seconds: float,
    *,
    python: str | None = None,
    folder: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Done:
    """Run Python to its end, or kill its process group when the time is over; what it started ends with it.

    Args:
        arguments: of the interpreter, such as ``["-c", "print(1)"]``.
        seconds: wall-clock limit.
        python: an interpreter; None: this one.
        folder: working directory; None: this one.
        environment: variables on top of this process's own.

    Raises:
        OSError: the interpreter cannot be run.

    >>> run_python(["-c", "print(6 * 7)"], 60).output
    '42\\n'
    """
    process = subprocess.Popen(
        [python or sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    kept = [bytearray(), bytearray()]
    readers = [
        threading.Thread(target=keep_tail, args=(stream, tail), daemon=True)
        for stream, tail in zip((process.stdout, process.stderr), kept, strict=True)
    ]
    for reader in readers:
        reader.start()
    code: int | None = None
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for reader in readers:
        reader.join(1.0)  # what left the group may hold the stream open: its end is not waited for
    output, error = (bytes(tail).decode(errors="replace") for tail in kept)
    return Done(code, output, error)


def keep_tail(stream: IO[bytes], tail: bytearray) -> None:
    """Read to the end, keep the last of it."""
    with stream:
        while part := os.read(stream.fileno(), 65536):
            tail += part
            del tail[:-TAIL]
