"""Where the problems of a task come from: a file, two files, or a Hugging Face data set."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advshape.errors import AdvshapeError

__all__ = ["Row", "Source", "read_rows"]

Row = Mapping[str, Any]
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
            raise AdvshapeError(f"{path}, line {number} is not JSON: {error}") from error
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
