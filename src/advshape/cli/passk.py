"""``advshape passk LOG...``: pass@k with intervals from logs that this or another tool wrote."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advshape.cli.passk_text import labels, report

if TYPE_CHECKING:
    from advshape.evaluation.readers import Options
    from advshape.evaluation.results.log_results import LogResult

EPILOG = """\
Formats, told from the content: advshape's own log, TRL completions (.parquet), verl rollout and validation dumps,
lm-evaluation-harness --log_samples, inspect_ai (.eval, .json), human-eval and evalplus results, a table of counts
(prompt, n, correct); any other CSV, JSON Lines or Parquet with --prompt-column and --correct-column. Files may be
gzip; a folder is read as one log. See docs/logs.md.
"""


def add(commands: Any) -> None:
    """Add the subparser."""
    sub = commands.add_parser(
        "passk",
        help="pass@k from logs of any tool",
        allow_abbrev=False,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub.add_argument(
        "logs",
        nargs="+",
        metavar="LOG",
        help="a file, a folder, or a run directory (its evaluations "
        "before and after training); several make several rows",
    )
    sub.add_argument("-k", type=_attempts, metavar="K,K,...", help="default: powers of two up to n")
    sub.add_argument(
        "--measure",
        type=_measures,
        default=("pass",),
        metavar="NAME,...",
        help="of pass (pass@k, the default), all (pass^k: all of k right), maj (maj@k: majority vote), "
        "max and min (largest and smallest real reward of k)",
    )
    sub.add_argument(
        "--extrapolate",
        type=_attempts,
        default=[],
        metavar="K,K,...",
        help="pass@k for K beyond n as two MODELs have it, fitted to the counts",
    )
    sub.add_argument("--confidence", type=float, default=0.95, help="of the intervals (default 0.95)")
    sub.add_argument("--json", action="store_true")
    sub.add_argument("--csv", metavar="FILE", help="also write the curves as a table")
    sub.add_argument("--plot", metavar="FILE", help="also draw the curves; FILE ends in .png, .svg or .pdf")
    sub.add_argument("--overwrite", action="store_true", help="replace FILE if it is there")
    which = sub.add_argument_group("what is right")
    which.add_argument(
        "--correct-column", metavar="NAME", help="field with the verdict: a reward function, a metric, a scorer"
    )
    which.add_argument("--threshold", type=_number, metavar="T", help="rewards >= T are right")
    which.add_argument("--answer-column", metavar="NAME", help="field with the answer that --measure maj counts")
    how = sub.add_argument_group("which rollouts belong together")
    how.add_argument("--prompt-column", metavar="NAME", help="field that names the prompt")
    how.add_argument("--truncated-column", metavar="NAME", help="field that is true where the token limit was hit")
    how.add_argument("--n-column", metavar="NAME", help="field with the number of judged rollouts: a table of counts")
    how.add_argument("--step", metavar="N", help="only this step; the same as --where step=N")
    how.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        type=_pair,
        help="only rollouts with this setting; repeatable",
    )
    how.add_argument("--by", action="append", default=[], metavar="NAME", help="a row for each value of a setting")
    how.add_argument(
        "--pool", action="append", default=[], metavar="NAME", help="read all values of a setting as one sample"
    )
    how.add_argument("--group-size", type=int, metavar="N", help="TRL: N rows in a row are a group")
    how.add_argument(
        "--duplicates",
        choices=["refuse", "drop", "keep"],
        help="rollouts that are there twice (default: refuse, where the log numbers them)",
    )
    how.add_argument(
        "--reader",
        metavar="NAME",
        help="read the log in this format, whatever its content looks like; docs/logs.md names them",
    )
    sub.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Read, compute, print, and write the files that were asked for."""
    from advshape.evaluation.readers import read_logs
    from advshape.evaluation.results.log_results import log_result
    from advshape.evaluation.results.runs import find_logs
    from advshape.evaluation.stats.intervals import check_confidence

    check_confidence(options.confidence)
    _check(options)
    chosen = _reading(options)
    logs = [log for path in options.logs for file in find_logs(Path(path)) for log in read_logs(file, chosen)]
    results = [log_result(log, options.k, options.confidence, options.extrapolate) for log in logs]
    print(json.dumps(_finite([r.to_json() for r in results]), indent=1) if options.json else report(results))
    _write(options, results)
    return 0


