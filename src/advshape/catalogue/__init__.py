"""What is it called, and how does it compare? name -> estimator, with its objective and paper.

Start at `policy_gradient`. Each entry is one function of its parameters that returns an AdvantageEstimator; its
signature documents the parameters and their defaults. `estimator` is the only resolver: recipes, commands and adapters
all use it.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from advshape.catalogue import pass_at_k, passk_training, policy_gradient, prompt_weights, reward_level
from advshape.catalogue.spec import Named, Spec, read, read_name
from advshape.errors import AdvshapeError
from advshape.objectives import elementary
from advshape.objectives.expression import parse
from advshape.objectives.surrogate import Surrogate
from advshape.tables import forward
from advshape.tables.estimator import AdvantageEstimator
from advshape.tables.minimum_mse import minimum_mse

__all__ = ["UnknownParameter", "estimator", "estimators", "make_surrogate"]


class UnknownParameter(AdvshapeError):
    """An entry was given a parameter that it does not have."""


ENTRIES: dict[str, Callable[..., AdvantageEstimator]] = {
    f.__name__: f
    for family in (policy_gradient, pass_at_k, passk_training, prompt_weights, reward_level)
    for f in (getattr(family, name) for name in family.__all__)
}


def estimators() -> tuple[str, ...]:
    """Names in the catalogue, by family.

    >>> "grpo" in estimators()
    True
    """
    return tuple(ENTRIES)


def estimator(spec: str | Mapping[str, Any] | AdvantageEstimator, /, **parameters: Any) -> AdvantageEstimator:
    """The estimator that text or a mapping describes; an estimator is returned as it is.

    Text: a name, one with parameters, or a sum: "rloo", "pass_at_k(k=8)", "0.7*grpo + 0.3*nsr"; "at unit rms" behind it
    brings it to that scale (see `AdvantageEstimator.scaled`). Every estimator's name of this form is such a text.
    Mapping: {"estimator": "pass_at_k", "k": 8}, or {"surrogate": "PassAtK", "k": 8, "build": "unbiased",
    "baseline": "centered"}; build is "unbiased" (default), "plug_in" or "minimum_mse"; both may hold scale: "none"
    (default), "rms" or a number.
    Raises AdvshapeError for an unknown name (with the nearest one) or parameter (with the allowed ones).

    >>> estimator("rloo_k", k=8)
    AdvantageEstimator(rloo_k(k=8))
    >>> estimator("rloo_k(k=8)").smallest_n
    8
    >>> estimator({"estimator": "0.7*grpo + 0.3*nsr", "scale": "rms"})
    AdvantageEstimator(0.7 * grpo + 0.3 * nsr at unit rms)
    """
    if isinstance(spec, Mapping):
        return _from_mapping({**spec, **parameters})
    if isinstance(spec, AdvantageEstimator) and not parameters:
        return spec
    if not isinstance(spec, str):
        made = isinstance(spec, AdvantageEstimator)
        hint = "; name it by text to give it parameters" if made else ""
        hint += "; an objective becomes one by advshape.unbiased(...)" if isinstance(spec, Surrogate) else ""
        raise AdvshapeError(f"an estimator is named by a string or a mapping, got {spec!r}{hint}")
    try:
        found = read(spec)
        if parameters and len(found.names) != 1:
            raise AdvshapeError(f"parameters beside a sum belong to none of its parts; write them into {spec[:80]!r}")
        return _build(found, parameters)
    except UnknownParameter:
        raise
    except AdvshapeError as error:
        raise AdvshapeError(f"{error}{_perhaps_objective(spec)}") from None


def make_surrogate(spec: str, /, **parameters: Any) -> Surrogate:
    """The surrogate that a class name, a spec such as "PassAtK(k=8)" or a formula of rho (see `parse`) describes.

    >>> make_surrogate("PassAtK(k=8)")
    PassAtK(k=8)
    >>> make_surrogate("PassAtK(k=8) + 0.1 * Entropy()")   # a sum's repr is a formula too
    1 - (1 - rho)**8 + 0.1*entropy(rho)
    >>> make_surrogate("1-(1-rho)**8 + strength*entropy(rho)", strength=0.1)
    1 - (1 - rho)**8 + 0.1*entropy(rho)
    """
    known = {name: getattr(elementary, name) for name in elementary.__all__}
    named = read_name(spec) if isinstance(spec, str) else None
    if named is None or named.name not in known:
        return parse(spec, **parameters)
    return _call(named.name, known[named.name], named.parameters, parameters)


def nearest(name: str, known: Any) -> str:
    """', did you mean ...?' or nothing."""
    lower, word = {k.lower(): k for k in known}, name.lower()
    close = difflib.get_close_matches(word, list(lower), n=1, cutoff=0.7)
    close = close or [k for k in lower if sorted(k) == sorted(word)]  # two letters exchanged in a short name
    close = close or [k for k in lower if word.startswith(k) or (len(word) > 2 and k.startswith(word))]
    return f", did you mean {lower[close[0]]!r}?" if close else ""


def _build(spec: Spec | Named, parameters: Mapping[str, Any]) -> AdvantageEstimator:
    if isinstance(spec, Named):
        if spec.name not in ENTRIES:
            hint = nearest(spec.name, ENTRIES)
            raise AdvshapeError(f"unknown estimator {spec.name!r}{hint}; `advshape estimators` lists all")
        return _call(spec.name, ENTRIES[spec.name], spec.parameters, dict(parameters))
    (weight, first), *rest = spec.terms
    found = weight * _build(first, parameters)
    for weight, term in rest:
        found = found + weight * _build(term, {})
    return found.scaled("rms") if spec.unit_rms else found


def _perhaps_objective(text: str) -> str:
    """What to call where the text is an objective F rather than a rule; else nothing."""
    named = read_name(text)
    try:
        known = named is None or named.name not in ENTRIES
        make_surrogate(text)
    except AdvshapeError:
        known = named is not None and named.name in elementary.__all__
    return f"; as an objective it makes an estimator by advshape.unbiased({text[:60]!r})" if known else ""


def _from_mapping(parts: dict[str, Any]) -> AdvantageEstimator:
    return _unscaled({k: v for k, v in parts.items() if k != "scale"}).scaled(parts.get("scale", "none"))


def _unscaled(parts: dict[str, Any]) -> AdvantageEstimator:
    if ("estimator" in parts) == ("surrogate" in parts):
        raise AdvshapeError(f"an objective names either an estimator or a surrogate, got keys {sorted(parts)}")
    if "estimator" in parts:
        return estimator(parts.pop("estimator"), **parts)
    build, baseline = parts.pop("build", "unbiased"), parts.pop("baseline", None)
    if build == "unbiased":
        return forward.unbiased(make_surrogate(parts.pop("surrogate"), **parts), baseline or "leave_one_out")
    if build not in ("plug_in", "minimum_mse"):
        raise AdvshapeError(f"unknown build {build!r}; use 'unbiased', 'plug_in' or 'minimum_mse'")
    if baseline is not None:
        raise AdvshapeError(
            f"build = {build!r} has a baseline of its own; leave baseline out or use build = 'unbiased'"
        )
    build_estimator = forward.plug_in if build == "plug_in" else minimum_mse
    return build_estimator(make_surrogate(parts.pop("surrogate"), **parts))


def _call(name: str, factory: Callable[..., Any], written: dict[str, Any], given: dict[str, Any]) -> Any:
    """The entry with the parameters written in its spec and those given beside it.

    A value without a name (key "") belongs to the first parameter, as in Python: PassAtK(8).
    """
    signature = inspect.signature(factory)
    allowed = list(signature.parameters)
    if "" in written and (not allowed or allowed[0] in written):
        raise AdvshapeError(f"{written['']!r} belongs to no parameter of {name}; write key=value, each once")
    written = {key or allowed[0]: value for key, value in written.items()}
    for key in sorted(set(written) & set(given)):
        raise AdvshapeError(f"{name} is given {key} twice, as {written[key]!r} and as {given[key]!r}; give it once")
    parameters = {**written, **given}
    for key in parameters:
        if key not in allowed:
            takes = f"it takes {', '.join(allowed)}" if allowed else "it takes none"
            raise UnknownParameter(f"{name} has no parameter {key!r}{nearest(key, allowed)}; {takes}")
    missing = [k for k, p in signature.parameters.items() if p.default is p.empty and k not in parameters]
    if missing:
        raise AdvshapeError(f"{name} needs {', '.join(missing)}; write for instance {name}({missing[0]}=8)")
    try:
        return factory(**parameters)
    except TypeError as error:
        raise AdvshapeError(f"{name} does not accept {parameters}: {error}") from error
