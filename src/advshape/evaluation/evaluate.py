"""Evaluate a model on a task: sample n rollouts of each held-out problem, count, and draw the curve.

The rollouts go to an append-only log as they come, so an evaluation that was stopped goes on where it was,
and the same call on a finished log samples nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from advshape.errors import AdvshapeError
from advshape.evaluation.curves import Counts, PassCurve, pass_bounds, pass_curve
from advshape.evaluation.log import Rollout, RolloutLog
from advshape.evaluation.sampling import (
    SamplingSettings,
    engine_version,
    fingerprint,
    load_model,
    sample_rollouts,
)

if TYPE_CHECKING:
    from advshape.tasks.protocol import Task

__all__ = ["Evaluation", "evaluate", "evaluate_temperatures", "evaluation_paths"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One evaluation: counts by prompt, the pass@k curve, the settings, and all rollouts.

    Attributes:
        counts: right, judged, not judged and truncated rollouts by prompt.
        curve: pass@k at powers of two with intervals over prompts.
        settings: sampling settings, engine and verifier with versions.
        rollouts: the rollouts in the order of the problems.
        n: rollouts sampled per prompt.
        problems: how the problems were chosen: split, count and seed.
    """

    counts: Counts
    curve: PassCurve
    settings: SamplingSettings
    rollouts: Sequence[Rollout]
    n: int
    problems: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The summary: everything but the rollouts; plain lists and numbers."""
        ks, lowest, highest = pass_bounds(self.counts)
        histogram = Counter(zip(self.counts.correct.tolist(), self.counts.judged.tolist(), strict=True))
        reasons = Counter(rollout.reason for rollout in self.rollouts if rollout.outcome == "not_judged")
        return {
            "n": self.n,
            "prompts": self.counts.prompts,
            "problems": dict(self.problems),
            "settings": {**asdict(self.settings), "hash": self.settings.hash},
            "outcomes": self.counts.totals(),
            "not_judged_reasons": dict(reasons.most_common(10)),
            "curve": self.curve.to_json(),
            "bounds": {"ks": ks.tolist(), "all_wrong": lowest.tolist(), "all_right": highest.tolist()},
            "histogram": [{"correct": c, "judged": j, "prompts": m} for (c, j), m in sorted(histogram.items())],
            "mean_tokens": sum(r.tokens for r in self.rollouts) / max(1, len(self.rollouts)),
        }


def evaluate(
    model: Any,
    task: Task,
    *,
    tokenizer: Any = None,
    split: Literal["train", "heldout"] = "heldout",
    count: int = 256,
    problems_seed: int = 0,
    n: int = 64,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_new_tokens: int = 32,
    seed: int = 0,
    batch_size: int = 1024,
    confidence: float = 0.95,
    out: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Evaluation:
    """Sample n rollouts of `count` problems and give pass@k at every power of two up to n.

    Args:
        model: path, name or a loaded `transformers.PreTrainedModel` (left in the state it was in).
        task: problems and verifier.
        tokenizer: None loads the model's own.
        split, count, problems_seed: which problems; the same three choose the same problems.
        n: rollouts per problem.
        temperature, top_p, max_new_tokens, seed, batch_size: see `sample_rollouts`.
        confidence: nominal coverage of the intervals.
        out: a folder for `rollouts.jsonl` and `summary.json`, or a file `NAME.jsonl` (the summary is then
            `NAME.summary.json`). Rollouts that are there are kept and not sampled again. None writes nothing.
        progress: progress bar on standard error.

    Raises:
        AdvshapeError: no such model, bad options, or no rollout could be judged.
    """
    model, tokenizer = load_model(model, tokenizer)
    settings = SamplingSettings(
        task=task_identity(task),
        model=str(model.name_or_path),
        fingerprint=fingerprint(model),
        temperature=temperature,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        seed=seed,
        engine_version=engine_version(),
        verifier=verifier_version(task),
    )
    problems = task.problems(split, count, problems_seed)
    if not problems:
        raise AdvshapeError(f"an evaluation needs problems, got count={count}; 256 is usual")

    def sample(skip: set[tuple[str, int]], keep: Callable[[list[Rollout]], Any]) -> None:
        for batch in sample_rollouts(
            model,
            tokenizer,
            task,
            problems,
            n=n,
            batch_size=batch_size,
            progress=progress,
            skip=skip,
            settings=settings,
        ):
            keep(batch)

    rollouts = _collect(sample, settings, out)
    place = {problem.id: row for row, problem in enumerate(problems)}
    wanted = [r for r in rollouts if r.settings == settings.hash and r.problem in place and r.sample < n]
    wanted.sort(key=lambda r: (place[r.problem], r.sample))
    counts = Counts.from_rollouts(wanted)
    chosen = {"split": split, "count": len(problems), "seed": problems_seed}
    result = Evaluation(counts, pass_curve(counts, confidence=confidence), settings, wanted, n, chosen)
    if out is not None:
        write_json(evaluation_paths(out)[1], result.to_json())
    return result


def evaluate_temperatures(
    model: Any,
    task: Task,
    temperatures: Sequence[float],
    *,
    out: str | os.PathLike[str] | None = None,
    **options: Any,
) -> list[Evaluation]:
    """One evaluation for each temperature, all in one log: the frontier of pass@1 against pass@64.

    `options` are those of `evaluate`. The summary is then `{"temperatures": [summary, ...]}`.
    """
    if not temperatures or len(set(temperatures)) != len(temperatures):
        raise AdvshapeError(f"temperatures must be distinct and at least one, got {list(temperatures)}")
    model, options["tokenizer"] = load_model(model, options.get("tokenizer"))
    results = [evaluate(model, task, temperature=t, out=out, **options) for t in temperatures]
    if out is not None:
        write_json(evaluation_paths(out)[1], {"temperatures": [result.to_json() for result in results]})
    return results


def evaluation_paths(out: str | os.PathLike[str]) -> tuple[Path, Path]:
    """(rollout log, summary) of an evaluation written to a folder or to a file `NAME.jsonl`.

    >>> [path.as_posix() for path in evaluation_paths("runs/a")]
    ['runs/a/rollouts.jsonl', 'runs/a/summary.json']
    >>> [path.as_posix() for path in evaluation_paths("runs/before.jsonl")]
    ['runs/before.jsonl', 'runs/before.summary.json']
    """
    path = Path(out)
    if path.suffix == ".jsonl":
        return path, path.with_suffix(".summary.json")
    return path / "rollouts.jsonl", path / "summary.json"


def task_identity(task: Task) -> str:
    """Name and parameters of a task: its repr where that is a value (dataclasses), its name otherwise."""
    return repr(task) if dataclasses.is_dataclass(task) else task.name


def verifier_version(task: Task) -> str:
    """Class of the verifier and 8 hex digits of its module's source, so that a changed verifier shows."""
    kind = type(task)
    name = f"{kind.__module__}.{kind.__qualname__}"
    module = inspect.getmodule(kind)
    try:
        source = inspect.getsource(module) if module is not None else ""
    except OSError:
        source = ""
    return f"{name} {hashlib.sha256(source.encode()).hexdigest()[:8]}" if source else name


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write JSON so that a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(data, indent=1) + "\n")
    part.replace(path)


def _collect(
    sample: Callable[[set[tuple[str, int]], Callable[[list[Rollout]], Any]], None],
    settings: SamplingSettings,
    out: str | os.PathLike[str] | None,
) -> list[Rollout]:
    """All rollouts: those in the log, and those sampled now."""
    with RolloutLog(evaluation_paths(out)[0]) if out is not None else nullcontext() as log:
        if log is None:
            rollouts: list[Rollout] = []
            sample(set(), rollouts.extend)
            return rollouts
        log.describe(settings.to_json())
        sample({(p, i) for p, i, name in log.keys if name == settings.hash}, log.append)
        return list(log.rollouts)
