"""The house: imports stay light, arrows point one way; each check has a meta-test that it can fail."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import advshape

PACKAGE = Path(advshape.__file__).parent
CORE = {
    "errors", "bernstein", "surrogate", "surrogates", "expression", "regularize", "prior", "table", "forward",
    "catalogue", "layer_cake", "rewards", "adaptive", "probe", "nearest", "match", "families", "draws", "caller",
    "formulas", "blackbox", "passk", "history",
    "analysis", "schedule", "schedule_reader", "prioritized",
}  # fmt: skip
ALLOWED = {  # room -> rooms it may import; core rooms are ordered below
    "evaluation": CORE | {"tasks"},
    "tasks": CORE,
    "adapters": CORE,
    "lab": CORE,
    "training": CORE | {"adapters", "tasks", "evaluation", "report"},
    "report": CORE | {"evaluation"},
    "view": CORE | {"lab", "report", "evaluation"},
    "cli_tables": CORE | {"cli_snippets"},
    "doctor": CORE | {"adapters", "audit", "tasks", "training"},
    "cli_doctor": CORE | {"cli_parser", "doctor"},
    "cli_derive": CORE | {"cli_parser", "cli_tables", "report"},
    "cli_compare": CORE | {"cli_reading", "evaluation", "report"},
    "cli_estimators": CORE,
    "cli_evaluate": CORE | {"cli_quiet", "evaluation", "report", "tasks", "training"},
    "cli_passk": CORE | {"cli_passk_text", "evaluation", "report"},
    "cli_passk_text": {"evaluation"},
    "cli_parser": set(),
    "cli_plan": CORE | {"cli_reading", "evaluation"},
    "cli_quiet": set(),
    "cli_reading": {"errors", "evaluation"},
    "cli_report": CORE | {"cli_reading", "evaluation", "report"},
    "audit": CORE | {"adapters"},
    "cli_audit": CORE | {"audit", "cli_parser"},
    "cli_reverse": CORE | {"audit", "cli_parser", "cli_tables"},
    "cli_watch": {"errors", "training"},
    "cli": CORE
    | {
        "cli_audit",
        "cli_compare",
        "cli_derive",
        "cli_doctor",
        "cli_estimators",
        "cli_evaluate",
        "cli_parser",
        "cli_passk",
        "cli_plan",
        "cli_quiet",
        "cli_report",
        "cli_tables",
        "cli_reverse",
        "cli_watch",
        "adapters",
        "tasks",
        "evaluation",
        "training",
        "report",
        "view",
        "lab",
    },
}
ORDER = ["errors", "bernstein", "passk", "surrogate", "surrogates", "expression", "regularize", "prior", "table",
         "forward", "catalogue", "schedule", "schedule_reader", "history", "prioritized", "layer_cake",
         "rewards", "adaptive",
         "formulas", "match", "families", "draws", "nearest", "caller", "blackbox", "probe", "analysis"]  # fmt: skip


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "advshape":
            parts = node.module.split(".")
            yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        if isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("advshape."))


def breaks(room, source):
    seen = {r for r in imported_rooms(source) if r != room}
    rooms = {p.stem if p.is_file() else p.name for p in PACKAGE.iterdir()}
    seen &= rooms
    if room in ORDER:
        return seen - set(ORDER[: ORDER.index(room)])
    return seen - ALLOWED.get(room, CORE)


@pytest.mark.parametrize(
    "path", [p for p in sorted(PACKAGE.rglob("*.py")) if p.parent != PACKAGE or p.stem not in ("__init__", "__main__")],
    ids=lambda p: str(p.relative_to(PACKAGE)),
)  # fmt: skip
def test_arrows_point_one_way(path):
    assert not breaks(room_of(path), path.read_text()), "this room may not import these"


def test_arrow_check_can_fail():
    assert breaks("table", "from advshape.forward import unbiased") == {"forward"}
    assert breaks("tasks", "from advshape import training") == {"training"}
    assert not breaks("forward", "from advshape.table import AdvantageTable")


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
    for path in [p for p in PACKAGE.rglob("*.py") if room_of(p) in CORE]:
        tree = ast.parse(path.read_text())
        code = [line for line in path.read_text().splitlines() if line.strip()]
        assert len(code) <= 300, f"{path.name} has {len(code)} lines; is it still one room?"
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                doc = ast.get_docstring(node, clean=False) or ""
                lines = node.end_lineno - node.lineno + 1 - len(doc.splitlines())
                assert lines <= 40, f"{path.name}:{node.name} has {lines} lines"


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
        for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }  # fmt: skip
    assert told == {(room, name, name) for room, names in advshape._NAMES.items() for name in names}


def test_help_waits_for_no_array_library():
    found = loaded_by("import contextlib, io, advshape.cli\nwith contextlib.suppress(SystemExit), "
                      "contextlib.redirect_stdout(io.StringIO()): advshape.cli.main(['--help'])\n")  # fmt: skip
    assert "advshape" in found
    assert not found & (HEAVY | {"numpy"})
