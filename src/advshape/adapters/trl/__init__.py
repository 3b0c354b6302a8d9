"""How do our advantages get into TRL? Names load on first use, so that options can be read without TRL.

Start at `trainer`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advshape.adapters.trl.options import objective_warnings
    from advshape.adapters.trl.rewards import combine_rewards
    from advshape.adapters.trl.schedule import ScheduledGRPOTrainer, ScheduledMixin
    from advshape.adapters.trl.skip import SkipZeroAdvantages
    from advshape.adapters.trl.trainer import ObjectiveWarning, SurrogateGRPOTrainer, SurrogateMixin

_MODULES = {
    "ObjectiveWarning": "trainer",
    "ScheduledGRPOTrainer": "schedule",
    "ScheduledMixin": "schedule",
    "SkipZeroAdvantages": "skip",
    "SurrogateGRPOTrainer": "trainer",
    "SurrogateMixin": "trainer",
    "combine_rewards": "rewards",
    "objective_warnings": "options",
}
__all__ = [
    "ObjectiveWarning",
    "ScheduledGRPOTrainer",
    "ScheduledMixin",
    "SkipZeroAdvantages",
    "SurrogateGRPOTrainer",
    "SurrogateMixin",
    "combine_rewards",
    "objective_warnings",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
