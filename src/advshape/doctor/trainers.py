"""Which trainers are installed, and whether they really know our plug-in: each is asked in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator

from advshape.audit.names import TRAINERS
from advshape.doctor.finding import Finding
from advshape.doctor.machine import installed, run_python

__all__ = ["trainers"]

PROVEN = {"trl": "1.16", "verl": "0.9.1"}  # the versions that the tests run
# each prints {"known": how many names of ours the trainer has, "why": the error of importing our adapter}
PROBES = {
    "trl": """
import json
from advshape.adapters.trl import SurrogateGRPOTrainer
print(json.dumps({"known": 1, "why": ""}))
""",
    "verl": """
import importlib, json
import verl
from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY
known, why = sum(name.split("/")[0] == "advshape" for name in ADV_ESTIMATOR_REGISTRY), ""
if not known:
    try:
        importlib.import_module("advshape.adapters.verl.plugin")
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
print(json.dumps({"known": known, "why": why}))
""",
}


# what a launch line or script of the user's does in the other trainers, and whether it took hold
_WRAPPED = "hasattr({}, '__wrapped__')"
_BY_SCRIPT = {
    "skyrl": (
        "from advshape.adapters.skyrl import register as ours",
        "from skyrl.backends.skyrl_train.utils.ppo_utils import AdvantageEstimatorRegistry as theirs",
        "'advshape' in theirs.list_available()",
    ),
    "swift": (
        "from advshape.adapters.swift import patch as ours",
        "import swift.rl_core.advantage as theirs",
        _WRAPPED.format("theirs.compute_advantages"),
    ),
    "openrlhf": (
        "from advshape.adapters.openrlhf import patch as ours",
        "from openrlhf.trainer.ppo_utils.experience_maker import RemoteExperienceMaker as theirs",
        _WRAPPED.format("theirs.compute_advantages_and_returns"),
    ),
    "tunix": (
        "from advshape.adapters.tunix import register as ours",
        "from tunix.rl.function_registry import default_registry as theirs",
        "'advshape' in theirs.list_functions('advantage_estimator')",
    ),
}
_PROBE = """
import json
known, why = False, ""
try:
    {ours}
    ours("rloo")
    {theirs}
    known = {check}
except Exception as error:
    why = f"{{type(error).__name__}}: {{error}}"
print(json.dumps({{"known": int(known), "why": why}}))
"""
_BY_PATH = ("slime", "rllm")  # they call the path that their configuration names


def trainers(seconds: float) -> Iterator[Finding]:
    """One line for each trainer that we have an adapter for."""
    for name in PROBES:
        found = installed(name)
        if found is None:
            yield Finding("absent", name, f"not installed; pip install 'advshape[{name}]'")
        elif not found.startswith(PROVEN[name]):
            yield Finding(
                "problem", name, f"version {found}, but the adapter is proven with {PROVEN[name]}; install that"
            )
        else:
            yield _asked(name, found, seconds)
    for name, (ours, theirs, check) in _BY_SCRIPT.items():
        distribution = TRAINERS[name][0]
        if (found := installed(distribution)) is None:
            yield Finding("absent", name, f"not installed ({distribution})")
        else:
            yield _tried(name, found, _PROBE.format(ours=ours, theirs=theirs, check=check), seconds)
    for name in _BY_PATH:
        if (found := installed(name)) is not None:
            text = f"version {found}; our hook was tested by its documented signature only (docs/trainers.md)"
            yield Finding("ok", name, text)


def _tried(name: str, found: str, code: str, seconds: float) -> Finding:
    answer, why = run_python(code, seconds)
    if answer is not None and answer["known"]:
        line = "takes our estimators once a script or the launch line says so (docs/trainers.md)"
        return Finding("ok", name, f"version {found}, {line}")
    reason = why if answer is None else answer["why"] or "the adapter ran, and the trainer does not know it"
    return Finding("problem", name, f"version {found} does not take our estimators: {reason}")


def _asked(name: str, found: str, seconds: float) -> Finding:
    answer, why = run_python(PROBES[name], seconds)
    if answer is None:
        return Finding("problem", name, f"version {found}, and importing it with our adapter fails: {why}")
    if answer["known"]:
        return Finding("ok", name, f"version {found}, knows our estimators")
    policy = os.environ.get("VERL_USE_EXTERNAL_PLUGINS", "auto")
    if answer["why"]:
        reason = f"importing the plug-in fails, which {name} hides: {answer['why']}"
    elif policy != "auto":
        reason = f"VERL_USE_EXTERNAL_PLUGINS={policy} leaves it out; unset it, or add advshape to it"
    else:
        reason = "the entry point is missing; install advshape again with pip in this environment"
    return Finding("problem", name, f"version {found} does not know our estimators: {reason}")
