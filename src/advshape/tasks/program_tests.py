"""The tests of a programming problem: from a row of a file to what the sandbox runs."""

from __future__ import annotations

import ast
import builtins
import json
from collections.abc import Mapping, Sequence

from advshape.errors import AdvshapeError
from advshape.tasks.source import Row

__all__ = ["compiles", "needed_imports", "pairs_of", "program_names", "texts_of"]


def texts_of(row: Row, name: str) -> list[str]:
    """A row's list of texts, not empty."""
    value = row.get(name)
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(item, str) for item in value):
        raise AdvshapeError(f"the column {name!r} is a list of at least one test, got {value!r:.50}")
    return list(value)


def pairs_of(row: Row) -> list[list[str]]:
    """(input, expected output) of a program's tests."""
    tests = row.get("tests", row.get("input_output", row))
    try:
        if isinstance(tests, str):
            tests = json.loads(tests)
        if isinstance(tests, Mapping):
            tests = [{"input": a, "output": b} for a, b in zip(tests["inputs"], tests["outputs"], strict=True)]
        pairs = [[test["input"], test["output"]] for test in tests]
    except (ValueError, KeyError, TypeError) as error:
        raise AdvshapeError(
            f"the tests of a program are pairs of 'input' and 'output', or as many 'inputs' as 'outputs'; {error!r}"
        ) from error
    if not pairs or not all(isinstance(text, str) for pair in pairs for text in pair):
        raise AdvshapeError("a program needs at least one test, with its input and output as text")
    return pairs


def compiles(code: str, what: str) -> ast.Module:
    """The tree of a piece of the data set's code."""
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError) as error:
        raise AdvshapeError(f"the {what} code is no Python: {error}") from error


def program_names(tests: Sequence[str], after: str, setup: str, code: str) -> list[str]:
    """The names that the tests take from the program: what the reference defines, and what nothing else does.

    >>> program_names(["assert sum(10, 15) == 6"], "", "", "def sum(a, b): return 6")
    ['sum']
    >>> program_names(["assert f(math.pi) == len('ab')"], "", "import math", "")
    ['f']
    """
    trees = [compiles(text, "test") for text in (*tests, after)]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = [node for node in nodes if isinstance(node, ast.Name)]
    used = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    own = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    own |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    own |= {name for tree in [*trees, compiles(setup, "setup")] for node in tree.body for name in bound(node)}
    reference = {name for node in reference_tree(code).body if not is_import(node) for name in bound(node)}
    return sorted((used - own) & reference | used - own - set(dir(builtins)))


def needed_imports(tests: Sequence[str], code: str) -> list[str]:
    """The reference's import statements that the tests rely on: the tests get modules of their own.

    >>> needed_imports(["assert f(1) == math.pi"], "import math, os\\nimport re\\ndef f(x): return math.pi")
    ['import math, os']
    """
    used = {node.id for text in tests for node in ast.walk(compiles(text, "test")) if isinstance(node, ast.Name)}
    return [ast.unparse(node) for node in reference_tree(code).body if is_import(node) and used & bound(node)]


def reference_tree(code: str) -> ast.Module:
    """The reference program's tree, empty where it is no Python 3."""
    try:
        return compiles(code, "reference")
    except AdvshapeError:
        return ast.Module([], [])


def is_import(node: ast.stmt) -> bool:
    """Whether a statement imports."""
    return isinstance(node, (ast.Import, ast.ImportFrom))


def bound(node: ast.stmt) -> set[str]:
    """Names that a statement at the top of some code binds."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {node.name}
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    if isinstance(node, ast.Assign):
        return {target.id for target in node.targets if isinstance(target, ast.Name)}
    return set()
