"""pass@k and pass^k from counts: `correct` of `n` rollouts of each prompt were right.

Both are exact averages over all subsets of k of the n rollouts, and both are unbiased: over independent
rollouts with success probability rho their means are 1 - (1 - rho)^k and rho^k.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from advshape.errors import AdvshapeError

Floats = NDArray[np.float64]

__all__ = ["pass_at_k", "pass_hat_k"]


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
    out = np.full(c.shape, np.nan)
    known = ~np.isnan(c)
    # One integer for each pair (n, k) sorts faster than pairs.
    code = size[known].astype(np.int64) * (int(draws.max(initial=0)) + 1) + draws[known].astype(np.int64)
    order = np.argsort(code, kind="stable")
    starts = np.flatnonzero(np.diff(code[order], prepend=-1))
    values = np.empty(code.shape)
    hits, sizes, ks = (a[known].astype(np.int64) for a in (c, size, draws))
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
