"""The rule of a trainer with our advantages: which groups does it serve, what are its advantages and its surrogate?

`trl.SurrogateMixin` inherits it; a rule is an `AdvantageEstimator`, an `AdvantageTable` or a function.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch

import advshape
from advshape.curriculum.history import PromptHistory
from advshape.errors import AdvshapeError
from advshape.objectives.surrogate import Surrogate
from advshape.shaping.layer_cake import Bounds
from advshape.shaping.real import check_real
from advshape.tables.estimator import AdvantageEstimator
from advshape.tables.table import AdvantageTable

__all__ = ["TrainersRule", "advantages_per_rollout"]

logger = logging.getLogger("advshape")


class TrainersRule:
    """What `SurrogateMixin` does with its estimator; the arguments and errors are told there."""

    estimator: Any
    real: Any
    bounds: Bounds
    history: Any
    history_key: str
    history_baseline: bool
    accelerator: Any
    _surrogates: dict[tuple[Any, int], list[float] | None]
    _said_too_small: bool = False

    def _check(self, config: Any) -> None:
        if config.multi_objective_aggregation != "sum_then_normalize":
            raise AdvshapeError(
                f"multi_objective_aggregation={config.multi_objective_aggregation!r} would have no effect, "
                "since the estimator replaces TRL's normalisation; use 'sum_then_normalize'"
            )
        if config.reward_weights is not None and not any(config.reward_weights):
            raise AdvshapeError(f"reward_weights={config.reward_weights}: all 0; at least one must judge")
        n, smallest = config.num_generations, self._smallest_n()
        if not self._serves(n):
            need = "exactly" if self._fixed() else "at least"
            name = getattr(self.estimator, "name", "the table" if self._fixed() else "the advantage function")
            raise AdvshapeError(
                f"{name} needs {need} {smallest} rollouts per prompt, got num_generations={n}; set "
                f"num_generations={smallest}{'' if self._fixed() else ' or more'} or choose another estimator"
            )

    def _checked_bounds(self, config: Any, bounds: Any) -> Bounds:
        """The bounds as float32 has them, like the rewards; every group size that can occur is checked."""
        largest = max(config.num_generations, getattr(config, "num_generations_eval", None) or 0)
        first = self._smallest_n()
        check_real(self.estimator, self.real, bounds, [first] if self._fixed() else range(first, largest + 1))
        if self.history is not None:
            if not isinstance(self.history, PromptHistory):
                raise AdvshapeError(f"history={self.history!r}: give a PromptHistory")
            if self.real is not None:
                raise AdvshapeError("history= counts right answers, real rewards have none; leave one of them out")
            if callable(self.estimator):
                raise AdvshapeError("history= needs an estimator or a table, got a function: it has no known weights")
        low, high = bounds or (None, None)
        return tuple(None if b is None else float(np.float32(b)) for b in (low, high))  # type: ignore[return-value]

    def _fixed(self) -> bool:
        return isinstance(self.estimator, AdvantageTable)

    def _smallest_n(self) -> int:
        if self.estimator is None:
            return 1
        return int(self.estimator.n if self._fixed() else getattr(self.estimator, "smallest_n", 2))

    def _serves(self, n: Any) -> Any:
        """Has the estimator advantages for n judged rollouts? n: int or tensor."""
        return n == self._smallest_n() if self._fixed() else n >= self._smallest_n()

    def _say_too_small(self, count: int, prompts: int) -> None:
        if not self._said_too_small and self.accelerator.is_main_process:
            logger.warning(
                "%d of %d prompts had fewer judged rollouts than the %d that the estimator needs: their "
                "advantages are 0. Said once; the metric advshape/prompts_too_small goes on counting.",
                *(count, prompts, self._smallest_n()),
            )
        self._said_too_small = True

    def _by_rule(self, rule: Any, rewards: torch.Tensor, prompts: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        if isinstance(rule, (AdvantageEstimator, AdvantageTable)):
            options: dict[str, Any] = {"too_small": "zero"}
            if self.real is not None:
                options |= {"real": self.real, "bounds": self.bounds}
            if self.history is not None and self.history_baseline:
                options["history"] = self.history.prior(self.prompt_ids(prompts))
            return advshape.advantages(rewards, rule, **options)
        found = _checked(rule(rewards), rewards)
        usable = self._serves((~torch.isnan(rewards)).sum(dim=1, keepdim=True))
        return torch.where(usable, found, 0.0)

    def prompt_ids(self, prompts: Sequence[Mapping[str, Any]]) -> list[str | int]:
        """What `history` knows each prompt by: its row's `history_key`, chat messages as JSON."""
        values = [row[self.history_key] for row in prompts]
        return [v if isinstance(v, str | int) else json.dumps(v, sort_keys=True) for v in values]

    def surrogate_values(self, n: int) -> list[float] | None:
        """The surrogate's value for a prompt of which c = 0..n of n judged rollouts are right.

        Where F' is a polynomial of degree below n, the unbiased estimate of F(rho): F(0) plus the partial sums of
        the Bernstein coefficients of F' in degree n - 1, divided by n (for Pass@K the unbiased pass@k). Else the
        plug-in F(rho-hat) at rho-hat = (c + 1/2) / (n + 1), which is finite where F(0) or F(1) is not. At unit
        rms too it keeps its own units. A table, or an estimator that names no
        surrogate, counts as what it maximises exactly with n rollouts, F_n with F_n(0) = 0.

        Returns:
            n + 1 values, or None where the advantages come from a function or the estimator does not serve n.
        """
        return self._values_of(self.estimator, n)

    def _values_of(self, rule: Any, n: int) -> list[float] | None:
        if (rule, n) not in self._surrogates:
            self._surrogates[rule, n] = self._values(rule, n) if n > 0 and self._serves(n) else None
        return self._surrogates[rule, n]

    def _values_by_prompt(self, judged: list[int]) -> list[list[float] | None]:
        """`surrogate_values` of each prompt of a batch, by its number of judged rollouts."""
        return [self.surrogate_values(n) for n in judged]

    def _values(self, rule: Any, n: int) -> list[float] | None:
        surrogate: Surrogate
        if not isinstance(rule, (AdvantageEstimator, AdvantageTable)):
            return None
        if isinstance(rule, AdvantageTable):
            surrogate = rule.surrogate()
        else:
            surrogate = rule.surrogate or rule.table(n).surrogate()
        slopes = surrogate.bernstein(n - 1)
        if slopes is None:
            return cast(list[float], surrogate.value((np.arange(n + 1) + 0.5) / (n + 1)).tolist())
        partial = np.concatenate([[0.0], np.cumsum(slopes)]) / n
        return cast(list[float], (surrogate.value(0.0) + partial).tolist())


def _checked(advantages: Any, rewards: torch.Tensor) -> torch.Tensor:
    if not isinstance(advantages, torch.Tensor) or advantages.shape != rewards.shape:
        seen = f"shape {tuple(advantages.shape)}" if hasattr(advantages, "shape") else ""
        raise AdvshapeError(
            f"advantages are a {type(advantages).__name__} {seen}, rewards a tensor of shape {tuple(rewards.shape)}; "
            "return a tensor of that shape"
        )
    return advantages


def advantages_per_rollout(advantages: Any, rewards: torch.Tensor) -> torch.Tensor:
    """(P, n) advantages as the loss needs them: 0 where not judged, each group times n / n_judged."""
    judged = ~torch.isnan(rewards)
    used = torch.where(judged, _checked(advantages, rewards).detach().to(rewards), 0.0)
    wild = ~torch.isfinite(used).all(dim=1)
    if bool(wild.any()):
        group = int(wild.nonzero()[0])
        raise AdvshapeError(
            f"the advantages of group {group} are {used[group].tolist()} for the rewards "
            f"{rewards[group].tolist()}; they must be finite wherever the reward is not NaN"
        )
    return used * (rewards.shape[1] / judged.sum(dim=1, keepdim=True).clamp(min=1))
