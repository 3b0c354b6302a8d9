"""What does a 0/1 rule say about real-valued rewards? The rule at every threshold, summed: the layer-cake form.

A real reward is the stack of the 0/1 rewards 1[r > t] over all thresholds t. A rule that maximises F(rho) on each of
them maximises J = integral F(P(r > t)) dt, with advantages A_i = integral A(1[r_i > t]; c(t)) dt. Between two
neighbouring rewards nothing changes, so the integral is a sum over the sorted group: one sort, one prefix sum.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from advshape.bernstein import FloatArray
from advshape.errors import AdvshapeError

__all__ = ["Bounds", "layer_cake"]

Bounds = tuple[float | None, float | None]
_BLOCK = 8192  # entries worked on at once on a CPU: fits its cache, and fresh memory costs more than the arithmetic


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
    >>> from advshape.rewards import advantages
    >>> advantages([[0.0, 0.5, 2.0, 2.0]], estimator("rloo"), real="layer_cake").round(3)   # r - mean of the others
    array([[-1.5  , -0.833,  1.167,  1.167]])
    """
    n, size = int(data.shape[-1]), sizes.reshape(-1)
    kept = [int(m) for m in np.flatnonzero(np.bincount(size if xp is np else size.cpu().numpy())) if m > 0]
    low, high = _checked(data, bounds, _ends(weight, offset, kept), kept)
    groups = data.reshape((-1, n))
    on_step, on_all = (_like(xp, table, groups) for table in _by_place(weight, offset, kept))
    found = xp.empty_like(groups)
    block = max(1, _BLOCK // n) if xp is np or data.device.type == "cpu" else max(1, len(groups))
    for start in range(0, len(groups), block):
        part = slice(start, start + block)
        x, index = _sorted(xp, groups[part])
        lowest, rise = _steps(xp, x, size[part], on_step, on_all)
        if low is not None or high is not None:
            lowest += _outside(xp, x, size[part], weight, offset, low, high)
        if not bool(xp.isfinite(lowest).all()):
            raise AdvshapeError("two rewards lie further apart than floating point reaches; rescale them")
        _put(xp, found[part], index, x, lowest, rise)
    return found.reshape(data.shape)


def _steps(xp: Any, x: Any, size: Any, on_step: Any, on_all: Any) -> tuple[Any, Any]:
    """The lowest reward's advantage (groups,), and what each next place adds (groups, n - 1); not judged ones add 0."""
    n = x.shape[1]
    with np.errstate(over="ignore", invalid="ignore"):  # an overflow is reported by the caller
        step = x[:, 1:] - x[:, :-1]
        if bool((size == n).all()):
            return step @ on_all[n], step * on_step[n]
        step[xp.isnan(step)] = 0.0
        return (step * on_all[size]).sum(-1), step * on_step[size]


def _put(xp: Any, found: Any, index: Any, x: Any, lowest: Any, rise: Any) -> None:
    """Prefix sums above the lowest reward's advantage, back in the order of the rewards, into `found`."""
    values = xp.empty_like(x)
    values[:, 0] = 0.0
    values[:, 1:] = rise.cumsum(-1)
    values += lowest[:, None]
    if bool(xp.isnan(x[:, -1]).any()):  # not judged ones are last
        values[xp.isnan(x)] = 0.0
    if xp is np:
        found.reshape(-1)[index] = values
    else:
        found.scatter_(-1, index, values)


def _ends(weight: FloatArray, offset: FloatArray, kept: list[int]) -> tuple[float, float]:
    """The largest |A+(m)| and |A-(0)| over the group sizes that occur: what a missing bound would multiply."""
    top = [abs(weight[m, m - 1] - offset[m, m - 1]) for m in kept]
    bottom = [abs(offset[m, 0]) for m in kept]
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
        if bound is not None and kept:
            outside = data < bound if name == "low" else data > bound
            if bool(outside.any()):
                raise AdvshapeError(f"a reward of {float(data[outside][0])} lies outside {name}={bound}; widen bounds=")
    return used[0], used[1]


def _by_place(weight: FloatArray, offset: FloatArray, kept: list[int]) -> tuple[FloatArray, FloatArray]:
    """[m, s - 1]: what the step up to place s = 1..n-1 (0-based) adds from there on, and what it adds to all."""
    n = len(weight) - 1
    on_step, on_all = np.zeros((n + 1, n - 1)), np.zeros((n + 1, n - 1))
    for m in kept:
        positive, negative = weight[m, : m - 1] - offset[m, : m - 1], -offset[m, 1:m]  # A+(c), A-(c), c = 1..m-1
        on_step[m, : m - 1], on_all[m, : m - 1] = (positive - negative)[::-1], negative[::-1]
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


def _sorted(xp: Any, data: Any) -> tuple[Any, Any]:
    """Each group ascending, not judged ones last, and where every entry came from; (groups, n) both."""
    if xp is not np:
        return xp.sort(data, dim=-1)
    index = np.argsort(data, axis=-1)
    index += np.arange(len(data))[:, None] * data.shape[1]  # flat places: cheaper than take_along_axis
    return data.take(index), index


def _like(xp: Any, values: FloatArray, x: Any) -> Any:
    return values if xp is np else xp.tensor(values, dtype=x.dtype, device=x.device)


def _on(xp: Any, x: Any) -> dict[str, Any]:
    return {} if xp is np else {"device": x.device}
