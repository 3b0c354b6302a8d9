"""Our advantages inside TRL's `GRPOTrainer` (TRL 1.16); all else stays TRL's.

The seam: TRL gathers the rewards of all processes, rows ordered by group (`_calculate_rewards`), and returns
a batch whose "advantages" are this process's slice (`_generate_and_score_completions`). `SurrogateMixin`
reads the former and replaces the latter; generation, loss, clipping, optimiser and logging are not touched.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import torch
from accelerate.utils import gather_object
from trl import GRPOConfig, GRPOTrainer

import advshape
from advshape.adapters.trl.metrics import binary_metrics, judged_metrics, real_metrics
from advshape.adapters.trl.options import objective_warnings
from advshape.adapters.trl.rewards import combine_rewards
from advshape.adapters.trl.rule import TrainersRule, advantages_per_rollout
from advshape.adapters.trl.skip import SkipZeroAdvantages
from advshape.adapters.trl.state import CheckpointedState
from advshape.curriculum.history import PromptHistory
from advshape.errors import AdvshapeError
from advshape.shaping.layer_cake import Bounds
from advshape.tables.estimator import AdvantageEstimator
from advshape.tables.table import AdvantageTable

__all__ = [
    "ObjectiveWarning",
    "SurrogateGRPOTrainer",
    "SurrogateMixin",
]


class ObjectiveWarning(UserWarning):
    """A trainer option makes the run optimise something else than the surrogate of its estimator."""


class SurrogateMixin(TrainersRule, CheckpointedState):
    """Gives a `GRPOTrainer`, or a subclass that keeps its advantage seam, the advantages of an estimator.

    `class MyTrainer(SurrogateMixin, MyGRPOTrainer): ...` (the mixin stands first).

    Args:
        estimator: what makes the advantages: a name with parameters (`"pass_at_k(k=8)"`), an
            `AdvantageEstimator`, an `AdvantageTable` for exactly `num_generations` rollouts, or a function
            from (groups, n) rewards, NaN for not judged, to (groups, n) advantages. From a function, groups with
            fewer than 2 judged rollouts (another number: its attribute `smallest_n`) get 0. A subclass with its
            own `group_advantages` may leave it out.
        real: None: rewards are 0 or 1. "layer_cake": any finite rewards, and the rule at every threshold
            (`advshape.advantages(real=)`): the run maximises the integral of F(P(r > t)) dt. "as_is": for a function
            or an own `group_advantages`, which get the real rewards unchanged.
        bounds: with "layer_cake", (low, high) ends of the reward's scale; needed by rules with A+(n) != 0
            (low) or A-(0) != 0 (high).
        history: a `PromptHistory`: the baseline becomes the posterior mean under each prompt's *earlier* visits,
            the objective stays. Updated after each training batch, alike on every process, never in
            evaluation; saved in every checkpoint and restored from it.
        history_key: the column of the data set that tells prompts apart.
        history_baseline: False keeps the history (for a priority, or a choice by difficulty) and the estimator's own
            baseline.
        *args, **kwargs: the trainer's own.

    Raises:
        AdvshapeError: before the model is loaded: no or an unknown estimator; `num_generations` below its
            smallest n; `multi_objective_aggregation="normalize_then_sum"`; all reward weights 0; `real` that
            does not fit the estimator, or lacks a bound; `history` without a table to put it into. In training:
            rewards other than 0 and 1 (with `real`: infinite, or outside the bounds); advantages that are not finite.

    Warns:
        ObjectiveWarning: at construction, each line of `objective_warnings`.

    Metrics, each of one generation batch (evaluation adds TRL's prefix `eval_`):
        `advshape/prompts_all_wrong`, `prompts_mixed`, `prompts_all_right`, `prompts_none_judged`: shares of
        prompts, sum 1; `prompts_with_not_judged`: share with at least one rollout not judged;
        `prompts_too_small`: share with fewer judged rollouts than the estimator allows (advantages 0);
        `rollouts_not_judged`: share of rollouts; `pass_at_1`: mean over prompts of right / judged;
        `surrogate`: mean over prompts, see `surrogate_values`; `advantage_rms`: of what the loss gets.
        With `real`, `prompts_all_equal` in place of all wrong and all right, `mean_reward` (over prompts) in place of
        `pass_at_1`, and `surrogate` is the integral over thresholds, see `trl_metrics.real_metrics`. With
        `history`, `prompts_seen_before`.
    """

    accelerator: Any
    args: Any
    model: Any
    num_generations: int
    num_generations_eval: int
    reward_func_names: Any
    reward_weights: Any
    state: Any
    _calculate_rewards: Any
    _logs: Any
    _metrics: Any

    def __init__(
        self,
        *args: Any,
        estimator: Any = None,
        real: Literal["layer_cake", "as_is"] | None = None,
        bounds: Bounds | None = None,
        history: PromptHistory | None = None,
        history_key: str = "prompt",
        history_baseline: bool = True,
        **kwargs: Any,
    ) -> None:
        if not isinstance(self, GRPOTrainer):
            raise AdvshapeError(
                f"{type(self).__name__} is no GRPOTrainer: SurrogateMixin serves TRL's GRPOTrainer and its "
                "subclasses only (RLOOTrainer changes rewards after the place where they are read)"
            )
        given = (a for a in (kwargs.get("args"), *args) if isinstance(a, GRPOConfig))
        config = next(given, GRPOConfig)  # the class holds the defaults
        self.estimator = self._resolve(estimator)
        self.real, self.history, self.history_key = real, history, history_key
        self.history_baseline = history_baseline
        self._check(config)
        self.bounds = self._checked_bounds(config, bounds)
        for line in objective_warnings(config):
            warnings.warn(line, ObjectiveWarning, stacklevel=2)
        self._surrogates: dict[tuple[Any, int], list[float] | None] = {}
        super().__init__(*args, **kwargs)
        columns = getattr(getattr(self, "train_dataset", None), "column_names", None)
        if history is not None and columns and history_key not in columns:
            raise AdvshapeError(f"history_key={history_key!r} is no column of the data set, which has {columns}")

    def _resolve(self, estimator: Any) -> Any:
        if isinstance(estimator, (str, Mapping)):
            return advshape.estimator(estimator)
        own_hook = estimator is None and type(self).group_advantages is not SurrogateMixin.group_advantages
        if isinstance(estimator, (AdvantageEstimator, AdvantageTable)) or callable(estimator) or own_hook:
            return estimator
        raise AdvshapeError(
            f"estimator={estimator!r}: give a name such as 'pass_at_k(k=8)' (advshape.estimators() lists "
            "them), an AdvantageEstimator, an AdvantageTable or a function from (groups, n) rewards to advantages"
        )

    def group_advantages(self, rewards: torch.Tensor, prompts: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """The advantages of all groups of a generation batch: the hook to override.

        Called once per generation batch, with the same values on every process; for evaluation batches too
        (`self.model.training` is then False: keep no history of those) unless their groups are smaller than
        the estimator allows.

        Args:
            rewards: (P, n) float32: 1 right, 0 wrong, or real numbers with `real`; NaN not judged.
            prompts: P rows of the data set, one for each group, without images.

        Returns:
            (P, n) advantages for a mean over each group's *judged* rollouts; those of others are ignored. The
            trainer multiplies a group's by n / n_judged, because TRL's loss divides by all rollouts.
        """
        return self._by_rule(self.estimator, rewards, prompts)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        calculate = self._calculate_rewards
        seen: list[torch.Tensor] = []

        def watched(rows: Any, prompts: Any, completions: Any, *rest: Any, **named: Any) -> Any:
            per_function = calculate(rows, prompts, completions, *rest, **named)
            texts = dict(enumerate(completions, self.accelerator.process_index * len(completions)))
            real: dict[str, Any] = {} if self.real is None else {"real": True, "bounds": self.bounds}
            seen.append(combine_rewards(per_function, self.reward_weights, self.reward_func_names, texts, **real))
            return per_function

        own = vars(self).get("_calculate_rewards")
        self._calculate_rewards = watched  # on the instance: sees what TRL sees, whoever overrides the method
        try:
            output = cast(Any, super())._generate_and_score_completions(inputs)
        finally:
            del self._calculate_rewards
            if own is not None:
                self._calculate_rewards = own
        self._replace_advantages(output, seen[-1], inputs)
        return cast(dict[str, Any], output)

    def _replace_advantages(self, output: dict[str, Any], rewards: torch.Tensor, inputs: list[Any]) -> dict[str, float]:
        """Put our advantages into the batch; returns its metrics."""
        mode = "train" if self.model.training else "eval"
        n = self.num_generations if mode == "train" else self.num_generations_eval
        groups = rewards.view(-1, n)
        prompts = self._prompts(inputs, n)
        if self._serves(n):
            advantages = advantages_per_rollout(self.group_advantages(groups.clone(), prompts), groups)
        else:  # only in evaluation, where nothing is trained
            advantages = torch.zeros_like(groups)
        self._put(output, advantages.flatten().to(output["advantages"]), len(inputs))
        metrics = self._group_metrics(groups, advantages)
        if self.history is not None:
            ids = self.prompt_ids(prompts)
            metrics["prompts_seen_before"] = float((self.history.visits(ids) > 0).mean())
            if mode == "train":  # after its use: a prior must not have seen the group that it serves
                judged = (~groups.isnan()).sum(dim=1)
                self.history.update(ids, groups.nansum(dim=1).cpu().numpy(), judged.cpu().numpy())
        for name, value in metrics.items():
            self._metrics[mode][f"advshape/{name}"].append(value)
        return metrics

    def _prompts(self, inputs: list[dict[str, Any]], n: int) -> list[dict[str, Any]]:
        """The first row of each group of the whole batch; a group may lie on several processes."""
        start = self.accelerator.process_index * len(inputs)
        rows = [row for i, row in enumerate(inputs, start) if i % n == 0]
        plain = [{key: value for key, value in row.items() if key not in ("image", "images")} for row in rows]
        return cast(list[dict[str, Any]], gather_object(plain))

    def _put(self, output: dict[str, Any], advantages: torch.Tensor, local: int) -> None:
        """This process's slice into the batch, all into TRL's log, in place of the values TRL made."""
        mine = slice(start := self.accelerator.process_index * local, start + local)
        log = self._logs["advantages"]
        stock = [log.pop() for _ in range(min(len(advantages), len(log)))][::-1]
        complete = len(stock) == len(advantages)  # an evaluation batch may be longer than the log
        if len(output["advantages"]) != local or (complete and output["advantages"].tolist() != stock[mine]):
            raise AdvshapeError(
                f"a base class of {type(self).__name__} changes rollouts or advantages after TRL computed "
                "them, which the estimator would undo; use SurrogateMixin on a trainer that leaves them alone"
            )
        log.extend(advantages.tolist())
        output["advantages"] = advantages[mine].clone()

    def _group_metrics(self, rewards: torch.Tensor, advantages: torch.Tensor) -> dict[str, float]:
        judged = (~torch.isnan(rewards)).sum(dim=1)
        too_small = ~self._serves(judged)
        if self.model.training and bool(too_small.any()):
            self._say_too_small(int(too_small.sum()), len(rewards))
        values = self._values_by_prompt(judged.tolist())
        special = binary_metrics(rewards, values) if self.real is None else real_metrics(rewards, values, self.bounds)
        return special | judged_metrics(rewards, advantages, too_small)


class SurrogateGRPOTrainer(SurrogateMixin, SkipZeroAdvantages, GRPOTrainer):  # type: ignore[misc]
    """TRL's `GRPOTrainer` with the advantages of an estimator; `SurrogateMixin` tells of `estimator=`.

    `SkipZeroAdvantages` spares it the passes of rollouts with advantage 0, unless `skip_zero_advantages=False`.

    ```python
    trainer = SurrogateGRPOTrainer(
        model,
        reward_funcs=verify,
        args=GRPOConfig(output_dir, num_generations=16, loss_type="dr_grpo"),
        train_dataset=prompts,
        estimator="pass_at_k(k=8)",
    )
    ```
    """

    _tag_names: ClassVar[list[str]] = ["trl", "grpo", "advshape"]
