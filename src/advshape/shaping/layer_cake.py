"""What does a 0/1 rule say about real-valued rewards? The rule at every threshold, summed: the layer-cake form.

A real reward is the stack of the 0/1 rewards 1[r > t] over all thresholds t. A rule that maximises F(rho) on each of
them maximises J = integral F(P(r > t)) dt, with advantages A_i = integral A(1[r_i > t]; c(t)) dt. Between two
neighbouring rewards nothing changes, so the integral is a sum over the sorted group: one sort, one prefix sum.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from advshape.bernstein import FloatArray
from advshape.errors import AdvshapeError

__all__ = ["Bounds", "layer_cake", "narrowed"]

Bounds = tuple[float | None, float | None]
_BLOCK = 16384  # entries worked on at once on a CPU: fits its cache, and fresh memory costs more than the arithmetic
_SHORT = 24  # groups up to this size are summed column by column


def layer_cake(xp: Any, data: Any, sizes: Any, weight: FloatArray, offset: FloatArray, bounds: Bounds) -> Any:
    """Advantages of real rewards from the tables of every group size that occurs; float64, shape of `data`.

    data: (*batch, n) floating, finite or NaN = not judged (advantage 0); sizes: (*batch,) judged rollouts per group;
    weight, offset: (n + 1, n + 1), row m the table of group size m by number of correct others; bounds: (low, high),
    None where not stated. xp: numpy or torch, the namespace of `data`.

    With the group sorted ascending, x_1 <= ... <= x_m and d_s = x_s - x_{s-1}:
    A at place i = sum_{s <= i} d_s A+(c_s) + sum_{s > i} d_s A-(c_s), c_s = m - s + 1 rewards reach x_s.
    Below x_1 all count as right, above x_m none: these two add A+(m) (x_1 - low) and A-(0) (high - x_m). Equal rewards
    have d = 0 between them and get exactly equal advantages. Raises AdvshapeError where a bound is needed and missing,
    or broken.

    >>> from advshape.catalogue import estimator
    >>> from advshape.shaping.advantages import advantages
    >>> advantages([[0.0, 0.5, 2.0, 2.0]], estimator("rloo"), real="layer_cake").round(3)   # r - mean of the others
    array([[-1.5  , -0.833,  1.167,  1.167]])
    """
    if xp is not np and data.device.type == "cpu":  # numpy sorts small groups faster, and shares the memory
        return xp.from_numpy(layer_cake(np, data.numpy(), sizes.numpy(), weight, offset, bounds))
    return _layer_cake(xp, data, sizes, weight, offset, bounds)


def narrowed(xp: Any, values: Any, dtype: Any) -> Any:
    """The advantages in the rewards' dtype. Raises AdvshapeError where one is too large for half precision."""
    with np.errstate(over="ignore"):
        found = values.astype(dtype, copy=False) if xp is np else values.to(dtype)
    if dtype.itemsize < 4 and not bool(xp.isfinite(found).all()):
        raise AdvshapeError(
            f"an advantage of {float(values[~xp.isfinite(found)][0]):.4g} is beyond the rewards' dtype, "
            f"{str(dtype).removeprefix('torch.')}; pass float32 rewards, or rescale them"
        )
    return found


