"""Which reader a log needs, told from its content, and reading it into counts by prompt."""

from __future__ import annotations

import dataclasses
import json
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advshape.errors import AdvshapeError
from advshape.evaluation.readers.archive import Archive
from advshape.evaluation.readers.base import Batch, Context, Head, Options, Reader, listed
from advshape.evaluation.readers.files import beginning, log_files, open_log
from advshape.evaluation.readers.formats import READERS, human_eval
from advshape.evaluation.readers.json_stream import JsonStream
from advshape.evaluation.readers.parquet import schema
from advshape.evaluation.readers.tables import csv_header
from advshape.evaluation.readers.tally import Tally
from advshape.evaluation.stats.counts import Counts

__all__ = ["CountedLog", "detect", "read_log", "read_logs"]


@dataclass(frozen=True, eq=False)
class CountedLog:
    """A log, or the part of one with the same settings, counted by prompt.

    Attributes:
        source: the file or folder.
        reader: name of the reader, one of `READERS`.
        title: the format in words.
        settings: the settings of these rollouts, where the log has any.
        counts: right, judged, not judged and truncated rollouts by prompt.
        right: what counted as right, in words.
        threshold: rewards >= threshold were right; None: rewards were 0 or 1.
        knows_truncated: whether the log says which completions ran into the token limit.
        skipped: {what: (how often, place of the first)} of all that was left out.
        notes: what else the reader of the numbers should know.
        measures: what the rollouts were counted for, see `Options`.
        rewards: for max@k, the judged rewards of each prompt.
        answers: for maj@k, {answer: [how often it was given, how often it was judged right]} of each prompt.
    """

    source: str
    reader: str
    title: str
    settings: Mapping[str, str]
    counts: Counts
    right: str
    threshold: float | None
    knows_truncated: bool
    skipped: Mapping[str, tuple[int, str]]
    notes: tuple[str, ...]
    measures: tuple[str, ...] = ("pass",)
    rewards: tuple[array[float], ...] | None = None
    answers: tuple[Mapping[str, Sequence[int]], ...] | None = None


def read_log(path: str | os.PathLike[str], options: Options | None = None, **more: Any) -> CountedLog:
    """Count the rollouts of one log by prompt; its format is told from its content.

    Args:
        path: a file (plain or gzip) or a folder of files of one tool.
        options: see `Options`; fields may also be given by keyword.

    Raises:
        AdvshapeError: unknown format, a broken line (with file, line and field), rewards other than 0 and 1
            without a threshold, several settings in one log, or a repeated rollout.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "counts.csv"
    >>> _ = file.write_text("prompt,n,correct\\na,4,1\\nb,4,0\\n")
    >>> log = read_log(file)
    >>> log.title, log.counts.correct
    ('table of counts', array([1, 0]))
    """
    options = dataclasses.replace(options or Options(), **more)
    if options.by:
        raise AdvshapeError("read_log gives one result; read_logs takes `by`")
    return read_logs(path, options)[0]


def read_logs(path: str | os.PathLike[str], options: Options | None = None, **more: Any) -> list[CountedLog]:
    """As `read_log`, with one result for each value of the settings in `by`, in order of first appearance."""
    options = dataclasses.replace(options or Options(), **more)
    source = Path(path)
    files, reader, unknown = _chosen(source, options)
    _refuse_options(reader, options)
    names = _setting_names(reader, options)
    tallies: dict[tuple[str, ...], Tally] = {}
    context = Context(source, options, names)
    context.skipped.update(unknown)
    left_out = 0
    for file in files:
        context.path = file
        for record, settings, pooled in _records(reader, context, names):
            if settings is None:
                left_out += len(record.index) if isinstance(record, Batch) else 1
                continue
            tally = tallies.get(settings)
            if tally is None:
                tally = tallies[settings] = Tally(context, reader.numbered)
            tally.add(record, pooled)
    context.note_repeats()
    if left_out:
        chosen = ", ".join(f"{name}={value}" for name, value in options.where)
        context.skip(f"record outside {chosen}", "", left_out)
    if not tallies:
        raise AdvshapeError(f"{source}: no rollout in this log{_left_out(context)}")
    kept = [name for name in names if name not in options.pool]
    _refuse_mixture(source, kept, tallies, options)
    return [_counted(source, reader, context, dict(zip(kept, key, strict=True)), t) for key, t in tallies.items()]


