"""Memory of one training process and tokens of a step, computed from the model's configuration before it is loaded.

Source of the parts: Rajbhandari et al. 2020, ZeRO (arXiv:1910.02054), section 3: weights, gradients and optimiser
states, and what each of its three stages divides by the number of processes. Activations are counted tensor by tensor,
as Korthikanti et al. 2022 (arXiv:2205.05198), section 4, do for GPT, here for the block of Llama and Qwen2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GB = 1e9
MOMENTS = {"sgd": 0.0, "adafactor": 0.0, "adamw_bnb_8bit": 0.5, "paged_adamw_8bit": 0.5, "lion_32bit": 1.0}
"""Optimiser states per trainable parameter, in units of a parameter's bytes; all others: Adam's two."""


@dataclass(frozen=True)
class Memory:
    """Bytes of one process, and the tokens that it holds at once.

    ``peak``: weights, gradients and optimiser states, plus the larger of what the loss of one micro-batch needs
    (activations, logits) and what generation needs (the KV cache). Left out: the CUDA context, fragments,
    buffers of the communication, and vLLM's own share of the GPU, which ``vllm_gpu_memory_utilization`` states.
    """

    parameters: int
    trainable: int
    weights: float
    gradients: float
    optimizer: float
    activations: float
    logits: float
    kv_cache: float

    @property
    def peak(self) -> float:
        """The largest sum that is there at one time."""
        return self.weights + self.gradients + self.optimizer + max(self.activations + self.logits, self.kv_cache)

    def describe(self) -> str:
        """One line, in GB (10^9 bytes)."""
        names = ("weights", "gradients", "optimizer", "activations", "logits", "kv_cache")
        parts = ", ".join(f"{name.replace('_', ' ')} {_gb(getattr(self, name))}" for name in names)
        return f"{_gb(self.peak)} GB at the peak of one process, computed: {parts}"


def estimate(
    config: Any,
    counts: tuple[int, int],
    trainer: Mapping[str, Any],
    *,
    dtype: str,
    processes: int,
    rollouts: int,
    prompt: int,
) -> Memory:
    """The memory of one process that trains a Llama-like model through TRL.

    With Psi parameters, of which t are trained, in s bytes each (``dtype``), and computations in c bytes (2 in bf16):

    - weights: s Psi, and under mixed precision (s = 4, c = 2) autocast's copies, 2 Psi;
    - gradients: s t; twice that where DistributedDataParallel copies them into buckets (several processes, no stage);
    - optimiser: 2 s t for Adam;
    - ZeRO's stages: 1 divides the optimiser by the number of processes, 2 the gradients too, 3 (and FSDP) the
      weights too; DeepSpeed in bf16 holds 2 Psi, 2 t and 12 t;
    - activations of B sequences of T tokens: B T L (block), or with checkpointing B T (L s h + block), see ``block``;
    - logits: 3 c B C V (themselves, their log-softmax, their gradient) over the C tokens of the completions;
    - KV cache of R rollouts: 2 R T L k d c, k heads of d: all that a process generates at once.

    Args:
        config: the model's configuration (transformers).
        counts: (Psi, t), see ``count_parameters``.
        trainer: fields of ``GRPOConfig``.
        dtype: the weights' type, "float32" or "bfloat16".
        processes: how many train.
        rollouts: of one generation, on all processes.
        prompt: tokens of the longest prompt.
    """
    size, trained = counts
    s, c = (4 if dtype == "float32" else 2), (4 if trainer.get("bf16") is False else 2)
    stage = zero_stage(trainer)
    weights, gradients, optimizer = s * size, s * trained, _moments(trainer) * s * trained
    if trainer.get("deepspeed") and c == 2:
        weights, gradients, optimizer = 2 * size, 2 * trained, 12 * trained
    elif (s, c) == (4, 2):
        weights += 2 * size
    if stage == 0 and processes > 1:
        gradients *= 2
    length = trainer.get("max_completion_length", 256)
    tokens = trainer["per_device_train_batch_size"] * (prompt + length)
    one, layers = block(config, s, c), config.num_hidden_layers
    kept = layers * s * config.hidden_size + one if checkpointing(trainer) else layers * one
    logits = 0 if trainer.get("use_liger_kernel") else 3 * c * config.vocab_size * length
    cache = 0 if trainer.get("use_vllm") else 2 * layers * _heads(config)[1] * c * (prompt + length)
    return Memory(
        size,
        trained,
        weights=weights / (processes if stage >= 3 else 1),
        gradients=gradients / (processes if stage >= 2 else 1),
        optimizer=optimizer / (processes if stage >= 1 else 1),
        activations=tokens * kept,
        logits=trainer["per_device_train_batch_size"] * logits,
        kv_cache=rollouts / processes * cache,
    )


def block(config: Any, s: int, c: int) -> int:
    """Bytes that one decoder block (Llama, Qwen2; fused attention) keeps of each token for its backward pass.

    Two RMS norms keep their input in float32 and their result: 2 (4 + s) h, and 8 for the two roots. The linear maps
    keep their input: q, k, v together and gate, up together c h each, or under autocast (s > c) each a copy, 5 c h.
    Attention keeps q, k, v and its result, c (2 q + 2 k), with q and k the widths of all query and key heads, and
    4 bytes a head. The gated MLP keeps gate, its activation, up and the product: 4 c i.
    """
    h, (q, k) = config.hidden_size, _heads(config)
    inputs = 5 * c * h if s > c else 2 * c * h
    attention = c * (2 * q + 2 * k) + 4 * config.num_attention_heads
    return int(2 * (4 + s) * h + 8 + inputs + attention + 4 * c * config.intermediate_size)


def _heads(config: Any) -> tuple[int, int]:
    """Widths of all query heads and of all key heads."""
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    keys = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return config.num_attention_heads * width, keys * width


def checkpointing(trainer: Mapping[str, Any]) -> bool:
    """Are activations made again in the backward pass? TRL's default is yes, and each of two fields can say no."""
    return bool(trainer.get("activation_checkpointing", trainer.get("gradient_checkpointing", True)))


def zero_stage(trainer: Mapping[str, Any]) -> int:
    """ZeRO's stage: DeepSpeed's own, 3 for FSDP (2 where it keeps the gathered weights), else 0."""
    if trainer.get("fsdp"):
        from advshape.training.recipe.scale import read_config

        options = read_config("fsdp_config", trainer.get("fsdp_config") or {})
        return 3 if options.get("reshard_after_forward", True) else 2
    if trainer.get("deepspeed"):
        from advshape.training.recipe.scale import read_config

        return int(read_config("deepspeed", trainer["deepspeed"]).get("zero_optimization", {}).get("stage", 0))
    return 0


def count_parameters(config: Any, lora: Any = None) -> tuple[int, int]:
    """(all, trained) parameters of the model of a configuration, counted on a model without memory.

    Args:
        config: the model's configuration (transformers).
        lora: a ``peft.LoraConfig``, or None where all weights are trained.
    """
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
        if lora is not None:
            from peft import get_peft_model

            model = get_peft_model(model, lora)
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, _ in sizes), sum(n for n, wanted in sizes if wanted)


def _moments(trainer: Mapping[str, Any]) -> float:
    return MOMENTS.get(str(trainer.get("optim", "adamw_torch")), 2.0)


def _gb(count: float) -> str:
    return f"{count / GB:.3g}"
