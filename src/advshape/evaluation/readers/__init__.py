"""What did other tools log? Their files, read into counts by prompt; see docs/logs.md.

Start at `registry`; `base` says what a reader is, `formats` holds one file per tool.

>>> from advshape.evaluation.readers import READERS
>>> READERS["lm-eval"].title
'lm-evaluation-harness samples'
"""

from advshape.evaluation.readers.base import Options
from advshape.evaluation.readers.formats import READERS
from advshape.evaluation.readers.registry import CountedLog, detect, read_log, read_logs

__all__ = ["READERS", "CountedLog", "Options", "detect", "read_log", "read_logs"]
