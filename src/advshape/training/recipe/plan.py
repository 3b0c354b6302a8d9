"""Everything that can be known before training: a recipe resolved and checked, nothing loaded or written."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import advshape
from advshape.adapters.trl.options import KEPT_SHARE, objective_warnings
from advshape.curriculum.schedule import Schedule
from advshape.errors import AdvshapeError, nearest
from advshape.evaluation.sampling.models import ModelSource, find_model, read_model
from advshape.tasks import Task, load_task
from advshape.training.recipe.keys import OUR_TRAINER_KEYS, OWNED_TRAINER_KEYS, TASK_KEYS, meant
from advshape.training.recipe.load import Recipe, with_defaults
from advshape.training.recipe.model import check_model, lora_config
from advshape.training.recipe.objective import (
    REWARD_KEYS,
    Visits,
    check_schedule,
    read_visits,
    resolve_objective,
    too_late,
)
from advshape.training.recipe.scale import check_scale, obstacles
from advshape.training.recipe.source_fields import SourceField, source_fields
from advshape.training.recipe.trackers import check_trackers

HARDWARE_KEYS = ("use_cpu", "bf16", "fp16")


@dataclass(frozen=True)
class Plan:
    """A checked recipe: what will be trained, on what, with which advantages.

    ``schedule`` and ``estimator``, its first, are None when the objective is TRL's own (``trainer = "stock"``).
    ``config`` holds the ``GRPOConfig`` fields without ``output_dir``.  ``notes`` says what the reader should know;
    ``warnings`` says what makes the run optimise something else than the surrogate.
    """

    recipe: Recipe
    model: ModelSource
    task: Task
    estimator: advshape.AdvantageEstimator | None
    config: Mapping[str, Any]
    train_problems: int
    prompts_per_batch: int
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    schedule: Schedule | None
    visits: Visits
    processes: int = 1

    @property
    def objective(self) -> str:
        """The objective by name, with what moves and when."""
        return str(self.schedule) if self.schedule else "stock TRL GRPO"

    def trainer_arguments(self) -> dict[str, Any]:
        """What our trainer takes beside TRL's arguments; nothing for the stock one."""
        if self.schedule is None:
            return {}
        rule = {"estimator": self.estimator} if self.schedule.constant else {"schedule": self.schedule}
        return {**rule, **self.rewards, **self.visits.arguments()}

    @property
    def rewards(self) -> dict[str, Any]:
        """What ``[objective]`` says of real-valued rewards, as the trainer takes it: ``real`` and ``bounds``."""
        return {key: self.recipe.objective[key] for key in REWARD_KEYS if key in self.recipe.objective}

    @property
    def pass_k(self) -> int:
        """The k whose pass@k is logged for training batches: the objective's own where it has one, else n."""
        n, k = self.config["num_generations"], self.recipe.objective.get("k")
        return k if isinstance(k, int) and 1 <= k <= n else int(n)

    @property
    def skips(self) -> bool:
        """Whether rollouts with advantage 0 shall take part in no forward or backward pass."""
        return bool(self.recipe.trainer["skip_zero_advantages"])

    def check_here(self) -> None:
        """Raise where this machine, or this start, lacks what the recipe needs: a package, more processes."""
        if found := obstacles(self.config, self.processes):
            raise AdvshapeError("; ".join(found))


def make_plan(recipe: Recipe, processes: int | None = None) -> Plan:
    """Resolve and check a recipe, for this start or for another number of training processes.

    Raises ``AdvshapeError`` for: unknown ``GRPOConfig`` fields, estimators, tasks, models or parameters (with
    the nearest name), a group smaller than the estimator allows, K above n, real-valued rewards without a bound
    that the estimator needs, batches that do not hold whole groups, and values that TRL refuses.
    """
    recipe, processes = with_defaults(recipe), processes or world_size()
    config = check_trainer(recipe.trainer)  # cheap checks first: TRL takes seconds to import
    check_scale(config, processes)
    check_batches(config, processes)
    check_model(recipe.model)
    check_evaluation(recipe.evaluation)
    schedule = resolve_objective(recipe.objective)
    visits = read_visits(recipe.objective, recipe.sampling, schedule)
    if schedule is not None:
        check_schedule(schedule, recipe.objective, config["num_generations"])
    model = find_model(recipe.model["path"])
    task = make_task(recipe.task)
    check_by_trl(config, processes)
    lora_config(recipe.model.get("lora"))
    prompts = generation_batch(config, processes) // config["num_generations"]
    problems = recipe.task.get("train_problems") or _problems_needed(config, prompts, visits, processes)
    check_chat(model, task)
    visits = visits.with_batches(problems, prompts, config)
    sampling = dict(recipe.sampling) | ({"prioritized": visits.prioritized} if visits.prioritized else {})
    resolved = recipe.with_tables(task={**recipe.task, "train_problems": problems}, sampling=sampling)
    estimator = schedule.first if schedule is not None else None
    notes, warned = _remarks(resolved, schedule, config, processes)
    return Plan(resolved, model, task, estimator, config, problems, prompts, notes, warned, schedule, visits, processes)


