"""``advshape reverse``: what a rule really maximises. Entries, formula pairs, other people's code."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from advshape.audit.names import SHAPES
from advshape.cli.console import DONE, FAILED, align, complain, show_number
from advshape.cli.parser import rollouts, seconds
from advshape.errors import AdvshapeError

__all__ = ["add", "reversal_text"]

DEFAULT_N = 8
LARGEST_N = 1024  # the search for a name builds hundreds of tables


def add(commands: Any) -> None:
    """The subcommand."""
    sub = commands.add_parser("reverse", help="what does an advantage rule really optimise?", allow_abbrev=False)
    sub.add_argument(
        "target",
        metavar="TARGET",
        nargs="?",
        type=str.strip,
        help="an estimator of the catalogue, such as grpo or 'pass_at_k(k=8)'; an installed trainer's "
        "own: trl:scale_rewards=batch, verl:grpo_passk, skyrl:, swift:, openrlhf:, tunix:NAME; or your "
        "code: module:function, path/to/file.py:function",
    )
    sub.add_argument(
        "--positive",
        metavar="FORMULA",
        type=str.strip,
        help="instead of TARGET: A+ of the success rate rho, such as 'sqrt((1-rho)/rho)'",
    )
    sub.add_argument("--negative", metavar="FORMULA", type=str.strip, help="and A-, such as '-sqrt(rho/(1-rho))'")
    sub.add_argument(
        "--signature",
        metavar="SHAPE",
        choices=SHAPES,
        help="how your function is called: groups (default): (P, n) -> (P, n); group: (n,) -> (n,); "
        "flat: (P n,), n -> (P n,); list: [(n,), ...] -> [(n,), ...]; verl: keyword tensors",
    )
    sub.add_argument("--python", metavar="PATH", help="interpreter of the environment that has the trainer")
    sub.add_argument("--seconds", type=seconds, default=300.0, help="time limit of your or the trainer's code (300)")
    sub.add_argument("-n", type=rollouts, help="rollouts per prompt (default 8, or the fewest that an estimator takes)")
    sub.add_argument("--json", action="store_true", help="for programs")
    sub.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what the target maximises."""
    import json

    from advshape.audit.run import TargetFailed

    pair = options.positive, options.negative
    if (options.target is None) == (pair == (None, None)):
        raise AdvshapeError("give either TARGET, or --positive and --negative, two formulas of rho")
    code = options.target is not None and (":" in options.target or options.target == "trl")
    if not code and (options.signature or options.python):
        raise AdvshapeError("--signature and --python are for a TARGET that is code, such as path/to/rules.py:FUNCTION")
    try:
        found = _formulas(*pair, options.n) if options.target is None else _code(options) if code else _entry(options)
    except TargetFailed as error:
        return complain(error, FAILED)
    print(json.dumps(found, indent=1) if options.json else reversal_text(found))
    return DONE


def _formulas(positive: str | None, negative: str | None, n: int | None) -> dict[str, Any]:
    """What A+ = positive(rho), A- = negative(rho) maximise."""
    from advshape import parse, reverse
    from advshape.catalogue.derivation import check_group
    from advshape.probe.record import Subject, as_data

    if positive is None or negative is None:
        missing = "--negative" if negative is None else "--positive"
        raise AdvshapeError(f"a pair of formulas needs {missing} too; write 0 where a rollout gets no advantage")
    n = DEFAULT_N if n is None else n
    check_group(n, LARGEST_N)
    typed = parse(positive), parse(negative)
    note = f"the table is the formulas at rho = c/{n} in mixed groups"
    return as_data(reverse(typed, n), Subject(f"A+ = {typed[0]!r}, A- = {typed[1]!r}", notes=(note,)))


def _entry(options: argparse.Namespace) -> dict[str, Any]:
    """What an estimator of the catalogue maximises."""
    from advshape import estimator, reverse
    from advshape.catalogue.derivation import check_group
    from advshape.probe.record import Subject, as_data

    target: str = options.target
    if target.endswith(".py"):
        raise AdvshapeError(f"{target!r} is a file; name the function in it, as in {target}:FUNCTION")
    if re.search(r"\brho\b", target):
        raise AdvshapeError(
            f"{target!r} is a formula: of an objective, type advshape derive {shlex.quote(target)}; of a rule, give "
            "two, --positive A+ and --negative A-"
        )
    one = estimator(target)
    n = max(DEFAULT_N, one.smallest_n) if options.n is None else options.n
    check_group(n)
    return as_data(reverse(one, n), Subject.of_entry(target, one))


def _code(options: argparse.Namespace) -> dict[str, Any]:
    """What a rule of somebody else's code maximises, run where it lies."""
    from advshape.audit.run import audit

    return audit(
        options.target,
        [DEFAULT_N if options.n is None else options.n],
        python=options.python,
        signature=options.signature,
        seconds=options.seconds,
        paths=[os.getcwd()],
    )[0]


def reversal_text(data: Mapping[str, Any]) -> str:
    """What `probe.record.as_data` holds, as `advshape reverse` prints it: summary, table, slopes."""
    about = ": ".join(filter(None, (data["version"], data["source"])))
    notes = f" ({'; '.join(data['notes'])})" if data["notes"] else ""
    parts = [f"{', '.join(filter(None, (data['target'], about)))}{notes}\nwith {data['summary']}"]
    if data["positive"] is not None:
        parts.append(_table_text(data))
    if len(data["curve"]) > 1:
        parts.append(f"What it maximises with this n is F_n, whose slope F_n' is exact:\n{_curve_text(data['curve'])}")
    return "\n\n".join(parts)


def _table_text(data: Mapping[str, Any]) -> str:
    n, rows = data["n"], [["right", "A+ (right)", "A- (wrong)", "others right", "weight", "offset"]]
    for c in range(n + 1):
        right = _cell(data["positive"][c]) if c else ""
        rest = [data[key][c] for key in ("negative", "weight", "offset")] if c < n else []
        wrong, *others = map(_cell, rest) if rest else ("", "", "")
        rows.append([str(c), right, wrong, str(c) if rest else "", *others])
    scale = "\nA+ and A- as they came in the first batch of the probe; the batch sets their scale."
    return align(rows, right=True) + (scale if data["up_to_batch_scale"] else "")


def _curve_text(curve: Mapping[str, Sequence[float | None]]) -> str:
    show = {"rho": "{:g}".format, "error": "{:.1g}".format}
    columns = [[name, *(_cell(x, show.get(name, show_number)) for x in values)] for name, values in curve.items()]
    return align(zip(*columns, strict=True), right=True)


def _cell(value: float | None, show: Callable[[float], str] = show_number) -> str:
    return "not finite" if value is None else show(value)
