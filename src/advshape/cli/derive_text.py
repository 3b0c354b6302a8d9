"""What ``advshape derive`` and ``reverse`` print: tables, numbers and lines to paste."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Sequence
from itertools import pairwise
from textwrap import indent
from typing import Any, Literal

import numpy as np

import advshape as adv
from advshape.catalogue import ENTRIES, nearest
from advshape.catalogue.analysis import BINS, Description, compare, findings, table_text
from advshape.cli.snippets import trl_code, verl_code
from advshape.errors import AdvshapeError
from advshape.objectives.regularize import base_of
from advshape.objectives.surrogate import terms
from advshape.probe.reversal import extreme

LARGEST_N = 4096
"""Largest group that is described: each figure averages polynomials of degree n, exact to 1e-11 up to here."""
RHO = np.array([0.01, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.99])
PRIOR = adv.Beta(0.5, 1.0)


def derive(
    objective: str,
    n: int,
    build: str | None,
    baseline: str | None,
    as_json: bool = False,
    against: str | None = None,
    scale: Literal["none", "rms", "rloo"] = "none",
    base: str | None = None,
) -> str:
    """The table of an objective at group size n, what it optimises, and its rivals; text or JSON.

    objective: an estimator, a surrogate or a formula of rho; against: estimators, separated by commas, to judge by the
    same objective; base: an objective of which this one is a regularised version. Raises ``AdvshapeError`` for an
    unknown objective, an n that is too small, or a build that does not exist.
    """
    check_group(n)
    estimator, spec = resolve(objective, n, build, baseline)
    others = alternatives(against, estimator, n)
    omega = _regularisation(estimator, base)
    table = estimator.table(n)
    rivals, notes = _rivals(estimator, n), findings(estimator, n)
    rows = compare([estimator, *others], n, PRIOR, estimator.surrogate if scale == "none" else None, scale)
    if as_json:
        more = {"alternatives": rivals, "findings": notes, "compared": [row.as_row() for row in rows]}
        more["regularisation"] = _regularisation_json(omega)
        return json.dumps({"spec": spec, **_table_json(estimator, table), **more}, indent=1)
    parts = [
        f"{estimator.name}: {estimator.kind}, {'' if table.centered else 'not '}centered, n = {n} "
        f"(needs n >= {estimator.smallest_n})",
        *([_formula_text(estimator.surrogate)] if isinstance(estimator.surrogate, adv.Expression) else []),
        *([f"Regularisation:\n{omega}"] if omega else []),
        *(["Findings:\n" + "\n".join(f"- {line}" for line in notes)] if notes else []),
        _table_text(table),
        "What it optimises with this n (F_n') against the objective (F'):\n" + _bias_text(estimator, table),
        "Alternatives for the same objective, averaged over rho ~ Beta(0.5, 1) (second moment: isotropic "
        "model):\n" + _rivals_text(rivals),
        _against_text(rows, scale),
        "In TRL (pip install 'advshape[trl]'; model, verify, settings and prompts are yours):\n\n"
        + indent(trl_code(spec, n), "    "),
        "In verl (pip install advshape beside it; the overrides of your run come after these):\n\n"
        + indent(verl_code(spec, n), "    "),
    ]
    return "\n\n".join(parts)


def reverse(name: str, n: int, as_json: bool = False) -> str:
    """What an estimator of the catalogue maximises with n rollouts; text or JSON."""
    check_group(n)
    estimator = adv.estimator(name)
    table = estimator.table(n)
    if as_json:
        return json.dumps(_table_json(estimator, table), indent=1)
    weight, eta = table.weight, table.eta
    silent = [str(c) for c in range(n + 1) if eta[c] == 0]
    power = extreme(table.surrogate())
    aims = f"maximises {power!r}, exactly with these n" if power else "no named surrogate"
    if estimator.surrogate:
        aims = f"aims at {estimator.surrogate!r}, {estimator.kind}"
    facts = [
        f"group sums to zero: {'yes' if table.centered else 'no'}; silent at {', '.join(silent) or 'no'} of {n} right",
        f"F_n'(0) = {weight[0]:.4g}, F_n'(1) = {weight[-1]:.4g}: the pull on a prompt that is (almost) never, always "
        "solved",
        f"most total weight on groups with {int(np.argmax(eta))} of {n} right",
    ]
    if (weight < 0).any():
        facts.append("the weight is negative for some counts: right answers are pushed down there")
    parts = [
        f"{estimator.name} with n = {n}: {aims}  [{estimator.reference}]",
        _table_text(table),
        "What it really maximises: F_n' is the polynomial with the weights as Bernstein coefficients\n"
        + (_bias_text(estimator, table) if estimator.surrogate else _slope_text(table)),
        "\n".join(facts),
    ]
    return "\n\n".join(parts)


def check_group(n: int, largest: int = LARGEST_N) -> None:
    """Raises ``AdvshapeError`` for no group, and for one too large to be described while somebody waits."""
    if not 1 <= n <= largest:
        more = "; the table alone is, in Python, advshape.estimator(NAME).table(n)" if n > largest else ""
        raise AdvshapeError(f"n, the number of rollouts per prompt, runs from 1 to {largest}, got n={n}{more}")


def with_parameters(objective: str, pairs: Sequence[str]) -> str:
    """The objective with its parameters replaced by their numbers, from words such as 'lam=0.1'."""
    numbers: dict[str, float] = {}
    for pair in pairs:
        name, _, value = (part.strip() for part in pair.partition("="))
        if name in numbers:
            raise AdvshapeError(f"{name} is set twice; give --set {name}=NUMBER once")
        try:
            numbers[name] = float(value)
        except ValueError:
            raise AdvshapeError(f"write --set NAME=NUMBER, such as --set lam=0.1, got {pair!r}") from None
    if numbers and _entry_name(objective):
        inside = ", ".join(f"{name}={value:g}" for name, value in numbers.items())
        raise AdvshapeError(
            f"--set is for formulas; {objective} is an estimator: write {_entry_name(objective)}({inside})"
        )
    return repr(adv.make_surrogate(objective, **numbers)) if numbers else objective


def _entry_name(objective: str) -> str | None:
    """The entry of the catalogue that this names; None for surrogates and formulas."""
    plain = re.fullmatch(r"\s*(\w+)\s*(?:\([^()]*\))?\s*", objective)
    return plain.group(1) if plain and plain.group(1) in ENTRIES else None


def resolve(objective: str, n: int, build: str | None, baseline: str | None) -> tuple[adv.AdvantageEstimator, Any]:
    """The estimator and how to name it in TRL's ``estimator=``."""
    if _entry_name(objective):
        if build or baseline:
            raise AdvshapeError(
                f"{objective} is an estimator and brings its own table; --build and --baseline are for "
                "surrogates such as 'PassAtK(k=8)'"
            )
        return adv.estimator(objective), objective
    surrogate = _surrogate(objective)
    if build is None:
        build = "unbiased" if surrogate.degree is not None else "plug_in"
    spec: dict[str, Any] = {"surrogate": objective, "build": build}
    if build == "unbiased" and surrogate.degree is not None:
        spec["baseline"] = baseline or ("centered" if n >= surrogate.degree + 2 else "leave_one_out")
    elif baseline:
        spec["baseline"] = baseline
    return adv.estimator(spec), spec


