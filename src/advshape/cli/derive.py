"""``advshape derive``: an objective becomes advantage tables, with what they really maximise and code to paste."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from advshape.cli.console import DONE
from advshape.cli.parser import rollouts

__all__ = ["add", "run"]


def add(commands: Any) -> None:
    """The subcommand."""
    sub = commands.add_parser("derive", help="objective -> advantage tables", allow_abbrev=False)
    sub.add_argument(
        "objective",
        type=str.strip,
        help="a formula such as '1-(1-rho)**8 + 0.1*entropy(rho)', a surrogate such as "
        "'PassAtK(k=8)', or an estimator of the catalogue",
    )
    sub.add_argument(
        "--set",
        metavar="NAME=NUMBER",
        action="append",
        default=[],
        dest="parameters",
        help="a parameter of the formula, such as lam=0.1 in 'rho + lam*entropy(rho)'; may come several times",
    )
    sub.add_argument(
        "-n", type=rollouts, help="rollouts per prompt, 1 to 4096 (default 16, or the fewest that the objective allows)"
    )
    sub.add_argument(
        "--build",
        choices=["unbiased", "plug_in", "minimum_mse"],
        help="default: unbiased where it exists, else plug_in",
    )
    sub.add_argument(
        "--baseline",
        choices=["centered", "leave_one_out", "zero"],
        help="of the unbiased build; default: centered where it exists",
    )
    sub.add_argument(
        "--base",
        metavar="OBJECTIVE",
        type=str.strip,
        help="say what the objective adds to this one, as in F = base + lambda Omega",
    )
    sub.add_argument(
        "--against",
        metavar="NAMES",
        action="append",
        default=[],
        help="estimators to compare with, such as 'grpo,rloo_k(k=8)'; may come several times; a k that "
        "is left out is the objective's",
    )
    sub.add_argument(
        "--scale",
        choices=["none", "rms", "rloo"],
        default="none",
        help="bring the compared tables to unit rms or to RLOO's mean pull (default none)",
    )
    sub.add_argument("--plot", metavar="FILE", help="draw F, F', the tables and eta; FILE ends in .html or .png")
    sub.add_argument("--json", action="store_true", help="for programs")
    sub.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the derivation; draw it where a file is named."""
    import json

    from advshape.catalogue.derivation import derive
    from advshape.cli.derive_text import derivation_text

    if options.plot:
        from advshape.report.pages.derivation import check_plot_file, save_derivation

        check_plot_file(options.plot)  # before anything is printed
    found = derive(
        options.objective,
        options.n,
        build=options.build,
        baseline=options.baseline,
        against=",".join(options.against),
        scale=options.scale,
        base=options.base,
        parameters=_numbers(options.parameters),
    )
    print(json.dumps(found.as_data(), indent=1) if options.json else derivation_text(found))
    if options.plot:
        print(f"drawn: {save_derivation(found, options.plot)}", file=sys.stderr)
    return DONE


def _numbers(pairs: Sequence[str]) -> dict[str, float]:
    """Words such as lam=0.1 as numbers by name."""
    from advshape.errors import AdvshapeError

    numbers: dict[str, float] = {}
    for pair in pairs:
        name, _, value = (part.strip() for part in pair.partition("="))
        if name in numbers:
            raise AdvshapeError(f"{name} is set twice; give --set {name}=NUMBER once")
        try:
            numbers[name] = float(value)
        except ValueError:
            raise AdvshapeError(f"write --set NAME=NUMBER, such as --set lam=0.1, got {pair!r}") from None
    return numbers
