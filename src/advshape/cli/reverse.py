"""``advshape reverse``: what a rule really maximises. Entries, formula pairs, other people's code."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import sys
from typing import Any

import advshape as adv
from advshape.audit.names import SHAPES
from advshape.cli.parser import rollouts, seconds
from advshape.errors import AdvshapeError

__all__ = ["add", "audited", "formulas"]

DEFAULT_N = 8
LARGEST_N = 1024  # the search for a name builds hundreds of tables
RHO = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)


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
    target, pair = options.target, (options.positive, options.negative)
    if (target is None) == (pair == (None, None)):
        raise AdvshapeError("give either TARGET, or --positive and --negative, two formulas of rho")
    code = target is not None and (":" in target or target == "trl")
    if target is not None and target.endswith(".py"):
        raise AdvshapeError(f"{target!r} is a file; name the function in it, as in {target}:FUNCTION")
    if target is not None and not code and re.search(r"\brho\b", target):
        raise AdvshapeError(
            f"{target!r} is a formula: of an objective, type advshape derive {shlex.quote(target)}; of a rule, give "
            "two, --positive A+ and --negative A-"
        )
    if not code and (options.signature or options.python):
        raise AdvshapeError("--signature and --python are for a TARGET that is code, such as path/to/rules.py:FUNCTION")
    if options.n is None:
        least = 1 if code or target is None else adv.estimator(target).smallest_n
        options.n = max(DEFAULT_N, least)
    if target is None:
        print(formulas(*pair, options.n, options.json))
    elif code:
        return _audited(options)
    else:
        from advshape.cli.derive_text import reverse

        print(reverse(target, options.n, options.json))
    return 0


def formulas(positive: str | None, negative: str | None, n: int, as_json: bool = False) -> str:
    """What A+ = positive(rho), A- = negative(rho) maximise: F in closed form where a rule finds one, else numbers
    with their error; and the table at rho = c/n. Raises ``AdvshapeError`` for a formula that cannot be read."""
    if positive is None or negative is None:
        missing = "--negative" if negative is None else "--positive"
        raise AdvshapeError(f"a pair of formulas needs {missing} too; write 0 where a rollout gets no advantage")
    from advshape.cli.derive_text import check_group
    from advshape.probe.text import table

    check_group(n, LARGEST_N)
    typed = adv.parse(positive), adv.parse(negative)
    found = adv.reverse(typed, n)

    if as_json:
        return _json(f"A+ = {positive}, A- = {negative}", found, _curve(found))
    head = (
        f"A+ = {typed[0]!r}, A- = {typed[1]!r}\nwith {found}\nThe table is the formulas at rho = c/{n} in mixed groups."
    )
    return f"{head}\n\n{_curve_text(found)}{table(found)}"


def _audited(options: argparse.Namespace) -> int:
    from advshape.audit.run import TargetFailed

    try:
        print(audited(options))
    except TargetFailed as error:
        print(f"advshape: {error}", file=sys.stderr)
        return 1
    return 0


def audited(options: argparse.Namespace) -> str:
    """What a rule of somebody else's code maximises, run where it lies; text or JSON.

    Raises ``AdvshapeError`` for a target that is not there, ``TargetFailed`` for one that does not come to an end.
    """
    from advshape.audit.run import audit

    found = audit(
        options.target,
        [options.n],
        python=options.python,
        signature=options.signature,
        seconds=options.seconds,
        paths=[os.getcwd()],
    )
    return json.dumps(found["data"][0], indent=1) if options.json else str(found["text"])


def _json(spec: str, found: adv.Reversal, curve: dict[str, list[float]]) -> str:
    from advshape.audit.examine import as_data

    parts = {"target": spec, **as_data(found), "curve": curve, "closed_form": "error" not in curve}
    return json.dumps(parts, indent=1)


def _curve(found: adv.Reversal) -> dict[str, list[float]]:
    """F, its error where it is by quadrature, F' and F_n' at RHO."""
    aim, finite = found.population, found.surrogate
    assert aim is not None
    parts: dict[str, Any] = {"F": aim.value(RHO)}
    if isinstance(aim, adv.IntegratedSurrogate):
        parts["error"] = aim.error(RHO)
    parts |= {"F'": aim.derivative(RHO)} | ({"F_n'": finite.derivative(RHO)} if finite else {})
    return {"rho": list(RHO)} | {name: values.tolist() for name, values in parts.items()}


def _curve_text(found: adv.Reversal) -> str:
    curve = _curve(found)
    widths = [6 if name == "rho" else 10 for name in curve]
    rows = [list(curve), *([f"{x:.4g}" for x in row] for row in zip(*curve.values(), strict=True))]
    return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)
