"""Our own rollout log, `rollouts.jsonl` (see `advshape.evaluation.logs.rollout_log`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from advshape.evaluation.logs.rollout_log import OUTCOMES
from advshape.evaluation.readers.base import Context, Head, Reader, Row, prompt_name, shown
from advshape.evaluation.readers.files import json_lines

__all__ = ["READER"]

VERDICTS = {"right": 1.0, "wrong": 0.0, "not_judged": None}


def recognises(head: Head) -> bool:
    """Lines of rollouts, or of settings."""
    return head.kind == "lines" and (
        {"problem", "sample", "outcome"} <= head.names or head.first.get("kind") == "settings"
    )


def read(context: Context) -> Iterator[Row]:
    """One row for each rollout; `settings`, `temperature` and `step` tell rollouts apart."""
    options = context.options
    context.verdict, context.knows_truncated = options.correct_column or "outcome", True
    for number, line, _ in json_lines(context):
        if line.get("kind") == "settings":
            continue
        place = f"line {number}"
        problem = context.text(line, options.prompt_column or "problem", place)
        if options.correct_column is None:
            outcome = context.need(line, "outcome", place)
            if not isinstance(outcome, str) or outcome not in VERDICTS:
                context.fail(f"{shown(outcome)} is none of {', '.join(OUTCOMES)}", place, "outcome")
            reward = VERDICTS[outcome]
        else:
            reward = context.reward(line, options.correct_column, place)
        settings = tuple(context.setting(line, name, place) for name in READER.settings)
        truncated = context.flag(line, "truncated", place) if "truncated" in line else False
        sample = context.integer(line, "sample", place)
        answer = None if reward is None else _answer(context, line, place)
        yield Row(place, prompt_name(problem), reward, settings, sample, truncated, answer)


def _answer(context: Context, line: Mapping[str, Any], place: str) -> str | None:
    """What the verifier took for the final answer, unless another field is named; None where no vote was asked for."""
    options = context.options
    if "maj" in options.measures and options.answer_column is None and "answer" not in line:
        context.fail(
            "maj@k needs the answer of each rollout, and this one has none: its task singles out no final"
            " answer, or the log is from an earlier version; --answer-column completion counts whole"
            " completions",
            place,
            "answer",
        )
    return context.answer(line, place, "answer")


READER = Reader(
    "advshape", "advshape rollout log", ("settings", "temperature", "step"), recognises, read, numbered=True
)
