"""REINFORCE and its descendants: rules whose surrogate is rho, and GRPO's normalisations of them."""

from __future__ import annotations

import numpy as np

from advshape.catalogue.entry import by_counts, number
from advshape.surrogate import GRPO, Identity, LogLikelihood
from advshape.table import AdvantageEstimator

__all__ = [
    "dr_grpo",
    "grpo",
    "nsr",
    "psr",
    "reinforce",
    "rejection",
    "rloo",
    "weighted_reinforce",
]

_PSR = "Zhu et al., arXiv:2506.01347"


def reinforce() -> AdvantageEstimator:
    """REINFORCE: A+ = 1, A- = 0."""
    return by_counts(
        "reinforce",
        Identity(),
        lambda c, n: 1.0,
        lambda c, n: 0.0,
        smallest_n=1,
        reference="Williams 1992",
        use="as the reference that everything else is compared with",
        avoid="in practice: without a baseline its variance is high on easy prompts",
    )


def rloo() -> AdvantageEstimator:
    """RLOO, leave-one-out baseline: A+ = (n-c)/(n-1), A- = -c/(n-1)."""
    return by_counts(
        "rloo",
        Identity(),
        lambda c, n: (n - c) / (n - 1),
        lambda c, n: -c / (n - 1),
        smallest_n=2,
        reference="Kool et al. 2019; Ahmadian et al., arXiv:2402.14740",
        use="to maximise pass@1 without bias",
        avoid="when pass@k for larger k matters",
    )


def dr_grpo() -> AdvantageEstimator:
    """Dr. GRPO, mean-centred rewards: A+ = 1 - c/n, A- = -c/n; RLOO times (n-1)/n."""
    return by_counts(
        "dr_grpo",
        Identity(),
        lambda c, n: 1 - c / n,
        lambda c, n: -c / n,
        smallest_n=2,
        reference="Liu et al., arXiv:2503.20783",
        use="as RLOO, where a trainer subtracts the group mean",
        avoid="when gradients of different group sizes are mixed: its scale depends on n",
    )


def grpo(ddof: int = 0, epsilon: float = 0.0) -> AdvantageEstimator:
    """GRPO: (r - mean) / (std + epsilon), std with `ddof` (0, or Bessel's 1 as in TRL and verl)."""
    if ddof not in (0, 1):
        number("grpo", "ddof (0 or 1)", "neither")
    number("grpo", "epsilon", epsilon, 0.0)

    def std(c: np.ndarray, n: int) -> np.ndarray:
        return np.sqrt(c * (n - c) / (n * (n - ddof))) + epsilon

    def divide(x: np.ndarray, c: np.ndarray, n: int) -> np.ndarray:
        return np.divide(x, std(c, n), out=np.zeros_like(c), where=(c > 0) & (c < n))

    defaults = ddof == 0 and epsilon == 0
    return by_counts(
        "grpo" if defaults else f"grpo(ddof={ddof}, epsilon={epsilon:g})",
        GRPO(),
        lambda c, n: divide(1 - c / n, c, n),
        lambda c, n: divide(-c / n, c, n),
        smallest_n=2,
        reference="Shao et al., arXiv:2402.03300; arXiv:2510.23049",
        use="as the field's default; up-weights hard and solved prompts alike",
        avoid="when pass@k for larger k must not fall",
    )


def psr() -> AdvantageEstimator:
    """Positive sample reinforcement: A+ = 1, A- = 0 (right answers only)."""
    return by_counts(
        "psr",
        Identity(),
        lambda c, n: 1.0,
        lambda c, n: 0.0,
        smallest_n=1,
        reference=_PSR,
        use="to study what right answers alone teach",
        avoid="when diversity matters: its variance grows with rho",
    )


def nsr() -> AdvantageEstimator:
    """Negative sample reinforcement: A+ = 0, A- = -1 (wrong answers only)."""
    return by_counts(
        "nsr",
        Identity(),
        lambda c, n: 0.0,
        lambda c, n: -1.0,
        smallest_n=1,
        reference=_PSR,
        use="to study what wrong answers alone teach",
        avoid="with filters of all-wrong groups: it teaches on them",
    )


def weighted_reinforce(strength: float = 0.1) -> AdvantageEstimator:
    """Weighted REINFORCE: A+ = strength, A- = -1; surrogate (1 + strength) rho."""
    lam = number("weighted_reinforce", "strength", strength)
    return by_counts(
        f"weighted_reinforce(strength={lam:g})",
        (1 + lam) * Identity(),
        lambda c, n: lam,
        lambda c, n: -1.0,
        smallest_n=1,
        reference=_PSR,
        use="as NSR with a little of PSR",
        avoid="with filters of all-wrong groups: it teaches on them",
    )


def rejection() -> AdvantageEstimator:
    """Rejection sampling (RAFT): every right answer weighs n/c; log-likelihood of order n."""
    return by_counts(
        "rejection",
        LogLikelihood(),
        lambda c, n: n / c,
        lambda c, n: 0.0,
        smallest_n=1,
        reference="Dong et al., arXiv:2304.06767 (RAFT)",
        use="as MaxRL's uncentred twin",
        avoid="when variance matters: it still pushes when every rollout is right",
    )
