"""The pass@k curve of an evaluation with intervals over prompts, and paired differences of two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advshape.errors import AdvshapeError
from advshape.evaluation.stats.counts import Counts
from advshape.evaluation.stats.intervals import difference_interval, mean_interval, simultaneous_confidence
from advshape.passk import pass_at_k

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

__all__ = ["PairedDifference", "PassCurve", "paired_difference", "pass_bounds", "pass_curve"]

WILSON = "Wilson, effective sample size over prompts"
SIMULTANEOUS = "; a simultaneous band over all k"
WILSON_CLUSTERS = "Wilson, effective sample size over clusters of prompts"


@dataclass(frozen=True, eq=False)
class PassCurve:
    """pass@k for several k, mean over prompts, with the ends of its intervals.

    Attributes:
        ks: (K,) attempts.
        values, low, high: (K,) mean over prompts and ends of the interval, in [0, 1].
        method: how the interval was made, in words.
        confidence: nominal coverage of each interval.
        prompts: prompts that count, those with at least one judged rollout.
        n: rollouts per prompt that were judged, at least.
        unjudged: prompts left out because none of their rollouts was judged.
    """

    ks: Integers
    values: Floats
    low: Floats
    high: Floats
    method: str
    confidence: float
    prompts: int
    n: int
    unjudged: int = 0

    def at(self, k: int) -> tuple[float, float, float]:
        """(value, low, high) at one k; raises AdvshapeError when the curve does not have it."""
        (found,) = np.nonzero(self.ks == k)
        if not found.size:
            raise AdvshapeError(f"the curve has no pass@{k}; it has k = {', '.join(map(str, self.ks))}")
        i = int(found[0])
        return float(self.values[i]), float(self.low[i]), float(self.high[i])

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers, for summary.json."""
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PassCurve:
        """The curve that `to_json` wrote."""
        arrays = {name: np.array(data[name], dtype=float) for name in ("values", "low", "high")}
        return cls(**{**data, **arrays, "ks": np.array(data["ks"], dtype=np.int64)})


@dataclass(frozen=True, eq=False)
class PairedDifference:
    """Change of pass@k on the same prompts, second minus first, with the ends of its intervals.

    Attributes:
        ks: (K,) attempts.
        difference, low, high: (K,) mean over prompts and ends of the interval, in [-1, 1].
        confidence: nominal coverage of each interval.
        prompts: prompts that both evaluations judged.
        left_out: prompts that at least one of the two could not judge at all.
        method: how the interval was made, in words.
    """

    ks: Integers
    difference: Floats
    low: Floats
    high: Floats
    confidence: float
    prompts: int
    left_out: int = 0
    method: str = "Tango's score interval, effective sample size over prompts"

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(self).items()}


def pass_curve(
    counts: Counts,
    ks: Sequence[int] | None = None,
    confidence: float = 0.95,
    clusters: Sequence[Any] | NDArray[Any] | None = None,
    simultaneous: bool = False,
) -> PassCurve:
    """The pass@k curve with an interval over prompts at each k.

    Args:
        counts: right and judged rollouts by prompt.
        ks: attempts; None: the powers of two up to the fewest judged rollouts of a prompt.
        confidence: nominal coverage of each interval.
        clusters: one label for each prompt; prompts with the same label are related.
        simultaneous: the intervals hold together, as a band for the whole curve, with this confidence.

    Raises:
        AdvshapeError: k above the judged rollouts of some prompt, or fewer than 2 prompts.

    >>> curve = pass_curve(Counts.of("abcd", correct=[0, 1, 2, 4], judged=[4, 4, 4, 4]))
    >>> curve.ks, curve.values.round(3)
    (array([1, 2, 4]), array([0.438, 0.583, 0.75 ]))
    """
    rows = counts.judged > 0
    usable = counts.select(rows)
    chosen = _attempts(usable, ks)
    labels = None
    if clusters is not None:
        if len(clusters) != counts.prompts:
            raise AdvshapeError(f"got {len(clusters)} cluster labels for {counts.prompts} prompts")
        labels = _cluster_index(clusters)[rows]
    values = pass_at_k(usable.correct[:, None], usable.judged[:, None], chosen)
    level = simultaneous_confidence(values, confidence, labels) if simultaneous else confidence
    # Near 0 and 1 only one side can fail, so a band spends half of its level there.
    mean, low, high = mean_interval(values, level, labels, tail=(1 - level) / 2 if simultaneous else None)
    method = (WILSON if clusters is None else WILSON_CLUSTERS) + (SIMULTANEOUS if simultaneous else "")
    unjudged = counts.prompts - usable.prompts
    return PassCurve(chosen, mean, low, high, method, confidence, usable.prompts, usable.n, unjudged)


