"""The process in which math-verify judges: answers lines of JSON on standard output.

math-verify bounds itself with signals, which work in a main thread only, and not inside long computations in C; so
the processor time and memory are limited by the kernel as well, and the process that asks has a clock of its own.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["judge", "main"]

MEMORY = 4 * 2**30
"""Bytes of address space: a number like 9^9^9^9 then raises MemoryError."""


def main() -> None:
    """Answer questions until there are no more."""
    way_out = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    logging.disable(logging.CRITICAL)
    import math_verify  # noqa: F401  takes a second: before the first question's time counts

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    os.write(way_out, b'"ready"\n')
    for line in sys.stdin.buffer:
        question = json.loads(line)
        used = resource.getrusage(resource.RUSAGE_SELF)
        most = int(used.ru_utime + used.ru_stime + question["seconds"]) + 2
        resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        os.write(way_out, json.dumps(judge(question)).encode() + b"\n")


def judge(question: Mapping[str, Any]) -> tuple[str, str, str | None]:
    """(outcome, reason, answer found) for a reference ``answer`` and a ``completion``.

    The reference is read as the content of a box, then as it stands; "not_judged" when neither can be read, and
    when math-verify raises or runs out of time.
    """
    from math_verify import parse, verify
    from math_verify.errors import TimeoutException

    clock = max(1, int(question["seconds"] // 3))
    try:
        gold: list[Any] = []
        for text in (f"\\boxed{{{question['answer']}}}", question["answer"]):
            gold = gold or parse(text, parsing_timeout=clock, raise_on_error=True)
        if not gold:
            return "not_judged", f"math-verify cannot read the data set's answer {question['answer']!r}", None
        given = parse(question["completion"], parsing_timeout=clock, raise_on_error=True)
        if not given:
            return "wrong", "no answer found", ""
        if verify(gold, given, timeout_seconds=clock, raise_on_error=True):
            return "right", "", spelled(given)
        return "wrong", f"answers {spelled(given)[:100]}, not {question['answer'][:100]}", spelled(given)
    except TimeoutException:
        return "not_judged", f"math-verify took longer than {clock} s", None
    except MemoryError:
        return "not_judged", "math-verify ran out of memory", None
    except (Exception, RecursionError) as error:
        return "not_judged", f"math-verify raised {type(error).__name__}: {describe(error)}", None


def spelled(given: list[Any]) -> str:
    """The answer as it was written: math-verify's last item is its text."""
    texts = [item for item in given if isinstance(item, str)]
    return texts[-1] if texts else "something else"


def describe(error: BaseException) -> str:
    """An error's own words; sympy's can fail, or take for ever, on huge numbers, so arguments only if they are text."""
    return "; ".join(item[:200] for item in error.args if isinstance(item, str))
