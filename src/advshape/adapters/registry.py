"""Which trainers have an adapter? One entry each, also for the doctor, which asks them. Imports no trainer."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ADAPTERS", "Adapter"]


@dataclass(frozen=True)
class Adapter:
    """How a trainer that has an adapter is found and asked.

    Attributes:
        distribution: the name it is installed by.
        probe: Python that prints, as JSON, {"known": how many names of ours the trainer has after the adapter did its
            work, "why": the error, or ""}. "": the trainer imports the path that its configuration names, so that
            there is nothing to ask.
        proven: the beginning of the versions that the tests run; "": the adapter itself refuses others.
        by_script: whether a line in a script or in the launch command takes the adapter in.
    """

    distribution: str
    probe: str = ""
    proven: str = ""
    by_script: bool = True


def after(ours: str, theirs: str, known: str) -> str:
    """A probe: import our `ours`, call it with "rloo", import `theirs`, and see whether `known` holds.

    >>> words = after("from a import register as ours", "from b import names", "'ours' in names").splitlines()
    >>> [word.strip() for word in words[4:8]]
    ['from a import register as ours', 'ours("rloo")', 'from b import names', "known = 'ours' in names"]
    """
    return f"""
import json
known, why = False, ""
try:
    {ours}
    ours("rloo")
    {theirs}
    known = {known}
except Exception as error:
    why = f"{{type(error).__name__}}: {{error}}"
print(json.dumps({{"known": int(known), "why": why}}))
"""


_TRL = """
import json
from advshape.adapters.trl import SurrogateGRPOTrainer
print(json.dumps({"known": 1, "why": ""}))
"""
_VERL = """
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
"""

ADAPTERS = {
    "trl": Adapter("trl", _TRL, proven="1.16", by_script=False),
    "verl": Adapter("verl", _VERL, proven="0.9.1", by_script=False),
    "skyrl": Adapter(
        "skyrl",
        after(
            "from advshape.adapters.skyrl import register as ours",
            "from skyrl.backends.skyrl_train.utils.ppo_utils import AdvantageEstimatorRegistry as theirs",
            "'advshape' in theirs.list_available()",
        ),
    ),
    "swift": Adapter(
        "ms-swift",
        after(
            "from advshape.adapters.swift import patch as ours",
            "import swift.rl_core.advantage as theirs",
            "hasattr(theirs.compute_advantages, '__wrapped__')",
        ),
    ),
    "openrlhf": Adapter(
        "openrlhf",
        after(
            "from advshape.adapters.openrlhf import patch as ours",
            "from openrlhf.trainer.ppo_utils.experience_maker import RemoteExperienceMaker as theirs",
            "hasattr(theirs.compute_advantages_and_returns, '__wrapped__')",
        ),
    ),
    "tunix": Adapter(
        "google-tunix",
        after(
            "from advshape.adapters.tunix import register as ours",
            "from tunix.rl.function_registry import default_registry as theirs",
            "'advshape' in theirs.list_functions('advantage_estimator')",
        ),
    ),
    "slime": Adapter("slime"),
    "rllm": Adapter("rllm"),
}
