"""What every reader shares: the records it yields, the options it gets, and how it says what it saw."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from advshape.errors import AdvshapeError

__all__ = [
    "Batch",
    "Context",
    "Counted",
    "Head",
    "Options",
    "Reader",
    "Record",
    "Row",
    "answer_text",
    "as_reward",
    "prompt_name",
]

WORDS = {
    "true": 1.0,
    "right": 1.0,
    "correct": 1.0,
    "pass": 1.0,
    "passed": 1.0,
    "yes": 1.0,
    "false": 0.0,
    "wrong": 0.0,
    "incorrect": 0.0,
    "fail": 0.0,
    "failed": 0.0,
    "no": 0.0,
    "": None,
    "null": None,
    "none": None,
    "not_judged": None,
}
LONGEST = 80


@dataclass(frozen=True)
class Options:
    """How to read a log; what is None or empty is left to the reader.

    Attributes:
        reader: name of the reader; None: told from the content.
        prompt_column: the field that names the prompt.
        correct_column: the field that holds the verdict or reward: a reward function, a metric, a scorer.
        truncated_column: the field that is true where a completion ran into the token limit.
        n_column: the field that holds the number of judged rollouts, in a table of counts.
        threshold: rewards >= threshold are right; None: rewards have to be 0 or 1.
        by: settings of which each value becomes a result of its own.
        where: (setting, value) pairs; only rollouts with these values are read.
        pool: settings whose values are read as one sample.
        duplicates: what to do with a rollout that is there twice; None: "refuse" where the log numbers its
            rollouts, "keep" where it does not (a repeated line may be the same answer sampled again).
        group_size: rows in a row that make a group, where the log says nothing else (TRL).
        measures: what will be computed, of "pass", "all", "maj" (which need rewards of 0 and 1, or a threshold),
            "max" and "min" (for which the rewards of each prompt are kept).
        answer_column: the field that holds the final answer, for "maj".
    """

    reader: str | None = None
    prompt_column: str | None = None
    correct_column: str | None = None
    truncated_column: str | None = None
    n_column: str | None = None
    threshold: float | None = None
    by: tuple[str, ...] = ()
    where: tuple[tuple[str, str], ...] = ()
    pool: tuple[str, ...] = ()
    duplicates: Literal["refuse", "drop", "keep"] | None = None
    group_size: int | None = None
    measures: tuple[str, ...] = ("pass",)
    answer_column: str | None = None

    @property
    def keep_rewards(self) -> bool:
        """Whether a measure needs the rewards as they are."""
        return not {"max", "min"}.isdisjoint(self.measures)

    @property
    def binary(self) -> bool:
        """Whether a measure needs right or wrong."""
        return not {"pass", "all", "maj"}.isdisjoint(self.measures)


class Row(NamedTuple):
    """One rollout; reward None = not judged, sample None = the log does not number its rollouts, answer None = the
    majority vote was not asked for."""

    place: str
    prompt: str
    reward: float | None
    settings: tuple[str, ...] = ()
    sample: int | None = None
    truncated: bool = False
    answer: str | None = None


class Counted(NamedTuple):
    """Rollouts of one prompt that the log has counted already."""

    place: str
    prompt: str
    correct: int
    judged: int
    not_judged: int = 0
    settings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Batch:
    """Many rollouts at once: rewards (B,) with NaN for not judged, index (B,) into prompts."""

    first: int
    prompts: Sequence[str]
    index: NDArray[np.int64]
    rewards: NDArray[np.float64]
    settings: tuple[str, ...] = ()
    truncated: NDArray[np.bool_] | None = None
    answers: Sequence[str] | None = None


Record = Row | Counted | Batch


@dataclass
class Context:
    """What is known about one log while it is read: its options, what was left out, what the reader found.

    Attributes:
        path: the file that is being read.
        options: see `Options`.
        settings: names of the settings that this reader can tell apart.
        verdict: the field that the verdict came from.
        knows_truncated: whether the log says which completions ran into the token limit.
        skipped: what was left out and how often, with the place of the first.
        notes: what the reader of the result should know.
        lines: hashes of the lines of rollouts that have no number.
    """

    path: Path
    options: Options
    settings: tuple[str, ...] = ()
    verdict: str = ""
    knows_truncated: bool = False
    skipped: dict[str, tuple[int, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    lines: array[int] = field(default_factory=lambda: array("q"))
    _known: set[int] = field(default_factory=set)

    def repeats(self, content: bytes | tuple[str, ...], place: str) -> bool:
        """Whether to leave out a rollout without number, because its whole line was there before."""
        key = hash(content.strip() if isinstance(content, bytes) else content)
        if self.options.duplicates in (None, "keep"):
            self.lines.append(key)
            return False
        if key not in self._known:
            self._known.add(key)
            return False
        if self.options.duplicates == "refuse":
            self.fail(
                "the same line is there before; the log does not number its rollouts, so it may be the same"
                " answer sampled again: --duplicates keep counts it",
                place,
            )
        self.skip("line that is there already", place)
        return True

    def note_repeats(self) -> None:
        """Say how many of the lines that were counted are there more than once."""
        total, lines = len(self.lines), np.sort(np.frombuffer(self.lines, dtype=np.int64))
        repeated = int((lines[1:] == lines[:-1]).sum())
        if repeated:
            self.note(
                f"{repeated:,} of {total:,} lines repeat an earlier one word for word; they are counted, since "
                "the same answer may be sampled twice (--duplicates drop leaves them out)"
            )

    def skip(self, what: str, place: str, count: int = 1) -> None:
        """Count something that is left out."""
        before, first = self.skipped.get(what, (0, f"{self.path.name}, {place}" if place else self.path.name))
        self.skipped[what] = before + count, first

    def note(self, text: str) -> None:
        """Say something once."""
        if text not in self.notes:
            self.notes.append(text)

    def fail(self, message: str, place: str = "", name: str = "") -> NoReturn:
        """Raise with file, place and field."""
        where = ", ".join(part for part in (str(self.path), place, f"field {name!r}" if name else "") if part)
        raise AdvshapeError(f"{where}: {message}")

    def need(self, line: Mapping[str, Any], name: str, place: str) -> Any:
        """A field that has to be there."""
        if name not in line:
            self.fail(f"missing; this line has {listed(line)}", place, name)
        return line[name]

    def text(self, line: Mapping[str, Any], name: str, place: str) -> str:
        """A field that names a prompt: text, a number, or chat messages."""
        value = self.need(line, name, place)
        if isinstance(value, bool) or value is None or value == "" or isinstance(value, float):
            self.fail(f"{shown(value)} names no prompt", place, name)
        return prompt_name(value)

    def integer(self, line: Mapping[str, Any], name: str, place: str, least: int = 0) -> int:
        """A field that holds a whole number, also where it is written 3.0 or "3"."""
        value = self.need(line, name, place)
        try:
            number = int(value) if isinstance(value, str | int) and not isinstance(value, bool) else value
            whole = isinstance(number, int) or (isinstance(number, float) and number.is_integer())
        except ValueError:
            whole = False
        if not whole or isinstance(value, bool) or number < least or number >= 2**62:
            self.fail(f"expected a whole number >= {least}, got {shown(value)}", place, name)
        return int(number)

    def setting(self, line: Mapping[str, Any], name: str, place: str) -> str:
        """A setting as text; a log that lacks it has the empty one."""
        value = line.get(name)
        if isinstance(value, dict | list):
            self.fail(f"expected a plain value, got {shown(value)}", place, name)
        if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
            value = int(value)
        return "" if value is None else str(value)

    def reward(self, line: Mapping[str, Any], name: str, place: str) -> float | None:
        """A verdict or reward; None = not judged."""
        value = self.need(line, name, place)
        try:
            return as_reward(value)
        except (ValueError, OverflowError):
            self.fail(
                f"expected a finite number, true or false, or null for not judged, got {shown(value)}", place, name
            )

    def answer(self, line: Mapping[str, Any], place: str, default: str | None = None) -> str | None:
        """The final answer for a majority vote; "" where it is null, None where no vote was asked for."""
        if "maj" not in self.options.measures:
            return None
        name = self.options.answer_column or default
        if name is None:
            self.fail(
                f"maj@k needs the answer of each rollout: name its field with --answer-column; this line has "
                f"{listed(line)}",
                place,
            )
        return answer_text(self.need(line, name, place))

    def flag(self, line: Mapping[str, Any], name: str, place: str) -> bool:
        """A field that is true or false."""
        value = self.reward(line, name, place)
        if value not in (0, 1):
            self.fail(f"expected true or false, got {shown(line[name])}", place, name)
        return value == 1


class Head(NamedTuple):
    """What can be told of a file from its beginning.

    kind: "lines" (JSON Lines), "document" (one JSON value), "table" (CSV), "parquet" or "zip"; names: the keys of
    the first object, the columns, or the members; first: the first line, where it is a JSON object.
    """

    path: Path
    kind: Literal["lines", "document", "table", "parquet", "zip"]
    names: frozenset[str]
    first: Mapping[str, Any]


@dataclass(frozen=True)
class Reader:
    """One format of one tool.

    Attributes:
        name: what `--reader` calls it.
        title: what the header says.
        settings: names of what may differ between rollouts of one log and has to be the same within a result.
        recognises: whether a file is of this format, from its beginning.
        read: yields the records of one file.
        numbered: whether the log numbers its rollouts, so that a repeated one can be told.
    """

    name: str
    title: str
    settings: tuple[str, ...]
    recognises: Callable[[Head], bool]
    read: Callable[[Context], Iterator[Record]]
    numbered: bool = False


def as_reward(value: Any) -> float | None:
    """A number, a truth value, one of the words for them, or None (also NaN) for not judged.

    >>> as_reward(True), as_reward("0.5"), as_reward("Incorrect"), as_reward(float("nan"))
    (1.0, 0.5, 0.0, None)
    """
    if value is None:
        return None
    if isinstance(value, str):
        word = value.strip().lower()
        if word in WORDS:
            return WORDS[word]
    elif not isinstance(value, bool | int | float):
        raise ValueError("no number")
    number = float(value)
    if math.isnan(number):
        return None
    if math.isinf(number):
        raise ValueError("not finite")
    return number


def answer_text(value: Any) -> str:
    """An answer as the vote compares it: its text without space around it; a long one as `prompt_name` has it.

    >>> answer_text(" 42\\n"), answer_text(42), answer_text(["42"]), answer_text(None)
    ('42', '42', '42', '')
    """
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
    return "" if value is None else prompt_name(value.strip() if isinstance(value, str) else value)


def prompt_name(value: Any) -> str:
    """An id for a prompt: the text itself where it is short, else its beginning and 16 hex digits of its hash.

    >>> prompt_name("2+2=")
    '2+2='
    >>> prompt_name("x" * 100)
    'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx... 9ab81e889c7b4221'
    """
    import hashlib
    import json

    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    if len(text) <= LONGEST:
        return text
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()
    return f"{text[:48]}... {digest}"


def shown(value: Any) -> str:
    """A value for an error, cut to a readable length."""
    try:
        text = ascii(value)
    except (RecursionError, ValueError):  # nested too deeply, or an integer of too many digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def listed(names: Iterable[Any], most: int = 12) -> str:
    """Names for an error, at most a dozen."""
    all_names = [shown(name).strip("'\"") for name in names]
    return ", ".join(all_names[:most]) + (", ..." if len(all_names) > most else "") if all_names else "no field"
