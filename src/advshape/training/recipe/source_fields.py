"""The fields of a dataclass, read from its source: TRL takes seconds to import, a mistyped key should not.

Base classes are followed through the modules that they are imported from. ``test_training_plan.py`` compares the
fields and defaults with those of the classes themselves.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import util
from pathlib import Path
from types import MappingProxyType
from typing import Any

from advshape.errors import AdvshapeError

ABSENT = object()  # the default of a field that has none, or one that is no literal
KINDS: Mapping[str, tuple[Any, str]] = {
    "bool": (bool, "true or false"),
    "float": ((int, float), "a number"),
    "int": (int, "a whole number"),
}


@dataclass(frozen=True)
class SourceField:
    """A field's annotation as written, and its default where that is a literal."""

    annotation: str
    default: Any = ABSENT

    def check(self, key: str, value: Any) -> None:
        """Raise unless the value is of a kind that the annotation names, where it names numbers and truth values alone.

        Texts are left to the class: where one is asked for, other things are often taken too.

        >>> SourceField("float | None").check("[trainer] min_p", "high")
        Traceback (most recent call last):
        advshape.errors.AdvshapeError: [trainer] min_p must be a number, got 'high'
        """
        names = set(re.split(r"\s*\|\s*", self.annotation)) - {"None"}
        if not names or not names <= set(KINDS):
            return
        fits = any(isinstance(value, KINDS[name][0]) for name in names)
        if not fits or (isinstance(value, bool) and "bool" not in names):
            wanted = " or ".join(words for name, (_, words) in KINDS.items() if name in names)
            raise AdvshapeError(f"{key} must be {wanted}, got {value!r}")


@cache
def source_fields(module: str, name: str) -> Mapping[str, SourceField]:
    """The fields of a dataclass with those of its bases, without importing it.

    Args:
        module: where it is written or imported, such as "trl.trainer.grpo_config".
        name: the class's.

    Raises ``AdvshapeError`` when the package is not installed, ``LookupError`` when the class is not found there.

    >>> source_fields("trl.trainer.grpo_config", "GRPOConfig")["num_generations"]
    SourceField(annotation='int | None', default=8)
    """
    file = _file(module)
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
    if found is None:
        return source_fields(*_imported(tree, module if file.stem == "__init__" else module.rpartition(".")[0], name))
    fields: dict[str, SourceField] = {}
    for base in found.bases:
        fields |= source_fields(module, ast.unparse(base))
    if any("dataclass" in ast.unparse(decorator) for decorator in found.decorator_list):
        fields |= {
            line.target.id: _field(line)
            for line in found.body
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and not _outside(line)
        }
    return MappingProxyType(fields)


def _file(module: str) -> Path:
    package, *rest = module.split(".")
    spec = util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise AdvshapeError(f'{package} is not installed; run: pip install "advshape[trl]"')
    place = Path(spec.submodule_search_locations[0], *rest)
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def _imported(tree: ast.Module, package: str, name: str) -> tuple[str, str]:
    """(module, name) of what a module imports under a name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
                    return ".".join([*above, *filter(None, [node.module])]), alias.name
    raise LookupError(f"{package} neither writes nor imports {name}")


def _field(line: ast.AnnAssign) -> SourceField:
    given = line.value
    if isinstance(given, ast.Call):
        given = next((word.value for word in given.keywords if word.arg == "default"), None)
    try:
        return SourceField(ast.unparse(line.annotation), ast.literal_eval(given) if given is not None else ABSENT)
    except ValueError:
        return SourceField(ast.unparse(line.annotation))


def _outside(line: ast.AnnAssign) -> bool:
    """Whether the constructor does not take it: a class variable, or a field with init=False."""
    off = isinstance(line.value, ast.Call) and any(
        word.arg == "init" and ast.unparse(word.value) == "False" for word in line.value.keywords
    )
    return off or "ClassVar" in ast.unparse(line.annotation)
