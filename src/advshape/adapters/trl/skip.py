"""Rollouts with advantage exactly 0 leave the optimisation step of TRL's `GRPOTrainer` (TRL 1.16); the loss stays.

Every loss of TRL is a mean of terms that are homogeneous in the advantage: a rollout with advantage 0 adds 0 to loss
and gradient, but counts in the mean's divisor. So the rows of such rollouts are cut out of each micro-batch
after generation, and the advantages of the kept rows are multiplied by kept / all of what the loss divides by
(`trl_options.KEPT_SHARE`).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from typing import Any, cast

import torch
from trl import GRPOTrainer

from advshape.adapters.trl.options import KEPT_SHARE, skipping_is_off

__all__ = ["SkipZeroAdvantages", "keep_rows", "kept_rows"]

logger = logging.getLogger("advshape")
Batch = Mapping[str, Any]


class SkipZeroAdvantages:
    """Spares a `GRPOTrainer`, or a subclass, the forward and backward passes of rollouts with advantage exactly 0.

    `class MyTrainer(SkipZeroAdvantages, GRPOTrainer): ...` (the mixin stands first); whose advantages they are does
    not matter. Loss and gradient are TRL's up to rounding. Several processes keep equally many rows, the most that
    one of them needs, and at least one row, so that all take part in what they do together.

    It switches itself off, and says so once, where a dead rollout does act (`trl_options.skipping_is_off`): `beta`,
    an entropy bonus, a router's auxiliary loss, `top_entropy_quantile` below 1; with image inputs; and for subclasses
    with a loss of their own. Dropout in the model is drawn for the kept rows alone, from the same distribution.

    Args:
        skip_zero_advantages: False leaves everything to TRL.
        *args, **kwargs: the trainer's own.

    Metrics:
        `advshape/rollouts_skipped`: share of the generation batch, over all processes.
        `advshape/seconds_saved`: an estimate for each optimiser step, on this process: the skipped tokens, padding
        included, times the least time that a token of a kept row has taken so far. Where few rows fill the
        machine badly it is too high until a fuller micro-batch was seen; on a GPU the last backward pass of a step is
        not waited for, which makes it too low.

        TRL's `entropy` and `clip_ratio/*` describe the kept rows only.
    """

    accelerator: Any
    args: Any
    model: Any
    current_gradient_accumulation_steps: int
    loss_type: str
    _buffered_inputs: Any
    _metrics: Any
    _step: int

    def __init__(self, *args: Any, skip_zero_advantages: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.skip_zero_advantages = skip_zero_advantages
        self._tokens: list[tuple[int, int]] = []  # kept and skipped, with padding, of each micro-batch in the buffer
        self._preparing = 0.0
        self._seconds_saved = 0.0
        self._seconds_per_token = math.inf
        if skip_zero_advantages and (reason := self.why_not_skip()):
            self._switch_off(reason)

    def why_not_skip(self) -> str | None:
        """Why this trainer's loss needs the rollouts with advantage 0; None: it does not. The hook to override."""
        own = [name for name in ("compute_loss", "_compute_loss") if _overridden(type(self), name)]
        if own:
            return f"{type(self).__name__} has its own {own[0]}"
        if getattr(self, "aux_loss_enabled", False):
            return "the load-balancing loss of the model's router acts on rollouts with advantage 0 too"
        return skipping_is_off(self.args)

    def _switch_off(self, reason: str) -> None:
        self.skip_zero_advantages, self._tokens = False, []
        if self.accelerator.is_main_process:
            logger.warning("Rollouts with advantage 0 are not skipped: %s.", reason)

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        start, before = time.perf_counter(), self._buffered_inputs
        inputs = cast(Any, super())._prepare_inputs(generation_batch)
        if self.skip_zero_advantages and self._buffered_inputs is not before:  # training, and just generated
            self._cut()
            inputs = self._buffered_inputs[self._step % self.args.steps_per_generation]
        self._preparing = time.perf_counter() - start
        return inputs

    def _cut(self) -> None:
        batches = self._buffered_inputs
        rows, kept = [len(batch["advantages"]) for batch in batches], kept_rows(batches, self.accelerator)
        if max(kept) > max(rows):  # on all processes alike
            self._switch_off("the batch holds images, whose tensors have no row for each rollout")
            return
        self._buffered_inputs = [keep_rows(b, k, self.loss_type) for b, k in zip(batches, kept, strict=True)]
        columns = [int(b["prompt_ids"].shape[1] + b["completion_ids"].shape[1]) for b in batches]
        self._tokens = [(k * c, (n - k) * c) for n, k, c in zip(rows, kept, columns, strict=True)]
        self._metrics["train"]["advshape/rollouts_skipped"].append(1 - sum(kept) / sum(rows))

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """TRL's, timed."""
        start, i = time.perf_counter(), self._step % self.args.steps_per_generation
        loss = cast(Any, super()).training_step(model, inputs, num_items_in_batch)
        if self._tokens:
            kept, skipped = self._tokens[i]
            seconds = time.perf_counter() - start - self._preparing
            self._seconds_per_token = min(self._seconds_per_token, seconds / kept)
            self._seconds_saved += skipped * self._seconds_per_token
            if self._step % self.current_gradient_accumulation_steps == 0:  # as TRL logs its `step_time`
                self._metrics["train"]["advshape/seconds_saved"].append(self._seconds_saved)
                self._seconds_saved = 0.0
        return cast(torch.Tensor, loss)


