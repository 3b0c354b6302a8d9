"""Evaluations as a comparison takes them: a label, the counts, the prompts' texts, the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from advshape.evaluation.curves import Counts

__all__ = ["Run"]


@dataclass(frozen=True, eq=False)
class Run:
    """One evaluation that takes part in a comparison.

    Attributes:
        label: short name, unique in a comparison.
        source: what its counts were read from.
        counts: right and judged rollouts by prompt.
        prompts: problem id -> text of the prompt, as far as the source has them.
        settings: sampling settings, as far as the source says.
    """

    label: str
    source: str
    counts: Counts
    prompts: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
