"""Evaluations as a comparison takes them: a label, the counts, the prompts' texts, the settings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from advshape.errors import AdvshapeError
from advshape.evaluation.logs.rollout_log import read_rollouts, read_settings
from advshape.evaluation.readers import CountedLog, Options, read_logs
from advshape.evaluation.readers.base import prompt_name
from advshape.evaluation.stats.counts import Counts

__all__ = ["Run", "find_log", "find_logs", "load_runs"]


@dataclass(frozen=True, eq=False)
class Run:
    """One evaluation that takes part in a comparison.

    Attributes:
        label: short name, unique in a comparison.
        source: what its counts were read from.
        counts: right and judged rollouts by prompt.
        prompts: problem id -> text of the prompt, as far as the source has them.
        settings: sampling settings, as far as the source says.
        notes: what the reader found in the source that the user has to know.
        reading: how the source was read, by names of `Options`, where that was said.
        chosen: the settings after the @ of its name.
    """

    label: str
    source: str
    counts: Counts
    prompts: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    reading: Mapping[str, Any] = field(default_factory=dict)
    chosen: tuple[tuple[str, str], ...] = ()


def load_runs(specs: Sequence[str], options: Options | None = None) -> list[list[Run]]:
    """The evaluations that each of the specs names, labelled so that no two labels are equal.

    Args:
        specs: a run directory (its evaluation after training), a folder that `advshape evaluate` wrote, or any
            log that `advshape.evaluation.readers` reads; `PATH@temperature=0.7` chooses one setting of a log. Of
            our own logs each sampling setting is a run of its own.
        options: how the logs are read, the same for all.

    Raises:
        AdvshapeError: there is no such file, its format is unknown, or a line is broken.
    """
    chosen = [_split(spec) for spec in specs]
    logs = [find_log(path) for path, _ in chosen]
    names = _labels([(log, where) for log, (_, where) in zip(logs, chosen, strict=True)])
    options = options or Options()
    said = {name: value for name, value in vars(options).items() if value != getattr(Options(), name)}
    return [
        [replace(run, reading=said, chosen=where) for run in _load(log, where, name, options)]
        for log, (_, where), name in zip(logs, chosen, names, strict=True)
    ]


def find_log(path: Path) -> Path:
    """The rollout log of a run directory or of an evaluation's folder; any other path as it is."""
    if not path.exists():
        raise AdvshapeError(f"there is no run directory, folder or log {path}")
    if (path / "recipe.toml").is_file():
        after = path / "evaluation" / "after.jsonl"
        if not after.is_file():
            raise AdvshapeError(
                f"{path} has no evaluation after training; finish it with `advshape train --resume {path}`, or name"
                " a log, such as evaluation/before.jsonl"
            )
        return after
    own = path / "rollouts.jsonl"
    return own if own.is_file() else path


def find_logs(path: Path) -> list[Path]:
    """The evaluations of a run directory, before and after training as far as they are there; other paths as they are.

    Raises AdvshapeError for a run directory without any.
    """
    if not (path / "recipe.toml").is_file():
        return [path]
    found = [path / "evaluation" / name for name in ("before.jsonl", "after.jsonl")]
    if not any(log.is_file() for log in found):
        raise AdvshapeError(f"{path} has no evaluation yet; go on with it: `advshape train --resume {path}`")
    return [log for log in found if log.is_file()]


def _split(spec: str) -> tuple[Path, tuple[tuple[str, str], ...]]:
    """PATH@NAME=VALUE,... into the path and its settings; a path that exists is taken whole."""
    path, at, wanted = spec.rpartition("@")
    if not at or Path(spec).exists():
        return Path(spec), ()
    pairs = [part.partition("=") for part in wanted.split(",")]
    if not all(name and sign and value for name, sign, value in pairs):
        raise AdvshapeError(f"{spec}: after @ comes NAME=VALUE, such as {path or 'runs/a'}@temperature=0.7")
    return Path(path), tuple((name, value) for name, _, value in pairs)


