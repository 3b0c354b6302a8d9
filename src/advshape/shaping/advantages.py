"""Rewards in, advantages out: numpy and torch from one source, NaN = not judged, no Python loop over prompts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from advshape.catalogue import estimator
from advshape.errors import AdvshapeError
from advshape.shaping.layer_cake import Bounds, layer_cake, narrowed
from advshape.tables.estimator import AdvantageEstimator
from advshape.tables.prior import Beta
from advshape.tables.table import AdvantageTable

__all__ = ["Rule", "advantages", "group_index"]

Array = TypeVar("Array")
Rule = AdvantageEstimator | AdvantageTable | Callable[[Any], Any] | str | Mapping[str, Any]


def advantages(
    rewards: Array,
    rule: Rule,
    *,
    groups: Any = None,
    history: Beta | None = None,
    too_small: Literal["raise", "zero"] = "raise",
    real: Literal["layer_cake"] | None = None,
    bounds: Bounds | None = None,
    rng: np.random.Generator | None = None,
) -> Array:
    """Advantages of 0/1 rewards, or of real ones where `real` says how; the trailing axis is the group.

    rewards: (*batch, n) numpy array, nested sequence or torch tensor, entries 0, 1 or NaN = not judged: such a rollout
    gets advantage 0 and its group's n shrinks by one. Same shape, device and floating dtype out (integers and
    booleans give the default floating dtype), no graph attached.
    rule: an AdvantageEstimator (table for each group's number of judged rollouts), text or a mapping that
    `advshape.estimator` takes, an AdvantageTable (its n must be the group's), or an advantage function
    (groups, n) -> (groups, n), applied as it is.
    groups: for flat rewards (B,), one group id per rollout in any order; groups may have different sizes.
    history: Beta prior from EARLIER visits only, arrays that broadcast to rewards.shape[:-1] (with `groups`: one entry
    per rollout); keeps the rule's weights and replaces its baseline by the posterior mean: the same mean gradient.
    too_small: groups with fewer judged rollouts than the rule's smallest n raise, or get 0 ("zero").
    real: "layer_cake" takes any finite reward and applies the rule at every threshold: it maximises the integral of
    F(P(r > t)) dt. That extends the objective, not the method's own formula: GRPO on rewards (0, 2) gives -+2 here,
    -+1 in trainers. bounds: (low, high) ends of the scale, None where unknown; `low` is needed where A+(n) != 0,
    `high` where A-(0) != 0.
    rng: a generator draws what a randomised rule (Pass@k Training's full sampling and bootstrap) leaves to chance;
    without it such a rule gives its exact expectation over the draws: the same mean gradient with less variance.
    Other rules leave rng alone. numpy inside; reproducible for one seed, shape and order of the groups.
    Raises AdvshapeError on any other reward, an empty group, or ids that do not match.

    >>> advantages(np.array([[1.0, 0.0, 0.0, 1.0], [1.0, np.nan, 0.0, 0.0]]), "rloo").round(2)
    array([[ 0.67, -0.67, -0.67,  0.67],
           [ 1.  ,  0.  , -0.5 , -0.5 ]])
    """
    rule = estimator(rule) if isinstance(rule, str | Mapping) else rule
    xp = _namespace(rewards)
    data: Any = rewards.detach() if xp is not np else _array(rewards)  # type: ignore[attr-defined]
    if too_small not in ("raise", "zero"):
        raise AdvshapeError(f"too_small must be 'raise' or 'zero', got {too_small!r}")
    if real not in (None, "layer_cake") or (bounds is not None and real is None):
        raise AdvshapeError(f'real must be None or "layer_cake", and bounds= goes with it; got {real!r}, {bounds!r}')
    if xp is np and data.dtype.kind not in "biuf":
        raise AdvshapeError(f"rewards must be numbers, got dtype {data.dtype}; use 1.0, 0.0 and NaN for not judged")
    if rng is not None and not isinstance(rng, np.random.Generator):
        raise AdvshapeError(f"rng must be a numpy Generator, got {rng!r}; use rng=np.random.default_rng(0)")
    if groups is not None:
        return _ragged(xp, data, rule, groups, history, too_small=too_small, real=real, bounds=bounds, rng=rng)
    if data.ndim < 1 or data.shape[-1] == 0:
        raise AdvshapeError(
            f"rewards need a trailing group axis with at least one rollout, got shape {tuple(data.shape)}"
        )
    if callable(rule) and not isinstance(rule, AdvantageEstimator | AdvantageTable):
        return _by_function(data, rule, history, real)
    if isinstance(rule, AdvantageEstimator):
        rule = rule.in_group(int(data.shape[-1]))
    if rng is not None and isinstance(rule, AdvantageEstimator) and rule.draw is not None:
        if real is not None or history is not None:
            raise AdvshapeError(f"{rule.name} draws with rng=, and real= and history= need its table; leave rng out")
        return _drawn(xp, data, rule, rng, too_small)
    if real is not None:
        return _real(xp, data, rule, history, too_small, _bounds(bounds))
    return _dense(xp, data, rule, history, too_small)


def _array(rewards: Any) -> NDArray[Any]:
    if isinstance(rewards, np.ma.MaskedArray):
        raise AdvshapeError("rewards are a masked array, got its mask too; use rewards.filled(np.nan): not judged")
    try:
        return np.asarray(rewards)
    except ValueError:  # rows of several lengths
        raise AdvshapeError(
            "rewards must be an array (groups, n), got rows of different lengths; fill them with NaN (not judged), or "
            "pass flat rewards with groups=, one id per rollout"
        ) from None


def _namespace(x: object) -> Any:
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(x, torch.Tensor) else np


def _by_function(data: Any, rule: Callable[[Any], Any], history: Beta | None, real: str | None) -> Any:
    if real is not None:
        raise AdvshapeError("real= needs an estimator or a table, got a function; a function takes rewards as they are")
    if history is not None:
        raise AdvshapeError("history= needs an estimator or a table, got a function; a function has no known weights")
    flat = data.reshape((-1, data.shape[-1]))
    found = rule(flat)
    if tuple(getattr(found, "shape", ())) != tuple(flat.shape):
        raise AdvshapeError(
            f"the advantage function must return shape {tuple(flat.shape)}, got {getattr(found, 'shape', type(found))}"
        )
    return found.reshape(data.shape)


def _dense(xp: Any, data: Any, rule: Any, history: Beta | None, too_small: str) -> Any:
    right = data == 1
    judged = None
    if not bool((right | (data == 0)).all()):
        judged = _judged(xp, data, right)
    correct = right.sum(-1)
    dtype, n = _floating(xp, data), int(data.shape[-1])
    if judged is None and history is None:
        _check_size(rule, n, too_small)
        if _smallest(rule) > n:
            return xp.zeros_like(data, dtype=dtype)
        table = _table(rule, n)
        positive, negative = (_like(xp, v, data, dtype) for v in (table.positive, table.negative))
        return xp.where(right, positive[correct][..., None], negative[correct][..., None])
    sizes = xp.full_like(correct, n) if judged is None else judged.sum(-1)
    wide = _wide(xp, data)  # weight * r - offset cancels: low precision would show
    tables = _tables(xp, rule, sizes, n, too_small)
    weight, offset = (_like(xp, v, data, wide) for v in tables)
    others = correct[..., None] - right * 1  # how many of the OTHER judged rollouts are right
    others = xp.where(others < 0, xp.zeros_like(others), others)
    row = sizes[..., None] + xp.zeros_like(others)
    alpha = weight[row, others]
    if history is None:
        result = alpha * right - offset[row, others]
    else:
        result = alpha * (right * 1 - _posterior(xp, data, wide, history, others, sizes))
    if judged is not None:
        result = xp.where(judged, result, xp.zeros_like(result))
    return result.astype(dtype, copy=False) if xp is np else result.to(dtype)


def _drawn(xp: Any, data: Any, rule: AdvantageEstimator, rng: np.random.Generator, too_small: str) -> Any:
    """One random outcome of every group, smallest groups first."""
    assert rule.draw is not None
    host = np.asarray(data if xp is np else data.cpu().to(xp.float64).numpy(), dtype=np.float64)
    judged = _judged(np, host, host == 1)
    found, sizes = np.zeros(host.shape), judged.sum(-1)
    _tables(np, rule, sizes, int(host.shape[-1]), too_small)  # the same errors as without rng
    for n in np.unique(sizes[sizes >= rule.smallest_n]).tolist():
        inside = judged & (sizes == n)[..., None]
        found[inside] = rule.draw(host[inside].reshape(-1, n), rng).reshape(-1)
    return _like(xp, found, data, _floating(xp, data))


def _real(xp: Any, data: Any, rule: Any, history: Beta | None, too_small: str, bounds: Bounds) -> Any:
    """The layer-cake form, in double precision where the device has it."""
    if history is not None:
        raise AdvshapeError('history= counts right answers, real="layer_cake" has none; leave one of them out')
    dtype = _floating(xp, data)
    low, high = (None if b is None else float(_rounded(xp, b, dtype)) for b in bounds)  # as the rewards are
    x = data.astype(np.float64, copy=False) if xp is np else data.to(_wide(xp, data))
    n = int(data.shape[-1])
    sizes = xp.full_like(x[..., 0], n, dtype=xp.int64)
    if not bool(xp.isfinite(x).all()):
        if bool(xp.isinf(x).any()):
            raise AdvshapeError("rewards must be finite or NaN (not judged), got an infinite one; clip your scores")
        sizes = n - xp.isnan(x).sum(-1)
    weight, offset = _tables(xp, rule, sizes, n, too_small)
    return narrowed(xp, layer_cake(xp, x, sizes, weight, offset, (low, high)), dtype)


def _rounded(xp: Any, value: float, dtype: Any) -> Any:
    return np.asarray(value).astype(dtype) if xp is np else xp.tensor(value, dtype=dtype)


def _bounds(bounds: Any) -> Bounds:
    if bounds is None:
        return None, None
    try:
        low, high = (None if b is None else float(b) for b in bounds)
    except (TypeError, ValueError):
        raise AdvshapeError(f"bounds must be (low, high), numbers or None, got {bounds!r}") from None
    ends = [b for b in (low, high) if b is not None]
    if not np.all(np.isfinite(ends)) or ends != sorted(ends):
        raise AdvshapeError(f"bounds must be finite with low <= high, or None where unknown, got {bounds!r}")
    return low, high


def _judged(xp: Any, data: Any, right: Any) -> Any:
    judged = ~xp.isnan(data)
    bad = judged & ~(right | (data == 0))
    if bool(bad.any()):
        where = tuple(int(i[0]) for i in (np.nonzero(bad) if xp is np else bad.nonzero(as_tuple=True)))
        raise AdvshapeError(
            f"rewards must be 0, 1 or NaN (not judged), got {float(data[where])} at index {where}; "
            'turn scores into 0/1 with a threshold, e.g. (rewards > 0.5), or choose real="layer_cake": the rule at '
            "every threshold, which on real rewards differs from the published formula of most rules (GRPO's too)"
        )
    return judged


def _floating(xp: Any, data: Any) -> Any:
    if xp is np:
        return data.dtype if np.issubdtype(data.dtype, np.floating) else np.dtype(np.float64)
    return data.dtype if data.dtype.is_floating_point else xp.get_default_dtype()


def _wide(xp: Any, data: Any) -> Any:
    """The dtype to compute in: float64 wherever the device has it."""
    return xp.float32 if xp is not np and data.device.type == "mps" else xp.float64


def _like(xp: Any, vector: NDArray[np.float64], data: Any, dtype: Any) -> Any:
    return (
        vector.astype(dtype) if xp is np else xp.tensor(np.asarray(vector, order="C"), dtype=dtype, device=data.device)
    )


def _smallest(rule: Any) -> int:
    return rule.n if isinstance(rule, AdvantageTable) else rule.smallest_n


def _table(rule: Any, n: int) -> AdvantageTable:
    if isinstance(rule, AdvantageEstimator):
        return rule.table(n)
    if not isinstance(rule, AdvantageTable):
        raise AdvshapeError(
            f"a rule is an AdvantageEstimator, an AdvantageTable or a function, got {rule!r}; "
            'try "rloo", or advshape.unbiased(F) for an objective F'
        )
    if rule.n != n:
        raise AdvshapeError(f"the table is for n={rule.n} rollouts, the group has {n} judged ones; pass an estimator")
    return rule


def _check_size(rule: Any, n: int, too_small: str) -> None:
    if too_small == "raise" or not isinstance(rule, AdvantageEstimator | AdvantageTable):
        _table(rule, n)


def _tables(
    xp: Any, rule: Any, sizes: Any, n_max: int, too_small: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """weight[n, j] and offset[n, j] for every group size n that occurs; groups that are too small get zeros."""
    weight, offset = np.zeros((n_max + 1, n_max + 1)), np.zeros((n_max + 1, n_max + 1))
    counted = np.bincount((sizes if xp is np else sizes.cpu().numpy()).reshape(-1))
    for n in np.flatnonzero(counted).tolist():
        if n == 0 and too_small == "raise":
            raise AdvshapeError("a group has no judged rollout; drop it or pass too_small='zero'")
        _check_size(rule, n, too_small)
        if n >= max(1, _smallest(rule)):
            table = _table(rule, n)
            weight[n, :n], offset[n, :n] = table.weight, table.offset
    return weight, offset


def _posterior(xp: Any, data: Any, dtype: Any, history: Beta, others: Any, sizes: Any) -> Any:
    """(j + a) / (n - 1 + a + b) per rollout."""
    a, b = (np.asarray(x, dtype=np.float64) for x in (history.a, history.b))
    for name, x in (("a", a), ("b", b)):
        try:
            np.broadcast_to(x, data.shape[:-1])
        except ValueError:
            raise AdvshapeError(
                f"history.{name} has shape {x.shape}; it must broadcast to one entry per prompt, "
                f"{tuple(data.shape[:-1])}"
            ) from None
    a_, b_ = _like(xp, a, data, dtype)[..., None], _like(xp, b, data, dtype)[..., None]
    total = (sizes[..., None] - 1) + a_ + b_
    if bool(((sizes[..., None] > 0) & (total <= 0)).any()):
        raise AdvshapeError("a group of one judged rollout needs history with a + b > 0; use Beta(0.5, 0.5) or larger")
    return (others + a_) / xp.where(total > 0, total, xp.ones_like(total))


def _ragged(xp: Any, data: Any, rule: Rule, groups: Any, history: Beta | None, **options: Any) -> Any:
    """Pack flat rewards to (P, n_max) padded with NaN, take the dense path, unpack."""
    inverse = group_index(groups, data)
    sizes = np.bincount(inverse)
    order = np.argsort(inverse, kind="stable")
    column = np.empty(len(inverse), dtype=np.int64)
    column[order] = np.arange(len(inverse)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    found, shape = _floating(xp, data), (len(sizes), int(sizes.max()))
    dtype = found if xp is np or data.dtype.is_floating_point else _wide(xp, data)  # large integers keep their digits
    if xp is np:
        packed, row, col = np.full(shape, np.nan, dtype=dtype), inverse, column
    else:
        packed = xp.full(shape, float("nan"), dtype=dtype, device=data.device)
        row, col = (xp.as_tensor(x, device=data.device) for x in (inverse, column))
    packed[row, col] = data.astype(dtype) if xp is np else data.to(dtype)
    if history is not None:
        first = np.zeros(len(sizes), dtype=np.int64)
        first[inverse[::-1]] = np.arange(len(inverse))[::-1]
        history = Beta(*(_per_group(x, first, inverse) for x in (history.a, history.b)))
    result: Any = advantages(packed, rule, history=history, **options)[row, col]
    return result if dtype == found else result.to(found)


def group_index(groups: Any, data: Any) -> NDArray[np.int64]:
    """The group of each rollout as 0..P-1, numbered in the order of the sorted ids.

    groups: one id per rollout, any order: integers, strings or other objects of one kind; data: flat rewards (B,).
    Raises AdvshapeError for another number of ids, NaN among them, or ids of several kinds.
    """
    if _namespace(groups) is not np:
        groups = groups.detach().cpu().numpy()
    try:
        ids = np.asarray(groups)
    except ValueError:
        ids = np.empty(0)
    if data.ndim != 1 or ids.shape != tuple(data.shape) or len(ids) == 0:
        raise AdvshapeError(
            f"groups= takes flat rewards (B,) and one id per rollout, got rewards {tuple(data.shape)} "
            f"and ids {ids.shape}"
        )
    if ids.dtype.kind == "f" and bool(np.isnan(ids).any()):
        raise AdvshapeError("a group id is NaN, which equals no other; use integers or strings")
    if ids.dtype == object or isinstance(groups, list | tuple):
        listed = list(groups)
        kinds = {_kind(x) for x in dict(zip(map(type, listed), listed, strict=True)).values()}
        if len(kinds) > 1:
            raise AdvshapeError(f"group ids must be all of one kind, got {sorted(kinds)}; use integers or strings")
        if kinds == {"int"} and ids.dtype.kind == "f":  # no integer of numpy's holds them all
            ids = np.array(listed, dtype=object)
    if ids.dtype == object:  # a dictionary takes a fraction of the time that sorting objects does
        number = {x: i for i, x in enumerate(sorted(dict.fromkeys(listed)))}
        return np.fromiter(map(number.__getitem__, listed), dtype=np.int64, count=len(listed))
    if ids.dtype.kind in "iu" and ids.min() == 0 and ids.max() < len(ids) and np.bincount(ids).all():
        return ids.astype(np.int64, copy=False)  # numbered already
    return np.unique(ids, return_inverse=True)[1].reshape(-1)


def _kind(group: object) -> str:
    """The kind of an id, numpy's as Python's."""
    return type(group.item() if isinstance(group, np.generic) else group).__name__


def _per_group(values: ArrayLike, first: NDArray[np.int64], inverse: NDArray[np.int64]) -> ArrayLike:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim == 0:
        return x
    if x.shape != inverse.shape or not np.array_equal(x, x[first][inverse]):
        raise AdvshapeError(
            f"with groups=, history needs one entry per rollout, equal within a group; "
            f"got shape {x.shape} for {len(inverse)}"
        )
    return x[first]
