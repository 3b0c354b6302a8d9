"""Our advantages inside slime: `--custom-reward-post-process-path advshape.adapters.slime.post_process_rewards`.

slime is not on a package index: this follows its documentation and source at version 0.3.1 and was tested against that
signature, not inside the trainer. The objective stands in the variable ADVSHAPE of Ray's runtime environment, or as
`advshape` in the file of `--custom-config-path`. slime gives each rollout's number to all its tokens unchanged.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from advshape.adapters.objective import ENVIRONMENT, Objective
from advshape.errors import AdvshapeError

__all__ = ["post_process_rewards"]


def post_process_rewards(args: Any, samples: list[Any]) -> tuple[list[float], list[float]]:
    """(rewards, advantages), one number for each sample, in slime's form.

    args: slime's arguments. samples: all of a step. `group_index` tells prompts apart; samples of one `rollout_id` are
    one rollout, counted once, and must have one reward: 1, 0, NaN or None = not judged, or with real="layer_cake" any
    finite number. Raises AdvshapeError: a reward that is not allowed, no group_index, a setting that undoes it.
    """
    objective = Objective.read(getattr(args, "advshape", None) or os.environ.get(ENVIRONMENT))
    _check(args, objective)
    raw = [np.nan if (r := sample.get_reward_value(args)) is None else float(r) for sample in samples]
    if any(sample.group_index is None for sample in samples):
        raise AdvshapeError("a sample has no group_index, which tells the prompts apart; set it where samples are made")
    keys = [
        (sample.group_index, "sample", i)
        if sample.rollout_id is None
        else (sample.group_index, "id", sample.rollout_id)
        for i, sample in enumerate(samples)
    ]
    first: dict[tuple[Any, ...], int] = {}
    for i, key in enumerate(keys):
        row = first.setdefault(key, i)
        if raw[i] != raw[row] and not (np.isnan(raw[i]) and np.isnan(raw[row])):
            raise AdvshapeError(
                f"samples of rollout_id {key[2]} have rewards {raw[row]} and {raw[i]}; a rollout counts once, so give "
                "all its samples the reward of the whole rollout"
            )
    rows = list(first.values())
    found = objective.advantages(np.array([raw[i] for i in rows]), [samples[i].group_index for i in rows])
    by_key = dict(zip(first, found.tolist(), strict=True))
    return raw, [by_key[key] for key in keys]


def _check(args: Any, objective: Objective) -> None:
    name = objective.rule.name
    if getattr(args, "normalize_advantages", False):
        raise AdvshapeError(f"--normalize-advantages whitens all advantages, which undoes {name}; leave it out")
    if (word := getattr(args, "advantage_estimator", "grpo")) not in ("grpo", "gspo", "cispo"):
        raise AdvshapeError(
            f"--advantage-estimator {word} makes its own advantages of what {name} returns; use grpo, gspo or cispo"
        )
    if getattr(args, "custom_advantage_function_path", None):
        raise AdvshapeError(f"--custom-advantage-function-path would replace the advantages of {name}; leave it out")
    path = str(getattr(args, "dynamic_sampling_filter_path", None) or "")
    if "nonzero_std" in path:
        objective.refuse_filter(f"--dynamic-sampling-filter-path {path}")
