"""The pieces that a run hangs onto TRL's trainer: reward function, rollout log, metrics, progress, a soft stop."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate.utils import gather_object
from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from advshape.adapters.trl.metrics import binary_metrics
from advshape.errors import AdvshapeError
from advshape.evaluation.logs.jsonl import append_jsonl, read_jsonl
from advshape.evaluation.sampling.bars import bar_options, stderr_width
from advshape.passk import pass_at_k
from advshape.tasks import Problem, Task, Verdict
from advshape.tasks.judging import RAISED, verdicts
from advshape.training.monitor.progress import progress_line
from advshape.training.monitor.warning_signs import WarningSign, first_signs, warning_signs


class Judge:
    """The task as TRL's reward function; remembers the verdicts of the last batch for the rollout log.

    Called with ``completions`` and the data set's column ``problem_id``; returns 1.0, 0.0, or None where the
    verifier could not judge.
    """

    __name__ = "verdict"

    def __init__(self, task: Task, problems: Sequence[Problem]) -> None:
        self.task = task
        self.problems: Mapping[str, Problem] = {problem.id: problem for problem in problems}
        self.last: list[dict[str, Any]] = []

    def __call__(
        self, prompts: Any, completions: Sequence[Any], problem_id: Sequence[str], **columns: Any
    ) -> list[float | None]:
        texts = [completion_text(completion) for completion in completions]
        found = verdicts(self.task, [self.problems[key] for key in problem_id], texts)
        if all(verdict.outcome == "not_judged" and verdict.reason.startswith(RAISED) for verdict in found):
            raise AdvshapeError(
                f"the task {self.task.name!r} judged none of {len(found)} rollouts: {found[0].reason}; mend the "
                "verifier, then go on with --resume"
            )
        self.last = [
            {
                "problem": key,
                "completion": text,
                "reward": reward(verdict),
                "verdict": verdict.outcome,
                "reason": verdict.reason,
            }
            for key, text, verdict in zip(problem_id, texts, found, strict=True)
        ]
        return [reward(verdict) for verdict in found]


def reward(verdict: Verdict) -> float | None:
    """1.0, 0.0, or None: TRL's word for a rollout that was not judged."""
    return None if verdict.outcome == "not_judged" else verdict.reward


def completion_text(completion: Any) -> str:
    """The text of a completion, plain or conversational."""
    return completion if isinstance(completion, str) else str(completion[-1]["content"])


class LoggedRollouts:
    """Mixin: appends each training rollout to ``rollouts.jsonl`` with the advantage that the loss gets.

    Adds the metrics of ``batch_metrics`` to what TRL logs; ``pass_k`` is their k.
    """

    accelerator: Any
    model: Any
    state: TrainerState
    judge: Judge
    rollout_path: Path
    pass_k: int
    num_generations: int
    _metrics: Any

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        logged = self._metrics["train"]
        before = {name: len(values) for name, values in logged.items()}
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        if self.model.training:
            advantages = output["advantages"].tolist()
            step = self.state.global_step + 1
            mine = [
                {"step": step, **record, "advantage": advantage}
                for record, advantage in zip(self.judge.last, advantages, strict=True)
            ]
            records = gather_object(mine)
            if self.accelerator.is_main_process:
                append_jsonl(self.rollout_path, records)
            for name, value in batch_metrics(records, self.num_generations, self.pass_k).items():
                key = f"advshape/{name}"
                if len(logged[key]) == before.get(key, 0):  # the estimator's trainer has logged most of them itself
                    logged[key].append(value)
        return output


def batch_metrics(records: Sequence[Mapping[str, Any]], n: int, k: int) -> dict[str, float]:
    """What a generation batch says of itself under any trainer, also TRL's own; nothing where rewards are not 0/1.

    Args:
        records: ``reward`` of each rollout, 1, 0 or None; whole groups of n.
        n: rollouts of a group.
        k: for ``pass_at_<k>``, the mean over the groups with k judged rollouts or more.

    >>> found = batch_metrics([{"reward": r} for r in (1.0, 0.0, 0.0, None)], n=2, k=2)
    >>> found["prompts_mixed"], found["rollouts_not_judged"], found["pass_at_2"]
    (0.5, 0.25, 1.0)
    """
    values = [math.nan if record["reward"] is None else float(record["reward"]) for record in records]
    if not {value for value in values if value == value} <= {0.0, 1.0}:
        return {}
    rewards = torch.tensor(values).view(-1, n)
    judged, right = (~rewards.isnan()).sum(dim=1).numpy(), rewards.nansum(dim=1).numpy()
    enough = judged >= k
    passed = pass_at_k(right[enough], judged[enough], k)
    shares = {"rollouts_not_judged": float(rewards.isnan().float().mean())}
    if judged.any():
        shares |= binary_metrics(rewards, [None] * len(rewards))
    return shares | ({f"pass_at_{k}": float(passed.mean())} if enough.any() else {})