def _surrogate(objective: str) -> adv.Surrogate:
    """The surrogate typed; where it is none, the error also names the estimator that was perhaps meant."""
    try:
        return adv.make_surrogate(objective)
    except AdvshapeError as error:
        name = re.match(r"\s*([A-Za-z]\w*)", objective)
        if name is None or not str(error).startswith("unknown"):
            raise
        if name.group(1) in ENTRIES:
            raise AdvshapeError(
                f"{name.group(1)} is an estimator, which stands alone in an objective; {error}"
            ) from error
        hint = nearest(name.group(1), ENTRIES)
        raise AdvshapeError(f"{error}; if an estimator was meant{hint}" if hint else str(error)) from error


def alternatives(against: str | None, estimator: adv.AdvantageEstimator, n: int) -> list[adv.AdvantageEstimator]:
    """The estimators of --against, each with the objective's k where it has none of its own, and with a table at n."""
    found = [adv.estimator(_with_k(name, estimator)) for name in _split(against or "") if name]
    for one in found:
        one.table(n)
    return found


def _regularisation(estimator: adv.AdvantageEstimator, base: str | None) -> adv.Regularization | None:
    """What the objective adds to the base that was named, or to the base that its own form shows."""
    aim = estimator.surrogate
    if base is None:
        return adv.regularization(aim) if aim is not None and base_of(aim) is not None else None
    if aim is None:
        raise AdvshapeError(f"{estimator.name} has no surrogate to compare with {base!r}; leave --base out")
    name, known = re.match(r"\s*(\w*)", base), adv.estimators()
    plain = adv.estimator(_with_k(base, estimator)).surrogate if name and name.group(1) in known else None
    if plain is None:
        plain = adv.make_surrogate(base)
    return adv.regularization(aim, plain)


