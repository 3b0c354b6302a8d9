"""Lines to paste into a trainer: what ``advshape derive`` prints at its end. A test runs every one of them."""

from __future__ import annotations

import json
import shlex
from typing import Any

__all__ = ["trl_code", "verl_code"]

_SCALED = "at unit rms, GRPO's scale: a learning rate tuned for GRPO is a good start"


def trl_code(spec: Any, n: int) -> str:
    """A trainer with the estimator that `spec` names; `settings` and the other plain names are the reader's own."""
    how = f"{spec} at unit rms" if isinstance(spec, str) else {**spec, "scale": "rms"}
    rate = _SCALED if _is_scaled(spec) else f"in its own scale; {how!r} has GRPO's, for GRPO's learning rate"
    return f"""\
from trl import GRPOConfig

from advshape.adapters.trl import SurrogateGRPOTrainer

trainer = SurrogateGRPOTrainer(
    model,
    reward_funcs=verify,  # 1 right, 0 wrong, None not judged
    args=GRPOConfig(**settings, num_generations={n}, loss_type="dr_grpo"),
    train_dataset=prompts,
    estimator={spec!r},
)  # {rate}"""


def verl_code(spec: Any, n: int) -> str:
    """Overrides for verl's command line: an installed advshape registers itself, verl finds it by name."""
    parts = {"estimator": spec} if isinstance(spec, str) else dict(spec)
    own = [shlex.quote(f"+algorithm.advshape.{key}={json.dumps(value)}") for key, value in parts.items()]
    lines = ["python -m verl.trainer.main_ppo", f"actor_rollout_ref.rollout.n={n}", "algorithm.adv_estimator=advshape"]
    rate = "in its own scale; +algorithm.advshape.scale=rms has GRPO's, for GRPO's learning rate"
    return f"# {_SCALED if _is_scaled(spec) else rate}\n" + " \\\n    ".join([*lines, *own])


def _is_scaled(spec: Any) -> bool:
    return spec.endswith("at unit rms") if isinstance(spec, str) else "scale" in spec
