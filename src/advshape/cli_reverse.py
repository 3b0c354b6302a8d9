"""``advshape reverse``: what a rule really maximises. Entries, functions, formula pairs, TRL's own advantages."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import advshape as adv
from advshape.errors import AdvshapeError

__all__ = ["add", "formulas", "function", "joined", "trl"]

RHO = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)


def add(commands: Any) -> None:
    """The subcommand."""
    sub = commands.add_parser("reverse", help="what does an advantage rule really optimise?", allow_abbrev=False)
    sub.add_argument("target", metavar="TARGET", nargs="?",
                     help="an estimator of the catalogue, such as grpo or 'pass_at_k(k=8)'; module:function, "
                     "rewards (groups, n) -> advantages; or trl:scale_rewards=batch, TRL's own lines")  # fmt: skip
    sub.add_argument("--positive", metavar="FORMULA",
                     help="instead of TARGET: A+ of the success rate rho, such as 'sqrt((1-rho)/rho)'")  # fmt: skip
    sub.add_argument("--negative", metavar="FORMULA", help="and A-, such as '-sqrt(rho/(1-rho))'")
    sub.add_argument("-n", type=int, default=8, help="rollouts per prompt (default 8)")
    sub.add_argument("--json", action="store_true", help="for programs")
    sub.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what the target maximises."""
    target, pair = options.target, (options.positive, options.negative)
    if (target is None) == (pair == (None, None)):
        raise AdvshapeError("give either TARGET, or --positive and --negative, two formulas of rho")
    if target is None:
        print(formulas(*pair, options.n, options.json))
    elif target.partition(":")[0] == "trl":
        print(trl(target, options.n, options.json))
    elif ":" in target:
        print(function(target, options.n, options.json))
    else:
        from advshape.cli_tables import reverse

        print(reverse(target, options.n, options.json))
    return 0


def joined(words: Sequence[str]) -> list[str]:
    """--negative "-sqrt(rho)" as one word: argparse would take a formula that begins with a minus for an option.

    >>> joined(["reverse", "--negative", "-rho"])
    ['reverse', '--negative=-rho']
    """
    out: list[str] = []
    for word in words:
        if out and out[-1] in ("--positive", "--negative") and not word.startswith("--"):
            out[-1] = f"{out[-1]}={word}"
        else:
            out.append(word)
    return out


def function(name: str, n: int, as_json: bool = False) -> str:
    """What the advantage function `module:function` maximises with n rollouts, and its findings; text or JSON.

    The working directory is on the path. Raises ``AdvshapeError`` where there is no such function.
    """
    module, _, function_name = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        rule = getattr(importlib.import_module(module), function_name)
    except (Exception, SystemExit) as error:  # the module is the user's: it may do anything as it is imported
        why = f"{type(error).__name__}: {error}".split("\n")[0]
        raise AdvshapeError(
            f"no advantage function {name!r} ({why}); write module:function, as in rules:mine for rules.py"
        ) from error
    found = adv.reverse(rule, n)
    return _json(name, found) if as_json else f"{name} with {found}{_table(found)}"


def formulas(positive: str | None, negative: str | None, n: int, as_json: bool = False) -> str:
    """What A+ = positive(rho), A- = negative(rho) maximise: F in closed form where a rule finds one, else numbers
    with their error; and the table at rho = c/n. Raises ``AdvshapeError`` for a formula that cannot be read."""
    if positive is None or negative is None:
        missing = "--negative" if negative is None else "--positive"
        raise AdvshapeError(f"a pair of formulas needs {missing} too; write 0 where a rollout gets no advantage")
    typed = adv.parse(positive), adv.parse(negative)
    found = adv.reverse(typed, n)
    if as_json:
        return _json(f"A+ = {positive}, A- = {negative}", found, _curve(found))
    head = (
        f"A+ = {typed[0]!r}, A- = {typed[1]!r}\nwith {found}\nThe table is the formulas at rho = c/{n} in mixed groups."
    )
    return f"{head}\n\n{_curve_text(found)}{_table(found)}"


