"""What a report shows, read from run directories and evaluation logs; nothing here knows HTML."""

from __future__ import annotations

import os
import zlib
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from advshape.errors import AdvshapeError
from advshape.evaluation.logs.count import count_rollout
from advshape.evaluation.logs.jsonl import check_fields, read_json
from advshape.evaluation.logs.rollout_log import Rollout, read_rollouts, read_settings
from advshape.evaluation.readers.base import prompt_name
from advshape.evaluation.stats.counts import Counts
from advshape.evaluation.stats.curves import PairedDifference, PassCurve, paired_difference, pass_curve
from advshape.report.data.run_files import read_metrics, read_summary
from advshape.report.data.text import short
from advshape.report.data.training_rollouts import kept_training

__all__ = ["EvaluationData", "ReportData", "lot", "most_rollouts", "read_evaluations", "read_run"]

KEPT = 24_000_000
"""Characters of rollouts that are held for a page, 500 for each rollout included; a page shows fewer."""


@dataclass(frozen=True, eq=False)
class EvaluationData:
    """One evaluation: its label, counts, curve and sampling settings, and the first rollouts of each problem: all of
    them, or as many as `KEPT` characters allow; where one of each is too many, of a part of the problems."""

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
        """Count rollouts, keep the first of each problem, and draw the curve."""
        shelf = Kept()
        for rollout in rollouts:
            shelf.add(rollout)
        return shelf.evaluation(label, settings, path)


