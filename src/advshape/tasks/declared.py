"""Which code would `module:function` run, and is it a task? Read from the source, before anything is imported.

A recipe is a text from anywhere, and its task is code of this machine. So a name is only followed to a function that
says it makes a task: `subprocess:getoutput` does not, whatever arguments a recipe gives it.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from advshape.errors import AdvshapeError

__all__ = ["OwnCode", "find_own_code", "is_own", "require_trust"]

HOW = "a class with the methods problems and verdict, or a function annotated to return one (-> Task)"


@dataclass(frozen=True)
class OwnCode:
    """Where a task's code lies.

    Attributes:
        spec: `module:function`.
        file: the source file of the module.
        line: where the function or class begins.
    """

    spec: str
    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.spec} ({self.file}, line {self.line})"


def is_own(spec: str) -> bool:
    """Whether a task's name asks for code outside this package.

    >>> is_own("my_tasks:make"), is_own("countdown"), is_own("reasoning_gym:basic_arithmetic")
    (True, False, False)
    """
    module, colon, name = spec.partition(":")
    return bool(module and colon and name) and module != "reasoning_gym" and module.partition(".")[0] != "advshape"


def find_own_code(spec: str) -> OwnCode:
    """Find the source of `module:function` without running any of it, and check that it declares a task.

    Args:
        spec: `module:function`; modules in the working directory are found too.

    Raises:
        AdvshapeError: no such module or function (with those that are there), or one that declares no task.
    """
    module, _, name = spec.partition(":")
    file = find_source(spec, module)
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError) as error:
        raise AdvshapeError(f"task {spec!r}: {file} cannot be read as Python ({error})") from None
    found = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    tasks = {key: node for key, node in found.items() if is_task(node, found)}
    if name not in tasks:
        what = f"{name!r} in {file} does not declare a task" if name in found else f"{file} defines no {name!r}"
        has = f"; it declares {', '.join(tasks)}" if tasks else ""
        raise AdvshapeError(f"task {spec!r}: {what}{has}. A task is {HOW}; nothing was run")
    return OwnCode(spec, file, found[name].lineno)


def find_source(spec: str, module: str) -> Path:
    """The file of a module; its packages are not imported either."""
    places, spec_of = [*sys.path, os.getcwd()], None
    for end in range(1, len(parts := module.split(".")) + 1):
        name = ".".join(parts[:end])
        spec_of = PathFinder.find_spec(name, places)
        if spec_of is None:
            raise AdvshapeError(f"task {spec!r}: no module {name!r} on the path or in {os.getcwd()}")
        places = list(spec_of.submodule_search_locations or [])
    if spec_of is None or not spec_of.origin or not spec_of.origin.endswith(".py"):
        raise AdvshapeError(
            f"task {spec!r}: module {module!r} has no Python source, so it cannot declare a task: {HOW}"
        )
    return Path(spec_of.origin)


def is_task(node: ast.ClassDef | ast.FunctionDef, found: dict[str, ast.ClassDef | ast.FunctionDef]) -> bool:
    """Whether a definition says that it is, or returns, a task."""
    if isinstance(node, ast.ClassDef):
        own = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
        bases = [found[base.id] for base in node.bases if isinstance(base, ast.Name) and base.id in found]
        inherited = any(base is not node and isinstance(base, ast.ClassDef) and is_task(base, found) for base in bases)
        return {"problems", "verdict"} <= own or (
            inherited or (bool(node.bases) and bool(own & {"problems", "verdict"}))
        )
    if node.returns is not None:
        words = ast.unparse(node.returns).strip("'\"").rpartition(".")[2]
        return words == "Task" or (isinstance(found.get(words), ast.ClassDef) and is_task(found[words], found))
    made = list(returned(node))
    return bool(made) and all(
        isinstance(found.get(name), ast.ClassDef) and is_task(found[name], found) for name in made
    )


def returned(node: ast.FunctionDef) -> Iterator[str]:
    """The names of what a function without an annotation calls to make its results; "" for any other result."""
    for part in ast.walk(node):
        if isinstance(part, ast.Return):
            call = part.value
            yield call.func.id if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) else ""


def require_trust(spec: object, why: str) -> None:
    """Refuse to run the user's own code where nobody asked for it.

    Args:
        spec: the task's name as a recipe gives it; one of this package needs no trust.
        why: what was asked for instead.

    Raises:
        AdvshapeError: the task is code outside this package; the message says which.
    """
    if isinstance(spec, str) and is_own(spec):
        raise AdvshapeError(
            f"{why} would run the code of task {find_own_code(spec)}; read it, then give --trust to let it run"
        )