def _check(options: argparse.Namespace) -> None:
    """What can be refused before a log is read."""
    from advshape.errors import AdvshapeError

    if options.group_size is not None and options.group_size < 1:
        raise AdvshapeError(f"--group-size must be 1 or more, got {options.group_size}")
    if options.threshold is not None and not {"pass", "all", "maj"} & set(options.measure):
        raise AdvshapeError("--measure max and min keep the rewards as they are: leave out --threshold")
    if options.extrapolate and "pass" not in options.measure:
        raise AdvshapeError("--extrapolate is for pass@k: add pass to --measure")
    if options.answer_column is not None and "maj" not in options.measure:
        raise AdvshapeError("--answer-column is for the majority vote: add maj to --measure")
    _check_file("--csv", options.csv, (".csv",), options.overwrite)
    _check_file("--plot", options.plot, (".png", ".svg", ".pdf"), options.overwrite)
    if options.plot:
        import matplotlib  # noqa: F401  (a missing package is said now, not after a large log)


def _check_file(option: str, file: str | None, endings: tuple[str, ...], overwrite: bool) -> None:
    """Whether a file that was asked for may be written."""
    from advshape.errors import AdvshapeError
    from advshape.report.pages.render import check_free

    if file is None:
        return
    if not file.endswith(endings):
        raise AdvshapeError(f"{option} {file} has to end in {' or '.join(endings)}")
    check_free(file, overwrite)


def _reading(options: argparse.Namespace) -> Options:
    """How the logs are read."""
    from advshape.evaluation.readers import Options

    where = [*options.where, *([("step", options.step)] if options.step is not None else [])]
    return Options(
        reader=options.reader,
        prompt_column=options.prompt_column,
        correct_column=options.correct_column,
        truncated_column=options.truncated_column,
        n_column=options.n_column,
        threshold=options.threshold,
        by=_names(options.by),
        where=tuple(where),
        pool=_names(options.pool),
        duplicates=options.duplicates,
        group_size=options.group_size,
        measures=options.measure,
        answer_column=options.answer_column,
    )


def _write(options: argparse.Namespace, results: Sequence[LogResult]) -> None:
    """The table and the figure; their places are said on standard error, beside JSON on standard output."""
    if options.csv:
        from advshape.report.figures.measures import results_csv
        from advshape.report.pages.render import write_new

        write_new(options.csv, results_csv(labels(results), results), options.overwrite)
        print(f"table: {options.csv}", file=sys.stderr)
    if options.plot:
        from advshape.report.figures.measures import draw_results

        draw_results(labels(results), results, options.plot)
        print(f"drawn: {options.plot}", file=sys.stderr)


def _finite(value: Any) -> Any:
    """JSON has no NaN: null in its place."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _attempts(text: str) -> list[int]:
    try:
        ks = [int(part) for part in text.split(",")]
    except ValueError:
        ks = []
    if not ks or min(ks) < 1 or max(ks) > 10**12:
        raise argparse.ArgumentTypeError(f"expected whole numbers >= 1 such as 1,8,64, at most 10^12, got {text!r}")
    return ks


def _measures(text: str) -> tuple[str, ...]:
    from advshape.evaluation.results.measures import MEASURES

    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    unknown = [name for name in names if name not in MEASURES]
    if unknown:
        raise argparse.ArgumentTypeError(f"no measure {unknown[0]!r}; there are {', '.join(MEASURES)}")
    return names


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}")
    return value


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    return name, value


def _names(given: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for text in given for name in text.split(",") if name)
