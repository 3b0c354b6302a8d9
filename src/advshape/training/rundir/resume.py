"""Going on exactly: a killed run that is resumed ends with the bits of the run that was never stopped.

TRL 1.16 and transformers save weights, optimiser, schedule and random states. What they leave out is here:

- the order of the prompts is a function of (seed, epoch), so that a later epoch can be entered in the middle
  (TRL's sampler draws one permutation after the other, and starts with the first one again);
- checkpoints are made only where nothing that was generated is left unused and everything measured is logged;
- a checkpoint of the last step is followed by no further step;
- a checkpoint appears whole or not at all, under its own name: it is written beside and renamed.

Steps' wall times are outside: they are measured anew.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import rotate_checkpoints
from trl.trainer.utils import RepeatSampler

from advshape.training.rundir.checkpoints import RECIPE, seal

PARTIAL = ".partial"  # where a checkpoint is written, beside the finished ones


class EpochSampler(RepeatSampler):  # type: ignore[misc]
    """TRL's sampler, whose permutation depends on (seed, epoch) alone and not on what was drawn before."""

    epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the permutation of the next pass."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        if self.shuffle:
            self.generator = torch.Generator().manual_seed((int(self.seed or 0) + 1_000_003 * self.epoch) % 2**63)
        return super().__iter__()


class ExactResume:
    """Mixin for a ``GRPOTrainer`` (it stands before it): what a checkpoint of TRL's lacks to go on bit by bit."""

    args: Any
    accelerator: Any
    state: TrainerState
    control: TrainerControl
    num_iterations: int
    _step: int
    recipe_toml: str = ""
    _partial: bool = False
    _sampler: EpochSampler | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.add_callback(_ResumeCallback(self))  # type: ignore[attr-defined]

    def at_boundary(self) -> bool:
        """Can a run go on from here? Nothing generated is unused, and every metric has been logged."""
        per_generation = self.args.steps_per_generation * self.num_iterations
        return self._step % per_generation == 0 and self.state.global_step % self.state.logging_steps == 0

    def _get_train_sampler(self, dataset: Any = None) -> EpochSampler:
        theirs = super()._get_train_sampler(dataset)  # type: ignore[misc]
        if hasattr(theirs, "set_epoch"):  # it can be entered in the middle of an epoch already
            self._sampler = theirs
            return theirs
        names = ("data_source", "mini_repeat_count", "batch_size", "repeat_count", "shuffle", "seed")
        self._sampler = EpochSampler(**{name: getattr(theirs, name) for name in names})
        return self._sampler

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """As transformers does, which otherwise takes a step before it asks whether one is left."""
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **kwargs)  # type: ignore[misc]
        else:
            self.control.should_training_stop = True

    def _get_output_dir(self, trial: Any) -> str:
        directory = super()._get_output_dir(trial=trial)  # type: ignore[misc]
        return os.path.join(directory, PARTIAL) if self._partial else str(directory)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """As transformers does, but into a folder beside; then it is renamed, and old ones go."""
        place = Path(self._get_output_dir(trial))
        partial, name = place / PARTIAL, f"checkpoint-{self.state.global_step}"
        main = self.accelerator.is_main_process
        if main:
            shutil.rmtree(partial, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self._partial = True
        try:
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
        except Exception as error:
            if main:
                shutil.rmtree(partial, ignore_errors=True)
            raise _not_saved(error, place, name) from error
        finally:
            self._partial = False
        self.accelerator.wait_for_everyone()
        if main:
            (partial / name / RECIPE).write_text(self.recipe_toml, encoding="utf-8")
            seal(partial / name)
            _publish(partial / name, place / name)
            rotate_checkpoints(
                output_dir=str(place), save_total_limit=self.args.save_total_limit
            )  # by step: a clock can be set back
        self.accelerator.wait_for_everyone()


class _ResumeCallback(TrainerCallback):  # type: ignore[misc]
    """Sets the sampler's epoch, and moves a checkpoint that is due to the next step from which one can go on."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.due = False

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kw: Any) -> None:
        if self.trainer._sampler is not None:
            self.trainer._sampler.set_epoch(int(round(state.epoch or 0.0, 6)))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kw: Any
    ) -> TrainerControl:
        last = state.global_step >= state.max_steps  # nothing is generated after it
        self.due = self.due or control.should_save
        control.should_save = self.due and (last or self.trainer.at_boundary())
        self.due = self.due and not control.should_save
        return control

    on_epoch_end = on_step_end


def _publish(source: Path, target: Path) -> None:
    """Make a finished folder appear under its name, after its bytes are on the disk."""
    for file in source.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            with contextlib.suppress(OSError):  # some file systems cannot
                os.fsync(descriptor)
            os.close(descriptor)
    if target.exists():  # the same step, from an earlier sitting
        shutil.rmtree(target)
    os.replace(source, target)
    source.parent.rmdir()


def _not_saved(error: Exception, place: Path, name: str) -> OSError:
    free = shutil.disk_usage(place if place.exists() else place.parent).free
    kept = sorted(p.name for p in place.glob("checkpoint-*"))
    return OSError(
        f"{name} could not be written to {place} ({type(error).__name__}: {error}; {free / 1e6:.0f} MB free there); "
        + (f"{', '.join(kept)} are whole" if kept else "there is no earlier checkpoint")
        + ": make room, then go on with --resume"
    )
