"""What did other tools log? Their files, read into counts by prompt; see docs/logs.md.

Start at `registry`; `base` says what a reader is, `formats` holds one file per tool.

>>> from advshape.evaluation.readers import READERS
>>> sorted(READERS)
['advshape', 'columns', 'counts', 'evalplus', 'human-eval', 'inspect', 'lm-eval', 'trl', 'verl']
"""

from advshape.evaluation.readers.base import Options
from advshape.evaluation.readers.registry import READERS, CountedLog, detect, read_log, read_logs

__all__ = ["READERS", "CountedLog", "Options", "detect", "read_log", "read_logs"]
