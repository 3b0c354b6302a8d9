"""What was right in an evaluation, by prompt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advshape.errors import AdvshapeError

Integers = NDArray[np.int64]

__all__ = ["Counts"]


@dataclass(frozen=True, eq=False)
class Counts:
    """What was right, by prompt.

    Attributes:
        problems: ids of the M prompts.
        correct: (M,) right rollouts.
        judged: (M,) rollouts that the verifier judged, right or wrong.
        not_judged: (M,) rollouts that it could not judge.
        truncated: (M,) rollouts that ran into the token limit (each also judged or not judged).

    >>> counts = Counts.of(["a", "b"], correct=[1, 0], judged=[4, 4])
    >>> counts.prompts, counts.n
    (2, 4)
    """

    problems: tuple[str, ...]
    correct: Integers
    judged: Integers
    not_judged: Integers
    truncated: Integers

    def __post_init__(self) -> None:
        if len(set(self.problems)) != len(self.problems):
            raise AdvshapeError("problem ids must be unique; count all rollouts of a prompt in one row")
        for name in ("correct", "judged", "not_judged", "truncated"):
            if getattr(self, name).shape != (len(self.problems),):
                seen = getattr(self, name).shape
                raise AdvshapeError(f"{name} has shape {seen}, expected one entry for {self.prompts} problems")
            if (getattr(self, name) < 0).any():
                raise AdvshapeError(f"{name} must not be negative")
        if (self.correct > self.judged).any():
            i = int(np.argmax(self.correct > self.judged))
            raise AdvshapeError(
                f"problem {self.problems[i]!r} has {self.correct[i]} right of {self.judged[i]} judged rollouts"
            )

    @classmethod
    def of(
        cls,
        problems: Iterable[str],
        correct: Iterable[int],
        judged: Iterable[int],
        not_judged: Iterable[int] | None = None,
        truncated: Iterable[int] | None = None,
    ) -> Counts:
        """Counts from any sequences of integers."""
        names = tuple(problems)
        zero = [0] * len(names)
        columns = (correct, judged, zero if not_judged is None else not_judged)
        arrays = [np.array(list(c), dtype=np.int64) for c in (*columns, zero if truncated is None else truncated)]
        return cls(names, *arrays)

    @classmethod
    def from_rows(cls, rows: Mapping[str, Sequence[int]]) -> Counts:
        """Counts from {problem: [right, judged, not judged, truncated]}, as `logs.count` fills it."""
        table = np.array(list(rows.values()), dtype=np.int64).reshape(-1, 4)
        return cls(tuple(rows), *table.T)

    @property
    def prompts(self) -> int:
        """M, the number of prompts."""
        return len(self.problems)

    @property
    def n(self) -> int:
        """The largest k that every prompt with judged rollouts can answer: its fewest judged rollouts."""
        judged = self.judged[self.judged > 0]
        return int(judged.min()) if judged.size else 0

    def totals(self) -> dict[str, int]:
        """Numbers of right, wrong, not judged and truncated rollouts."""
        right, judged = int(self.correct.sum()), int(self.judged.sum())
        others = {"not_judged": int(self.not_judged.sum()), "truncated": int(self.truncated.sum())}
        return {"right": right, "wrong": judged - right, **others}

    def select(self, rows: Any) -> Counts:
        """The counts of some prompts: an index array or mask over rows."""
        keep = np.arange(self.prompts)[rows]
        columns = (self.correct, self.judged, self.not_judged, self.truncated)
        return Counts(tuple(self.problems[i] for i in keep), *(c[keep] for c in columns))
