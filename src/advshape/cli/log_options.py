"""How `compare`, `report` and `plan` read other tools' logs: the options that they share, the same for all logs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from advshape.evaluation.readers import Options

__all__ = ["add_reading", "reading"]


def add_reading(sub: argparse.ArgumentParser) -> None:
    """The options, as a group of their own."""
    group = sub.add_argument_group("reading other tools' logs", "as for `advshape passk`, the same for all logs")
    group.add_argument("--reader", metavar="NAME", help="default: told from the content")
    group.add_argument("--prompt-column", metavar="NAME")
    group.add_argument("--correct-column", metavar="NAME")
    group.add_argument("--threshold", type=float, metavar="T", help="rewards >= T are right")
    group.add_argument(
        "--where", action="append", default=[], metavar="NAME=VALUE", help="only rollouts with this setting; repeatable"
    )


def reading(options: argparse.Namespace) -> Options:
    """What was asked for, as the readers take it."""
    from advshape.errors import AdvshapeError
    from advshape.evaluation.readers import Options

    where = [pair.partition("=") for pair in options.where]
    if not all(name and sign for name, sign, _ in where):
        raise AdvshapeError(f"--where takes NAME=VALUE, such as temperature=0.7, got {' '.join(options.where)}")
    return Options(
        reader=options.reader,
        prompt_column=options.prompt_column,
        correct_column=options.correct_column,
        threshold=options.threshold,
        where=tuple((name, value) for name, _, value in where),
    )
