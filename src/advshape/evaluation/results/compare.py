"""Comparison of evaluations: which differences are real, at which k, on which prompts, and where curves cross."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advshape.errors import AdvshapeError
from advshape.evaluation.logs.jsonl import plain
from advshape.evaluation.results.difference import ClusterOf, Difference, Options, paired, shared_only, unpaired
from advshape.evaluation.results.runs import Run
from advshape.evaluation.stats.curves import PassCurve, pass_curve
from advshape.evaluation.stats.significance import holm

Integers = NDArray[np.int64]

__all__ = ["Comparison", "compare"]

SETTINGS = ("temperature", "top_p", "max_new_tokens", "task", "verifier")
"""Settings whose difference between two runs is told to the reader."""


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
                       "reading": {"correct_column": "score", ...} (what was said of how to read the source),
                       "chosen": [["temperature", "0.7"], ...] (the settings after the @ of its name),
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
        own = {name: plain(value) for name, value in vars(self).items() if name not in ("runs", "curves")}
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
        "settings": plain(dict(run.settings)),
        "reading": plain(dict(run.reading)),
        "chosen": plain(run.chosen),
        "curve": plain(curve.to_json()),
        "histogram": [{"correct": c, "judged": j, "prompts": m} for (c, j), m in sorted(histogram.items())],
    }


def compare(
    runs: Sequence[Run],
    *,
    yardsticks: Sequence[Run] = (),
    ks: Sequence[int] | None = None,
    registered: Sequence[int] = (),
    unpaired_runs: bool = False,
    shared: bool = False,
    confidence: float = 0.95,
    cluster_of: ClusterOf | None = None,
    permutations: int = 10_000,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """All runs against the first, on the same prompts.

    Args:
        runs: two or more; the first is what the others are compared with.
        yardsticks: other seeds of the first run's recipe.
        ks: attempts; None: powers of two that all runs can answer, and the registered ones.
        registered: the k that were chosen before looking; only these are tested. Empty: all of `ks` are.
        unpaired_runs: compare runs of different prompts as two samples.
        shared: compare only the prompts that all runs have.
        confidence, cluster_of, permutations, resamples, seed: see `Options`.

    The p-values are corrected by Holm's method over all tested k and all pairs.

    Raises:
        AdvshapeError: fewer than two runs, equal labels, other prompts, k above the judged rollouts, a
            negative seed.

    >>> from advshape.evaluation.stats.counts import Counts
    >>> before = Run("before", "a.jsonl", Counts.of("abcdef", [0, 0, 1, 1, 2, 4], [4] * 6))
    >>> after = Run("after", "b.jsonl", Counts.of("abcdef", [1, 1, 2, 2, 4, 4], [4] * 6))
    >>> found = compare([before, after], registered=[1])
    >>> found.pairs[0].difference.round(3), found.pairs[0].p.round(3)
    (array([0.25 , 0.306, 0.333]), array([0.031,   nan,   nan]))
    """
    everyone = [*runs, *yardsticks]
    _check(runs, everyone)
    if seed < 0:
        raise AdvshapeError(f"the seed of permutations and resamples is 0 or more, got {seed}")
    notes: list[str] = []
    if shared:
        everyone, left = shared_only(everyone)
        notes += [f"Only prompts that all runs have are compared; {left} others are left out."] if left else []
    options = Options(confidence, cluster_of, permutations, resamples, seed)
    chosen = _attempts(everyone, ks, registered)
    tested = sorted(set(registered)) or chosen
    differ = unpaired if unpaired_runs else paired
    found = [differ(everyone[0], other, chosen, tested, options) for other in everyone[1:]]
    pairs = _corrected(found[: len(runs) - 1])
    curves = [pass_curve(run.counts, chosen, confidence, options.labels(run.counts)) for run in everyone]
    notes += _notes(everyone, unpaired_runs)
    return Comparison(
        tuple(everyone),
        tuple(curves),
        tuple(pairs),
        tuple(found[len(runs) - 1 :]),
        np.array(chosen),
        tuple(tested),
        confidence,
        seed,
        permutations,
        resamples,
        tuple(notes),
    )


def _check(runs: Sequence[Run], everyone: Sequence[Run]) -> None:
    if len(runs) < 2:
        raise AdvshapeError(f"a comparison needs two runs or more, got {len(runs)}")
    labels = [run.label for run in everyone]
    if len(set(labels)) != len(labels):
        raise AdvshapeError(f"each run needs a label of its own, got {', '.join(labels)}")


def _attempts(runs: Sequence[Run], ks: Sequence[int] | None, registered: Sequence[int]) -> list[int]:
    """The k of the table: those asked for, else powers of two; the registered ones always."""
    smallest = min(runs, key=lambda run: run.counts.n)
    n = smallest.counts.n
    if n == 0:
        raise AdvshapeError(f"{smallest.label}: no rollout was judged, so there is no pass@k")
    powers = [2**i for i in range(n.bit_length())]
    chosen = sorted({*(powers if ks is None else ks), *registered})
    if chosen[0] < 1:
        raise AdvshapeError(f"k must be 1 or more, got {chosen[0]}")
    if chosen[-1] > n:
        raise AdvshapeError(
            f"pass@{chosen[-1]} needs {chosen[-1]} judged rollouts of every prompt; {smallest.label} has a prompt with"
            f" {n}; sample more or ask for k <= {n}"
        )
    return chosen


def _corrected(pairs: Sequence[Difference]) -> list[Difference]:
    """Holm's correction over all k and all pairs."""
    adjusted = holm(np.array([pair.p for pair in pairs]))
    return [pair.adjusted(own) for pair, own in zip(pairs, adjusted, strict=True)]


def _notes(runs: Sequence[Run], unpaired_runs: bool) -> Iterator[str]:
    first, *others = runs
    if unpaired_runs:
        yield "UNPAIRED: the runs are compared as samples of different prompts; the same prompts would be far sharper."
    for other in others:
        pair = f"{first.label} and {other.label}"
        for name in SETTINGS:
            if name in first.settings and name in other.settings and first.settings[name] != other.settings[name]:
                yield f"{pair} differ in {name}: {first.settings[name]} and {other.settings[name]}."
        if first.counts.n != other.counts.n:
            yield (
                f"{pair} have {first.counts.n} and {other.counts.n} judged rollouts per prompt at least: the one with"
                " more has more chances to solve a prompt in the table of changed prompts."
            )
        same = set(first.prompts) & set(other.prompts)
        changed = 0 if unpaired_runs else sum(first.prompts[p] != other.prompts[p] for p in same)
        if changed:
            yield f"{pair}: {changed} of {len(same)} prompts have the same id and another text; are they the same?"
    for run in runs:
        yield from (f"{run.label}: {note}" for note in run.notes)
        lost = run.counts.totals()["not_judged"]
        if lost:
            yield f"{run.label}: {lost} rollouts were not judged; they count neither as right nor as wrong."
