"""Which table has the least mean squared error? Ridge regression in the Bernstein basis.

With psi_i = rho (1-rho) B_i^{n-1}, the error of weights alpha is E[(sum_i alpha_i psi_i - rho (1-rho) F')^2] plus
sum_i alpha_i^2 r_i, r_i = P(i of n-1 right) beta_i (1-beta_i) / (n signal). Scaled by sqrt(r_i) it is a least-squares
problem whose matrix is the identity below psi at the nodes of a quadrature: no eigenvalue lies below 1. It is solved
through a QR factorisation of that matrix rather than through the Gram matrix E[psi_i psi_j], although this one is known
in closed form: forming it squares the condition, and at signal 1e9 its rounding alone is larger than the identity.
"""

from __future__ import annotations

import numpy as np

from advshape.bernstein import FloatArray, basis
from advshape.errors import AdvshapeError
from advshape.objectives.expression import as_surrogate
from advshape.objectives.surrogate import Surrogate
from advshape.tables.estimator import AdvantageEstimator
from advshape.tables.prior import Beta
from advshape.tables.table import DEFAULT_PRIOR, AdvantageTable

__all__ = ["minimum_mse"]

LARGEST_N = 1024
"""An n x n problem with n conditions: the time grows with the cube of n."""


def minimum_mse(
    surrogate: Surrogate | str, prior: Beta = DEFAULT_PRIOR, signal: float = 64.0, nonnegative: bool = True
) -> AdvantageEstimator:
    """Weights of least error E[(F_n' - F')^2 rho^2 (1-rho)^2] + variance / signal, posterior-mean baseline.

    Any surrogate or formula and any n <= 1024, also k > n; under the isotropic-score model (theory: ridge regression
    in the Bernstein basis).

    Args:
        surrogate: F, or its formula, such as "1-(1-rho)**8".
        prior: over success probabilities, a, b > 0.
        signal: tau = (G^2 / S^2) x groups per prompt, the squared gradient of logit rho over the squared score norm;
            any positive number, large values mean "mind only the bias".
        nonnegative: forbid weights that push right answers down.

    Raises:
        AdvshapeError: signal is not positive and finite; n > 1024; F' is not square-integrable under the prior.

    >>> from advshape.objectives.elementary import PassAtK
    >>> minimum_mse(PassAtK(8), signal=64, nonnegative=False, prior=Beta(0.5, 1.0)).table(2).weight.round(3)
    array([ 1.744, -0.946])
    """
    aim = as_surrogate(surrogate)
    if not 0 < signal < np.inf:
        raise AdvshapeError(f"signal must be a positive number, got {signal!r}; 64 is a usual value")

    def build(n: int) -> AdvantageTable:
        if n > LARGEST_N:
            raise AdvshapeError(
                f"minimum_mse solves an n x n problem, which is offered for n <= {LARGEST_N}, got n={n}; "
                "use plug_in, unbiased or smaller groups"
            )
        beta = prior.posterior_mean(np.arange(n), n - 1)
        ridge = np.sqrt(prior.counts(n - 1) * beta * (1 - beta) / (signal * n))
        weight = solve(aim, prior, beta, ridge, nonnegative)
        return AdvantageTable.from_weights(weight, weight * beta)

    name = f"minimum_mse({aim!r}, {prior!r}, signal={signal:g}{'' if nonnegative else ', nonnegative=False'})"
    return AdvantageEstimator(name, aim, build, 1, "theory: minimum mean squared error in the Bernstein basis")


def solve(aim: Surrogate, prior: Beta, beta: FloatArray, ridge: FloatArray, nonnegative: bool) -> FloatArray:
    """The weights, for posterior means beta and the square roots of the variance's terms."""
    n = len(ridge)
    degree = 2 * (max(n - 1, aim.degree or 0) + 2)
    prior.expect(lambda rho: (rho * (1 - rho) * aim.derivative(rho)) ** 2, degree)  # else there is nothing to minimise
    nodes, mass = prior.quadrature(degree)
    damp = np.sqrt(mass) * nodes * (1 - nodes)
    inside = ridge > ridge.max() * 1e-9  # a count that hardly ever occurs decides nothing: rounding would choose
    with np.errstate(under="ignore"):
        design = damp[:, None] * basis(n - 1, nodes)[:, inside] / ridge[inside]
    target = damp * aim.derivative(nodes)
    factor, right = triangle(np.vstack([design, np.eye(int(inside.sum()))]), np.r_[target, np.zeros(inside.sum())])
    scaled = solve_nonnegative(factor, right) if nonnegative else back(factor, right)
    weight = aim.derivative(beta)
    weight = np.maximum(weight, 0.0) if nonnegative else weight
    weight[inside] = scaled / ridge[inside]
    return weight


def triangle(matrix: FloatArray, right: FloatArray) -> tuple[FloatArray, FloatArray]:
    """R and Q^T right of a QR factorisation, without Q."""
    size = matrix.shape[1]
    both = np.asarray(np.linalg.qr(np.c_[matrix, right], mode="r"))
    return both[:size, :size], both[:size, size]


def back(factor: FloatArray, right: FloatArray) -> FloatArray:
    """factor^-1 right, for an upper triangle."""
    from scipy.linalg import solve_triangular

    return np.asarray(solve_triangular(factor, right))


def solve_nonnegative(factor: FloatArray, right: FloatArray) -> FloatArray:
    """argmin |factor x - right| over x >= 0, by projected Newton steps (Bertsekas, SIAM J. Control Optim. 1982).

    Each step solves for all variables that are not held at 0, then walks along the projected line.
    """
    x = np.maximum(back(factor, right), 0.0)
    rounding = 1e-14 * float(np.linalg.norm(factor)) * float(np.linalg.norm(right))  # of a slope
    for _ in range(50 + len(right)):
        rest = right - factor @ x
        pull, now = factor.T @ rest, float(rest @ rest)  # minus half the slope; the error
        held = (x == 0) & (pull <= 0)
        off = np.where(held, 0.0, pull)
        # no eigenvalue lies below 1, so the error exceeds its minimum by |off|^2 at most
        if off @ off <= max(1e-13 * now, rounding**2):
            return x
        step = np.zeros(len(right))
        step[~held] = back(*triangle(factor[:, ~held], rest))
        for halved in range(60):
            there = np.maximum(x + step / 2**halved, 0.0)
            if float(np.sum((right - factor @ there) ** 2)) < now:
                break
        else:
            return x  # rounding hides what is left
        x = there
    return exchange_singly(factor, right)


def exchange_singly(factor: FloatArray, right: FloatArray) -> FloatArray:
    """The same by SciPy's active set: slower by far, and sure where the steps above go to and fro."""
    from scipy.optimize import nnls

    try:
        return np.asarray(nnls(factor, right, maxiter=100 * len(right))[0])
    except RuntimeError:
        raise AdvshapeError(
            "the weights of minimum_mse could not be settled; use a smaller signal, or nonnegative=False"
        ) from None
