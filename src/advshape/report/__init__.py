"""Runs and comparisons as pictures and as one self-contained HTML page.

`write_report` is imported on first use: it needs jinja2 and plotly, which the mathematics does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advshape.report.page import write_report

__all__ = ["write_report"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from advshape.report import page

        return getattr(page, name)
    raise AttributeError(f"module 'advshape.report' has no attribute {name!r}")
