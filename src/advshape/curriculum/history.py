"""What did earlier visits to a prompt say? Discounted counts per prompt: a prior for its next visit, and a priority.

The order is everything: ask for `prior(ids)`, use it, `update` afterwards. A prior that has seen the very group whose
advantages it makes is no baseline: it correlates with each reward and shrinks the gradient by 1 - 1/(a + b + n - 1),
with a + b its weight after that look: unlike factors for unlike pasts, so that the objective is another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from advshape.bernstein import FloatArray
from advshape.errors import AdvshapeError
from advshape.tables.prior import Beta

__all__ = ["PromptHistory", "priority", "sampling_probabilities"]


class PromptHistory:
    """Right and wrong rollouts of each prompt so far, the older ones discounted; the one state in the core.

    prior: population prior Beta(a, b), two numbers: what an unseen prompt gets, and what every count is added to.
    discount: in [0, 1]; each visit of a prompt multiplies its older counts by it. The policy moves, so old counts age:
    0.9 remembers about ten visits, 1 all alike, 0 the last alone.

    Prompts are told apart by ids, strings or integers. Prior art: SPO (arXiv:2509.13232), Discounted Beta-Bernoulli
    (arXiv:2603.18444), HA-DW (arXiv:2601.08521).

    >>> from advshape import PromptHistory, advantages, estimator
    >>> history = PromptHistory(Beta(0.5, 0.5), discount=0.5)
    >>> history.update(["sum-1", "sum-2"], correct=[3, 0], judged=[4, 4])
    >>> history.update(["sum-1"], correct=[4], judged=[4])
    >>> history.prior(["sum-1", "new"])                        # 1/2 + 3/2 + 4 right, 1/2 + 1/2 wrong; nothing
    Beta(array([6. , 0.5]), array([1. , 0.5]))
    >>> rewards = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    >>> advantages(rewards, estimator("rloo"), history=history.prior(["sum-1", "new"])).round(3)
    array([[ 0.222,  0.222, -0.889],
           [ 0.833, -0.5  , -0.5  ]])
    """

    def __init__(self, prior: Beta | None = None, discount: float = 0.9) -> None:
        population = Beta(0.5, 1.0) if prior is None else prior
        if not isinstance(population, Beta) or np.ndim(population.a) or np.ndim(population.b):
            raise AdvshapeError(f"prior must be one Beta(a, b) for all unseen prompts, two numbers; got {prior!r}")
        if isinstance(discount, bool) or not isinstance(discount, int | float) or not 0 <= discount <= 1:
            raise AdvshapeError(f"discount must lie in [0, 1], got {discount!r}; 1 forgets nothing, 0.9 is usual")
        self._population = population
        self._discount = float(discount)
        self._row: dict[str | int, int] = {}
        self._counts = np.zeros((2, 0))  # right, wrong; discounted, without the prior
        self._visits = np.zeros(0, dtype=np.int64)

    def __len__(self) -> int:
        """Number of prompts seen."""
        return len(self._row)

    def __repr__(self) -> str:
        return f"PromptHistory({self._population!r}, discount={self._discount:g}) of {len(self)} prompts"

    def prior(self, ids: Iterable[str | int]) -> Beta:
        """Beta(a, b) of each prompt from its visits so far, arrays (prompts,); a snapshot that no update changes."""
        rows = self._rows(ids)
        seen = rows >= 0
        counts = np.zeros((2, len(rows)))
        counts[:, seen] = self._counts[:, rows[seen]]
        return Beta(
            np.asarray(self._population.a, np.float64) + counts[0],
            np.asarray(self._population.b, np.float64) + counts[1],
        )

    def visits(self, ids: Iterable[str | int]) -> NDArray[np.int64]:
        """How often each prompt was visited, (prompts,)."""
        rows = self._rows(ids)
        found = np.zeros(len(rows), dtype=np.int64)
        found[rows >= 0] = self._visits[rows[rows >= 0]]
        return found

    def update(self, ids: Iterable[str | int], correct: ArrayLike, judged: ArrayLike) -> None:
        """Remember one batch of groups, after its advantages were made.

        ids: one per group; correct, judged: (prompts,) whole numbers of right and of judged rollouts. Groups of one
        prompt in one batch are one visit; a group without judged rollouts is none.
        """
        keys = _keys(ids)
        right, total = (np.asarray(x, dtype=np.float64) for x in (correct, judged))
        if right.shape != (len(keys),) or total.shape != right.shape:
            raise AdvshapeError(
                f"update takes one count of right and one of judged rollouts per prompt: got {len(keys)} ids, "
                f"correct {right.shape} and judged {total.shape}"
            )
        whole = (right == np.floor(right)) & (total == np.floor(total)) & (right >= 0) & (right <= total)
        if not bool((whole & np.isfinite(total)).all()):
            bad = int(np.flatnonzero(~(whole & np.isfinite(total)))[0])
            raise AdvshapeError(
                f"prompt {keys[bad]!r} has {right[bad]:g} right of {total[bad]:g} judged rollouts; counts are whole "
                "numbers, 0 <= correct <= judged"
            )
        visited = np.flatnonzero(total > 0)
        rows = self._rows_made([keys[i] for i in visited])
        once = np.unique(rows)
        self._counts[:, once] *= self._discount
        for side, counts in zip(self._counts, (right, total - right), strict=True):
            np.add.at(side, rows, counts[visited])
        self._visits[once] += 1

    def state_dict(self) -> dict[str, Any]:
        """All of it as plain lists and numbers, for JSON; floats survive JSON unchanged."""
        used = slice(0, len(self))
        return {
            "prior": [float(np.asarray(self._population.a)), float(np.asarray(self._population.b))],
            "discount": self._discount,
            "ids": list(self._row),
            "right": self._counts[0, used].tolist(),
            "wrong": self._counts[1, used].tolist(),
            "visits": self._visits[used].tolist(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the place of the history that `state_dict` described; prior and discount must be this one's."""
        mine = self.state_dict()
        missing = [key for key in mine if key not in state]
        if missing:
            raise AdvshapeError(f"this is no state of a PromptHistory: {', '.join(missing)} missing")
        for key in ("prior", "discount"):
            if state[key] != mine[key]:
                raise AdvshapeError(
                    f"the state was made with {key} {state[key]}, this history has {mine[key]}; make it with the same"
                )
        keys = _keys(state["ids"])
        counts = np.array([state["right"], state["wrong"]], dtype=np.float64)
        visits = np.array(state["visits"], dtype=np.int64)
        fits = counts.shape == (2, len(keys)) and visits.shape == (len(keys),) and len(set(keys)) == len(keys)
        if not fits or not bool((np.isfinite(counts) & (counts >= 0)).all()):
            raise AdvshapeError(
                f"a broken state: {len(keys)} ids, counts {counts.shape}, visits {visits.shape}; each id once, "
                "counts finite and >= 0"
            )
        self._row = {key: row for row, key in enumerate(keys)}
        self._counts, self._visits = counts, visits

    def _rows(self, ids: Iterable[str | int]) -> NDArray[np.int64]:
        return np.array([self._row.get(key, -1) for key in _keys(ids)], dtype=np.int64)

    def _rows_made(self, keys: list[str | int]) -> NDArray[np.int64]:
        rows = np.array([self._row.setdefault(key, len(self._row)) for key in keys], dtype=np.int64)
        room = len(self._row) - len(self._visits)
        if room > 0:
            more = max(room, len(self._visits))  # doubled: each entry is copied once or twice in all
            self._counts = np.pad(self._counts, ((0, 0), (0, more)))
            self._visits = np.pad(self._visits, (0, more))
        return rows


