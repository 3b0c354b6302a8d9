"""Objectives that change during a run, and prompts that weigh more, inside TRL's `GRPOTrainer` (TRL 1.16)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from trl import GRPOTrainer

from advshape.adapters.trl.sampler import PrioritizedMixin
from advshape.adapters.trl.skip import SkipZeroAdvantages
from advshape.adapters.trl.trainer import SurrogateGRPOTrainer, SurrogateMixin
from advshape.curriculum.history import priority
from advshape.curriculum.read import read_schedule
from advshape.curriculum.schedule import Objective, Position, Schedule
from advshape.errors import AdvshapeError

__all__ = ["ScheduledGRPOTrainer", "ScheduledMixin"]

SCHEDULE_FILE = "objective_schedule.json"  # in every checkpoint of a run whose objective changes


class ScheduledMixin(SurrogateMixin):
    """A `SurrogateMixin` whose estimator follows a schedule; the arguments not named here are `SurrogateMixin`'s.

    Args:
        schedule: in place of `estimator`: a `Schedule`, or the table of a recipe's [objective] that describes one.
            The step that counts is that of the metrics' line, 1 the first; all rollouts of one generation have one
            objective. Where a stage chooses by difficulty, `history` gives the rate of the EARLIER visits.
        priority_weight: a floor; each group's advantages are multiplied by (1 - rate of earlier visits) + floor
            (`advshape.priority`). Needs `history`.

    Raises:
        AdvshapeError: before the model is loaded, for every objective that can come up.

    Metrics, where the objective changes: `advshape/objective`: the number of the stage; `objective_k` and the like: its
    numeric parameters; `objective_hard_k`: those for hard prompts; `prompts_hard`: share of prompts that were hard.
    """

    def __init__(
        self,
        *args: Any,
        schedule: Schedule | Mapping[str, Any] | None = None,
        priority_weight: float | None = None,
        **kwargs: Any,
    ) -> None:
        if schedule is not None and kwargs.get("estimator") is not None:
            raise AdvshapeError("give estimator= or schedule=, not both: a schedule names its estimators")
        self.schedule = read_schedule(schedule) if isinstance(schedule, Mapping) else schedule
        self.position, self.objective = Position(), cast("Objective | None", None)
        self.priority_weight = priority_weight
        self._hard: torch.Tensor | None = None
        if self.schedule is not None:
            self.objective = self.schedule.at(self.position, 1)
            kwargs["estimator"] = self.schedule.first
        looks_back = self.schedule is not None and self.schedule.looks_back
        if kwargs.get("history") is None and (looks_back or priority_weight is not None):
            what = "a schedule with hard prompts" if looks_back else "priority_weight="
            raise AdvshapeError(f"{what} looks at earlier visits: give history=PromptHistory()")
        if priority_weight is not None and kwargs.get("real") is not None:
            raise AdvshapeError("priority_weight= counts right answers, real rewards have none; leave one of them out")
        super().__init__(*args, **kwargs)

    def _check(self, config: Any) -> None:
        self._for_all(super()._check, config)

    def _checked_bounds(self, config: Any, bounds: Any) -> Any:
        return self._for_all(super()._checked_bounds, config, bounds)

    def _for_all(self, check: Any, *args: Any) -> Any:
        """A check of the estimator, for each that can come up; the first one's result."""
        first = self.estimator
        found = check(*args)
        for where, rule in self.schedule.estimators() if self.schedule is not None else ():
            self.estimator = rule
            try:
                check(*args)
            except AdvshapeError as error:
                raise AdvshapeError(f"{where}: {error}") from None
        self.estimator = first
        return found

    def _smallest_n(self) -> int:
        hard = self.objective.hard if self.objective is not None and self.estimator is self.objective.easy else None
        return super()._smallest_n() if hard is None else max(super()._smallest_n(), hard.smallest_n)

    def _replace_advantages(self, output: dict[str, Any], rewards: torch.Tensor, inputs: list[Any]) -> dict[str, float]:
        if self.schedule is None or not self.model.training:
            return super()._replace_advantages(output, rewards, inputs)
        step = self.state.global_step + 1
        self.position = self.schedule.begin(self.position, step)
        self.objective = self.schedule.at(self.position, step)
        self.estimator = self.objective.easy
        metrics = super()._replace_advantages(output, rewards, inputs)
        self.position = self.schedule.measure(self.position, metrics)
        own = {f"objective{name}": value for name, value in self.objective.numbers.items()}
        if self.objective.hard is not None and self._hard is not None:
            own["prompts_hard"] = self._hard.float().mean().item()
        for name, value in {} if self.schedule.constant else own.items():
            self._metrics["train"][f"advshape/{name}"].append(value)
        return metrics

    def group_advantages(self, rewards: torch.Tensor, prompts: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """By the objective in force, for hard prompts by theirs, times the weight; see `SurrogateMixin`."""
        found = super().group_advantages(rewards, prompts)
        hard = self.objective.hard if self.objective is not None else None
        if self.history is None or (hard is None and self.priority_weight is None):
            return found
        earlier = self.history.prior(self.prompt_ids(prompts))
        if hard is not None and self.objective is not None:
            rate = torch.as_tensor(earlier.posterior_mean(0, 0), device=rewards.device)
            self._hard = rate < self.objective.below
            found = torch.where(self._hard[:, None], self._by_rule(hard, rewards, prompts), found)
            enough = self._serves((~torch.isnan(rewards)).sum(dim=1, keepdim=True))  # for either rule
            found = torch.where(enough, found, 0.0)
        if self.priority_weight is not None:
            weight = torch.as_tensor(priority(earlier, self.priority_weight), device=rewards.device)
            found = found * weight.to(found)[:, None]
        return found

    def _values_by_prompt(self, judged: list[int]) -> list[list[float] | None]:
        hard = self.objective.hard if self.objective is not None else None
        if hard is None or self._hard is None or len(self._hard) != len(judged):
            return super()._values_by_prompt(judged)
        rules = [hard if chosen else self.estimator for chosen in self._hard.tolist()]
        return [self._values_of(rule, n) for rule, n in zip(rules, judged, strict=True)]

    def _stateful(self) -> dict[str, Any]:
        found = super()._stateful()
        if self.schedule is not None and len(self.schedule.stages) > 1:
            found[SCHEDULE_FILE] = (lambda: dataclasses.asdict(self.position), self._take_position)
        return found

    def _take_position(self, state: Mapping[str, Any]) -> None:
        assert self.schedule is not None
        self.position = self.schedule.position(state)


class ScheduledGRPOTrainer(PrioritizedMixin, ScheduledMixin, SkipZeroAdvantages, GRPOTrainer):  # type: ignore[misc]
    """TRL's `GRPOTrainer` with objectives that change and prioritised sampling; see the mixins.

    ```python
    trainer = ScheduledGRPOTrainer(
        model,
        reward_funcs=verify,
        args=GRPOConfig(output_dir, num_generations=16, loss_type="dr_grpo"),
        train_dataset=prompts,
        schedule={"estimator": "pass_at_k", "k": 8,
                  "schedule": {"k": {"to": 1, "shape": "linear", "steps": [100, 400]}}},
        history=PromptHistory(),
        prioritized={"floor": 0.05, "within": 50},
    )
    ```
    """

    _tag_names = SurrogateGRPOTrainer._tag_names