def detect(path: Path, options: Options | None = None) -> Reader:
    """The reader for a file. Raises AdvshapeError that says what was seen."""
    found = _detected(path)
    if isinstance(found, Head):
        if found.names >= TRAINING:
            raise AdvshapeError(_training_log(path))
        raise AdvshapeError(
            f"{path}: no known log: {_kind(found)} with {listed(sorted(found.names))}; name the columns with "
            f"--prompt-column and --correct-column, or the format with --reader ({', '.join(READERS)})"
        )
    return found


TRAINING = frozenset({"step", "problem", "verdict", "advantage"})
"""Fields of the rollouts that a training run writes."""


def _training_log(path: Path) -> str:
    """Why training rollouts are no evaluation, and what to read instead."""
    after = path.parent / "evaluation" / "after.jsonl"
    named = f"{after} (or the run directory {path.parent})" if after.is_file() else "the run's evaluation/after.jsonl"
    return (
        f"{path} holds the rollouts of training: they come from a policy that moves from step to step, so pass@k of"
        f" them is that of no model; read {named}, or all steps as one sample with --prompt-column problem"
        " --correct-column verdict --pool step"
    )


def _chosen(source: Path, options: Options) -> tuple[list[Path], Reader, dict[str, tuple[int, str]]]:
    """The files to read, their reader, and the files of a folder that are none of it."""
    files = log_files(source)
    if options.reader is not None or (options.prompt_column and options.correct_column):
        name = options.reader or ("counts" if options.n_column else "columns")
        if name not in READERS:
            raise AdvshapeError(f"there is no reader {name!r}; there are {', '.join(READERS)}")
        return files, READERS[name], {}
    if not source.is_dir():
        return files, detect(source), {}
    found = {file: _detected(file) for file in files}
    readers = {reader.name: reader for reader in found.values() if isinstance(reader, Reader)}
    if len(readers) != 1:
        seen = f"logs of {' and '.join(sorted(readers))}" if readers else "no file of a known format"
        raise AdvshapeError(f"{source} holds {seen}; give the files one by one")
    unknown: dict[str, tuple[int, str]] = {}
    kept = []
    for file, reader in found.items():
        if isinstance(reader, Reader) and not _superseded(file, found):
            kept.append(file)
        else:
            what = "file that is no log" if isinstance(reader, Head) else "file whose results are read instead"
            count, first = unknown.get(what, (0, file.name))
            unknown[what] = count + 1, first
    return kept, next(iter(readers.values())), unknown


def _refuse_options(reader: Reader, options: Options) -> None:
    """Options that this reader would not look at."""
    for name, given, only in (
        ("group_size", options.group_size, "trl"),
        ("truncated_column", options.truncated_column, "columns"),
        ("n_column", options.n_column, "counts"),
    ):
        if given is not None and reader.name != only:
            raise AdvshapeError(f"{name} is for the reader {only}, this is a {reader.title}; leave it out")


def _superseded(file: Path, found: Mapping[Path, Any]) -> bool:
    return file.with_name(file.name + human_eval.RESULTS) in found


def _detected(path: Path) -> Reader | Head:
    head = _head(path)
    return next((reader for reader in READERS.values() if reader.recognises(head)), head)


def _head(path: Path) -> Head:
    context = Context(path, Options())
    start = beginning(context)
    if not start.strip():
        context.fail("the file is empty")
    if start[:4] == b"PAR1":
        return Head(path, "parquet", frozenset(schema(context)), {})
    if start[:2] == b"PK":
        return Head(path, "zip", frozenset(Archive(context).names), {})
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:1] == b"[":
        return Head(path, "document", frozenset(), {})
    if text[:1] == b"{":
        return _json_head(path, context, text)
    names, _ = csv_header(text.partition(b"\n")[0].decode(errors="replace").rstrip("\r"))
    return Head(path, "table", frozenset(names), {})


