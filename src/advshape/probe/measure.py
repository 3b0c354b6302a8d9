"""What does an advantage function do? Calls on chosen 0/1 groups that separate a count table from everything else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from advshape.bernstein import FloatArray
from advshape.probe.call import Arrays, Caller, Finding, Refused, caller_of, immeasurable, rows_of, short, staircase
from advshape.probe.mean import MeanAdvantages, mean_advantages

__all__ = ["Arrays", "Finding", "Measured", "measure", "staircase"]

_AGAIN = 40  # pairs of calls after which a difference is taken for the batch's


@dataclass(frozen=True)
class Measured:
    """positive, negative: (n + 1,), NaN where unknown, or None where no function of the counts exists;
    weight: (n,) or None; scale_free: known up to the batch's scale only; precision: relative, of the numbers;
    mean: of the draws of a random rule."""

    positive: FloatArray | None
    negative: FloatArray | None
    weight: FloatArray | None
    findings: tuple[Finding, ...]
    scale_free: bool
    precision: float
    mean: MeanAdvantages | None = None


def measure(function: Callable[[Any], Any], n: int, rng: np.random.Generator, arrays: Arrays) -> Measured:
    """Probe the function at group size n. Raises AdvshapeError where no call works at all."""
    call = caller_of(function, n, arrays)
    findings = call.findings
    groups = staircase(n)
    try:
        base = call(groups)
    except Refused:
        findings.append(_raising(call, groups))
        return Measured(None, None, None, tuple(findings), False, call.precision)
    size = immeasurable(base)
    if size is not None:
        return Measured(None, None, None, (*findings, size), False, call.precision)
    found = _outside(call, base, n, rng)
    if found is not None:
        findings.append(found)
    findings.extend(_other_types(call, base, groups, arrays))
    c = np.arange(n + 1)
    positive, negative = np.r_[0.0, base[c[1:], 0]], np.r_[base[c[:-1], -1], 0.0]
    findings.extend(_not_finite(groups, positive, negative))
    if found is None:
        weight = positive[1:] - negative[:-1]
        return Measured(positive, negative, weight, tuple(findings), False, call.precision)
    table, weight_, kind, text = _up_to_scale(call, n, rng) if found.kind == "batch" else _NO_TABLE
    if text:
        findings.append(Finding(kind, text))
    positive_, negative_ = table if table is not None else (None, None)
    mean = mean_advantages(call, groups, Refused) if found.kind == "random" else None
    return Measured(positive_, negative_, weight_, tuple(findings), kind == "batch scale", call.precision, mean)


def _outside(call: Caller, base: FloatArray, n: int, rng: np.random.Generator) -> Finding | None:
    """The first thing that makes the rule no function of the group's counts."""
    try:
        for check in (_random, _order, _batch):
            found = _smallest(check, call, n, rng)
            if found is not None:
                return found
        if differ(base, call(staircase(n)), call.precision).any():
            return Finding("random", "it changes as it is called: the first and the last call on one batch differ")
    except Refused as error:
        return Finding("raises", f"it takes some batches of 0/1 groups and not others: {error}")
    return None


def differ(a: FloatArray, b: FloatArray, precision: float, size: float = 0.0) -> FloatArray:
    """Where a and b differ by more than the precision, relative to both and to `size` (a dead group is rounding)."""
    size = max(size, largest(a), largest(b)) or 1.0
    with np.errstate(invalid="ignore"):
        far = np.abs(a - b) > 10 * precision * size
    both = np.isfinite(a) & np.isfinite(b)
    alike = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.where(both, far, ~alike)


def largest(a: FloatArray) -> float:
    return float(np.abs(a[np.isfinite(a)]).max(initial=0.0))


def _raising(call: Caller, groups: FloatArray) -> Finding:
    bad = []
    for c, group in enumerate(groups):
        try:
            call(group[None])
        except Refused as error:
            bad.append((c, error))
    if not bad:
        return Finding("raises", "it takes single groups, but not a batch that holds every count once")
    counts = ", ".join(str(c) for c, _ in bad[:8])
    return Finding(
        "raises",
        f"it fails on groups with {counts} of {groups.shape[1]} right: {bad[0][1]}",
        rows_of(groups[bad[0][0]]),
    )