class Kept:
    """Counts all rollouts that stream past and keeps the first of each problem, fewer where they are long or many.

    always: ids of problems (`prompt_name` of them) whose first rollout is kept in any case.
    """

    def __init__(self, always: Container[str] = ()) -> None:
        self.first: Rollout | None = None
        self._always = always
        self._rows: dict[str, list[int]] = {}
        self._groups: dict[str, list[Rollout]] = {}
        self._size = 0
        self._most = 2**62
        self._share = 1.0

    def add(self, rollout: Rollout) -> None:
        """Count one rollout, and keep it if there is room."""
        self.first = self.first or rollout
        count_rollout(self._rows, rollout)
        group = self._groups.get(rollout.problem)
        if group is None and self._keeps(rollout.problem):
            group = self._groups[rollout.problem] = []
        if group is None or len(group) >= self._most:
            return
        group.append(rollout)
        self._size += _size(rollout)
        while self._size > KEPT and (self._most > 1 or self._share > 1e-6):
            self._keep_fewer()

    def _keeps(self, problem: str) -> bool:
        return self._share >= 1 or lot(problem) < self._share or prompt_name(problem) in self._always

    def _keep_fewer(self) -> None:
        """Half as many rollouts of each problem; where there is one of each, half as many problems."""
        if self._most > 1:
            self._most = max(1, max(map(len, self._groups.values())) // 2)
        else:
            self._share /= 2
            self._groups = {problem: group for problem, group in self._groups.items() if self._keeps(problem)}
        for kept in self._groups.values():
            del kept[self._most :]
        self._size = sum(_size(rollout) for kept in self._groups.values() for rollout in kept)

    def evaluation(self, label: str, settings: Mapping[str, Any], path: Path | None) -> EvaluationData:
        """What was counted and kept."""
        counts = Counts.from_rows(self._rows)
        return EvaluationData(label, self._groups, counts, pass_curve(counts), settings, path)


def lot(problem: str) -> float:
    """A number in [0, 1) from the id, as if drawn: every log that has the problem draws the same."""
    return zlib.crc32(problem.encode(errors="surrogatepass")) / 2**32


def _size(rollout: Rollout) -> int:
    return len(rollout.completion) + len(rollout.reason) + len(rollout.prompt) + 500


@dataclass(frozen=True, eq=False)
class ReportData:
    """Everything one page shows.

    Attributes:
        title: heading of the page.
        evaluations: one for each curve, in the order of the legend.
        differences: (first label, second label, change of pass@k on the same prompts).
        metrics: what the trainer logged, one mapping for each step.
        training: training rollouts, one mapping each: step, problem, completion, reward, verdict, advantage; of a long
            run whole steps, evenly spaced, as many as `advshape.report.data.training_rollouts.TRAINING_BUDGET` allows.
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


def read_run(directory: str | os.PathLike[str], status: str | None = None) -> ReportData:
    """A run directory (recipe.toml, metrics.jsonl, rollouts.jsonl, summary.json, evaluation/), finished or not.

    A folder that `advshape evaluate` wrote, or a rollout log, gives its evaluations alone. With `status` the run has
    that one, whatever its summary says.

    Raises AdvshapeError when it holds neither a recipe nor an evaluation. What an unfinished run lacks is
    said in the notes.
    """
    path = Path(directory)
    if path.is_file():
        return ReportData(path.name, read_evaluations(path, short(path.name)))
    if not path.is_dir():
        raise AdvshapeError(f"there is no run directory {path}; `advshape train` and `advshape evaluate` make one")
    recipe = path / "recipe.toml"
    if not recipe.is_file():
        if not (path / "rollouts.jsonl").is_file():
            raise AdvshapeError(f"{path} is no run directory: it has neither recipe.toml nor rollouts.jsonl")
        return ReportData(path.name, read_evaluations(path / "rollouts.jsonl", short(path.name)))
    summary = read_summary(path / "summary.json")
    if status is not None:
        summary = {**summary, "status": status}
    notes = [f"Warning of the run: {warning}" for warning in summary.get("warnings", [])]
    notes += [
        f"Warning at step {sign['step']}: {sign['seen']}; {sign['advice']}."
        for sign in summary.get("warning_signs", [])
    ]
    training, left_out = kept_training(path / "rollouts.jsonl")
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
        metrics=read_metrics(path / "metrics.jsonl"),
        training=training,
        summary=summary,
        recipe=recipe.read_text(encoding="utf-8"),
        notes=notes + left_out,
    )


def read_evaluations(log: str | os.PathLike[str], label: str, always: Container[str] = ()) -> list[EvaluationData]:
    """The evaluations in one rollout log, one for each sampling settings; labels tell temperatures apart.

    always: ids of problems, long ones as `prompt_name` has them, that have rollouts for the page in any case.
    """
    path = Path(log)
    described = read_settings(path)
    summaries = _summaries(path)
    groups: dict[str, Kept] = {}
    for rollout in read_rollouts(path):
        groups.setdefault(rollout.settings, Kept(always)).add(rollout)
    if not groups:
        raise AdvshapeError(f"{path} holds no rollouts")
    found: list[EvaluationData] = []
    for name, kept in groups.items():
        assert kept.first is not None
        own = {"temperature": kept.first.temperature, "seed": kept.first.seed, **described.get(name, {})}
        settings = {**summaries.get(name, {}), **own}
        full = label if len(groups) == 1 else f"{label}, T={settings['temperature']:g}"
        if full in (other.label for other in found):
            full = f"{full} ({name})"
        found.append(kept.evaluation(full, settings, path))
    return found


def most_rollouts(item: EvaluationData) -> int:
    """The most rollouts that a problem has, kept or not."""
    return int((item.counts.judged + item.counts.not_judged).max(initial=0))


def _summaries(log: Path) -> dict[str, dict[str, Any]]:
    """{settings hash: model and problems} from the summary beside a log, where there is one."""
    paths = (log.with_suffix(".summary.json"), log.with_name("summary.json"))
    path = next((path for path in paths if path.is_file()), paths[-1])
    summary = read_json(path)
    check_fields(summary, {"temperatures": list}, str(path), optional=True)
    found = {}
    for item in summary.get("temperatures", [summary]):
        if isinstance(item, dict) and "settings" in item:
            check_fields(item, {"settings": dict}, str(path))
            check_fields(item, {"problems": dict}, str(path), optional=True)
            chosen = {f"problems {name}": value for name, value in item.get("problems", {}).items()}
            found[str(item["settings"].get("hash"))] = {"model": item["settings"].get("model", ""), **chosen}
    return found


def _changes(evaluations: Sequence[EvaluationData]) -> list[tuple[str, str, PairedDifference]]:
    """Each evaluation against the first, where the prompts are the same."""
    if not evaluations:
        return []
    first, *others = evaluations
    same = [other for other in others if set(other.counts.problems) == set(first.counts.problems)]
    return [(first.label, other.label, paired_difference(first.counts, other.counts)) for other in same]
