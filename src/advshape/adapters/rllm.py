"""Our advantages inside rllm: `register("pass_at_k(k=8)")` before the trainer is made.

Follows rllm's documentation and source (after 0.3.0-pre), tested against that signature, not inside the trainer. rllm
turns every estimator name in its configuration that it does not know into "other", so that is the name to register.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from advshape.adapters.objective import Objective, Spec, check_signature
from advshape.errors import AdvshapeError

__all__ = ["register", "rllm_advantages"]

HOMES = ("rllm.trainer.algorithms.advantage", "rllm.experimental.common.advantage")  # newer, older


def register(spec: Spec, name: str = "other") -> None:
    """Register an objective; with the default name `rllm.algorithm.adv_estimator=other` takes it.

    spec: "pass_at_k(k=8)", a mapping (see Objective.read) or an AdvantageEstimator. Another name works in
    `traj_group_adv_estimator_map` only. Raises AdvshapeError: an unknown objective, no rllm, a changed signature.
    """
    objective = Objective.read(spec)
    for home in HOMES:
        try:
            module = import_module(home)
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] != "rllm":
                raise
            continue
        decorator = getattr(module, "register_rllm_adv_estimator", None)
        check_signature(decorator, ("name",), "rllm's register_rllm_adv_estimator")
        decorator(name)(partial(rllm_advantages, objective=objective))  # type: ignore[misc]
        return
    raise AdvshapeError(f"rllm is not installed for this Python, or has none of {', '.join(HOMES)}")


def rllm_advantages(
    rewards: list[np.ndarray], algorithm_config: Any = None, *, objective: Objective, **_: Any
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Advantages in rllm's form.

    rewards: one 1-D array for each group, any sizes; 1 right, 0 wrong, NaN not judged, or with real="layer_cake" any
    finite number. Returns the same list of arrays twice (advantages, returns). Raises AdvshapeError: a reward that is
    not allowed; stepwise_advantage_mode="per_step", where each step would count as a rollout.
    """
    if getattr(algorithm_config, "stepwise_advantage_mode", "broadcast") != "broadcast":
        raise AdvshapeError(
            "rllm.stepwise_advantage.mode=per_step: each step would count as a rollout of its own; use broadcast"
        )
    if not rewards:
        return [], []
    sizes = [len(group) for group in rewards]
    flat = np.concatenate([np.asarray(group, dtype=np.float64) for group in rewards])
    found = objective.advantages(flat, np.repeat(np.arange(len(sizes)), sizes))
    parts = np.split(found, np.cumsum(sizes)[:-1])
    return parts, parts
