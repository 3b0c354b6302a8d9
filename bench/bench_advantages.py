"""How long do advantages take? Any table beside GRPO's two vectorised lines, layer-cake beside sorting alone.

Both sides of a ratio run in turn, many times, on one thread; printed are the medians of their processor times, the
median of the paired ratios, which is what the goal is about, and the ratio of the best times. Other programs on the
machine take no part in processor time, but share its caches: where the two ratios differ, it was not quiet.
    python bench/bench_advantages.py
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

import advshape as adv

GROUPS, N = 4096, 16
RULES = ("grpo(ddof=1, epsilon=1e-4)", "rloo", "pass_at_k(k=8)", "maxrl", "passk_training(k=4)")
TABLE_GOAL, CAKE_GOAL = 1.5, 3.0


def grpo_numpy(r: Any) -> Any:
    """The plain formula."""
    centred = r - r.mean(-1, keepdims=True)
    return centred / (r.std(-1, ddof=1, keepdims=True) + 1e-4)


def grpo_torch(r: Any) -> Any:
    """The plain formula."""
    centred = r - r.mean(-1, keepdim=True)
    return centred / (r.std(-1, keepdim=True) + 1e-4)


def side_by_side(ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int = 60) -> tuple[float, ...]:
    """Median processor seconds of both, the median of their ratio, measured in turn, and the ratio of the best."""
    times = np.empty((repeats, 2))
    for function in (ours, theirs) * 3:
        function()
    for row in times:
        for i, function in enumerate((ours, theirs)):
            start = time.process_time()
            function()
            row[i] = time.process_time() - start
    best = times.min(0)
    return *np.median(times, axis=0).tolist(), float(np.median(times[:, 0] / times[:, 1])), float(best[0] / best[1])


def row(name: str, goal: float, ours: Callable[[], Any], theirs: Callable[[], Any]) -> bool:
    """Measure, print, and say whether the goal is met."""
    a, b, ratio, best = side_by_side(ours, theirs)
    met = "" if ratio <= goal else "NO"
    print(f"{name:<52} {a * 1e6:>9.0f} us {b * 1e6:>9.0f} us {ratio:>7.2f} {best:>7.2f}  <= {goal:g}  {met}")
    return ratio <= goal


def main() -> int:
    """Print every ratio and whether its goal is met; a missed goal is a result, not a failure."""
    rng = np.random.default_rng(0)
    binary = (rng.random((GROUPS, N)) < rng.random((GROUPS, 1))).astype(np.float32)
    real = rng.normal(size=(GROUPS, N))
    good = []
    print(f"{GROUPS} groups of {N}; {'ours':>43} {'beside':>12} {'ratio':>7} {'best':>7}  goal")
    for rule in RULES:
        E = adv.estimator(rule)
        good.append(
            row(
                f"numpy  {rule} / GRPO in two lines",
                TABLE_GOAL,
                lambda E=E: adv.advantages(binary, E),
                lambda: grpo_numpy(binary),
            )
        )
    E = adv.estimator("pass_at_k(k=4)")
    cake = lambda x: adv.advantages(x, E, real="layer_cake")
    good.append(
        row(
            "numpy  layer-cake / sort with order (argsort)", CAKE_GOAL, lambda: cake(real), lambda: np.argsort(real, -1)
        )
    )
    if find_spec("torch") is not None:
        import torch

        torch.set_num_threads(1)
        tensor, real_tensor = torch.tensor(binary), torch.tensor(real)
        for rule in RULES:
            E_ = adv.estimator(rule)
            good.append(
                row(
                    f"torch  {rule} / GRPO in two lines",
                    TABLE_GOAL,
                    lambda E=E_: adv.advantages(tensor, E),
                    lambda: grpo_torch(tensor),
                )
            )
        good.append(
            row(
                "torch  layer-cake / torch.sort",
                CAKE_GOAL,
                lambda: cake(real_tensor),
                lambda: torch.sort(real_tensor, -1),
            )
        )
    print(f"{sum(good)} of {len(good)} goals met")
    return 0


if __name__ == "__main__":
    sys.exit(main())