def _json_head(path: Path, context: Context, text: bytes) -> Head:
    """JSON Lines if the first line is an object by itself and something follows, or it has no sign of a document."""
    line = text.partition(b"\n")[0]
    try:
        first = json.loads(line)
    except (ValueError, RecursionError):
        first = None
    documents = ({"eval", "hash", "date"}, {"version", "eval", "status"})
    if isinstance(first, dict) and not any(document <= set(first) for document in documents):
        return Head(path, "lines", frozenset(map(str, first)), first)
    with open_log(path) as file:
        stream = JsonStream(file, context)
        names: list[str] = []
        try:
            names.extend(stream.members())
        except AdvshapeError:
            if not names:
                raise
        # what cannot be parsed to its end may be JSON Lines whose first line is very long, or is broken
        kind: Any = "document" if any(document <= set(names) for document in documents) else "lines"
        return Head(path, kind, frozenset(names), {})


def _setting_names(reader: Reader, options: Options) -> tuple[str, ...]:
    asked = [*options.by, *options.pool, *(name for name, _ in options.where)]
    if reader.name == "columns":
        return tuple(dict.fromkeys([*reader.settings, *asked]))
    for name in asked:
        if name not in reader.settings:
            known = ", ".join(reader.settings) or "no settings"
            raise AdvshapeError(f"{reader.title}: there is no setting {name!r}; it has {known}")
    return reader.settings


def _records(reader: Reader, context: Context, names: Sequence[str]) -> Iterator[tuple[Any, Any, tuple[str, ...]]]:
    """(record, its settings without the pooled ones or None where it is left out, its pooled settings)."""
    options = context.options
    wanted = [(names.index(name), value) for name, value in options.where]
    kept = [i for i, name in enumerate(names) if name not in options.pool]
    pooled = [i for i, name in enumerate(names) if name in options.pool]
    if not wanted and not pooled:
        for record in reader.read(context):
            yield record, record.settings, ()
        return
    for record in reader.read(context):
        values = record.settings
        if all(_same(values[i], value) for i, value in wanted):
            yield record, tuple(values[i] for i in kept), tuple(values[i] for i in pooled)
        else:
            yield record, None, ()


def _same(value: str, asked: str) -> bool:
    """0.7 and 0.70 are the same temperature."""
    if value == asked:
        return True
    try:
        return float(value) == float(asked)
    except ValueError:
        return False


def _refuse_mixture(
    source: Path, names: Sequence[str], tallies: Mapping[tuple[str, ...], Tally], options: Options
) -> None:
    """Rollouts that were sampled differently are not one sample."""
    varying = [i for i, name in enumerate(names) if len({key[i] for key in tallies}) > 1]
    mixed = [i for i in varying if names[i] not in options.by]
    by = [i for i in varying if names[i] in options.by]
    parts: dict[tuple[str, ...], int] = {}
    for key in tallies:
        part = tuple(key[i] for i in by)
        parts[part] = parts.get(part, 0) + 1
    if not mixed or max(parts.values()) == 1:
        return
    seen = "; ".join(
        f"{len({k[i] for k in tallies})} values of {names[i]} ({listed(dict.fromkeys(k[i] for k in tallies), 6)})"
        for i in mixed
    )
    name = names[mixed[0]]
    value = next(iter(tallies))[mixed[0]]
    raise AdvshapeError(
        f"{source} mixes {seen}; rollouts under different settings are not one sample: choose with --where "
        f"{name}={value}, show each with --by {name}, or pool them with --pool {name}"
    )


def _counted(source: Path, reader: Reader, context: Context, settings: Mapping[str, str], tally: Tally) -> CountedLog:
    threshold = context.options.threshold
    right = context.verdict if threshold is None else f"{context.verdict} >= {threshold:g}"
    return CountedLog(
        source=str(source),
        reader=reader.name,
        title=reader.title,
        settings={name: value for name, value in settings.items() if value},
        counts=tally.counts(),
        right=right,
        threshold=threshold,
        knows_truncated=context.knows_truncated,
        skipped=dict(context.skipped),
        notes=tuple(context.notes),
        measures=context.options.measures,
        rewards=tuple(tally.rewards) if context.options.keep_rewards else None,
        answers=tuple(tally.answers) if "maj" in context.options.measures else None,
    )


def _left_out(context: Context) -> str:
    return "".join(f"; {count} x {what} ({first})" for what, (count, first) in context.skipped.items())


def _kind(head: Head) -> str:
    kinds = {
        "lines": "JSON Lines",
        "document": "a JSON document",
        "table": "a table",
        "parquet": "a Parquet file",
        "zip": "a zip archive",
    }
    return kinds[head.kind]
