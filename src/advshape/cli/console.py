"""What other libraries say while a command runs, kept off its output."""

from __future__ import annotations

import os
import warnings

__all__ = ["no_deprecation_notes", "no_foreign_bars"]


def no_deprecation_notes() -> None:
    """What the libraries tell each other about their next versions is not for the reader of a run."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|trl|accelerate|datasets|torch)\b")


def no_foreign_bars() -> None:
    """One progress bar at a time: ours."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
