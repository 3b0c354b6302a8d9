"""A table of counts: one row for each prompt, with the number of judged rollouts and of right ones."""

from __future__ import annotations

from collections.abc import Iterator

from advshape.evaluation.readers.base import Context, Counted, Head, Reader
from advshape.evaluation.readers.tables import rows

__all__ = ["READER"]

NAMES = {"prompt", "problem"}


def recognises(head: Head) -> bool:
    """The columns prompt (or problem), n and correct."""
    return head.kind in ("lines", "table", "parquet") and {"n", "correct"} <= head.names and bool(NAMES & head.names)


def read(context: Context) -> Iterator[Counted]:
    """One record for each row; a prompt that has two rows is an error, or summed with `duplicates="keep"`."""
    options = context.options
    n, correct = options.n_column or "n", options.correct_column or "correct"
    context.verdict = correct
    seen: dict[str, str] = {}
    for place, row, _ in rows(context):
        prompt = context.text(row, options.prompt_column or ("prompt" if "prompt" in row else "problem"), place)
        total = context.integer(row, n, place)
        right = context.integer(row, correct, place)
        missing = context.integer(row, "not_judged", place) if "not_judged" in row else 0
        if right > total:
            context.fail(f"{right} right of {total} rollouts", place, correct)
        earlier = seen.setdefault(prompt, place)
        if earlier != place and options.duplicates == "drop":
            context.skip("row of a prompt that has one already", place)
            continue
        if earlier != place and options.duplicates != "keep":
            context.fail(f"prompt {prompt!r} has a row already ({earlier}); --duplicates keep adds them up", place)
        yield Counted(place, prompt, right, total, missing)


READER = Reader("counts", "table of counts", (), recognises, read)
