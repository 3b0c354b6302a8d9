"""Train a recipe: evaluate, train through TRL with our advantages, evaluate again, leave a run directory.

Readable top to bottom: ``prepare`` → ``PreparedRun.execute`` → ``_fit``.  The loop, optimiser and sampler are TRL's.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advshape.errors import AdvshapeError
from advshape.evaluation.logs.jsonl import read_jsonl
from advshape.evaluation.sampling.evaluate import Evaluation, evaluate
from advshape.evaluation.sampling.models import ModelSource, load_model
from advshape.evaluation.stats.curves import paired_difference
from advshape.report import write_report
from advshape.tasks.declared import is_own, require_trust
from advshape.training.card import model_card
from advshape.training.recipe.load import Recipe, load_recipe
from advshape.training.recipe.model import lora_config
from advshape.training.recipe.plan import Plan, grpo_config, make_plan, world_size
from advshape.training.recipe.trackers import kept_in, tracker_options
from advshape.training.rundir.checkpoints import choose
from advshape.training.rundir.directory import RunDirectory, replace_text
from advshape.training.rundir.origin import sign_task, was_begun_here

if TYPE_CHECKING:
    from advshape.training.callbacks import MetricsLog
    from advshape.training.monitor.warning_signs import WarningSign

PACKAGES = ("advshape", "numpy", "torch", "transformers", "trl", "accelerate", "datasets", "peft")


class RunFailed(Exception):
    """The work itself failed, after its run directory was made; the summary there says how far it came."""


class Interrupted(RunFailed):
    """Stopped from outside; the run directory is readable and the run can be resumed."""


@dataclass(frozen=True)
class RunResult:
    """What a finished run left: its directory and its summary."""

    directory: Path
    summary: dict[str, Any]


@dataclass(frozen=True)
class PreparedRun:
    """A checked run that has not written anything yet; ``execute`` does the work."""

    plan: Plan
    directory: RunDirectory
    overwrite: bool = False
    resumed: bool = False
    checkpoint: tuple[Path, int] | None = None
    told: tuple[str, ...] = ()

    def execute(self, progress: bool = True) -> RunResult:
        """Make or cut back the run directory, evaluate, train, evaluate.

        Raises ``Interrupted`` on Ctrl-C or SIGTERM, ``RunFailed`` when something else went wrong, and, before anything
        is written, ``AdvshapeError`` where this machine lacks a package that the recipe needs.
        """
        self.plan.check_here()
        with self.directory.locked() if is_main_process() else nullcontext():
            return self._execute(progress)

    def _execute(self, progress: bool) -> RunResult:
        directory, checkpoint = self.directory, self.checkpoint
        if self.resumed and is_main_process():
            directory.check_resumable()  # another process may have finished it before this one held the lock
        finished = self.resumed and bool(directory.summary().get("training", {}).get("finished"))
        if is_main_process():
            if not self.resumed:
                directory.create(self.plan.recipe.to_toml(), self.overwrite)
            elif not finished:
                directory.cut_back(checkpoint[1] if checkpoint else 0)
            header = _header(self.plan)  # also where it was killed before this was written
            _note(directory, **({"planned": header["planned"]} if directory.summary() else header))
        try:
            start = str(checkpoint[0]) if checkpoint else None
            return _execute(self.plan, directory, start, finished, progress)
        except KeyboardInterrupt:
            raise Interrupted(_interrupted(directory)) from None
        except Interrupted:
            raise
        except Exception as error:
            _note(directory, status="failed", error=f"{type(error).__name__}: {error}")
            raise RunFailed(f"{type(error).__name__}: {error} (run directory: {directory.path}{_among()})") from error


def prepare(
    recipe: Recipe, out: str | Path | None = None, *, overwrite: bool = False, processes: int | None = None
) -> PreparedRun:
    """Check a recipe and its run directory; writes nothing.

    Args:
        recipe: as read by ``load_recipe``.
        out: run directory; default ``runs/<recipe name>`` in the working directory.
        overwrite: replace an existing run directory.
        processes: check for this many training processes; default: those of this start.

    Raises ``AdvshapeError`` for a wrong recipe (see ``make_plan``) or an existing directory.
    """
    check_report()
    directory = RunDirectory(out if out is not None else Path("runs") / recipe.name)
    if is_main_process():
        directory.check_free(overwrite)
    return PreparedRun(make_plan(recipe, processes), directory, overwrite)


def prepare_resume(out: str | Path, *, trust: bool = False) -> PreparedRun:
    """Check that a run can go on from its last checkpoint, or from the start when it has none.

    Weights, optimiser, learning-rate schedule and random states come from the checkpoint; rollouts and metrics
    of later steps are dropped and made again, with the bits they had (see ``resume``).

    Raises ``AdvshapeError`` when there is no run in ``out``, it is already done, its checkpoints are all damaged, or it
    was begun with another recipe; and, without ``trust``, when its task is code outside this package and the run was
    begun by somebody else, or with another ``[task]``.
    """
    check_report()
    directory = RunDirectory(out)
    directory.check_resumable()
    recipe = load_recipe(directory.recipe)
    if not trust and not was_begun_here(recipe.task, directory.summary().get("origin")):
        require_trust(recipe.task.get("name"), f"resuming {directory.path}, which this user did not begin")
    plan = make_plan(recipe)
    checkpoint, told = choose(directory, plan.recipe)
    return PreparedRun(plan, directory, resumed=True, checkpoint=checkpoint, told=told)


def train(
    recipe: Recipe, out: str | Path | None = None, *, overwrite: bool = False, progress: bool = True
) -> RunResult:
    """Check a recipe, make its run directory and run it; see ``prepare`` and ``PreparedRun.execute``."""
    return prepare(recipe, out, overwrite=overwrite).execute(progress)


def _execute(plan: Plan, directory: RunDirectory, checkpoint: str | None, finished: bool, progress: bool) -> RunResult:
    """Evaluate, train, evaluate, report; the summary's status says how far it came."""
    results: dict[str, Any] = {}
    evaluates = plan.recipe.evaluation if world_size() == 1 else {"before": False, "after": False}
    if evaluates["before"] or not finished:
        model, tokenizer = load_model(plan.model, plan.recipe.model.get("dtype", "float32"))
    if evaluates["before"]:
        results["before"] = _evaluate("before", model, tokenizer, plan, directory, progress)
    if not finished:
        with kept_in(directory.trackers, plan.config["report_to"]):
            _fit(model, tokenizer, plan, directory, checkpoint, progress)
    if evaluates["after"]:
        model, tokenizer = load_model(ModelSource("model", str(directory.model), "directory"))
        results["after"] = _evaluate("after", model, tokenizer, plan, directory, progress)
    if len(results) == 2:
        change = paired_difference(results["before"].counts, results["after"].counts)
        _note(directory, change=change.to_json())
    _write_card(plan, directory)
    if is_main_process():
        write_report(directory.path, status="done")
    _note(directory, status="done")  # last: what is done is not resumed, so nothing may be missing
    return RunResult(directory.path, directory.summary())


