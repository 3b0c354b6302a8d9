"""The public surface for type checkers; at run time `__init__.py` imports each name on first use."""

from advshape.catalogue import (
    estimator as estimator,
)
from advshape.catalogue import (
    estimators as estimators,
)
from advshape.catalogue import (
    make_surrogate as make_surrogate,
)
from advshape.catalogue.analysis import (
    compare as compare,
)
from advshape.catalogue.analysis import (
    describe as describe,
)
from advshape.curriculum.adaptive import (
    entropy_adaptive as entropy_adaptive,
)
from advshape.curriculum.history import (
    PromptHistory as PromptHistory,
)
from advshape.curriculum.history import (
    priority as priority,
)
from advshape.curriculum.history import (
    sampling_probabilities as sampling_probabilities,
)
from advshape.errors import (
    AdvshapeError as AdvshapeError,
)
from advshape.objectives.elementary import GRPO as GRPO
from advshape.objectives.elementary import AllOfK as AllOfK
from advshape.objectives.elementary import Entropy as Entropy
from advshape.objectives.elementary import Identity as Identity
from advshape.objectives.elementary import LogLikelihood as LogLikelihood
from advshape.objectives.elementary import PassAtK as PassAtK
from advshape.objectives.elementary import SkewR as SkewR
from advshape.objectives.elementary import Variance as Variance
from advshape.objectives.expression import (
    Expression as Expression,
)
from advshape.objectives.expression import (
    parse as parse,
)
from advshape.objectives.integrated import (
    IntegratedSurrogate as IntegratedSurrogate,
)
from advshape.objectives.literature import (
    BetaFamily as BetaFamily,
)
from advshape.objectives.literature import (
    Focal as Focal,
)
from advshape.objectives.literature import (
    GRPOJoint as GRPOJoint,
)
from advshape.objectives.literature import (
    LogOdds as LogOdds,
)
from advshape.objectives.literature import (
    MajorityOfK as MajorityOfK,
)
from advshape.objectives.literature import (
    RiskSensitive as RiskSensitive,
)
from advshape.objectives.regularize import (
    KL as KL,
)
from advshape.objectives.regularize import (
    Deviation as Deviation,
)
from advshape.objectives.regularize import (
    Regularization as Regularization,
)
from advshape.objectives.regularize import (
    falling as falling,
)
from advshape.objectives.regularize import (
    regularization as regularization,
)
from advshape.objectives.surrogate import (
    Sum as Sum,
)
from advshape.objectives.surrogate import (
    Surrogate as Surrogate,
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
from advshape.probe.reversal import (
    Finding as Finding,
)
from advshape.probe.reversal import (
    Reversal as Reversal,
)
from advshape.probe.reversal import (
    reverse as reverse,
)
from advshape.shaping.advantages import (
    advantages as advantages,
)
from advshape.tables.estimator import AdvantageEstimator as AdvantageEstimator
from advshape.tables.forward import (
    plug_in as plug_in,
)
from advshape.tables.forward import (
    unbiased as unbiased,
)
from advshape.tables.minimum_mse import (
    minimum_mse as minimum_mse,
)
from advshape.tables.prior import (
    Beta as Beta,
)
from advshape.tables.prior import (
    fit_prior as fit_prior,
)
from advshape.tables.table import (
    AdvantageTable as AdvantageTable,
)
from advshape.tables.table import (
    FiniteSurrogate as FiniteSurrogate,
)

__version__: str
