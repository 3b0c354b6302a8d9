"""What is known to go wrong in such training, told from the logged metrics alone; needs no torch.

Every rule is a pure function of the lines that were logged so far, and looks only at windows whose length is fixed.
A step below is a logged line (``logging_steps = 1``: a step).  The thresholds are chosen so that none of them fires
on the healthy recorded runs (``tests/data/runs``), and each is far from what those show; ``docs/recipes.md`` lists
them with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

import numpy as np

__all__ = ["RULES", "WarningSign", "dead_share", "first_signs", "warning_signs"]

History = Sequence[Mapping[str, Any]]  # lines of metrics.jsonl, oldest first

FEW = 5  # steps over which a bad state has to last
NOT_JUDGED = 0.05  # share of rollouts, over NOT_JUDGED_STEPS: from there on pass@k is known to a few points only
NOT_JUDGED_STEPS = 10
COLLAPSED = 0.1  # of the entropy at the start; reward saturates as entropy goes to 0 (arXiv:2505.22617)
CLIPPED = 0.95  # share of completions cut off at max_completion_length
KL = 1.0  # nats per token: its own tokens are e times as likely as under the reference, on average
NORM_GROWTH = 10.0  # times the median of the first NORM_STEPS gradient norms
NORM_STEPS = 20
LEVEL_STEPS = 100  # most steps, in two halves, whose mean rewards are compared
FALL_STEPS, FALL_T, FALL_SHARE = 40, -6.0, 0.4  # fewest steps; the difference in standard errors; of the earlier half
RISE_STEPS, RISE_T = 20, 3.0
SOLVED = 0.9  # of rollouts right: little is left to explore


@dataclass(frozen=True)
class WarningSign:
    """Something known to be bad: the step it was first seen at, what was seen, and what to do."""

    name: str
    step: int
    seen: str
    advice: str

    def __str__(self) -> str:
        return f"step {self.step}: {self.seen}; {self.advice}"

    def to_json(self) -> dict[str, Any]:
        """As ``summary.json`` keeps it."""
        return asdict(self)


def warning_signs(history: History) -> tuple[WarningSign, ...]:
    """Every sign in a whole history, each where it is first seen, in that order.

    >>> dead = [{"step": s, "loss": 0.0, "advshape/prompts_mixed": 0.0} for s in range(1, 9)]
    >>> [(sign.name, sign.step) for sign in warning_signs(dead)]
    [('groups_dead', 5)]
    >>> warning_signs(dead[:4])
    ()
    """
    found: tuple[WarningSign, ...] = ()
    for end in range(1, len(history) + 1):
        found += first_signs(history[:end], [sign.name for sign in found])
    return found


def first_signs(history: History, known: Sequence[str] = ()) -> tuple[WarningSign, ...]:
    """The signs at the last line of a history whose names are not yet known.

    Args:
        history: logged lines, oldest first; ``step`` and TRL's and advshape's metrics as ``metrics.jsonl`` has them
            (null or NaN: not finite); what a line does not hold is not judged.
        known: names that were seen before.
    """
    found = []
    for name, (rule, advice) in RULES.items():
        seen = None if name in known or not history else rule(history)
        if seen is not None:
            found.append(WarningSign(name, int(history[-1].get("step", len(history))), seen, advice))
    return tuple(found)


def dead_share(line: Mapping[str, Any]) -> float | None:
    """The share of groups whose rollouts all got the same reward, which teach nothing; None where it is not logged."""
    mixed, equal = line.get("advshape/prompts_mixed"), line.get("frac_reward_zero_std")
    return 1.0 - mixed if mixed is not None else equal


def _not_finite(history: History) -> str | None:
    """Loss or gradient norm of the last step; TRL's loss is logged filtered, so the norm tells more."""
    last = history[-1]
    bad = [name for name in ("loss", "grad_norm") if name in last and not _finite(last[name])]
    return f"{' and '.join(bad)} {'is' if len(bad) == 1 else 'are'} not finite" if bad else None


def _groups_dead(history: History) -> str | None:
    shares = [dead_share(line) for line in history[-FEW:]]
    dead = len(shares) == FEW and all(share is not None and share > 1 - 1e-6 for share in shares)
    return f"for {FEW} steps every group's rollouts got the same reward, so nothing was learned" if dead else None


def _not_judged(history: History) -> str | None:
    found = _last(history, "advshape/rollouts_not_judged", NOT_JUDGED_STEPS)
    if len(found) < FEW or fmean(found) <= NOT_JUDGED:
        return None
    return f"{fmean(found):.0%} of the rollouts of the last {len(found)} steps were not judged"


def _entropy_collapse(history: History) -> str | None:
    start, recent = _values(history[:FEW], "entropy"), _last(history, "entropy", FEW)
    if len(history) < 2 * FEW or min(len(start), len(recent)) < FEW or fmean(recent) >= COLLAPSED * fmean(start):
        return None
    if _going_well(history):
        return None
    return f"the entropy fell from {fmean(start):.3g} to {fmean(recent):.3g} nats per token, below a tenth"


