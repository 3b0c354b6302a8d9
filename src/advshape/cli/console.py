"""What do all commands share? Exit codes, one line for an error, one kind of text table, silence of other libraries."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable, Sequence

__all__ = [
    "DONE",
    "FAILED",
    "STOPPED",
    "USAGE",
    "align",
    "complain",
    "no_deprecation_notes",
    "no_foreign_bars",
    "show_number",
]

DONE, FAILED, USAGE, STOPPED = 0, 1, 2, 130
"""Exit codes: done, the work failed, wrong usage, stopped by Ctrl-C."""


def complain(message: object, code: int) -> int:
    """One line on standard error; returns the exit code."""
    print(f"advshape: {message}", file=sys.stderr)
    return code


def align(rows: Iterable[Sequence[str]], right: bool = False) -> str:
    """A table in columns as wide as their widest cell.

    >>> print(align([("k", "pass@k"), ("16", "1")], right=True))
     k  pass@k
    16       1
    """
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    place = str.rjust if right else str.ljust
    return "\n".join("  ".join(map(place, row, widths)).rstrip() for row in rows)


def show_number(value: float) -> str:
    """Four decimals, or three digits where these would say too little.

    >>> show_number(2.5), show_number(0.00012345), show_number(1e-15)
    ('2.5000', '0.000123', '0')
    """
    return "0" if abs(value) < 5e-13 else f"{value:.4f}" if 1e-3 <= abs(value) < 1e5 else f"{value:.3g}"


def no_deprecation_notes() -> None:
    """What the libraries tell each other about their next versions is not for the reader of a run."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|trl|accelerate|datasets|torch)\b")


def no_foreign_bars() -> None:
    """One progress bar at a time: ours."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
