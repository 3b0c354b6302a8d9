"""A reversal as text: what it maximises, its findings, its table."""

from __future__ import annotations

from advshape.probe.reversal import Reversal

__all__ = ["table", "text"]


def text(found: Reversal) -> str:
    """The reversal and its table, as `advshape reverse` prints them."""
    return f"{found}{table(found)}"


def table(found: Reversal) -> str:
    """A+ and A- by the number of right answers; nothing where the rule has no table."""
    if found.table is None:
        return ""
    rows = [f"{'right':>5} {'A+ (right)':>12} {'A- (wrong)':>12}"]
    for c in range(found.n + 1):
        right = f"{found.table.positive[c]:.4f}" if c else ""
        wrong = f"{found.table.negative[c]:.4f}" if c < found.n else ""
        rows.append(f"{c:>5} {right:>12} {wrong:>12}".rstrip())
    scale = (
        "\nA+ and A- as they came in the first batch of the probe; the batch sets their scale."
        if found.scale_free
        else ""
    )
    return "\n\n" + "\n".join(rows) + scale
