"""The difference of two evaluations: paired by prompt, or as two samples of prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advshape.errors import AdvshapeError
from advshape.evaluation.logs.jsonl import plain
from advshape.evaluation.results.runs import Run
from advshape.evaluation.stats.changes import Changes, changes
from advshape.evaluation.stats.counts import Counts
from advshape.evaluation.stats.crossing import Crossing, crossing
from advshape.evaluation.stats.curves import paired_difference, pass_curve
from advshape.evaluation.stats.intervals import Interval, unpaired_interval
from advshape.evaluation.stats.significance import label_permutation_test, sign_flip_test
from advshape.passk import pass_at_k

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
ClusterOf = Callable[[str], Any]

__all__ = ["ClusterOf", "Difference", "Options", "paired", "plain", "shared_only", "unpaired"]


@dataclass(frozen=True)
class Options:
    """How differences are made.

    Attributes:
        confidence: nominal coverage of each interval.
        cluster_of: problem id -> label of related prompts; None: all prompts are independent.
        permutations: of the permutation test.
        resamples: of the bootstrap for the crossing point.
        seed: of both.
    """

    confidence: float = 0.95
    cluster_of: ClusterOf | None = None
    permutations: int = 10_000
    resamples: int = 2000
    seed: int = 0

    def labels(self, counts: Counts) -> Integers | None:
        """(M,) integer cluster labels of the prompts, or None."""
        if self.cluster_of is None:
            return None
        return np.unique([str(self.cluster_of(p)) for p in counts.problems], return_inverse=True)[1].astype(np.int64)


@dataclass(frozen=True, eq=False)
class Difference:
    """Second run minus first: differences of pass@k with intervals and p-values, changed prompts, crossing.

    Attributes:
        first, second: labels of the runs.
        paired: by prompt; False: the runs were compared as samples of different prompts.
        prompts: prompts that both runs judged (unpaired: the smaller number of the two).
        left_out: prompts that do not count, because one of the runs did not judge any of their rollouts.
        ks: (K,) attempts.
        difference, low, high: (K,) mean and ends of the pointwise interval, in [-1, 1].
        p: (K,) p-value of the permutation test; NaN where k is not tested.
        p_adjusted: (K,) Holm's p-value over all tests of the comparison; NaN where k is not tested.
        method, test: how interval and p-value were made, in words.
        changes: 2x2 of prompts; None when unpaired.
        crossing: where the curves cross; None when they do not, and when unpaired.
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
        own = plain(vars(self))
        own["changes"] = None if self.changes is None else plain(asdict(self.changes))
        own["crossing"] = None if self.crossing is None else plain(asdict(self.crossing))
        return own

    def adjusted(self, p: Floats) -> Difference:
        """The same with these adjusted p-values, (K,)."""
        return replace(self, p_adjusted=p)


def paired(first: Run, second: Run, ks: Sequence[int], tested: Sequence[int], options: Options) -> Difference:
    """The difference by prompt.  Raises AdvshapeError where the runs do not have the same prompts."""
    _check_shared(first, second)
    place = {problem: i for i, problem in enumerate(second.counts.problems)}
    other = second.counts.select([place[problem] for problem in first.counts.problems])
    rows = (first.counts.judged > 0) & (other.judged > 0)
    a, b = first.counts.select(rows), other.select(rows)
    labels = options.labels(a)
    clusters = None if labels is None else dict(zip(a.problems, labels.tolist(), strict=True))
    change = paired_difference(a, b, ks, options.confidence, clusters)
    values = [pass_at_k(c.correct[:, None], c.judged[:, None], np.array(tested)) for c in (a, b)]
    p = sign_flip_test(values[1] - values[0], labels, options.permutations, options.seed)
    return Difference(
        first.label,
        second.label,
        True,
        a.prompts,
        first.counts.prompts - a.prompts,
        change.ks,
        change.difference,
        change.low,
        change.high,
        _spread(p, ks, tested),
        _spread(p, ks, tested),
        change.method,
        "sign-flip permutation test over " + ("prompts" if labels is None else "clusters of prompts"),
        changes(a, b, {**second.prompts, **first.prompts}),
        crossing(a, b, options.confidence, labels, options.resamples, options.seed),
    )


def unpaired(first: Run, second: Run, ks: Sequence[int], tested: Sequence[int], options: Options) -> Difference:
    """The difference of two samples of prompts, whatever their ids: far less sharp than by prompt."""
    judged = [run.counts.select(run.counts.judged > 0) for run in (first, second)]
    labels = [options.labels(c) for c in judged]
    curves = [pass_curve(c, ks, options.confidence, own) for c, own in zip(judged, labels, strict=True)]
    interval = unpaired_interval(*(Interval(c.values, c.low, c.high) for c in curves))
    values = [pass_at_k(c.correct[:, None], c.judged[:, None], np.array(tested)) for c in judged]
    clusters = None if labels[0] is None or labels[1] is None else (labels[0], labels[1])
    p = label_permutation_test(values[0], values[1], clusters, options.permutations, options.seed)
    left = sum(run.counts.prompts - c.prompts for run, c in zip((first, second), judged, strict=True))
    return Difference(
        first.label,
        second.label,
        False,
        min(c.prompts for c in judged),
        left,
        curves[0].ks,
        interval.mean,
        interval.low,
        interval.high,
        _spread(p, ks, tested),
        _spread(p, ks, tested),
        "Newcombe's combination of both runs' intervals, unpaired",
        "permutation test that deals prompts out anew between the runs",
    )


def shared_only(runs: Sequence[Run]) -> tuple[list[Run], int]:
    """The runs restricted to the prompts that all of them have, and how many prompts in all are left out."""
    common = set(runs[0].counts.problems).intersection(*(run.counts.problems for run in runs[1:]))
    every = set().union(*(run.counts.problems for run in runs))
    if not common:
        raise AdvshapeError("the runs have no prompt in common; compare them unpaired with --unpaired")
    kept = [replace(run, counts=run.counts.select([p in common for p in run.counts.problems])) for run in runs]
    return kept, len(every) - len(common)


def _check_shared(first: Run, second: Run) -> None:
    one, two = set(first.counts.problems), set(second.counts.problems)
    if one == two:
        return
    both = len(one & two)
    way = "compare the shared ones with --shared, or all of them unpaired with --unpaired"
    raise AdvshapeError(
        f"{first.label} and {second.label} do not share their prompts: {both} are in both, {len(one) - both} only in"
        f" {first.label}, {len(two) - both} only in {second.label}; evaluate both on the same prompts,"
        f" {way if both else 'or compare them unpaired with --unpaired'}"
    )


def _spread(p: Floats, ks: Sequence[int], tested: Sequence[int]) -> Floats:
    """p-values of the tested k at their places among all k; NaN elsewhere."""
    own = dict(zip(tested, p.tolist(), strict=True))
    return np.array([own.get(int(k), np.nan) for k in ks])
