"""Any CSV, JSON Lines or Parquet file with one rollout in each row and columns that the caller names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from advshape.evaluation.readers.base import Context, Head, Reader, Row, listed
from advshape.evaluation.readers.tables import rows

__all__ = ["READER", "SETTINGS"]

SETTINGS = ("step", "global_step", "temperature", "top_p", "model", "settings")
"""Columns that, where a file has them, must have one value within a result."""


def recognises(head: Head) -> bool:
    """Never: the columns have to be named."""
    return False


def read(context: Context) -> Iterator[Row]:
    """One row for each row; null, NaN, "none" and an empty verdict are not judged."""
    options = context.options
    prompt, correct = options.prompt_column, options.correct_column
    if prompt is None or correct is None:
        context.fail("name the columns: --prompt-column NAME and --correct-column NAME")
    context.verdict, context.knows_truncated = correct, options.truncated_column is not None
    for place, row, raw in rows(context):
        if raw is not None and context.repeats(raw, place):
            continue
        reward = context.reward(row, correct, place)
        truncated = context.flag(row, options.truncated_column, place) if options.truncated_column else False
        name, answer = context.text(row, prompt, place), context.answer(row, place)
        yield Row(place, name, reward, _settings(context, row, place), None, truncated, answer)


def _settings(context: Context, row: Mapping[str, Any], place: str) -> tuple[str, ...]:
    asked = [*context.options.by, *context.options.pool, *(name for name, _ in context.options.where)]
    for name in asked:
        if name not in row:
            context.fail(f"missing; this row has {listed(row)}", place, name)
    return tuple(context.setting(row, name, place) for name in context.settings)


READER = Reader("columns", "named columns", SETTINGS, recognises, read)
