"""``advshape compare``: which of two or more runs is better, at which k, and is it more than chance?"""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

from advshape.cli.log_options import add_reading, reading

if TYPE_CHECKING:
    from advshape.evaluation.results.compare import Comparison
    from advshape.evaluation.results.difference import ClusterOf, Difference
    from advshape.evaluation.results.runs import Run
    from advshape.evaluation.stats.changes import Change
    from advshape.evaluation.stats.crossing import Crossing

__all__ = ["add", "comparison_text"]

DONE = 0
SHOWN = 10
"""Changed prompts printed of each kind; --json and --html have all."""


def add(commands: Any) -> None:
    """The subcommand."""
    sub = commands.add_parser(
        "compare",
        help="runs against each other on the same prompts, with intervals and p-values",
        description="All runs against the first, by prompt. A RUN is a run directory (its evaluation after training), "
        "a folder of `advshape evaluate`, or any log that `advshape passk` reads; RUN@temperature=0.7 chooses one "
        "setting of a log.",
        allow_abbrev=False,
    )
    sub.add_argument("runs", nargs="+", metavar="RUN")
    sub.add_argument(
        "--yardstick",
        action="append",
        default=[],
        metavar="RUN",
        dest="yardsticks",
        help="another training seed of the first run: what a mere seed changes; repeatable",
    )
    sub.add_argument(
        "--k",
        "-k",
        action="append",
        type=int,
        default=[],
        metavar="K",
        dest="registered",
        help="the k chosen before looking: only it is tested, without correction for the others; repeatable",
    )
    sub.add_argument("--unpaired", action="store_true", help="compare runs that do not share their prompts")
    sub.add_argument("--shared", action="store_true", help="compare only the prompts that all runs have")
    sub.add_argument(
        "--cluster", metavar="REGEX", help="prompts whose ids have the same match (first group, else whole) are related"
    )
    sub.add_argument("--confidence", type=float, default=0.95, help="of the intervals (default 0.95)")
    sub.add_argument("--permutations", type=int, default=10_000, help="of the test (default 10000)")
    sub.add_argument("--resamples", type=int, default=2000, help="of the crossing's bootstrap (default 2000)")
    sub.add_argument("--seed", type=int, default=0, help="of permutations and resamples (default 0)")
    add_reading(sub)
    sub.add_argument("--json", action="store_true", help="print everything as JSON")
    sub.add_argument("--html", metavar="FILE", help="also write the comparison as one HTML page")
    sub.add_argument("--overwrite", action="store_true", help="replace FILE if it is there")
    sub.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Compare, print, and write the page where it was asked for."""
    import json

    found = _compare(options)
    if options.html:
        from advshape.report import write_comparison

        write_comparison(found, options.html, overwrite=options.overwrite)
    print(json.dumps(found.to_json(), indent=1, allow_nan=False) if options.json else comparison_text(found))
    if options.html and not options.json:
        print(f"page: {options.html}")
    return DONE


def _compare(options: argparse.Namespace) -> Comparison:
    from advshape.evaluation.results.compare import compare
    from advshape.evaluation.results.runs import load_runs

    loaded = load_runs([*options.runs, *options.yardsticks], reading(options))
    count = len(options.runs)
    return compare(
        [one for several in loaded[:count] for one in several],
        yardsticks=[one for several in loaded[count:] for one in several],
        registered=options.registered,
        unpaired_runs=options.unpaired,
        shared=options.shared,
        confidence=options.confidence,
        cluster_of=_clusters(options.cluster),
        permutations=options.permutations,
        resamples=options.resamples,
        seed=options.seed,
    )


def _clusters(pattern: str | None) -> ClusterOf | None:
    """Problem id -> its cluster, by a pattern that has to match every id."""
    from advshape.errors import AdvshapeError

    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise AdvshapeError(f"--cluster {pattern!r} is no regular expression: {error}") from error

    def label(problem: str) -> str:
        match = compiled.search(problem)
        if match is None:
            raise AdvshapeError(f"--cluster {pattern!r} does not match the prompt id {problem[:80]!r}")
        return str(match.group(1) if compiled.groups else match.group(0))

    return label


def comparison_text(found: Comparison) -> str:
    """A comparison as text: runs, notes, curves, differences, changed prompts, crossings."""
    loud = [note.upper() for note in found.notes if note.startswith("UNPAIRED")]
    lines = [*loud, *(_run_line(run) for run in found.runs)]
    width = max(len(run.label) for run in found.runs)
    lines += ["", f"{'':{width}}" + "".join(f"{f'pass@{k}':>16}" for k in found.ks)]
    for run, curve in zip(found.runs, found.curves, strict=True):
        lines.append(f"{run.label:{width}}" + "".join(f"{value:>16.3f}" for value in curve.values))
        ends = (f"[{low:.3f}, {high:.3f}]" for low, high in zip(curve.low, curve.high, strict=True))
        lines.append(" " * width + "".join(f"{end:>16}" for end in ends))
    for pair in found.pairs:
        lines += ["", *_pair_lines(pair, found)]
    for note in found.notes:
        lines += [] if note.startswith("UNPAIRED") else ["", f"Note: {note}"]
    return "\n".join(_visible(line) for line in lines)


def _run_line(run: Run) -> str:
    totals = run.counts.totals()
    return (
        f"{run.label}: {run.source}\n  {run.counts.prompts} prompts, {run.counts.n} or more judged rollouts each: "
        f"{totals['right']} right, {totals['wrong']} wrong, {totals['not_judged']} not judged,"
        f" {totals['truncated']} cut off"
    )


def _pair_lines(pair: Difference, found: Comparison) -> list[str]:
    yards = list(found.yardsticks)
    title = f"{pair.second} minus {pair.first}"
    how = f"paired over {pair.prompts} prompts" if pair.paired else "UNPAIRED: DIFFERENT PROMPTS"
    lines = [f"{title}, {how}" + (f" ({pair.left_out} left out: not judged)" if pair.left_out else "")]
    tests = len(found.tested) * len(found.pairs)
    adjusted = tests > 1
    head = f"{'k':>6}{'difference':>12}{f'{found.confidence:.0%} interval':>20}{'p':>9}"
    lines.append(head + (f"{'Holm p':>9}" if adjusted else "") + "".join(f"  {y.second}: seed" for y in yards))
    for i, k in enumerate(pair.ks):
        row = f"{k:>6}{pair.difference[i]:>+12.3f}{f'[{pair.low[i]:+.3f}, {pair.high[i]:+.3f}]':>20}"
        row += _p(pair.p[i]) + (_p(pair.p_adjusted[i]) if adjusted else "")
        lines.append(row + "".join(f"{y.difference[i]:>+{len(y.second) + 8}.3f}" for y in yards))
    lines.append(f"p: {pair.test}; " + (f"Holm over {tests} tests" if adjusted else "one registered test"))
    lines.append(_verdict(pair, found))
    if pair.changes is not None:
        lines += _change_lines(pair)
        lines.append(_crossing_line(pair, pair.crossing))
    return lines


def _p(value: float) -> str:
    if value != value:
        return f"{'-':>9}"
    return f"{'<0.0001':>9}" if value < 0.0001 else f"{value:>9.4f}"


def _verdict(pair: Difference, found: Comparison) -> str:
    """Which tested k differ, in one sentence; measured against the yardstick where there is one."""
    level = 1 - found.confidence
    sure = [i for i, p in enumerate(pair.p_adjusted) if p <= level]
    if not sure:
        return f"No difference can be told from chance at k = {', '.join(map(str, found.tested))}."
    ups = [f"{pair.ks[i]}" for i in sure if pair.difference[i] > 0]
    downs = [f"{pair.ks[i]}" for i in sure if pair.difference[i] < 0]
    said = [f"{word} at k = {', '.join(ks)}" for word, ks in (("better", ups), ("worse", downs)) if ks]
    text = f"{pair.second} is {' and '.join(said)}."
    wide = [f"{pair.ks[i]}" for i in sure if pair.low[i] <= 0 <= pair.high[i]]
    if wide:
        text += f" The interval at k = {', '.join(wide)} holds 0 all the same: it allows for rare large changes that so"
        text += " few prompts need not show."
    yards = found.yardsticks
    small = [str(pair.ks[i]) for i in sure if any(abs(y.difference[i]) >= abs(pair.difference[i]) for y in yards)]
    if small:
        text += f" But another seed of {pair.first} alone changes as much at k = {', '.join(small)}."
    elif yards:
        text += f" Each of these is larger than what another seed of {pair.first} changes."
    return text


def _change_lines(pair: Difference) -> list[str]:
    changes = pair.changes
    assert changes is not None
    won, lost = len(changes.newly_solved), len(changes.newly_lost)
    lines = [
        f"prompts solved at least once: {changes.both} by both, {won} newly, {lost} no more, {changes.neither} by none;"
        f" beyond chance: {changes.beyond_chance[0]} new, {changes.beyond_chance[1]} lost"
    ]
    for name, items in (("newly solved", changes.newly_solved), ("newly lost", changes.newly_lost)):
        lines += [f"  {name}: {_change(item)}" for item in items[:SHOWN]]
        if len(items) > SHOWN:
            lines.append(f"  {name}: {len(items) - SHOWN} more; --json has all")
    return lines


def _change(item: Change) -> str:
    text = " ".join(item.prompt.split())
    text = f"  {text[:60]}{'...' if len(text) > 60 else ''}" if text and text != item.problem else ""
    (c1, n1), (c2, n2) = item.first, item.second
    return f"{item.problem[:60]}  {c1}/{n1} -> {c2}/{n2}  p {item.p:.2g}{text}"


def _crossing_line(pair: Difference, crossing: Crossing | None) -> str:
    if crossing is None:
        return "The curves do not cross between k = 1 and the largest k."
    low = f"{crossing.low:.1f}" if crossing.low >= 1 else "below 1"
    high = f"{crossing.high:.1f}" if crossing.high <= crossing.n else f"beyond {crossing.n}"
    sure = "" if crossing.low >= 1 and crossing.high <= crossing.n else " (not established: the interval is open)"
    side = "fewer" if crossing.ahead == "below" else "more"
    return (
        f"The curves cross at k = {crossing.k:.1f}, interval {low} to {high}{sure}; {pair.second} is ahead at {side}"
        f" attempts; {crossing.share:.0%} of resamples cross so."
    )


def _visible(line: str) -> str:
    """A line whose control characters cannot move the cursor or colour the terminal."""
    return "".join(c if c in "\n" or c.isprintable() else ascii(c)[1:-1] for c in line)
