"""Counting rollouts by prompt as they stream past: memory grows with the prompts, not with the rollouts."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from advshape.evaluation.readers.base import Batch, Context, Counted, Record, Row
from advshape.evaluation.stats.counts import Counts

__all__ = ["Tally"]

FAR = 2**16
"""Rollout numbers from here on are kept in a set, not as bits."""


class Tally:
    """Right, judged, not judged and truncated rollouts by prompt, under one choice of settings."""

    def __init__(self, context: Context, numbered: bool) -> None:
        self._context = context
        self._threshold = context.options.threshold
        self._real = context.options.keep_rewards
        self._binary = context.options.binary
        self._duplicates = context.options.duplicates or ("refuse" if numbered else "keep")
        self._place: dict[str, int] = {}
        self._columns: tuple[list[int], ...] = ([], [], [], [])
        self._seen: dict[tuple[int, Sequence[str]], list[int]] = {}
        self._far: dict[tuple[int, Sequence[str], int], int] = {}
        self.rewards: list[array[float]] = []
        self.answers: list[dict[str, list[int]]] = []
        self.rows = 0

    def add(self, record: Record, pooled: Sequence[str] = ()) -> None:
        """Count a record; `pooled` are the settings that are read as one sample but number their rollouts apart."""
        if isinstance(record, Row):
            self._add_row(record, pooled)
        elif isinstance(record, Batch):
            self._add_batch(record)
        else:
            self._add_counted(record)

    def counts(self) -> Counts:
        """The counts, in order of first appearance."""
        correct, judged, not_judged, truncated = (np.array(column, dtype=np.int64) for column in self._columns)
        return Counts(tuple(self._place), correct, judged, not_judged, truncated)

    def _row_of(self, prompt: str) -> int:
        row = self._place.get(prompt)
        if row is None:
            row = self._place[prompt] = len(self._place)
            for column in self._columns:
                column.append(0)
            self.rewards.append(array("d"))
            self.answers.append({})
        return row

    def _add_row(self, record: Row, pooled: Sequence[str]) -> None:
        reward = record.reward
        right = self._right(reward, record.place)
        row = self._row_of(record.prompt)
        if record.sample is not None and self._again(row, pooled, record, right):
            return
        correct, judged, not_judged, truncated = self._columns
        if right is None:
            not_judged[row] += 1
        else:
            judged[row] += 1
            correct[row] += right
        truncated[row] += record.truncated
        if self._real and reward is not None:
            self.rewards[row].append(reward)
        if record.answer is not None and right is not None:
            self._vote(row, record.answer, right)
        self.rows += 1

    def _vote(self, row: int, answer: str, right: bool) -> None:
        """Count one rollout's answer: how often it was given, and judged right."""
        votes = self.answers[row].setdefault(answer, [0, 0])
        votes[0] += 1
        votes[1] += right

    def _right(self, reward: float | None, place: str) -> bool | None:
        if reward is None:
            return None
        if self._threshold is not None:
            return reward >= self._threshold
        if reward != 0 and reward != 1 and self._binary:
            self._not_binary(reward, place)
        return reward == 1

    def _not_binary(self, reward: float, place: str) -> None:
        self._context.fail(
            f"the reward is {reward:g}, but pass@k counts rewards that are 0 or 1; --threshold T takes rewards >= T"
            " as right, --measure max keeps them as they are, --correct-column names another field",
            place,
            self._context.verdict,
        )

    def _again(self, row: int, pooled: Sequence[str], record: Row, right: bool | None) -> bool:
        """Whether this rollout is left out as a repetition of one that was counted."""
        sample = record.sample
        assert sample is not None
        if self._duplicates == "keep":
            return False
        verdict = 2 if right is None else int(right)
        if sample < FAR:
            bits = self._seen.setdefault((row, pooled), [0, 0, 0])
            earlier = next((v for v in range(3) if bits[v] >> sample & 1), None)
            if earlier is None:
                bits[verdict] |= 1 << sample
        else:
            earlier = self._far.get((row, pooled, sample))
            self._far.setdefault((row, pooled, sample), verdict)
        if earlier is None:
            return False
        if earlier != verdict:
            words = ("wrong", "right", "not judged")
            self._context.fail(
                f"rollout {sample} of prompt {record.prompt!r} is {words[verdict]} here and {words[earlier]} before;"
                " remove one of the two",
                record.place,
            )
        if self._duplicates == "refuse":
            self._context.fail(
                f"rollout {sample} of prompt {record.prompt!r} is there a second time; --duplicates drop counts it"
                " once, --duplicates keep counts both",
                record.place,
            )
        self._context.skip("rollout that is there already", record.place)
        return True

    def _add_counted(self, record: Counted) -> None:
        needs = "reward" if self._real else "answer" if "maj" in self._context.options.measures else ""
        if needs:
            name = "max@k" if self._real else "maj@k"
            self._context.fail(f"{name} needs the {needs} of each rollout, and this log holds counts", record.place)
        row = self._row_of(record.prompt)
        correct, judged, not_judged, _ = self._columns
        correct[row] += record.correct
        judged[row] += record.judged
        not_judged[row] += record.not_judged
        self.rows += record.judged + record.not_judged

    def _add_batch(self, record: Batch) -> None:
        known = ~np.isnan(record.rewards)
        if np.isinf(record.rewards).any():
            at = record.first + int(np.argmax(np.isinf(record.rewards)))
            self._context.fail("expected a finite number", f"row {at}", self._context.verdict)
        if self._threshold is None and self._binary:
            odd = known & (record.rewards != 0) & (record.rewards != 1)
            if odd.any():
                at = int(np.argmax(odd))
                self._not_binary(float(record.rewards[at]), f"row {record.first + at}")
        right = known & (record.rewards >= (1 if self._threshold is None else self._threshold))
        rows = [self._row_of(prompt) for prompt in record.prompts]
        cut: Any = np.zeros(len(known), bool) if record.truncated is None else record.truncated
        for column, mask in zip(self._columns, (right, known, ~known, cut), strict=True):
            added = np.bincount(record.index[mask], minlength=len(rows)).tolist()
            for row, count in zip(rows, added, strict=True):
                column[row] += count
        if self._real:
            for prompt, reward in zip(record.index[known].tolist(), record.rewards[known].tolist(), strict=True):
                self.rewards[rows[prompt]].append(reward)
        if record.answers is not None:
            for i in np.flatnonzero(known).tolist():
                self._vote(rows[record.index[i]], record.answers[i], bool(right[i]))
        self.rows += len(record.index)