def _regularisation_json(found: adv.Regularization | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "base": repr(found.base),
        "scale": found.scale,
        "omega": found.name or repr(found.omega),
        "concave": found.concave,
        "bends_up": found.bends_up,
        "falling": found.falling,
    }


def _with_k(name: str, estimator: adv.AdvantageEstimator) -> str:
    """`rloo_k` as rloo_k(k=8) where it needs a k and the objective has one; other names as they are."""
    factory = ENTRIES.get(name)
    needed = (
        [key for key, p in inspect.signature(factory).parameters.items() if p.default is p.empty] if factory else []
    )
    if needed != ["k"]:
        return name
    k = _attempts(estimator)
    if k is None:
        raise AdvshapeError(
            f"{name} needs a k, and the objective {estimator.surrogate or estimator.name!r} has none to take it from; "
            f"write {name}(k=8)"
        )
    return f"{name}(k={k})"


def _attempts(estimator: adv.AdvantageEstimator) -> int | None:
    """The k of the objective: of its name, of a term with k attempts, or the degree of its polynomial part."""
    named = re.search(r"\bk=(\d+)", estimator.name)
    if named:
        return int(named.group(1))
    parts = terms(estimator.surrogate) if estimator.surrogate is not None else ()
    found = [getattr(f, "k", None) or (f.degree or 0) + 1 for _, f in parts]
    return max((k for k in found if k > 1), default=None)


def _split(names: str) -> list[str]:
    """Names between the commas that stand outside brackets."""
    return [name.strip() for name in re.split(r",(?![^()]*\))", names)]


def _formula_text(surrogate: adv.Expression) -> str:
    return "\n".join([f"F  = {surrogate.formula}", f"F' = {surrogate.slope}", *surrogate.findings])


def _against_text(rows: list[Description], scale: str) -> str:
    aim = "the same objective" if scale == "none" else f"its own objective, scaled to {scale} ({_SCALES[scale]})"
    shares = ", ".join(f"{low:g}-{high:g}" for low, high in pairwise(BINS))
    return (
        f"Each judged by {aim}, averaged over rho ~ Beta(0.5, 1).\n"
        "bias and error: of rho (1-rho) F_n'; error@s: bias^2 + 2nd moment / s, s = (G/S)^2 x visits per prompt;\n"
        "peak c: where eta is largest; "
        f"{shares}: share of the gradient spent on prompts with such rho\n" + table_text(rows)
    )


_SCALES = {"rms": "advantages of GRPO's size, for clipping", "rloo": "RLOO's mean pull, for equal speed"}


