"""Rules that weigh prompts by difficulty: focal, prioritised, asymmetric and Gaussian weights of the success rate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from advshape.catalogue.entry import Divisor, by_counts, by_rate, label, number
from advshape.catalogue.reward_level import skew_r
from advshape.objectives.elementary import Identity, LogLikelihood, Variance
from advshape.objectives.literature import Focal
from advshape.objectives.weighted import GaussianGRPO, SqrtR
from advshape.tables.estimator import AdvantageEstimator

__all__ = [
    "f_grpo",
    "focal_grpo",
    "gaussian",
    "linear_r",
    "prioritized_grpo",
    "prioritized_rloo",
    "sqrt_r",
]

_HECKEL = "Heckel et al., arXiv:2602.11128"
_KIMI = "Kimi k1.5, arXiv:2501.12599 (as an in-group weight)"


def focal_grpo(gamma: float = 2.0, ddof: int = 0, epsilon: float = 0.0, guard: str = "add") -> AdvantageEstimator:
    """Focal weight (1 - rho_hat)^gamma times GRPO; gamma = 1 is skew-R. ddof, epsilon, guard: as in `grpo`.

    Mahdavi et al. (Beyond Accuracy, AI for Math workshop at ICML, July 2025) drew the link between the focal loss, GRPO
    and pass@k.
    """
    g, divisor = number("focal_grpo", "gamma", gamma, 0.0), Divisor.of("focal_grpo", ddof, epsilon, guard)
    return by_rate(
        label("focal_grpo", gamma=g, **divisor.shown),
        divisor.limit(Focal(g)),
        lambda rho: (1 - rho) ** (g + 1),
        lambda rho: -((1 - rho) ** g) * rho,
        divisor=divisor,
        reference="Lin et al., arXiv:1708.02002 (focal loss); Mahdavi et al. 2025 (on GRPO, for pass@k)",
        use="as a stronger skew-R",
        avoid="when medium prompts must still learn",
    )


def f_grpo(gamma: float = 2.0, ddof: int = 0, epsilon: float = 0.0, guard: str = "add") -> AdvantageEstimator:
    """F-GRPO: (1 - rho_hat)^gamma times GRPO, the same table as focal_grpo. ddof, epsilon, guard: as in `grpo`."""
    same = focal_grpo(gamma, ddof, epsilon, guard)
    return replace(same, name=same.name.replace("focal_grpo", "f_grpo"), reference="Plyusov et al., arXiv:2602.06717")


def gaussian(
    width: float = 0.35, center: float = 0.5, ddof: int = 0, epsilon: float = 0.0, guard: str = "add"
) -> AdvantageEstimator:
    """Gaussian curriculum: exp(-(rho_hat - center)^2 / (2 width^2)) times GRPO. ddof, epsilon, guard: as in `grpo`.

    FG-ExPO draws prompts with this probability, from a running mean of their rates in earlier visits (eq. 6-7), which
    has the same surrogate without the bias of a weight from the group's own rate. width, center: the paper's values.
    """
    divisor = Divisor.of("gaussian", ddof, epsilon, guard)
    aim = GaussianGRPO(number("gaussian", "center", center, 0.0, 1.0), number("gaussian", "width", width, 0.02))
    shown = ({} if aim.width == 0.35 else {"width": aim.width}) | ({} if aim.center == 0.5 else {"center": aim.center})
    return by_rate(
        label("gaussian", **shown, **divisor.shown),
        divisor.limit(aim),
        lambda rho: aim.weight(rho) * (1 - rho),
        lambda rho: -aim.weight(rho) * rho,
        divisor=divisor,
        reference="Lin et al., arXiv:2605.11403, eq. 7 (as an in-group weight)",
        use="to spend the gradient on prompts of medium difficulty",
        avoid="where hard prompts must not be left behind: their weight falls with the solved ones'",
    )


def linear_r() -> AdvantageEstimator:
    """Linear-R: (r - rho_hat) / rho_hat, A+ = 1/rho_hat - 1, A- = -1; at rho_hat = 0 too, and 0 at rho_hat = 1.

    All-wrong groups teach: their A- is that of every other group, the limit of -rho_hat / rho_hat. maxrl is the same
    rule with silent all-wrong groups; the weights, and so the objective, are those of `rejection`.
    """
    return by_counts(
        "linear_r",
        LogLikelihood(),
        lambda c, n: n / c - 1,
        lambda c, n: -1.0,
        smallest_n=1,
        reference=_HECKEL,
        use="from scratch, where most groups are all wrong: those teach too",
        avoid="with filters of all-wrong groups, and after fine-tuning, where the paper found no gain",
    )


def prioritized_rloo() -> AdvantageEstimator:
    """(1 - rho_hat) times RLOO, the in-group weight; at n = 2 it has no priority left."""
    return by_counts(
        "prioritized_rloo",
        0.5 * Identity() + 0.5 * Variance(),
        lambda c, n: (1 - c / n) * (n - c) / (n - 1),
        lambda c, n: -(1 - c / n) * c / (n - 1),
        smallest_n=2,
        reference=_KIMI,
        use="to study priority by the group's own rate",
        avoid="in practice: take the rate from earlier visits, which has no bias",
    )


def prioritized_grpo(ddof: int = 0, epsilon: float = 0.0, guard: str = "add") -> AdvantageEstimator:
    """(1 - rho_hat) times GRPO: the same table as skew-R. ddof, epsilon, guard: as in `grpo`."""
    divisor = Divisor.of("prioritized_grpo", ddof, epsilon, guard)
    same = skew_r(1.0, ddof, epsilon, guard)
    return replace(same, name=label("prioritized_grpo", **divisor.shown), reference=_KIMI)


def sqrt_r() -> AdvantageEstimator:
    """Sqrt-R: (r - rho_hat) / (rho_hat sqrt(1 - rho_hat)), A+ = sqrt(1 - rho_hat) / rho_hat, A- = -1/sqrt(1 - rho_hat).

    At the ends the advantages' own limits stand: -1 where all are wrong, 0 where all are right; the paper says that
    all-wrong groups teach, and its formula at rho_hat = 1 was not known to us.
    """
    return by_counts(
        "sqrt_r",
        SqrtR(),
        lambda c, n: np.sqrt(1 - c / n) * n / c,
        lambda c, n: -1 / np.sqrt(1 - c / n),
        smallest_n=1,
        reference=_HECKEL,
        use="from scratch, where rollouts are the cost: the optimum of the paper's model",
        avoid="with filters of all-wrong groups; and where solved prompts must rest, A-(n - 1) = -sqrt(n)",
    )
