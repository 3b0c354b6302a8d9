"""What k attempts achieve, for each measure that counts of a log can answer: a curve over k with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from advshape.errors import AdvshapeError
from advshape.evaluation.stats.curves import WILSON, PassCurve
from advshape.evaluation.stats.intervals import Interval, mean_interval
from advshape.passk import maj_at_k, max_at_k, min_at_k, pass_at_k, pass_hat_k

if TYPE_CHECKING:
    from advshape.evaluation.readers import CountedLog

__all__ = ["MEASURES", "expected_majority", "measure_curve", "undecided_answers"]

Floats = NDArray[np.float64]

MEASURES: Mapping[str, tuple[str, str]] = {
    "pass": ("pass@k", "at least one of k right"),
    "all": ("pass^k", "all of k right"),
    "maj": ("maj@k", "the most frequent answer of k is right; a tie is broken at random among the answers at the top"),
    "max": ("max@k", "mean of the largest reward of k; k = 1 is the mean reward"),
    "min": ("min@k", "mean of the smallest reward of k"),
}
"""Name on the command line -> (symbol, meaning)."""


def measure_curve(log: CountedLog, measure: str, ks: NDArray[np.int64], confidence: float = 0.95) -> PassCurve:
    """The mean of one measure over prompts, with its interval at each k.

    Rates have Wilson's interval with the effective sample size. Real rewards have the same one on the range of the
    rewards in the log: it stays inside, which Student's t does not. Where all rewards are alike there is none.

    Args:
        log: from `read_log`, with this measure among its options.
        measure: one of `MEASURES`.
        ks: (K,) attempts, at most the judged rollouts of every prompt that has any.
        confidence: nominal coverage.
    """
    values = _values(log, measure, ks)
    left_out = log.counts.prompts - len(values)
    if len(values) < 2:
        none = np.full(len(ks), np.nan)
        method = "none: an interval over prompts needs 2 of them"
        return PassCurve(ks, values[0], none, none, method, confidence, 1, log.counts.n, left_out)
    if measure in ("max", "min"):
        mean, low, high = _within_range(values, log, confidence)
        method = "none: all rewards are alike" if np.isnan(low).all() else WILSON + ", on the range of the rewards"
    else:
        (mean, low, high), method = mean_interval(values, confidence), WILSON
    return PassCurve(ks, mean, low, high, method, confidence, len(values), log.counts.n, left_out)


def _within_range(values: Floats, log: CountedLog, confidence: float) -> Interval:
    """`mean_interval` of rewards, (M, K), with the smallest and the largest one of the log at 0 and 1."""
    assert log.rewards is not None
    rewards = [np.frombuffer(prompt) for prompt in log.rewards if len(prompt)]
    least, most = min(prompt.min() for prompt in rewards), max(prompt.max() for prompt in rewards)
    if least == most:
        none = np.full(values.shape[1], np.nan)
        return Interval(values.mean(axis=0), none, none)
    unit = mean_interval(np.clip((values - least) / (most - least), 0, 1), confidence)
    return Interval(values.mean(axis=0), *(least + (most - least) * end for end in (unit.low, unit.high)))


def _values(log: CountedLog, measure: str, ks: NDArray[np.int64]) -> Floats:
    """(M, K) values of the M prompts that have a judged rollout."""
    judged = log.counts.select(log.counts.judged > 0)
    if measure in ("pass", "all"):
        estimator = pass_at_k if measure == "pass" else pass_hat_k
        return estimator(judged.correct[:, None], judged.judged[:, None], ks)
    if measure == "maj":
        assert log.answers is not None
        return np.array([[expected_majority(votes, int(k)) for k in ks] for votes in log.answers if votes])
    assert log.rewards is not None
    best = max_at_k if measure == "max" else min_at_k
    rewards = [np.frombuffer(prompt) for prompt in log.rewards if len(prompt)]
    return np.array([[float(best(prompt, int(k))) for k in ks] for prompt in rewards])


def expected_majority(answers: Mapping[str, Sequence[int]], k: int) -> float:
    """Chance that the most frequent answer of k rollouts is right: the sum over the right answers of `maj_at_k`.

    Answers with the same text are one answer; several may be right (two forms of one number). An answer that was
    judged right only r of its v times counts r / v.

    Args:
        answers: answer -> (how often it was given, how often it was judged right).
        k: attempts, at most the number of rollouts.

    >>> round(expected_majority({"42": (2, 2), "41": (1, 0), "7": (1, 0)}, k=3), 3)
    0.667
    """
    if sum(votes for votes, _ in answers.values()) > 1000:
        raise AdvshapeError("maj@k sums over subsets exactly, for at most 1,000 rollouts of a prompt; --measure pass")
    total = 0.0
    for name, (votes, right) in answers.items():
        if right:
            others = tuple(sorted(count for other, (count, _) in answers.items() if other != name))
            total += right / votes * _majority(votes, others, k)
    return total


@lru_cache(maxsize=100_000)
def _majority(votes: int, others: tuple[int, ...], k: int) -> float:
    return maj_at_k([votes, *others], 0, k)


def undecided_answers(log: CountedLog) -> int:
    """How many answers of a prompt were judged right at one time and wrong at another."""
    return sum(0 < right < votes for prompt in log.answers or () for votes, right in prompt.values())
