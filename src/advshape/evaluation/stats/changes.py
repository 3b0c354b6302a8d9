"""Which prompts changed: the 2x2 table of two runs on the same prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from advshape.evaluation.stats.counts import Counts

__all__ = ["Change", "Changes", "changes"]

RATE = 0.05
"""False discovery rate at which a change counts as beyond chance."""


@dataclass(frozen=True)
class Change:
    """A prompt that one of two runs solved and the other did not.

    Attributes:
        problem, prompt: its id and its text ("" where the logs have none).
        first, second: (right, judged) rollouts of each run.
        p: Fisher's exact two-sided p-value of these four numbers.
    """

    problem: str
    prompt: str
    first: tuple[int, int]
    second: tuple[int, int]
    p: float


@dataclass(frozen=True)
class Changes:
    """The 2x2 table of prompts; a run solved a prompt if at least one of its rollouts is right.

    Attributes:
        both, neither: numbers of prompts that both runs solved, or none.
        newly_solved, newly_lost: prompts that only the second run solved, or only the first; surest first.
        beyond_chance: how many of these two lists are no chance at a false discovery rate of 5 % over all
            prompts (Benjamini & Hochberg 1995 on Fisher's p-values).
    """

    both: int
    neither: int
    newly_solved: tuple[Change, ...]
    newly_lost: tuple[Change, ...]
    beyond_chance: tuple[int, int]


def changes(first: Counts, second: Counts, prompts: Mapping[str, str] | None = None) -> Changes:
    """The 2x2 table of two runs whose counts have the same prompts in the same order, all of them judged.

    A prompt that is right once in 64 rollouts is lost in the next 64 with chance 0.37 even if nothing changed:
    each change carries its own p-value.

    >>> found = changes(Counts.of("abc", [0, 8, 3], [8, 8, 8]), Counts.of("abc", [7, 8, 0], [8, 8, 8]))
    >>> [(c.problem, round(c.p, 4)) for c in found.newly_solved + found.newly_lost]
    [('a', 0.0014), ('c', 0.2)]
    """
    from scipy.stats import false_discovery_control

    numbers = np.stack([first.correct, first.judged, second.correct, second.judged], axis=1).tolist()
    p = np.array([_fisher(*row) for row in numbers])
    sure = false_discovery_control(p) <= RATE
    texts = prompts or {}
    kinds: dict[tuple[bool, bool], list[tuple[Change, bool]]] = {
        (a, b): [] for a in (True, False) for b in (True, False)
    }
    for problem, (c1, n1, c2, n2), own, beyond in zip(first.problems, numbers, p.tolist(), sure.tolist(), strict=True):
        change = Change(problem, texts.get(problem, ""), (c1, n1), (c2, n2), own)
        kinds[c1 > 0, c2 > 0].append((change, beyond))
    won, lost = (sorted(kinds[key], key=lambda item: item[0].p) for key in ((False, True), (True, False)))
    return Changes(
        len(kinds[True, True]),
        len(kinds[False, False]),
        tuple(change for change, _ in won),
        tuple(change for change, _ in lost),
        (sum(beyond for _, beyond in won), sum(beyond for _, beyond in lost)),
    )


@cache
def _fisher(c1: int, n1: int, c2: int, n2: int) -> float:
    from scipy.stats import fisher_exact

    return float(fisher_exact([[c1, n1 - c1], [c2, n2 - c2]]).pvalue)
