"""lm-evaluation-harness, `--log_samples`: `samples_{task}_{date}.jsonl`, one line for each document and filter.

The harness judges one value per document and filter. Where a document has several responses, the metric is either
pass@k of all of them, from which the number right follows, or it judges one response and the others are not judged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from advshape.evaluation.readers.base import Context, Counted, Head, Reader, Record, Row, listed, shown
from advshape.evaluation.readers.files import json_lines
from advshape.passk import pass_at_k

__all__ = ["READER"]

FILE = re.compile(r"samples_(?P<task>.+)_(?P<run>\d{4}-\d\d-\d\dT[\d.-]+)\.jsonl")
PASS = re.compile(r"pass@(\d{1,6})")


def recognises(head: Head) -> bool:
    """The fixed keys of a sample."""
    return head.kind == "lines" and {"doc_id", "resps", "filtered_resps"} <= head.names


def read(context: Context) -> Iterator[Record]:
    """One record for each document and filter."""
    named = FILE.match(context.path.name)
    task, run = (named["task"], named["run"]) if named else ("", "")
    for number, line, raw in json_lines(context):
        place = f"line {number}"
        if context.repeats(raw, place):
            continue
        prompt = context.text(line, context.options.prompt_column or "doc_id", place)
        settings = (task, context.setting(line, "filter", place), run)
        metric = _metric(context, line, place)
        responses = _responses(context, line, place)
        value = context.reward(line, metric, place)
        power = PASS.fullmatch(metric)
        if power and value is not None:
            k = int(power[1])
            correct, judged = _invert(context, value, responses, k, place, metric)
            yield Counted(place, prompt, correct, judged, responses - judged, settings)
            continue
        yield Row(place, prompt, value, settings, answer=context.answer(line, place, "filtered_resps"))
        if responses > 1:
            context.note(
                f"the log has {responses} responses to a document and {metric} judges one of them; the "
                "others count as not judged"
            )
            yield Counted(place, prompt, 0, 0, responses - 1, settings)


def _metric(context: Context, line: Mapping[str, Any], place: str) -> str:
    """The chosen metric; without a choice the only one, or of several pass@k the one with the smallest k."""
    chosen = context.options.correct_column
    metrics = line.get("metrics", [])
    if not isinstance(metrics, list) or not all(isinstance(metric, str) for metric in metrics):
        context.fail(f"expected a list of names, got {shown(metrics)}", place, "metrics")
    if chosen is None:
        powers = sorted(int(PASS.fullmatch(m)[1]) for m in metrics if PASS.fullmatch(m))  # type: ignore[index]
        if len(metrics) == 1:
            (chosen,) = metrics
        elif powers and len(powers) == len(metrics):
            chosen = f"pass@{powers[0]}"
        else:
            context.fail(
                f"this line has the metrics {listed(metrics)}; choose one with --correct-column", place, "metrics"
            )
    context.verdict = chosen
    return chosen


def _responses(context: Context, line: Mapping[str, Any], place: str) -> int:
    """Responses to a document: several of one request, or one of each choice of a multiple choice."""
    responses = context.need(line, "resps", place)
    if not isinstance(responses, list) or not responses or not all(isinstance(r, list) and r for r in responses):
        context.fail(f"expected a list of lists of responses, got {shown(responses)}", place, "resps")
    return len(responses[0]) if len(responses) == 1 else 1


def _invert(context: Context, value: float, n: int, k: int, place: str, metric: str) -> tuple[int, int]:
    """(right, judged) of n responses with this pass@k; where several numbers fit, the rest is not judged."""
    if not 1 <= k <= n:
        context.fail(f"pass@{k} of {n} responses does not exist", place, metric)
    fits = np.flatnonzero(np.abs(pass_at_k(np.arange(n + 1), n, k) - value) < 1e-9)
    if not len(fits):
        context.fail(f"{value:g} is no pass@{k} of {n} responses", place, metric)
    open_ones = len(fits) - 1
    if open_ones:
        context.note(
            f"{metric} = 1 leaves open whether all responses are right; those that may be wrong count as not judged"
        )
    return int(fits[0]), n - open_ones


READER = Reader("lm-eval", "lm-evaluation-harness samples", ("task", "filter", "run"), recognises, read)
