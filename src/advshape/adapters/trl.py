"""Our advantages inside TRL's `GRPOTrainer` (TRL 1.16); all else stays TRL's.

The seam: TRL gathers the rewards of all processes, rows ordered by group (`_calculate_rewards`), and returns
a batch whose "advantages" are this process's slice (`_generate_and_score_completions`). `SurrogateMixin`
reads the former and replaces the latter; generation, loss, clipping, optimiser and logging are not touched.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from accelerate.utils import gather_object
from trl import GRPOConfig, GRPOTrainer

import advshape
from advshape.adapters.trl_metrics import binary_metrics, real_metrics
from advshape.adapters.trl_options import check_real, objective_warnings
from advshape.adapters.trl_rewards import combine_rewards
from advshape.adapters.trl_skip import SkipZeroAdvantages
from advshape.errors import AdvshapeError
from advshape.history import PromptHistory
from advshape.layer_cake import Bounds
from advshape.surrogate import Surrogate
from advshape.table import AdvantageEstimator, AdvantageTable

__all__ = [
    "ObjectiveWarning",
    "SkipZeroAdvantages",
    "SurrogateGRPOTrainer",
    "SurrogateMixin",
    "combine_rewards",
    "objective_warnings",
]

logger = logging.getLogger("advshape")
HISTORY_FILE = "prompt_history.json"  # in every checkpoint of a run with history=


class ObjectiveWarning(UserWarning):
    """A trainer option makes the run optimise something else than the surrogate of its estimator."""


class SurrogateMixin:
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
    _get_output_dir: Any
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
        self._said_too_small = False
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
        plug-in F(rho-hat) at rho-hat = (c + 1/2) / (n + 1), which is finite where F(0) or F(1) is not. Not
        scaled: `scaled()` leaves an estimator's surrogate as it is. A table, or an estimator that names no
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
            advantages = _per_rollout(self.group_advantages(groups.clone(), prompts), groups)
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

    def _stateful(self) -> dict[str, tuple[Callable[[], Any], Callable[[Any], None]]]:
        """What a checkpoint holds besides TRL's: file name -> (its state for JSON, how to take one back)."""
        return {} if self.history is None else {HISTORY_FILE: (self.history.state_dict, self.history.load_state_dict)}

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        cast(Any, super())._save_checkpoint(model, trial)
        folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
        for name, (state, _) in self._stateful().items() if self.args.should_save else ():
            (folder / name).write_text(json.dumps(state()), encoding="utf-8")

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        cast(Any, super())._load_optimizer_and_scheduler(checkpoint)
        for name, (_, load) in self._stateful().items() if checkpoint is not None else ():
            path = Path(cast(str, checkpoint)) / name
            if not path.is_file():
                what = "history=" if name == HISTORY_FILE else Path(name).stem.replace("_", " ")
                raise AdvshapeError(f"{checkpoint} holds no {name}: the run had no {what}; leave it out")
            load(json.loads(path.read_text(encoding="utf-8")))

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
        tables = self._values_by_prompt(judged.tolist())
        special = binary_metrics(rewards, tables) if self.real is None else real_metrics(rewards, tables, self.bounds)
        return special | {
            "prompts_none_judged": (judged == 0).float().mean().item(),
            "prompts_with_not_judged": (judged < rewards.shape[1]).float().mean().item(),
            "prompts_too_small": too_small.float().mean().item(),
            "rollouts_not_judged": torch.isnan(rewards).float().mean().item(),
            "advantage_rms": advantages.square().mean().sqrt().item(),
        }

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
