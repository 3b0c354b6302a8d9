"""evalplus: `*_eval_results.json`, one JSON document with the verdicts of every task.

A solution is right where it passes the base and the extra tests (HumanEval+, MBPP+); with `--correct-column
base_status` (or plus_status) only those count. A log of `--base-only` has the base tests alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from advshape.evaluation.readers.base import Context, Head, Reader, Row, prompt_name, shown
from advshape.evaluation.readers.files import open_log
from advshape.evaluation.readers.json_stream import JsonStream

__all__ = ["READER"]

STATUS: dict[str, float] = {"pass": 1.0, "fail": 0.0, "timeout": 0.0}
FIELDS = ("base_status", "plus_status")


def recognises(head: Head) -> bool:
    """The three keys of the document."""
    return head.kind == "document" and {"eval", "hash", "date"} <= head.names


def read(context: Context) -> Iterator[Row]:
    """One row for each solution."""
    chosen = context.options.correct_column
    if chosen not in (None, *FIELDS):
        context.fail(f"a log of evalplus has {' and '.join(FIELDS)}", name=chosen or "")
    context.verdict = chosen or "base_status and plus_status"
    with open_log(context.path) as file:
        stream = JsonStream(file, context)
        found = False
        for key in stream.members():
            if key == "eval":
                found = True
                yield from _tasks(context, stream, chosen)
        stream.finish()
        if not found:
            context.fail("missing", name="eval")


def _tasks(context: Context, stream: JsonStream, chosen: str | None) -> Iterator[Row]:
    for task in stream.members():
        for position in stream.elements():
            place = f"task {shown(task)}, sample {position}, {stream.place}"
            solution = stream.value()
            if not isinstance(solution, dict):
                context.fail(f"expected an object, got {shown(solution)}", place)
            verdict = _verdict(context, solution, chosen, place)
            yield Row(place, prompt_name(task), verdict, answer=context.answer(solution, place))


def _verdict(context: Context, solution: Mapping[str, Any], chosen: str | None, place: str) -> float | None:
    verdicts = []
    for name in [chosen] if chosen else FIELDS:
        status = context.need(solution, name, place)
        if status is None and name == "plus_status" and chosen is None:
            context.note("base tests only: the log has solutions without extra tests")
            continue
        if status is not None and (not isinstance(status, str) or status not in STATUS):
            context.fail(f"{shown(status)} is none of {', '.join(STATUS)}", place, name)
        verdicts.append(None if status is None else STATUS[status])
    if 0.0 in verdicts:
        return 0.0
    return None if None in verdicts else 1.0


READER = Reader("evalplus", "evalplus results", (), recognises, read)
