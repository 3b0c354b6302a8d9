"""What does each tool write? One file per format, recognized from its content.

Start at `own`, the log of this package. `READERS` is the list of all: a file is read by the first that recognizes it.
"""

from __future__ import annotations

from advshape.evaluation.readers.base import Reader
from advshape.evaluation.readers.formats import (
    columns,
    count_table,
    evalplus,
    human_eval,
    inspect_ai,
    lm_eval,
    own,
    trl,
    verl,
)

__all__ = ["READERS"]

READERS: dict[str, Reader] = {
    module.READER.name: module.READER
    for module in (own, trl, verl, lm_eval, inspect_ai, human_eval, evalplus, count_table, columns)
}
