"""How long do advantages take in verl? Our adapter beside verl's own estimators and beside the floor.

The floor is what nobody can avoid: sum the token rewards of each row and write one number per row on its tokens. All
run in one process, in turn, on one thread, on 1,024 shuffled groups of 16 rollouts of 1,024 tokens; printed are medians
of processor times, medians of paired ratios to ours and to the floor, and the memory each needs at its peak beyond its
inputs (the system's count of resident pages, Linux only).
    python bench/bench_verl.py
"""

from __future__ import annotations

import logging
import re
import statistics
import sys
import time
import uuid
import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

GROUPS, N, TOKENS, REPEATS = 1024, 16, 1024, 15
OURS = ("advshape/grpo", "advshape/rloo", "advshape/pass_at_k")
THEIRS = ("grpo_vectorized", "rloo_vectorized", "grpo_passk", "grpo", "rloo")
FLOOR_GOAL = 1.3


def batch() -> dict[str, Any]:
    """0/1 rewards on the last token of responses of several lengths; one uid per prompt, rows in random order."""
    import numpy as np
    import torch

    rng = np.random.default_rng(0)
    uids = np.repeat(np.array([str(uuid.UUID(bytes=rng.bytes(16))) for _ in range(GROUPS)], dtype=object), N)
    rewards = (rng.random((GROUPS, N)) < rng.random((GROUPS, 1))).astype(np.float32).reshape(-1)
    order = rng.permutation(GROUPS * N)
    length = rng.integers(TOKENS // 4, TOKENS + 1, GROUPS * N)
    tokens = torch.zeros(GROUPS * N, TOKENS)
    tokens[torch.arange(GROUPS * N), torch.tensor(length - 1)] = torch.tensor(rewards[order])
    mask = (torch.arange(TOKENS)[None, :] < torch.tensor(length)[:, None]).to(torch.int64)
    return {"token_level_rewards": tokens, "response_mask": mask, "index": uids[order]}


def functions() -> dict[str, Callable[[], Any]]:
    """What is measured, by name: each a call that makes (advantages, returns) of the batch."""
    from omegaconf import OmegaConf
    from verl.trainer.ppo.core_algos import get_adv_estimator_fn

    found, given = {}, batch()
    section = {"adv_estimator": "grpo", "norm_adv_by_std_in_grpo": True, "filter_groups": {"enable": False}}
    for name in (*OURS, *THEIRS):
        own = {"advshape": {"k": 4}} if name.endswith("pass_at_k") else {}
        whole = OmegaConf.create({"algorithm": section | own, "actor_rollout_ref": {"rollout": {"n": N}}})
        found[name] = partial(get_adv_estimator_fn(name), config=whole.algorithm, **given)
    tokens, mask = given["token_level_rewards"], given["response_mask"]
    return {"floor": lambda: tokens.sum(dim=-1).unsqueeze(-1) * mask} | found


def times(calls: dict[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Processor seconds of each call, measured in turn."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(REPEATS):
        for name, call in calls.items():
            start = time.process_time()
            call()
            found[name].append(time.process_time() - start)
    return found


def peak(call: Callable[[], Any]) -> float:
    """Megabytes of resident memory at the peak of a call, beyond what was resident before it; NaN where unknown."""

    def resident(field: str) -> float:
        return int(re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024

    try:
        call()
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = resident("VmRSS")
        call()
        return resident("VmHWM") - before
    except OSError:
        return float("nan")


def main() -> int:
    """Print every ratio and whether the goals are met; a missed goal is a result, not a failure."""
    if find_spec("verl") is None:
        print("verl is not installed here, so its estimators are not measured: make bench-adapters")
        return 0
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    import torch

    torch.set_num_threads(1)
    calls = functions()
    found, memory = times(calls), {name: peak(call) for name, call in calls.items()}
    ratio = lambda a, b: statistics.median(x / y for x, y in zip(found[a], found[b], strict=True))
    print(f"{GROUPS} groups of {N} rollouts of {TOKENS} tokens, medians of {REPEATS}")
    print(f"{'':<20} {'time':>9} {'to the floor':>13} {'peak':>9}")
    for name in calls:
        print(
            f"{name:<20} {statistics.median(found[name]) * 1e3:>6.1f} ms {ratio(name, 'floor'):>13.2f} "
            f"{memory[name]:>6.0f} MB"
        )
    goals = {f"{name} at most {FLOOR_GOAL} floors": ratio(name, "floor") <= FLOOR_GOAL for name in OURS}
    goals |= {f"{name} no slower than {own}": ratio(name, own) <= 1 for name in OURS for own in THEIRS}
    goals |= {f"{name} no more memory than {own}": memory[name] <= memory[own] + 1 for name in OURS for own in THEIRS}
    missed = [text for text, met in goals.items() if not met]
    print(f"{len(goals) - len(missed)} of {len(goals)} goals met", *(f"missed: {text}" for text in missed), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
