"""Where a page's numbers come from, and the commands that make them again."""

from __future__ import annotations

import platform
import re
import shlex
from importlib.metadata import version
from typing import Any

from advshape.evaluation.stats.curves import pass_bounds
from advshape.report.data.run import EvaluationData, ReportData, most_rollouts

__all__ = ["evaluation_facts", "repeat_commands", "versions_of"]

ORDER = (
    "task",
    "model",
    "problems split",
    "problems count",
    "problems seed",
    "temperature",
    "top_p",
    "max_new_tokens",
    "seed",
    "engine",
    "engine_version",
    "verifier",
    "fingerprint",
)


def evaluation_facts(item: EvaluationData) -> dict[str, Any]:
    """Header of one evaluation: settings, outcomes, and bounds where something was not judged."""
    totals = item.counts.totals()
    bounds = []
    if totals["not_judged"]:
        ks, lowest, highest = pass_bounds(item.counts)
        bounds = [f"pass@{k} [{a:.3f}, {b:.3f}]" for k, a, b in zip(ks, lowest, highest, strict=True)]
    names = [name for name in ORDER if name in item.settings]
    names += [name for name in item.settings if name not in ORDER]
    return {
        "label": item.label,
        "totals": totals,
        "prompts": item.counts.prompts,
        "n": item.curve.n,
        "unjudged": item.curve.unjudged,
        "method": f"{item.curve.confidence:.0%} intervals: {item.curve.method}",
        "settings": {name: str(item.settings[name]) for name in names if item.settings[name] not in ("", None)},
        "bounds": bounds,
        "file": item.path.name if item.path is not None else "",
    }


def versions_of(data: ReportData) -> dict[str, str]:
    """The versions that a run's summary names, else those that write the page."""
    named = data.summary.get("versions")
    return dict(named) if named else {"advshape": version("advshape"), "python": platform.python_version()}


def repeat_commands(data: ReportData) -> list[tuple[str, str]]:
    """(what to do, command) that makes a page's run or evaluations again.

    A run is repeated from its recipe as it was run. An evaluation is repeated from its settings; a task's own
    parameters are in the settings, since they have no one spelling on the command line.
    """
    if data.recipe:
        typed = str(data.summary.get("command", ""))
        again = ("Save the recipe above as recipe.toml and run", "advshape train recipe.toml --out runs/again")
        return [again, *([("It was first run as", typed)] if typed else [])]
    words = "Evaluate again; task parameters that are not the default follow as --set KEY=VALUE"
    return [(words, _evaluate_command(item)) for item in data.evaluations if item.settings.get("model")]


def _evaluate_command(item: EvaluationData) -> str:
    settings = item.settings
    options = {"-n": most_rollouts(item), "--count": settings.get("problems count")}
    options |= {f"--{name.replace('_', '-')}": settings.get(name) for name in ("temperature", "top_p", "seed")}
    options["--max-new-tokens"] = settings.get("max_new_tokens")
    words = ["advshape", "evaluate", str(settings["model"]), "--task", _task_name(str(settings.get("task", "NAME")))]
    for name, value in options.items():
        words += [name, str(value)] if value is not None else []
    return shlex.join(words)


def _task_name(identity: str) -> str:
    """The name in a task's identity.

    >>> _task_name("Countdown(largest=20, name='countdown')")
    'countdown'
    """
    named = re.search(r"\bname='([^']+)'", identity)
    return named[1] if named else identity.partition("(")[0]
