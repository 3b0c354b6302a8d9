"""Problems from files and data sets: read rows, find their columns, part them into train and held out."""

from __future__ import annotations

import difflib
import gzip
import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from advshape.errors import AdvshapeError
from advshape.tasks.judging import judge_all
from advshape.tasks.protocol import Problem, Prompt, Split, Verdict, check_request

__all__ = ["FileTask", "Problems", "Source", "brief", "digest", "find_column", "prompt_of", "read_rows", "text_of"]

Row = Mapping[str, Any]
Prepare = Callable[[Sequence[Row], str], Callable[[Row], Problem]]
SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")


@dataclass(frozen=True)
class Source:
    """Where rows come from: a file, two files, or a Hugging Face data set.

    Args:
        path: a ``.jsonl``, ``.jsonl.gz`` or ``.parquet`` file.
        heldout_path: a second file with the held-out problems; None: they are a share of the first.
        dataset: a data set's name on the Hugging Face hub, or a folder that ``datasets.load_dataset`` reads.
        config: the data set's configuration, where it has several ("main" for GSM8K).
        train_split: the data set's split to train on.
        heldout_split: the data set's split to hold out; None: "test" if it has one, else a share of the training split.
    """

    path: str | None = None
    heldout_path: str | None = None
    dataset: str | None = None
    config: str | None = None
    train_split: str = "train"
    heldout_split: str | None = None

    def __post_init__(self) -> None:
        if (self.path is None) == (self.dataset is None):
            raise AdvshapeError(
                'a task on your own problems needs one of path="problems.jsonl" and dataset="openai/gsm8k"; got '
                f"{'both' if self.path is not None else 'neither'}"
            )
        if self.path is not None and (self.config or self.heldout_split or self.train_split != "train"):
            raise AdvshapeError("config, train_split and heldout_split go with dataset=; with path= use heldout_path=")
        if self.dataset is not None and self.heldout_path is not None:
            raise AdvshapeError("heldout_path goes with path=; with dataset= use heldout_split=")

    @property
    def where(self) -> str:
        """What errors call it."""
        return str(self.path) if self.path is not None else f"data set {self.dataset}"

    def read(self) -> tuple[list[Row], list[Row] | None]:
        """(rows to train on, held-out rows); None where a share of the former is to be held out."""
        if self.path is not None:
            return read_rows(self.path), None if self.heldout_path is None else read_rows(self.heldout_path)
        return self._read_dataset()

    def _read_dataset(self) -> tuple[list[Row], list[Row] | None]:
        try:
            import datasets
        except ImportError as error:
            raise AdvshapeError("dataset= needs the package datasets: pip install datasets") from error
        try:
            found = datasets.load_dataset(self.dataset, self.config)
        except Exception as error:  # the hub, the network, the disk, the data set's own files: many kinds
            words = (str(error).strip().splitlines() or [""])[0]
            raise AdvshapeError(
                f"cannot load the data set {self.dataset!r}: {type(error).__name__}: {words[:300]}; "
                "give a file with path= if there is no way to the hub"
            ) from error
        heldout = self.heldout_split or ("test" if "test" in found and self.train_split != "test" else None)
        for split in (self.train_split, heldout):
            if split is not None and split not in found:
                raise AdvshapeError(f"{self.where} has no split {split!r}; it has {', '.join(map(repr, found))}")
        return list(found[self.train_split]), None if heldout is None else list(found[heldout])


def read_rows(path: str | Path) -> list[Row]:
    """The rows of a JSON-lines file (also gzipped) or a parquet file, as dictionaries.

    Raises:
        AdvshapeError: no such file, another kind of file, no row, or a line that is no JSON object.
    """
    path = Path(path)
    if not path.name.endswith(SUFFIXES):
        raise AdvshapeError(f"cannot read {path}: problems come in files that end in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise AdvshapeError(f"there is no file {path} (working directory: {Path.cwd()})")
    rows = parquet_rows(path) if path.suffix == ".parquet" else json_rows(path)
    if not rows:
        raise AdvshapeError(f"{path} holds no problem")
    return rows


def json_rows(path: Path) -> list[Row]:
    """One JSON object for each line that is not empty."""
    rows: list[Row] = []
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = data.decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise AdvshapeError(f"cannot read {path}: {error}") from error
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise AdvshapeError(f"{path}, line {number} is no JSON: {error}") from error
        if not isinstance(row, dict):
            raise AdvshapeError(f"{path}, line {number} is {type(row).__name__}; each line is one JSON object")
        rows.append(row)
    return rows


def parquet_rows(path: Path) -> list[Row]:
    """The rows of a parquet file."""
    try:
        import pyarrow.lib
        import pyarrow.parquet
    except ImportError as error:
        raise AdvshapeError("parquet files need the package pyarrow: pip install pyarrow") from error
    try:
        return list(pyarrow.parquet.read_table(path).to_pylist())
    except (pyarrow.lib.ArrowException, OSError) as error:
        raise AdvshapeError(f"cannot read {path}: {str(error).splitlines()[0]}") from error


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


def brief(task: Any) -> str:
    """A task as a call with the parameters that are not the default, and the digest of its data.

    >>> brief(Source(path="a.jsonl"))
    "Source(path='a.jsonl')"
    """
    shown = [entry for entry in fields(task) if entry.repr and entry.name != "name"]
    words = [f"{entry.name}={value!r}" for entry in shown if (value := getattr(task, entry.name)) != entry.default]
    return f"{type(task).__name__}({', '.join(words)})"


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


class FileTask:
    """What the tasks on problems from a `Source` share; a frozen dataclass with ``repr=False`` comes under it.

    It sets ``_problems`` and ``_workers``, and says in ``_judge_text`` what the verdict on a text is.
    """

    _problems: Problems
    _workers: int

    def __repr__(self) -> str:
        return brief(self)

    def problems(self, split: Split, count: int, seed: int = 0) -> Sequence[Problem]:
        """``count`` distinct problems of a split; asking for more with the same seed only appends."""
        return self._problems.draw(split, count, seed)

    def verdict(self, problem: Problem, completion: str) -> Verdict:
        """See `verdicts`."""
        return self._judge((problem, completion))

    def verdicts(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        """The verdict on each completion, several at a time; never raises on any completion."""
        return judge_all(self._judge, list(zip(problems, completions, strict=True)), self._workers)

    def _judge(self, item: tuple[Problem, str]) -> Verdict:
        problem, completion = item
        text: object = completion
        if not isinstance(text, str):
            return Verdict("not_judged", f"the completion is {type(text).__name__}, not text")
        return self._judge_text(problem, text)

    def _judge_text(self, problem: Problem, text: str) -> Verdict:
        raise NotImplementedError


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
