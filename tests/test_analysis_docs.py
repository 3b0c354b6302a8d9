"""docs/objectives.md shows what the code prints."""

import doctest
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "objectives.md"


def test_page():
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    result = doctest.testfile(str(PAGE), module_relative=False, optionflags=options)
    assert result.attempted >= 9
    assert result.failed == 0
