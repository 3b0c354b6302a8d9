"""How a program, or its tests, can end other than by a result."""

from __future__ import annotations

import signal
import sys

INTERPRETER = [sys.executable, "-s", "-P", "-B"]


class CandidateRaised(Exception):
    """The program under test raised; a test may expect that."""


class CandidateGone(BaseException):
    """The program under test is no more, or no longer makes sense; no test can catch this."""


class TestsBroken(BaseException):
    """The tests cannot be run."""


def describe_exit(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"exit code {code}"
    number = -code
    name = signal.Signals(number).name if number in {entry.value for entry in signal.Signals} else str(number)
    return f"killed by {name}{' (processor time)' if number == signal.SIGXCPU else ''}"
