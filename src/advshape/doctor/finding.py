"""One line of what the doctor found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding"]


@dataclass(frozen=True)
class Finding:
    """status: "ok", "absent" (not installed, nothing wrong) or "problem"; subject: of what; text: what, and what to do.

    >>> print(Finding("ok", "numpy", "2.4.6"))
    ok       numpy: 2.4.6
    """

    status: Literal["ok", "absent", "problem"]
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.status:<8} {self.subject}: {self.text}"
