"""TRL's `completions/completions_{step:05d}.parquet`: step, prompt, completion, a column for each reward, advantage.

TRL writes no group id: rows of a step with the same prompt are rollouts of it. A data set that holds a prompt twice
makes one prompt with twice the rollouts, unless `group_size` says how many rows in a row make a group. A reward
that is null or NaN (the reward function returned None) is not judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advshape.evaluation.readers.base import Batch, Context, Head, Reader, answer_text, listed, prompt_name, shown
from advshape.evaluation.readers.parquet import arrow, batches, numbers, schema

__all__ = ["READER"]

OWN = {"step", "prompt", "completion", "advantage", "image", "images"}


def recognises(head: Head) -> bool:
    """The four columns that are always there."""
    return head.kind == "parquet" and {"step", "prompt", "completion", "advantage"} <= head.names


def read(context: Context) -> Iterator[Batch]:
    """The rows of each row group, split by step."""
    prompt = context.options.prompt_column or "prompt"
    context.verdict = _reward_column(context)
    groups = _Groups(context)
    voted = [name for name in [context.options.answer_column] if name is not None]
    if "maj" in context.options.measures and not voted:
        context.fail("maj@k needs the answer of each rollout: name its column with --answer-column")
    for first, table in batches(context, [prompt, "step", context.verdict, *voted]):
        rewards = numbers(context, table, context.verdict, first)
        names, index = _names(context, table.column(prompt), first, prompt)
        answers = [answer_text(value) for name in voted for value in table.column(name).to_pylist()]
        for step, rows in _steps(context, table.column("step"), first):
            start = first + int(rows[0])
            some, places = groups.split(names, index[rows], step, start)
            chosen = [answers[row] for row in rows] if voted else None
            yield Batch(start, some, places, rewards[rows], (step,), answers=chosen)


def _steps(context: Context, column: Any, first: int) -> list[tuple[str, NDArray[np.int64]]]:
    """Each step of a batch with its rows."""
    coded = column.dictionary_encode()
    index = coded.indices.fill_null(len(coded.dictionary)).to_numpy(zero_copy_only=False)
    values = [*coded.dictionary.to_pylist(), None]
    names = [context.setting({"step": value}, "step", f"row {first}") for value in values]
    return [(names[i], np.flatnonzero(index == i)) for i in np.unique(index)]


def _reward_column(context: Context) -> str:
    """The chosen reward function, or the only one."""
    fields = schema(context)
    chosen = context.options.correct_column
    if chosen is not None:
        if chosen not in fields:
            context.fail(f"missing; the columns are {listed(fields)}", name=chosen)
        return chosen
    rewards = [name for name, kind in fields.items() if name not in OWN and kind in ("number", "bool", "null")]
    if len(rewards) != 1:
        seen = f"the columns {listed(rewards)} can be rewards" if rewards else "no column of numbers is a reward"
        context.fail(f"{seen}; choose one with --correct-column")
    return rewards[0]


def _names(context: Context, column: Any, first: int, field: str) -> tuple[list[str], NDArray[np.int64]]:
    """Distinct prompts of a batch and, for each row, which of them it has."""
    if column.null_count:
        row = first + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        context.fail("null names no prompt", f"row {row}", field)
    if arrow().types.is_string(column.type) or arrow().types.is_large_string(column.type):
        coded = column.dictionary_encode()
        return [_name(context, text, first, field) for text in coded.dictionary.to_pylist()], coded.indices.to_numpy(
            zero_copy_only=False
        ).astype(np.int64)
    place: dict[str, int] = {}
    names = [_name(context, value, first + row, field) for row, value in enumerate(column.to_pylist())]
    index = np.array([place.setdefault(name, len(place)) for name in names], dtype=np.int64)
    return list(place), index


def _name(context: Context, value: Any, row: int, field: str) -> str:
    if value is None or value == "" or isinstance(value, bool | float | bytes):
        context.fail(f"{shown(value)} names no prompt", f"row {row}", field)
    return prompt_name(value)


class _Groups:
    """With `group_size`, groups by position: a prompt that comes again in a step gets a number."""

    def __init__(self, context: Context) -> None:
        self._context, self._size = context, context.options.group_size
        self._state: dict[str, tuple[int, str, str]] = {}
        self._times: dict[tuple[str, str], int] = {}

    def split(
        self, names: list[str], index: NDArray[np.int64], step: str, first: int
    ) -> tuple[list[str], NDArray[np.int64]]:
        """The names and indices of a batch of one step."""
        if self._size is None:
            return names, index
        done, current, label = self._state.get(step, (0, "", ""))
        place: dict[str, int] = {}
        new = np.empty(len(index), dtype=np.int64)
        for at, name in enumerate(names[i] for i in index):
            if done % self._size == 0:
                time = self._times[step, name] = self._times.get((step, name), 0) + 1
                current, label = name, name if time == 1 else f"{name} #{time}"
            elif name != current:
                self._context.fail(
                    f"the prompt changes within a group of {self._size} rows; leave out --group-size",
                    f"row {first + at}",
                    "prompt",
                )
            done += 1
            new[at] = place.setdefault(label, len(place))
        self._state[step] = (done, current, label)
        return list(place), new


READER = Reader("trl", "TRL completions", ("step",), recognises, read)
