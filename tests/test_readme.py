"""The README's examples and commands, as they stand there."""

import doctest
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line[2:].split("  #")[0].strip() for line in README.splitlines() if line.startswith("$ ")]
SMALL = {"train": ["--set", "trainer.max_steps=2", "--set", "evaluation.count=4", "--set", "evaluation.n=4"]}
SMALL["evaluate"] = ["--count", "4", "-n", "4"]


def test_examples():
    failed, tried = doctest.testfile(
        str(ROOT / "README.md"), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert tried >= 5
    assert failed == 0


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("advshape")])
def test_commands(command, tmp_path):
    words = shlex.split(command)
    extra = SMALL.get(words[1], [])
    found = subprocess.run(
        [sys.executable, "-m", "advshape", *words[1:], *extra],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        timeout=600,
    )
    assert found.returncode == 0, found.stderr[-2000:]
    assert found.stdout.strip()


def test_the_first_screen_and_the_make_targets():
    assert len(README.splitlines()) <= 120
    assert COMMANDS[0] == "make demo"
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`make ([\w-]+)`", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_number_of_audited_rules():
    rules = json.loads((ROOT / "docs" / "audit.json").read_text(encoding="utf-8"))
    assert f"{len(rules)} advantage rules" in README
