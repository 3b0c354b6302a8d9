"""What the page of a comparison shows, read from `Comparison.to_json()` and from the logs that it names."""

from __future__ import annotations

import os
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advshape.errors import AdvshapeError
from advshape.evaluation.logs.jsonl import read_json
from advshape.evaluation.stats.counts import Counts
from advshape.evaluation.stats.curves import PassCurve
from advshape.report.data.run import EvaluationData, read_evaluations
from advshape.report.data.run_files import read_summary
from advshape.report.data.text import short, visible

Floats = NDArray[np.float64]
CASES = 12
"""Prompts newly solved, and newly lost, that the page prints with completions; the browser has all."""

__all__ = ["ComparedRun", "ComparisonData", "Difference", "comparison_data", "printed_problems"]


@dataclass(frozen=True, eq=False)
class ComparedRun:
    """One run of a comparison.

    Attributes:
        evaluation: its curve, and its rollouts with their counts where the log is there.
        counts: what was compared; prompts have no names here.
        facts: numbers of prompts, rollouts and outcomes that were compared.
        source: the file that the comparison read.
        reading: what was said of how to read it, by names of the readers' `Options`.
        chosen: the settings that were chosen of it.
        recipe, versions: of the run, where the file belongs to one.
    """

    evaluation: EvaluationData
    counts: Counts
    facts: Mapping[str, Any]
    source: str
    recipe: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    reading: Mapping[str, Any] = field(default_factory=dict)
    chosen: tuple[tuple[str, str], ...] = ()

    @property
    def label(self) -> str:
        """The label in tables and legends."""
        return self.evaluation.label


@dataclass(frozen=True, eq=False)
class Difference:
    """Change of pass@k, second minus first.

    Attributes:
        first, second: labels of the runs.
        ks: (K,) attempts.
        difference, low, high: (K,) mean and the ends of its pointwise interval, in [-1, 1].
        adjusted: (K,) p-value of no change, adjusted for all tests of the comparison; NaN where not tested.
        paired, prompts, left_out, method, test, changes, crossing: as `Comparison.to_json` has them.
        confidence: nominal coverage of each interval; 1 - confidence is the level of the tests.
    """

    first: str
    second: str
    ks: NDArray[np.int64]
    difference: Floats
    low: Floats
    high: Floats
    adjusted: Floats
    paired: bool
    prompts: int
    left_out: int
    method: str
    test: str
    changes: Mapping[str, Any] | None
    crossing: Mapping[str, Any] | None
    confidence: float = 0.95

    @classmethod
    def from_json(cls, data: Mapping[str, Any], names: Mapping[str, str], confidence: float) -> Difference:
        """A pair or a yardstick of `Comparison.to_json`; `names` are the labels as the page shows them."""
        shown: dict[str, Any] = {name: np.array(data[name], dtype=float) for name in ("difference", "low", "high")}
        shown["adjusted"] = np.array(data["p_adjusted"], dtype=float)
        for name, values in shown.items():
            if values.shape != (len(data["ks"]),):
                raise AdvshapeError(
                    f"the comparison is broken: {name!r} has {values.size} entries for {len(data['ks'])} attempts"
                )
        shown |= {name: data[name] for name in ("paired", "prompts", "left_out", "method", "test")}
        return cls(
            names[data["first"]],
            names[data["second"]],
            np.array(data["ks"], dtype=np.int64),
            changes=data.get("changes"),
            crossing=data.get("crossing"),
            confidence=confidence,
            **shown,
        )

    @property
    def name(self) -> str:
        """How tables and legends call it."""
        return f"{self.second} − {self.first}"

    @property
    def told(self) -> NDArray[np.bool_]:
        """(K,) where the adjusted test tells the change from none."""
        return np.nan_to_num(self.adjusted, nan=1.0) <= 1 - self.confidence + 1e-12

    def cases(self, word: str) -> list[Mapping[str, Any]]:
        """The prompts newly "solved" or "lost" that the page prints with their texts."""
        return list((self.changes or {}).get(f"newly_{word}", ())[:CASES])

    @property
    def crosses_at(self) -> tuple[float, float, float] | None:
        """(k, low, high) of the crossing, 0 for below one attempt and inf for beyond n; None without one."""
        found = self.crossing
        if found is None or found.get("k") is None:
            return None
        high = found.get("high")
        return float(found["k"]), float(found.get("low") or 0), float("inf") if high is None else float(high)


@dataclass(frozen=True, eq=False)
class ComparisonData:
    """Everything a comparison's page shows: runs (the reference first), differences, notes, the k chosen before."""

    title: str
    runs: Sequence[ComparedRun]
    pairs: Sequence[Difference]
    yardsticks: Sequence[Difference]
    notes: Sequence[str] = ()
    registered: Sequence[int] = ()

    @property
    def evaluations(self) -> list[EvaluationData]:
        """The evaluations of all runs."""
        return [run.evaluation for run in self.runs]

    def evaluation(self, label: str) -> EvaluationData:
        """The evaluation with this label."""
        return next(item for item in self.evaluations if item.label == label)


