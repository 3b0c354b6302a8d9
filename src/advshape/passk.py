"""What do k attempts at a prompt achieve? pass@k, pass^k, max@k and maj@k, estimated from n >= k rollouts.

All are exact averages over the subsets of k of the n rollouts, and so unbiased for k independent rollouts:
pass@k for 1 - (1 - rho)^k, pass^k for rho^k at success probability rho.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import comb
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from advshape.errors import AdvshapeError

Floats = NDArray[np.float64]

__all__ = ["maj_at_k", "max_at_k", "min_at_k", "pass_at_k", "pass_hat_k"]


def pass_at_k(correct: ArrayLike, n: ArrayLike, k: ArrayLike) -> Floats:
    """The share of subsets of k rollouts that hold at least one right rollout: 1 - C(n - c, k) / C(n, k).

    Args:
        correct: numbers of right rollouts c, 0 <= c <= n; NaN (not measured) gives NaN.
        n: numbers of judged rollouts; may differ by prompt.
        k: attempts, 1 <= k <= n. The three arrays broadcast against each other.

    Returns:
        float64 array of the broadcast shape, accurate to about 1e-12 relative for n up to 1e5.

    Raises:
        AdvshapeError: k > n (never 1.0), counts that are no integers, or c outside 0..n.

    Source: Chen et al. 2021, "Evaluating Large Language Models Trained on Code", equation 1.

    >>> pass_at_k([0, 1, 4], n=4, k=2)
    array([0. , 0.5, 1. ])
    >>> pass_at_k([[1], [2]], n=4, k=[1, 2, 4]).round(3)
    array([[0.25 , 0.5  , 1.   ],
           [0.5  , 0.833, 1.   ]])
    """
    return _by_group(correct, n, k, lambda c, n, k: 0.0 - np.expm1(_log_none(n, c, k)))


def pass_hat_k(correct: ArrayLike, n: ArrayLike, k: ArrayLike) -> Floats:
    """The share of subsets of k rollouts that are all right, pass^k: C(c, k) / C(n, k).

    Shapes, errors and accuracy as for `pass_at_k`.

    Source: Yao et al. 2024, "tau-bench", section 5.

    >>> pass_hat_k([0, 3, 4], n=4, k=2)
    array([0. , 0.5, 1. ])
    """
    return _by_group(correct, n, k, lambda c, n, k: np.exp(_log_none(n, n - c, k)))


def max_at_k(rewards: ArrayLike, k: int) -> Floats:
    """Mean over subsets of k rollouts of the largest reward; for 0/1 rewards this is pass@k.

    Args:
        rewards: (..., n) real rewards; NaN = not judged, that rollout does not count in n.
        k: attempts, 1 <= k <= judged rollouts of every prompt.

    Returns:
        (...,) float64.

    Raises:
        AdvshapeError: infinite rewards, or a prompt with fewer than k judged rollouts.

    Source: Walder & Karkhanis 2025, "Pass@K Policy Optimization", arXiv:2505.15201, theorem 3.

    >>> max_at_k([[0.0, 1.0, 3.0]], k=2).round(3)
    array([2.333])
    """
    values = np.asarray(rewards, dtype=np.float64)
    if values.ndim < 1 or np.isinf(values).any():
        raise AdvshapeError("rewards must be finite or NaN, with the rollouts on the last axis")
    rows = np.sort(values.reshape(-1, values.shape[-1]), axis=1)  # NaN last
    sizes = (~np.isnan(rows)).sum(axis=1)
    _checked(np.zeros(len(rows)), sizes, k)
    out = np.empty(len(rows))
    for n in np.unique(sizes):
        # weight of the i-th smallest (i = k..n): C(i - 1, k - 1) / C(n, k), from the largest downwards
        i = np.arange(n, k, -1.0)
        weight = np.concatenate([[k / n], k / n * np.cumprod((i - k) / (i - 1))])[::-1]
        out[sizes == n] = rows[sizes == n, k - 1 : n] @ weight
    return out.reshape(values.shape[:-1])


def min_at_k(rewards: ArrayLike, k: int) -> Floats:
    """Mean over subsets of k rollouts of the smallest reward; for 0/1 rewards this is pass^k. As `max_at_k`.

    >>> min_at_k([[0.0, 1.0, 3.0]], k=2).round(3)
    array([0.333])
    """
    return 0.0 - max_at_k(-np.asarray(rewards, dtype=np.float64), k)


def maj_at_k(votes: Sequence[int], right: int | None, k: int) -> float:
    """Chance that the most frequent answer among k of the n rollouts is the right one, exactly.

    A tie is broken at random: t answers tied at the top, the right one among them, count 1/t.

    Args:
        votes: how many of the n rollouts gave each distinct answer (equal answers merged).
        right: index of the right answer in `votes`, None when nobody gave it.
        k: attempts, 1 <= k <= n.

    Raises:
        AdvshapeError: k > n, negative votes, or n > 1,000 (the counts then leave float64).

    Source: self-consistency, Wang et al. 2022; the sum over subsets is by generating functions.

    >>> maj_at_k([2, 1, 1], right=0, k=3)
    0.6666666666666666
    """
    votes = [int(count) for count in votes]  # small numpy integers would overflow
    n = sum(votes)
    if min(votes, default=0) < 0 or n > 1000 or (right is not None and not 0 <= right < len(votes)):
        raise AdvshapeError(f"maj@k needs votes >= 0, at most 1,000 in all, and right among them, got {n} votes")
    _checked(0, n, k)
    if right is None:
        return 0.0
    others = [count for j, count in enumerate(votes) if j != right and count]
    won = 0.0
    for top in range(1, min(k, votes[right]) + 1):
        # ways[x, t]: subsets of the others with x rollouts, none above `top` and t of them at `top`
        ways = np.zeros((k - top + 1, (k - top) // top + 1))
        ways[0, 0] = 1
        for count in others:
            grown = np.zeros_like(ways)
            for x in range(min(count, top, k - top) + 1):
                tied = int(x == top)
                kept = ways[: ways.shape[0] - x, : ways.shape[1] - tied]
                grown[x:, tied:] += comb(count, x) * kept
            ways = grown
        won += comb(votes[right], top) * float((ways[k - top] / np.arange(1, ways.shape[1] + 1)).sum())
    return won / comb(n, k)


def _log_none(n: int, hits: NDArray[np.int64], k: int) -> Floats:
    """log of the probability that k draws without replacement from n miss all of `hits` marked ones.

    C(n - h, k) / C(n, k) = prod_{i < h} (1 - k / (n - i)): a running sum over i serves every h at once, and
    log1p keeps its relative accuracy where the probability is close to 1.
    """
    most = min(int(hits.max(initial=0)), n - k)
    log_none = np.zeros(most + 1)
    np.cumsum(np.log1p(-k / (n - np.arange(most, dtype=np.float64))), out=log_none[1:])
    return np.where(hits > n - k, -np.inf, log_none[np.minimum(hits, most)])


def _by_group(
    correct: ArrayLike, n: ArrayLike, k: ArrayLike, value: Callable[[NDArray[np.int64], int, int], Floats]
) -> Floats:
    """Apply `value` once for each distinct pair (n, k)."""
    c, size, draws = _checked(correct, n, k)
    if draws.ndim > 1 and not any(draws.strides[:-1]):
        # One k for each column, the usual case: column by column there is less to sort.
        columns = [_grouped(c[..., i], size[..., i], draws[..., i], value) for i in range(draws.shape[-1])]
        return np.stack(columns, axis=-1) if columns else np.empty(c.shape)
    return _grouped(c, size, draws, value)


def _grouped(c: Floats, size: Floats, draws: Floats, value: Callable[[NDArray[np.int64], int, int], Floats]) -> Floats:
    out = np.full(c.shape, np.nan)
    known = ~np.isnan(c)
    hits, sizes, ks = (a[known].astype(np.int64) for a in (c, size, draws))
    # One integer for each pair (n, k) sorts faster than pairs.
    code = sizes * (int(ks.max(initial=0)) + 1) + ks
    if code.size and (code == code[0]).all():
        out[known] = value(hits, int(sizes[0]), int(ks[0]))
        return out
    order = np.argsort(code, kind="stable")
    starts = np.flatnonzero(np.diff(code[order], prepend=-1))
    values = np.empty(code.shape)
    for rows in np.split(order, starts[1:]) if order.size else []:
        values[rows] = value(hits[rows], int(sizes[rows[0]]), int(ks[rows[0]]))
    out[known] = values
    return out


def _checked(correct: ArrayLike, n: ArrayLike, k: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """The three arguments as float64 arrays of one shape, or an error that says what to do."""
    arrays: list[Any] = []
    for name, given in (("correct", correct), ("n", n), ("k", k)):
        array = np.asarray(given)
        if array.dtype.kind not in "buif":
            raise AdvshapeError(f"{name} must hold integers, got an array of {array.dtype}")
        array = array.astype(np.float64)
        whole = np.isnan(array) if name == "correct" else np.zeros(array.shape, bool)
        broken = ~(whole | (np.isfinite(array) & (array == np.floor(array))))
        if broken.any():
            raise AdvshapeError(f"{name} must hold integers, got {array[broken].flat[0]}; pass counts, not rates")
        arrays.append(array)
    try:
        c, size, draws = np.broadcast_arrays(*arrays)
    except ValueError as error:
        shapes = ", ".join(str(a.shape) for a in arrays)
        raise AdvshapeError(f"correct, n and k must broadcast together, got shapes {shapes}") from error
    outside = (c < 0) | (c > size)
    if outside.any():
        i = int(np.argmax(outside))
        raise AdvshapeError(f"correct must lie in 0..n, got correct={c.flat[i]:g}, n={size.flat[i]:g}")
    if (draws < 1).any():
        raise AdvshapeError(f"pass@k needs k >= 1, got k={draws.min():g}")
    short = draws > size
    if short.any():
        i = int(np.argmax(np.where(short, draws, 0)))
        least, most = size[short].min(), draws[short].max()
        raise AdvshapeError(
            f"pass@{most:g} needs 1 <= k <= n, got k={draws.flat[i]:g}, n={size.flat[i]:g}"
            f" ({int(short.sum())} of {short.size} entries, the smallest n is {least:g});"
            f" sample at least {most:g} rollouts per prompt"
        )
    return c, size, draws
