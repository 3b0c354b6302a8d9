"""Which prompt gets which rule? Its entropy decides (Adaptive Training), or its own count (a table again)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from advshape.bernstein import FloatArray
from advshape.catalogue import estimator
from advshape.errors import AdvshapeError
from advshape.shaping.advantages import advantages
from advshape.tables.estimator import AdvantageEstimator
from advshape.tables.table import AdvantageTable

__all__ = ["entropy_adaptive", "mixed_by_count"]

Array = TypeVar("Array")


def entropy_adaptive(rewards: Array, entropy: ArrayLike, k: int, share: float = 0.5, **options: Any) -> Array:
    """grpo for the `share` of prompts with the highest entropy, passk_training(k) for the others.

    rewards: (*batch, n) of 0, 1 and NaN, numpy or torch, as `advantages` takes them (and `too_small=`, its option).
    entropy: (*batch,), the mean policy entropy of each prompt's responses; of equals the earlier counts as higher.
    share: 0..1, floor(share * prompts) prompts are exploited. Chen et al., arXiv:2508.10751, section 4.2.3 (half).
    Outside the class of count tables: what a group gets depends on the other prompts' entropies. For given entropies
    each group has one of two tables; `estimator("passk_training_adaptive(k=...)")` is their mixture.
    Raises AdvshapeError where the entropies do not fit the prompts or are not finite.

    >>> entropy_adaptive(np.array([[1.0, 0, 0, 0], [1.0, 0, 0, 0]]), [0.1, 0.7], k=2).round(3)
    array([[ 1.   , -0.333, -0.333, -0.333],
           [ 1.732, -0.577, -0.577, -0.577]])
    """
    exploit, explore = estimator("grpo"), estimator("passk_training", k=k)
    first = advantages(rewards, exploit, **options)
    second = advantages(rewards, explore, **options)
    level = np.asarray(entropy.detach().cpu().double() if hasattr(entropy, "detach") else entropy, dtype=np.float64)
    batch = tuple(first.shape[:-1])  # type: ignore[attr-defined]
    if level.shape != batch or not np.all(np.isfinite(level)):
        raise AdvshapeError(
            f"entropy needs one finite number per prompt, shape {batch}, got shape {level.shape}; "
            "average the token entropies over each prompt's responses"
        )
    if not 0 <= share <= 1:
        raise AdvshapeError(f"share is the part of prompts trained for pass@1, in [0, 1], got {share!r}")
    high = np.zeros(level.size, dtype=bool)
    high[np.argsort(-level.reshape(-1), kind="stable")[: int(share * level.size + 1e-9)]] = True
    return _choose(high.reshape(batch)[..., None], first, second)


def mixed_by_count(
    first: AdvantageEstimator, second: AdvantageEstimator, share: Callable[[FloatArray], FloatArray]
) -> AdvantageEstimator:
    """A group's own count decides how much of each: A(c) = share(c/n) A_first(c) + (1 - share(c/n)) A_second(c).

    share: (n + 1,) rates c/n -> (n + 1,) numbers; the identity gives Chen et al.'s combination training
    (arXiv:2508.10751, section 4.2.2), a comparison a choice by difficulty. A table like any other, so its objective is
    known exactly, and it is not the mixture of the two: share looks at the rewards that it weighs. A choice by EARLIER
    visits keeps each prompt's objective.

    >>> hard, easy = estimator("passk_training", k=4), estimator("grpo")
    >>> rule = mixed_by_count(easy, hard, lambda rate: rate >= 0.5)
    >>> rule.table(8).surrogate().derivative([0.1, 0.9]).round(3)
    array([0.813, 2.326])
    """

    def build(n: int) -> AdvantageTable:
        w = np.asarray(share(np.arange(n + 1) / n), dtype=np.float64) + np.zeros(n + 1)
        a, b = first.table(n), second.table(n)
        return AdvantageTable(w * a.positive + (1 - w) * b.positive, w * a.negative + (1 - w) * b.negative)

    name = f"mixed_by_count({first.name}, {second.name})"
    return AdvantageEstimator(name, None, build, max(first.smallest_n, second.smallest_n), "a choice by c/n")


def _choose(mask: NDArray[np.bool_], first: Any, second: Any) -> Any:
    if isinstance(first, np.ndarray):
        return np.where(mask, first, second)
    return first.where(first.new_tensor(mask).bool(), second)
