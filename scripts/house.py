"""What does the house look like? Rooms and their order from ARCHITECTURE.md, doors and arrows from the code itself.

A room is a file or a folder directly inside src/advshape. The tests of the house and the picture of it read it here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import advshape

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "advshape"
PLAN = ROOT / "ARCHITECTURE.md"
FACES = {"__init__", "__main__"}  # no rooms: the names of the package and `python -m advshape`
MODULES = {
    ".".join(("advshape", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
OWNERS = {name: f"advshape.{place}" for place, names in advshape._NAMES.items() for name in names}

_FLOOR = re.compile(r"^## (?P<floor>.+)$")
_ROOM = re.compile(r"^\*\*\[(?P<shown>[\w.]+)/?\]\((?P<path>[\w./]+)\)\*\* ")
_START = re.compile(r"Start at \[`(?P<shown>[\w./]+)`\]\((?P<path>[\w./]+)\)")
_USED = re.compile(r"(?<=Imported by )[^.]+(?=\.$)")


@dataclass(frozen=True)
class Room:
    """A room as ARCHITECTURE.md has it: its name, the floor it is on, its folder or file, the file to start with."""

    name: str
    floor: str
    path: str
    start: str


def room_of(module: str) -> str:
    """The room of a module of this package.

    >>> room_of("advshape.tables.table"), room_of("advshape")
    ('tables', '__init__')
    """
    return module.split(".")[1] if "." in module else "__init__"


def rooms() -> set[str]:
    """The rooms that the tree has."""
    return {room_of(module) for module in MODULES} - FACES


def plan(text: str | None = None) -> list[Room]:
    """The rooms of ARCHITECTURE.md in their order: each may import the rooms before it."""
    found: list[Room] = []
    floor = ""
    for line in (PLAN.read_text(encoding="utf-8") if text is None else text).splitlines():
        if title := _FLOOR.match(line):
            floor = title["floor"]
        elif room := _ROOM.match(line):
            start = _START.search(line)
            path = room["path"].rstrip("/")
            found.append(Room(Path(path).stem, floor, path, start["path"] if start else path))
    return found


def imported(source: str, module: str = "advshape") -> Iterator[str]:
    """Modules of this package that a source imports anywhere; a name of the package's face counts as its owner.

    source: Python; module: its dotted name, for relative imports (a package's own modules stand one level down).
    """
    tree = ast.parse(source)
    faces = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            faces |= {alias.asname or "advshape" for alias in node.names if alias.name == "advshape"}
            faces |= {"advshape" for alias in node.names if alias.name.startswith("advshape.") and not alias.asname}
            yield from (alias.name for alias in node.names if alias.name.startswith("advshape."))
        if isinstance(node, ast.ImportFrom):
            yield from _from(node, module)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module":
            yield from (word for word in map(_constant, node.args[:1]) if word.startswith("advshape."))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in faces:
            name = f"advshape.{node.attr}"
            yield from [name] if name in MODULES else [OWNERS[node.attr]] if node.attr in OWNERS else []


def _from(node: ast.ImportFrom, module: str) -> Iterator[str]:
    place = node.module or ""
    if node.level:
        package = module if MODULES.get(module, Path()).name == "__init__.py" else module.rpartition(".")[0]
        above = package.split(".")[: len(package.split(".")) - node.level + 1]
        place = ".".join([*above, *filter(None, [node.module])])
    if place.split(".")[0] == "advshape":
        for alias in node.names:
            inside = f"{place}.{alias.name}"
            owner = OWNERS.get(alias.name, place) if place == "advshape" else place
            yield inside if inside in MODULES else owner


def _constant(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def edges() -> dict[str, set[str]]:
    """Which module imports which, the package's face and command left out."""
    return {
        module: set(imported(path.read_text(encoding="utf-8"), module)) - {module}
        for module, path in MODULES.items()
        if room_of(module) not in FACES
    }


def arrows() -> dict[str, set[str]]:
    """Which room imports which others."""
    found: dict[str, set[str]] = {room: set() for room in rooms()}
    for module, others in edges().items():
        found[room_of(module)] |= {room_of(other) for other in others} - FACES - {room_of(module)}
    return found


def reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    """Everything that can be reached from a node along one arrow or more."""
    seen: set[str] = set()
    todo = list(graph.get(start, ()))
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo.extend(graph.get(node, ()))
    return seen


def question(room: str) -> str:
    """What a room answers: the first sentence of its docstring."""
    module = MODULES[f"advshape.{room}"]
    first = (ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or "").partition("\n")[0]
    return first[: first.index("?") + 1] if "?" in first else first


def _importers(name: str, order: list[str], graph: Mapping[str, set[str]]) -> str:
    """Who imports a room, in few words.

    >>> order = ["a", "b", "c", "d", "e", "f", "g"]
    >>> graph = {"a": set(), "b": set(), **{name: {"a", "b"} for name in "cde"}, "f": {"a", "f"}, "g": {"a"}}
    >>> [_importers(name, order, graph) for name in "abg"]
    ['every room below but b', 'every room below but f and g', 'no room']
    """
    below = order[order.index(name) + 1 :]
    without = [other for other in below if name not in graph[other]]
    if len(below) > 4 and len(without) < 3:
        return " but ".join(["every room below", *filter(None, [" and ".join(without)])])
    return ", ".join(other for other in below if other not in without) or "no room"


def with_importers(text: str) -> str:
    """The plan with each room's `Imported by` as the code has it."""
    graph = arrows()
    order = [room.name for room in plan(text)]
    lines = []
    for line in text.splitlines(keepends=True):
        if room := _ROOM.match(line):
            name = Path(room["path"]).stem
            line = _USED.sub(_importers(name, order, graph), line.rstrip("\n")) + "\n"
        lines.append(line)
    return "".join(lines)
