"""From rows to problems: find their columns, part them into train and held out."""

from __future__ import annotations

import difflib
import hashlib
import json
import warnings
from collections.abc import Callable, Sequence

import numpy as np

from advshape.errors import AdvshapeError
from advshape.tasks.protocol import Problem, Prompt, Split, check_request
from advshape.tasks.source import Row, Source

__all__ = ["Problems", "digest", "find_column", "prompt_of", "text_of"]

Prepare = Callable[[Sequence[Row], str], Callable[[Row], Problem]]


def find_column(
    rows: Sequence[Row], known: Sequence[str], given: str | None, what: str, where: str, option: bool = True
) -> str:
    """The first known column that the rows have, or the given one; option: the task takes its name as `what`.

    >>> find_column([{"problem": "1+1?", "solution": "2"}], ["question", "problem"], None, "question", "a.jsonl")
    'problem'
    """
    has = list(rows[0])
    if given is not None:
        known = [given]
    for name in known:
        if name in has:
            return name
    near = difflib.get_close_matches(given, has, n=1, cutoff=0.6) if given is not None else []
    way = f"name it with {what}= (in a recipe: task.{what})" if option else "give the column one of these names"
    raise AdvshapeError(
        f"{where} has no {what} column {' or '.join(map(repr, known))}; it has {', '.join(map(repr, has))}"
        + (f"; did you mean {near[0]!r}?" if near else f"; {way}" if given is None else "")
    )


def text_of(row: Row, name: str) -> str:
    """A row's value as text: strings, numbers, and the last message of a conversation."""
    value = row.get(name)
    if isinstance(value, list) and value and isinstance(value[-1], dict):
        value = value[-1].get("content")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        has = ", ".join(map(repr, row))
        raise AdvshapeError(f"the column {name!r} holds no text ({value!r:.50}); the row has {has}")
    return value


def digest(text: str) -> str:
    """SHA-256 of a text in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def prompt_of(text: str, instruction: str, chat: bool) -> Prompt:
    """The text with the instruction after an empty line, as a chat message or plain.

    >>> prompt_of("1+1?", "Be brief.", chat=False)
    '1+1?\\n\\nBe brief.'
    """
    whole = f"{text}\n\n{instruction}" if instruction else text
    return [{"role": "user", "content": whole}] if chat else whole


class Problems:
    """The problems of a source in two disjoint splits.

    A problem that occurs twice is one problem; two problems that share their text but not their answer are an
    error. Without held-out rows, a problem is held out when the SHA-256 of its id falls in the lowest
    ``share``: it stays there when the file grows or is sorted anew. With held-out rows, a problem in both is
    held out only, and a warning counts them.

    Args:
        source: where the rows come from.
        prepare: given the rows and what errors call them, a function that makes the problem of a row; both raise
            AdvshapeError.
        share: the share to hold out, between 0 and 1.
    """

    def __init__(self, source: Source, prepare: Prepare, share: float) -> None:
        if not isinstance(share, (int, float)) or not 0 <= share <= 1:
            raise AdvshapeError(f"heldout_share is a share between 0 and 1, got {share!r}")
        train, heldout = source.read()
        self.where, self.share = source.where, share
        problems = distinct(train, prepare, source.where)
        if heldout is None:
            self.train = [problem for problem in problems if not low(problem.id, share)]
            self.heldout = [problem for problem in problems if low(problem.id, share)]
        else:
            self.heldout = distinct(heldout, prepare, f"the held-out part of {source.where}")
            kept = {problem.id for problem in self.heldout}
            self.train = [problem for problem in problems if problem.id not in kept]
            if both := len(problems) - len(self.train):
                warnings.warn(
                    f"{both} problems of {source.where} are also held out; they are not trained on", stacklevel=4
                )

    @property
    def digest(self) -> str:
        """8 hex digits that change with any problem or answer."""
        parts = [
            [split, problem.id, dict(problem.data)]
            for split, problems in (("train", self.train), ("heldout", self.heldout))
            for problem in problems
        ]
        return digest(json.dumps(parts, sort_keys=True, default=str))[:8]

    def draw(self, split: Split, count: int, seed: int) -> Sequence[Problem]:
        """``count`` distinct problems in an order drawn with ``seed``; asking for more only appends."""
        check_request(split, count)
        known = self.train if split == "train" else self.heldout
        if count > len(known):
            hint = (
                "ask for fewer"
                if split == "heldout"
                else (f"ask for fewer: train_problems = {len(known)} in [task] goes through them more than once")
            )
            raise AdvshapeError(f"{self.where} has {len(known)} {split} problems, asked for {count}; {hint}")
        order = np.random.default_rng([seed, 0 if split == "train" else 1]).permutation(len(known))
        return [known[place] for place in order[:count]]


def distinct(rows: Sequence[Row], prepare: Prepare, where: str) -> list[Problem]:
    """The problems of these rows, each once; an error names its row."""
    make = prepare(rows, where)
    found: dict[str, Problem] = {}
    for number, row in enumerate(rows, 1):
        try:
            problem = make(row)
        except AdvshapeError as error:
            raise AdvshapeError(f"{where}, row {number}: {error}") from error
        if found.setdefault(problem.id, problem).data != problem.data:
            raise AdvshapeError(f"{where}, row {number}: the same problem occurs before with another answer")
    return list(found.values())


def low(identity: str, share: float) -> bool:
    """Whether the SHA-256 of an id falls in the lowest ``share``."""
    return int(digest(identity)[:16], 16) < share * 2**64
