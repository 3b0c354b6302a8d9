"""The model card: what was maximised, by which advantages, how it was trained, what it gained, how to make it again."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

from advshape.catalogue import ENTRIES
from advshape.objectives.surrogate import spell
from advshape.report.pages.render import CITATION
from advshape.training.monitor.warning_signs import WarningSign
from advshape.training.outcome import change_sentence
from advshape.training.recipe.objective import schedule_lines
from advshape.training.recipe.plan import Plan

__all__ = ["model_card"]


def model_card(plan: Plan, summary: Mapping[str, Any]) -> str:
    """``README.md`` of a trained model, in the Hugging Face format.

    Args:
        plan: the checked recipe.
        summary: the run's ``summary.json`` as far as it is; evaluations that it does not hold are told as missing.

    Returns:
        YAML front matter (``huggingface_hub.ModelCardData``; ``model-index`` holds pass@k after training) and Markdown.
    """
    steps = summary.get("training", {}).get("steps", plan.config.get("max_steps"))
    n = plan.config["num_generations"]
    sections = [
        f"# {plan.recipe.name}",
        f"{plan.model.name}, trained on the task `{plan.task.name}` for {steps} steps, {plan.prompts_per_batch} "
        f"prompts x {n} rollouts for each generation. It was trained for this task alone.",
        "## Objective",
        *_objective(plan, n),
        "## Results",
        *_results(summary),
        "## Warnings",
        _warnings(plan, summary),
        "## Recipe",
        f"`advshape train recipe.toml` with this file trains it again.\n\n````toml\n{plan.recipe.to_toml()}````",
        "## Versions",
        ", ".join(f"{package} {version}" for package, version in summary.get("versions", {}).items()) or "not recorded",
        "## Cite",
        "Trained by advshape through TRL's GRPOTrainer. The objective's theory:",
        f"```bibtex\n{CITATION}\n```",
    ]
    return f"---\n{_metadata(plan, summary)}\n---\n" + "\n\n".join(sections) + "\n"


def _objective(plan: Plan, n: int) -> list[str]:
    rule = plan.estimator
    if rule is None:
        how = plan.config.get("scale_rewards", "group")
        return [f"TRL's own GRPO advantages (stock trainer, `scale_rewards = {how!r}`), n = {n}."]
    plain = rule.unscaled[0] if rule.unscaled else rule
    entry = ENTRIES.get(plain.name.partition("(")[0])
    table = f"advshape reverse '{plain.name}' -n {n}"
    if entry is None and not plain.parts:  # given as a surrogate
        table = f"advshape derive '{rule.surrogate!r}' -n {n}"
    lines = [f"Maximised in the mean over n = {n} rollouts: what `{table}` prints; the estimator names no surrogate."]
    if rule.surrogate is not None:
        spelled = spell(rule.surrogate)  # a typed formula is its own name
        aim = spelled if "F = " in spelled else f"F = {spelled}"
        lines = [
            f"The mean over prompts of F(rho), rho the success probability of one rollout: `{aim}`. "
            f"The advantages are {rule.kind}{' against it' if rule.kind == 'biased' else ''}."
        ]
    said = (inspect.getdoc(entry) or "").partition("\n")[0] if entry else ""
    lines.append(f"Advantages: `{rule.name}` with n = {n} rollouts per prompt. {said}".rstrip())
    lines.append(f"Source: {rule.reference or 'its formula'}. Its table: `{table}`.")
    if plan.schedule is not None and not plan.schedule.constant:
        told = "\n".join(f"- {line}" for line in schedule_lines(plan.schedule))
        lines = [f"It changes during the run:\n\n{told}", "Its first objective:", *lines]
    return lines


def _results(summary: Mapping[str, Any]) -> list[str]:
    found = [(when, summary[when]) for when in ("before", "after") if when in summary]
    if not found:
        return ["Not evaluated."]
    ks = found[0][1]["curve"]["ks"]
    rows = ["| | " + " | ".join(f"pass@{k}" for k in ks) + " |", "|---|" + "---|" * len(ks)]
    for when, result in found:
        curve = result["curve"]
        cells = zip(curve["values"], curve["low"], curve["high"], strict=True)
        rows.append(f"| {when} | " + " | ".join(f"{v:.3f} [{low:.3f}, {high:.3f}]" for v, low, high in cells) + " |")
    last = found[-1][1]
    lines = [
        "\n".join(rows),
        f"{last['prompts']} held-out problems x {last['n']} rollouts; "
        f"{last['curve']['confidence']:.0%} intervals over problems.",
    ]
    if len(found) == 1:
        lines.append(f"There is no evaluation {'after' if found[0][0] == 'before' else 'before'} training.")
    if "change" in summary:
        lines.append(change_sentence(summary["change"]))
    return lines


def _warnings(plan: Plan, summary: Mapping[str, Any]) -> str:
    said = [*plan.warnings, *(str(WarningSign(**sign)) for sign in summary.get("warning_signs", []))]
    return "\n".join(f"- {line}" for line in said) if said else "None."


def _metadata(plan: Plan, summary: Mapping[str, Any]) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    task = re.sub(r"[^A-Za-z0-9._/:-]", "-", plan.task.name)
    curve = summary.get("after", {}).get("curve", {"ks": [], "values": []})
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=task,
            dataset_name=plan.task.name,
            metric_type=f"pass@{k}",
            metric_value=round(value, 6),
        )
        for k, value in zip(curve["ks"], curve["values"], strict=True)
    ]
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["advshape", "trl", "grpo", "reinforcement-learning"],
        base_model=plan.model.location if plan.model.kind == "hub" else None,
        model_name=plan.recipe.name if results else None,
        eval_results=results or None,
    )
    return data.to_yaml().strip()
