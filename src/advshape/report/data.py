"""What a report shows, read from run directories and evaluation logs; nothing here knows HTML."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from advshape.errors import AdvshapeError
from advshape.evaluation.curves import Counts, PairedDifference, PassCurve, paired_difference, pass_curve
from advshape.evaluation.log import Rollout, read_rollouts, read_settings

__all__ = ["EvaluationData", "ReportData", "read_evaluations", "read_run"]


@dataclass(frozen=True, eq=False)
class EvaluationData:
    """One evaluation: its label, its rollouts by problem, counts, curve and sampling settings."""

    label: str
    rollouts: Mapping[str, Sequence[Rollout]]
    counts: Counts
    curve: PassCurve
    settings: Mapping[str, Any]
    path: Path | None = None

    @classmethod
    def of(
        cls, label: str, rollouts: Iterable[Rollout], settings: Mapping[str, Any], path: Path | None = None
    ) -> EvaluationData:
        """Group rollouts by problem, count them and draw the curve."""
        groups: dict[str, list[Rollout]] = {}
        for rollout in rollouts:
            groups.setdefault(rollout.problem, []).append(rollout)
        counts = Counts.from_rollouts(rollout for group in groups.values() for rollout in group)
        return cls(label, groups, counts, pass_curve(counts), settings, path)


@dataclass(frozen=True, eq=False)
class ReportData:
    """Everything one page shows.

    Attributes:
        title: heading of the page.
        evaluations: one for each curve, in the order of the legend.
        differences: (first label, second label, change of pass@k on the same prompts).
        metrics: what the trainer logged, one mapping for each step.
        training: training rollouts, one mapping each: step, problem, completion, reward, verdict, advantage.
        summary: summary.json of the run, or empty.
        recipe: recipe.toml of the run, or "".
        notes: what the reader has to know: what is missing, what was left out, warnings of the run.
    """

    title: str
    evaluations: Sequence[EvaluationData]
    differences: Sequence[tuple[str, str, PairedDifference]] = ()
    metrics: Sequence[Mapping[str, Any]] = ()
    training: Sequence[Mapping[str, Any]] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    recipe: str = ""
    notes: Sequence[str] = ()


def read_run(directory: str | os.PathLike[str]) -> ReportData:
    """A run directory (recipe.toml, metrics.jsonl, rollouts.jsonl, summary.json, evaluation/), finished or not.

    Raises AdvshapeError when it holds neither a recipe nor an evaluation. What an unfinished run lacks is
    said in the notes.
    """
    path = Path(directory)
    if not path.is_dir():
        raise AdvshapeError(f"there is no run directory {path}; `advshape train` and `advshape evaluate` make one")
    recipe = path / "recipe.toml"
    if not recipe.is_file():
        if not (path / "rollouts.jsonl").is_file():
            raise AdvshapeError(f"{path} is no run directory: it has neither recipe.toml nor rollouts.jsonl")
        return ReportData(path.name, read_evaluations(path / "rollouts.jsonl", path.name))
    summary = _json(path / "summary.json")
    notes = [f"Warning of the run: {warning}" for warning in summary.get("warnings", [])]
    evaluations = []
    for when in ("before", "after"):
        log = path / "evaluation" / f"{when}.jsonl"
        if log.is_file() and when in summary:
            evaluations += read_evaluations(log, when)
        else:
            notes.append(f"There is no finished evaluation {when} training.")
    if summary.get("status") not in (None, "done"):
        notes.append(f"The run is not finished: its status is “{summary['status']}”.")
    return ReportData(
        title=str(summary.get("name", path.name)),
        evaluations=evaluations,
        differences=_changes(evaluations),
        metrics=list(_lines(path / "metrics.jsonl")),
        training=list(_lines(path / "rollouts.jsonl")),
        summary=summary,
        recipe=recipe.read_text(encoding="utf-8"),
        notes=notes,
    )


def read_evaluations(log: str | os.PathLike[str], label: str) -> list[EvaluationData]:
    """The evaluations in one rollout log, one for each sampling settings; labels tell temperatures apart."""
    path = Path(log)
    described = read_settings(path)
    groups: dict[str, list[Rollout]] = {}
    for rollout in read_rollouts(path):
        groups.setdefault(rollout.settings, []).append(rollout)
    if not groups:
        raise AdvshapeError(f"{path} holds no rollouts")
    found: list[EvaluationData] = []
    for name, rollouts in groups.items():
        settings = {"temperature": rollouts[0].temperature, "seed": rollouts[0].seed, **described.get(name, {})}
        full = label if len(groups) == 1 else f"{label}, T={settings['temperature']:g}"
        if full in (other.label for other in found):
            full = f"{full} ({name})"
        found.append(EvaluationData.of(full, rollouts, settings, path))
    return found


def _changes(evaluations: Sequence[EvaluationData]) -> list[tuple[str, str, PairedDifference]]:
    """Each evaluation against the first, where the prompts are the same."""
    if not evaluations:
        return []
    first, *others = evaluations
    same = [other for other in others if set(other.counts.problems) == set(first.counts.problems)]
    return [(first.label, other.label, paired_difference(first.counts, other.counts)) for other in same]


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except ValueError as error:
        raise AdvshapeError(f"{path} is no JSON object ({error}); repair or remove it") from error


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a JSON Lines file; a last line that was cut off is left out."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                yield json.loads(raw)
            except ValueError as error:
                if not raw.endswith(b"\n"):
                    return
                raise AdvshapeError(f"{path}, line {number}: no JSON ({error}); repair the line") from error