def trl(spec: str, n: int, as_json: bool = False) -> str:
    """What TRL's GRPOTrainer maximises with n rollouts and the options in "trl:scale_rewards=batch"; text or JSON.

    The advantages come from the installed TRL's own code. Raises ``AdvshapeError`` for options that set no advantages.
    """
    options = _trl_options(spec.partition(":")[2])
    if n < 2:
        raise AdvshapeError(f"TRL's GRPOTrainer takes at least 2 rollouts per prompt, got n={n}; use -n 2 or more")
    from advshape.cli_quiet import no_deprecation_notes

    no_deprecation_notes()
    importlib.import_module("trl")  # where it is missing, say so before torch is loaded
    from advshape.adapters.trl_audit import TRLAdvantages

    rule = TRLAdvantages(n, **options)
    found = adv.reverse(rule, n, arrays="torch")
    return _json(spec, found) if as_json else f"{rule.description}\nwith {found}{_table(found)}"


_TRL = {
    "scale_rewards": ("group", "batch", "none"),
    "multi_objective_aggregation": ("sum_then_normalize", "normalize_then_sum"),
}


def _trl_options(text: str) -> dict[str, Any]:
    """scale_rewards=batch, ... as a dictionary; only the options that make TRL's advantages."""
    options: dict[str, Any] = {}
    for part in text.split(",") if text.strip() else []:
        key, _, value = (word.strip() for word in part.partition("="))
        if key not in _TRL or key in options:
            raise AdvshapeError(
                f"TRL's advantages follow {' and '.join(_TRL)}, each given once; got {part.strip()!r}. Other options "
                "change the loss: `advshape.adapters.trl.objective_warnings(config)` tells which change the objective"
            )
        if value not in _TRL[key]:
            raise AdvshapeError(f"{key} is one of {', '.join(_TRL[key])}, got {value!r}")
        options[key] = value
    return options


def _json(spec: str, found: adv.Reversal, curve: dict[str, list[float]] | None = None) -> str:
    parts = {
        "target": spec,
        "n": found.n,
        "nearest": found.nearest,
        "exact": found.match is not None and found.match.exact,
        "population": repr(found.population) if found.population is not None else None,
        "up_to_batch_scale": found.scale_free,
        "findings": [dataclasses.asdict(finding) for finding in found.findings],
        "positive": found.table.positive.tolist() if found.table else None,
        "negative": found.table.negative.tolist() if found.table else None,
        "weight": found.surrogate.weight.tolist() if found.surrogate else None,
    }
    return json.dumps(parts | ({"curve": curve, "closed_form": "error" not in curve} if curve else {}), indent=1)


def _curve(found: adv.Reversal) -> dict[str, list[float]]:
    """F, its error where it is by quadrature, F' and F_n' at RHO."""
    aim, finite = found.population, found.surrogate
    assert aim is not None
    assert finite is not None
    parts: dict[str, Any] = {"F": aim.value(RHO)}
    if isinstance(aim, adv.IntegratedSurrogate):
        parts["error"] = aim.error(RHO)
    parts |= {"F'": aim.derivative(RHO), "F_n'": finite.derivative(RHO)}
    return {"rho": list(RHO)} | {name: values.tolist() for name, values in parts.items()}


def _curve_text(found: adv.Reversal) -> str:
    curve = _curve(found)
    widths = [6 if name == "rho" else 10 for name in curve]
    rows = [list(curve), *([f"{x:.4g}" for x in row] for row in zip(*curve.values(), strict=True))]
    return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)


def _table(found: adv.Reversal) -> str:
    if found.table is None:
        return ""
    rows = [f"{'right':>5} {'A+ (right)':>12} {'A- (wrong)':>12}"]
    for c in range(found.n + 1):
        right = f"{found.table.positive[c]:.4f}" if c else ""
        wrong = f"{found.table.negative[c]:.4f}" if c < found.n else ""
        rows.append(f"{c:>5} {right:>12} {wrong:>12}".rstrip())
    scale = (
        "\nA+ and A- as they came in the first batch of the probe; the batch sets their scale."
        if found.scale_free
        else ""
    )
    return "\n\n" + "\n".join(rows) + scale