def _rivals(estimator: adv.AdvantageEstimator, n: int) -> list[dict[str, Any]]:
    """Bias and second moment of every standard build of the same surrogate that exists at this n."""
    surrogate = estimator.surrogate
    if surrogate is None:
        return []
    builds: dict[str, Any] = {
        "this one": lambda: estimator,
        "unbiased, centered": lambda: adv.unbiased(surrogate, "centered"),
        "unbiased, leave one out": lambda: adv.unbiased(surrogate, "leave_one_out"),
        "unbiased, zero": lambda: adv.unbiased(surrogate, "zero"),
        "unbiased, posterior mean": lambda: adv.unbiased(surrogate, PRIOR),
        "plug_in": lambda: adv.plug_in(surrogate),
        "minimum_mse(signal=64)": lambda: adv.minimum_mse(surrogate, PRIOR),
    }
    rows: list[dict[str, Any]] = []
    for name, make in builds.items():
        try:
            table = make().table(n)
        except AdvshapeError as error:
            rows.append({"build": name, "missing": str(error)})
            continue
        bias = table.bias(surrogate, RHO)
        moment = float(PRIOR.counts(n) @ table.mean_square / n)
        rows.append({"build": name, "largest_bias": float(bias[np.argmax(np.abs(bias))]), "second_moment": moment})
    return rows


def _table_json(estimator: adv.AdvantageEstimator, table: adv.AdvantageTable) -> dict[str, Any]:
    return {
        "estimator": estimator.name,
        "surrogate": repr(estimator.surrogate) if estimator.surrogate else None,
        "kind": estimator.kind,
        "centered": table.centered,
        "n": table.n,
        "smallest_n": estimator.smallest_n,
        "positive": table.positive.tolist(),
        "negative": table.negative.tolist(),
        "weight": table.weight.tolist(),
        "offset": table.offset.tolist(),
        "rho": RHO.tolist(),
        "finite_derivative": table.surrogate().derivative(RHO).tolist(),
    }


def _table_text(table: adv.AdvantageTable) -> str:
    rows = [("right", "A+ (right)", "A- (wrong)", "others right", "weight", "offset")]
    positive, negative, weight, offset = table.positive, table.negative, table.weight, table.offset
    for c in range(table.n + 1):
        left = (str(c), _number(positive[c]) if c else "", _number(negative[c]) if c < table.n else "")
        right = (str(c), _number(weight[c]), _number(offset[c])) if c < table.n else ("", "", "")
        rows.append((*left, *right))
    return "\n".join(_columns(rows, right=True))


def _bias_text(estimator: adv.AdvantageEstimator, table: adv.AdvantageTable) -> str:
    assert estimator.surrogate is not None
    aim, slope = estimator.surrogate.derivative(RHO), table.surrogate().derivative(RHO)
    rows: list[tuple[str, ...]] = [("rho", "F'", "F_n'", "bias", "second moment")]
    for values in zip(RHO, aim, slope, slope - aim, table.second_moment(RHO), strict=True):
        rows.append((f"{values[0]:g}", *(_number(value) for value in values[1:])))
    return "\n".join(_columns(rows, right=True))


def _slope_text(table: adv.AdvantageTable) -> str:
    rows: list[tuple[str, ...]] = [("rho", "F_n'", "second moment")]
    for values in zip(RHO, table.surrogate().derivative(RHO), table.second_moment(RHO), strict=True):
        rows.append((f"{values[0]:g}", *(_number(value) for value in values[1:])))
    return "\n".join(_columns(rows, right=True))


def _rivals_text(rivals: list[dict[str, Any]]) -> str:
    rows = [("build", "largest bias", "second moment")]
    for row in rivals:
        if "missing" in row:
            rows.append((row["build"], "not available", "at this n"))
        else:
            rows.append((row["build"], _number(row["largest_bias"]), _number(row["second_moment"])))
    return "\n".join(_columns(rows))


def _number(value: float) -> str:
    return "0" if abs(value) < 5e-13 else f"{value:.4f}" if 1e-3 <= abs(value) < 1e5 else f"{value:.3g}"


def _columns(rows: Sequence[tuple[str, ...]], right: bool = False) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    place = str.rjust if right else str.ljust
    return ["  ".join(place(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
