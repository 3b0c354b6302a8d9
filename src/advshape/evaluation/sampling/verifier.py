"""Which task and which verifier made a verdict: names, parameters, versions."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from advshape.tasks.protocol import Task

__all__ = ["package_versions", "task_identity", "verifier_sources", "verifier_version"]

LONGEST = 300
"""Characters of parameters that a log spells out; longer ones stand there as a digest."""
DOTTED = re.compile(r"\b[^\W\d]\w*(?:\.[^\W\d]\w*)+")


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
    """Which rule of verdicts is this: the verifier's class, the rule's name, the version of a package that it calls.

    The tasks of this package name their rule (`VERIFIER`): a new name where a verdict can change, and tests hold old
    names to the verdicts that they gave. A task of one's own may do so too. One that does not gets 8 hex digits of
    its code: of its module and all modules of the same package that this one needs, imported or named in a text.
    Comments, docstrings and layout decide no verdict and do not count. Another rule is another setting: its verdicts
    never mix with those of the old one.

    >>> from advshape.tasks import load_task
    >>> verifier_version(load_task("countdown"))
    'advshape.tasks.countdown.Countdown 78dd0349'
    """
    kind = type(task)
    rule = vars(kind).get("VERIFIER")  # the class's own: a subclass judges as it likes
    if rule is None:
        found = verifier_sources(kind.__module__)
        rule = _digest("".join(f"{name}\n{_code(text)}" for name, text in sorted(found.items()))) if found else ""
    others = [f"{name} {number}" for name, number in package_versions(task).items() if name != "advshape"]
    return " ".join(part for part in (f"{kind.__module__}.{kind.__qualname__}", str(rule), *others) if part)


def _code(source: str) -> str:
    """A source without what decides nothing; as it is where it cannot be parsed."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return source
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:]
    return ast.dump(tree)


def verifier_sources(module: str) -> dict[str, str]:
    """{module: source} of a module and of those that it needs from its own top-level package or, outside of any
    package, from its own folder. Without a source file: empty.

    >>> list(verifier_sources("advshape.errors"))
    ['advshape.errors']
    """
    file = getattr(sys.modules.get(module), "__file__", None)
    if not file or not file.endswith(".py"):
        return {}
    depth = module.count(".") + (Path(file).name == "__init__.py")
    root = Path(file).parents[depth]
    inside = module.partition(".")[0] + "." if depth else ""
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = root.joinpath(*name.split(".")).with_suffix(".py")
        if name in found or not name.startswith(inside) or not path.is_file():
            continue
        found[name] = path.read_text(encoding="utf-8", errors="replace")
        waiting += _named_modules(name, found[name])
    return found


def _named_modules(module: str, source: str) -> Iterator[str]:
    """Modules that a source imports, or names with their dots in a text."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError):
        return
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")[: -node.level] if node.level else []
            package = ".".join([*parents, *([node.module] if node.module else [])])
            yield package
            yield from (f"{package}.{alias.name}".lstrip(".") for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from DOTTED.findall(node.value)


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