class MetricsLog(TrainerCallback):  # type: ignore[misc]
    """Appends what TRL logs of each step to ``metrics.jsonl``, with the seconds since training began.

    The line with which transformers ends a sitting (``train_runtime`` and means over the sitting) is left out: it
    is no step, and would stand there once for each sitting.  ``history`` holds all lines; a sign of something known
    to be bad is handed to ``tell`` when it is first seen, and what an earlier sitting saw is not told again.
    """

    def __init__(self, path: Path, tell: Callable[[WarningSign, Sequence[WarningSign]], None]) -> None:
        self.path = path
        self.tell = tell
        self.start = time.monotonic()
        self.history: list[dict[str, Any]] = []
        self.signs: list[WarningSign] = []

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.start = time.monotonic()
        self.history = list(read_jsonl(self.path))
        self.signs = list(warning_signs(self.history))

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **kw: Any
    ) -> None:
        if state.is_world_process_zero and logs and "train_runtime" not in logs:
            seconds = round(time.monotonic() - self.start, 3)
            self.history.append({"step": state.global_step, "seconds": seconds, **logs})
            append_jsonl(self.path, self.history[-1:])
            for sign in first_signs(self.history, [known.name for known in self.signs]):
                self.signs.append(sign)
                self.tell(sign, self.signs)


class Progress(TrainerCallback):  # type: ignore[misc]
    """One line: see ``progress_line``; on a terminal redrawn, in a log a line now and then."""

    def __init__(self, label: str, log: MetricsLog) -> None:
        self.label = label
        self.log = log
        self.bar: Any = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kw: Any) -> None:
        if state.is_world_process_zero:
            self.bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                bar_format="{desc}",
                desc=f"{self.label}: {state.global_step}/{state.max_steps}",
                **bar_options(),
            )

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **kw: Any
    ) -> None:
        if self.bar is not None and self.log.history:
            line = progress_line(self.label, self.log.history, state.max_steps, stderr_width() - 1)
            self.bar.set_description_str(line, refresh=False)
            self.bar.update(state.global_step - self.bar.n)

    def close(self) -> None:
        """Finish the line; also after an error."""
        if self.bar is not None:
            self.bar.close()

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        self.close()


class SoftStop(TrainerCallback):  # type: ignore[misc]
    """Ctrl-C or SIGTERM: finish the step, save a checkpoint, stop.  A second one stops at once.

    The step that is finished is one from which the run can go on exactly (``ready``, see ``resume``), and the same
    on every process, whichever was asked first.
    """

    def __init__(self, ready: Callable[[], bool]) -> None:
        self.ready = ready
        self.asked = False
        self._old: dict[int, Any] = {}

    def __enter__(self) -> SoftStop:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._old[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        message = "stopping after this step and saving a checkpoint; press Ctrl-C again to stop at once"
        print(f"\n{message}", file=sys.stderr, flush=True)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kw: Any
    ) -> TrainerControl:
        self.asked = any(gather_object([self.asked]))
        if self.asked and self.ready():
            control.should_save = True
            control.should_training_stop = True
        return control


def trainer_class(stock: bool) -> Callable[..., Any]:
    """TRL's ``GRPOTrainer`` or ours, with the rollout log, exact resuming and skipping on top."""
    from trl import GRPOTrainer

    from advshape.adapters.trl import SkipZeroAdvantages
    from advshape.adapters.trl.schedule import ScheduledGRPOTrainer
    from advshape.training.rundir.resume import ExactResume

    bases = (SkipZeroAdvantages, GRPOTrainer) if stock else (ScheduledGRPOTrainer,)
    return type(f"Logged{bases[-1].__name__}", (ExactResume, LoggedRollouts, *bases), {})
