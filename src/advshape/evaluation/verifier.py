"""Which task and which verifier made a verdict: names, parameters, versions."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from advshape.tasks.protocol import Task

__all__ = ["package_versions", "task_identity", "verifier_version"]

LONGEST = 300
"""Characters of parameters that a log spells out; longer ones stand there as a digest."""


def task_identity(task: Task) -> str:
    """Name and parameters of a task: its repr where that is a value (dataclasses), else its public attributes.

    >>> from advshape.tasks import load_task
    >>> task_identity(load_task("countdown")).partition(",")[0]
    'Countdown(four=0.6'
    """
    if dataclasses.is_dataclass(type(task)):
        return repr(task)
    public = {name: value for name, value in getattr(task, "__dict__", {}).items() if not name.startswith("_")}
    public.pop("name", None)
    if not public:
        return task.name
    text = json.dumps(public, sort_keys=True, default=lambda value: type(value).__qualname__)
    return f"{task.name} {text if len(text) <= LONGEST else _digest(text)}"


def verifier_version(task: Task) -> str:
    """Class of the verifier, 8 hex digits of its module's source, and the version of a package that it calls.

    A changed verifier so gets other settings: its verdicts never mix with those of the old one.
    """
    kind = type(task)
    module = inspect.getmodule(kind)
    try:
        source = inspect.getsource(module) if module is not None else ""
    except OSError:
        source = ""
    others = [f"{name} {number}" for name, number in package_versions(task).items() if name != "advshape"]
    parts = [f"{kind.__module__}.{kind.__qualname__}", _digest(source) if source else "", *others]
    return " ".join(part for part in parts if part)


def package_versions(task: Task) -> dict[str, str]:
    """Versions of advshape and of the packages that a task comes from: its class's, and NAME's in `NAME:dataset`.

    >>> from advshape.tasks import load_task
    >>> list(package_versions(load_task("countdown")))
    ['advshape']
    """
    package, colon, _ = task.name.partition(":")
    names = ["advshape", type(task).__module__.partition(".")[0], *([package] if colon else [])]
    found = {}
    for name in dict.fromkeys(names):
        try:
            found[name] = version(name)
        except (PackageNotFoundError, ValueError):  # the user's own module, or no package's name
            continue
    return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