Check = Callable[[Caller, int, np.random.Generator], Finding | None]


def _smallest(check: Check, call: Caller, n: int, rng: np.random.Generator) -> Finding | None:
    """The check at n; where it finds something, the same at the smallest group that shows it."""
    found = check(call, n, rng)
    if found is None:
        return None
    for m in range(2, min(n, 5)):
        try:
            smaller = check(call, m, rng)
        except Refused:
            continue
        if smaller is not None and smaller.kind == found.kind:
            return smaller
    return found


def _random(call: Caller, n: int, rng: np.random.Generator) -> Finding | None:
    groups = np.concatenate([staircase(n), _patterns(n, rng)])
    first = call(groups)
    for _ in range(3):
        again = call(groups)
        rows = differ(first, again, call.precision).any(-1)
        if rows.any():
            row = int(np.flatnonzero(rows)[0])
            text = f"two calls on the same rewards {short(groups[row])} gave {short(first[row])}, {short(again[row])}"
            return Finding("random", text, rows_of(groups[row]), rows_of(first[row], again[row]))
    return None


def _patterns(n: int, rng: np.random.Generator) -> FloatArray:
    """Every 0/1 group up to n = 8, else shuffled staircases; rows in random order."""
    if n <= 8:
        rows = (np.arange(2**n)[:, None] >> np.arange(n) & 1) * 1.0
    else:
        rows = rng.permuted(np.repeat(staircase(n), max(4, 512 // n), axis=0), axis=1)
    return rng.permutation(rows)


def _order(call: Caller, n: int, rng: np.random.Generator) -> Finding | None:
    """In ONE batch, equal rewards of a group, and groups with equal counts, must get equal advantages."""
    mixed = _patterns(n, rng)
    mixed = mixed[(mixed.sum(1) % n) > 0]  # first and last in the batch: a dead group's 0 would hide what happens there
    groups = np.concatenate([mixed, staircase(n), mixed[::-1]])
    found = call(groups)
    middle = found[len(mixed) : len(mixed) + n + 1]
    count = groups.sum(1).astype(int)
    model = np.where(groups == 1, middle[count, 0][:, None], middle[count, -1][:, None])
    rows, first = np.flatnonzero(differ(found, model, call.precision).any(-1)).tolist(), staircase(n)
    size = largest(found)
    for row in rows[:64]:
        own, c = groups[row], count[row]
        for value, word in ((1.0, "right"), (0.0, "wrong")):
            same = found[row][own == value]
            if len(same) and differ(same, np.full(len(same), same[0]), call.precision, size).any():
                text = f"equal rewards get unequal advantages ({word} ones): {short(own)} gives {short(found[row])}"
                return Finding("order", text, rows_of(own), rows_of(found[row]))
        alone, sorted_ = call(own[None])[0], call(first[c][None])[0]
        ends = (np.sort(alone), np.sort(sorted_))
        if differ(*ends, call.precision, size).any():
            text = (
                f"the order of a group matters: {short(first[c])} gives {short(sorted_)}, {short(own)} {short(alone)}"
            )
            return Finding("order", text, rows_of(first[c], own), rows_of(sorted_, alone))
    for row in rows[:1]:
        text = f"the same group gets other advantages at another place in the batch: {short(groups[row])}"
        return Finding("place", text, rows_of(groups[row]), rows_of(found[row], model[row]))
    return None


def _batch(call: Caller, n: int, rng: np.random.Generator) -> Finding | None:
    """A group alone, and beside other groups: each beside few or dead ones, all at once beside crowds, so that calls
    grow with n and their rewards with its square. Where a crowd changes anything, the smallest example is looked for.
    """
    groups = staircase(n)
    mates = [groups[[0]], groups[[n]], *_mates(n, rng)]
    few, crowds = [*mates[:2], *mates[3:5]], [mates[2], *mates[5:]]
    size, alone = largest(call(groups)), np.concatenate([call(group[None]) for group in groups])
    for beside in crowds:
        together = call(np.concatenate([groups, beside]))[: n + 1]
        rows = np.flatnonzero(differ(alone, together, call.precision, size).any(-1)).tolist()
        if rows:
            found = _beside(call, groups, mates, alone, size)
            return found or _batch_finding(groups[rows[0]], alone[rows[0]], together[rows[0]], groups[1:])
    return _beside(call, groups, few, alone, size)


def _beside(
    call: Caller, groups: FloatArray, mates: list[FloatArray], alone: FloatArray, size: float
) -> Finding | None:
    """The first group that its mates change."""
    for group, own in zip(groups, alone, strict=True):
        for beside in mates:
            found = call(np.concatenate([group[None], beside]))[0]
            if differ(own, found, call.precision, size).any():
                return _changing(call, group, own, found, beside, size) or _batch_finding(group, own, found, beside)
    return None


def _changing(
    call: Caller, group: FloatArray, own: FloatArray, found: FloatArray, beside: FloatArray, size: float
) -> Finding | None:
    """The same two calls again and again: a rule that counts its calls, or rarely throws a coin, is not its batch's."""
    together = np.concatenate([group[None], beside])
    for _ in range(_AGAIN):
        for batch, before in ((group[None], own), (together, found)):
            again = call(batch)[0]
            if differ(before, again, call.precision, size).any():
                text = f"called again on one batch, {short(group)} gives {short(before)}, then {short(again)}"
                return Finding("random", text, rows_of(group), rows_of(before, again))
    return None


def _batch_finding(group: FloatArray, alone: FloatArray, found: FloatArray, beside: FloatArray) -> Finding:
    text = f"{short(group)} gives {short(alone)} alone, and {short(found)} beside {short(beside[0])}"
    more = f" and {len(beside) - 1} more" if len(beside) > 1 else ""
    return Finding("batch", text + more, rows_of(group, beside[0]), rows_of(alone, found))


def _mates(n: int, rng: np.random.Generator) -> list[FloatArray]:
    """Every count, many dead groups, every pattern, some groups at random."""
    groups, some = staircase(n), staircase(n)[rng.integers(0, n + 1, size=2 * n + 1)]
    dead = (np.repeat(groups[[c]], min(n, 16) + 1, axis=0) for c in (n, 0))
    return [groups, *dead, _patterns(n, rng), some]


def _up_to_scale(
    call: Caller, n: int, rng: np.random.Generator
) -> tuple[tuple[FloatArray, FloatArray] | None, FloatArray | None, str, str]:
    """A batch scale times a table? The weights, and perhaps the table, measured beside different batch mates; and what
    was found, as kind and text."""
    groups, weights, offsets = staircase(n), [], []
    for mates in _mates(n, rng):
        try:
            found = call(np.concatenate([groups, mates]))[: n + 1]
        except Refused:
            return _NO_TABLE
        weights.append(found[1:, 0] - found[:-1, -1])
        offsets.append(-found[:-1, -1])
    weight = weights[0]
    size = float(weight @ weight)
    if not np.isfinite(size) or size == 0:
        return _NO_TABLE
    scales = [float(w @ weight) / size for w in weights]
    precision = max(call.precision, 1e-7)  # an epsilon beside the batch's deviation is no exact scale

    def scaled(values: list[FloatArray]) -> bool:
        return not any(differ(v, s * values[0], precision).any() for v, s in zip(values, scales, strict=True))

    if any(s <= 0 for s in scales) or not scaled(weights):
        return _NO_TABLE
    if not scaled(offsets):
        return None, weight, *_own_baseline(scales, precision)
    table = np.r_[0.0, weight - offsets[0]], np.r_[-offsets[0], 0.0]
    try:
        scales += _row_scales(call, table, n, _mates(n, rng), precision)
    except Refused:
        return _NO_TABLE
    if any(not s >= 0 for s in scales):
        return _NO_TABLE
    scales = [s for s in scales if s > 0]
    text = f"a table times a scale that the batch sets ({_spread(scales)}): known up to that scale; {_MANY}"
    return table, weight, "batch scale", text


_NO_TABLE = (None, None, "", "")


def _own_baseline(scales: list[float], precision: float) -> tuple[str, str]:
    """Kind and text where the offsets follow the batch, and the weights perhaps in their scale."""
    own = "its baseline is the batch's own and no function of the group, so there is no table"
    if max(scales) - min(scales) <= 10 * precision:
        return "batch baseline", (
            f"only {own}; its weights, and so its surrogate, are known with their scale, which did not vary here; this "
            "holds for batches of many prompts: among few a group moves the baseline itself"
        )
    weights = f"its weights, and so its surrogate, are known up to a scale that the batch sets ({_spread(scales)})"
    return "batch scale", f"{weights}; {own}; {_MANY}"


def _spread(scales: list[float]) -> str:
    return f"it varied by a factor of {max(scales) / min(scales):.3g} here"


_MANY = (
    "this holds for batches of many prompts: among few a group moves the scale itself, and with one prompt a rule "
    "divided by the batch's standard deviation is GRPO"
)


def _row_scales(
    call: Caller, table: tuple[FloatArray, FloatArray], n: int, mates: list[FloatArray], precision: float
) -> list[float]:
    """What a group has of its row of the table, alone and beside each of the mates; NaN: it is no multiple of it."""
    groups, scales = staircase(n), []
    size = largest(call(groups))
    for c in np.unique(np.linspace(0, n, min(n, 16) + 1).astype(int)):  # of large groups some
        group = groups[c]
        row = np.where(group == 1, table[0][c], table[1][c])
        for beside in (groups[:0], *mates):
            found = call(np.concatenate([group[None], beside]))[0]
            if not np.isfinite(found).all():
                continue  # 0/0 beside too few others
            dead = largest(row) <= precision * size
            scale = 0.0 if dead else float(found @ row) / float(row @ row)
            far = differ(found, scale * row, precision, size).any()
            scales += [float("nan")] if far else [] if dead else [scale]
    return scales


def _other_types(call: Caller, base: FloatArray, groups: FloatArray, arrays: Arrays) -> Iterator[Finding]:
    if any(f.kind == "random" for f in call.findings):
        return
    for dtype, precision in (("int64", call.precision), ("float32", max(call.precision, 1e-5))):
        try:
            found = call(groups, dtype)
        except Refused as error:
            yield Finding("dtype", f"it refuses {dtype} rewards ({error})", rows_of(groups[1]))
            continue
        yield from _compared(groups, base, found, precision, "dtype", ("float64", dtype))
    if call.library == "numpy" and arrays == "auto" and "torch" in sys.modules:
        try:
            found = Caller(call.function, "torch")(groups)
        except Refused:
            return
        precision = max(call.precision, 1e-5)
        yield from _compared(groups, base, found, precision, "array type", ("numpy arrays", "torch tensors"))


def _compared(
    groups: FloatArray, a: FloatArray, b: FloatArray, precision: float, kind: str, names: tuple[str, str]
) -> Iterator[Finding]:
    rows = np.flatnonzero(differ(a, b, precision).any(-1))
    if len(rows):
        row = int(rows[0])
        text = f"{short(groups[row])} gives {short(a[row])} as {names[0]} and {short(b[row])} as {names[1]}"
        yield Finding(kind, text, rows_of(groups[row]), rows_of(a[row], b[row]))


def _not_finite(groups: FloatArray, positive: FloatArray, negative: FloatArray) -> Iterator[Finding]:
    n = groups.shape[1]
    bad = [c for c in range(n + 1) if not np.isfinite(positive[c]) or not np.isfinite(negative[c])]
    if bad:
        value = positive[bad[0]] if not np.isfinite(positive[bad[0]]) else negative[bad[0]]
        counts = ", ".join(map(str, bad[:8]))
        yield Finding("not finite", f"{value} in groups with {counts} of {n} right", rows_of(groups[bad[0]]))