def _keys(ids: Iterable[str | int]) -> list[str | int]:
    if isinstance(ids, str):
        raise AdvshapeError(f"ids must be a list, one per prompt, got the string {ids!r}; put it in brackets")
    keys = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
    for key in keys:
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise AdvshapeError(f"a prompt's id is a string or an integer, got {key!r} ({type(key).__name__})")
    return keys


def priority(earlier: Beta, floor: float = 0.0) -> FloatArray:
    """(1 - rho_past) + floor of each prompt: prioritised sampling of Kimi k1.5 (arXiv:2501.12599), as a weight.

    earlier: `history.prior(ids)`, from visits before the one that is weighed; rho_past is its mean. floor >= 0 keeps
    solved prompts in sight. Times the advantages of a group it gives the priority at uniform sampling. The weight of
    the group's own rho_hat is another estimator: it changes the objective inside the prompt, see `prioritized_rloo`.

    >>> priority(Beta([0.5, 3.0], [0.5, 1.0]), floor=0.05)
    array([0.55, 0.3 ])
    """
    if isinstance(floor, bool) or not isinstance(floor, int | float) or not 0 <= floor < np.inf:
        raise AdvshapeError(f"floor must be a finite number >= 0, got {floor!r}; 0.05 keeps solved prompts in sight")
    return 1.0 - earlier.posterior_mean(0, 0) + floor


def sampling_probabilities(weights: ArrayLike) -> FloatArray:
    """Weights as probabilities to draw each prompt, sum 1: prioritised sampling as sampling; same shape.

    Drawing prompt i with p_i = w_i / sum(w) and leaving its advantages alone has the expected gradient of uniform
    drawing with advantages times w_i, divided by mean(w): the same direction, another step size. Both need weights
    that do not look at the group they weigh. With few prompts in a batch the variances differ.

    >>> sampling_probabilities(priority(Beta([0.5, 3.0], [0.5, 1.0])))
    array([0.66666667, 0.33333333])
    """
    w = np.asarray(weights, dtype=np.float64)
    if w.size == 0 or not bool((np.isfinite(w) & (w >= 0)).all()) or not 0 < w.sum() < np.inf:
        raise AdvshapeError(
            f"weights must be finite, >= 0 and not all 0, got {w.tolist()!s:.80}; give priority() a floor above 0"
        )
    return np.asarray(w / w.sum())
