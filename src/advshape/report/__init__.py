"""What does a run or a comparison look like? Pictures, and one self-contained HTML page.

Start at `pages.run`. The writers are imported on first use: they need jinja2 and plotly, which the core does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advshape.report.pages.comparison import write_comparison
    from advshape.report.pages.run import write_report

__all__ = ["write_comparison", "write_report"]


def __getattr__(name: str) -> Any:
    if name == "write_report":
        from advshape.report.pages.run import write_report

        return write_report
    if name == "write_comparison":
        from advshape.report.pages.comparison import write_comparison

        return write_comparison
    raise AttributeError(f"module 'advshape.report' has no attribute {name!r}")
