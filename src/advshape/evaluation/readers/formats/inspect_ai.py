"""inspect_ai logs: `.eval` (a zip with one JSON member for each sample) and `.json` (one document).

A sample is a prompt and its epochs are the rollouts. Scores "C" and "I" are right and wrong, "N" (no answer) is
wrong and "P" (partial) is 0.5, as inspect counts them; a sample that stopped with an error, or has no score, is not
judged. One log is one run; `--pool run` reads several of a folder as one sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import IO, Any

from advshape.evaluation.readers.archive import Archive
from advshape.evaluation.readers.base import Context, Head, Reader, Row, as_reward, listed, shown
from advshape.evaluation.readers.files import open_log
from advshape.evaluation.readers.json_stream import JsonStream

__all__ = ["READER"]

LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
CUT = ("max_tokens", "model_length")
WANTED = ("id", "epoch", "input", "scores", "output", "error", "limit")
Settings = tuple[str, str, str]


def recognises(head: Head) -> bool:
    """A zip with a header or a journal, or a document with samples."""
    if head.kind == "zip":
        return bool({"header.json", "_journal/start.json"} & head.names)
    return head.kind == "document" and {"version", "eval", "status"} <= head.names


def read(context: Context) -> Iterator[Row]:
    """One row for each sample and epoch."""
    context.knows_truncated = True
    with open_log(context.path) as file:
        packed = file.read(2) == b"PK"
        file.seek(0)
        yield from _from_zip(context) if packed else _from_document(context, file)


def _from_zip(context: Context) -> Iterator[Row]:
    with closing(Archive(context)) as archive:
        header = next((name for name in ("header.json", "_journal/start.json") if name in archive.names), None)
        if header is None:
            context.fail("neither header.json nor _journal/start.json is in the log")
        settings, status = ("", "", ""), "started"
        with archive.open(header) as file:
            stream = JsonStream(file, context, header)
            for key in stream.members():
                if key == "eval":
                    settings = _settings(context, stream.value(), header)
                elif key == "status":
                    status = _text(context, stream.value(), header, "status")
        _note_status(context, status)
        for name in archive.names:
            if name.startswith("samples/") and name.endswith(".json"):
                with archive.open(name) as file:
                    stream = JsonStream(file, context, name)
                    yield _row(context, _picked(stream), settings, name)
                    stream.finish()


def _from_document(context: Context, file: IO[bytes]) -> Iterator[Row]:
    stream = JsonStream(file, context)
    settings, found = None, False
    for key in stream.members():
        if key == "status":
            _note_status(context, _text(context, stream.value(), "", "status"))
        elif key == "eval":
            settings = _settings(context, stream.value(), "")
        elif key == "samples":
            if settings is None:
                context.fail("samples come before it; is this a log of inspect_ai?", name="eval")
            found = True
            for position in stream.elements():
                place = f"sample {position}, {stream.place}"
                yield _row(context, _picked(stream), settings, place)
    stream.finish()
    if not found:
        context.fail("missing; `inspect log dump` of a log with samples has them", name="samples")


def _picked(stream: JsonStream) -> dict[str, Any]:
    """The fields of a sample that matter; its events and messages are passed over."""
    return {key: stream.value() for key in stream.members() if key in WANTED}


def _row(context: Context, sample: Mapping[str, Any], settings: Settings, place: str) -> Row:
    prompt = context.text(sample, context.options.prompt_column or "id", place)
    epoch = context.integer(sample, "epoch", place)
    output = sample.get("output")
    choices = output.get("choices") if isinstance(output, dict) else None
    stops = [c.get("stop_reason") for c in choices if isinstance(c, dict)] if isinstance(choices, list) else []
    limit = sample.get("limit")
    cut = any(stop in CUT for stop in stops) or (isinstance(limit, dict) and limit.get("type") == "token")
    reward = None if sample.get("error") is not None else _score(context, sample, place)
    answer = None if reward is None else _answer(context, sample["scores"], place)
    return Row(place, prompt, reward, settings, epoch, cut, answer)


def _score(context: Context, sample: Mapping[str, Any], place: str) -> float | None:
    """The value of the chosen scorer ("scorer", or "scorer.key" where it gives several), or of the only one."""
    scores = sample.get("scores")
    if scores is None or scores == {}:
        return None
    if not isinstance(scores, dict) or not all(isinstance(score, dict) for score in scores.values()):
        context.fail(f"expected an object of scores, got {shown(scores)}", place, "scores")
    values: dict[str, Any] = {}
    for name, score in scores.items():
        value = context.need(score, "value", f"{place}, scorer {shown(name)}")
        several = {f"{name}.{key}": inner for key, inner in value.items()} if isinstance(value, dict) else {name: value}
        values.update(several)
    chosen = context.options.correct_column
    if chosen is None:
        if len(values) != 1:
            context.fail(
                f"this sample has the scores {listed(values)}; choose one with --correct-column", place, "scores"
            )
        (chosen,) = values
    context.verdict = chosen
    value = context.need(values, chosen, place)
    if isinstance(value, str) and value in LETTERS:
        return LETTERS[value]
    try:
        return as_reward(value)
    except (ValueError, OverflowError):
        context.fail(f"expected C, I, P, N or a finite number, got {shown(value)}", place, chosen)


def _answer(context: Context, scores: Mapping[str, Mapping[str, Any]], place: str) -> str | None:
    """The answer that the chosen scorer took from the output."""
    scorer = context.verdict if context.verdict in scores else context.verdict.rpartition(".")[0]
    return context.answer(scores[scorer], f"{place}, scorer {shown(scorer)}", "answer")


def _settings(context: Context, spec: Any, place: str) -> Settings:
    if not isinstance(spec, dict):
        context.fail(f"expected an object, got {shown(spec)}", place, "eval")
    run = "eval_id" if "eval_id" in spec else "run_id"
    task, model, name = (context.setting(spec, key, place) for key in ("task", "model", run))
    return task, model, name


def _text(context: Context, value: Any, place: str, name: str) -> str:
    if not isinstance(value, str):
        context.fail(f"expected text, got {shown(value)}", place, name)
    return value


def _note_status(context: Context, status: str) -> None:
    if status != "success":
        context.note(f"inspect says that this evaluation is {shown(status)}: samples may be missing")


READER = Reader("inspect", "inspect_ai log", ("task", "model", "run"), recognises, read, numbered=True)