def printed_problems(pairs: Sequence[Difference]) -> set[str]:
    """Ids of the prompts that the page prints with their texts."""
    return {case["problem"] for pair in pairs for word in ("solved", "lost") for case in pair.cases(word)}


LABEL = 48
"""Characters of a label that a page shows."""


def comparison_data(comparison: Any) -> ComparisonData:
    """Read a `Comparison`, its `to_json()`, or the path of a file that holds it.

    Raises AdvshapeError when something is missing, with the name of the field.
    """
    if isinstance(comparison, str | os.PathLike):
        data: Mapping[str, Any] = read_json(Path(comparison))
    else:
        data = comparison if isinstance(comparison, Mapping) else comparison.to_json()
    if data.get("kind") != "comparison":
        raise AdvshapeError(f"no comparison: 'kind' is {data.get('kind')!r}; `advshape compare --json` prints one")
    # What a page does not show need not be there; what it shows must, and is named when it is not.
    try:
        confidence = float(data["confidence"])
        notes = [str(note) for note in data.get("notes", ())]
        names = _names([item["label"] for item in data["runs"]])
        pairs, yardsticks = (
            [Difference.from_json(item, names, confidence) for item in data[kind]] for kind in ("pairs", "yardsticks")
        )
        printed = printed_problems(pairs)
        runs = [_run(item, names[item["label"]], notes, printed) for item in data["runs"]]
    except AdvshapeError:
        raise
    except KeyError as error:
        raise AdvshapeError(f"the comparison lacks the field {error}; make it again with `advshape compare`") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise AdvshapeError(f"the comparison is broken ({error}); make it again with `advshape compare`") from error
    title = f"{len(pairs)} runs against {runs[0].label}"
    if len(pairs) == 1:
        title = f"{pairs[0].second} against {pairs[0].first}"
    tested = data.get("tested", ())
    registered = [] if list(tested) == list(data.get("ks", tested)) else list(tested)
    return ComparisonData(title, runs, pairs, yardsticks, notes, registered)


def _names(labels: Sequence[str]) -> dict[str, str]:
    """Label -> what the page calls it: short, visible, and still different.

    >>> _names(["a\\u202e", "b"])
    {'a\\u202e': 'a⟨U+202E⟩', 'b': 'b'}
    """
    if len(set(labels)) < len(labels):
        raise AdvshapeError(f"each run needs a label of its own, got {', '.join(map(visible, labels))}")
    names: dict[str, str] = {}
    for label in labels:
        name = short(label, LABEL) or "(no name)"
        names[label] = name if name not in names.values() else f"{name} ({len(names) + 1})"
    return names


def _run(data: Mapping[str, Any], label: str, notes: list[str], always: Container[str]) -> ComparedRun:
    """One run, with its rollouts when the log it names is there."""
    source = str(data["source"])
    curve, settings = PassCurve.from_json(data["curve"]), dict(data.get("settings") or {})
    counts = _counts(data["histogram"])
    logged, same = _logged(Path(source), label, data["outcomes"], always)
    if logged is None:
        notes.append(f"The rollouts of {label} are not shown: {short(source, 120)} is gone, or is another tool's log.")
        evaluation = EvaluationData(label, {}, counts, curve, settings, Path(source))
    else:
        settings = settings or dict(logged.settings)
        evaluation = EvaluationData(label, logged.rollouts, logged.counts, curve, settings, Path(source))
        if not same:
            notes.append(f"The log of {label} has other rollouts than those that were compared; texts are the log's.")
    facts = {name: data[name] for name in ("prompts", "n", "outcomes")}
    directory = Path(source).parent.parent
    recipe = directory / "recipe.toml"
    chosen = tuple((str(name), str(value)) for name, value in data.get("chosen") or ())
    found = ComparedRun(evaluation, counts, facts, source, reading=dict(data.get("reading") or {}), chosen=chosen)
    if not recipe.is_file():
        return found
    versions = read_summary(directory / "summary.json").get("versions", {})
    return replace(found, recipe=recipe.read_text(encoding="utf-8"), versions=versions)


def _logged(
    source: Path, label: str, outcomes: Mapping[str, int], always: Container[str]
) -> tuple[EvaluationData | None, bool]:
    """The evaluation in a rollout log that has these outcomes, or else its only one; and whether they are the same."""
    if not source.is_file() or not source.name.removesuffix(".gz").endswith(".jsonl"):
        return None, False
    try:
        items = read_evaluations(source, label, always)
    except AdvshapeError:  # another tool's log: the comparison has its counts, and the page says so
        return None, False
    same = [item for item in items if item.counts.totals() == dict(outcomes)]
    return (same[0], True) if same else (items[0] if len(items) == 1 else None, False)


def _counts(histogram: Sequence[Mapping[str, int]]) -> Counts:
    """Counts with the prompts of a histogram, without their names."""
    rows = [(bar["correct"], bar["judged"]) for bar in histogram for _ in range(bar["prompts"])]
    return Counts.of(map(str, range(len(rows))), [c for c, _ in rows], [j for _, j in rows])
