"""A hostile case as trainers hold it that tell groups by position: group after group, all of one size."""

from collections import Counter
from dataclasses import replace


def by_position(case):
    """(case with its rows sorted by group, n); n is None where groups are unequal, which such a trainer cannot hold."""
    order = sorted(range(len(case.rewards)), key=lambda i: case.uids[i])
    sizes = set(Counter(case.uids).values())
    picked = {name: tuple(getattr(case, name)[i] for i in order) for name in ("rewards", "uids")}
    lengths = tuple(case.lengths[i] for i in order)
    return replace(case, length=lengths, **picked), sizes.pop() if len(sizes) == 1 else None
