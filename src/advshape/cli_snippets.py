"""Lines to paste into a trainer: what ``advshape derive`` prints at its end. A test runs every one of them."""

from __future__ import annotations

from typing import Any

__all__ = ["trl_code", "verl_code"]


def trl_code(spec: Any, n: int) -> str:
    """A trainer with the estimator that `spec` names; `settings` and the other plain names are the reader's own."""
    return f"""\
from trl import GRPOConfig

from advshape.adapters.trl import SurrogateGRPOTrainer

trainer = SurrogateGRPOTrainer(
    model,
    reward_funcs=verify,  # 1 right, 0 wrong, None not judged
    args=GRPOConfig(**settings, num_generations={n}, loss_type="dr_grpo"),
    train_dataset=prompts,
    estimator={spec!r},
)"""


def verl_code(spec: Any) -> str:
    """A module that registers the estimator with verl, which hands over flat batches with one uid per rollout."""
    return f"""\
import advshape as adv
from verl.trainer.ppo.core_algos import register_adv_est

RULE = adv.estimator({spec!r})


@register_adv_est("advshape")
def advshape_advantages(token_level_rewards, response_mask, index, config=None, **kwargs):
    rewards = token_level_rewards.sum(dim=-1)  # (bs,): 1 right, 0 wrong
    advantages = adv.advantages(rewards, RULE, groups=index, too_small="zero")
    advantages = advantages.unsqueeze(-1) * response_mask  # (bs, T)
    return advantages, advantages"""
