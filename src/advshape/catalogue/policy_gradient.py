"""REINFORCE and its descendants: rules whose surrogate is rho, and GRPO's normalisations of them."""

from __future__ import annotations

import numpy as np

from advshape.catalogue.entry import NEGLIGIBLE, by_counts, number, whole
from advshape.objectives.surrogate import GRPO, Identity, LogLikelihood
from advshape.tables.table import AdvantageEstimator

__all__ = [
    "dr_grpo",
    "grpo",
    "ngrpo",
    "nsr",
    "psr",
    "qae",
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
    """GRPO: (r - mean) / (std + epsilon), std with `ddof` (0, or Bessel's 1 as in TRL and verl).

    Its surrogate is that of epsilon -> 0, and none above `NEGLIGIBLE`.
    """
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
        GRPO() if epsilon <= NEGLIGIBLE else None,
        lambda c, n: divide(1 - c / n, c, n),
        lambda c, n: divide(-c / n, c, n),
        smallest_n=2,
        reference="Shao et al., arXiv:2402.03300; Thrampoulidis et al., arXiv:2510.23049",
        use="as the field's default; up-weights hard and solved prompts alike",
        avoid="when pass@k for larger k must not fall",
    )


def ngrpo(virtual: int = 1, ddof: int = 1) -> AdvantageEstimator:
    """NGRPO: (r - mean)/std over the n rewards and `virtual` more of 1; A-(0) != 0, A+(n) = 0; std with `ddof`.

    Its clipping, looser for right answers, is the trainer's and no part of a table.
    """
    more = whole("ngrpo", "virtual", virtual)
    if ddof not in (0, 1):
        number("ngrpo", "ddof (0 or 1)", "neither")

    def std(c: np.ndarray, n: int) -> np.ndarray:
        return np.sqrt((c + more) * (n - c) / ((n + more) * (n + more - ddof)))

    def positive(c: np.ndarray, n: int) -> np.ndarray:
        return np.divide((n - c) / (n + more), std(c, n), out=np.zeros_like(c), where=c < n)

    return by_counts(
        "ngrpo" if (more, ddof) == (1, 1) else f"ngrpo(virtual={more}, ddof={ddof})",
        GRPO(),
        positive,
        lambda c, n: -(c + more) / (n + more) / std(c, n),
        smallest_n=2,
        reference="Nan et al., arXiv:2509.18851 (std as in the authors' code)",
        use="to learn from all-wrong groups too",
        avoid="with filters of all-wrong groups: they drop what it is for",
    )


def qae(quantile: float = 0.4) -> AdvantageEstimator:
    """QAE: (r - b)/std with the group's `quantile` as baseline b: 0 where c <= (1 - quantile) n, else 1.

    Only right answers teach on hard prompts, only wrong ones on easy prompts. As n grows the objective is GRPO's.
    """
    share = number("qae", "quantile", quantile, 0.0, 1.0)
    if share in (0.0, 1.0):
        number("qae", "quantile inside (0, 1)", "an end")

    def entry(c: np.ndarray, n: int, right: bool) -> np.ndarray:
        hard = n - c >= share * n - 1e-9  # at least `share` of the rewards are 0
        std = np.sqrt(c * (n - c)) / n
        sign = 1.0 if right else -1.0
        return np.divide(sign, std, out=np.zeros_like(c), where=(hard == right) & (std > 0))

    return by_counts(
        "qae" if share == 0.4 else f"qae(quantile={share:g})",
        GRPO(),
        lambda c, n: entry(c, n, True),
        lambda c, n: entry(c, n, False),
        smallest_n=2,
        reference="Wu et al., arXiv:2509.22611, eq. 3-4",
        use="to keep the policy's entropy in bounds: most rollouts get no step",
        avoid="when another objective than GRPO's is wanted: as n grows only the baseline differs",
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
