"""``advshape report``: a run, or a comparison of runs, as one HTML page; its figures as files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from advshape.cli.log_options import add_reading, reading

__all__ = ["add"]

DONE = 0


def add(commands: Any) -> None:
    """The subcommand."""
    sub = commands.add_parser(
        "report",
        help="a run, or a comparison of runs, as one HTML page; figures for papers",
        description="One RUN: its page. Several: all against the first, on one page. The page is one file that opens "
        "offline. With --figures alone only the figures are written.",
        allow_abbrev=False,
    )
    sub.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="a run directory, a folder of `advshape evaluate`, "
        "a rollout log (.jsonl; several: any log that `advshape passk` reads), or what "
        "`advshape compare --json` printed (.json)",
    )
    sub.add_argument(
        "--html",
        metavar="FILE",
        help="the page (default: report.html in the run directory, comparison.html here for several)",
    )
    sub.add_argument(
        "--figures", metavar="DIR", help="write every figure as PNG and SVG, and its data as CSV, into DIR"
    )
    sub.add_argument(
        "--yardstick",
        action="append",
        default=[],
        metavar="RUN",
        dest="yardsticks",
        help="another training seed of the first run, as the yardstick; repeatable",
    )
    sub.add_argument("--unpaired", action="store_true", help="compare runs that do not share their prompts")
    sub.add_argument("--overwrite", action="store_true", help="replace files that are there")
    add_reading(sub)
    sub.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write what was asked for and print the paths."""
    from advshape.errors import AdvshapeError
    from advshape.evaluation.readers import Options

    one = len(options.runs) == 1 and not options.yardsticks
    if one and options.unpaired:
        raise AdvshapeError("--unpaired compares runs; name two or more")
    if options.yardsticks and len(options.runs) == 1:
        raise AdvshapeError("--yardstick is for a comparison; name two runs or more")
    chosen = reading(options)
    if len(options.runs) == 1 and chosen != Options():
        raise AdvshapeError(
            "options that say how to read a log are for comparisons; the page of one run reads the log "
            "of `advshape evaluate` or `advshape train`, `advshape passk` any log"
        )
    written = _run_page(options) if one and not options.runs[0].endswith(".json") else _comparison_page(options)
    for path in written:
        print(path)
    return DONE


def _run_page(options: argparse.Namespace) -> list[Path]:
    """The page or the figures of one run."""
    from advshape.errors import AdvshapeError
    from advshape.report.pages.run import save_figures, write_report

    directory = Path(options.runs[0])
    if directory.is_file() and not directory.name.removesuffix(".gz").endswith(".jsonl"):
        raise AdvshapeError(
            f"{directory} is no .jsonl: the page of one run reads the log of `advshape evaluate` or `advshape train`; "
            "`advshape passk` reads any log"
        )
    if options.figures and not options.html:
        return save_figures(directory, options.figures, options.overwrite)
    own = directory / "report.html" if directory.is_dir() else directory.with_suffix(".html")
    return [write_report(directory, options.html or own, figures=options.figures, overwrite=options.overwrite)]


def _comparison_page(options: argparse.Namespace) -> list[Path]:
    """The page or the figures of a comparison."""
    from advshape.evaluation.results.compare import compare
    from advshape.evaluation.results.runs import load_runs
    from advshape.report.pages.comparison import save_comparison_figures, write_comparison

    found: Any = options.runs[0]
    if len(options.runs) > 1:
        loaded = load_runs([*options.runs, *options.yardsticks], reading(options))
        runs, yardsticks = loaded[: len(options.runs)], loaded[len(options.runs) :]
        found = compare(
            [run for several in runs for run in several],
            yardsticks=[run for several in yardsticks for run in several],
            unpaired_runs=options.unpaired,
        )
    if options.figures and not options.html:
        return save_comparison_figures(found, options.figures, options.overwrite)
    page = options.html or "comparison.html"
    return [write_comparison(found, page, figures=options.figures, overwrite=options.overwrite)]