def kept_rows(batches: list[Batch], accelerator: Any) -> list[int]:
    """How many rows of each micro-batch every process keeps: the most that one of them needs, at least one.

    Every process calls it once for a generation. With images on any process: a number above the rows there are.
    """
    needs = [len(b["advantages"]) + 1 if _has_images(b) else int(_alive(b).sum()) for b in batches]
    counts = torch.tensor([needs], device=accelerator.device)
    return cast(list[int], accelerator.gather(counts).amax(dim=0).clamp(min=1).tolist())


def keep_rows(batch: Batch, count: int, loss_type: str) -> Batch:
    """A micro-batch of `count` rows with the loss and gradient of the whole one.

    Args:
        batch: TRL's: tensors and lists with one row for each rollout, and scalars.
        count: rows to keep, at least as many as have an advantage other than 0; dead ones fill up.
        loss_type: TRL's.

    >>> batch = {"advantages": torch.tensor([0.0, 2.0, 0.0, -2.0]), "completion_mask": torch.ones(4, 3)}
    >>> keep_rows(batch, 2, "dr_grpo")["advantages"]
    tensor([ 1., -1.])
    """
    rows = len(batch["advantages"])
    if count == rows:
        return batch
    order = torch.sort((~_alive(batch)).int(), stable=True).indices
    index = order[:count].sort().values

    def cut(value: Any) -> Any:
        if value is None or (isinstance(value, torch.Tensor) and value.ndim == 0):
            return value
        return value[index] if isinstance(value, torch.Tensor) else [value[i] for i in index.tolist()]

    kept = {key: cut(value) for key, value in batch.items()}
    share = {"rows": count / rows, "tokens": _tokens(kept) / _tokens(batch), "none": 1.0}
    kept["advantages"] = kept["advantages"] * share[KEPT_SHARE[loss_type]]
    return kept


def _alive(batch: Batch) -> torch.Tensor:
    """(rows,) bool. A subclass may hold an advantage for each token."""
    advantages = batch["advantages"]
    return cast(torch.Tensor, (advantages != 0).reshape(len(advantages), -1).any(dim=1))


def _tokens(batch: Batch) -> Any:
    """Tokens that the loss counts, at least 1, as TRL clamps it."""
    mask = batch["completion_mask"]
    return (mask * batch["tool_mask"] if "tool_mask" in batch else mask).sum().clamp(min=1)


def _has_images(batch: Batch) -> bool:
    return "pixel_values" in batch or "num_images" in batch


def _overridden(cls: type, name: str) -> bool:
    return getattr(cls, name) is not getattr(GRPOTrainer, name)
