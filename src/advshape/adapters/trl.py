"""Our advantages inside TRL's `GRPOTrainer` (TRL 1.16); all else stays TRL's.

The seam: TRL gathers the rewards of all processes, rows ordered by group (`_calculate_rewards`), and returns
a batch whose "advantages" are this process's slice (`_generate_and_score_completions`). `SurrogateMixin`
reads the former and replaces the latter; generation, loss, clipping, optimiser and logging are not touched.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import torch
from accelerate.utils import gather_object
from trl import GRPOConfig, GRPOTrainer

import advshape
from advshape.adapters.trl_options import objective_warnings
from advshape.errors import AdvshapeError
from advshape.surrogate import Surrogate
from advshape.table import AdvantageEstimator, AdvantageTable

__all__ = [
    "ObjectiveWarning",
    "SurrogateGRPOTrainer",
    "SurrogateMixin",
    "combine_rewards",
    "objective_warnings",
]

logger = logging.getLogger("advshape")


class ObjectiveWarning(UserWarning):
    """A trainer option makes the run optimise something else than the surrogate of its estimator."""


def combine_rewards(
    per_function: torch.Tensor,
    weights: torch.Tensor,
    names: Sequence[str] | None = None,
    completions: Mapping[int, Any] | None = None,
) -> torch.Tensor:
    """One 0/1 reward for each rollout from the rewards of several functions; NaN where none judged it.

    The reward is the weighted sum over the functions that scored the rollout (TRL's rule: a function that
    returned None is left out) and must be 0 or 1. Functions of weight 0 only monitor: they neither count nor
    judge. A rollout is not judged (NaN) when no function of another weight scored it.

    Args:
        per_function: (rollouts, functions) rewards, NaN where a function returned None.
        weights: (functions,) weights.
        names: (functions,) names, for messages.
        completions: completions by row, for messages.

    Returns:
        (rollouts,) tensor of 0, 1 and NaN; same dtype and device.

    Raises:
        AdvshapeError: a weighted sum is neither 0 nor 1. One function of weight 1 must be exact; a true sum
            may be off by 1e-5, which covers the rounding of float32 weights.

    >>> combine_rewards(torch.tensor([[1.0, 0.2], [0.0, 0.9], [torch.nan, 0.5]]), torch.tensor([1.0, 0.0]))
    tensor([1., 0., nan])
    """
    counts = weights.to(per_function.device) != 0
    scored, active = per_function[:, counts], weights.to(per_function)[counts]
    total = (scored * active).nansum(dim=1)
    nearest = (total > 0.5).to(total)
    slack = 0.0 if len(active) == 1 and active[0] == 1 else 1e-5
    bad = ~((total - nearest).abs() <= slack)  # ~(<=): inf is bad
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise AdvshapeError(
            f"rollout {row} of the batch has the reward {float(total[row]):g} "
            f"({_scores(per_function[row], weights, names)}"
            f"{f', completion {completions[row]!r:.200}' if completions and row in completions else ''}); a "
            "reward is 1 (right), 0 (wrong) or None from every function (not judged); turn values into 0/1 by "
            "a threshold, or give a function that is only for monitoring the weight 0 in reward_weights"
        )
    return torch.where(torch.isnan(scored).all(dim=1), torch.nan, nearest)


def _scores(values: torch.Tensor, weights: torch.Tensor, names: Sequence[str] | None) -> str:
    labels = names or [f"function {i}" for i in range(len(values))]
    scores = ["None" if value != value else f"{value:g}" for value in values.tolist()]
    columns = zip(labels, scores, weights.tolist(), strict=True)
    return ", ".join(f"{label} {score} with weight {weight:g}" for label, score, weight in columns)


class SurrogateMixin:
    """Gives a `GRPOTrainer`, or a subclass that keeps its advantage seam, the advantages of an estimator.

    `class MyTrainer(SurrogateMixin, MyGRPOTrainer): ...` (the mixin stands first).

    Args:
        estimator: what makes the advantages: a name with parameters (`"pass_at_k(k=8)"`), an
            `AdvantageEstimator`, an `AdvantageTable` for exactly `num_generations` rollouts, or a function
            from (groups, n) rewards, NaN for not judged, to (groups, n) advantages. From a function, groups with
            fewer than 2 judged rollouts (another number: its attribute `smallest_n`) get 0. A subclass with its
            own `group_advantages` may leave it out.
        *args, **kwargs: the trainer's own.

    Raises:
        AdvshapeError: before the model is loaded: no or an unknown estimator; `num_generations` below its
            smallest n; `multi_objective_aggregation="normalize_then_sum"`; all reward weights 0. In training:
            rewards other than 0 and 1; advantages that are not finite.

    Warns:
        ObjectiveWarning: at construction, each line of `objective_warnings`.

    Metrics, each of one generation batch (evaluation adds TRL's prefix `eval_`):
        `advshape/prompts_all_wrong`, `prompts_mixed`, `prompts_all_right`, `prompts_none_judged`: shares of
        prompts, sum 1; `prompts_with_not_judged`: share with at least one rollout not judged;
        `prompts_too_small`: share with fewer judged rollouts than the estimator allows (advantages 0);
        `rollouts_not_judged`: share of rollouts; `pass_at_1`: mean over prompts of right / judged;
        `surrogate`: mean over prompts, see `surrogate_values`; `advantage_rms`: of what the loss gets.
    """

    accelerator: Any
    model: Any
    num_generations: int
    num_generations_eval: int
    reward_func_names: Any
    reward_weights: Any
    _calculate_rewards: Any
    _logs: Any
    _metrics: Any

    def __init__(self, *args: Any, estimator: Any = None, **kwargs: Any) -> None:
        if not isinstance(self, GRPOTrainer):
            raise AdvshapeError(
                f"{type(self).__name__} is no GRPOTrainer: SurrogateMixin serves TRL's GRPOTrainer and its "
                "subclasses only (RLOOTrainer changes rewards after the place where they are read)"
            )
        given = (a for a in (kwargs.get("args"), *args) if isinstance(a, GRPOConfig))
        config = next(given, GRPOConfig)  # the class holds the defaults
        self.estimator = self._resolve(estimator)
        self._check(config)
        for line in objective_warnings(config):
            warnings.warn(line, ObjectiveWarning, stacklevel=2)
        self._surrogates: dict[int, list[float] | None] = {}
        self._said_too_small = False
        super().__init__(*args, **kwargs)

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

    def _fixed(self) -> bool:
        return isinstance(self.estimator, AdvantageTable)

    def _smallest_n(self) -> int:
        if self.estimator is None:
            return 1
        return int(self.estimator.n if self._fixed() else getattr(self.estimator, "smallest_n", 2))

    def _serves(self, n: Any) -> Any:
        """Has the estimator advantages for n judged rollouts? n: int or tensor."""
        return n == self._smallest_n() if self._fixed() else n >= self._smallest_n()

    def group_advantages(self, rewards: torch.Tensor, prompts: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """The advantages of all groups of a generation batch: the hook to override.

        Called once per generation batch, with the same values on every process; for evaluation batches too
        (`self.model.training` is then False: keep no history of those) unless their groups are smaller than
        the estimator allows.

        Args:
            rewards: (P, n) float32: 1 right, 0 wrong, NaN not judged.
            prompts: P rows of the data set, one for each group, without images.

        Returns:
            (P, n) advantages for a mean over each group's *judged* rollouts; those of others are ignored. The
            trainer multiplies a group's by n / n_judged, because TRL's loss divides by all rollouts.
        """
        if isinstance(self.estimator, (AdvantageEstimator, AdvantageTable)):
            return advshape.advantages(rewards, self.estimator, too_small="zero")
        found = _checked(self.estimator(rewards), rewards)
        usable = self._serves((~torch.isnan(rewards)).sum(dim=1, keepdim=True))
        return torch.where(usable, found, 0.0)

    def surrogate_values(self, n: int) -> list[float] | None:
        """The surrogate's value for a prompt of which c = 0..n of n judged rollouts are right.

        Where F' is a polynomial of degree below n, the unbiased estimate of F(rho): F(0) plus the partial sums of
        the Bernstein coefficients of F' in degree n - 1, divided by n (for Pass@K the unbiased pass@k). Else the
        plug-in F(rho-hat) at rho-hat = (c + 1/2) / (n + 1), which is finite where F(0) or F(1) is not. Not
        scaled: `scaled()` leaves an estimator's surrogate as it is. A table, or an estimator that names no
        surrogate, counts as what it maximises exactly with n rollouts, F_n with F_n(0) = 0.

        Returns:
            n + 1 values, or None where the advantages come from a function or the estimator does not serve n.
        """
        if n not in self._surrogates:
            self._surrogates[n] = self._values(n) if n > 0 and self._serves(n) else None
        return self._surrogates[n]

    def _values(self, n: int) -> list[float] | None:
        surrogate: Surrogate
        rule = self.estimator
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

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        calculate = self._calculate_rewards
        seen: list[torch.Tensor] = []

        def watched(rows: Any, prompts: Any, completions: Any, *rest: Any, **named: Any) -> Any:
            per_function = calculate(rows, prompts, completions, *rest, **named)
            texts = dict(enumerate(completions, self.accelerator.process_index * len(completions)))
            seen.append(combine_rewards(per_function, self.reward_weights, self.reward_func_names, texts))
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

    def _replace_advantages(self, output: dict[str, Any], rewards: torch.Tensor, inputs: list[Any]) -> None:
        mode = "train" if self.model.training else "eval"
        n = self.num_generations if mode == "train" else self.num_generations_eval
        groups = rewards.view(-1, n)
        prompts = self._prompts(inputs, n)
        if self._serves(n):
            advantages = _per_rollout(self.group_advantages(groups.clone(), prompts), groups)
        else:  # only in evaluation, where nothing is trained
            advantages = torch.zeros_like(groups)
        self._put(output, advantages.flatten().to(output["advantages"]), len(inputs))
        for name, value in self._group_metrics(groups, advantages).items():
            self._metrics[mode][f"advshape/{name}"].append(value)

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
        right = rewards.nansum(dim=1)
        some = judged > 0
        too_small = ~self._serves(judged)
        if self.model.training and bool(too_small.any()):
            self._say_too_small(int(too_small.sum()), len(rewards))
        shares = {
            "prompts_all_wrong": some & (right == 0),
            "prompts_mixed": (right > 0) & (right < judged),
            "prompts_all_right": some & (right == judged),
            "prompts_none_judged": ~some,
            "prompts_with_not_judged": judged < rewards.shape[1],
            "prompts_too_small": too_small,
            "rollouts_not_judged": torch.isnan(rewards),
        }
        metrics = {name: mask.float().mean().item() for name, mask in shares.items()}
        metrics["pass_at_1"] = (right[some] / judged[some]).mean().item()
        metrics["advantage_rms"] = advantages.square().mean().sqrt().item()
        tables = [(self.surrogate_values(m), int(c)) for m, c in zip(judged.tolist(), right.tolist(), strict=True)]
        values = [table[c] for table, c in tables if table is not None]
        return metrics | ({"surrogate": sum(values) / len(values)} if values else {})

    def _say_too_small(self, count: int, prompts: int) -> None:
        if not self._said_too_small and self.accelerator.is_main_process:
            logger.warning(
                "%d of %d prompts had fewer judged rollouts than the %d that the estimator needs: their "
                "advantages are 0. Said once; the metric advshape/prompts_too_small goes on counting.",
                *(count, prompts, self._smallest_n()),
            )
        self._said_too_small = True


def _checked(advantages: Any, rewards: torch.Tensor) -> torch.Tensor:
    if not isinstance(advantages, torch.Tensor) or advantages.shape != rewards.shape:
        seen = f"shape {tuple(advantages.shape)}" if hasattr(advantages, "shape") else ""
        raise AdvshapeError(
            f"advantages are a {type(advantages).__name__} {seen}, rewards a tensor of shape {tuple(rewards.shape)}; "
            "return a tensor of that shape"
        )
    return advantages


def _per_rollout(advantages: Any, rewards: torch.Tensor) -> torch.Tensor:
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


class SurrogateGRPOTrainer(SurrogateMixin, GRPOTrainer):  # type: ignore[misc]
    """TRL's `GRPOTrainer` with the advantages of an estimator; `SurrogateMixin` tells of `estimator=`.

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
