"""Which estimator do these words name? An entry, a surrogate, a formula; and how a trainer names the same."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

from advshape.catalogue import ENTRIES, estimator, make_surrogate, nearest
from advshape.catalogue.spec import read
from advshape.errors import AdvshapeError
from advshape.objectives.surrogate import Surrogate, terms
from advshape.tables.estimator import AdvantageEstimator

__all__ = ["EstimatorOption", "resolve_objective", "split_names", "with_k", "with_parameters"]

EstimatorOption = str | dict[str, Any]
"""What a trainer's `estimator=` takes."""


def resolve_objective(
    objective: str, n: int, build: str | None = None, baseline: str | None = None
) -> tuple[AdvantageEstimator, EstimatorOption]:
    """The estimator of an objective at group size n, and how to name it in a trainer's ``estimator=``."""
    if _entries(objective):
        if build or baseline:
            raise AdvshapeError(
                f"{objective} is an estimator and brings its own table; --build and --baseline are for "
                "surrogates such as 'PassAtK(k=8)'"
            )
        return estimator(objective), objective
    surrogate = _surrogate(objective)
    if build is None:
        build = "unbiased" if surrogate.degree is not None else "plug_in"
    if build == "unbiased" and surrogate.degree is not None and baseline is None:
        baseline = "centered" if n >= surrogate.degree + 2 else "leave_one_out"
    spec = {"surrogate": objective, "build": build} | ({"baseline": baseline} if baseline else {})
    return estimator(spec), spec


def with_parameters(objective: str, numbers: Mapping[str, float]) -> str:
    """The objective with its parameters replaced by their numbers."""
    if names := _entries(objective):
        inside = ", ".join(f"{key}={value:g}" for key, value in numbers.items())
        raise AdvshapeError(f"--set is for formulas; {objective} is an estimator: write {names[0]}({inside})")
    return repr(make_surrogate(objective, **numbers))


def with_k(name: str, one: AdvantageEstimator) -> str:
    """`rloo_k` as rloo_k(k=8) where it needs a k and the objective has one; other names as they are."""
    parameters = inspect.signature(ENTRIES[name]).parameters if name in ENTRIES else {}
    if [key for key, p in parameters.items() if p.default is p.empty] != ["k"]:
        return name
    k = _attempts(one)
    if k is None:
        raise AdvshapeError(
            f"{name} needs a k, and the objective {one.surrogate or one.name!r} has none to take it from; "
            f"write {name}(k=8)"
        )
    return f"{name}(k={k})"


def _attempts(one: AdvantageEstimator) -> int | None:
    """The k of the objective: of its name, of a term with k attempts, or the degree of its polynomial part."""
    if named := re.search(r"\bk=(\d+)", one.name):
        return int(named.group(1))
    parts = terms(one.surrogate) if one.surrogate is not None else ()
    found = [getattr(f, "k", None) or (f.degree or 0) + 1 for _, f in parts]
    return max((k for k in found if k > 1), default=None)


def split_names(names: str) -> list[str]:
    """Names between the commas that stand outside brackets."""
    return [name.strip() for name in re.split(r",(?![^()]*\))", names) if name.strip()]


def _entries(objective: str) -> tuple[str, ...]:
    """The entries of the catalogue that this is made of; none for surrogates and formulas."""
    try:
        names = read(objective).names
    except AdvshapeError:
        return ()
    return names if all(name in ENTRIES for name in names) else ()


def _surrogate(objective: str) -> Surrogate:
    """The surrogate typed; where it is none, the error also names the estimator that was perhaps meant."""
    try:
        return make_surrogate(objective)
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
