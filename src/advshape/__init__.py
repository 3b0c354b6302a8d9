"""advshape: pick an objective and get its advantages, or pass any advantage rule and see what it really optimizes.

A surrogate reward F(rho) of a prompt's success probability becomes an advantage table (forward); a table becomes
the surrogate that it really optimizes with n rollouts (reverse). arXiv:2510.23049.

>>> import advshape as adv
>>> E = adv.estimator("pass_at_k", k=2)
>>> adv.advantages([[1, 0, 0, 0], [1, 1, 0, 0]], E)
array([[ 2.        , -0.66666667, -0.66666667, -0.66666667],
       [ 0.66666667,  0.66666667, -0.66666667, -0.66666667]])
>>> adv.estimator("grpo").table(8).surrogate().derivative(0.0).round(9)   # GRPO at rho = 0: sqrt(7)
np.float64(2.645751311)
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_NAMES = {  # room -> its public names; __init__.pyi tells type checkers the same
    "curriculum.adaptive": ("entropy_adaptive",),
    "catalogue.analysis": ("compare", "describe"),
    "catalogue": ("estimator", "estimators", "make_surrogate"),
    "errors": ("AdvshapeError",),
    "objectives.expression": ("Expression", "parse"),
    "objectives.integrated": ("IntegratedSurrogate",),
    "tables.forward": ("plug_in", "unbiased"),
    "tables.minimum_mse": ("minimum_mse",),
    "curriculum.history": ("PromptHistory", "priority", "sampling_probabilities"),
    "passk": ("maj_at_k", "max_at_k", "min_at_k", "pass_at_k", "pass_hat_k"),
    "tables.prior": ("Beta", "fit_prior"),
    "probe.reversal": ("Finding", "Reversal", "reverse"),
    "objectives.regularize": ("KL", "Deviation", "Regularization", "falling", "regularization"),
    "shaping.advantages": ("advantages",),
    "objectives.elementary": ("GRPO", "AllOfK", "Entropy", "Identity", "LogLikelihood", "PassAtK", "SkewR", "Variance"),
    "objectives.surrogate": ("Sum", "Surrogate"),
    "objectives.literature": ("BetaFamily", "Focal", "GRPOJoint", "LogOdds", "MajorityOfK", "RiskSensitive"),
    "tables.estimator": ("AdvantageEstimator",),
    "tables.table": ("AdvantageTable", "FiniteSurrogate"),
}
_ROOM = {name: room for room, names in _NAMES.items() for name in names}
__all__ = sorted(_ROOM)


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562), so that `advshape --help` waits for no array library."""
    if name not in _ROOM:
        raise AttributeError(f"module 'advshape' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"advshape.{_ROOM[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOM})
