"""Sampling into a log and reading it back, streamed: no more is held in memory than keys and sums."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from advshape.errors import AdvshapeError
from advshape.evaluation.logs.rollout_log import KeySet, Rollout, RolloutLog, read_rollouts
from advshape.evaluation.sampling.answers import REFUSED
from advshape.evaluation.sampling.engine import Completion, Engine, SamplingFailed, SamplingSettings, judged
from advshape.evaluation.stats.counts import Counts

if TYPE_CHECKING:
    from advshape.tasks.protocol import Problem, Task

__all__ = ["Sums", "chosen_problems", "collect", "evaluation_paths", "ordered"]

DISK = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EISDIR,
    errno.ENOTDIR,
)


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


def chosen_problems(task: Task, split: Literal["train", "heldout"], count: int, seed: int) -> Sequence[Problem]:
    """The problems, as many as were asked for, with distinct ids."""
    problems = task.problems(split, count, seed)
    if len(problems) < count:
        raise AdvshapeError(f"the task {task.name!r} gave {len(problems)} problems, asked for {count}; ask for fewer")
    twice = [name for name, times in Counter(problem.id for problem in problems).items() if times > 1]
    if twice:
        raise AdvshapeError(f"the task {task.name!r} gave problem {twice[0]!r} more than once; ids must be distinct")
    return problems


def collect(
    engine: Engine,
    task: Task,
    problems: Sequence[Problem],
    n: int,
    settings: SamplingSettings,
    out: str | os.PathLike[str] | None,
    progress: bool,
) -> tuple[Callable[[], Iterator[Rollout]], list[str]]:
    """(what gives rollouts 0..n-1 of each problem, those that were there and those sampled now; remarks on the log)."""
    sample = partial(engine.sample, task, problems, n=n, settings=settings, progress=progress)
    wanted = partial(_wanted, ids={problem.id for problem in problems}, n=n, settings=settings)
    if out is None:
        found = [r for batch in sample(skip=set()) for r in batch]
        return lambda: wanted(found), []
    path = evaluation_paths(out)[0]
    written = 0
    try:
        with RolloutLog(path) as log:
            log.describe(settings.to_json())
            again = 0
            for batch in _judged_again(log, task, problems, n, settings):
                log.append(batch)
                again += len(batch)
            name = settings.hash
            skip = _There(log.keys, name)
            written = sum((p.id, i) in skip for p in problems for i in range(n))
            for batch in sample(skip=skip):
                log.append(batch)
                written += len(batch)
            others = _others(log.settings.values(), settings)
            others += f"; {again} of them were judged again by this verifier, not sampled again" if again else ""
    except SamplingFailed as error:
        raise SamplingFailed(
            f"{error}. {written} rollouts are in {path}: the same command goes on from there"
        ) from error
    except OSError as error:
        if error.errno not in DISK:
            raise
        raise SamplingFailed(
            f"cannot write {path}: {error.strerror}. The rollouts that are in it ({written} or more) stay readable;"
            " mend that and give the same command again: it goes on from there"
        ) from error
    return lambda: wanted(read_rollouts(path)), [f"{path} also holds rollouts of {others}"] if others else []


def _judged_again(
    log: RolloutLog, task: Task, problems: Sequence[Problem], n: int, settings: SamplingSettings, batch_size: int = 1024
) -> Iterator[list[Rollout]]:
    """What was sampled under these settings and judged by another version of the verifier, judged by this one.

    The module of a verifier may make the prompts too, so a rollout of another prompt is left out.
    """
    own = settings.to_json() | {"verifier": ""}
    earlier = {name for name, s in log.settings.items() if name != settings.hash and {**s, "verifier": ""} == own}
    by_id = {problem.id: problem for problem in problems}
    missing = set(log.missing(by_id, n, settings.hash)) if earlier else set()
    batch: list[tuple[Problem, int, Completion]] = []
    for rollout in log.read() if earlier else ():
        place, problem = (rollout.problem, rollout.sample), by_id.get(rollout.problem)
        if rollout.settings in earlier and place in missing and problem and rollout.prompt == problem.prompt:
            missing.remove(place)
            batch.append((problem, rollout.sample, _answer(rollout)))
        if len(batch) == batch_size:
            yield judged(task, batch, settings)
            batch = []
    if batch:
        yield judged(task, batch, settings)


def _answer(rollout: Rollout) -> Completion:
    """What was sampled, without what was said about it."""
    refused = rollout.reason if rollout.reason.startswith(REFUSED) else ""
    reasoning = str(rollout.more.get("reasoning", ""))
    return Completion(rollout.completion, rollout.tokens, not rollout.truncated, refused, reasoning)


@dataclass(frozen=True)
class _There:
    """(problem, sample) pairs that a log holds under some settings, without a list of them."""

    keys: KeySet
    settings: str

    def __contains__(self, pair: object) -> bool:
        return isinstance(pair, tuple) and (*pair, self.settings) in self.keys


def _others(logged: Iterable[Mapping[str, Any]], settings: SamplingSettings) -> str:
    """What else a log holds, other temperatures apart: those are meant to lie side by side."""
    own = settings.to_json()
    differing = [{key for key in own if key != "temperature" and s.get(key) != own[key]} for s in logged]
    names = sorted(set().union(*differing))
    found = sum(map(bool, differing))
    return f"{found} other settings ({', '.join(names)}); they are kept, and not counted here" if found else ""


def _wanted(rollouts: Iterable[Rollout], ids: Container[str], n: int, settings: SamplingSettings) -> Iterator[Rollout]:
    """The rollouts of these settings and problems."""
    return (r for r in rollouts if r.settings == settings.hash and r.problem in ids and r.sample < n)


def ordered(counts: Counts, problems: Sequence[Problem]) -> Counts:
    """Counts in the order of the problems."""
    place = {problem: row for row, problem in enumerate(counts.problems)}
    return counts.select([place[problem.id] for problem in problems if problem.id in place])


@dataclass
class Sums:
    """What is summed over rollouts while they stream past."""

    tokens: int = 0
    known: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def passing(self, rollouts: Iterable[Rollout]) -> Iterator[Rollout]:
        """The rollouts, as they are."""
        for rollout in rollouts:
            self.tokens += rollout.tokens
            self.known += rollout.tokens > 0
            if rollout.outcome == "not_judged":
                self.reasons[rollout.reason] += 1
            yield rollout
