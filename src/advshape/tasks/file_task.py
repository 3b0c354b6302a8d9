"""What the tasks on problems from a file or a data set share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import cached_property

from advshape.tasks.judging import judge_all
from advshape.tasks.protocol import Problem, Split, Verdict
from advshape.tasks.rows import Problems
from advshape.tasks.source import Row, Source
from advshape.tasks.workers import check_workers

__all__ = ["FileTask"]


class FileTask(Source):
    """A `Source` with a rule that makes problems of its rows, and one that judges; a frozen dataclass comes under it.

    The task says in ``make_problems`` what makes a problem of a row, and in ``judge_text`` what the verdict on a text
    is. It has fields ``heldout_share`` and ``workers``, and calls ``__post_init__`` when its own are checked.
    """

    heldout_share: float
    workers: int | None

    def __post_init__(self) -> None:
        check_workers(self.workers)
        super().__post_init__()
        _ = self._problems  # a file that cannot be read is an error now

    def __repr__(self) -> str:
        """A call with the parameters that are not the default, and the digest of the data."""
        shown = [entry for entry in fields(self) if entry.repr and entry.name != "name"]
        words = [f"{entry.name}={value!r}" for entry in shown if (value := getattr(self, entry.name)) != entry.default]
        return f"{type(self).__name__}({', '.join([*words, f'data={self.data!r}'])})"

    @cached_property
    def _problems(self) -> Problems:
        return Problems(self, self.make_problems, self.heldout_share)

    @property
    def data(self) -> str:
        """8 hex digits that change with any problem, answer or test."""
        return self._problems.digest

    def make_problems(self, rows: Sequence[Row], where: str) -> Callable[[Row], Problem]:
        """What makes a problem of a row; AdvshapeError where rows lack a column, and from it for a bad row."""
        raise NotImplementedError

    def problems(self, split: Split, count: int, seed: int = 0) -> Sequence[Problem]:
        """``count`` distinct problems of a split; asking for more with the same seed only appends."""
        return self._problems.draw(split, count, seed)

    def verdict(self, problem: Problem, completion: str) -> Verdict:
        """See `verdicts`."""
        return self._judge((problem, completion))

    def verdicts(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        """The verdict on each completion, several at a time; never raises on any completion."""
        return judge_all(self._judge, list(zip(problems, completions, strict=True)), check_workers(self.workers))

    def _judge(self, item: tuple[Problem, str]) -> Verdict:
        problem, completion = item
        text: object = completion
        if not isinstance(text, str):
            return Verdict("not_judged", f"the completion is {type(text).__name__}, not text")
        return self.judge_text(problem, text)

    def judge_text(self, problem: Problem, text: str) -> Verdict:
        """The verdict on a text."""
        raise NotImplementedError
