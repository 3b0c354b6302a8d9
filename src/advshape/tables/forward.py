"""Which table serves this surrogate? Plug-in, unbiased with any baseline, minimum mean squared error."""

from __future__ import annotations

from typing import Literal

import numpy as np

from advshape.bernstein import FloatArray
from advshape.errors import AdvshapeError
from advshape.objectives.expression import as_surrogate
from advshape.objectives.integrated import Formula
from advshape.objectives.surrogate import Surrogate, non_polynomial_terms
from advshape.tables.estimator import AdvantageEstimator
from advshape.tables.prior import Beta
from advshape.tables.table import AdvantageTable

__all__ = ["choose_build", "plug_in", "plug_in_table", "unbiased"]

Baseline = Literal["zero", "leave_one_out", "centered"] | Beta


def plug_in(surrogate: Surrogate | str) -> AdvantageEstimator:
    """F' evaluated at rho_hat = c/n: A+ = (1 - rho_hat) F'(rho_hat), A- = -rho_hat F'(rho_hat).

    Biased; silent at c = 0 and c = n; works for every surrogate, or formula, that is smooth inside (0, 1).
    arXiv:2510.23049 (forward engineering).

    >>> from advshape.objectives.elementary import GRPO
    >>> plug_in(GRPO()).table(4).positive.round(4)
    array([0.    , 1.7321, 1.    , 0.5774, 0.    ])
    """
    aim = as_surrogate(surrogate)

    def build(n: int) -> AdvantageTable:
        rho = np.arange(1, n) / n
        slope = aim.derivative(rho)
        return AdvantageTable(np.r_[0.0, (1 - rho) * slope, 0.0], np.r_[0.0, -rho * slope, 0.0])

    return AdvantageEstimator(f"plug_in({aim!r})", aim, build, 2, "arXiv:2510.23049")


def unbiased(surrogate: Surrogate | str, baseline: Baseline = "leave_one_out") -> AdvantageEstimator:
    """The unbiased estimator of F' grad rho: weights are the Bernstein coefficients of F' in degree n - 1.

    Exists iff F' is a polynomial of degree <= n - 1 (<= n - 2 for "centered"), and the weights are then unique.
    baseline: "zero" (REINFORCE), "leave_one_out" (RLOO), "centered" (advantages of every group sum to 0), or
    a Beta prior: the posterior mean of the others, minimum variance under the isotropic-score model.
    surrogate: or its formula, such as "1-(1-rho)**8". Raises AdvshapeError, naming the term, where no unbiased table
    exists. Theory: Davis & Recht, arXiv:2510.13651; Zheng, arXiv:2605.30154 (RL2ML), also states it in this basis.

    >>> from advshape.objectives.elementary import PassAtK
    >>> unbiased(PassAtK(2), "centered").table(4).positive.round(4)
    array([0.    , 2.    , 0.6667, 0.    , 0.    ])
    """
    aim = as_surrogate(surrogate)
    if aim.degree is None:
        named = ", ".join(repr(f) for f in non_polynomial_terms(aim)) or repr(aim)
        raise AdvshapeError(
            f"no unbiased table exists for {aim!r}: the derivative of {named} is no polynomial in rho; "
            "use plug_in(...), minimum_mse(...) or a polynomial of finite order such as LogLikelihood(order=8)"
        )
    if not isinstance(baseline, Beta) and baseline not in ("zero", "leave_one_out", "centered"):
        raise AdvshapeError(
            f"unknown baseline {baseline!r}; use 'zero', 'leave_one_out', 'centered' or a Beta(a, b) prior"
        )

    def build(n: int) -> AdvantageTable:
        if baseline == "centered":
            return _leave_two_out(_coefficients(aim, n - 2))
        weight, j = _coefficients(aim, n - 1), np.arange(n)
        if isinstance(baseline, Beta):
            return AdvantageTable.from_weights(weight, weight * baseline.posterior_mean(j, n - 1))
        beta = np.zeros(n) if baseline == "zero" else j / (n - 1)
        return AdvantageTable.from_weights(weight, weight * beta)

    needed = aim.degree + (2 if baseline == "centered" else 1)
    if baseline != "zero" and not (isinstance(baseline, Beta) and _proper(baseline)):
        needed = max(needed, 2)
    label = repr(baseline) if isinstance(baseline, Beta) else f'"{baseline}"'
    reason = f"F' of {aim!r} is a polynomial of degree {aim.degree}"
    return AdvantageEstimator(
        f"unbiased({aim!r}, {label})",
        aim,
        build,
        needed,
        "arXiv:2510.23049; arXiv:2510.13651",
        note=reason,
    )


def choose_build(surrogate: Surrogate, n: int) -> tuple[dict[str, str], str]:
    """How an objective becomes a table where nothing else is asked for: the keys of a mapping for `estimator`, and why.

    Unbiased where that exists with n rollouts, centred rather than with the leave-one-out baseline; minimum_mse for a
    polynomial F' of too high a degree; plug_in for every other F'.

    >>> from advshape.objectives.elementary import PassAtK
    >>> choose_build(PassAtK(64), 8)[0]
    {'build': 'minimum_mse'}
    >>> choose_build(PassAtK(8), 8)
    ({'build': 'unbiased', 'baseline': 'leave_one_out'}, "unbiased: F' has degree 7, which n = 8 allows")
    """
    degree = surrogate.degree
    if degree is None:
        return {"build": "plug_in"}, "plug_in: no unbiased table exists for any n, since F' is no polynomial"
    if degree > n - 1:
        why = f"no unbiased table exists with n = {n}, since F' has degree {degree} and needs n >= {degree + 1}"
        return {"build": "minimum_mse"}, f"minimum_mse: {why}"
    baseline = "centered" if degree <= n - 2 else "leave_one_out" if n > 1 else "zero"
    return {"build": "unbiased", "baseline": baseline}, f"unbiased: F' has degree {degree}, which n = {n} allows"


def _coefficients(surrogate: Surrogate, degree: int) -> FloatArray:
    found = surrogate.bernstein(degree)
    if found is None:
        raise AdvshapeError(f"F' of {surrogate!r} is no polynomial of degree <= {degree}; use a larger n")
    return found


def _proper(prior: Beta) -> bool:
    return bool(np.all(np.asarray(prior.a) + np.asarray(prior.b) > 0))


def _leave_two_out(b: FloatArray) -> AdvantageTable:
    """Centred and unbiased, b of degree n - 2: A+ = b_{c-1} (n-c)/(n-1), A- = -b_{c-1} c/(n-1)."""
    n = len(b) + 1
    c = np.arange(1, n)
    return AdvantageTable(np.r_[0.0, b * (n - c) / (n - 1), 0.0], np.r_[0.0, -b * c / (n - 1), 0.0])


def plug_in_table(positive: Formula, negative: Formula, n: int) -> AdvantageTable:
    """The formulas at rho_hat = c/n in mixed groups, silent at c = 0 and c = n."""
    rho = np.arange(1, n) / n
    with np.errstate(all="ignore"):
        right, wrong = (np.asarray(f(rho), np.float64) + np.zeros(n - 1) for f in (positive, negative))
    return AdvantageTable(np.r_[0.0, right, 0.0], np.r_[0.0, wrong, 0.0])
