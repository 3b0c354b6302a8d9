"""Comparison of evaluations: which differences are real, at which k, on which prompts, and where curves cross."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advshape.evaluation.changes import Changes
from advshape.evaluation.crossing import Crossing
from advshape.evaluation.curves import PassCurve
from advshape.evaluation.runs import Run

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

__all__ = ["Comparison", "Difference"]


@dataclass(frozen=True, eq=False)
class Difference:
    """Second run minus first: differences of pass@k with intervals and p-values, changed prompts, crossing.

    Attributes:
        first, second: labels of the runs.
        paired: by prompt; False: the runs were compared as samples of different prompts.
        prompts: prompts that both runs judged (unpaired: the smaller number of the two).
        left_out: prompts of either run that do not count, because the other did not judge them.
        ks: (K,) attempts.
        difference, low, high: (K,) mean and ends of the pointwise interval, in [-1, 1].
        p: (K,) p-value of the permutation test; NaN where k is not tested.
        p_adjusted: (K,) Holm's p-value over all tests of the comparison; NaN where k is not tested.
        method, test: how interval and p-value were made, in words.
        changes: 2x2 of prompts; None when unpaired.
        crossing: None when unpaired.
    """

    first: str
    second: str
    paired: bool
    prompts: int
    left_out: int
    ks: Integers
    difference: Floats
    low: Floats
    high: Floats
    p: Floats
    p_adjusted: Floats
    method: str
    test: str
    changes: Changes | None = None
    crossing: Crossing | None = None

    def to_json(self) -> dict[str, Any]:
        """Strict JSON, see `Comparison.to_json`."""
        own = {name: _plain(value) for name, value in vars(self).items()}
        own["changes"] = None if self.changes is None else _plain(asdict(self.changes))
        own["crossing"] = None if self.crossing is None else _plain(asdict(self.crossing))
        return own


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs, their curves, and the differences of all others to the first.

    Attributes:
        runs: the runs, in the order given; yardstick runs come last.
        curves: pass@k of each run with pointwise intervals, in the same order, at `ks` where it has them.
        pairs: each further run against the first.
        yardsticks: other seeds of the first run's recipe against the first: what a mere seed changes.
        ks: (K,) attempts.
        tested: the k that are tested; all of `ks`, or those that were registered before looking.
        confidence: nominal coverage of each interval.
        seed, permutations, resamples: of the permutation test and the bootstrap.
        notes: what the reader has to know, in sentences: other settings, unequal n, left-out prompts.
    """

    runs: tuple[Run, ...]
    curves: tuple[PassCurve, ...]
    pairs: tuple[Difference, ...]
    yardsticks: tuple[Difference, ...]
    ks: Integers
    tested: tuple[int, ...]
    confidence: float
    seed: int
    permutations: int
    resamples: int
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Everything as strict JSON (NaN and infinities are null); this is what a page or a program reads.

        ::

            {"kind": "comparison", "confidence": 0.95, "ks": [1, 2, ...], "tested": [8], "seed": 0,
             "permutations": 10000, "resamples": 2000, "notes": ["...", ...],
             "runs": [{"label": "grpo", "source": "runs/grpo/evaluation/after.jsonl", "prompts": 256, "n": 64,
                       "outcomes": {"right": 1, "wrong": 2, "not_judged": 0, "truncated": 0},
                       "settings": {"temperature": 1.0, ...}, "curve": PassCurve.to_json(),
                       "histogram": [{"correct": 0, "judged": 64, "prompts": 12}, ...]}, ...],
             "pairs": [DIFFERENCE, ...], "yardsticks": [DIFFERENCE, ...]}

        with DIFFERENCE::

            {"first": "grpo", "second": "maxrl", "paired": true, "prompts": 256, "left_out": 0,
             "ks": [...], "difference": [...], "low": [...], "high": [...],
             "p": [... or null where not tested], "p_adjusted": [...], "method": "...", "test": "...",
             "changes": null or {"both": 200, "neither": 30, "beyond_chance": [3, 0],
                 "newly_solved": [{"problem": "id", "prompt": "text", "first": [0, 64], "second": [9, 64],
                                   "p": 0.002}, ...], "newly_lost": [...]},
             "crossing": null or {"k": 5.3, "low": 3.9 (0: below one attempt), "high": 9.1 (null: beyond n),
                 "ahead": "below", "share": 0.99, "n": 64}}

        Prompt texts are what the logs hold: show them as text only.
        """
        own = {name: _plain(value) for name, value in vars(self).items() if name not in ("runs", "curves")}
        runs = [_run_json(run, curve) for run, curve in zip(self.runs, self.curves, strict=True)]
        lists = {name: [d.to_json() for d in getattr(self, name)] for name in ("pairs", "yardsticks")}
        return {"kind": "comparison", **own, "runs": runs, **lists}


def _run_json(run: Run, curve: PassCurve) -> dict[str, Any]:
    counts = run.counts
    histogram = Counter(zip(counts.correct.tolist(), counts.judged.tolist(), strict=True))
    return {
        "label": run.label,
        "source": run.source,
        "prompts": counts.prompts,
        "n": counts.n,
        "outcomes": counts.totals(),
        "settings": _plain(dict(run.settings)),
        "curve": _plain(curve.to_json()),
        "histogram": [{"correct": c, "judged": j, "prompts": m} for (c, j), m in sorted(histogram.items())],
    }


def _plain(value: Any) -> Any:
    """Lists, strings, numbers and None: what strict JSON holds."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
