"""What the adapters share: an objective read from text, its advantages, and checks of the trainer they go into."""

from __future__ import annotations

import inspect
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np

import advshape
from advshape.errors import AdvshapeError
from advshape.shaping.advantages import group_index
from advshape.shaping.real import check_real
from advshape.tables.estimator import AdvantageEstimator

__all__ = ["ENVIRONMENT", "Objective", "Spec", "check_signature", "launch", "require"]

ENVIRONMENT = "ADVSHAPE"  # the variable that names an objective where a trainer has no key for it
ANY_VERSION = "ADVSHAPE_ANY_VERSION"
Spec = str | Mapping[str, Any] | AdvantageEstimator
logger = logging.getLogger("advshape")


@dataclass(frozen=True)
class Objective:
    """An estimator and what it makes of rewards that are not 0 or 1."""

    rule: AdvantageEstimator
    real: Any = None
    bounds: Any = None

    @classmethod
    def read(cls, spec: Spec | None) -> Objective:
        """From "pass_at_k(k=8)", an estimator, or a mapping (also as JSON) for `advshape.estimator`.

        Beside what `advshape.estimator` takes a mapping may hold, for real-valued rewards, real="layer_cake" and
        bounds=[low, high]. Raises AdvshapeError for anything else.

        >>> Objective.read('{"estimator": "rloo", "real": "layer_cake"}')
        Objective(rule=AdvantageEstimator(rloo), real='layer_cake', bounds=None)
        """
        if isinstance(spec, str) and spec.lstrip().startswith("{"):
            try:
                spec = json.loads(spec)
            except json.JSONDecodeError as error:
                raise AdvshapeError(f"the objective {spec!r} is no JSON ({error})") from None
        if not spec:
            raise AdvshapeError(f"no objective is named; set {ENVIRONMENT}='rloo' or another of `advshape estimators`")
        if isinstance(spec, AdvantageEstimator):
            return cls(spec)
        if isinstance(spec, str):
            return cls(advshape.estimator(spec))
        own = {key: spec[key] for key in ("real", "bounds") if key in spec}
        rule = advshape.estimator({key: value for key, value in spec.items() if key not in own})
        check_real(rule, own.get("real"), own.get("bounds"), [max(8, rule.smallest_n)])
        return cls(rule, **own)

    def advantages(self, rewards: Any, groups: Any, counted: Callable[[], Any] | None = None) -> Any:
        """(B,) advantages of (B,) rewards, one group id each, as `advshape.advantages`; too small groups get 0.

        How many groups were too small goes to the log. `counted()`, asked only then, marks the rows (B,) that are no
        padding: a group of padding alone is none.
        """
        ids = group_index(groups, rewards)
        found = advshape.advantages(
            rewards, self.rule, groups=ids, too_small="zero", real=self.real, bounds=self.bounds
        )
        judged = ~np.isnan(np.asarray(rewards.cpu() if hasattr(rewards, "cpu") else rewards, dtype=np.float64))
        small = np.bincount(ids, weights=judged) < self.rule.smallest_n
        if small.any():
            real = np.ones(len(ids)) if counted is None else np.asarray(counted(), dtype=float)
            shown = np.bincount(ids, weights=real) > 0
            if (small & shown).any():
                logger.warning(
                    "%d of %d groups have fewer judged rollouts than the %d that %s needs: advantages 0",
                    (small & shown).sum(),
                    shown.sum(),
                    self.rule.smallest_n,
                    self.rule.name,
                )
        return found

    def refuse_filter(self, key: str, n: int = 8) -> None:
        """Raise where removing groups of equal rewards, which the setting `key` does, would change the objective."""
        table = self.rule.table(max(n, self.rule.smallest_n))
        if table.negative[0] or table.positive[-1]:
            raise AdvshapeError(
                f"{key} removes groups of equal rewards, in which {self.rule.name} has advantages (A-(0) = "
                f"{table.negative[0]:g}, A+(n) = {table.positive[-1]:g}): another objective would be maximised; switch "
                "it off or choose an estimator that is silent there"
            )


def require(distribution: str, versions: Sequence[str]) -> None:
    """Raise unless the trainer is installed in one of these versions ("0.3." stands for all that begin so)."""
    try:
        found = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        raise AdvshapeError(f"{distribution} is not installed for this Python; install {_range(versions)}") from None
    if not found.startswith(tuple(versions)) and not os.environ.get(ANY_VERSION):
        raise AdvshapeError(
            f"{distribution} {found} is not a version this adapter was proven with ({_range(versions)}); install "
            f"that, or set {ANY_VERSION}=1 to try (signatures are still checked)"
        )


def _range(versions: Sequence[str]) -> str:
    return " or ".join(f"version {v}x" if v.endswith(".") else f"version {v}" for v in versions)


def check_signature(function: Callable[..., Any] | None, expected: Sequence[str], name: str) -> None:
    """Raise unless the trainer's function exists and takes these parameters in this order."""
    found = list(inspect.signature(function).parameters) if callable(function) else None
    if found != list(expected):
        seen = "is missing" if found is None else f"takes ({', '.join(found)})"
        raise AdvshapeError(
            f"{name} {seen}, expected ({', '.join(expected)}): this version of the trainer is not known yet; install a "
            "version from docs/trainers.md"
        )


def launch(main: Callable[[], None]) -> None:
    """Run a launcher: what it refuses is one sentence and exit code 2; what the training raises stays as it is."""
    try:
        main()
    except AdvshapeError as error:
        if not type(error).__module__.startswith("advshape."):  # Ray's, which also is what was raised in its worker
            raise
        print(f"advshape: {error}", file=sys.stderr)
        raise SystemExit(2) from None
