"""What one generation batch says about itself: shares of prompts and the surrogate, for 0/1 and for real rewards."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from advshape.shaping.layer_cake import Bounds

__all__ = ["binary_metrics", "judged_metrics", "real_metrics", "stacked_value"]

Values = Sequence[list[float] | None]  # of each prompt: its surrogate's value by number of right rollouts, or None


def binary_metrics(rewards: torch.Tensor, values: Values) -> dict[str, float]:
    """Shares of all-wrong, mixed and all-right prompts, pass@1 and the mean surrogate; rewards (P, n) 0, 1, NaN."""
    judged, right = (~torch.isnan(rewards)).sum(dim=1), rewards.nansum(dim=1)
    some = judged > 0
    surrogate = [value[int(c)] for value, c in zip(values, right.tolist(), strict=True) if value is not None]
    return {
        "prompts_all_wrong": _share(some & (right == 0)),
        "prompts_mixed": _share((right > 0) & (right < judged)),
        "prompts_all_right": _share(some & (right == judged)),
        "pass_at_1": (right[some] / judged[some]).mean().item(),
    } | _mean("surrogate", surrogate)


def real_metrics(rewards: torch.Tensor, values: Values, bounds: Bounds) -> dict[str, float]:
    """The same for real rewards, (P, n), NaN = not judged, where no rollout is right or wrong.

    `prompts_mixed`: share of prompts whose judged rewards differ; `prompts_all_equal`: share whose judged ones are all
    the same; `mean_reward`: mean over prompts of the mean over judged rollouts; `surrogate`: mean over prompts of
    `stacked_value`, left out where one of them has none.
    """
    judged = ~torch.isnan(rewards)
    some = judged.any(dim=1)
    low = torch.where(judged, rewards, torch.inf).amin(dim=1)
    high = torch.where(judged, rewards, -torch.inf).amax(dim=1)
    pairs = [(row[~row.isnan()].tolist(), value) for row, value in zip(rewards.double(), values, strict=True)]
    surrogate = [stacked_value(row, value, bounds) for row, value in pairs if value is not None]
    return {
        "prompts_all_equal": _share(some & (low == high)),
        "prompts_mixed": _share(some & (low < high)),
        "mean_reward": rewards[some].nanmean(dim=1).mean().item(),
    } | _mean("surrogate", [] if None in surrogate else [v for v in surrogate if v is not None])


def judged_metrics(rewards: torch.Tensor, advantages: torch.Tensor, too_small: torch.Tensor) -> dict[str, float]:
    """What any rewards, (P, n), NaN = not judged, say: shares that were not judged, and the size of the advantages.

    `too_small`: (P,), whether a prompt's judged rollouts are fewer than the estimator allows.
    """
    judged = ~torch.isnan(rewards)
    return {
        "prompts_none_judged": _share(~judged.any(dim=1)),
        "prompts_with_not_judged": _share(~judged.all(dim=1)),
        "prompts_too_small": _share(too_small),
        "rollouts_not_judged": _share(~judged),
        "advantage_rms": advantages.square().mean().sqrt().item(),
    }


def stacked_value(rewards: Sequence[float], values: Sequence[float], bounds: Bounds) -> float | None:
    """The surrogate's estimate at every threshold, summed: the layer-cake objective, integral of F(P(r > t)) dt.

    From `low`, or from 0 where it is not stated (a shift that depends on F(1) alone); with values 0, 1/n ... 1 it is
    the mean reward, with those of pass@k the mean of the best of k.

    Args:
        rewards: judged rewards of one group, any order.
        values: by number of right rollouts, len(rewards) + 1.
        bounds: (low, high).

    Returns:
        The sum, or None where `high` is not stated and values[0] is not 0: then nothing ends it.

    >>> stacked_value([0.5, 2.0], [0.0, 0.5, 1.0], (None, None))
    1.25
    """
    low, high = bounds
    x, n = sorted(rewards), len(rewards)
    if high is None and values[0] != 0:
        return None
    total = values[n] * (x[0] - (low or 0.0))
    total += sum(values[n - place] * (x[place] - x[place - 1]) for place in range(1, n))
    return total if high is None else total + values[0] * (high - x[-1])


def _share(mask: torch.Tensor) -> float:
    return mask.float().mean().item()


def _mean(name: str, values: Sequence[float]) -> dict[str, float]:
    return {name: sum(values) / len(values)} if values else {}
