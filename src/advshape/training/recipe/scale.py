"""Sections of a recipe for large models, checked before anything loads: vLLM, DeepSpeed, FSDP, and their packages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import util
from pathlib import Path
from typing import Any

from advshape.errors import AdvshapeError, nearest

NEEDED = {"use_vllm": "vllm", "deepspeed": "deepspeed", "use_liger_kernel": "liger_kernel"}
VLLM_MODES = ("colocate", "server")


def check_scale(trainer: Mapping[str, Any], processes: int) -> None:
    """Raise for sections that cannot work anywhere: unknown modes and stages, files that cannot be read."""
    mode = trainer.get("vllm_mode", "colocate")
    if mode not in VLLM_MODES:
        raise AdvshapeError(
            f'[trainer] vllm_mode = {mode!r}{nearest(str(mode), VLLM_MODES)}; allowed: "colocate" (in the training '
            'processes) or "server" (beside them, started with `trl vllm-serve`)'
        )
    parallel = trainer.get("vllm_tensor_parallel_size", 1)
    if trainer.get("use_vllm") and mode == "colocate" and processes % parallel:
        raise AdvshapeError(
            f"[trainer] vllm_tensor_parallel_size = {parallel} does not divide the {processes} processes"
        )
    if trainer.get("deepspeed") and trainer.get("fsdp"):
        raise AdvshapeError("[trainer] deepspeed and fsdp both shard the model; leave one of them out")
    if trainer.get("deepspeed"):
        zero = read_config("deepspeed", trainer["deepspeed"]).get("zero_optimization", {})
        stage = zero.get("stage", 0) if isinstance(zero, Mapping) else zero
        if stage not in (0, 1, 2, 3):
            raise AdvshapeError(f"[trainer] deepspeed: zero_optimization.stage = {stage!r}; allowed: 0, 1, 2, 3")
    if trainer.get("fsdp"):
        read_config("fsdp_config", trainer.get("fsdp_config") or {})


def obstacles(trainer: Mapping[str, Any], processes: int) -> tuple[str, ...]:
    """What keeps a recipe that is right from running here, as it was started: packages, the number of processes."""
    found = [
        f"[trainer] {key} needs the package {package}, which is not installed: pip install {package.replace('_', '-')}"
        for key, package in NEEDED.items()
        if trainer.get(key) and util.find_spec(package) is None
    ]
    if trainer.get("fsdp") and processes == 1:
        found.append(
            "[trainer] fsdp shards over several processes, and this is one: start it with "
            "torchrun --nproc_per_node N -m advshape train ..."
        )
    return tuple(found)


def read_config(key: str, value: Any) -> Mapping[str, Any]:
    """The table of a ``GRPOConfig`` field that is a table or the path of a JSON file."""
    if isinstance(value, Mapping):
        return value
    try:
        found = json.loads(Path(value).read_text(encoding="utf-8"))
    except (OSError, TypeError, ValueError) as error:
        raise AdvshapeError(
            f"[trainer] {key} = {value!r} is no table and no JSON file that can be read: {error}"
        ) from None
    if not isinstance(found, dict):
        raise AdvshapeError(f"[trainer] {key}: {value} holds {type(found).__name__}, not a JSON object")
    return found
