"""Our advantages inside verl (0.9.1): importing this module registers them, and verl imports it by itself.

It is the entry point `advshape` of the group `verl.plugins`, which every process loads at `import verl`, so that Ray's
workers need nothing more. `algorithm.adv_estimator=advshape/NAME` takes an estimator of the catalogue;
`algorithm.adv_estimator=advshape` the one that `algorithm.advshape` names. Parameters stand in `algorithm.advshape`.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from verl.trainer.ppo.core_algos import register_adv_est

import advshape
from advshape.adapters.verl_options import NAME, flatten, objective, objective_warnings
from advshape.errors import AdvshapeError
from advshape.rewards import group_index
from advshape.table import AdvantageEstimator

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
    rule, options, most = _objective(name, json.dumps(_settings(config), sort_keys=True, default=str))
    scores = token_level_rewards.sum(dim=-1, dtype=torch.promote_types(token_level_rewards.dtype, torch.float32))
    if index is None:
        raise AdvshapeError("verl handed over no uids, which tell the groups; its batch needs non_tensor_batch['uid']")
    uids, keys = np.asarray(index), _session_keys()
    last, session = _sessions(keys) if keys is not None else (None, None)
    if last is not None:
        scores, uids = scores[last], uids[last]
    groups = group_index(uids, scores)
    _count(groups, scores, rule, response_mask, session, most if keys is None else None)
    found = advshape.advantages(scores, rule, groups=groups, too_small="zero", **options)
    found = found if session is None else found[session]
    advantages = found.unsqueeze(-1) * response_mask
    return advantages, advantages


def _settings(config: Any) -> dict[str, Any]:
    root = config._get_root() if OmegaConf.is_config(config) else {}  # the whole configuration, of which this is a part
    return flatten({"algorithm": config, **{key: root.get(key) for key in ("actor_rollout_ref", "distillation")}})


@lru_cache(maxsize=16)
def _objective(name: str, settings: str) -> tuple[AdvantageEstimator, dict[str, Any], int | None]:
    """Read, check and warn once for a configuration."""
    found = json.loads(settings)
    for line in objective_warnings(found):
        logger.warning("%s", line)
    return *objective(found, name), found.get("actor_rollout_ref.rollout.n")


def _session_keys() -> Sequence[str] | None:
    """The rows' keys "{uid}_{session}_{output}" where verl's V1 trainer calls, which shows them to "grpo" alone."""
    frame: Any = sys._getframe(1)
    while frame is not None and not str(frame.f_globals.get("__name__")).startswith("verl.trainer.ppo.v1."):
        frame = frame.f_back
    if frame is None:
        return None
    if "batch_keys" not in frame.f_locals:
        raise AdvshapeError(
            "this version of verl's V1 trainer does not show which outputs belong to one session; "
            "use verl 0.9.1, or trainer.use_v1=False"
        )
    found: Sequence[str] = frame.f_locals["batch_keys"]
    return found


def _sessions(keys: Sequence[str]) -> tuple[np.ndarray | None, torch.Tensor | None]:
    """(row of each session's last output, session of each row); two times None where every row is a session."""
    if all(key.endswith("_0") for key in keys):
        return None, None
    last: dict[str, tuple[int, int]] = {}
    names = [key.rpartition("_")[0] for key in keys]
    for row, (name, key) in enumerate(zip(names, keys, strict=True)):
        last[name] = max(last.get(name, (-1, -1)), (int(key.rpartition("_")[2]), row))
    number = {name: i for i, name in enumerate(last)}
    return np.array([row for _, row in last.values()]), torch.tensor([number[name] for name in names])


def _count(groups: Any, scores: Any, rule: Any, mask: torch.Tensor, session: Any, most: int | None) -> None:
    """Say how many groups are too small; refuse groups that hold more rows than there are rollouts."""
    sizes = np.bincount(groups)
    if most is not None and sizes.max() > most:
        raise AdvshapeError(
            f"a group has {sizes.max()} rows and actor_rollout_ref.rollout.n={most}: outputs of one agent loop would "
            "count as rollouts of their own; use the V1 trainer (trainer.use_v1=True), which shows the sessions"
        )
    small = np.bincount(groups, weights=~torch.isnan(scores).cpu().numpy()) < rule.smallest_n
    if small.any():  # verl pads a batch with groups of rows without a response token: those are not counted
        rows = torch.as_tensor(small[groups], device=mask.device)
        rows = rows if session is None else rows[session]
        real = mask.bool().any(dim=-1) & rows
        owners = torch.as_tensor(groups) if session is None else torch.as_tensor(groups)[session]
        count = len(torch.unique(owners[real.cpu()]))
        if count:
            logger.warning("%d of %d groups have fewer judged rollouts than the %d that %s needs: advantages 0",
                           count, len(sizes), rule.smallest_n, rule.name)  # fmt: skip


for _name in (NAME, *(f"{NAME}/{entry}" for entry in advshape.estimators())):
    register_adv_est(_name)(partial(verl_advantages, name=_name))
