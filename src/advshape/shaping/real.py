"""Which real-valued rewards may meet which rule?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

import advshape
from advshape.errors import AdvshapeError
from advshape.tables.estimator import AdvantageEstimator
from advshape.tables.table import AdvantageTable


def check_real(rule: Any, real: Any, bounds: Any, sizes: Iterable[int]) -> None:
    """Whether a rule can take rewards in the way `real` says, in groups of every size that may occur.

    Raises AdvshapeError, before anything is loaded, for: an unknown `real`; "layer_cake" without an estimator or a
    table; "as_is" with one; bounds without "layer_cake", broken, or missing where the rule has A+(n) != 0 (low) or
    A-(0) != 0 (high).

    >>> check_real(advshape.estimator("rloo"), "layer_cake", None, [2, 8])
    >>> check_real(advshape.estimator("nsr"), "layer_cake", None, [8])
    Traceback (most recent call last):
    advshape.errors.AdvshapeError: this rule has A-(0) = 1 != 0, so thresholds above the highest reward ...
    """
    tabular = isinstance(rule, (AdvantageEstimator, AdvantageTable))
    if real not in (None, "layer_cake", "as_is"):
        raise AdvshapeError(
            f'real={real!r}: None (rewards are 0 or 1), "layer_cake" (an estimator at every threshold) or "as_is" '
            "(a function gets the rewards unchanged)"
        )
    if bounds is not None and real != "layer_cake":
        raise AdvshapeError(f'bounds={bounds!r} go with real="layer_cake", got real={real!r}')
    if real == "layer_cake" and not tabular:
        raise AdvshapeError(
            'real="layer_cake" applies an estimator or a table at every threshold, and there is none; a function or an '
            'own group_advantages takes rewards as they are: real="as_is"'
        )
    if real == "as_is" and tabular:
        raise AdvshapeError(f'real="as_is" is for functions; {_label(rule)} is made of 0/1 counts: real="layer_cake"')
    if real == "layer_cake":
        advshape.advantages(np.full((1, 1), np.nan), rule, real=real, bounds=bounds, too_small="zero")
        probe = next((float(b) for b in bounds or () if b is not None), 0.0)
        for n in sizes:
            advshape.advantages(np.full((1, n), probe), rule, real=real, bounds=bounds)


def _label(rule: Any) -> str:
    return str(getattr(rule, "name", "a table"))
