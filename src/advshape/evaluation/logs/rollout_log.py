"""The rollout log: append-only JSON Lines, one line for each rollout, resumable after a crash.

A rollout's key is (problem id, sample index, hash of the sampling settings). Lines with `"kind": "settings"`
say once what each hash stands for. Writers hold a lock; a last line that a crash cut in half is removed when
the log is opened again; a broken line anywhere else is an error with file and line.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from advshape.errors import AdvshapeError
from advshape.evaluation.logs.jsonl import check_fields, numbered_lines, parse_line
from advshape.evaluation.logs.lock import lock_file

__all__ = [
    "Key",
    "KeySet",
    "Rollout",
    "RolloutLog",
    "read_rollouts",
    "read_settings",
    "settings_hash",
]

Outcome = Literal["right", "wrong", "not_judged"]
Key = tuple[str, int, str]
REQUIRED = {"problem": str, "sample": int, "prompt": str | list, "completion": str, "outcome": str}
OPTIONAL = {
    "reason": str,
    "tokens": int,
    "truncated": bool,
    "temperature": int | float,
    "seed": int,
    "settings": str,
    "answer": str | None,
}
OUTCOMES = ("right", "wrong", "not_judged")
BLOCK = 2**16
FAR = 2**16
"""Sample indices from here on are kept in a set, not as bits."""


@dataclass(frozen=True)
class Rollout:
    """One sampled completion and what the verifier said about it.

    Attributes:
        problem: id of the problem.
        sample: index of the rollout within its problem and settings, 0..n-1.
        prompt: text, or chat messages.
        completion: sampled text without special tokens.
        outcome: "right", "wrong" or "not_judged".
        reason: why, in words, where the verifier says so.
        tokens: sampled tokens, the end token included.
        truncated: the end token did not come within the allowed tokens.
        temperature: sampling temperature.
        seed: seed of the evaluation.
        settings: hash of all sampling settings, see `settings_hash`.
        answer: the final answer as the verifier read it, "" where it found none; None, and not written, where the
            task singles out none, and in logs that were written before there was this field.
        more: further fields (step, reward, advantage ...), written beside the others.

    >>> Rollout("p1", 0, "1 2=3:", "1+2", "right").reward
    1.0
    """

    problem: str
    sample: int
    prompt: str | list[dict[str, str]]
    completion: str
    outcome: Outcome
    reason: str = ""
    tokens: int = 0
    truncated: bool = False
    temperature: float = 1.0
    seed: int = 0
    settings: str = ""
    answer: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """(problem, sample, settings): no two lines of a log share it."""
        return self.problem, self.sample, self.settings

    @property
    def reward(self) -> float:
        """1.0 right, 0.0 wrong, NaN not judged."""
        return {"right": 1.0, "wrong": 0.0, "not_judged": float("nan")}[self.outcome]

    def to_json(self) -> dict[str, Any]:
        """A flat dict for one line of the log."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "more"}
        if self.answer is None:
            del own["answer"]
        return {**own, **self.more}

    @classmethod
    def from_json(cls, line: Mapping[str, Any], where: str = "rollout") -> Rollout:
        """The rollout of one line; unknown fields go to `more`. Raises AdvshapeError with `where` and the field."""
        own = {f.name for f in fields(cls)} - {"more"}
        missing = [name for name in REQUIRED if name not in line]
        if missing:
            raise AdvshapeError(f"{where}: field {missing[0]!r} is missing; a rollout has {', '.join(sorted(own))}")
        check_fields(line, REQUIRED, where)
        check_fields(line, OPTIONAL, where, optional=True)
        if line["outcome"] not in OUTCOMES:
            raise AdvshapeError(f"{where}: field 'outcome' is {line['outcome']!r}; allowed are {', '.join(OUTCOMES)}")
        if isinstance(line["prompt"], list) and not all(isinstance(message, dict) for message in line["prompt"]):
            raise AdvshapeError(f"{where}: field 'prompt' has to be a text, or chat messages; repair it")
        more = {name: value for name, value in line.items() if name not in own}
        return cls(**{name: value for name, value in line.items() if name in own}, more=more)


def settings_hash(settings: Mapping[str, Any]) -> str:
    """12 hex digits that stand for the sampling settings; the order of the keys does not matter.

    >>> settings_hash({"temperature": 1.0, "seed": 0}) == settings_hash({"seed": 0, "temperature": 1.0})
    True
    """
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class KeySet:
    """Keys of rollouts, a bit for each: a log of millions of rollouts takes a few megabytes.

    >>> keys = KeySet()
    >>> keys.add(("p", 0, "")), keys.add(("p", 0, "")), ("p", 1, "") in keys, len(keys)
    (True, False, False, 1)
    """

    def __init__(self) -> None:
        self._bits: dict[tuple[str, str], int] = {}
        self._far: set[Key] = set()
        self._count = 0

    def add(self, key: Key) -> bool:
        """Whether the key is new."""
        if key in self:
            return False
        problem, sample, settings = key
        if 0 <= sample < FAR:
            place = (problem, settings)
            self._bits[place] = self._bits.get(place, 0) | 1 << sample
        else:
            self._far.add(key)
        self._count += 1
        return True

    def __contains__(self, key: Key) -> bool:
        problem, sample, settings = key
        if 0 <= sample < FAR:
            return bool(self._bits.get((problem, settings), 0) >> sample & 1)
        return key in self._far

    def __len__(self) -> int:
        return self._count