def _layer_cake(xp: Any, data: Any, sizes: Any, weight: FloatArray, offset: FloatArray, bounds: Bounds) -> Any:
    """`layer_cake` where the data lie; on a CPU in blocks."""
    n, size = int(data.shape[-1]), sizes.reshape(-1)
    kept = np.flatnonzero(np.bincount(size if xp is np else size.cpu().numpy(), minlength=1)).tolist()
    low, high = _checked(data, bounds, _ends(weight, offset, kept), kept)
    groups = np.ascontiguousarray(data.reshape((-1, n))) if xp is np else data.reshape((-1, n)).contiguous()
    found = xp.empty_like(groups)
    block = max(1, _BLOCK // n) if xp is np else max(1, len(groups))
    place = xp.arange(len(groups[:block]) * n, **_on(xp, groups)).reshape((-1, n))
    factors = _factors(xp, groups[:block], weight, offset, kept)
    for start in range(0, len(groups), block):
        part = slice(start, start + block)
        x, step, index = _sorted(xp, groups[part], place, whole=kept == [n])
        ends = None if low is None and high is None else _outside(xp, x, size[part], weight, offset, low, high)
        rise, toll = factors(size[part])
        values = _summed(xp, step, rise, toll, ends)
        if not bool(xp.isfinite(values[:, -1]).all()):  # whatever overflowed is still in the last sum
            raise AdvshapeError("two rewards lie further apart than floating point reaches; rescale them")
        if kept != [n]:
            values[xp.isnan(x)] = 0.0
        found[part].reshape(-1)[index.reshape(-1)] = values.reshape(-1)
    return found.reshape(data.shape)


def _summed(xp: Any, step: Any, rise: Any, toll: Any, ends: Any) -> Any:
    """Advantages by place, (groups, n): the lowest reward's, then prefix sums of what each step adds from there on.

    ends: (groups,) comes on top of all, or None. Places not judged repeat the one before. Overwrites `step`.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # an overflow is reported by the caller
        if toll.ndim == 1:
            lowest = step @ toll
        else:
            step[xp.isnan(step)] = 0.0
            lowest = (step * toll).sum(-1)
        step *= rise[: len(step)]
        step[:, 0] = lowest if ends is None else lowest + ends
        if xp is not np or step.shape[1] > min(_SHORT, len(step)):
            return step.cumsum(-1)
        for before, here in pairwise(list(step.T)):  # many short rows: column by column is faster
            here += before
    return step


def _factors(xp: Any, x: Any, weight: FloatArray, offset: FloatArray, kept: list[int]) -> Callable[[Any], Any]:
    """By group sizes (groups,): what a step adds from its place on, (groups, n), and to all, (n,) or (groups, n)."""
    n = len(weight) - 1
    on_step, on_all = _by_place(weight, offset, kept)
    if kept == [n]:
        rise = np.repeat(on_step[n : n + 1], len(x) if xp is np else 1, axis=0)  # numpy multiplies like shapes faster
        pair = _like(xp, rise, x), _like(xp, on_all[n], x)
        return lambda size: pair
    rises, tolls = _like(xp, on_step, x), _like(xp, on_all, x)
    return lambda size: (rises[size], tolls[size])


def _ends(weight: FloatArray, offset: FloatArray, kept: list[int]) -> tuple[float, float]:
    """The largest |A+(m)| and |A-(0)| over the group sizes that occur: what a missing bound would multiply."""
    top = [abs(weight[m, m - 1] - offset[m, m - 1]) for m in kept if m]
    bottom = [abs(offset[m, 0]) for m in kept if m]
    return max(top, default=0.0), max(bottom, default=0.0)


def _checked(data: Any, bounds: Bounds, ends: tuple[float, float], kept: list[int]) -> Bounds:
    """The bounds that matter; every stated one is checked against the data."""
    used: list[float | None] = []
    for bound, end, name, symbol, where in zip(
        bounds, ends, ("low", "high"), ("A+(n)", "A-(0)"), ("below the lowest", "above the highest"), strict=True
    ):
        if bound is None and end != 0:
            raise AdvshapeError(
                f"this rule has {symbol} = {end:g} != 0, so thresholds {where} reward of a group count too: state "
                f"the {name} end of the scale, bounds=(low, high), or use a rule that is silent there"
            )
        used.append(bound if end != 0 else None)
        if bound is not None and any(kept):
            outside = data < bound if name == "low" else data > bound
            if bool(outside.any()):
                raise AdvshapeError(f"a reward of {float(data[outside][0])} lies outside {name}={bound}; widen bounds=")
    return used[0], used[1]


def _by_place(weight: FloatArray, offset: FloatArray, kept: list[int]) -> tuple[FloatArray, FloatArray]:
    """[m, s]: what the step up to place s = 1..m-1 (0-based) adds from there on, and what it adds to all."""
    on_step, on_all = np.zeros_like(weight[:, 1:]), np.zeros_like(weight[:, 1:])
    for m in filter(None, kept):
        positive, negative = weight[m, : m - 1] - offset[m, : m - 1], -offset[m, 1:m]  # A+(c), A-(c), c = 1..m-1
        on_step[m, 1:m], on_all[m, 1:m] = (positive - negative)[::-1], negative[::-1]
    return on_step, on_all


def _outside(
    xp: Any, x: Any, size: Any, weight: FloatArray, offset: FloatArray, low: float | None, high: float | None
) -> Any:
    """A+(m) (x_1 - low) + A-(0) (high - x_m), shape (groups,); 0 for a group without judged rollouts."""
    m = np.arange(len(weight))
    total = xp.zeros_like(x[:, 0])
    if low is not None:
        total = total + _like(xp, weight[m, m - 1] - offset[m, m - 1], x)[size] * (x[:, 0] - low)
    if high is not None:
        last = x[xp.arange(len(x), **_on(xp, x)), xp.where(size > 0, size - 1, size)]
        total = total - _like(xp, offset[:, 0], x)[size] * (high - last)
    return xp.where(xp.isnan(total), xp.zeros_like(total), total)


def _sorted(xp: Any, data: Any, place: Any, whole: bool) -> tuple[Any, Any, Any]:
    """Each group ascending, not judged ones last; the steps up to each from the one before; where each came from.

    All (groups, n). place: the entries' own flat places; whole: every rollout is judged.
    """
    place = place[: len(data)]
    if xp is not np:
        x, index = xp.sort(data, dim=-1)
        return x, _steps(xp, x), index + place[:, :1]
    if whole and data.dtype == np.float64:
        index = _order(data, place)
        x = data.take(index)
        step = _steps(xp, x)
        if step.size == 0 or step.min() >= 0:
            return x, step, index
    index = np.argsort(data, axis=-1) + place[:, :1]
    x = data.take(index)
    return x, _steps(xp, x), index


def _steps(xp: Any, x: Any) -> Any:
    """d_s = x_s - x_{s-1} within each group, 0 at its first place."""
    step, flat = xp.empty_like(x), x.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):  # an overflow is reported at the end
        xp.subtract(flat[1:], flat[:-1], out=step.reshape(-1)[1:])  # one long row is faster than many short ones
    step[:, 0] = 0.0
    return step


def _order(data: FloatArray, place: Any) -> Any:
    """Flat places of each group in order, by one sort of values: each carries its place in its fraction's low bits.

    Twice as fast as argsort. Wrong where two rewards of a group differ in these bits alone: for the caller to see.
    Where the processor flushes subnormals to zero, places beside a reward of 0 are lost, and their sum shows it.
    """
    low = (1 << (place.size - 1).bit_length()) - 1
    key = data.view(np.int64) & ~low
    key |= place
    key.view(np.float64).sort(axis=-1)
    key &= low
    if int(key.sum()) == place.size * (place.size - 1) // 2:
        return key
    return np.argsort(data, axis=-1) + place[:, :1]


def _like(xp: Any, values: FloatArray, x: Any) -> Any:
    return values if xp is np else xp.tensor(values, dtype=x.dtype, device=x.device)


def _on(xp: Any, x: Any) -> dict[str, Any]:
    return {} if xp is np else {"device": x.device}