def _reward_falls(history: History) -> str | None:
    found = _levels(history, FALL_STEPS)
    if found is None or found[2] > FALL_T or found[0] - found[1] < FALL_SHARE * abs(found[0]):
        return None
    steps = min(len(_last(history, "reward", LEVEL_STEPS)), LEVEL_STEPS) // 2
    return f"the reward fell from {found[0]:.3g} to {found[1]:.3g} (means over {steps} steps and the {steps} before)"


def _levels(history: History, fewest: int) -> tuple[float, float, float] | None:
    """The mean rewards of the two halves of the last steps, and their difference in standard errors.

    Rewards of neighbouring steps are alike, so that h of them tell as much as h (1 - r) / (1 + r) independent ones,
    with r their correlation (the effective sample size of a first-order autoregression). r is that of the residuals
    from a line through each half, plus what such an estimate is too low by (Kendall, Biometrika 41, 1954).
    """
    y = np.asarray(_last(history, "reward", LEVEL_STEPS))
    h = len(y) // 2
    if 2 * h < fewest:
        return None
    halves = y[len(y) - 2 * h :].reshape(2, h)
    x = np.arange(h) - (h - 1) / 2
    rest = halves - halves.mean(axis=1, keepdims=True) - np.outer(halves @ x / (x @ x), x)
    square = float((rest * rest).sum())
    before, after = (float(mean) for mean in halves.mean(axis=1))
    if square <= 1e-18 * float((halves * halves).sum()):  # two lines without noise
        return before, after, math.copysign(math.inf, after - before) if after != before else 0.0
    r = (h * float((rest[:, 1:] * rest[:, :-1]).sum()) / square + 1) / (h - 4)
    r = min(max(r, 0.0), 0.99)
    error = math.sqrt(2 * square / (2 * (h - 2)) / max(1.0, h * (1 - r) / (1 + r)))
    return before, after, (after - before) / error


def _going_well(history: History) -> bool:
    """Whether the reward rises, or nearly all rollouts are right: less entropy and larger gradients go with both."""
    right, levels = _last(history, "advshape/pass_at_1", FEW), _levels(history, RISE_STEPS)
    return (len(right) == FEW and fmean(right) >= SOLVED) or (levels is not None and levels[2] > RISE_T)


def _all_clipped(history: History) -> str | None:
    found = _last(history, "completions/clipped_ratio", FEW)
    if len(found) < FEW or fmean(found) < CLIPPED:
        return None
    return f"{fmean(found):.0%} of the completions of the last {FEW} steps were cut off"


def _kl_explosion(history: History) -> str | None:
    found = _last(history, "kl", FEW)
    if len(found) < FEW or fmean(found) <= KL:
        return None
    return f"the KL from the reference is {fmean(found):.3g} nats per token over the last {FEW} steps"


def _gradient_explosion(history: History) -> str | None:
    """Steps without any gradient (all groups dead) are left out: they say nothing of its size."""
    start = [norm for norm in _values(history[: 2 * NORM_STEPS], "grad_norm") if norm > 0][:NORM_STEPS]
    recent = [norm for norm in _values(history[-2 * FEW :], "grad_norm") if norm > 0][-FEW:]
    if len(start) < NORM_STEPS or len(recent) < FEW or median(recent) <= NORM_GROWTH * median(start):
        return None
    if _going_well(history):
        return None
    return f"the gradient norm grew from {median(start):.3g} to {median(recent):.3g} (medians, before clipping)"


RULES: Mapping[str, tuple[Callable[[History], str | None], str]] = {
    "not_finite": (
        _not_finite,
        "stop: the weights are lost or soon will be; go on from an earlier checkpoint with a smaller learning_rate, "
        "max_grad_norm = 1.0, and bf16 or float32 rather than fp16",
    ),
    "groups_dead": (
        _groups_dead,
        "look into rollouts.jsonl: if all are wrong, choose easier problems, a longer max_completion_length, a larger "
        "num_generations or a smaller learning_rate; if all are right, choose harder problems",
    ),
    "not_judged": (
        _not_judged,
        "the reasons stand in rollouts.jsonl (field reason): mend the verifier or give it more time",
    ),
    "entropy_collapse": (
        _entropy_collapse,
        "the policy hardly explores any more: take a smaller learning_rate, an objective that rewards exploration "
        '(estimator = "pass_at_k" with a larger k), an entropy term, or stop here',
    ),
    "reward_falls": (
        _reward_falls,
        "the learning_rate is probably too high: go on from an earlier checkpoint with a third of it (expected only "
        "where a sampler moves to harder problems)",
    ),
    "all_clipped": (
        _all_clipped,
        "from the first step on: max_completion_length is too short for an answer, raise it, or the model never writes "
        "its end token; later: the policy has broken, go on from an earlier checkpoint with a smaller learning_rate",
    ),
    "kl_explosion": (
        _kl_explosion,
        "the policy has left the reference: take a smaller learning_rate or a larger beta",
    ),
    "gradient_explosion": (
        _gradient_explosion,
        "take a smaller learning_rate or a longer warmup_steps, and keep max_grad_norm at 1.0 or below",
    ),
}
"""Name -> (what is seen at the last line, or None; what to do)."""


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _values(history: History, name: str) -> list[float]:
    return [float(line[name]) for line in history if _finite(line.get(name))]


def _last(history: History, name: str, count: int) -> list[float]:
    """The finite values among the last ``count`` lines."""
    return _values(history[-count:], name)
