"""What is wrong with a recipe of `advshape train`, and what in it changes the objective: its dry run's own checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from advshape.doctor.finding import Finding
from advshape.errors import AdvshapeError

__all__ = ["recipe"]


def recipe(spec: str, overrides: Sequence[str], trust: bool = False) -> Iterator[Finding]:
    """Findings of a recipe: all that is wrong, where a dry run stops at the first.

    Raises AdvshapeError where the recipe cannot be read, or where its task is the user's own code and is not trusted.
    """
    from advshape.tasks.declared import require_trust
    from advshape.training.recipe.load import load_recipe, with_defaults
    from advshape.training.recipe.plan import make_plan

    found = with_defaults(load_recipe(spec, overrides))
    if not trust:
        require_trust(found.task.get("name"), "doctor")
    wrong = list(dict.fromkeys(text for check in _parts(found) if (text := _refusal(check))))
    try:
        plan = None if wrong else make_plan(found)
    except AdvshapeError as error:
        plan, wrong = None, [str(error)]
    if plan is not None:
        constant = plan.estimator is not None and plan.schedule is not None and plan.schedule.constant
        against = f": {plan.estimator.verdict}" if constant and plan.estimator else ""
        yield Finding("ok", "objective", f"{plan.objective}{against}")
        yield from (Finding("ok", "note", line) for line in plan.notes)
        yield from (Finding("problem", "changes the objective", line) for line in plan.warnings)
        wrong = [text] if (text := _refusal(plan.check_here)) else []
    yield from (Finding("problem", "recipe", line) for line in wrong)


def _parts(found: Any) -> Iterator[Callable[[], object]]:
    """The checks of a plan that need nothing of each other."""
    from advshape.evaluation.sampling.models import find_model
    from advshape.training.recipe import plan
    from advshape.training.recipe.model import lora_config
    from advshape.training.recipe.objective import check_group, check_rewards, read_visits, resolve_objective

    yield lambda: read_visits(found.objective, found.sampling, resolve_objective(found.objective))
    n = found.trainer.get("num_generations")
    if not _refusal(lambda: resolve_objective(found.objective)) and isinstance(n, int):
        schedule = resolve_objective(found.objective)
        for _, rule in schedule.estimators() if schedule is not None else ():
            yield lambda rule=rule: check_group(rule, n)  # type: ignore[misc]
            yield lambda rule=rule: check_rewards(found.objective, rule, n)  # type: ignore[misc]
    yield lambda: plan.check_evaluation(found.evaluation)
    yield lambda: find_model(found.model["path"])
    yield lambda: plan.make_task(found.task)
    yield lambda: plan.check_batches(plan.check_trainer(found.trainer))
    yield lambda: lora_config(found.model.get("lora"))


def _refusal(check: Callable[[], object]) -> str:
    try:
        check()
    except AdvshapeError as error:
        return str(error)
    return ""
