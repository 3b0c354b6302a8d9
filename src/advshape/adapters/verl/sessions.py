"""Which rows of verl's batch are outputs of one session? An agent loop may have several; a session is one rollout."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from advshape.errors import AdvshapeError

__all__ = ["rollouts_with_tokens", "session_keys", "sessions"]


def session_keys() -> Sequence[str] | None:
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


def sessions(keys: Sequence[str]) -> tuple[np.ndarray | None, torch.Tensor | None]:
    """(row of each session's last output, session of each row); two times None where every row is a session."""
    if all(key.endswith("_0") for key in keys):
        return None, None
    last: dict[str, tuple[int, int]] = {}
    names = [key.rpartition("_")[0] for key in keys]
    for row, (name, key) in enumerate(zip(names, keys, strict=True)):
        last[name] = max(last.get(name, (-1, -1)), (int(key.rpartition("_")[2]), row))
    number = {name: i for i, name in enumerate(last)}
    return np.array([row for _, row in last.values()]), torch.tensor([number[name] for name in names])


def rollouts_with_tokens(mask: torch.Tensor, session: torch.Tensor | None) -> NDArray[np.bool_]:
    """Of each rollout: has one of its rows a response token? mask: (bs, T); session: of each row; None: itself."""
    rows = mask.bool().any(dim=-1).cpu()
    if session is None:
        return np.asarray(rows.numpy())
    return np.asarray(torch.zeros(int(session.max()) + 1).index_add_(0, session, rows.float()).numpy() > 0)
