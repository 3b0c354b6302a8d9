"""What is it called, and how does it compare? name -> estimator, with its objective and paper.

Start at `policy_gradient`. Each entry is one function of its parameters that returns an AdvantageEstimator; its
signature documents the parameters and their defaults. `estimator` is the only resolver: recipes, commands and adapters
all use it.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from advshape.catalogue import pass_at_k, passk_training, policy_gradient, reward_level
from advshape.errors import AdvshapeError
from advshape.objectives import elementary
from advshape.objectives.expression import parse
from advshape.objectives.surrogate import Surrogate
from advshape.tables import forward
from advshape.tables.estimator import AdvantageEstimator

__all__ = ["UnknownParameter", "estimator", "estimators", "make_surrogate"]


class UnknownParameter(AdvshapeError):
    """An entry was given a parameter that it does not have."""


ENTRIES: dict[str, Callable[..., AdvantageEstimator]] = {
    f.__name__: f
    for family in (policy_gradient, pass_at_k, passk_training, reward_level)
    for f in (getattr(family, name) for name in family.__all__)
}

_SPEC = re.compile(r"\s*([A-Za-z_]\w*)\s*(?:\((.*)\))?\s*", re.DOTALL)
_VALUE = re.compile(r"[-+.\d]+(?:e[-+]?\d+)?")
_PARAMETER = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([-+\w.]+))\s*")


def estimators() -> tuple[str, ...]:
    """Names in the catalogue, by family.

    >>> "grpo" in estimators()
    True
    """
    return tuple(ENTRIES)


def estimator(spec: str | Mapping[str, Any], /, **parameters: Any) -> AdvantageEstimator:
    """The estimator that a name, a spec such as "pass_at_k(k=8)" or a mapping describes.

    Mapping: {"estimator": "pass_at_k", "k": 8}, or {"surrogate": "PassAtK", "k": 8, "build": "unbiased",
    "baseline": "centered"}; build is "unbiased" (default), "plug_in" or "minimum_mse".
    Raises AdvshapeError for an unknown name (with the nearest one) or parameter (with the allowed ones).

    >>> estimator("rloo_k", k=8)
    AdvantageEstimator(rloo_k(k=8))
    >>> estimator("rloo_k(k=8)").smallest_n
    8
    """
    if isinstance(spec, Mapping):
        return _from_mapping({**spec, **parameters})
    if not isinstance(spec, str):
        raise AdvshapeError(f"an estimator is named by a string or a mapping, got {spec!r}")
    name, found = _parse(spec)
    if name not in ENTRIES:
        raise AdvshapeError(f"unknown estimator {name!r}{nearest(name, ENTRIES)}; `advshape estimators` lists all")
    return _call(name, ENTRIES[name], found, parameters)


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
    plain = _SPEC.fullmatch(spec) if isinstance(spec, str) and len(spec) <= 1000 else None
    if plain is None or plain.group(1) not in known or ")" in (plain.group(2) or ""):
        return parse(spec, **parameters)
    name, found = _parse(spec)
    return _call(name, known[name], found, parameters)


def nearest(name: str, known: Any) -> str:
    """', did you mean ...?' or nothing."""
    lower, word = {k.lower(): k for k in known}, name.lower()
    close = difflib.get_close_matches(word, list(lower), n=1, cutoff=0.7)
    close = close or [k for k in lower if sorted(k) == sorted(word)]  # two letters exchanged in a short name
    close = close or [k for k in lower if word.startswith(k) or (len(word) > 2 and k.startswith(word))]
    return f", did you mean {lower[close[0]]!r}?" if close else ""


def _from_mapping(parts: dict[str, Any]) -> AdvantageEstimator:
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
    build_estimator = forward.plug_in if build == "plug_in" else forward.minimum_mse
    return build_estimator(make_surrogate(parts.pop("surrogate"), **parts))


def _parse(spec: str) -> tuple[str, dict[str, Any]]:
    match = _SPEC.fullmatch(spec) if len(spec) <= 1000 else None
    if match is None:
        raise AdvshapeError(f"cannot read {spec[:80]!r}; write a name with parameters, such as pass_at_k(k=8)")
    name, inside = match.group(1), match.group(2)
    parameters: dict[str, Any] = {}
    for part in inside.split(",") if inside and inside.strip() else []:
        found = _PARAMETER.fullmatch(part)
        if found is None and not parameters and _VALUE.fullmatch(part.strip()):
            parameters[""] = _literal(part.strip())  # the first one, without its name
            continue
        if found is None:
            raise AdvshapeError(f"cannot read the parameter {part.strip()!r} in {spec[:80]!r}; write key=value")
        key, double, single, bare = found.groups()
        if key in parameters:
            raise AdvshapeError(f"the parameter {key!r} stands twice in {spec[:80]!r}; give it once")
        text = double if double is not None else single
        parameters[key] = text if text is not None else _literal(bare)
    return name, parameters


def _literal(text: str) -> Any:
    if text in ("None", "none"):
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


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
