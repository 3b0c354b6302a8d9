"""What went wrong, and what was meant? The root of every error raised on purpose, and the nearest known word."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AdvshapeError(ValueError):
    """Bad input or an impossible request; the message says what was seen, what is allowed and what to do."""


def nearest(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"``, or nothing when no known word is near.

    >>> nearest("learning_rat", ["learning_rate", "beta"])
    "; did you mean 'learning_rate'?"
    """
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