def _fit(
    model: Any, tokenizer: Any, plan: Plan, directory: RunDirectory, checkpoint: str | None, progress: bool
) -> None:
    """Train with TRL and save the model."""
    from transformers import set_seed

    from advshape.training import callbacks as parts

    before = directory.summary().get("training", {})
    _note(directory, status="training", training={**before, "sittings": before.get("sittings", 0) + 1})
    set_seed(plan.config.get("seed", 0))  # LoRA's first weights come before the trainer sets its seed
    trainer, log = _trainer(model, tokenizer, plan, directory)
    bar = parts.Progress(plan.recipe.name, log)
    if progress:
        trainer.add_callback(bar)
    start = time.monotonic()
    stop = parts.SoftStop(trainer.at_boundary)
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
    _note(directory, training={**directory.summary()["training"], "finished": True})


def _trainer(model: Any, tokenizer: Any, plan: Plan, directory: RunDirectory) -> tuple[Any, MetricsLog]:
    from datasets import Dataset
    from transformers import PrinterCallback

    from advshape.training import callbacks as parts

    problems = plan.task.problems("train", plan.train_problems, plan.recipe.task.get("seed", 0))
    judge = parts.Judge(plan.task, problems)
    rows = [{"prompt": problem.prompt, "problem_id": problem.id} for problem in problems]
    trainer = parts.trainer_class(stock=plan.estimator is None)(
        model=model,
        reward_funcs=judge,
        args=grpo_config({**tracker_options(plan.config, plan.recipe.name), **plan.config}, str(directory.checkpoints)),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=lora_config(plan.recipe.model.get("lora")),
        skip_zero_advantages=plan.skips,
        **plan.trainer_arguments(),
    )
    trainer.judge, trainer.rollout_path = judge, directory.rollouts
    trainer.pass_k, trainer.recipe_toml = plan.pass_k, plan.recipe.to_toml()
    trainer.remove_callback(PrinterCallback)
    log = parts.MetricsLog(directory.metrics, partial(_tell, directory))
    trainer.add_callback(log)
    return trainer, log


def _tell(directory: RunDirectory, sign: WarningSign, signs: Sequence[WarningSign]) -> None:
    """A warning sign, said once, and kept in the summary with those before it."""
    from tqdm import tqdm

    tqdm.write(f"advshape: warning at {sign}", file=sys.stderr)
    _note(directory, warning_signs=[seen.to_json() for seen in signs])


