"""One reward for each rollout from several reward functions, as TRL's matrix has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from advshape.errors import AdvshapeError
from advshape.shaping.layer_cake import Bounds

__all__ = ["combine_rewards"]


def combine_rewards(
    per_function: torch.Tensor,
    weights: torch.Tensor,
    names: Sequence[str] | None = None,
    completions: Mapping[int, Any] | None = None,
    *,
    real: bool = False,
    bounds: Bounds = (None, None),
) -> torch.Tensor:
    """One reward for each rollout from the rewards of several functions; NaN where none judged it.

    The reward is the weighted sum over the functions that scored the rollout (TRL's rule: a function that
    returned None is left out) and must be 0 or 1, or with `real` any finite number within the bounds. Functions
    of weight 0 only monitor: they neither count nor judge. A rollout is not judged (NaN) when no function of
    another weight scored it.

    Args:
        per_function: (rollouts, functions) rewards, NaN where a function returned None.
        weights: (functions,) weights.
        names: (functions,) names, for messages.
        completions: completions by row, for messages.
        real: take real-valued sums as they are.
        bounds: (low, high) of real sums, None where there is none. A sum outside by no more than the rounding of
            float32 counts as the bound.

    Returns:
        (rollouts,) tensor; same floating dtype and device (integers: the default one).

    Raises:
        AdvshapeError: a weighted sum is neither 0 nor 1. One function of weight 1 must be exact; a true sum
            may be off by 1e-5, which covers the rounding of float32 weights. With `real`: infinite or out of bounds.

    >>> combine_rewards(torch.tensor([[1.0, 0.2], [0.0, 0.9], [torch.nan, 0.5]]), torch.tensor([1.0, 0.0]))
    tensor([1., 0., nan])
    >>> combine_rewards(torch.tensor([[1.0, 0.25], [0.0, 0.5]]), torch.tensor([1.0, 0.5]), real=True)
    tensor([1.1250, 0.2500])
    """
    if not per_function.is_floating_point():
        per_function = per_function.to(torch.get_default_dtype())
    counts = weights.to(per_function.device) != 0
    scored, active = per_function[:, counts], weights.to(per_function)[counts]
    total = (scored * active).nansum(dim=1)
    if real:
        allowed = total.clamp(*bounds) if bounds != (None, None) else total
        slack = 1e-6 * (scored * active).abs().nansum(dim=1)
        need = "must be finite" if bounds == (None, None) else f"must lie within bounds={bounds}"
        advice = "clip it in the reward function, state wider bounds, or return None (not judged)"
    else:
        allowed = (total > 0.5).to(total)
        slack = torch.full_like(total, 0.0 if len(active) == 1 and active[0] == 1 else 1e-5)
        need = "is 1 (right), 0 (wrong) or None from every function (not judged)"
        advice = (
            'turn values into 0/1 by a threshold, choose what real values mean with real="layer_cake", or give a '
            "function that is only for monitoring the weight 0 in reward_weights"
        )
    bad = ~((total - allowed).abs() <= slack) | total.isinf()  # ~(<=): NaN is bad
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise AdvshapeError(
            f"rollout {row} of the batch has the reward {float(total[row]):g} "
            f"({_scores(per_function[row], weights, names)}"
            f"{f', completion {completions[row]!r:.200}' if completions and row in completions else ''}); a "
            f"reward {need}; {advice}"
        )
    return torch.where(torch.isnan(scored).all(dim=1), torch.nan, allowed)


def _scores(values: torch.Tensor, weights: torch.Tensor, names: Sequence[str] | None) -> str:
    labels = names or [f"function {i}" for i in range(len(values))]
    scores = ["None" if value != value else f"{value:g}" for value in values.tolist()]
    columns = zip(labels, scores, weights.tolist(), strict=True)
    return ", ".join(f"{label} {score} with weight {weight:g}" for label, score, weight in columns)
