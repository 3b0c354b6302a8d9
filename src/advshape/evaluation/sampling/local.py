"""Rollouts from a transformers model: batched, seeded, and without touching the global random state.

torch and transformers are imported inside the functions: this module is light until it samples.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advshape.errors import AdvshapeError
from advshape.evaluation.logs.rollout_log import Rollout
from advshape.evaluation.sampling.engine import (
    Completion,
    Identity,
    SamplingFailed,
    SamplingSettings,
    check_rollouts,
    judged,
    progress_bar,
)

if TYPE_CHECKING:
    from advshape.tasks.protocol import Problem, Task

__all__ = ["LocalModel", "SamplingSettings", "fingerprint", "load_model", "sample_rollouts"]


def sample_rollouts(
    model: Any,
    tokenizer: Any,
    task: Task,
    problems: Sequence[Problem],
    *,
    n: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_new_tokens: int = 32,
    seed: int = 0,
    batch_size: int = 1024,
    progress: bool = True,
    skip: Iterable[tuple[str, int]] = (),
    settings: SamplingSettings | None = None,
) -> Iterator[list[Rollout]]:
    """Sample n rollouts of each problem, let the task judge them, and yield them batch by batch.

    Each batch draws from its own generator, seeded by the settings and the batch's first rollout: the same
    call gives the same rollouts on the same machine, a resumed run the rollouts that the first would have
    sampled, and the caller's random state is as it was.

    Args:
        model: a `transformers.PreTrainedModel`, or its path or name.
        tokenizer: its tokenizer; None loads it from the same path.
        task: judges each completion; a verifier that raises makes the rollout "not_judged".
        problems: prompts are text, or chat messages for a tokenizer with a chat template.
        n: rollouts per problem.
        temperature, top_p, max_new_tokens: sampling; no other filter (top-k, penalties) is applied.
        seed: any integer.
        batch_size: rollouts generated at once.
        progress: a bar with the time left on standard error when it takes longer than a second.
        skip: (problem id, sample) that exist already; a batch is left out when all its rollouts do.
        settings: what to write beside each rollout; None: made from the arguments.

    Raises:
        AdvshapeError: the model does not exist, an option is out of range, or a chat template is missing.
    """
    check_rollouts(n, settings.temperature if settings else temperature)
    engine = LocalModel(model, tokenizer, batch_size)
    settings = settings or SamplingSettings(
        task=task.name,
        temperature=temperature,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        seed=seed,
        **vars(engine.identity),
    )
    yield from engine.sample(task, problems, n=n, settings=settings, skip=set(skip), progress=progress)


class LocalModel:
    """A transformers model in this process, as a sampling engine.

    Args:
        model: a `transformers.PreTrainedModel`, or its path or name.
        tokenizer: its tokenizer; None loads it from the same path.
        batch_size: rollouts generated at once; it bounds the memory.
    """

    notes: Sequence[str] = ()

    def __init__(self, model: Any, tokenizer: Any = None, batch_size: int = 1024) -> None:
        if batch_size < 1:
            raise AdvshapeError(f"batch_size must be 1 or more rollouts, got {batch_size}")
        self.model, self.tokenizer = load_model(model, tokenizer)
        self.batch_size = batch_size

    @cached_property
    def identity(self) -> Identity:
        """Name and fingerprint of the model, versions of transformers and torch."""
        return Identity(str(self.model.name_or_path), fingerprint(self.model), "transformers", engine_version())

    def sample(
        self,
        task: Task,
        problems: Sequence[Problem],
        *,
        n: int,
        settings: SamplingSettings,
        skip: Container[tuple[str, int]],
        progress: bool,
    ) -> Iterator[list[Rollout]]:
        """See `sample_rollouts`. A batch of which a part exists is generated again in full, for the same texts."""
        total = n * len(problems)
        done = sum((problem.id, sample) in skip for problem in problems for sample in range(n))
        tokens = encode_prompts(self.tokenizer, [problem.prompt for problem in problems])
        with progress_bar(total, done, progress, f"sampling at temperature {settings.temperature:g}") as on:
            for start in range(0, total, self.batch_size):
                pairs = [divmod(i, n) for i in range(start, min(start + self.batch_size, total))]
                exists = [(problems[row].id, sample) in skip for row, sample in pairs]
                if all(exists):
                    continue
                batch = [(problems[row], sample) for row, sample in pairs]
                answers = _generate(self.model, self.tokenizer, [tokens[row] for row, _ in pairs], settings, batch)
                asked = zip(batch, answers, exists, strict=True)
                fresh = judged(task, [(*pair, answer) for pair, answer, old in asked if not old], settings)
                yield fresh
                on(len(fresh))


def load_model(model: Any, tokenizer: Any = None) -> tuple[Any, Any]:
    """(model, tokenizer) from a path or name, or from a model that is already loaded.

    A path is loaded in the dtype it was saved in and moved to the GPU if there is one. Raises AdvshapeError
    when there is no such model.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    name = model if isinstance(model, str | os.PathLike) else model.name_or_path
    if isinstance(model, str | os.PathLike):
        if _looks_local(os.fspath(name)) and not Path(name).is_dir():
            raise AdvshapeError(f"there is no model folder {name}; give a folder with config.json or a model name")
        with _quiet_loading():
            try:
                model = AutoModelForCausalLM.from_pretrained(name, dtype="auto")
            except (OSError, ValueError) as error:
                raise AdvshapeError(f"cannot load the model {name}: {str(error).splitlines()[0]}") from error
        model.to("cuda" if torch.cuda.is_available() else "cpu")
    if tokenizer is None:
        try:
            tokenizer = AutoTokenizer.from_pretrained(name)
        except (OSError, ValueError) as error:
            raise AdvshapeError(
                f"cannot load a tokenizer from {str(name)!r} ({str(error).splitlines()[0]}); pass tokenizer="
            ) from error
    return model, tokenizer


