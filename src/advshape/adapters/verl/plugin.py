"""Our advantages inside verl (0.9.1): importing this module registers them, and verl imports it by itself.

It is the entry point `advshape` of the group `verl.plugins`, which every process loads at `import verl`, so that Ray's
workers need nothing more. `algorithm.adv_estimator=advshape/NAME` takes an estimator of the catalogue;
`algorithm.adv_estimator=advshape` the one that `algorithm.advshape` names. Parameters stand in `algorithm.advshape`.
"""

from __future__ import annotations

import json
import logging
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf
from verl.trainer.ppo.core_algos import register_adv_est

import advshape
from advshape.adapters.objective import Objective
from advshape.adapters.verl.options import NAME, flatten, objective, objective_warnings
from advshape.adapters.verl.sessions import rollouts_with_tokens, session_keys, sessions
from advshape.errors import AdvshapeError
from advshape.shaping.advantages import group_index

__all__ = ["verl_advantages"]

logger = logging.getLogger("advshape")


def verl_advantages(
    token_level_rewards: torch.Tensor,
    response_mask: torch.Tensor,
    index: Any = None,
    config: Any = None,
    *,
    name: str = NAME,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Advantages in verl's form; `name` is what `algorithm.adv_estimator` says.

    token_level_rewards: (bs, T); a row's sum is its reward: 1 right, 0 wrong, NaN not judged, or with
    `algorithm.advshape.real` any finite number. response_mask: (bs, T). index: (bs,) uids, any order, groups of any
    sizes; groups with fewer judged rollouts than the estimator allows get 0 and are counted in the log. config:
    verl's `algorithm` section; the sections beside it are read through it.

    Where the V1 trainer calls and an agent loop has several outputs, a session is one rollout: its last output's
    reward counts once, and all its outputs get its advantage (as verl does for "grpo" alone).

    Returns the same tensor twice (advantages and returns), (bs, T), 0 where response_mask is 0; float32, or float64
    where the rewards are. Raises AdvshapeError: no uids; a reward that is not allowed; a configuration that
    contradicts the estimator.
    """
    objective, most = _objective(name, json.dumps(_settings(config), sort_keys=True, default=str))
    scores = token_level_rewards.sum(dim=-1, dtype=torch.promote_types(token_level_rewards.dtype, torch.float32))
    if index is None:
        raise AdvshapeError("verl handed over no uids, which tell the groups; its batch needs non_tensor_batch['uid']")
    uids, keys = np.asarray(index), session_keys()
    last, session = (None, None) if keys is None else sessions(keys)
    if last is not None:
        scores, uids = scores[last], uids[last]
    groups = group_index(uids, scores)
    if keys is None:
        _refuse_outputs(groups, most)
    # verl pads a batch with groups of rows without a response token
    found = objective.advantages(scores, groups, lambda: rollouts_with_tokens(response_mask, session))
    found = found if session is None else found[session]
    advantages = found.unsqueeze(-1) * response_mask
    return advantages, advantages


def _settings(config: Any) -> dict[str, Any]:
    root = config._get_root() if OmegaConf.is_config(config) else {}  # the whole configuration, of which this is a part
    return flatten({"algorithm": config, **{key: root.get(key) for key in ("actor_rollout_ref", "distillation")}})


@lru_cache(maxsize=16)
def _objective(name: str, settings: str) -> tuple[Objective, int | None]:
    """Read, check and warn once for a configuration; with rollout.n where it is told."""
    found = json.loads(settings)
    for line in objective_warnings(found):
        logger.warning("%s", line)
    rule, options = objective(found, name)
    return Objective(rule, **options), found.get("actor_rollout_ref.rollout.n")


def _refuse_outputs(groups: NDArray[np.int64], most: int | None) -> None:
    """Raise where a group holds more rows than there are rollouts; `most`: rollout.n, None where it is not told."""
    if most is not None and (rows := np.bincount(groups).max()) > most:
        raise AdvshapeError(
            f"a group has {rows} rows and actor_rollout_ref.rollout.n={most}: outputs of one agent loop would "
            "count as rollouts of their own; use the V1 trainer (trainer.use_v1=True), which shows the sessions"
        )


for _name in (NAME, *(f"{NAME}/{entry}" for entry in advshape.estimators())):
    register_adv_est(_name)(partial(verl_advantages, name=_name))
