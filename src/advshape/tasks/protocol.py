"""What a task is: problems to pose, and a verdict on each completion.

Anything with a ``name``, a ``problems`` and a ``verdict`` method is a task; no base class is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from advshape.errors import AdvshapeError

__all__ = ["Outcome", "Problem", "Prompt", "Split", "Task", "Verdict", "check_request"]

Outcome = Literal["right", "wrong", "not_judged"]
Split = Literal["train", "heldout"]
Prompt = str | list[dict[str, str]]
"""A plain string for a base model, or chat messages ``[{"role": ..., "content": ...}]`` for a chat model."""

REWARD: Mapping[str, float] = {"right": 1.0, "wrong": 0.0, "not_judged": float("nan")}


@dataclass(frozen=True)
class Problem:
    """One problem: a stable id, what the model is shown, and what the verifier needs (JSON-able).

    >>> Problem("sum-1", "1+1=", {"answer": 2}).id
    'sum-1'
    """

    id: str
    prompt: Prompt
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What the verifier says of one completion; ``reason`` is empty only for ``right``.

    ``reward`` is 1.0 for right, 0.0 for wrong and NaN for not_judged: the verifier could not decide, and
    such a rollout must not count as wrong.

    ``answer`` is the final answer as the verifier read it, for a majority vote: "" where it found none, None where
    the task does not single one out.

    >>> Verdict("right").reward, Verdict("wrong", "gives 7").reward, Verdict("not_judged", "crash").reward
    (1.0, 0.0, nan)
    """

    outcome: Outcome
    reason: str = ""
    answer: str | None = None

    def __post_init__(self) -> None:
        if self.outcome not in REWARD:
            raise AdvshapeError(f"unknown outcome {self.outcome!r}; a verdict is one of {', '.join(map(repr, REWARD))}")

    @property
    def reward(self) -> float:
        """1.0, 0.0 or NaN."""
        return REWARD[self.outcome]


@runtime_checkable
class Task(Protocol):
    """Problems in two disjoint splits, and a verdict that never raises on any completion.

    ``problems`` returns ``count`` problems with distinct ids, the same ones for the same
    ``(split, count, seed)``; no id occurs in both splits, whatever the seeds.

    A task whose verdicts take long may also have ``verdicts(problems, completions)``, which judges many in parallel
    and gives as many verdicts in the same order; training uses it where it is there (`judging.verdicts`).
    """

    name: str

    def problems(self, split: Split, count: int, seed: int = 0) -> Sequence[Problem]:
        """``count`` distinct problems of a split, drawn with ``seed``."""
        ...

    def verdict(self, problem: Problem, completion: str) -> Verdict:
        """Judge one completion (the model's text without the prompt and without special tokens)."""
        ...


def check_request(split: str, count: int) -> None:
    """Raise unless the split exists and the count is not negative."""
    if split not in ("train", "heldout"):
        raise AdvshapeError(f"unknown split {split!r}; a task has 'train' and 'heldout'")
    if count < 0:
        raise AdvshapeError(f"count must be 0 or more, got {count}")
