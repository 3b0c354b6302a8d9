"""``advshape doctor``: is everything in place, and does a configuration do what its estimator says?"""

from __future__ import annotations

import argparse
import platform
from typing import Any

from advshape.cli.parser import seconds

__all__ = ["add", "run"]


def add(commands: Any) -> None:
    """The subcommand."""
    sub = commands.add_parser(
        "doctor",
        allow_abbrev=False,
        help="what is installed, do trainers know us, what changes the objective",
        epilog="Exit code: 0 nothing wrong, 1 a problem, 2 unreadable.",
    )
    sub.add_argument(
        "--config",
        nargs="+",
        default=[],
        metavar="FILE|KEY=VALUE",
        help="verl's .yaml, key=value overrides as on verl's command line, or a recipe of `advshape "
        "train`: what in it would undo or change the objective",
    )
    sub.add_argument("--trust", action="store_true", help="with a recipe: let its own task code (module:function) run")
    sub.add_argument("--seconds", type=seconds, default=120, help="time limit for each trainer's import (default 120)")
    sub.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the findings; 1 where one of them is a problem."""
    import advshape
    from advshape.doctor import configuration, machine, trainers

    problems = 0
    if options.config:
        findings = configuration.configuration(options.config, options.seconds, options.trust)
    else:
        print(f"advshape {advshape.__version__}, Python {platform.python_version()}, {platform.platform()}")
        findings = (
            f
            for part in (
                trainers.trainers(options.seconds),
                machine.extras(),
                [machine.device(options.seconds), machine.sandbox()],
            )
            for f in part
        )
    for finding in findings:
        print(finding, flush=True)
        problems += finding.status == "problem"
    return int(problems > 0)