def check_trainer(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """The ``GRPOConfig`` fields of ``[trainer]``, checked by name and kind; our own keys too."""
    fields = source_fields("trl.trainer.grpo_config", "GRPOConfig")
    for key, value in trainer.items():
        if key in OWNED_TRAINER_KEYS:
            raise AdvshapeError(f"[trainer] {key} cannot be set: {OWNED_TRAINER_KEYS[key]}")
        if key not in fields and key not in OUR_TRAINER_KEYS:
            raise AdvshapeError(
                f"unknown key {key!r} in [trainer]{meant(key, [*fields, *OUR_TRAINER_KEYS], 'trainer')}; "
                f"it takes the fields of trl.GRPOConfig and {', '.join(OUR_TRAINER_KEYS)}"
            )
        fields.get(key, SourceField("bool")).check(f"[trainer] {key}", value)
    loss = trainer["loss_type"]
    if loss not in KEPT_SHARE:
        raise AdvshapeError(
            f"[trainer] loss_type = {loss!r}{nearest(str(loss), KEPT_SHARE)}; allowed: {', '.join(KEPT_SHARE)}"
        )
    check_trackers(trainer.get("report_to", "none"))
    needed = ("num_generations", "per_device_train_batch_size", "gradient_accumulation_steps")
    values = {key: trainer.get(key, fields[key].default) for key in needed}
    return {**{key: value for key, value in trainer.items() if key in fields}, **values}


def check_batches(config: Mapping[str, Any], processes: int | None = None) -> None:
    """TRL's rule before TRL or any model loads: a generation batch holds whole groups of ``num_generations``."""
    for key in ("num_generations", "per_device_train_batch_size", "gradient_accumulation_steps"):
        value = config[key]
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise AdvshapeError(f"[trainer] {key} must be a whole number of at least 1, got {value!r}")
    processes = processes or world_size()
    n, batch = config["num_generations"], generation_batch(config, processes)
    if n < 2:
        raise AdvshapeError(f"[trainer] num_generations={n}: TRL needs at least 2 rollouts per prompt")
    if batch % n:
        raise AdvshapeError(
            f"the generation batch of {batch} rollouts (per_device_train_batch_size "
            f"{config['per_device_train_batch_size']} x {processes} processes x steps_per_generation "
            f"{batch // config['per_device_train_batch_size'] // processes}) does not hold whole groups of "
            f"num_generations={n}; make it a multiple of {n}, for example {(batch // n + 1) * n}"
        )


def check_by_trl(config: Mapping[str, Any], processes: int) -> None:
    """Raise for what TRL's own constructor refuses."""
    each = config["per_device_train_batch_size"] * processes // world_size()  # TRL counts the processes of this start
    checked = {**config, "per_device_train_batch_size": each}
    checked.pop("deepspeed", None)  # checked by name; TRL would ask for its package here
    try:
        grpo_config(checked, "unused")
    except (ValueError, TypeError, ImportError) as error:
        raise AdvshapeError(f"[trainer] TRL refuses this configuration: {error}") from None


def generation_batch(config: Mapping[str, Any], processes: int | None = None) -> int:
    """Rollouts of one generation, over all processes, by TRL's rule."""
    given = config.get("generation_batch_size")
    if given is not None:
        return int(given)
    steps = config.get("steps_per_generation") or config["gradient_accumulation_steps"]
    return int(config["per_device_train_batch_size"]) * (processes or world_size()) * int(steps)


def grpo_config(config: Mapping[str, Any], output_dir: str) -> Any:
    """The ``GRPOConfig`` of a run on this machine: CPU or GPU, bf16 where the GPU has it."""
    from trl import GRPOConfig

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # TRL's own deprecations are not the reader's
        return GRPOConfig(**{**hardware(), **config, "output_dir": output_dir, "disable_tqdm": True})


def hardware() -> dict[str, Any]:
    """``use_cpu`` and ``bf16`` of this machine; a recipe file never holds them."""
    import torch

    cuda = torch.cuda.is_available()
    mps = torch.backends.mps.is_available()
    return {"use_cpu": not (cuda or mps), "bf16": bool(cuda and torch.cuda.is_bf16_supported())}


def world_size() -> int:
    """Number of training processes, as ``torchrun`` and ``accelerate launch`` announce it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def make_task(table: Mapping[str, Any]) -> Task:
    """The task of ``[task]``: its name, and every other key but the project's own as parameters."""
    count = table.get("train_problems", 1)
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise AdvshapeError(f"[task] train_problems must be a whole number of at least 1, got {count!r}")
    parameters = {key: value for key, value in table.items() if key not in TASK_KEYS}
    try:
        return load_task(table["name"], **parameters)
    except AdvshapeError as error:  # each task names what it takes; that a key is another table's is known here
        wrong = [key for key in parameters if re.search(f"(argument|parameter) {key!r}", str(error))]
        raise AdvshapeError(str(error) + "".join(meant(key, (), "task") for key in wrong)) from None


def check_chat(model: ModelSource, task: Task) -> None:
    """Raise when the task poses chat messages and the model's tokenizer has no template for them."""
    (problem,) = task.problems("train", 1)
    if isinstance(problem.prompt, str):
        return
    _, tokenizer = read_model(model)
    if tokenizer is not None and not tokenizer.chat_template:
        raise AdvshapeError(
            f"the task {task.name!r} poses chat messages, and the model {model.name!r} has no chat template (a base "
            "model?); set chat = false in [task] for plain text, or give the model a chat_template.jinja"
        )


def check_evaluation(evaluation: Mapping[str, Any]) -> None:
    """Whole positive numbers and a positive temperature."""
    for key in ("count", "n"):
        value = evaluation[key]
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise AdvshapeError(f"[evaluation] {key} must be a whole number of at least 1, got {value!r}")
    temperature = evaluation["temperature"]
    if not isinstance(temperature, (int, float)) or not temperature > 0:
        raise AdvshapeError(f"[evaluation] temperature must be above 0, got {temperature!r}")


def _problems_needed(config: Mapping[str, Any], prompts: int, visits: Visits, processes: int) -> int:
    """Enough for the run, so that no problem comes twice: one new batch for each generation.

    A quarter of that where earlier visits are used: each problem comes about four times.
    """
    steps = config.get("max_steps", -1)
    if steps <= 0:
        raise AdvshapeError(
            "give [trainer] max_steps, or [task] train_problems for a run that counts in epochs (num_train_epochs)"
        )
    accumulation = config["gradient_accumulation_steps"]
    each = generation_batch(config, processes) // (config["per_device_train_batch_size"] * processes)
    batches = steps * accumulation // each
    generations = max(1, batches // config.get("num_iterations", 1) + 1)
    return (generations if visits.history is None else -(-generations // 4)) * prompts


def _remarks(
    recipe: Recipe, schedule: Schedule | None, config: Mapping[str, Any], processes: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    notes = [
        f"[trainer] {key} is set in the recipe; leave it out, and it follows the machine"
        for key in HARDWARE_KEYS
        if key in recipe.trainer
    ]
    if schedule is None:
        notes.append(f"scale_rewards={config.get('scale_rewards', 'group')!r} acts (stock TRL)")
    elif "scale_rewards" in config:
        notes.append("scale_rewards has no effect: the estimator's advantages replace TRL's; use [objective] scale")
    if schedule is not None and recipe.objective.get("real") and recipe.objective.get("scale", "rms") == "rms":
        notes.append(
            'scale = "rms" is that of 0/1 rewards; real-valued ones usually give smaller advantages: see the metric '
            "advshape/advantage_rms before you take GRPO's learning rate"
        )
    if processes > 1:
        notes.append("with several processes the evaluations are left out; run `advshape evaluate` afterwards")
    if config.get("fsdp") and hardware()["use_cpu"]:
        notes.append("fsdp: accelerate shards on accelerators only; on this CPU each process holds the whole model")
    late = () if schedule is None else tuple(too_late(schedule, config.get("max_steps", -1)))
    here = SimpleNamespace(**{**config, "generation_batch_size": generation_batch(config, processes)})
    return tuple(notes), (*late, *objective_warnings(here))
