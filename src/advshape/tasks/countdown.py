"""Countdown: reach a target from three or four numbers with ``+ - *`` and brackets.

Rules here: **each number is used exactly once**, the operators are binary (no sign before a number), division
is accepted only where it is exact (the shipped data never needs it), and every value is an integer. A puzzle
is the value of a random expression, so each one has a solution. The prompt is ``4 7 12=40:`` (numbers
ascending) and the completion the bare expression, at most 15 characters without redundant brackets.

The game is the numbers round of the television show; as a task for RL with verifiable rewards it was made
popular by Gandhi et al., *Stream of Search* (2024), arXiv:2404.03683, and by TinyZero.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from advshape.errors import AdvshapeError
from advshape.tasks.arithmetic import LONGEST_COMPLETION, evaluate, evaluate_expression, tokenize
from advshape.tasks.protocol import Problem, Split, Verdict, check_request

__all__ = ["Countdown", "evaluate_expression"]

IntArray = NDArray[np.int64]

HELDOUT_SHARE = 0.1
BATCH = 8192
PATIENCE = 15
"""Batches without a new puzzle after which there are taken to be no more (120,000 draws)."""
OPERATORS = "+-*"


@dataclass(frozen=True)
class Countdown:
    """The Countdown task.

    Args:
        four: share of puzzles with four numbers; the rest have three.
        largest: numbers run from 1 to ``largest`` (repeats allowed).
        largest_target: targets run from 1 to ``largest_target``.

    A puzzle is held out when the SHA-256 of its sorted numbers and target falls in the lowest tenth, so no
    training puzzle is ever a held-out one, whatever the seeds and parameters.

    >>> task = Countdown()
    >>> problem = task.problems("heldout", 1)[0]
    >>> problem.id == "countdown-" + problem.prompt[:-1].replace(" ", ".")
    True
    >>> example = countdown_problem([12, 4, 7], 40)
    >>> example.prompt
    '4 7 12=40:'
    >>> task.verdict(example, "4*7+12").outcome
    'right'
    >>> task.verdict(example, "4*(12-2)").reason
    'uses 2, 4, 12; the puzzle has 4, 7, 12, each to be used exactly once'
    """

    VERIFIER: ClassVar[str] = "78dd0349"
    """Names the rule of verdicts: another one where a verdict can change."""

    four: float = 0.6
    largest: int = 20
    largest_target: int = 100
    name: str = field(default="countdown", init=False)

    def __post_init__(self) -> None:
        if not isinstance(self.four, (int, float)) or not 0 <= self.four <= 1:
            raise AdvshapeError(f"four is a share between 0 and 1, got {self.four!r}")
        for name, low, high in (("largest", 2, 1000), ("largest_target", 1, 1_000_000)):
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise AdvshapeError(f"{name} is an integer between {low} and {high}, got {value!r}")

    def problems(self, split: Split, count: int, seed: int = 0) -> Sequence[Problem]:
        """``count`` distinct puzzles of a split; asking for more with the same seed only appends.

        Raises:
            AdvshapeError: unknown split, negative count, or more puzzles than the settings can give.
        """
        check_request(split, count)
        if count == 0:
            return []
        found: dict[str, Problem] = {}
        barren = 0
        for batch in self._batches(split, seed):
            before = len(found)
            for numbers, target, _ in batch:
                problem = countdown_problem(numbers, target)
                found.setdefault(problem.id, problem)
                if len(found) == count:
                    return list(found.values())
            barren = 0 if len(found) > before else barren + 1
            if barren == PATIENCE:
                break
        raise AdvshapeError(
            f"found only {len(found)} distinct {split} puzzles, asked for {count}; "
            f"ask for fewer or raise largest (now {self.largest}) or largest_target"
        )

    def solved(self, count: int, seed: int = 0) -> Iterator[tuple[Problem, str]]:
        """``count`` training puzzles, each with one random correct expression (puzzles may recur).

        The expressions are diverse on purpose (any tree, any operator), but the operands of ``+`` and ``*``
        are sorted, larger value first, and brackets are written only where they matter.
        """
        check_request("train", count)
        examples = itertools.chain.from_iterable(self._batches("train", seed))
        for numbers, target, merges in itertools.islice(examples, count):
            yield countdown_problem(numbers, target), write_expression(numbers, merges)

    def verdict(self, problem: Problem, completion: str) -> Verdict:
        """Right iff the completion is one expression of exactly the puzzle's numbers with the target's value.

        Never raises and reads at most 100 characters; ``not_judged`` only when the problem or the completion
        is not what this task hands out. The answer is the expression without its spaces.
        """
        text: object = completion
        if not isinstance(text, str):
            return Verdict("not_judged", f"the completion is {type(text).__name__}, not text")
        puzzle = read_puzzle(problem.data)
        if puzzle is None:
            return Verdict("not_judged", "the problem has no integer numbers and target")
        return replace(judge(*puzzle, text), answer=text[:LONGEST_COMPLETION].replace(" ", ""))

    def _batches(self, split: Split, seed: int) -> Iterator[list[tuple[list[int], int, IntArray]]]:
        """Endless batches of (numbers in drawn order, target, merges) of one split."""
        rng = np.random.default_rng([seed, 0 if split == "train" else 1])
        while True:
            size, numbers, target, merges = draw(rng, BATCH, self.four, self.largest)
            batch = []
            for row in np.flatnonzero((target >= 1) & (target <= self.largest_target)):
                chosen, value = numbers[row, : size[row]].tolist(), int(target[row])
                if is_heldout(chosen, value) == (split == "heldout"):
                    batch.append((chosen, value, merges[row, : size[row] - 1]))
            yield batch


def countdown_problem(numbers: Sequence[int], target: int) -> Problem:
    """The problem of these numbers and this target: same puzzle, same id and prompt, in any order.

    >>> countdown_problem([7, 12, 4], 40).id
    'countdown-4.7.12=40'
    """
    ordered = sorted(numbers)
    texts = [str(number) for number in ordered]
    return Problem(
        id=f"countdown-{'.'.join(texts)}={target}",
        prompt=f"{' '.join(texts)}={target}:",
        data={"numbers": ordered, "target": target},
    )


def is_heldout(numbers: Sequence[int], target: int) -> bool:
    """Whether the puzzle belongs to the held-out tenth: by SHA-256 of its sorted numbers and target.

    >>> is_heldout([7, 12, 4], 40) == is_heldout([4, 7, 12], 40)
    True
    """
    key = f"{sorted(numbers)}={target}".encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:8]) < HELDOUT_SHARE * 2**64


# Drawing puzzles


def draw(
    rng: np.random.Generator, count: int, four: float, largest: int
) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Random expressions, ``count`` at once: (size (B,), numbers (B, 4), value (B,), merges (B, 3, 3)).

    An expression grows by merging: two of the remaining items, in random order, and an operator become one.
    ``merges[b, s] = (i, j, operator)``: item i becomes ``i operator j``, the last item moves to place j.
    Rows of size three have two merges; the rest is 0 and means nothing.
    """
    size = np.where(rng.random(count) < four, 4, 3)
    numbers = rng.integers(1, largest + 1, (count, 4))
    values, merges = numbers.copy(), np.zeros((count, 3, 3), dtype=np.int64)
    for step in range(3):
        left = np.maximum(size - step, 2)
        i, j, operator = rng.integers(0, left), rng.integers(0, left - 1), rng.integers(0, 3, count)
        j += j >= i
        row = np.flatnonzero(size - step >= 2)
        i, j, operator, last = i[row], j[row], operator[row], left[row] - 1
        a, b = values[row, i], values[row, j]
        values[row, i] = np.choose(operator, [a + b, a - b, a * b])
        values[row, j] = values[row, last]  # the merged item itself, where that was the last one
        merges[row, step] = np.stack([i, j, operator], axis=1)
    return size, numbers, values[:, 0], merges


