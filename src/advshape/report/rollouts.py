"""What the page's browser of rollouts shows: groups of rollouts with their counts, within a budget of text."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from advshape.evaluation.logs.rollout_log import Rollout
from advshape.evaluation.readers.base import prompt_name
from advshape.report.data.run import EvaluationData, ReportData, lot, most_rollouts
from advshape.report.data.run_files import is_number
from advshape.report.data.text import prompt_text
from advshape.report.data.training_rollouts import LONGEST, TRAINING_BUDGET

__all__ = ["browser"]

TEXT_BUDGET = 8_000_000
"""Characters of completions, reasons and prompts that one page may hold; more makes browsers slow."""


class Shelf:
    """Collects texts for one page: repeated reasons are stored once, long texts are cut and counted."""

    def __init__(self) -> None:
        self.reasons: dict[str, int] = {}
        self.cut = 0
        self.notes: list[str] = []

    def text(self, text: str) -> str:
        """The text, or its first `LONGEST` characters and how many are left out."""
        if len(text) <= LONGEST:
            return text
        self.cut += 1
        return f"{text[:LONGEST]} … ({len(text) - LONGEST:,} more characters are in the log)"

    def reason(self, text: str) -> int:
        """Index of a reason."""
        return self.reasons.setdefault(self.text(text), len(self.reasons))


def browser(data: ReportData, always: Container[str] = ()) -> tuple[dict[str, Any], list[str]]:
    """{"sources": ..., "reasons": ...} for the page's script, and notes on what it had to leave out.

    A rollout is [completion, verdict, index of the reason, advantage, tokens, truncated, reward]; a reward of null
    is 1 for right and 0 for wrong. always: problems that come first where there is no room for all.
    """
    shelf = Shelf()
    sources = []
    if data.evaluations:
        budget = TEXT_BUDGET - (TRAINING_BUDGET if data.training else 0)
        sources.append(_evaluation_source(data.evaluations, budget, shelf, always))
    if data.training:
        sources.append(_training_source(data.training, shelf))
    if shelf.cut:
        shelf.notes.append(f"The browser cuts {shelf.cut} texts after {LONGEST:,} characters; the logs have all.")
    return {"sources": sources, "reasons": list(shelf.reasons)}, shelf.notes


def _evaluation_source(
    items: Sequence[EvaluationData], budget: int, shelf: Shelf, always: Container[str]
) -> dict[str, Any]:
    """Groups are prompts; each has its counts in every evaluation and its rollouts, the first by sample index."""
    problems = list(dict.fromkeys(problem for item in items for problem in item.counts.problems))
    kept = [problem for problem in problems if any(problem in item.rollouts for item in items)]
    prompts = {
        problem: prompt_text(next(item.rollouts[problem][0].prompt for item in items if problem in item.rollouts))
        for problem in kept
    }
    sizes = {
        problem: sum(_size(r.completion) for item in items for r in item.rollouts.get(problem, ())) for problem in kept
    }
    room, size = budget - sum(map(_size, prompts.values())), sum(sizes.values())
    held = max((len(group) for item in items for group in item.rollouts.values()), default=0)
    shown = held if size <= room else max(1, int(held * room / size))
    most = max(most_rollouts(item) for item in items)
    if shown < most:
        shelf.notes.append(
            f"The browser holds the first {shown} of {most:,} rollouts of each prompt, to keep the page small;"
            " all counts are over all rollouts."
        )
    first = {
        problem: sum(_size(r.completion) for item in items for r in item.rollouts.get(problem, ())[:shown])
        for problem in kept
    }
    chosen = _within(budget, {problem: _size(prompts[problem]) + first[problem] for problem in kept}, always)
    if len(chosen) < len(problems):
        shelf.notes.append(
            f"The browser holds {len(chosen):,} of {len(problems):,} prompts, drawn by their ids, to keep the page"
            " small; curves, tables and histograms are over all of them."
        )
    rows = [{problem: i for i, problem in enumerate(item.counts.problems)} for item in items]
    groups = []
    for problem in (problem for problem in kept if problem in chosen):
        counts = [
            None
            if problem not in row
            else [int(item.counts.correct[row[problem]]), int(item.counts.judged[row[problem]])]
            for item, row in zip(items, rows, strict=True)
        ]
        texts = [[_evaluated(r, shelf) for r in item.rollouts.get(problem, ())[:shown]] for item in items]
        groups.append({"id": problem, "prompt": shelf.text(prompts[problem]), "counts": counts, "rollouts": texts})
    return {"name": "evaluation", "labels": [item.label for item in items], "groups": groups}


def _within(budget: int, sizes: Mapping[str, int], always: Container[str]) -> set[str]:
    """As many problems as fit, one at least: those named first, then by lot."""
    found: set[str] = set()
    left = budget
    for problem in sorted(sizes, key=lambda problem: (prompt_name(problem) not in always, lot(problem))):
        left -= sizes[problem]
        if left < 0 and found:
            break
        found.add(problem)
    return found


def _size(text: str) -> int:
    return min(len(text), LONGEST) + 12


def _evaluated(rollout: Rollout, shelf: Shelf) -> list[Any]:
    """One rollout of an evaluation as a row."""
    row = [shelf.text(rollout.completion), rollout.outcome, shelf.reason(rollout.reason)]
    reward, advantage = (_number(rollout.more.get(name)) for name in ("reward", "advantage"))
    return [*row, advantage, rollout.tokens, rollout.truncated, reward]


def _training_source(records: Sequence[Mapping[str, Any]], shelf: Shelf) -> dict[str, Any]:
    """Groups are one prompt at one step."""
    groups: dict[tuple[int, str], list[list[Any]]] = {}
    for record in records:
        row = [shelf.text(record["completion"]), record.get("verdict"), shelf.reason(str(record.get("reason", "")))]
        row += [_number(record.get("advantage")), None, False, _number(record.get("reward"))]
        groups.setdefault((int(record["step"]), str(record["problem"])), []).append(row)
    listed = [
        {
            "id": f"step {step} · {problem}",
            "prompt": shelf.text(problem),
            "counts": [[sum(row[1] == "right" for row in rows), sum(row[1] != "not_judged" for row in rows)]],
            "rollouts": [rows],
        }
        for (step, problem), rows in groups.items()
    ]
    return {"name": "training", "labels": ["training"], "groups": listed}


def _number(value: Any) -> float | None:
    return float(value) if is_number(value) and not isinstance(value, bool | None) else None
