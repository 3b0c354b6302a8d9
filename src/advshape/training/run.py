"""Train a recipe: evaluate, train through TRL with our advantages, evaluate again, leave a run directory.

Readable top to bottom: ``train`` → ``_execute`` → ``_fit``.  The loop, optimiser and sampler are TRL's.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from advshape.errors import AdvshapeError
from advshape.training import parts
from advshape.training.models import load_model, lora_config
from advshape.training.plan import Plan, generation_batch, grpo_config, make_plan, world_size
from advshape.training.recipe import Recipe, load_recipe
from advshape.training.rundir import RunDirectory

PACKAGES = ("advshape", "numpy", "torch", "transformers", "trl", "accelerate", "datasets", "peft")


class Interrupted(Exception):
    """Training or evaluation was stopped from outside; the run directory is readable and can be resumed."""


@dataclass(frozen=True)
class RunResult:
    """What a finished run left: its directory and its summary."""

    directory: Path
    summary: dict[str, Any]


def train(
    recipe: Recipe, out: str | Path | None = None, *, overwrite: bool = False, progress: bool = True
) -> RunResult:
    """Check a recipe, make its run directory and run it.

    Args:
        recipe: as read by ``load_recipe``.
        out: run directory; default ``runs/<recipe name>`` in the working directory.
        overwrite: replace an existing run directory.
        progress: progress bars on standard error.

    Raises:
        AdvshapeError: wrong recipe or an existing directory; nothing is written then.
        Interrupted: Ctrl-C or SIGTERM; the directory can be resumed.
    """
    directory = RunDirectory(out if out is not None else Path("runs") / recipe.name)
    directory.check_free(overwrite)
    plan = make_plan(recipe)
    directory.create(plan.recipe.to_toml(), overwrite)
    directory.update_summary(**_header(plan))
    return _execute(plan, directory, None, progress)


def resume(out: str | Path, *, progress: bool = True) -> RunResult:
    """Go on with an interrupted run from its last checkpoint, or from the start when it has none.

    Weights, optimiser, learning-rate schedule and random states come from the checkpoint; rollouts and metrics
    of later steps are dropped and made again.  The run is not bit-exact with one that was never stopped.

    Raises ``AdvshapeError`` when there is no run in ``out`` or it is already done.
    """
    directory = RunDirectory(out)
    if not directory.recipe.is_file():
        raise AdvshapeError(f"{str(out)!r} holds no run to resume (no recipe.toml)")
    if directory.summary().get("status") == "done":
        raise AdvshapeError(f"the run in {str(out)!r} is done; nothing is left to resume")
    plan = make_plan(load_recipe(directory.recipe))
    checkpoint = directory.last_checkpoint()
    directory.cut_back(checkpoint[1] if checkpoint else 0)
    return _execute(plan, directory, str(checkpoint[0]) if checkpoint else None, progress)


def _execute(plan: Plan, directory: RunDirectory, checkpoint: str | None, progress: bool) -> RunResult:
    """Evaluate, train, evaluate; the summary's status says how far it came."""
    try:
        source = plan.model
        trained = directory.summary().get("status") in ("trained", "evaluating") and directory.model.is_dir()
        if not trained:
            model, tokenizer = load_model(source, plan.recipe.model.get("dtype", "float32"))
            if plan.recipe.evaluation["before"] and "before" not in directory.summary():
                _evaluate("before", model, tokenizer, plan, directory, progress)
            _fit(model, tokenizer, plan, directory, checkpoint, progress)
        if plan.recipe.evaluation["after"] and world_size() == 1:
            _evaluate("after", str(directory.model), None, plan, directory, progress)
        summary = directory.update_summary(status="done")
        _report(directory)
    except KeyboardInterrupt:
        raise Interrupted(_interrupted(directory)) from None
    except Interrupted:
        raise
    except BaseException as error:
        directory.update_summary(status="failed", error=f"{type(error).__name__}: {error}")
        raise
    return RunResult(directory.path, summary)


def _fit(
    model: Any, tokenizer: Any, plan: Plan, directory: RunDirectory, checkpoint: str | None, progress: bool
) -> None:
    """Train with TRL and save the model."""
    directory.update_summary(status="training")
    trainer = _trainer(model, tokenizer, plan, directory)
    bar = parts.Progress(plan.recipe.name)
    if progress:
        trainer.add_callback(bar)
    start = time.monotonic()
    stop = parts.SoftStop(_steps_between(plan))
    trainer.add_callback(stop)
    try:
        with stop:
            trainer.train(resume_from_checkpoint=checkpoint)
    finally:
        bar.close()
        _record_training(trainer, directory, time.monotonic() - start)
    if stop.asked and trainer.state.global_step < trainer.state.max_steps:
        raise Interrupted(_interrupted(directory))
    _save_model(trainer, tokenizer, plan, directory)
    directory.update_summary(status="trained")