def write_expression(numbers: Sequence[int], merges: IntArray) -> str:
    """The text of a drawn expression: operands of + and * sorted, no bracket that does not matter.

    >>> write_expression([12, 4, 7], np.array([[1, 2, 2], [1, 0, 0]]))
    '7*4+12'
    """
    items: list[tuple[int, str, str]] = [(number, str(number), "") for number in numbers]
    for i, j, operator in merges.tolist():
        merged = join(items[i], items[j], OPERATORS[operator])
        items[i] = merged
        items[j] = items[-1]
        items.pop()
    return items[0][1]


def join(a: tuple[int, str, str], b: tuple[int, str, str], operator: str) -> tuple[int, str, str]:
    """Join two (value, text, top operator) terms."""
    if operator != "-" and (b[0], b[1]) > (a[0], a[1]):
        a, b = b, a
    value = {"+": a[0] + b[0], "-": a[0] - b[0], "*": a[0] * b[0]}[operator]
    sums = ("+", "-")
    left = f"({a[1]})" if operator == "*" and a[2] in sums else a[1]
    right = f"({b[1]})" if operator != "+" and b[2] in sums else b[1]
    return value, f"{left}{operator}{right}", operator


# Judging completions


def read_puzzle(data: Mapping[str, Any]) -> tuple[list[int], int] | None:
    """(numbers, target) of a problem's data, None if they are not there."""
    try:
        numbers, target = list(data["numbers"]), data["target"]
    except (KeyError, TypeError):
        return None
    if not numbers or any(type(number) is not int for number in [*numbers, target]):
        return None
    return sorted(numbers), target


def judge(numbers: Sequence[int], target: int, completion: str) -> Verdict:
    """The verdict on one completion for sorted numbers and a target."""
    try:
        tokens = tokenize(completion)
        used = sorted(token for token in tokens if isinstance(token, int))
        if Counter(used) != Counter(numbers):
            return Verdict(
                "wrong",
                f"uses {', '.join(map(str, used)) or 'no number'}; "
                f"the puzzle has {', '.join(map(str, numbers))}, each to be used exactly once",
            )
        value = evaluate(tokens)
    except AdvshapeError as error:
        return Verdict("wrong", str(error))
    if value != target:
        return Verdict("wrong", f"gives {value}, not {target}")
    return Verdict("right")
