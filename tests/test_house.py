"""The house: rooms are read from the tree, arrows point one way, imports stay light; each check has a meta-test."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import advshape

PACKAGE = Path(advshape.__file__).parent
ORDER = [  # a room may import the rooms before it
    *("errors", "bernstein", "passk", "objectives", "tables", "catalogue", "shaping", "curriculum", "probe"),
    *("tasks", "adapters", "audit", "evaluation", "report", "training", "doctor", "cli"),
]
NO_ROOMS = {"__init__", "__main__"}  # the face and the command
CORE = set(ORDER[: ORDER.index("tasks")])
MODULES = {
    ".".join(("advshape", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def room_of(module):
    return module.split(".")[1] if "." in module else "__init__"


def rooms():
    """The rooms that the tree has: packages and modules directly inside the package."""
    return {room_of(module) for module in MODULES} - NO_ROOMS


def imported(source):
    """Modules of this package that a source imports anywhere; a name of the face counts as its owner."""
    owners = {name: f"advshape.{room}" for room, names in advshape._NAMES.items() for name in names}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            faces = [a.asname or a.name for a in node.names if a.name == "advshape"]
            for face in faces:
                yield from (
                    owners[n.attr]
                    for n in ast.walk(ast.parse(source))
                    if isinstance(n, ast.Attribute)
                    and isinstance(n.value, ast.Name)
                    and n.value.id == face
                    and n.attr in owners
                )
            yield from (a.name for a in node.names if a.name.startswith("advshape."))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "advshape":
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                yield (
                    inside
                    if inside in MODULES
                    else owners.get(alias.name, "advshape")
                    if node.module == "advshape"
                    else node.module
                )


def breaks(room, source):
    """The rooms that this source imports and that do not come before its own."""
    seen = {room_of(module) for module in imported(source)} - {room} - NO_ROOMS
    return {name for name in seen if name not in ORDER or ORDER.index(name) > ORDER.index(room)}


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m) not in NO_ROOMS])
def test_arrows_point_one_way(module):
    assert not breaks(room_of(module), MODULES[module].read_text()), "this room may not import these"


def test_arrow_check_can_fail():
    assert breaks("passk", "import advshape as adv\nadv.reverse") == {"probe"}
    assert breaks("passk", "from advshape import reverse") == {"probe"}
    assert breaks("passk", "def f():\n    from advshape.probe.reversal import reverse") == {"probe"}
    assert breaks("tasks", "from advshape import training") == {"training"}
    assert breaks("cli", "from advshape.attic import things") == {"attic"}
    assert not breaks("cli", "from advshape.errors import AdvshapeError")


def test_the_rooms_of_the_plan_are_the_rooms_of_the_tree():
    assert set(ORDER) == rooms()


def circles(edges):
    """Modules that can be reached from themselves."""

    def reach(start):
        seen, todo = set(), list(edges.get(start, ()))
        while todo:
            module = todo.pop()
            if module not in seen:
                seen.add(module)
                todo.extend(edges.get(module, ()))
        return seen

    return {module for module in edges if module in reach(module)}


def test_no_circle_between_files():
    edges = {m: set(imported(p.read_text())) - {m} for m, p in MODULES.items() if room_of(m) not in NO_ROOMS}
    assert not circles(edges)


def test_circle_check_can_fail():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == {"b", "c"}


def private_names(module, source):
    """Underscored names imported from another room."""
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.ImportFrom)
            and (node.module or "").startswith("advshape.")
            and room_of(node.module) != room_of(module)
        ):
            yield from (alias.name for alias in node.names if alias.name.startswith("_"))


def test_no_private_name_crosses_a_wall():
    assert {m: names for m, p in MODULES.items() if (names := list(private_names(m, p.read_text())))} == {}


def test_private_check_can_fail():
    assert list(private_names("advshape.cli", "from advshape.probe.reversal import _secret, reverse")) == ["_secret"]


HEAVY = {"scipy", "torch", "transformers", "trl", "matplotlib", "datasets", "jinja2", "plotly", "tqdm"}


def loaded_by(statement):
    code = f"{statement}\nimport sys; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_import_is_light():
    assert not loaded_by("import advshape") & HEAVY
    assert not loaded_by("import advshape; advshape.estimator('pass_at_k', k=2).table(8)") & HEAVY


def test_light_check_can_fail():
    assert loaded_by("import scipy.special") & HEAVY == {"scipy"}


def test_core_modules_stay_readable():
    for module, path in MODULES.items():
        if room_of(module) not in CORE:
            continue
        tree = ast.parse(path.read_text())
        code = [line for line in path.read_text().splitlines() if line.strip()]
        assert len(code) <= 300, f"{module} has {len(code)} lines; is it still one room?"
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                doc = ast.get_docstring(node, clean=False) or ""
                lines = node.end_lineno - node.lineno + 1 - len(doc.splitlines())
                assert lines <= 40, f"{module}:{node.name} has {lines} lines"


def test_all_is_what_exists():
    for name in advshape.__all__:
        assert hasattr(advshape, name)
    assert not set(advshape.__all__) & {path.stem for path in PACKAGE.iterdir()}, "a module would shadow the name"
    assert set(advshape.__all__) <= set(dir(advshape))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = advshape.nothing


def test_type_checkers_see_the_same_names():
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text())
    told = {
        (node.module.removeprefix("advshape."), alias.name, alias.asname)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told == {(room, name, name) for room, names in advshape._NAMES.items() for name in names}


def test_help_waits_for_no_array_library():
    found = loaded_by(
        "import contextlib, io, advshape.cli\nwith contextlib.suppress(SystemExit), "
        "contextlib.redirect_stdout(io.StringIO()): advshape.cli.main(['--help'])\n"
    )
    assert "advshape" in found
    assert not found & (HEAVY | {"numpy"})