def fingerprint(model: Any) -> str:
    """12 hex digits of the weights: names, shapes and up to 4,096 evenly spaced entries of each parameter.

    It costs milliseconds also for large models and tells a trained model from its base.
    """
    import torch

    digest = hashlib.sha256()
    for name, parameter in sorted(model.state_dict().items()):
        flat = parameter.detach().reshape(-1)
        some = flat[:: max(1, flat.numel() // 4096)].to("cpu", torch.float32).contiguous()
        digest.update(f"{name}{tuple(parameter.shape)}".encode() + some.numpy().tobytes())
    return digest.hexdigest()[:12]


def engine_version() -> str:
    """The versions of transformers and torch, for the settings."""
    from importlib.metadata import version

    return f"{version('transformers')}, torch {version('torch')}"


def encode_prompts(tokenizer: Any, prompts: Sequence[str | list[dict[str, str]]]) -> list[list[int]]:
    """Token ids of each prompt, as TRL encodes them: text with the tokenizer's default special tokens, chat
    messages through the chat template with the opening of the answer."""
    encoded: list[list[int]] = []
    for prompt in prompts:
        if isinstance(prompt, str):
            ids = tokenizer(prompt)["input_ids"]
        elif getattr(tokenizer, "chat_template", None) is None:
            raise AdvshapeError("the prompts are chat messages but the tokenizer has no chat template; use text")
        else:
            ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"]
        if not ids:
            raise AdvshapeError(f"the prompt {prompt!r} has no tokens")
        encoded.append(list(ids))
    return encoded


def _generate(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Sequence[int]],
    settings: SamplingSettings,
    batch: Sequence[tuple[Problem, int]],
) -> list[Completion]:
    """The completion of each row, from this batch's own generator."""
    import torch

    ends = _end_tokens(model, tokenizer)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
    width = max(map(len, rows))
    ids = torch.tensor([[pad] * (width - len(row)) + list(row) for row in rows], device=model.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=model.device)
    first = f"{settings.hash} {batch[0][0].id} {batch[0][1]}"
    seed = int.from_bytes(hashlib.sha256(first.encode()).digest()[:8], "big") >> 1
    devices = [model.device.index or 0] if model.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices), _evaluating(model), torch.inference_mode():
            torch.manual_seed(seed)
            config = _generation_config(settings, ends, pad)
            out = model.generate(ids, attention_mask=mask, generation_config=config)[:, width:].cpu()
    except torch.OutOfMemoryError as error:
        raise SamplingFailed(
            f"{len(rows)} rollouts of up to {width + settings.max_new_tokens} tokens at once do not fit into the"
            f" device's memory; use a batch size below {len(rows)}"
        ) from error
    ended = torch.isin(out, torch.tensor(ends))
    length = torch.where(ended.any(dim=1), ended.int().argmax(dim=1) + 1, out.shape[1]).tolist()
    kept = [row[:count].tolist() for row, count in zip(out, length, strict=True)]
    texts = tokenizer.batch_decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return [Completion(*answer) for answer in zip(texts, length, ended.any(dim=1).tolist(), strict=True)]


def _generation_config(settings: SamplingSettings, ends: list[int], pad: int) -> Any:
    """Plain sampling from the model, or greedy decoding at temperature 0; no top-k, no penalties."""
    from transformers import GenerationConfig

    greedy = settings.temperature == 0
    drawn = {} if greedy else {"temperature": settings.temperature, "top_p": settings.top_p, "top_k": 0}
    return GenerationConfig(
        do_sample=not greedy,
        **drawn,
        use_cache=True,
        max_new_tokens=settings.max_new_tokens,
        eos_token_id=ends,
        pad_token_id=pad,
    )


def _end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """The end tokens of the model's generation config and of the tokenizer; any of them ends a completion."""
    configured = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    several = configured if isinstance(configured, list) else [configured]
    ends = sorted({token for token in [*several, tokenizer.eos_token_id] if token is not None})
    if not ends:
        raise AdvshapeError("neither the tokenizer nor the generation config has an end token; set one")
    return ends


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Without dropout and without the model's own generation defaults (top-k, penalties); undone afterwards."""
    from transformers import GenerationConfig

    training, defaults = model.training, model.generation_config
    model.eval()
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = defaults
        model.train(training)


@contextmanager
def _quiet_loading() -> Iterator[None]:
    """Without transformers' bar for each weight, which small models do not need."""
    from transformers.utils import logging

    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()


def _looks_local(name: str) -> bool:
    """Whether the name can only be a folder: absolute, starting with a dot or ~, or with several separators."""
    return name.startswith(("/", ".", "~")) or name.count("/") > 1 or Path(name).exists()
