"""Our advantages inside SkyRL (0.3): an estimator in its registry, before its configuration is validated.

`python -m advshape.adapters.skyrl trainer.algorithm.advantage_estimator=advshape/rloo ...` is SkyRL's own entry point
with that done. An entry script of your own calls `register` instead. SkyRL hands the function to its Ray actors.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

import numpy as np

from advshape.adapters.objective import Objective, check_signature, launch, require
from advshape.errors import AdvshapeError

__all__ = ["main", "register", "skyrl_advantages"]

PREFIX = "advshape/"
KEY = "trainer.algorithm"
PARAMETERS = (
    "token_level_rewards",
    "response_mask",
    "index",
    "adv_estimator",
    "config",
    "values",
    "grpo_norm_by_std",
    "gamma",
    "lambd",
    "kwargs",
)


def register(spec: str | Mapping[str, Any], name: str = "advshape") -> None:
    """Register an objective under `name`; call it before `validate_cfg` and before Ray starts.

    spec: "pass_at_k(k=8)" or a mapping of names and numbers (see Objective.read): it travels to Ray's actors as text.
    Raises AdvshapeError: unknown objective, no SkyRL, another version or signature; SkyRL's ValueError: a taken name.
    """
    require("skyrl", ["0.3."])
    from skyrl.backends.skyrl_train.utils import ppo_utils

    check_signature(ppo_utils.compute_advantages_and_returns, PARAMETERS, "skyrl's compute_advantages_and_returns")
    try:
        told = spec if isinstance(spec, str) else json.dumps(spec)
    except TypeError:
        raise AdvshapeError(f"SkyRL takes an objective as text or a mapping of plain values, got {spec!r}") from None
    _read(told)
    ppo_utils.AdvantageEstimatorRegistry.register(name, partial(skyrl_advantages, objective=told))


_read = lru_cache(maxsize=16)(Objective.read)


def skyrl_advantages(
    token_level_rewards: Any, response_mask: Any, index: Any, config: Any = None, *, objective: str, **_: Any
) -> tuple[Any, Any]:
    """Advantages in SkyRL's form.

    token_level_rewards: (B, T) tensor; a row's sum is its reward: 1, 0, NaN = not judged, or with real="layer_cake" any
    finite number. response_mask: (B, T). index: (B,) uids in any order, groups of any sizes. config: trainer.algorithm.
    Returns the same (B, T) tensor twice, 0 where response_mask is 0. Raises AdvshapeError: a reward or setting refused.
    """
    import torch

    rule = _read(objective)
    if config is not None:
        check(config, rule)
    wide = torch.promote_types(token_level_rewards.dtype, torch.float32)
    scores = token_level_rewards.sum(dim=-1, dtype=wide)
    found = rule.advantages(scores, np.asarray(index), lambda: response_mask.bool().any(dim=-1).cpu())
    advantages = found.unsqueeze(-1) * response_mask
    return advantages, advantages


def check(config: Any, objective: Objective) -> None:
    """Raise where SkyRL's `trainer.algorithm` section would undo the estimator, naming the key."""
    if config.advantage_batch_normalize:
        raise AdvshapeError(
            f"{KEY}.advantage_batch_normalize=True shifts and divides all advantages of a batch, which undoes "
            f"{objective.rule.name}; set it to False"
        )
    if not config.grpo_norm_by_std:
        raise AdvshapeError(f"{KEY}.grpo_norm_by_std=False has no effect on {objective.rule.name}; leave it out")
    if config.use_kl_in_reward and objective.real is None:
        raise AdvshapeError(
            f"{KEY}.use_kl_in_reward=True: rewards minus a KL penalty are no longer 0 or 1; set it to False and "
            f'{KEY}.use_kl_loss=True, or choose real="layer_cake"'
        )
    if config.zero_variance_filter:
        objective.refuse_filter(f"{KEY}.zero_variance_filter=True")
    if config.dynamic_sampling.type is not None:
        objective.refuse_filter(f"{KEY}.dynamic_sampling.type={config.dynamic_sampling.type}")


def main() -> None:
    """SkyRL's `main_base` after registering the estimator that `trainer.algorithm.advantage_estimator` names."""
    require("skyrl", ["0.3."])
    import ray
    from skyrl.train.config import SkyRLTrainConfig
    from skyrl.train.entrypoints.main_base import skyrl_entrypoint
    from skyrl.train.utils import validate_cfg
    from skyrl.train.utils.utils import initialize_ray

    config = SkyRLTrainConfig.from_cli_overrides(sys.argv[1:])
    name = str(config.trainer.algorithm.advantage_estimator)
    if not name.startswith(PREFIX):
        raise AdvshapeError(
            f"{KEY}.advantage_estimator={name}: this entry point takes {PREFIX}NAME, such as {PREFIX}rloo; for SkyRL's "
            "own estimators use skyrl.train.entrypoints.main_base"
        )
    spec = name.removeprefix(PREFIX)
    register(spec, name)
    check(config.trainer.algorithm, Objective.read(spec))
    validate_cfg(config)
    initialize_ray(config)
    ray.get(skyrl_entrypoint.remote(config))


if __name__ == "__main__":
    from advshape.adapters.skyrl import main as imported  # what Ray's workers import by name, not as __main__

    launch(imported)
