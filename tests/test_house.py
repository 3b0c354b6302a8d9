"""The house: rooms from the tree, their order from ARCHITECTURE.md, arrows from the code; each check can fail."""

import ast
import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

import advshape

sys.path.append(str(Path(__file__).resolve().parents[1] / "scripts"))
import draw_house
import house
from house import FACES, MODULES, PACKAGE, ROOT, room_of

PLAN = house.plan()
ORDER = [room.name for room in PLAN]  # a room may import the rooms before it
CORE = set(ORDER[: ORDER.index("tasks")])
FOLDERS = {module: path for module, path in MODULES.items() if path.name == "__init__.py" and path.parent != PACKAGE}
STILL_LONG = {  # modules over 300 lines that are being split; the list only shrinks
    "advshape.audit.trainers",
    "advshape.catalogue.analysis",
    "advshape.cli.evaluate",
    "advshape.evaluation.readers.base",
    "advshape.evaluation.readers.registry",
    "advshape.evaluation.sampling.server",
    "advshape.objectives.literature",
    "advshape.probe.measure",
    "advshape.shaping.advantages",
    "advshape.training.run",
}


def test_examples_of_the_scripts():
    for module in (house, draw_house):
        failed, tried = doctest.testmod(module)
        assert tried > 0
        assert failed == 0


# The plan and the tree


def test_the_rooms_of_the_plan_are_the_rooms_of_the_tree():
    assert sorted(ORDER) == sorted(house.rooms())
    for room in PLAN:
        assert (ROOT / room.path).exists(), room
        assert (ROOT / room.start).is_file(), room
        assert room.start.startswith(room.path), room


def test_the_plan_is_read_in_its_order():
    text = (
        "## Ground\n\n**[a.py](src/a.py)** *What?* One.\n## Up\n"
        "**[b/](src/b)** *Why?* Two. Start at [`c.py`](src/b/c.py). Imported by no room."
    )
    assert house.plan(text) == [
        house.Room("a", "Ground", "src/a.py", "src/a.py"),
        house.Room("b", "Up", "src/b", "src/b/c.py"),
    ]


def test_the_plan_asks_what_the_rooms_answer():
    """One question for each room: in its docstring, in ARCHITECTURE.md, in the picture."""
    text = house.PLAN.read_text(encoding="utf-8")
    for room in PLAN:
        asked = house.question(room.name)
        assert asked.endswith("?"), f"{room.name}: the first line of its docstring asks what the room answers"
        assert f"({room.path})** *{asked}* " in text, f"ARCHITECTURE.md does not ask {asked!r} for {room.name}"


def test_importers_and_picture_are_those_of_the_code():
    text = house.PLAN.read_text(encoding="utf-8")
    assert house.with_importers(text) == text, (
        "arrows between rooms have changed: make house, and look at the difference"
    )
    assert draw_house.PICTURE.read_text(encoding="utf-8") == draw_house.draw(), "the picture is stale: make house"


def test_the_picture_shows_every_room_once():
    drawn = re.findall(r'class="name short"[^>]*>(\w+)<', draw_house.draw())
    assert sorted(drawn) == sorted(ORDER)


def start_of(module, path):
    """The file that the docstring of a folder names to start with."""
    found = re.search(r"Start at `([\w.]+)`", ast.get_docstring(ast.parse(path.read_text())) or "")
    start = f"{module}.{found[1]}" if found else None
    return MODULES.get(start)


@pytest.mark.parametrize("module", FOLDERS)
def test_every_folder_opens_with_its_question_and_where_to_start(module):
    first = (ast.get_docstring(ast.parse(FOLDERS[module].read_text())) or "").partition("\n")[0]
    assert re.match(r"(What|How|Which|Who|Where|When|Why|Is|Are|Does|Do)\b.*\?", first), first
    start = start_of(module, FOLDERS[module])
    assert start is not None, "its docstring names the file to start with: Start at `module`."
    told = {f"advshape.{room.name}": ROOT / room.start for room in PLAN}
    assert told.get(module, start) == start, "ARCHITECTURE.md starts elsewhere"


def dangling(text, names, folder):
    """Lower-case words in backticks that are neither a file of the folder, nor a name of its code, nor a public one."""
    words = re.findall(r"`([a-z_]+(?:\.[a-z_]+)*(?:\.py|/)?)`", text)
    known = {*names, *advshape.__all__, *(path.stem for path in folder.rglob("*.py")), "advshape"}
    return [word for word in words if word not in known and not (folder / word).exists()]


@pytest.mark.parametrize("module", FOLDERS)
def test_the_opening_words_name_what_is_there(module):
    """In the docstring of a folder, and in the paragraph of ARCHITECTURE.md on a room."""
    folder = FOLDERS[module].parent
    names = re.findall(
        r"\b(?:def|class) (\w+)|^(\w+)(?=:? .*= )", "\n".join(p.read_text() for p in folder.rglob("*.py"))
    )
    names = {name for pair in names for name in pair} | {
        ".".join(path.relative_to(folder).with_suffix("").parts) for path in folder.rglob("*.py")
    }
    assert dangling(ast.get_docstring(ast.parse(FOLDERS[module].read_text())), names, folder) == []
    for line in house.PLAN.read_text(encoding="utf-8").splitlines():
        if line.startswith(f"**[{module.removeprefix('advshape.')}/]"):
            assert dangling(line, names, folder) == []


def test_the_check_of_names_can_fail():
    folder = PACKAGE / "tables"
    assert dangling("`table` and `formulas`, `table.py`, `cells/`, `advantages`", {"table"}, folder) == [
        "formulas",
        "cells/",
    ]


