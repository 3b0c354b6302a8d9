"""Which prompts come next? Prioritised sampling with a promise: every prompt comes within a stated number of batches.

Part of each batch goes through the prompts in turn, the rest is drawn by weight. The turn keeps the promise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from advshape.bernstein import FloatArray
from advshape.curriculum.history import sampling_probabilities
from advshape.errors import AdvshapeError

__all__ = ["PrioritizedBatches"]


@dataclass(frozen=True)
class PrioritizedBatches:
    """Batches of `batch` out of `prompts` prompts; in any `within` batches in a row every prompt comes at least once.

    `in_turn` = ceil(prompts / within) places of a batch go round one seeded permutation, the m others are drawn by
    weight (systematic sampling: prompt i comes m p_i times in the mean, floor or ceil of that in each batch). A prompt
    may come twice in a batch, as two groups. Batches depend on (seed, number of the batch, weights) alone.
    Kimi k1.5, arXiv:2501.12599, draws in proportion to 1 - rate; the turn is ours.

    Raises AdvshapeError where the promise leaves no place to draw, or cannot be kept.

    >>> made = PrioritizedBatches(prompts=6, batch=3, within=6, seed=0)
    >>> made.in_turn, made.probabilities([1, 1, 1, 1, 1, 5]).round(3)        # 1/18 + 2/3 w / 10
    (1, array([0.122, 0.122, 0.122, 0.122, 0.122, 0.389]))
    >>> np.unique([made.draw(t, [1, 0, 0, 0, 0, 0]) for t in range(6)]).tolist()
    [0, 1, 2, 3, 4, 5]
    """

    prompts: int
    batch: int
    within: int
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("prompts", "batch", "within"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise AdvshapeError(f"{name} must be a whole number of at least 1, got {value!r}")
        if self.batch < 2 or self.in_turn >= self.batch:
            room = max(1, self.batch - 1)
            more = f"within = {-(-self.prompts // room)} or more, or " if self.batch > 1 else ""
            raise AdvshapeError(
                f"every one of {self.prompts} prompts within {self.within} generations takes {self.in_turn} of "
                f"the {self.batch} in each, which leaves none to draw by priority; use {more}more prompts in a batch"
            )

    @property
    def in_turn(self) -> int:
        """Places of a batch that go round all prompts."""
        return -(-self.prompts // self.within)

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        return np.random.default_rng([self.seed, 0]).permutation(self.prompts)

    def probabilities(self, weights: ArrayLike) -> FloatArray:
        """The mean share of the places that each prompt gets, (prompts,), sum 1: the weights of the objective."""
        drawn = sampling_probabilities(weights)
        turn = self.in_turn / self.batch
        return turn / self.prompts + (1 - turn) * drawn

    def draw(self, number: int, weights: ArrayLike) -> NDArray[np.int64]:
        """Batch `number` = 0, 1 ...: indices of its prompts, (batch,), the ones in turn first."""
        p = sampling_probabilities(weights)
        if p.shape != (self.prompts,):
            raise AdvshapeError(f"draw needs one weight for each of {self.prompts} prompts, got shape {p.shape}")
        turn = self._order[(number * self.in_turn + np.arange(self.in_turn)) % self.prompts]
        rng, places = np.random.default_rng([self.seed, 1, number]), self.batch - self.in_turn
        mixed = rng.permutation(self.prompts)
        steps = np.cumsum(p[mixed])
        points = np.minimum((rng.random() + np.arange(places)) / places, 1 - 2.0**-53) * steps[-1]
        return np.concatenate([turn, mixed[np.searchsorted(steps, points, side="right")]])
