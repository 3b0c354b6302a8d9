"""advshape: choose the objective, get the advantages; show us any advantages, we tell you the objective.

A surrogate reward F(rho) of a prompt's success probability becomes an advantage table (forward), a table becomes
the surrogate that it really optimises with n rollouts (reverse). arXiv:2510.23049.

>>> import advshape as adv
>>> E = adv.estimator("pass_at_k", k=2)
>>> adv.advantages([[1, 0, 0, 0], [1, 1, 0, 0]], E)
array([[ 2.        , -0.66666667, -0.66666667, -0.66666667],
       [ 0.66666667,  0.66666667, -0.66666667, -0.66666667]])
>>> adv.estimator("grpo").table(8).surrogate().derivative(0.0).round(9)   # GRPO at rho = 0: sqrt(7)
np.float64(2.645751311)
"""

from advshape.analysis import compare, describe
from advshape.catalogue import estimator, estimators, make_surrogate
from advshape.errors import AdvshapeError
from advshape.expression import Expression, parse
from advshape.formulas import IntegratedSurrogate
from advshape.forward import minimum_mse, plug_in, unbiased
from advshape.passk import pass_at_k, pass_hat_k
from advshape.prior import Beta, fit_prior
from advshape.probe import Finding, Reversal, reverse
from advshape.regularize import KL, Deviation, Regularization, falling, regularization
from advshape.rewards import advantages
from advshape.surrogate import (
    GRPO,
    AllOfK,
    Entropy,
    Identity,
    LogLikelihood,
    PassAtK,
    SkewR,
    Sum,
    Surrogate,
    Variance,
)
from advshape.surrogates import BetaFamily, Focal, GRPOJoint, LogOdds, MajorityOfK, RiskSensitive
from advshape.table import AdvantageEstimator, AdvantageTable, FiniteSurrogate

__version__ = "0.1.0"

__all__ = [
    "GRPO",
    "KL",
    "AdvantageEstimator",
    "AdvantageTable",
    "AdvshapeError",
    "AllOfK",
    "Beta",
    "BetaFamily",
    "Deviation",
    "Entropy",
    "Expression",
    "Finding",
    "FiniteSurrogate",
    "Focal",
    "GRPOJoint",
    "Identity",
    "IntegratedSurrogate",
    "LogLikelihood",
    "LogOdds",
    "MajorityOfK",
    "PassAtK",
    "Regularization",
    "Reversal",
    "RiskSensitive",
    "SkewR",
    "Sum",
    "Surrogate",
    "Variance",
    "advantages",
    "compare",
    "describe",
    "estimator",
    "estimators",
    "falling",
    "fit_prior",
    "make_surrogate",
    "minimum_mse",
    "parse",
    "pass_at_k",
    "pass_hat_k",
    "plug_in",
    "regularization",
    "reverse",
    "unbiased",
]