def test_few_doors():
    doors = [path for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    assert len(doors) <= 20


def test_tests_stand_in_the_rooms_that_they_test():
    folders = {path.parent.relative_to(ROOT / "tests").parts[0] for path in (ROOT / "tests").glob("*/**/test_*.py")}
    assert folders == {room.name for room in PLAN if not room.path.endswith(".py")}


# Size and form


def too_long(modules, limit=300):
    return {module for module, path in modules.items() if len(path.read_text().splitlines()) > limit}


def test_no_module_is_over_300_lines():
    assert too_long(MODULES) <= STILL_LONG, "split it where the question changes"
    assert set(MODULES) >= STILL_LONG


def test_length_check_can_fail(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n" * 301)
    (tmp_path / "b.py").write_text("x = 1\n" * 300)
    assert too_long({"a": tmp_path / "a.py", "b": tmp_path / "b.py"}) == {"a"}


def long_functions(source, limit=40):
    """Functions with more lines than that, docstrings not counted."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            doc = ast.get_docstring(node, clean=False) or ""
            if node.end_lineno - node.lineno + 1 - len(doc.splitlines()) > limit:
                yield node.name


def test_functions_of_the_core_are_short():
    found = {m: names for m in MODULES if room_of(m) in CORE and (names := [*long_functions(MODULES[m].read_text())])}
    assert found == {}


def test_function_check_can_fail():
    assert list(long_functions("def f():\n" + "    x = 1\n" * 40)) == ["f"]
    assert not list(long_functions("def f():\n" + "    x = 1\n" * 39))


def skips(text):
    return len(re.findall(r"#\s*fmt:\s*(?:skip|off)", text))


def test_the_formatter_is_rarely_overruled():
    files = [p for folder in ("src", "tests", "scripts", "bench") for p in (ROOT / folder).rglob("*.py")]
    assert len(files) > 100
    assert sum(skips(path.read_text()) for path in files if path != Path(__file__).resolve()) <= 10


def test_skip_check_can_fail():
    assert skips("x = 1  # fmt: skip\n#fmt:off\n") == 2


# Arrows


def breaks(room, source, module="advshape"):
    """The rooms that this source imports and that do not come before its own."""
    seen = {room_of(name) for name in house.imported(source, module)} - {room} - FACES
    return {name for name in seen if name not in ORDER or ORDER.index(name) > ORDER.index(room)}


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m) not in FACES])
def test_arrows_point_one_way(module):
    assert not breaks(room_of(module), MODULES[module].read_text(), module), "this room may not import these"


@pytest.mark.parametrize(
    ("source", "room"),
    [
        ("import advshape as adv\nadv.reverse", "probe"),
        ("import advshape\nadvshape.probe.reversal", "probe"),
        ("import advshape.probe.reversal as r", "probe"),
        ("from advshape import reverse", "probe"),
        ("from advshape import training", "training"),
        ("def f():\n    from advshape.probe.reversal import reverse", "probe"),
        ("from .training import run", "training"),
        ("from . import training", "training"),
        ("from importlib import import_module\nimport_module('advshape.training.run')", "training"),
        ("import importlib\nimportlib.import_module('advshape.training.run')", "training"),
        ("from advshape.attic import things", "attic"),
    ],
)
def test_arrow_check_can_fail(source, room):
    assert breaks("passk", source, "advshape.passk") == {room}


def test_arrow_check_lets_pass():
    assert not breaks("cli", "from advshape.errors import AdvshapeError")
    assert list(house.imported("from .table import AdvantageTable", "advshape.tables.forward")) == [
        "advshape.tables.table"
    ]
    assert list(house.imported("from .table import AdvantageTable", "advshape.tables")) == ["advshape.tables.table"]


def circles(edges):
    """Modules that can be reached from themselves."""
    return {module for module in edges if module in house.reachable(edges, module)}


def test_no_circle_between_files():
    assert not circles(house.edges())


def test_circle_check_can_fail():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == {"b", "c"}


PRIVATE = re.compile(r"_(?!_)\w*")


def private_names(module, source):
    """Underscored names taken from another room: imported, or read from an imported module."""
    tree = ast.parse(source)
    modules = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "advshape":
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                if room_of(inside if inside in MODULES else node.module) != room_of(module):
                    yield from ([alias.name] if PRIVATE.match(alias.name) else [])
                    modules |= {alias.asname or alias.name: inside} if inside in MODULES else {}
        if isinstance(node, ast.Import):
            modules |= {a.asname or a.name: a.name for a in node.names if a.name.split(".")[0] == "advshape"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and PRIVATE.match(node.attr) and ast.unparse(node.value) in modules:
            yield node.attr


def test_no_private_name_crosses_a_wall():
    assert {m: names for m, p in MODULES.items() if (names := list(private_names(m, p.read_text())))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "from advshape.probe import _secret, reverse",
        "from advshape.probe import reversal\nreversal._secret",
        "import advshape.probe.reversal as r\nr._secret",
        "import advshape\nadvshape._secret",
    ],
)
def test_private_check_can_fail(source):
    assert list(private_names("advshape.cli", source)) == ["_secret"]


# What an import brings


HEAVY = {"scipy", "torch", "transformers", "trl", "matplotlib", "datasets", "jinja2", "plotly", "tqdm"}


def loaded_by(statement):
    code = f"{statement}\nimport sys; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_import_is_light():
    assert not loaded_by("import advshape") & HEAVY
    assert not loaded_by("import advshape; advshape.estimator('pass_at_k', k=2).table(8)") & HEAVY


def test_light_check_can_fail():
    assert loaded_by("import scipy.special") & HEAVY == {"scipy"}


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
