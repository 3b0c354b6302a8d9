"""Our advantages inside ms-swift (4.6): a plug-in file patches the two functions that compute all its advantages.

Write `from advshape.adapters.swift import patch; patch("pass_at_k(k=8)")` into a file and hand it to
`swift rlhf --rlhf_type grpo --external_plugins FILE`: ms-swift imports it in every process before the trainer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import wraps
from importlib import import_module
from typing import Any

from advshape.adapters.objective import Objective, Spec, check_signature, require
from advshape.errors import AdvshapeError

__all__ = ["patch"]

HOME = "swift.rl_core.advantage"
_OPTIONS = ("advantage_estimator", "scale_rewards", "kl_in_reward", "beta", "kl_values")
SIGNATURES = {
    "compute_advantages": ("rewards_per_func", "reward_weights", "num_generations", *_OPTIONS),
    "compute_advantages_dynamic": ("rewards_per_func", "reward_weights", "prompt_ids", "request_ids", *_OPTIONS),
}


def patch(spec: Spec) -> None:
    """Let ms-swift's trainers take their advantages from an objective; patching again replaces the objective.

    spec: "pass_at_k(k=8)", a mapping (see Objective.read) or an AdvantageEstimator. A rollout's reward is the weighted
    sum over the functions that scored it: 0 or 1, or with real="layer_cake" any finite number; a rollout that none
    scored is not judged. Raises AdvshapeError: an unknown objective, no ms-swift, another version, changed signatures;
    nothing is patched then.
    """
    require("ms-swift", ["4.6."])
    home, objective = import_module(HOME), Objective.read(spec)
    present = {name: getattr(home, name, None) for name in SIGNATURES}
    for name, function in present.items():
        check_signature(function, SIGNATURES[name], f"ms-swift's {name}")
    ours = {"compute_advantages": _by_position(objective), "compute_advantages_dynamic": _by_request(objective)}
    for name, function in present.items():
        replacement = wraps(getattr(function, "__wrapped__", function))(ours[name])  # type: ignore[arg-type]
        for module in list(sys.modules.values()):  # trainers that were imported already hold the function by name
            if getattr(module, "__dict__", {}).get(name) is function:
                setattr(module, name, replacement)


def _by_position(objective: Objective) -> Callable[..., Any]:
    def compute(rewards_per_func: Any, reward_weights: Any, num_generations: int, *given: Any, **options: Any) -> Any:
        scores, shown = _scores(objective, rewards_per_func, reward_weights, given, options)
        if len(scores) % num_generations:
            raise AdvshapeError(f"{len(scores)} rollouts are no groups of num_generations={num_generations}")
        groups = [i // num_generations for i in range(len(scores))]
        return objective.advantages(scores, groups), shown

    return compute


def _by_request(objective: Objective) -> Callable[..., Any]:
    """Rows of one request are one rollout, whose last row counts, as in ms-swift."""

    def compute(
        rewards_per_func: Any,
        reward_weights: Any,
        prompt_ids: Sequence[str],
        request_ids: Sequence[str],
        *given: Any,
        **options: Any,
    ) -> Any:
        scores, shown = _scores(objective, rewards_per_func, reward_weights, given, options)
        last = {request: row for row, request in enumerate(request_ids)}
        place = {request: i for i, request in enumerate(last)}
        found = objective.advantages(scores[list(last.values())], [prompt_ids[row] for row in last.values()])
        return found[[place[request] for request in request_ids]], shown

    return compute


def _scores(objective: Objective, per_function: Any, weights: Any, given: Sequence[Any], options: Any) -> Any:
    """(B,) rewards, NaN where not judged, and the same with 0 there, which ms-swift logs."""
    import torch

    from advshape.adapters.trl.rewards import combine_rewards

    _check(objective, {**dict(zip(_OPTIONS, given, strict=False)), **options}, sys._getframe(2).f_locals.get("self"))
    bounds = (None, None) if objective.bounds is None else tuple(objective.bounds)
    wide = per_function.to(torch.promote_types(per_function.dtype, torch.float32))
    scores = combine_rewards(wide, weights, real=objective.real is not None, bounds=bounds)
    return scores, scores.nan_to_num(0.0)


def _check(objective: Objective, options: dict[str, Any], trainer: Any) -> None:
    """Raise where ms-swift's options would undo the estimator, naming the option."""
    name = objective.rule.name
    if options.get("advantage_estimator", "grpo") != "grpo":
        raise AdvshapeError(
            f"--advantage_estimator {options['advantage_estimator']} has no effect beside {name}; leave it out"
        )
    if options.get("scale_rewards", "group") not in ("group", "none"):
        raise AdvshapeError(f"--scale_rewards {options['scale_rewards']} has no effect beside {name}; leave it out")
    if options.get("kl_in_reward") and options.get("beta"):
        raise AdvshapeError(
            f"--kl_in_reward true changes rewards before {name} sees them; set it to false: the penalty of weight beta "
            "then stands in the loss"
        )
    if getattr(trainer, "dynamic_sample", False):
        objective.refuse_filter("--dynamic_sample true")