def _load(log: Path, where: tuple[tuple[str, str], ...], label: str, options: Options) -> list[Run]:
    """The evaluations in one log."""
    options = replace(options, where=options.where + where)
    found = _counted(log, options)
    if not all(item.reader == "advshape" for item in found):
        return [_run(item, label, {}, dict(item.settings)) for item in found]
    described, texts = read_settings(log), _texts(log)
    runs = [
        _run(item, label, texts, {**item.settings, **described.get(item.settings.get("settings", ""), {})})
        for item in found
    ]
    runs = _judged_last(runs, list(described))
    if len(runs) == 1:
        return runs
    return [replace(run, label=f"{label}, T={run.settings.get('temperature')}") for run in runs]


def _judged_last(runs: Sequence[Run], order: Sequence[str]) -> list[Run]:
    """Of runs that differ in their verifier alone, the one whose settings were written last: it judged them again."""
    kept: dict[str, Run] = {}
    written = {name: place for place, name in enumerate(order)}
    for run in sorted(runs, key=lambda run: written.get(run.settings.get("settings", ""), -1)):
        shared = {name: value for name, value in run.settings.items() if name not in ("settings", "verifier")}
        before = kept.pop(same := json.dumps(shared, sort_keys=True, default=str), None)
        left = (
            ()
            if before is None
            else (
                f"left out what an earlier version of the verifier said ({before.settings.get('verifier')}); it is at"
                f" @settings={before.settings.get('settings')}",
            )
        )
        kept[same] = replace(run, notes=(*run.notes, *left))
    return list(kept.values())


def _counted(log: Path, options: Options) -> list[CountedLog]:
    """Our own log by its settings; another tool's log as one sample."""
    named = options.prompt_column and options.correct_column  # then the columns say how to read it
    if options.reader in (None, "advshape") and not named and log.is_file():
        from advshape.evaluation.readers import detect

        if detect(log, options).name == "advshape":
            return read_logs(log, replace(options, by=("settings", "temperature")))
    return read_logs(log, options)


def _run(item: CountedLog, label: str, texts: Mapping[str, str], settings: Mapping[str, Any]) -> Run:
    # what the user chose away with @NAME=VALUE is no news
    skipped = [
        f"left out {count} x {what} (first: {place})"
        for what, (count, place) in item.skipped.items()
        if not what.startswith("record outside")
    ]
    return Run(label, item.source, item.counts, texts, settings, (*item.notes, *skipped))


def _texts(log: Path) -> dict[str, str]:
    """Prompt name -> text; of chat messages the contents."""
    found: dict[str, str] = {}
    for rollout in read_rollouts(log):
        name = prompt_name(rollout.problem)
        if name not in found:
            found[name] = rollout.prompt if isinstance(rollout.prompt, str) else _chat_text(rollout.prompt)
    return found


def _chat_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """Role and content of chat messages as text."""
    parts = [(message.get("role", ""), message.get("content", "")) for message in messages]
    return "\n".join(f"{role}: {text if isinstance(text, str) else json.dumps(text)}" for role, text in parts)


def _labels(logs: Sequence[tuple[Path, tuple[tuple[str, str], ...]]]) -> list[str]:
    """As many trailing folders as tell the logs apart, and the chosen setting.

    >>> _labels([(Path("/a/run/evaluation/after.jsonl"), ()), (Path("/b/run/evaluation/after.jsonl"), ())])
    ['a/run', 'b/run']
    """
    keys = [(log.absolute(), where) for log, where in logs]
    for i, key in enumerate(keys):
        if key in keys[:i]:
            raise AdvshapeError(f"{logs[i][0]} is named twice; name each run once")
    words = [_words(log) for log, _ in keys]
    for size in range(1, max(map(len, words)) + 1):
        names = ["/".join(own[-size:]) for own in words]
        labels = [", ".join([name, *(f"{a}={b}" for a, b in w)]) for name, (_, w) in zip(names, keys, strict=True)]
        if len(set(labels)) == len(labels):
            break
    return labels


def _words(log: Path) -> tuple[str, ...]:
    """Folders of a log, and its own name unless that is the usual one."""
    name = log.name.partition(".")[0] if log.is_file() or log.suffix else log.name
    if log.parent.name == "evaluation":
        run = log.parent.parent
        return run.parts if name == "after" else (*run.parts[:-1], f"{run.name}, {name}")
    return log.parent.parts if log.name == "rollouts.jsonl" else (*log.parent.parts, name)
