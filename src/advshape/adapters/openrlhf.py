"""Our advantages inside OpenRLHF (0.11.2): its experience maker is patched in the Ray process that trains.

`ADVSHAPE='pass_at_k(k=8)' python -m advshape.adapters.openrlhf --algo.advantage.estimator dr_grpo ...` is
`python -m openrlhf.cli.train_ppo_ray` with that patch. Length penalties, KL and clipping stay OpenRLHF's.
"""

from __future__ import annotations

import math
import os
import runpy
import sys
from functools import wraps
from importlib import import_module
from importlib.machinery import PathFinder
from typing import Any

from advshape.adapters.objective import ENVIRONMENT, Objective, Spec, check_signature, launch, require
from advshape.errors import AdvshapeError

__all__ = ["main", "patch", "setup"]
HOME = "openrlhf.trainer.ppo_utils.experience_maker"
VERSIONS = ["0.11.2"]  # exactly: the patch relies on what stands inside of the method


def patch(spec: Spec) -> None:
    """Let OpenRLHF in this process take its advantages from an objective; patching again replaces the objective.

    spec: as for Objective.read. Rewards: 0, 1, NaN = not judged, or with real="layer_cake" any finite number. Raises
    AdvshapeError: an unknown objective, no OpenRLHF, another version, changed signatures; nothing is patched then.
    """
    require("openrlhf", VERSIONS)
    home: Any = import_module(HOME)
    objective, maker = Objective.read(spec), getattr(home, "RemoteExperienceMaker", None)
    method: Any = getattr(maker, "compute_advantages_and_returns", None)
    penalties: Any = getattr(home, "apply_length_penalties", None)
    check_signature(method, ("self", "experiences"), "OpenRLHF's compute_advantages_and_returns")
    check_signature(penalties, ("experiences", "args"), "OpenRLHF's apply_length_penalties")
    method, penalties = (getattr(f, "__wrapped__", f) for f in (method, penalties))

    @wraps(method)
    def compute(self: Any, experiences: Any) -> Any:
        _check(self.strategy.args, objective)
        section = self.strategy.args.algo.advantage
        section.estimator = "advshape"  # selects no baseline and no whitening; self.advantage_estimator stays dr_grpo
        try:
            return method(self, experiences)
        finally:
            section.estimator = "dr_grpo"

    @wraps(penalties)
    def penalise_and_shape(experiences: Any, args: Any) -> None:
        penalties(experiences, args)
        _shape(objective, experiences, args)  # OpenRLHF's own group step, the next, leaves rewards as they are

    maker.compute_advantages_and_returns = compute  # type: ignore[union-attr]
    home.apply_length_penalties = penalise_and_shape


def _shape(objective: Objective, experiences: Any, args: Any) -> None:
    """Put advantages where rewards are; `index` holds each rollout's place, prompt after prompt."""
    import torch

    n, place = args.rollout.n_samples_per_prompt, [i for e in experiences for i in e.index]
    if len(place) % n:
        raise AdvshapeError(f"{len(place)} rollouts are no groups of --rollout.n_samples_per_prompt {n}")
    found = objective.advantages(torch.cat([e.rewards for e in experiences]), [i // n for i in place])
    seen, (low, high) = [float(x) for x in found.aminmax()], args.reward.clip_range or (-math.inf, math.inf)
    if seen[0] < low or seen[1] > high:
        raise AdvshapeError(f"--reward.clip_range {low:g} {high:g} would clip advantages from {seen}; widen it")
    for experience, part in zip(experiences, found.split([len(e.index) for e in experiences]), strict=True):
        experience.rewards = part


def _check(args: Any, objective: Objective) -> None:
    if (word := args.algo.advantage.estimator) != "dr_grpo":
        raise AdvshapeError(f"--algo.advantage.estimator {word} whitens or has no effect beside ours; give dr_grpo")
    if args.algo.dynamic_filtering_enable:
        objective.refuse_filter("--algo.dynamic_filtering_enable")


class _AfterImport:
    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != HOME:
            return None
        spec: Any = PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def execute_and_patch(module: Any) -> None:
            execute(module)
            patch(os.environ[ENVIRONMENT])

        spec.loader.exec_module = execute_and_patch
        return spec


def setup() -> None:
    """Ray's `worker_process_setup_hook`: patch once the experience maker is imported; most workers never do."""
    sys.meta_path.insert(0, _AfterImport())


def main() -> None:
    """OpenRLHF's `train_ppo_ray` with `setup` in every Ray worker; ADVSHAPE names the objective."""
    require("openrlhf", VERSIONS)
    Objective.read(os.environ.get(ENVIRONMENT))
    import ray

    init, hook = ray.init, {"worker_process_setup_hook": "advshape.adapters.openrlhf.setup"}

    def with_setup(*given: Any, runtime_env: Any, **options: Any) -> Any:
        variables = {**runtime_env.get("env_vars", {}), ENVIRONMENT: os.environ[ENVIRONMENT]}
        return init(*given, runtime_env={**runtime_env, **hook, "env_vars": variables}, **options)

    ray.init = with_setup
    runpy.run_module("openrlhf.cli.train_ppo_ray", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    launch(main)
