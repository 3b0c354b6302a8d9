"""How much more do short answers weigh where a loss is divided by the tokens of its batch?"""

from __future__ import annotations

import numpy as np

from advshape.bernstein import basis

__all__ = ["NOTICEABLE", "small_batch", "weight_of_short"]

NOTICEABLE = 1.05  # ratios below are not worth a warning: 35 prompts or more


def weight_of_short(prompts: int, short: int = 10, long: int = 100) -> float:
    """Expected weight of a prompt of short answers over one of long answers, in batches of so many prompts.

    The factor 1 / (tokens of the batch) is common to a batch, but is larger where its prompts are short: over many
    batches prompts of short answers weigh more. Model: each prompt's answers are all short or all long, with equal
    chance and whatever the others' are; exact. 1 under a loss that divides by a fixed number, as TRL's dr_grpo.

    >>> [round(weight_of_short(prompts), 2) for prompts in (1, 2, 4, 16, 64)]
    [10.0, 4.19, 1.94, 1.12, 1.03]
    """
    others = prompts - 1
    number_long = np.arange(prompts)
    chance = basis(others, 0.5)
    tokens = number_long * long + (others - number_long) * short
    return float(chance @ (1 / (tokens + short)) / (chance @ (1 / (tokens + long))))


def small_batch(prompts: int, what: str) -> str | None:
    """What a loss divided by the tokens of `what` does with so many prompts in it; None where it is hardly seen."""
    ratio = weight_of_short(max(1, prompts))
    if ratio < NOTICEABLE:
        return None
    return (
        f"divides {what} by its tokens: with {prompts} prompt{'s' if prompts > 1 else ''} in it, a prompt of 10-token "
        f"answers weighs {ratio:.3g} times one of 100-token answers"
    )
