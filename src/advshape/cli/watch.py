"""``advshape watch``: look at a run from another terminal."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from typing import Any

__all__ = ["add", "run"]

DONE = 0
CLEAR = "\x1b[H\x1b[2J"


def add(commands: Any) -> None:
    """The subcommand."""
    sub = commands.add_parser(
        "watch",
        help="look at a run from another terminal",
        description="Status, step, metrics with their course, evaluations and warnings of a run, again and again until "
        "it is over. Where the output is no terminal, once. Nothing is written, and the run does not notice.",
        allow_abbrev=False,
    )
    sub.add_argument("run_directory", metavar="RUN", help="a run directory, as `advshape train` makes it")
    sub.add_argument("--once", action="store_true", help="show it once and leave")
    sub.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="how often to look (default 2)")
    sub.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Show the screen, and again until the run is over or the reader leaves."""
    from advshape.errors import AdvshapeError
    from advshape.training.monitor.watch import ASCII_BLOCKS, BLOCKS, screen, snapshot

    if not 0.1 <= options.every <= 3600:
        raise AdvshapeError(f"--every takes 0.1 to 3600 seconds, got {options.every:g}")
    blocks = BLOCKS if _can_print(BLOCKS) else ASCII_BLOCKS
    once = options.once or not sys.stdout.isatty()
    try:
        while True:
            seen = snapshot(options.run_directory)
            text = screen(seen, shutil.get_terminal_size().columns, blocks)
            if not _can_print(text):
                text = text.encode("ascii", "replace").decode()
            print(text if once else f"{CLEAR}{text}", flush=True)
            if once or seen.over:
                return DONE
            time.sleep(options.every)
    except KeyboardInterrupt:
        print(end=os.linesep if not once else "")
        return DONE


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
