"""Where a recipe's model comes from: the package, a directory, a GGUF file, or the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from advshape.errors import AdvshapeError, nearest
from advshape.evaluation.sampling.models import DTYPES
from advshape.training.recipe.keys import check_keys
from advshape.training.recipe.source_fields import source_fields


def check_model(table: Mapping[str, Any]) -> None:
    """The keys and kinds of ``[model]`` and ``[model.lora]``, before anything is imported."""
    dtype = table.get("dtype", "float32")
    if dtype not in DTYPES:
        raise AdvshapeError(
            f"[model] dtype = {dtype!r}{nearest(str(dtype), DTYPES)}; allowed: {', '.join(map(repr, DTYPES))}"
        )
    options = table.get("lora") or {}
    if not isinstance(options, Mapping):
        raise AdvshapeError(f"[model.lora] must be a table such as {{r = 16, lora_alpha = 32}}, got {options!r}")
    if options:
        fields = source_fields("peft.tuners.lora.config", "LoraConfig")
        check_keys("model.lora", options, list(fields))
        for key, value in options.items():
            fields[key].check(f"[model.lora] {key}", value)


def lora_config(options: Mapping[str, Any] | None) -> Any:
    """``[model.lora]`` (see ``check_model``) as a ``peft.LoraConfig``, or None."""
    if not options:
        return None
    from peft import LoraConfig

    try:
        return LoraConfig(**{"task_type": "CAUSAL_LM", **options})
    except (TypeError, ValueError) as error:
        raise AdvshapeError(f"[model.lora] PEFT refuses this configuration: {error}") from None