def read_rollouts(path: str | os.PathLike[str]) -> Iterator[Rollout]:
    """The rollouts of a log (`.jsonl` or `.jsonl.gz`), streamed in the order of the file.

    A last line without line end that is no complete JSON is left out: its writer is at work or has crashed.
    Raises AdvshapeError with file and line for any other broken line and for a key that occurs twice.
    """
    seen = KeySet()
    for number, line in _lines(Path(path)):
        if line.get("kind") == "settings":
            continue
        rollout = Rollout.from_json(line, f"{path}, line {number}")
        if not seen.add(rollout.key):
            raise AdvshapeError(
                f"{path}, line {number}: problem {rollout.problem!r}, sample {rollout.sample}, settings"
                f" {rollout.settings!r} occurs a second time; a log holds each rollout once"
            )
        yield rollout


def read_settings(path: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """What each hash of a log stands for: {hash: settings}."""
    found = {}
    for number, line in _lines(Path(path), b'"kind"'):
        if line.get("kind") == "settings":
            where = f"{path}, line {number}"
            check_fields(line, {"hash": str, "settings": dict}, where)
            check_fields(line["settings"], {"temperature": int | float | None}, f"{where}: settings", optional=True)
            found[line["hash"]] = line["settings"]
    return found


def _lines(path: Path, only: bytes = b"") -> Iterator[tuple[int, dict[str, Any]]]:
    """(number, object) of the lines that hold these bytes."""
    if not path.is_file():
        raise AdvshapeError(f"there is no rollout log {path}; `advshape evaluate` writes one")
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        for number, raw in numbered_lines(file, path):
            if only not in raw:
                continue
            line = parse_line(raw, f"{path}, line {number}")
            if line is None:
                return
            yield number, line


class RolloutLog:
    """A log opened for appending; use it in a `with` block.

    Opening removes a half-written last line and reads the keys that are there, so that a run goes on where it
    stopped: `missing` says what is left to sample. The rollouts themselves stay in the file: `read` streams them.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "rollouts.jsonl"
    >>> with RolloutLog(path) as log:
    ...     log.append([Rollout("a", 0, "1 2=3:", "1+2", "right")])
    ...     log.missing(["a"], n=2, settings="")
    [('a', 1)]
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("ab")
        try:
            lock_file(self._file, self.path)
            self.repaired = _cut_half_line(self.path)
            self.keys = KeySet()
            for rollout in self.read():
                self.keys.add(rollout.key)
            self.settings = read_settings(self.path)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> RolloutLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def missing(self, problems: Iterable[str], n: int, settings: str) -> list[tuple[str, int]]:
        """(problem, sample) pairs, 0 <= sample < n, that are not in the log under these settings."""
        return [(p, i) for p in problems for i in range(n) if (p, i, settings) not in self.keys]

    def describe(self, settings: Mapping[str, Any]) -> str:
        """Write once what the hash of these settings stands for; returns the hash."""
        name = settings_hash(settings)
        if name not in self.settings:
            self._write([{"kind": "settings", "hash": name, "settings": dict(settings)}])
            self.settings[name] = dict(settings)
        return name

    def append(self, rollouts: Iterable[Rollout]) -> None:
        """Write rollouts and hand them to the operating system; a key that is already there is an error."""
        fresh = list(rollouts)
        for rollout in fresh:
            if not self.keys.add(rollout.key):
                raise AdvshapeError(f"{self.path}: rollout {rollout.key} is already in the log")
        self._write([rollout.to_json() for rollout in fresh])

    def read(self) -> Iterator[Rollout]:
        """The rollouts that are in the log by now, streamed."""
        return read_rollouts(self.path)

    def _write(self, lines: Iterable[Mapping[str, Any]]) -> None:
        # ensure_ascii also escapes lone surrogates and U+2028, which break lines or encodings elsewhere.
        self._file.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        self._file.flush()


def _cut_half_line(path: Path) -> int:
    """Remove what follows the last line end, unless it is a complete line; returns the bytes removed."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        tail, length = b"", BLOCK
        while b"\n" not in tail and len(tail) < size:  # from the end: a log may be larger than the memory
            file.seek(max(0, size - length))
            tail, length = file.read(), 4 * length
        tail = tail[tail.rfind(b"\n") + 1 :]
        if not tail:
            return 0
        if parse_line(tail, str(path)) is None:
            file.truncate(size - len(tail))
            return len(tail)
        file.seek(0, os.SEEK_END)
        file.write(b"\n")
        return 0
