"""Prioritised sampling inside TRL's `GRPOTrainer` (TRL 1.16): hard prompts come more often, every prompt comes again.

The loader runs ahead: the prompts of a generation are drawn before the one before it has been judged, so that a draw
sees rewards one generation late (one optimiser step, where that holds several generations). What was drawn ahead lies
in the checkpoint; a resumed run takes it from there and replays nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import numpy as np
from trl.trainer.utils import RepeatSampler

from advshape.curriculum.history import PromptHistory, priority
from advshape.curriculum.prioritized import PrioritizedBatches
from advshape.errors import AdvshapeError

__all__ = ["PrioritizedMixin", "PrioritizedSampler"]

SAMPLER_FILE = "prompt_sampler.json"  # in every checkpoint of a run with prioritized=


class PrioritizedSampler(RepeatSampler):  # type: ignore[misc]
    """TRL's sampler, whose batches of prompts are drawn by `weights()`; an epoch is as long as TRL's.

    theirs: TRL's sampler for the same data; batches: how to draw; weights: the prompts' weights now, in order.
    """

    def __init__(self, theirs: RepeatSampler, batches: PrioritizedBatches, weights: Callable[[], Any]) -> None:
        names = ("data_source", "mini_repeat_count", "batch_size", "repeat_count", "shuffle", "seed")
        super().__init__(**{name: getattr(theirs, name) for name in names})
        self.batches, self.weights, self.epoch = batches, weights, 0
        self._last: tuple[int, list[int]] | None = None  # the last draw: its number, its prompts
        self._restored: tuple[int, list[int]] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Number the batches of the next pass from `epoch` passes on."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        per_epoch = self.num_samples // self.batch_size
        for number in range(self.epoch * per_epoch, (self.epoch + 1) * per_epoch):
            prompts = self._batch(number)
            for _ in range(self.repeat_count):
                for index in prompts:
                    yield from [index] * self.mini_repeat_count

    def _batch(self, number: int) -> list[int]:
        if self._restored is not None and number < self._restored[0]:
            return [0] * self.batch_size  # trained before the checkpoint: the loader skips it
        if self._restored is not None and number == self._restored[0]:
            self._last = self._restored
        else:
            self._last = (number, self.batches.draw(number, self.weights()).tolist())
        self._restored = None
        return self._last[1]

    def state_dict(self) -> dict[str, Any]:
        """The last draw: the one that the loader has made ahead."""
        number, prompts = self._last or (-1, [])
        return {"number": number, "prompts": prompts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after the draw of a checkpoint; a checkpoint of other data is refused."""
        number, prompts = state["number"], list(state["prompts"])
        if number >= 0 and (len(prompts) != self.batch_size or not all(0 <= i < self.num_samples for i in prompts)):
            raise AdvshapeError(
                f"the checkpoint drew {len(prompts)} prompts, up to index {max(prompts, default=-1)}; this run draws "
                f"{self.batch_size} of {self.num_samples}: go on with the recipe and the problems that it began with"
            )
        self._last = self._restored = (number, prompts) if number >= 0 else None


class PrioritizedMixin:
    """Draws a `SurrogateMixin`'s prompts by priority (it stands before it in the list of bases).

    Args:
        prioritized: None, or {"floor": 0.05, "within": generations}: prompts are drawn in proportion to
            (1 - rate of earlier visits) + floor (`advshape.priority`), and every prompt comes within that many
            generations (`PrioritizedBatches`). Needs `history`.
    """

    args: Any
    history: PromptHistory | None
    num_generations: int
    train_dataset: Any
    history_key: str
    prompt_ids: Any

    def __init__(self, *args: Any, prioritized: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        self.prioritized = prioritized
        self._prioritized_sampler: PrioritizedSampler | None = None
        if prioritized is not None:
            if set(prioritized) != {"floor", "within"}:
                raise AdvshapeError(f"prioritized= takes floor and within, got {sorted(prioritized)}")
            if kwargs.get("history") is None:
                raise AdvshapeError("prioritized= looks at earlier visits: give history=PromptHistory()")
        super().__init__(*args, **kwargs)

    def _check(self, config: Any) -> None:
        cast(Any, super())._check(config)
        if self.prioritized is not None and config.dataloader_num_workers:
            raise AdvshapeError(
                f"dataloader_num_workers={config.dataloader_num_workers} draws prompts far ahead of their rewards; "
                "prioritised sampling needs 0"
            )

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        theirs = cast(Any, super())._get_train_sampler(dataset)
        if self.prioritized is None:
            return theirs
        rows = self.train_dataset if dataset is None else dataset
        ids = self.prompt_ids([{self.history_key: value} for value in rows[self.history_key]])
        floor, history = self.prioritized["floor"], cast(PromptHistory, self.history)
        within, seed = self.prioritized["within"], int(theirs.seed or 0)
        batches = PrioritizedBatches(len(ids), theirs.batch_size, within, seed)
        self._prioritized_sampler = PrioritizedSampler(theirs, batches, lambda: _weights(history, ids, floor))
        return self._prioritized_sampler

    def _stateful(self) -> dict[str, Any]:
        found: dict[str, Any] = cast(Any, super())._stateful()
        sampler = self._prioritized_sampler
        return found if sampler is None else found | {SAMPLER_FILE: (sampler.state_dict, sampler.load_state_dict)}


def _weights(history: PromptHistory, ids: list[str | int], floor: float) -> Any:
    return np.asarray(priority(history.prior(ids), floor))
