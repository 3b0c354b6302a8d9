"""Which options of TRL's `GRPOConfig` change what a run optimises (TRL 1.16). Needs neither TRL nor torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from advshape.adapters.lengths import small_batch

__all__ = ["KEPT_SHARE", "objective_warnings", "skipping_is_off"]

# TRL's defaults of the fields that are read; a test compares them with GRPOConfig
DEFAULTS: dict[str, Any] = {
    "loss_type": "dapo",
    "gradient_accumulation_steps": 1,
    "per_device_train_batch_size": 8,
    "steps_per_generation": None,
    "generation_batch_size": None,
    "num_generations": 8,
    "mask_truncated_completions": False,
    "top_entropy_quantile": 1.0,
    "off_policy_mask_threshold": None,
    "use_vllm": False,
    "vllm_importance_sampling_correction": True,
    "vllm_importance_sampling_mode": "sequence_mask",
    "beta": 0.0,
    "entropy_coef": 0.0,
    "use_adaptive_entropy": False,
    "router_aux_loss_coef": None,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": None,
    "repetition_penalty": 1.0,
}

Read = Callable[[str], Any]


def _bnpo_reweighs(read: Read) -> bool:
    many = read("gradient_accumulation_steps") > 1 or read("per_device_train_batch_size") == 1
    return bool(read("loss_type") == "bnpo" and many)


def _vllm_masks(read: Read) -> bool:
    corrects = read("use_vllm") and read("vllm_importance_sampling_correction")
    return bool(corrects and str(read("vllm_importance_sampling_mode")).endswith("_mask"))


_LENGTH = "divides each rollout by its own length, so that short rollouts weigh more; use loss_type='dr_grpo'"
_SAMPLING = (
    "draws rollouts from another distribution than the one whose log-probabilities are trained; "
    "use top_p=1.0, top_k=0, min_p=None, repetition_penalty=1.0"
)
# option, when it acts, what it does and what to use instead
_OPTIONS: tuple[tuple[str, Callable[[Read], bool], str], ...] = (
    ("loss_type", lambda read: read("loss_type") in ("grpo", "sapo"), _LENGTH),
    (
        "loss_type",
        _bnpo_reweighs,
        "divides each micro-batch by its own tokens, so that rollouts in short micro-batches weigh more; "
        "use loss_type='dr_grpo'",
    ),
    (
        "mask_truncated_completions",
        lambda read: bool(read("mask_truncated_completions")),
        "takes truncated rollouts out of the loss but leaves them in the group's counts; let the reward "
        "function return None for them instead: not judged, they leave both",
    ),
    (
        "top_entropy_quantile",
        lambda read: bool(read("top_entropy_quantile") < 1),
        "trains on the tokens of highest entropy only; use 1.0",
    ),
    (
        "off_policy_mask_threshold",
        lambda read: read("off_policy_mask_threshold") is not None,
        "drops rollouts with negative advantages after the advantages were made; use None",
    ),
    (
        "vllm_importance_sampling_mode",
        _vllm_masks,
        "drops rollouts or tokens after the advantages were made; use sequence_truncate or token_truncate",
    ),
    (
        "beta",
        lambda read: read("beta") != 0,
        "adds a KL penalty: the run maximises the surrogate minus beta x KL to the reference model; use 0.0",
    ),
    (
        "entropy_coef",
        lambda read: read("entropy_coef") != 0,
        "adds a bonus on the entropy of tokens to the surrogate; use 0.0",
    ),
    (
        "use_adaptive_entropy",
        lambda read: bool(read("use_adaptive_entropy")),
        "adds a bonus on the entropy of tokens to the surrogate; use False",
    ),
    (
        "router_aux_loss_coef",
        lambda read: bool(read("router_aux_loss_coef")),
        "adds a load-balancing loss (mixture-of-experts models) to the surrogate; use 0.0",
    ),
    ("top_p", lambda read: bool(read("top_p") < 1), _SAMPLING),
    ("top_k", lambda read: bool(read("top_k")), _SAMPLING),
    ("min_p", lambda read: bool(read("min_p")), _SAMPLING),
    ("repetition_penalty", lambda read: read("repetition_penalty") != 1, _SAMPLING),
)

# what a loss_type divides by in each micro-batch: its rows, its tokens, or nothing of it
KEPT_SHARE = {
    **dict.fromkeys(("dr_grpo", "grpo", "sapo", "luspo"), "rows"),
    "bnpo": "tokens",
    **dict.fromkeys(("dapo", "cispo", "vespo"), "none"),
}
_NEEDS_ALL = ("beta", "entropy_coef", "use_adaptive_entropy", "router_aux_loss_coef", "top_entropy_quantile")


def prompts_per_step(config: Any) -> int:
    """Prompts of one generation batch, at least 1: TRL divides "dapo", "cispo" and "vespo" by that batch's tokens.

    Args:
        config: as for `objective_warnings`; its `world_size` counts the processes, absent as one.

    >>> from types import SimpleNamespace
    >>> prompts_per_step(SimpleNamespace(per_device_train_batch_size=16, gradient_accumulation_steps=2))
    4
    """

    def read(name: str) -> Any:
        return getattr(config, name, DEFAULTS[name])

    rollouts = read("generation_batch_size")
    if rollouts is None:
        processes = getattr(config, "world_size", 1)
        steps = read("steps_per_generation") or read("gradient_accumulation_steps")
        rollouts = read("per_device_train_batch_size") * steps * (processes if isinstance(processes, int) else 1)
    return max(1, int(rollouts) // int(read("num_generations")))


def _by_tokens(config: Any, read: Read) -> list[str]:
    """What a factor that the step's tokens set does; in large batches it is a step size and nothing is said."""
    kind = read("loss_type")
    if kind not in ("dapo", "cispo", "vespo") and not (kind == "bnpo" and not _bnpo_reweighs(read)):
        return []
    text = small_batch(prompts_per_step(config), "each generation batch")
    return [f"loss_type={kind}: {text}; use loss_type='dr_grpo' or more prompts per step"] if text else []


