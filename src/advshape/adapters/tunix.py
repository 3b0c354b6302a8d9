"""Our advantages inside tunix (google-tunix 0.1, JAX): an estimator in its registry.

Call `register("pass_at_k(k=8)")` in the training script and set `GRPOConfig(advantage_estimator="advshape")`. tunix
groups by position, adds its reward functions up with nansum (a rollout that none scored is 0 there, not "not judged"),
and hands the estimator neither masks nor configuration.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import numpy as np

from advshape.adapters.objective import Objective, Spec, check_signature, require
from advshape.errors import AdvshapeError

__all__ = ["register", "tunix_advantages"]


def register(spec: Spec, name: str = "advshape") -> None:
    """Register an objective under `name`; an earlier one of that name is replaced (tunix logs it).

    spec: "pass_at_k(k=8)", a mapping (see Objective.read) or an AdvantageEstimator. Raises AdvshapeError: an unknown
    objective, a name of tunix's own, no tunix, another version, changed signatures.
    """
    require("google-tunix", ["0.1."])
    from tunix.rl import algo_core, function_registry

    check_signature(algo_core.compute_advantages, ("rewards", "num_generations"), "tunix's compute_advantages")
    taken = function_registry.default_registry.list_functions("advantage_estimator")
    if name in taken and not isinstance(function_registry.get_advantage_estimator(name), partial):
        raise AdvshapeError(f"{name!r} is an estimator of tunix's own; choose another name")
    rule = partial(tunix_advantages, objective=Objective.read(spec))
    function_registry.register_advantage_estimator(name)(rule)


def tunix_advantages(rewards: Any, num_generations: int, *, objective: Objective) -> Any:
    """Advantages in tunix's form.

    rewards: (B,) NumPy or JAX array, group after group of num_generations; 1 right, 0 wrong, NaN not judged, or with
    real="layer_cake" any finite number. Returns (B,) of the same kind, float32 where the rewards are narrower. Raises
    AdvshapeError: rollouts that do not fill their groups, a reward that is not allowed.
    """
    jax = sys.modules.get("jax")
    if jax is not None and isinstance(rewards, jax.core.Tracer):
        raise AdvshapeError("rewards are traced by jax.jit; call the estimator outside of it, as tunix does")
    flat = np.asarray(rewards)
    if flat.ndim != 1 or flat.size % num_generations:
        raise AdvshapeError(f"rewards of shape {flat.shape} are no groups of num_generations={num_generations}")
    dtype = np.float64 if flat.dtype == np.float64 else np.float32
    groups = np.arange(flat.size) // num_generations
    found = objective.advantages(flat.astype(dtype), groups)
    return jax.numpy.asarray(found) if jax is not None and isinstance(rewards, jax.Array) else found
