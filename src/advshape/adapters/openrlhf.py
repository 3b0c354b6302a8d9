"""Our advantages inside OpenRLHF (0.11.2): its experience maker is patched in the Ray process that trains.

`ADVSHAPE='pass_at_k(k=8)' python -m advshape.adapters.openrlhf --algo.advantage.estimator dr_grpo ...` is
`python -m openrlhf.cli.train_ppo_ray` with that patch in every Ray worker. Length penalties, KL, clipping and discounting
stay OpenRLHF's; only the step from a group's rewards to its advantages is replaced.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys
from functools import wraps
from importlib import import_module
from typing import Any

from advshape.adapters.objective import ENVIRONMENT, Objective, Spec, check_signature, require
from advshape.errors import AdvshapeError

__all__ = ["main", "patch", "setup"]

HOME = "openrlhf.trainer.ppo_utils.experience_maker"
VERSIONS = ["0.11.2"]  # exactly: the patch relies on what stands inside of the method


def patch(spec: Spec) -> None:
    """Let OpenRLHF in this process take its advantages from an objective; patching again replaces the objective.

    spec: "pass_at_k(k=8)", a mapping (see Objective.read) or an AdvantageEstimator. Rewards are 0 or 1, NaN not judged,
    or with real="layer_cake" any finite number. Raises AdvshapeError: an unknown objective, no OpenRLHF, another
    version, changed signatures; nothing is patched then.
    """
    require("openrlhf", VERSIONS)
    home, objective = import_module(HOME), Objective.read(spec)
    maker = getattr(home, "RemoteExperienceMaker", None)
    method = getattr(maker, "compute_advantages_and_returns", None)
    penalties = getattr(home, "apply_length_penalties", None)
    check_signature(method, ("self", "experiences"), "OpenRLHF's compute_advantages_and_returns")
    check_signature(penalties, ("experiences", "args"), "OpenRLHF's apply_length_penalties")
    method, penalties = (getattr(f, "__wrapped__", f) for f in (method, penalties))

    @wraps(method)  # type: ignore[arg-type]
    def compute(self: Any, experiences: Any) -> Any:
        args = self.strategy.args
        _check(args, objective)
        section, words = args.algo.advantage, (args.algo.advantage.estimator, self.advantage_estimator)
        section.estimator = "advshape"  # a word that selects no baseline and no whitening
        self.advantage_estimator = "dr_grpo"  # every token gets the rollout's number
        try:
            return method(self, experiences)  # type: ignore[misc]
        finally:
            section.estimator, self.advantage_estimator = words

    @wraps(penalties)  # type: ignore[arg-type]
    def penalise_and_shape(experiences: Any, args: Any) -> None:
        """The last step before OpenRLHF's own group step, which then leaves the rewards as they are."""
        penalties(experiences, args)  # type: ignore[misc]
        _shape(objective, experiences, args)

    maker.compute_advantages_and_returns = compute  # type: ignore[union-attr]
    home.apply_length_penalties = penalise_and_shape  # type: ignore[attr-defined]


def _shape(objective: Objective, experiences: Any, args: Any) -> None:
    """Put advantages where rewards are; `index` holds each rollout's place, prompt after prompt."""
    import torch

    n = args.rollout.n_samples_per_prompt
    rewards = torch.cat([experience.rewards for experience in experiences])
    place = [i for experience in experiences for i in experience.index]
    if len(place) % n:
        raise AdvshapeError(f"{len(place)} rollouts are no groups of --rollout.n_samples_per_prompt {n}")
    found = objective.advantages(rewards, [i // n for i in place])
    if args.reward.clip_range and (found.min() < args.reward.clip_range[0] or found.max() > args.reward.clip_range[1]):
        low, high = args.reward.clip_range
        raise AdvshapeError(
            f"--reward.clip_range {low:g} {high:g} would clip the advantages of {objective.rule.name}, which reach from "
            f"{float(found.min()):g} to {float(found.max()):g}; widen it"
        )
    sizes = [len(experience.index) for experience in experiences]
    for experience, part in zip(experiences, found.split(sizes), strict=True):
        experience.rewards = part


def _check(args: Any, objective: Objective) -> None:
    """Raise where OpenRLHF's arguments would undo the estimator, naming the key."""
    if args.algo.advantage.estimator != "dr_grpo":
        raise AdvshapeError(
            f"--algo.advantage.estimator {args.algo.advantage.estimator} has no effect beside {objective.rule.name}; give "
            "dr_grpo: no critic, no whitening over the batch"
        )
    if args.algo.dynamic_filtering_enable:
        objective.refuse_filter("--algo.dynamic_filtering_enable")


class _AfterImport:
    """Patches as soon as the experience maker is imported: most Ray workers never do."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != HOME:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        loader: Any = spec.loader if spec else None
        execute = loader.exec_module

        def execute_and_patch(module: Any) -> None:
            execute(module)
            patch(os.environ[ENVIRONMENT])

        loader.exec_module = execute_and_patch
        return spec


def setup() -> None:
    """Ray's `worker_process_setup_hook`: the patch waits for the import."""
    sys.meta_path.insert(0, _AfterImport())


def main() -> None:
    """OpenRLHF's `train_ppo_ray` with `setup` in every Ray worker; ADVSHAPE names the objective."""
    require("openrlhf", VERSIONS)
    Objective.read(os.environ.get(ENVIRONMENT))
    import ray

    init, hook = ray.init, "advshape.adapters.openrlhf.setup"

    @wraps(init)
    def with_setup(*given: Any, runtime_env: Any = None, **options: Any) -> Any:
        own = dict(runtime_env or {})
        own["env_vars"] = {**own.get("env_vars", {}), ENVIRONMENT: os.environ[ENVIRONMENT]}
        return init(*given, runtime_env={**own, "worker_process_setup_hook": hook}, **options)

    ray.init = with_setup
    runpy.run_module("openrlhf.cli.train_ppo_ray", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
