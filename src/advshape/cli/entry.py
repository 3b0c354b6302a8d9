"""The command line, thin: parse, call, print.  Exit codes: 0 done, 1 the work failed, 2 wrong usage, 130 stopped.

Everything but argparse is imported inside the commands, so that ``advshape --help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advshape import __version__
from advshape.cli import audit, compare, derive, doctor, estimators, evaluate, passk, plan, report, reverse, watch
from advshape.cli.console import no_deprecation_notes, no_foreign_bars
from advshape.cli.parser import Parser, minus_first

if TYPE_CHECKING:
    from advshape.training.run import PreparedRun

COMMANDS = (evaluate, passk, watch, report, compare, plan, estimators, derive, reverse, audit, doctor)
DONE, FAILED, USAGE, STOPPED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; errors go to standard error in one line."""
    from advshape.errors import AdvshapeError

    options = _parser().parse_args(minus_first(sys.argv[1:] if arguments is None else arguments))
    command: Callable[[argparse.Namespace], int] = options.run
    try:
        return command(options)
    except AdvshapeError as error:
        return _complain(error, USAGE)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        return _complain(f'this command needs more packages: pip install "{extra}" ({error})', USAGE)
    except KeyboardInterrupt:
        return _complain("stopped", STOPPED)
    except BrokenPipeError:  # `advshape estimators | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


_EXTRAS = {
    **dict.fromkeys(
        (
            "torch",
            "transformers",
            "trl",
            "datasets",
            "peft",
            "accelerate",
            "tqdm",
            "matplotlib",
            "tomli_w",
            "huggingface_hub",
            "jinja2",
            "plotly",
        ),
        "advshape[trl]",
    ),
    "reasoning_gym": "advshape[tasks]",
    "httpx2": "advshape[server]",
    "gguf": "gguf",
    "yaml": "pyyaml",
}


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="advshape",
        description="Pick an objective and get its advantages, or pass any advantage rule and see what it really "
        "optimizes.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands)
    for command in COMMANDS:
        command.add(commands)
    _add_demo(commands)
    return parser


def _add_train(commands: Any) -> None:
    sub = commands.add_parser(
        "train",
        help="train a recipe; writes a run directory",
        description="Evaluate a model, train it through TRL for the recipe's objective, evaluate it again; report.html "
        "in the run directory says what changed. Ctrl-C saves a checkpoint and tells how to go on.",
        allow_abbrev=False,
    )
    sub.add_argument("recipe", nargs="?", help="a .toml file, or a shipped recipe such as countdown")
    sub.add_argument("--out", metavar="DIR", help="run directory (default runs/<recipe>)")
    sub.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="TABLE.KEY=VALUE",
        dest="overrides",
        help="change one entry of the recipe, e.g. trainer.learning_rate=1e-5; repeatable",
    )
    sub.add_argument("--dry-run", action="store_true", help="resolve, check and print; train and write nothing")
    sub.add_argument("--processes", type=int, metavar="N", help="with --dry-run: check a start with N processes")
    sub.add_argument(
        "--resume", metavar="DIR", help="go on with the run in DIR from where it stopped or was killed; takes no recipe"
    )
    sub.add_argument("--overwrite", action="store_true", help="replace an existing run directory")
    sub.add_argument("--quiet", action="store_true", help="no progress bars")
    sub.add_argument(
        "--trust",
        action="store_true",
        help="with --dry-run, or --resume of a run begun elsewhere: let the recipe's own code (module:function) run",
    )
    sub.set_defaults(run=_train)


def _add_demo(commands: Any) -> None:
    sub = commands.add_parser(
        "demo", help="train Countdown twice, for GRPO and for Pass@8, and compare", allow_abbrev=False
    )
    sub.add_argument("--out", metavar="DIR", default="runs/demo", help="default runs/demo")
    sub.add_argument("--steps", type=int, help="training steps (default: the recipes' own)")
    sub.add_argument("--overwrite", action="store_true", help="replace the runs of an earlier demo")
    sub.set_defaults(run=_demo)


def _train(options: argparse.Namespace) -> int:
    from advshape.errors import AdvshapeError
    from advshape.tasks.declared import require_trust
    from advshape.training.recipe.load import load_recipe
    from advshape.training.recipe.text import describe_plan

    if (options.recipe is None) == (options.resume is None):
        raise AdvshapeError("give either a recipe, or --resume DIR (which uses the recipe in DIR)")
    if options.resume and (options.overrides or options.out or options.overwrite):
        raise AdvshapeError("--resume goes on with the run as it is: it takes no --set, --out or --overwrite")
    if options.processes is not None and (not options.dry_run or options.resume or options.processes < 1):
        raise AdvshapeError(
            "--processes N, at least 1, goes with --dry-run: it tells what a start with N would be; "
            "start them with torchrun --nproc_per_node N -m advshape train ..."
        )
    recipe = load_recipe(options.recipe, options.overrides) if options.recipe else None
    no_deprecation_notes()
    from advshape.training import run

    if recipe is None:
        prepared = run.prepare_resume(options.resume, trust=options.trust)
    else:
        if options.dry_run and not options.trust:
            require_trust(recipe.task.get("name"), "--dry-run")
        prepared = run.prepare(recipe, options.out, overwrite=options.overwrite, processes=options.processes)
    if options.dry_run:
        print(prepared.plan.recipe.to_toml())
        print(describe_plan(prepared.plan))
        prepared.plan.check_here()
        return DONE
    return _execute(prepared, not options.quiet)


def _execute(prepared: PreparedRun, progress: bool) -> int:
    from advshape.training import run
    from advshape.training.recipe.text import describe_plan

    no_foreign_bars()
    if run.is_main_process():
        print(
            describe_plan(prepared.plan), *(f"resume     {line}" for line in prepared.told), sep="\n", file=sys.stderr
        )
    try:
        result = prepared.execute(progress)
    except run.Interrupted as error:
        return _complain(error, STOPPED)
    except run.RunFailed as error:
        return _complain(error, FAILED)
    from advshape.training.outcome import evaluate_command, outcome

    if run.is_main_process():
        command = evaluate_command(f"{result.directory}/model", prepared.plan.recipe.task)
        print(outcome(result.summary) or f"not evaluated; run: {command}")
        print(f"run directory: {result.directory}")
    return DONE


def _demo(options: argparse.Namespace) -> int:
    from advshape.training.demo import DemoFailed, demo

    try:
        print(demo(Path(options.out), options.steps, options.overwrite))
    except DemoFailed as error:
        return _complain(error, FAILED)
    return DONE


def _complain(message: object, code: int) -> int:
    print(f"advshape: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