def _cluster_index(labels: Sequence[Any] | NDArray[Any]) -> Integers:
    """Each label as 0, 1, ... in the order in which they come: strings, numbers, tuples, None; 1 is not "1"."""
    listed = labels.tolist() if isinstance(labels, np.ndarray) else list(labels)
    try:
        number = {label: i for i, label in enumerate(dict.fromkeys(listed))}
    except TypeError:
        raise AdvshapeError("a cluster label must be a string, a number or a tuple of them, not a list") from None
    return np.array([number[label] for label in listed], dtype=np.int64)


def pass_bounds(counts: Counts, ks: Sequence[int] | None = None) -> tuple[Integers, Floats, Floats]:
    """Mean pass@k with every rollout that was not judged taken as wrong, and as right: (ks, lowest, highest).

    >>> ks, low, high = pass_bounds(Counts.of("ab", correct=[1, 0], judged=[2, 1], not_judged=[0, 1]), [1])
    >>> low, high
    (array([0.25]), array([0.5]))
    """
    total = counts.judged + counts.not_judged
    worst = Counts(counts.problems, counts.correct, total, 0 * total, counts.truncated)
    chosen = _attempts(worst.select(total > 0), ks)
    ends = [
        pass_at_k(correct[total > 0, None], total[total > 0, None], chosen).mean(axis=0)
        for correct in (counts.correct, counts.correct + counts.not_judged)
    ]
    return chosen, ends[0], ends[1]


def paired_difference(
    first: Counts,
    second: Counts,
    ks: Sequence[int] | None = None,
    confidence: float = 0.95,
    clusters: Mapping[str, Any] | None = None,
) -> PairedDifference:
    """Change of pass@k from the first to the second evaluation of the same prompts, with intervals.

    Args:
        first, second: counts over the same problem ids, in any order.
        ks: attempts; None: powers of two that both can answer.
        confidence: nominal coverage of each interval.
        clusters: problem id -> label of related prompts.

    Raises:
        AdvshapeError: the problem ids differ.

    >>> before = Counts.of("abcd", correct=[0, 1, 2, 4], judged=[4] * 4)
    >>> after = Counts.of("abcd", correct=[1, 2, 2, 4], judged=[4] * 4)
    >>> paired_difference(before, after, ks=[1]).difference
    array([0.125])
    """
    if set(first.problems) != set(second.problems):
        only = len(set(first.problems) - set(second.problems)), len(set(second.problems) - set(first.problems))
        raise AdvshapeError(
            f"the evaluations do not share their prompts ({only[0]} are only in the first, {only[1]} only in"
            " the second); evaluate both on the same prompts"
        )
    place = {problem: i for i, problem in enumerate(second.problems)}
    second = second.select([place[problem] for problem in first.problems])
    rows = (first.judged > 0) & (second.judged > 0)
    a, b = first.select(rows), second.select(rows)
    fewest = a if a.n <= b.n else b
    chosen = _attempts(fewest, ks)
    values = [pass_at_k(x.correct[:, None], x.judged[:, None], chosen) for x in (a, b)]
    labels = None
    if clusters is not None:
        labels = _cluster_index([clusters[p] for p in a.problems])
    mean, low, high = difference_interval(values[1] - values[0], confidence, labels)
    return PairedDifference(chosen, mean, low, high, confidence, a.prompts, first.prompts - a.prompts)


def _attempts(counts: Counts, ks: Sequence[int] | None) -> Integers:
    """The chosen ks, or powers of two up to the fewest judged rollouts."""
    if not counts.prompts or counts.n == 0:
        raise AdvshapeError("no rollout was judged, so there is no pass@k; look at the reasons in the log")
    if ks is None:
        return 2 ** np.arange(int(np.log2(counts.n)) + 1, dtype=np.int64)
    chosen = np.array(list(ks), dtype=np.int64)
    if not chosen.size or (chosen < 1).any():
        raise AdvshapeError(f"k must be 1 or more, got {list(ks)}")
    short = int((counts.judged < chosen.max()).sum())
    if short:
        raise AdvshapeError(
            f"pass@{chosen.max()} needs at least {chosen.max()} judged rollouts of every prompt; {short} of"
            f" {counts.prompts} prompts have fewer (the fewest is {counts.n}); sample more or ask for k <= {counts.n}"
        )
    return chosen