def _trainer(model: Any, tokenizer: Any, plan: Plan, directory: RunDirectory) -> Any:
    from datasets import Dataset
    from transformers import PrinterCallback

    problems = plan.task.problems("train", plan.train_problems, plan.recipe.task.get("seed", 0))
    judge = parts.Judge(plan.task, problems)
    rows = [{"prompt": problem.prompt, "problem_id": problem.id} for problem in problems]
    own = {} if plan.estimator is None else {"estimator": plan.estimator}
    trainer = parts.trainer_class(stock=plan.estimator is None)(
        model=model,
        reward_funcs=judge,
        args=grpo_config(plan.config, str(directory.checkpoints)),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=lora_config(plan.recipe.model.get("lora")),
        **own,
    )
    trainer.judge, trainer.rollout_path = judge, directory.rollouts
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(parts.MetricsLog(directory.metrics))
    return trainer


def _steps_between(plan: Plan) -> int:
    """Optimiser steps after which nothing that was generated is left unused."""
    accumulation = plan.config["gradient_accumulation_steps"]
    per_generation = generation_batch(plan.config) // (plan.config["per_device_train_batch_size"] * world_size())
    return -(-per_generation * int(plan.config.get("num_iterations", 1)) // accumulation)


def _record_training(trainer: Any, directory: RunDirectory, seconds: float) -> None:
    """Steps, wall time and verdict counts so far, added to those of earlier sittings."""
    if not trainer.accelerator.is_main_process:
        return
    before = directory.summary().get("training", {})
    counts = before.get("verdicts", {})
    verdicts = {key: value + counts.get(key, 0) for key, value in trainer.judge.counts.items()}
    directory.update_summary(
        training={
            "steps": trainer.state.global_step,
            "seconds": round(seconds + before.get("seconds", 0.0), 1),
            "sittings": before.get("sittings", 0) + 1,
            "verdicts": verdicts,
        }
    )


def _save_model(trainer: Any, tokenizer: Any, plan: Plan, directory: RunDirectory) -> None:
    """Hugging Face format with a model card; LoRA weights are merged into the model."""
    if not trainer.accelerator.is_main_process:
        return
    model = trainer.accelerator.unwrap_model(trainer.model)
    if plan.recipe.model.get("lora"):
        model = model.merge_and_unload()
    model.save_pretrained(str(directory.model))
    tokenizer.save_pretrained(str(directory.model))
    (directory.model / "README.md").write_text(model_card(plan), encoding="utf-8")


def model_card(plan: Plan) -> str:
    """The model card: what it is, how it was trained, and that it is no more than that."""
    objective = plan.estimator.name if plan.estimator else "TRL's own GRPO"
    steps = plan.config.get("max_steps", -1)
    return f"""---
library_name: transformers
tags: [advshape, trl, reinforcement-learning]
---
# {plan.recipe.name}

{plan.model.name}, trained on the task {plan.task.name} with the advantages of `{objective}`
({"" if steps <= 0 else f"{steps} steps, "}{plan.prompts_per_batch} prompts x {plan.config["num_generations"]} rollouts
for each generation). The whole recipe:

```toml
{plan.recipe.to_toml()}```

Made by [advshape](https://arxiv.org/abs/2510.23049) with TRL's GRPOTrainer. The results stand in `summary.json` beside
this directory. It was trained for this task alone.
"""


def _evaluate(when: str, model: Any, tokenizer: Any, plan: Plan, directory: RunDirectory, progress: bool) -> None:
    """pass@k on held-out problems, into ``evaluation/<when>.jsonl`` and the summary."""
    from advshape.evaluation.evaluate import evaluate

    if when == "after":
        directory.update_summary(status="evaluating")
    settings = plan.recipe.evaluation
    directory.evaluation.mkdir(exist_ok=True)
    start = time.monotonic()
    result = evaluate(
        model,
        plan.task,
        tokenizer=tokenizer,
        count=settings["count"],
        n=settings["n"],
        temperature=settings["temperature"],
        top_p=settings["top_p"],
        seed=settings["seed"],
        max_new_tokens=settings.get("max_new_tokens") or plan.config.get("max_completion_length", 256),
        batch_size=settings.get("batch_size", 512),
        out=directory.evaluation / f"{when}.jsonl",
        progress=progress,
    )
    curve = result.curve
    directory.update_summary(
        **{
            when: {
                "pass_at_k": {
                    str(k): {"value": value, "low": low, "high": high}
                    for k, value, low, high in zip(curve.ks, curve.values, curve.low, curve.high, strict=True)
                },
                "method": curve.method,
                "prompts": curve.prompts,
                "n": curve.n,
                "seconds": round(time.monotonic() - start, 1),
            }
        }
    )


def _header(plan: Plan) -> dict[str, Any]:
    """What is known before the run starts."""
    return {
        "status": "started",
        "name": plan.recipe.name,
        "command": " ".join(["advshape", *sys.argv[1:]]),
        "objective": plan.estimator.name if plan.estimator else "stock TRL GRPO",
        "seed": plan.config.get("seed"),
        "evaluation_seed": plan.recipe.evaluation["seed"],
        "versions": versions(),
        "warnings": list(plan.warnings),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of every package that a run's numbers depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _interrupted(directory: RunDirectory) -> str:
    directory.update_summary(status="interrupted")
    checkpoint = directory.last_checkpoint()
    where = f"from step {checkpoint[1]}" if checkpoint else "from the start (no checkpoint was saved yet)"
    return f"interrupted; go on {where} with: advshape train --resume {directory.path}"


def _report(directory: RunDirectory) -> None:
    from advshape import report

    write: Callable[[Path], object] = report.write_report
    write(directory.path)