def _record_training(trainer: Any, directory: RunDirectory, seconds: float) -> None:
    """Steps, wall time of all sittings, and verdicts of the rollouts that were kept."""
    if not is_main_process():
        return
    before = directory.summary().get("training", {})
    verdicts = Counter(line["verdict"] for line in read_jsonl(directory.rollouts))
    _note(
        directory,
        training={
            "steps": trainer.state.global_step,
            "seconds": round(seconds + before.get("seconds", 0.0), 1),
            "sittings": before["sittings"],
            "verdicts": {key: verdicts[key] for key in ("right", "wrong", "not_judged")},
            "finished": False,
        },
    )


def _save_model(trainer: Any, tokenizer: Any, plan: Plan, directory: RunDirectory) -> None:
    """Hugging Face format with a model card; LoRA weights alone too, and merged into the model.

    Every process takes part: the weights may lie in pieces on all of them.
    """
    lora = plan.recipe.model.get("lora")
    trainer.save_model(str(directory.adapter if lora else directory.model))
    if not trainer.accelerator.is_main_process:
        return
    if lora:
        from peft import PeftModel

        base, _ = load_model(plan.model, plan.recipe.model.get("dtype", "float32"))
        merged = PeftModel.from_pretrained(base, str(directory.adapter)).merge_and_unload()
        merged.save_pretrained(str(directory.model))
    for place in (directory.adapter, directory.model):
        (place / "training_args.bin").unlink(missing_ok=True)  # a pickle; recipe.toml says the same
    tokenizer.save_pretrained(str(directory.model))
    _write_card(plan, directory)


def _write_card(plan: Plan, directory: RunDirectory) -> None:
    """The model card, as far as the run has come."""
    if is_main_process():
        replace_text(directory.model / "README.md", model_card(plan, directory.summary()))


def _evaluate(when: str, model: Any, tokenizer: Any, plan: Plan, directory: RunDirectory, progress: bool) -> Evaluation:
    """pass@k on held-out problems, into ``evaluation/<when>.jsonl`` and the summary.

    Rollouts that are in the log already are not sampled again, so a stopped evaluation goes on.
    """
    _note(directory, status=f"evaluating {when}")
    settings = plan.recipe.evaluation
    start = time.monotonic()
    result = evaluate(
        model,
        plan.task,
        tokenizer=tokenizer,
        **{key: settings[key] for key in ("count", "n", "temperature", "top_p", "seed")},
        max_new_tokens=settings.get("max_new_tokens") or plan.config.get("max_completion_length", 256),
        batch_size=settings.get("batch_size", 1024),
        out=directory.evaluation / f"{when}.jsonl",
        progress=progress,
    )
    seconds = directory.summary().get(when, {}).get("seconds", 0.0) + time.monotonic() - start
    _note(directory, **{when: {**result.to_json(), "seconds": round(seconds, 1)}})
    return result


def _header(plan: Plan) -> dict[str, Any]:
    """What is known before the run starts."""
    return {
        "status": "started",
        "name": plan.recipe.name,
        "command": " ".join(["advshape", *sys.argv[1:]]),
        "objective": plan.objective,
        "seed": plan.config.get("seed"),
        "evaluation_seed": plan.recipe.evaluation["seed"],
        "planned": {
            "steps": plan.config.get("max_steps", -1),
            "evaluation_rollouts": plan.recipe.evaluation["count"] * plan.recipe.evaluation["n"],
        },
        "processes": world_size(),
        "versions": versions(),
        "warnings": list(plan.warnings),
        **({"origin": sign_task(plan.recipe.task)} if is_own(plan.recipe.task["name"]) else {}),
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


def check_report() -> None:
    """Raise before the work rather than after it when the packages for ``report.html`` are missing."""
    for package in ("jinja2", "plotly"):
        if util.find_spec(package) is None:
            more = 'pip install "advshape[trl]"'
            raise AdvshapeError(f"the run's report needs more packages: {more} ({package} is missing)")


def _among() -> str:
    """What a failed process adds when it is one of several: it may be the victim of another."""
    if world_size() == 1:
        return ""
    return (
        f"; this is process {os.environ.get('RANK')} of {world_size()}: if another one ended first, its message tells "
        "why; then go on with --resume"
    )


def _interrupted(directory: RunDirectory) -> str:
    _note(directory, status="interrupted")
    checkpoint = directory.last_checkpoint()
    where = f"from step {checkpoint[1]}" if checkpoint else "from the start (no checkpoint was saved yet)"
    if directory.summary().get("training", {}).get("finished"):
        where = "with what is left of the evaluation"
    return f"interrupted; go on {where} with: advshape train --resume {directory.path}"


def _note(directory: RunDirectory, **entries: Any) -> None:
    """Into the summary, by the main process alone."""
    if is_main_process():
        directory.update_summary(**entries)


def is_main_process() -> bool:
    """Whether this is the process that writes, under ``torchrun`` and ``accelerate launch`` too."""
    return os.environ.get("RANK", "0") == "0"
