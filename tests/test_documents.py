"""What the documents name exists: files of this repository, modules and names of the package, make targets, links."""

import ast
import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "scripts"))
from house import MODULES, OWNERS, ROOT

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
FILE = re.compile(r"(?<![\w/.-])((?:src|tests|scripts|bench|docs)/[\w./*-]*[\w*/])")
NAME = re.compile(r"(?<![\w./+-])advshape(?:\.[A-Za-z_]\w*)+(?!\w*[/\\])")


def missing_files(text):
    """Paths below the repository's own folders that match nothing; * and NAME stand for anything."""
    return [path for path in FILE.findall(text) if not any(ROOT.glob(path.rstrip("/").replace("NAME", "*")))]


def missing_names(text):
    """Dotted names that are neither a module of the package nor a name in one."""
    return [n for n in NAME.findall(text) if not n.endswith((".toml", ".yaml")) and not exists(n)]


def exists(name):
    if name in MODULES or name.split(".")[1] in OWNERS:
        return True
    module, _, first = name.rpartition(".")
    while module not in MODULES:
        module, _, first = module.rpartition(".")
    return module != "advshape" and first in defined(MODULES[module])


def defined(path):
    """Names that a module defines or imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.alias):
            yield node.asname or node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_exists(page):
    text = page.read_text(encoding="utf-8")
    assert missing_files(text) == []
    assert missing_names(text) == []
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"(?:`|^\s*\$ |^ {4})make ([\w-]+)", text, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not re.match(r"[a-z]+:", link):
            assert (page.parent / link).exists(), link


def test_the_check_can_fail():
    assert missing_files("see `src/advshape/table.py`, tests/test_house.py and docs/*.md") == ["src/advshape/table.py"]
    assert missing_names("`advshape.tables.table.AdvantageTable` and `advshape.table.AdvantageTable`") == [
        "advshape.table.AdvantageTable"
    ]
    assert missing_names("`advshape.reverse`, `advshape.adapters.trl.trainer.nothing`, `algorithm.advshape.k`") == [
        "advshape.adapters.trl.trainer.nothing"
    ]
