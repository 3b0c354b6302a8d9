"""What a step of a plan takes: the memory of a process and the tokens of all, from the model's configuration alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advshape.tasks import Problem
from advshape.training.recipe.memory import count_parameters, estimate
from advshape.training.recipe.model import ModelSource, lora_config

if TYPE_CHECKING:
    from advshape.training.recipe.plan import Plan

SEEN_PROBLEMS = 1000  # of the training problems, for the longest prompt


def budget(plan: Plan) -> list[str]:
    """Lines on memory and tokens; where the model's configuration cannot be read or is of another kind, why not."""
    try:
        config, tokenizer = read_model(plan.model)
        longest, how = longest_prompt(plan.task.problems("train", min(plan.train_problems, SEEN_PROBLEMS)), tokenizer)
        rollouts = plan.prompts_per_batch * plan.config["num_generations"]
        counts = count_parameters(config, lora_config(plan.recipe.model.get("lora")))
        memory = estimate(
            config, counts, plan.config, dtype=plan.recipe.model.get("dtype", "float32"), processes=plan.processes,
            rollouts=rollouts, prompt=longest,
        )  # fmt: skip
    except (AttributeError, OSError, ValueError) as error:
        return [f"memory     not computed: {type(error).__name__}: {str(error).splitlines()[0][:200]}"]
    length = plan.config.get("max_completion_length", 256)
    trained = "" if memory.trainable == memory.parameters else f", {memory.trainable / 1e6:,.2f} M of them trained"
    share = plan.config.get("vllm_gpu_memory_utilization", 0.3)
    beside = plan.config.get("use_vllm") and plan.config.get("vllm_mode", "colocate") == "colocate"
    return [
        f"parameters {memory.parameters / 1e6:,.2f} M{trained}",
        f"memory     {memory.describe()}{f'; vLLM takes {share:.0%} of the GPU beside it' if beside else ''}",
        f"tokens     at most {rollouts * (longest + length):,} for each generation: {rollouts} rollouts x "
        f"({longest} of the prompt{how} + {length})",
    ]


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


def longest_prompt(problems: Sequence[Problem], tokenizer: Any) -> tuple[int, str]:
    """Tokens of the longest prompt, and how they were counted; without a tokenizer its bytes, which are no fewer."""
    if tokenizer is None:
        texts = (p if isinstance(p, str) else "".join(m["content"] for m in p) for p in (q.prompt for q in problems))
        return max(len(text.encode()) for text in texts), ", in bytes for want of a tokenizer"
    lengths = []
    for problem in problems:
        chat = not isinstance(problem.prompt, str) and tokenizer.chat_template
        text = problem.prompt if not chat else tokenizer.apply_chat_template(
            list(problem.prompt), tokenize=False, add_generation_prompt=True
        )  # fmt: skip
        text = text if isinstance(text, str) else "".join(message["content"] for message in text)
        lengths.append(len(tokenizer(text)["input_ids"]))
    return max(lengths), ""
