"""Which trainers are installed, and whether they really know our plug-in: each is asked in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator

from advshape.adapters.registry import ADAPTERS, Adapter
from advshape.doctor.finding import Finding
from advshape.doctor.machine import ask_python, installed

__all__ = ["trainers"]


def trainers(seconds: float) -> Iterator[Finding]:
    """One line for each trainer that has an adapter."""
    for name, adapter in ADAPTERS.items():
        found = installed(adapter.distribution)
        if found is None:
            hint = f" ({adapter.distribution})" if adapter.by_script else f"; pip install 'advshape[{name}]'"
            yield Finding("absent", name, f"not installed{hint}")
        elif not found.startswith(adapter.proven):
            text = f"version {found}, but the adapter is proven with {adapter.proven}; install that"
            yield Finding("problem", name, text)
        elif not adapter.probe:
            text = f"version {found}; our hook was tested by its documented signature only (docs/trainers.md)"
            yield Finding("ok", name, text)
        else:
            yield _asked(name, adapter, found, seconds)


def _asked(name: str, adapter: Adapter, found: str, seconds: float) -> Finding:
    answer, why = ask_python(adapter.probe, seconds)
    if answer is not None and answer["known"]:
        how = "takes our estimators once a script or the launch line says so (docs/trainers.md)"
        return Finding("ok", name, f"version {found}, {how if adapter.by_script else 'knows our estimators'}")
    if adapter.by_script:
        reason = why if answer is None else answer["why"] or "the adapter ran, and the trainer does not know it"
        return Finding("problem", name, f"version {found} does not take our estimators: {reason}")
    if answer is None:
        return Finding("problem", name, f"version {found}, and importing it with our adapter fails: {why}")
    policy = os.environ.get("VERL_USE_EXTERNAL_PLUGINS", "auto")
    if answer["why"]:
        reason = f"importing the plug-in fails, which {name} hides: {answer['why']}"
    elif policy != "auto":
        reason = f"VERL_USE_EXTERNAL_PLUGINS={policy} leaves it out; unset it, or add advshape to it"
    else:
        reason = "the entry point is missing; install advshape again with pip in this environment"
    return Finding("problem", name, f"version {found} does not know our estimators: {reason}")
