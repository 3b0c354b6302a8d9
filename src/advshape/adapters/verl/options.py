"""What verl's configuration says of our objective, and what in it undoes or changes it (verl 0.9.1).

Needs neither verl nor torch: settings are a flat mapping from verl's dotted keys to plain values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

import advshape
from advshape.adapters.lengths import small_batch
from advshape.adapters.objective import Objective
from advshape.errors import AdvshapeError
from advshape.shaping.real import check_real
from advshape.tables.estimator import AdvantageEstimator

__all__ = ["NAME", "examine", "flatten", "objective", "objective_warnings"]

NAME = "advshape"  # algorithm.adv_estimator=advshape or advshape/ESTIMATOR; algorithm.advshape holds the parameters
# verl's defaults of the keys that are read; a test compares them with verl's own configuration
DEFAULTS: dict[str, Any] = {
    "algorithm.adv_estimator": "gae",
    "algorithm.advshape": None,
    "algorithm.norm_adv_by_std_in_grpo": True,
    "algorithm.filter_groups.enable": False,
    "algorithm.filter_groups.metric": "reward",
    "algorithm.use_kl_in_reward": False,
    "algorithm.rollout_correction.rollout_rs": None,
    "actor_rollout_ref.rollout.n": 1,
    "actor_rollout_ref.rollout.top_p": 1,
    "actor_rollout_ref.rollout.top_k": -1,
    "actor_rollout_ref.actor.loss_agg_mode": "token-mean",
    "actor_rollout_ref.actor.ppo_mini_batch_size": 256,
    "actor_rollout_ref.actor.use_kl_loss": False,
    "actor_rollout_ref.actor.entropy_coeff": 0,
    "actor_rollout_ref.actor.policy_loss.loss_mode": "vanilla",
    "distillation.enabled": False,
}
_HERE = ("real", "bounds")  # of algorithm.advshape; all else there belongs to the estimator

Settings = Mapping[str, Any]
Read = Callable[[str], Any]


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a nested configuration that are read here, without those that it lacks.

    >>> flatten({"algorithm": {"adv_estimator": "advshape/rloo", "gamma": 1.0}})
    {'algorithm.adv_estimator': 'advshape/rloo'}
    """
    found = {key: _at(tree, key.split(".")) for key in DEFAULTS}
    return {key: value for key, value in found.items() if value is not None}


def _at(node: Any, path: Sequence[str]) -> Any:
    for part in path:
        node = node.get(part) if isinstance(node, Mapping) else None
    return _plain(node)


def _plain(node: Any) -> Any:
    """verl's and OmegaConf's containers as Python's own."""
    if isinstance(node, Mapping):
        return {str(key): _plain(node[key]) for key in node}
    return [_plain(x) for x in node] if isinstance(node, Sequence) and not isinstance(node, str) else node


def objective(settings: Settings, name: str | None = None) -> tuple[AdvantageEstimator, dict[str, Any]]:
    """The estimator that the settings describe, and the options of `advshape.advantages` for its rewards.

    settings: as from `flatten`. `algorithm.advshape` is a mapping for `advshape.estimator`; beside that it may hold,
    for real-valued rewards, real="layer_cake" and bounds=[low, high]. name: what `algorithm.adv_estimator` says;
    default: read it.

    Raises AdvshapeError that names the keys: no or two objectives, an unknown one, or settings that contradict it.

    >>> objective({"algorithm.adv_estimator": "advshape/pass_at_k", "algorithm.advshape": {"k": 4}})
    (AdvantageEstimator(pass_at_k(k=4)), {})
    """
    rule, options, wrong = examine(settings, name)
    if wrong:
        raise AdvshapeError("; ".join(wrong))
    assert rule is not None
    return rule, options


def examine(settings: Settings, name: str | None = None) -> tuple[AdvantageEstimator | None, dict[str, Any], list[str]]:
    """As `objective`, with everything that is wrong at once; the estimator is None where it cannot be read."""
    table = settings.get("algorithm.advshape") or {}
    if not isinstance(table, Mapping):
        return None, {}, [f"algorithm.advshape must be a mapping such as {{estimator: rloo}}, got {table!r}"]
    options = {key: table[key] for key in ("real", "bounds") if table.get(key) is not None}
    spec, clash = _spec(str(name or settings.get("algorithm.adv_estimator")), table)
    rule, wrong = None, [clash] if clash else []
    try:
        rule = advshape.estimator({key: value for key, value in spec.items() if key != "scale"}) if spec else None
        rule = rule.scaled(spec.get("scale", "none")) if rule else None  # apart: a wrong scale hides nothing else
    except AdvshapeError as error:
        wrong.append(f"algorithm.advshape: {error}")
    return rule, options, [*wrong, *_contradictions(settings, rule, options)]


def _spec(name: str, table: Settings) -> tuple[dict[str, Any], str]:
    """What is there for `advshape.estimator`, with an estimator in the name itself; or nothing, and why."""
    spec = {key: value for key, value in table.items() if key not in _HERE}
    own, named = name.partition("/")[2], {"estimator", "surrogate"} & set(spec)
    if own and named:
        return {}, (
            f"algorithm.adv_estimator={name} and algorithm.advshape.{min(named)} both name an objective; use "
            f"algorithm.adv_estimator={NAME} with the latter, or leave the latter out"
        )
    if not own and not named:
        holds = f"; it holds {', '.join(table)}" if table else ""
        return {}, (
            f"algorithm.adv_estimator={NAME} needs an objective: add +algorithm.advshape.estimator=rloo or "
            f"+algorithm.advshape.surrogate=PassAtK with its parameters, e.g. +algorithm.advshape.k=8{holds}"
        )
    return (spec | {"estimator": own} if own else spec), ""