def objective_warnings(config: Any) -> list[str]:
    """What in a `GRPOConfig` makes a run optimise something else than its estimator's surrogate.

    A surrogate is a statement about the mean gradient of whole, independent, on-policy rollouts. Options that
    weigh rollouts or tokens differently, or add a term to the loss, change the objective and are named.
    Options that multiply the whole gradient by one fixed factor are a step size and are not: `loss_type` "luspo"
    against "dr_grpo" (measured with TRL 1.16, on-policy), and `scale_rewards`, which acts on TRL's own
    advantages only. "dapo", "cispo" and "vespo" divide by the tokens of the generation batch: one factor within
    a step, but larger where its answers are short, so that prompts of short answers weigh more. With many
    prompts per step that is a step size too; with few it is named. Off-policy clipping (`num_iterations` or
    `steps_per_generation` above 1) is outside the list.

    Args:
        config: a `GRPOConfig`, or any object with some of its fields; absent ones count as TRL's default.

    Returns:
        One line for each such option, "option=value: what it does; what to use". Empty: none.

    >>> from types import SimpleNamespace
    >>> objective_warnings(SimpleNamespace(loss_type="dr_grpo"))
    []
    >>> print(*objective_warnings(SimpleNamespace(loss_type="dr_grpo", top_entropy_quantile=0.2)))
    top_entropy_quantile=0.2: trains on the tokens of highest entropy only; use 1.0
    """

    def read(name: str) -> Any:
        return getattr(config, name, DEFAULTS[name])

    named = [f"{name}={read(name)}: {text}" for name, acts, text in _OPTIONS if acts(read)]
    return [*_by_tokens(config, read), *named]


def skipping_is_off(config: Any) -> str | None:
    """Which option of a `GRPOConfig` makes the loss depend on rollouts with advantage 0; None: none does.

    Args:
        config: as for `objective_warnings`.

    >>> from types import SimpleNamespace
    >>> skipping_is_off(SimpleNamespace(beta=0.04))
    'beta=0.04 acts on rollouts with advantage 0 too'
    """

    def read(name: str) -> Any:
        return getattr(config, name, DEFAULTS[name])

    if read("loss_type") not in KEPT_SHARE:
        return f"loss_type={read('loss_type')!r} is none of {', '.join(KEPT_SHARE)}"
    for name, acts, _ in _OPTIONS:
        if name in _NEEDS_ALL and acts(read):
            return f"{name}={read(name)} acts on rollouts with advantage 0 too"
    return None
