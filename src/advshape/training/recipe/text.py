"""The plan for a person: objective, batch, memory and tokens, from the model's configuration alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from advshape.adapters.trl.options import skipping_is_off
from advshape.evaluation.sampling.models import read_model
from advshape.tasks import Problem
from advshape.training.recipe.memory import count_parameters, estimate
from advshape.training.recipe.model import lora_config
from advshape.training.recipe.objective import schedule_lines

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
            config,
            counts,
            plan.config,
            dtype=plan.recipe.model.get("dtype", "float32"),
            processes=plan.processes,
            rollouts=rollouts,
            prompt=longest,
        )
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


def longest_prompt(problems: Sequence[Problem], tokenizer: Any) -> tuple[int, str]:
    """Tokens of the longest prompt, and how they were counted; without a tokenizer its bytes, which are no fewer."""
    if tokenizer is None:
        texts = (p if isinstance(p, str) else "".join(m["content"] for m in p) for p in (q.prompt for q in problems))
        return max(len(text.encode()) for text in texts), ", in bytes for want of a tokenizer"
    lengths = []
    for problem in problems:
        chat = not isinstance(problem.prompt, str) and tokenizer.chat_template
        text = (
            problem.prompt
            if not chat
            else tokenizer.apply_chat_template(list(problem.prompt), tokenize=False, add_generation_prompt=True)
        )
        text = text if isinstance(text, str) else "".join(message["content"] for message in text)
        lengths.append(len(tokenizer(text)["input_ids"]))
    return max(lengths), ""


def describe_plan(plan: Plan) -> str:
    """The plan for a person: what ``--dry-run`` prints below the resolved recipe."""
    n = plan.config["num_generations"]
    objective = ["TRL's own GRPO advantages (stock trainer)"]
    if plan.schedule is not None:
        constant = [f"{rule.name}: {rule.verdict}"] if (rule := plan.estimator) else []
        objective = constant if plan.schedule.constant else list(schedule_lines(plan.schedule))
    lines = [
        f"model      {plan.model.name} ({plan.model.location})",
        f"task       {plan.task.name}, {plan.train_problems} training problems",
        "objective  " + "\n           ".join(objective),
        *plan.visits.lines(plan.prompts_per_batch),
        f"batch      {plan.prompts_per_batch} prompts x {n} rollouts for each generation",
        f"steps      {_steps(plan.config)}",
        f"skipped    {_skipped(plan)}",
    ]
    if plan.rewards:
        lines.insert(3, f"rewards    {', '.join(f'{key} = {value!r}' for key, value in plan.rewards.items())}")
    lines += budget(plan)
    lines += [f"note       {note}" for note in plan.notes]
    lines += [f"warning    {text}" for text in plan.warnings]
    return "\n".join(lines)


def _steps(config: Mapping[str, Any]) -> str:
    if config.get("max_steps", -1) > 0:
        return str(config["max_steps"])
    return f"{config.get('num_train_epochs', 3)} epochs"


def _skipped(plan: Plan) -> str:
    if not plan.skips:
        return "nothing (skip_zero_advantages = false)"
    off = skipping_is_off(SimpleNamespace(**plan.config))
    return f"nothing: {off}" if off else "rollouts with advantage 0 take part in no forward or backward pass"