def _contradictions(settings: Settings, rule: AdvantageEstimator | None, options: Settings) -> Iterator[str]:
    """What in verl's configuration the estimator cannot stand, and what to do."""
    n = settings.get("actor_rollout_ref.rollout.n")
    if n is not None and (isinstance(n, bool) or not isinstance(n, int)):
        yield f"actor_rollout_ref.rollout.n is a whole number of rollouts per prompt, got {n!r}"
        n = None
    if settings.get("algorithm.use_kl_in_reward") and "real" not in options:
        yield (
            "algorithm.use_kl_in_reward=True: rewards minus a KL penalty are no longer 0 or 1; set it to False (and "
            "actor_rollout_ref.actor.use_kl_loss=True for one in the loss), or +algorithm.advshape.real=layer_cake"
        )
    if rule is None:
        return
    if n is not None and n < rule.smallest_n:
        yield (
            f"actor_rollout_ref.rollout.n={n}: {rule.name} needs at least {rule.smallest_n} rollouts per prompt; set "
            f"actor_rollout_ref.rollout.n={rule.smallest_n} or more, or choose another estimator"
        )
    size = max(n or 8, rule.smallest_n)  # where n is not told, any that shows the rule
    weight = rule.table(size).weight
    flat = bool(np.ptp(weight) <= 1e-12 * np.abs(weight).max())
    if settings.get("algorithm.norm_adv_by_std_in_grpo") is False and not flat:
        yield (
            f"algorithm.norm_adv_by_std_in_grpo=False would have no effect: {rule.name} weighs groups by its table; "
            f"leave the key out, or take algorithm.adv_estimator={NAME}/dr_grpo (the reward minus the mean)"
        )
    try:
        if settings.get("algorithm.filter_groups.enable"):
            Objective(rule).refuse_filter("algorithm.filter_groups.enable=True", size)
    except AdvshapeError as error:
        yield str(error)
    try:
        check_real(rule, options.get("real"), options.get("bounds"), range(rule.smallest_n, (n or 0) + 1))
    except AdvshapeError as error:
        yield f"algorithm.advshape: {error}"


_ROLLOUT, _ACTOR = "actor_rollout_ref.rollout", "actor_rollout_ref.actor"
_SAMPLING = "draws rollouts from another distribution than the one that is trained; use top_p=1, top_k=-1"
_MODES = ("vanilla", "gspo", "cispo", "dppo_tv", "dppo_kl")  # ratio 1 on-policy: the policy gradient itself
# key, when it acts, what it does and what to use instead
_OPTIONS: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    (
        f"{_ACTOR}.loss_agg_mode",
        lambda x: x == "seq-mean-token-mean",
        "divides each rollout by its own length, so that short rollouts weigh more; use seq-mean-token-sum-norm",
    ),
    (
        f"{_ACTOR}.policy_loss.loss_mode",
        lambda x: x not in _MODES,
        f"weighs or drops tokens by more than their advantage, or was not looked at; use one of {', '.join(_MODES)}",
    ),
    (f"{_ACTOR}.use_kl_loss", bool, "adds a KL penalty to the surrogate; use False"),
    (f"{_ACTOR}.entropy_coeff", bool, "adds a bonus on the entropy of tokens to the surrogate; use 0"),
    ("algorithm.use_kl_in_reward", bool, "adds a KL penalty to the rewards; use False"),
    (
        "algorithm.rollout_correction.rollout_rs",
        lambda x: x not in (None, "null"),
        "drops rollouts or tokens that still count in their group; use null, and rollout_is for the weights",
    ),
    (
        "algorithm.filter_groups.metric",
        lambda x: x != "reward",
        "removes groups in which this metric is equal, though their rewards may differ; use reward",
    ),
    ("distillation.enabled", bool, "adds a distillation loss to the surrogate; use False"),
    (f"{_ROLLOUT}.top_p", lambda x: x < 1, _SAMPLING),
    (f"{_ROLLOUT}.top_k", lambda x: x > 0, _SAMPLING),
)


def objective_warnings(settings: Settings) -> list[str]:
    """What makes a run optimise something else than its estimator's surrogate: "key=value: what it does; what to use".

    As in `advshape.adapters.trl.options.objective_warnings`: options that multiply the whole gradient by one factor
    are a step size and are not named, nor is clipping after the first step on a batch.

    >>> print(*objective_warnings({"actor_rollout_ref.rollout.top_p": 0.9}))
    actor_rollout_ref.rollout.top_p=0.9: draws rollouts from another distribution than the one that is trained; ...
    """

    def read(key: str) -> Any:
        return settings.get(key, DEFAULTS[key])

    named = [(key, text) for key, acts, text in _OPTIONS if acts(read(key))]
    if not read("algorithm.filter_groups.enable"):
        named = [(key, text) for key, text in named if "filter_groups" not in key]
    told = [f"{key}={read(key)}: {text}" for key, text in named]
    mode, size = f"{_ACTOR}.loss_agg_mode", read(f"{_ACTOR}.ppo_mini_batch_size")
    text = small_batch(size, "each mini-batch") if read(mode) == "token-mean" and isinstance(size, int) else None
    return [*told, f"{mode}=token-mean: {text}; use seq-mean-token-sum-norm or larger mini-batches"] if text else told
