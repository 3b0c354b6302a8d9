"""docs/objectives.md, paper.md, reverse.md and glossary.md show what the code prints."""

import doctest
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("page", "examples"), [("objectives.md", 13), ("paper.md", 39), ("reverse.md", 7), ("glossary.md", 14)]
)
def test_page(page, examples):
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    result = doctest.testfile(str(DOCS / page), module_relative=False, optionflags=options)
    assert result.attempted >= examples
    assert result.failed == 0
