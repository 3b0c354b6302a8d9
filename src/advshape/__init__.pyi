"""The public surface for type checkers; at run time `__init__.py` imports each name on first use."""

from advshape.adaptive import (
    entropy_adaptive as entropy_adaptive,
)
from advshape.analysis import (
    compare as compare,
)
from advshape.analysis import (
    describe as describe,
)
from advshape.catalogue import (
    estimator as estimator,
)
from advshape.catalogue import (
    estimators as estimators,
)
from advshape.catalogue import (
    make_surrogate as make_surrogate,
)
from advshape.errors import (
    AdvshapeError as AdvshapeError,
)
from advshape.expression import (
    Expression as Expression,
)
from advshape.expression import (
    parse as parse,
)
from advshape.formulas import (
    IntegratedSurrogate as IntegratedSurrogate,
)
from advshape.forward import (
    minimum_mse as minimum_mse,
)
from advshape.forward import (
    plug_in as plug_in,
)
from advshape.forward import (
    unbiased as unbiased,
)
from advshape.history import (
    PromptHistory as PromptHistory,
)
from advshape.history import (
    priority as priority,
)
from advshape.history import (
    sampling_probabilities as sampling_probabilities,
)
from advshape.passk import (
    maj_at_k as maj_at_k,
)
from advshape.passk import (
    max_at_k as max_at_k,
)
from advshape.passk import (
    min_at_k as min_at_k,
)
from advshape.passk import (
    pass_at_k as pass_at_k,
)
from advshape.passk import (
    pass_hat_k as pass_hat_k,
)
from advshape.prior import (
    Beta as Beta,
)
from advshape.prior import (
    fit_prior as fit_prior,
)
from advshape.probe.reversal import (
    Finding as Finding,
)
from advshape.probe.reversal import (
    Reversal as Reversal,
)
from advshape.probe.reversal import (
    reverse as reverse,
)
from advshape.regularize import (
    KL as KL,
)
from advshape.regularize import (
    Deviation as Deviation,
)
from advshape.regularize import (
    Regularization as Regularization,
)
from advshape.regularize import (
    falling as falling,
)
from advshape.regularize import (
    regularization as regularization,
)
from advshape.rewards import (
    advantages as advantages,
)
from advshape.surrogate import (
    GRPO as GRPO,
)
from advshape.surrogate import (
    AllOfK as AllOfK,
)
from advshape.surrogate import (
    Entropy as Entropy,
)
from advshape.surrogate import (
    Identity as Identity,
)
from advshape.surrogate import (
    LogLikelihood as LogLikelihood,
)
from advshape.surrogate import (
    PassAtK as PassAtK,
)
from advshape.surrogate import (
    SkewR as SkewR,
)
from advshape.surrogate import (
    Sum as Sum,
)
from advshape.surrogate import (
    Surrogate as Surrogate,
)
from advshape.surrogate import (
    Variance as Variance,
)
from advshape.surrogates import (
    BetaFamily as BetaFamily,
)
from advshape.surrogates import (
    Focal as Focal,
)
from advshape.surrogates import (
    GRPOJoint as GRPOJoint,
)
from advshape.surrogates import (
    LogOdds as LogOdds,
)
from advshape.surrogates import (
    MajorityOfK as MajorityOfK,
)
from advshape.surrogates import (
    RiskSensitive as RiskSensitive,
)
from advshape.table import (
    AdvantageEstimator as AdvantageEstimator,
)
from advshape.table import (
    AdvantageTable as AdvantageTable,
)
from advshape.table import (
    FiniteSurrogate as FiniteSurrogate,
)

__version__: str
