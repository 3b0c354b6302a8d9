"""Evaluate a model on a task: sample n rollouts of each held-out problem, count, and draw the curve.

The rollouts go to an append-only log as they come, so an evaluation that was stopped goes on where it was,
and the same call on a finished log samples nothing.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from advshape.errors import AdvshapeError
from advshape.evaluation.logs.count import count_rollouts
from advshape.evaluation.logs.rollout_log import Rollout
from advshape.evaluation.sampling.collect import Sums, chosen_problems, collect, evaluation_paths, ordered
from advshape.evaluation.sampling.engine import Engine, SamplingFailed, SamplingSettings, check_rollouts
from advshape.evaluation.sampling.local import LocalModel
from advshape.evaluation.sampling.server import ServedModel, Server
from advshape.evaluation.sampling.verifier import package_versions, task_identity, verifier_version
from advshape.evaluation.stats.counts import Counts
from advshape.evaluation.stats.curves import PassCurve, pass_bounds, pass_curve

if TYPE_CHECKING:
    from advshape.tasks.protocol import Task

__all__ = ["Evaluation", "evaluate", "evaluate_temperatures", "evaluation_paths", "frontier", "open_engine"]

FRONTIER = (1, 64)
"""The two k of a frontier over temperatures; the second is the largest that all have where that is less."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One evaluation: counts by prompt, the pass@k curve, the settings, and where its rollouts are.

    Attributes:
        counts: right, judged, not judged and truncated rollouts by prompt.
        curve: pass@k at powers of two with intervals over prompts.
        settings: sampling settings, engine and verifier with versions.
        n: rollouts sampled per prompt.
        problems: how the problems were chosen: split, count and seed.
        versions: of advshape, and of the package that the task comes from.
        read: gives the rollouts anew, streamed: from the log, or from memory where none was written.
        mean_tokens: of the rollouts whose tokens are known.
        reasons: {why a rollout was not judged: how often}.
        notes: what the reader should know beside the numbers.
    """

    counts: Counts
    curve: PassCurve
    settings: SamplingSettings
    n: int
    problems: Mapping[str, Any]
    versions: Mapping[str, str]
    read: Callable[[], Iterable[Rollout]]
    mean_tokens: float | None = None
    reasons: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def rollouts(self) -> list[Rollout]:
        """All rollouts, in the order of the problems; read anew at each use."""
        place = {problem: row for row, problem in enumerate(self.counts.problems)}
        return sorted(self.read(), key=lambda rollout: (place[rollout.problem], rollout.sample))

    def to_json(self) -> dict[str, Any]:
        """The summary: everything but the rollouts; plain lists and numbers."""
        ks, lowest, highest = pass_bounds(self.counts)
        histogram = Counter(zip(self.counts.correct.tolist(), self.counts.judged.tolist(), strict=True))
        return {
            "n": self.n,
            "prompts": self.counts.prompts,
            "problems": dict(self.problems),
            "settings": {**asdict(self.settings), "hash": self.settings.hash},
            "versions": dict(self.versions),
            "notes": list(self.notes),
            "outcomes": self.counts.totals(),
            "not_judged_reasons": dict(Counter(self.reasons).most_common(10)),
            "curve": self.curve.to_json(),
            "bounds": {"ks": ks.tolist(), "all_wrong": lowest.tolist(), "all_right": highest.tolist()},
            "histogram": [{"correct": c, "judged": j, "prompts": m} for (c, j), m in sorted(histogram.items())],
            "mean_tokens": self.mean_tokens,
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
        model: path, name or a loaded `transformers.PreTrainedModel` (left in the state it was in), a
            `advshape.evaluation.sampling.server.Server`, or any `Engine`.
        task: problems and verifier.
        tokenizer: None loads the model's own.
        split, count, problems_seed: which problems; the same three choose the same problems.
        n: rollouts per problem.
        temperature, top_p, max_new_tokens, seed, batch_size: see `sample_rollouts`. Temperature 0 is greedy
            decoding and takes n=1 only.
        confidence: nominal coverage of the intervals.
        out: a folder for `rollouts.jsonl` and `summary.json`, or a file `NAME.jsonl` (the summary is then
            `NAME.summary.json`). Rollouts that are there are kept and not sampled again; those of other
            settings stay beside them. None writes nothing.
        progress: progress bar on standard error.

    Raises:
        AdvshapeError: no such model, bad options, fewer than two problems, or no rollout could be judged.
        SamplingFailed: the server, the disk or the memory gave out; the log keeps what was sampled before.
    """
    check_rollouts(n, temperature)
    check_request(count, batch_size, out)
    problems = chosen_problems(task, split, count, problems_seed)
    engine = open_engine(model, tokenizer, batch_size)
    settings = SamplingSettings(
        task=task_identity(task),
        temperature=temperature,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        seed=seed,
        verifier=verifier_version(task),
        **vars(engine.identity),
    )
    read, beside = collect(engine, task, problems, n, settings, out, progress)
    sums = Sums()
    counts = ordered(count_rollouts(sums.passing(read())), problems)
    result = Evaluation(
        counts=counts,
        curve=pass_curve(counts, confidence=confidence),
        settings=settings,
        n=n,
        problems={"split": split, "count": len(problems), "seed": problems_seed},
        versions=package_versions(task),
        read=read,
        mean_tokens=sums.tokens / sums.known if sums.known else None,
        reasons=sums.reasons,
        notes=[*engine.notes, *_remarks(counts, settings), *beside],
    )
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

    `options` are those of `evaluate`. The summary is then `{"temperatures": [summary, ...], "frontier": ...}`.
    """
    if not temperatures or len(set(temperatures)) != len(temperatures):
        raise AdvshapeError(f"temperatures must be distinct and at least one, got {list(temperatures)}")
    for temperature in temperatures:
        check_rollouts(options.get("n", 64), temperature)
    engine = open_engine(model, options.pop("tokenizer", None), options.get("batch_size", 1024))
    results = [evaluate(engine, task, temperature=t, out=out, **options) for t in temperatures]
    if out is not None:
        summaries = [result.to_json() for result in results]
        write_json(evaluation_paths(out)[1], {"temperatures": summaries, "frontier": frontier(results)})
    return results


def frontier(results: Sequence[Evaluation]) -> dict[str, Any]:
    """pass@1 against pass@64 (or the largest k below that all have) at each temperature, with intervals.

    Cooling and training trade the same two things, so a model is compared by its whole frontier.
    """
    largest = min(int(result.curve.ks[-1]) for result in results)
    ks = sorted({FRONTIER[0], min(FRONTIER[1], largest)})
    rows = [{"temperature": r.settings.temperature, **{f"pass@{k}": list(r.curve.at(k)) for k in ks}} for r in results]
    return {"ks": ks, "rows": rows}


def open_engine(model: Any, tokenizer: Any = None, batch_size: int = 1024) -> Engine:
    """What answers the prompts: a server, any engine as it is, or a transformers model in this process."""
    if isinstance(model, Server):
        return ServedModel(model)
    return model if isinstance(model, Engine) else LocalModel(model, tokenizer, batch_size)


def check_request(count: int, batch_size: int, out: str | os.PathLike[str] | None) -> None:
    """Raise when the request cannot come to a number, or its folder belongs to something else than evaluations.

    Other evaluations may lie in the folder: the settings in each rollout's key tell them apart.
    """
    if count < 2:
        raise AdvshapeError(
            f"an evaluation needs problems, at least 2 for an interval, got count={count}; 256 is usual"
        )
    if batch_size < 1:
        raise AdvshapeError(f"batch_size must be 1 or more rollouts, got {batch_size}")
    if out is None:
        return
    log, _ = evaluation_paths(out)
    if Path(out).suffix != ".jsonl" and Path(out).is_file():
        raise AdvshapeError(f"{out} is a file; give a folder, or a file that ends in .jsonl")
    if log.name == "rollouts.jsonl" and (log.parent / "recipe.toml").exists():
        raise AdvshapeError(
            f"{log.parent} is the directory of a training run, which has a rollouts.jsonl and a summary.json of its"
            f" own; choose another folder, or a file such as {log.parent / 'evaluation' / 'mine.jsonl'}"
        )


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write JSON so that a reader never sees half a file."""
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(data, indent=1) + "\n")
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise SamplingFailed(f"cannot write {path}: {error.strerror}; the rollouts are in the log") from error


def _remarks(counts: Counts, settings: SamplingSettings) -> list[str]:
    """What the numbers themselves do not say aloud."""
    totals = counts.totals()
    share = totals["truncated"] / max(1, totals["right"] + totals["wrong"] + totals["not_judged"])
    if share < 0.05:
        return []
    return [
        f"{share:.0%} of the rollouts ran into the limit of {settings.max_new_tokens} tokens: pass@k is that of the"
        " model with this limit"
    ]
