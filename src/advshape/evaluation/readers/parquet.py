"""Parquet files in batches, through pyarrow (in the `trl` extra), with its errors made ours."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advshape.errors import AdvshapeError
from advshape.evaluation.readers.base import Context, listed

__all__ = ["arrow", "batches", "numbers", "schema"]

BATCH = 65_536


def arrow() -> Any:
    """pyarrow, or an error that says how to get it."""
    try:
        return importlib.import_module("pyarrow")
    except ModuleNotFoundError as error:
        raise AdvshapeError("Parquet and zstd logs need pyarrow: pip install 'advshape[trl]'") from error


def schema(context: Context) -> dict[str, str]:
    """{column: "number", "bool", "text", "null" or "other"}."""
    types = arrow().types
    kinds = {
        "number": lambda t: types.is_integer(t) or types.is_floating(t),
        "bool": types.is_boolean,
        "text": lambda t: types.is_string(t) or types.is_large_string(t),
        "null": types.is_null,
    }
    found = _file(context).schema_arrow
    return {f.name: next((kind for kind, test in kinds.items() if test(f.type)), "other") for f in found}


def batches(context: Context, columns: Sequence[str]) -> Iterator[tuple[int, Any]]:
    """(number of its first row from 1, record batch) with some columns."""
    file = _file(context)
    names = file.schema_arrow.names
    for column in columns:
        if names.count(column) != 1:
            seen = "missing" if column not in names else "there twice"
            context.fail(f"{seen}; the columns are {listed(names)}", name=column)
    first, rows = 1, file.metadata.num_rows
    # one batch at a time: reading ahead would hold whole row groups
    read = file.iter_batches(batch_size=BATCH, columns=list(dict.fromkeys(columns)), use_threads=False)
    while True:
        try:
            batch = next(read, None)
        except (arrow().ArrowException, OSError, ValueError, MemoryError) as error:
            context.fail(f"cannot be read ({_first_line(error)})", f"row {first}")
        if batch is None:
            break
        yield first, batch
        first += batch.num_rows
    if first - 1 != rows:
        context.fail(f"holds {first - 1} rows, its footer says {rows}")


def numbers(context: Context, table: Any, column: str, first: int) -> NDArray[np.float64]:
    """A column as float64, NaN where null."""
    values = table.column(column)
    kind = values.type
    types = arrow().types
    if types.is_null(kind):
        return np.full(len(values), np.nan)
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        context.fail(f"expected numbers, got {kind}", f"row {first}", column)
    try:
        return values.cast(arrow().float64(), safe=False).to_numpy(zero_copy_only=False)
    except (arrow().ArrowException, ValueError) as error:
        context.fail(f"expected numbers ({_first_line(error)})", f"row {first}", column)


def _file(context: Context) -> Any:
    parquet = importlib.import_module("pyarrow.parquet") if arrow() else None
    assert parquet is not None
    try:
        return parquet.ParquetFile(context.path)
    except (arrow().ArrowException, OSError, ValueError, MemoryError) as error:
        context.fail(f"no whole Parquet file ({_first_line(error)}); is it still being written?")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:150]
