"""verl's rollout and validation dumps, `{step}.jsonl`: of the V1 trainer (with uid) and of the legacy one.

V1 names each row {uid}_{session}_{output}: the uid is the prompt, the session the rollout, and of the outputs of a
session the last counts, as in verl's own validation. The legacy dump has no uid: rows with the same input text are
rollouts of one prompt (rows of a prompt do not stay together, the trainer balances lengths over its workers).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from advshape.evaluation.readers.base import Context, Head, Reader, Row, shown
from advshape.evaluation.readers.files import json_lines

__all__ = ["READER"]


def recognises(head: Head) -> bool:
    """The columns that both trainers write."""
    return head.kind == "lines" and {"input", "output", "score", "step"} <= head.names


def read(context: Context) -> Iterator[Row]:
    """One row for each rollout."""
    field = context.options.correct_column or "score"
    context.verdict = field
    waiting: tuple[str, int, Row] | None = None
    for number, line, raw in json_lines(context):
        place = f"line {number}"
        if "uid" not in line and context.repeats(raw, place):
            continue
        reward = context.reward(line, field, place)
        step = context.setting(line, "step", place)
        prompt, session, output = _key(context, line, place)
        row = Row(place, prompt, reward, (step,), session, answer=context.answer(line, place))
        if waiting is not None:
            key, before, earlier = waiting
            if session is not None and key == f"{prompt} {session} {step}":
                if output <= before:
                    context.fail(
                        f"output {output} of a rollout follows output {before}; verl writes them in order", place, "uid"
                    )
                context.skip("earlier output of a rollout (verl judges the last)", earlier.place)
            else:
                yield earlier
        waiting = (f"{prompt} {session} {step}", output, row)
    if waiting is not None:
        yield waiting[2]


def _key(context: Context, line: Mapping[str, Any], place: str) -> tuple[str, int | None, int]:
    """(prompt, number of the rollout, number of the output)."""
    named = context.options.prompt_column
    if "uid" not in line:
        return context.text(line, named or "input", place), None, 0
    uid = line["uid"]
    if not isinstance(uid, str) or not uid:
        context.fail(f"expected text, got {shown(uid)}", place, "uid")
    parts = uid.rsplit("_", 2)
    numbered = len(parts) == 3 and all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts[1:])
    if named:
        prompt = context.text(line, named, place)
    elif not numbered or not parts[0]:
        context.fail(f"expected prompt_rollout_output, got {shown(uid)}", place, "uid")
    else:
        prompt = parts[0]
    return (prompt, int(parts[1]), int(parts[2])) if numbered and not named else (prompt, None, 0)


READER = Reader("verl", "verl rollout or validation dump", ("step",), recognises, read, numbered=True)
