"""Which of these estimators should I use? Bias, variance, error, and where the gradient goes, side by side.

The model behind every number: n independent on-policy rollouts; scores of one norm S whatever the reward, cross terms
between rollouts neglected (isotropic scores); ||grad logit rho|| = G for every prompt, so that a prompt's gradient
is omega G with omega_n(rho) = rho (1-rho) F_n'(rho). Errors are in units of G^2, noise enters through
signal = (G^2 / S^2) x groups per prompt.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from advshape.bernstein import FloatArray
from advshape.catalogue import estimator as named
from advshape.errors import AdvshapeError
from advshape.objectives.expression import as_surrogate
from advshape.objectives.regularize import falling, warning
from advshape.objectives.surrogate import Sum, Surrogate, non_polynomial_terms
from advshape.tables.estimator import AdvantageEstimator
from advshape.tables.prior import Beta
from advshape.tables.table import DEFAULT_PRIOR, AdvantageTable, counts_text

__all__ = [
    "Description",
    "alignment",
    "batch_error",
    "compare",
    "curves",
    "describe",
    "error",
    "findings",
    "scale_factor",
    "share_by_count",
    "share_by_rate",
]

SIGNALS = (16.0, 64.0, 1024.0)
BINS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
Scale = Literal["none", "rms", "rloo"]


@dataclass(frozen=True)
class Description:
    """What one estimator does at group size n; every field is a plain value, `as_row` is JSON-able.

    rms_bias: sqrt(E[(omega_n - omega)^2]) under the prior; bias_share: rms_bias over sqrt(E[omega^2]);
    surrogate, formula: the F that kind, bias and errors are against unless a target is given; omega: the weight
    omega(c/n) of (mean score of right) - (mean score of wrong) answers, c = 0..n, None where groups are not centred;
    alignment: the cosine of omega_n and omega, 1 where they differ by a constant only; second_moment:
    E[sum A^2 / n^2]; error: {signal: mean squared error}; at_zero, at_one: F_n'(0), F_n'(1); peak: counts c with the
    largest eta(c); silent: counts with no gradient; shares: signed share of the expected gradient by difficulty bin;
    negative_weights: whether right answers are pushed down for some count. None where no target is known.
    """

    name: str
    surrogate: str | None
    formula: str | None
    n: int
    kind: str
    centered: bool
    rms_bias: float | None
    bias_share: float | None
    alignment: float | None
    second_moment: float
    error: dict[float, float] | None
    at_zero: float
    at_one: float
    peak: tuple[int, ...]
    silent: tuple[int, ...]
    shares: tuple[float, ...]
    negative_weights: bool
    omega: tuple[float, ...] | None

    def as_row(self) -> dict[str, Any]:
        """The fields as a dictionary for JSON."""
        return asdict(self)


def describe(
    estimator: AdvantageEstimator | str,
    n: int,
    prior: Beta = DEFAULT_PRIOR,
    target: Surrogate | str | None = None,
    scale: Scale = "none",
) -> Description:
    """Bias, variance and emphasis of one estimator at group size n, averaged over a prior on success rates.

    estimator: an estimator or its text; target: the objective to judge it by, or its formula (default: its own
    surrogate); prior: Beta(a, b) with a, b > 0; scale: see `scale_factor`; the target is scaled along where it is the
    estimator's own.
    Raises AdvshapeError below the estimator's smallest n.

    >>> describe("grpo", 8).at_zero.__round__(6)   # sqrt(n - 1)
    2.645751
    >>> describe("pass_at_k(k=4)", 8).rms_bias < 1e-12
    True
    """
    found = named(estimator)
    plain = found.table(n)
    factor = scale_factor(plain, scale, prior)
    table, aim = plain.scaled(factor), None if target is None else as_surrogate(target)
    if target is None and found.surrogate is not None:
        aim = Sum(((factor, found.surrogate),))
    bias = size = ratio = errors = None
    if aim is not None:
        squared, _, aim_size, _ = _moments(table, aim, prior)
        bias, ratio = float(np.sqrt(squared)), alignment(table, aim, prior)
        size = bias / float(np.sqrt(aim_size)) if aim_size > 0 else None
        errors = dict(zip(SIGNALS, error(table, aim, SIGNALS, prior).tolist(), strict=True))
    eta = table.eta
    return Description(
        name=found.name,
        surrogate=repr(found.surrogate) if found.surrogate else None,
        formula=getattr(found.surrogate, "formula", None),
        n=n,
        kind=found.kind,
        centered=table.centered,
        rms_bias=bias,
        bias_share=size,
        alignment=ratio,
        second_moment=float(prior.counts(n) @ table.mean_square / n),
        error=errors,
        at_zero=float(table.weight[0]),
        at_one=float(table.weight[-1]),
        peak=tuple(np.flatnonzero(eta >= eta.max() * (1 - 1e-9)).tolist()),
        silent=tuple(np.flatnonzero(eta == 0).tolist()),
        shares=tuple(share_by_rate(table, BINS, prior).tolist()),
        negative_weights=bool((table.weight < -1e-12 * eta.max()).any()),
        omega=tuple(table.omega.tolist()) if table.centered else None,
    )


def compare(
    estimators: Iterable[AdvantageEstimator | str],
    n: int,
    prior: Beta = DEFAULT_PRIOR,
    target: Surrogate | str | None = None,
    scale: Scale = "none",
) -> list[Description]:
    """`describe` for several estimators at one n; raises for one that needs more rollouts, naming it.

    target: one objective for all, for instance the one that is wanted; None judges each by its own.

    >>> [row.peak for row in compare(["grpo", "passk_training(k=4)"], 32)]   # Chen et al.: at 50% and at 25%
    [(16,), (8,)]
    """
    return [describe(one, n, prior, target, scale) for one in estimators]


def error(table: AdvantageTable, target: Surrogate, signal: ArrayLike, prior: Beta = DEFAULT_PRIOR) -> FloatArray:
    """Mean squared error E[(omega_n - omega)^2] + E[second moment] / signal, in units of G^2; shape of `signal`.

    signal: (G^2 / S^2) x groups per prompt: more visits to the same prompt average the noise and leave the bias. With
    prompts that share no direction, a larger batch of prompts shrinks bias^2 and noise alike, so signal does not grow;
    with prompts that move the same direction, count them as visits. Theory: minimum mean squared error.
    """
    levels = np.asarray(signal, dtype=np.float64)
    if not np.all(levels > 0):
        raise AdvshapeError(f"signal must be positive, got {signal!r}; 64 is a usual value")
    bias = _moments(table, target, prior)[0]
    return bias + float(prior.counts(table.n) @ table.mean_square) / table.n / levels


def batch_error(
    table: AdvantageTable,
    target: Surrogate,
    prompts: ArrayLike,
    signal: float = 1.0,
    overlap: float = 0.0,
    prior: Beta = DEFAULT_PRIOR,
) -> FloatArray:
    """Mean squared error of a batch's mean gradient over `prompts` prompts, one group each, in units of G^2.

    With d = omega_n - omega: E[d^2] / B + (1 - 1/B) overlap E[d]^2 + E[second moment] / (B signal), B = prompts; shape
    of `prompts`. signal: G^2 / S^2. overlap: mean cosine between the directions of two prompts' gradients; at 0 bias
    and noise shrink alike, at 1 the mean bias stays whatever the batch.

    >>> batch_error(named("dr_grpo").table(8), named("dr_grpo").surrogate, [1, 100], overlap=1.0).round(5)
    array([0.01498, 0.00042])
    """
    size = np.asarray(prompts, dtype=np.float64)
    if not np.all(size >= 1) or not signal > 0 or not 0 <= overlap <= 1:
        raise AdvshapeError(
            f"a batch needs prompts >= 1, signal > 0 and 0 <= overlap <= 1, got {prompts!r}, {signal!r}, {overlap!r}"
        )

    def pulls(rho: FloatArray) -> FloatArray:  # the aim gives the scale to which a bias of 0 is 0
        return rho * (1 - rho) * np.stack([table.bias(target, rho), target.derivative(rho)])

    mean = float(prior.expect(pulls, _degree(table, target))[0])
    own = error(table, target, signal, prior)
    return own / size + (1 - 1 / size) * overlap * mean**2


def alignment(table: AdvantageTable, target: Surrogate, prior: Beta = DEFAULT_PRIOR) -> float:
    """E[omega_n omega] / sqrt(E[omega_n^2] E[omega^2]) under the prior: 1 exactly where F_n' is a multiple of F'."""
    _, size, aim, both = _moments(table, target, prior)
    return float(both / np.sqrt(size) / np.sqrt(aim)) if size > 0 and aim > 0 else float("nan")


def share_by_count(table: AdvantageTable, prior: Beta = DEFAULT_PRIOR) -> FloatArray:
    """Share of the expected absolute advantage spent on groups with c right, P(c) eta(c) normalised; shape (n + 1,)."""
    mass = prior.counts(table.n) * table.eta
    if not mass.sum() > 0:
        raise AdvshapeError("a table that is zero everywhere spends nothing; there are no shares")
    return mass / mass.sum()


def share_by_rate(table: AdvantageTable, bins: ArrayLike = BINS, prior: Beta = DEFAULT_PRIOR) -> FloatArray:
    """Signed share of the expected gradient omega_n(rho) by difficulty, shape (len(bins) - 1,).

    bins: rising edges from 0 to 1. Exact: omega_n times the Beta density is a sum of Beta densities. Absolute
    values add up to 1; a negative share says that prompts of that difficulty are pushed down.

    >>> share_by_rate(named("rloo").table(8), [0, 0.5, 1], Beta(1, 1)).round(6)
    array([0.5, 0.5])
    """
    from scipy.special import betainc

    edges = np.asarray(bins, dtype=np.float64)
    if edges.ndim != 1 or len(edges) < 2 or edges[0] != 0 or edges[-1] != 1 or not np.all(np.diff(edges) > 0):
        raise AdvshapeError(f"bins must rise from 0 to 1, got {bins!r}; use for instance [0, 0.1, 0.5, 1]")
    n, j = table.n, np.arange(table.n)
    both = prior.counts(n + 1)[1:-1]  # P(j + 1 of n + 1 right); C(n-1, j) / C(n+1, j+1) of it has the two at the ends
    mass = both * (j + 1) * (n - j) / (n * (n + 1)) * table.weight
    high, low = float(np.asarray(prior.a)) + j + 1, float(np.asarray(prior.b)) + n - j
    share = np.diff(betainc(high, low, edges[:, None]), axis=0) @ mass
    total = np.abs(share).sum()
    return share / total if total > 0 else share


def scale_factor(table: AdvantageTable, convention: Scale, prior: Beta = DEFAULT_PRIOR) -> float:
    """The factor that brings a table to a convention.

    "none": 1, the objective's own units, for exact gradients and Adam without clipping. "rms": unit root mean square in
    mixed groups, as GRPO's, so that clipping and a fixed learning rate meet advantages of one size. "rloo": the same
    mean pull E[omega_n] as RLOO under the prior, so that progress per step is compared at equal speed.
    """
    if convention == "none":
        return 1.0
    if convention == "rms":
        return 1 / table.rms(prior) if table.rms(prior) > 0 else 1.0
    if convention != "rloo":
        raise AdvshapeError(f"unknown scale {convention!r}; use 'none', 'rms' or 'rloo'")

    def pulls(rho: FloatArray) -> FloatArray:
        return rho * (1 - rho) * np.stack([table.surrogate().derivative(rho), np.ones_like(rho)])

    pull, natural = prior.expect(pulls, table.n + 1)
    if not pull > 0:
        raise AdvshapeError("this table has no positive mean pull, so it cannot match RLOO's; use scale='rms'")
    return float(natural / pull)


def curves(table: AdvantageTable, target: Surrogate, rho: ArrayLike) -> dict[str, FloatArray]:
    """F_n, F, their slopes, the bias of the slope and the second moment at rho; each of rho's shape. F_n(0) = 0.

    >>> sorted(curves(named("rloo").table(4), named("rloo").surrogate, [0.1, 0.9]))
    ['aim', 'aim_slope', 'bias', 'finite', 'finite_slope', 'rho', 'second_moment']
    """
    finite = table.surrogate()
    return {
        "rho": np.asarray(rho, dtype=np.float64),
        "finite": finite.value(rho),
        "aim": target.value(rho),
        "finite_slope": finite.derivative(rho),
        "aim_slope": target.derivative(rho),
        "bias": table.bias(target, rho),
        "second_moment": table.second_moment(rho),
    }


def findings(estimator: AdvantageEstimator, n: int) -> list[str]:
    """What a user must know: where the objective falls, where right is worth less than wrong, an infinite pull.

    >>> from advshape.tables.forward import plug_in
    >>> from advshape.objectives.elementary import Entropy, Identity
    >>> for line in findings(plug_in(Identity() + Entropy()), 8): print(line)
    no unbiased table exists for any n: the derivative of Entropy() is no polynomial in rho
    F falls for rho in (0.7311, 1): right answers are pushed down there; weaken the regulariser
    being right is worth less than being wrong where 6, 7 of the other 7 are right
    F'(0) = inf, which no table reaches: with n = 8 prompts that are hardly ever solved are pulled by F_n'(0) = 2.578
    F'(1) = -inf, which no table reaches: with n = 8 prompts that are nearly always solved are pulled
    by F_n'(1) = -0.8277
    """
    table, out = estimator.table(n), []
    aim = estimator.surrogate
    if aim is not None:
        out += _why_biased(aim, n) + ([warning(falling(aim))] if falling(aim) else [])
    down = np.flatnonzero(table.weight < -1e-12 * table.eta.max())
    if down.size:
        out.append(
            f"being right is worth less than being wrong where {counts_text(down)} of the other {n - 1} are right"
        )
    for end, who in ((0, "hardly ever"), (1, "nearly always")):
        slope = float(aim.derivative(float(end))) if aim is not None else 0.0
        if np.isinf(slope):
            pull = f"F_n'({end}) = {float(table.weight[-end]):.4g}"
            out.append(
                f"F'({end}) = {slope:g}, which no table reaches: with n = {n} prompts that are {who} solved are pulled "
                f"by {pull}"
            )
    return out


def _why_biased(aim: Surrogate, n: int) -> list[str]:
    """Why no unbiased table exists, or nothing where one does."""
    if aim.degree is None:
        named_terms = ", ".join(repr(f) for f in non_polynomial_terms(aim))
        return [f"no unbiased table exists for any n: the derivative of {named_terms} is no polynomial in rho"]
    if aim.degree > n - 1:
        return [f"no unbiased table exists with n = {n}: F' has degree {aim.degree}, which needs n >= {aim.degree + 1}"]
    return []


def _moments(table: AdvantageTable, target: Surrogate, prior: Beta) -> tuple[float, float, float, float]:
    """E[(omega_n - omega)^2], E[omega_n^2], E[omega^2], E[omega_n omega] under the prior."""

    def products(rho: FloatArray) -> FloatArray:
        natural = rho * (1 - rho)
        finite, aim = natural * table.surrogate().derivative(rho), natural * target.derivative(rho)
        return np.stack([(finite - aim) ** 2, finite**2, aim**2, finite * aim])

    bias, size, aim_size, both = prior.expect(products, _degree(table, target))
    return float(bias), float(size), float(aim_size), float(both)


def _degree(table: AdvantageTable, target: Surrogate) -> int:
    """Of the square of rho (1 - rho) times the larger of the two slopes."""
    return 2 * (max(table.n - 1, target.degree or 0) + 2)
