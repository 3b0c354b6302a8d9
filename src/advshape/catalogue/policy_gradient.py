"""REINFORCE and its descendants: rules whose surrogate is rho, and GRPO's normalisations of them."""

from __future__ import annotations

import numpy as np

from advshape.bernstein import FloatArray
from advshape.catalogue.entry import NEGLIGIBLE, Divisor, by_counts, by_rate, label, number, whole
from advshape.objectives.elementary import GRPO, Identity, LogLikelihood
from advshape.tables.estimator import AdvantageEstimator

__all__ = [
    "dr_grpo",
    "grpo",
    "grpo_leave_one_out",
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


def grpo(ddof: int = 0, epsilon: float = 0.0, guard: str = "add") -> AdvantageEstimator:
    """GRPO: (r - mean) / (std + epsilon), std with `ddof` (0, or Bessel's 1 as in TRL and verl).

    guard: how epsilon enters, see `Divisor`. Its surrogate is that of epsilon -> 0, and none above `NEGLIGIBLE`.
    """
    divisor = Divisor.of("grpo", ddof, epsilon, guard)
    return by_rate(
        label("grpo", **divisor.shown),
        divisor.limit(GRPO()),
        lambda rho: 1 - rho,
        lambda rho: -rho,
        divisor=divisor,
        reference="Shao et al., arXiv:2402.03300; Thrampoulidis et al., arXiv:2510.23049",
        use="as the field's default; up-weights hard and solved prompts alike",
        avoid="when pass@k for larger k must not fall",
    )


def grpo_leave_one_out(ddof: int = 1, epsilon: float = 1e-6, guard: str = "add") -> AdvantageEstimator:
    """(r - mean) / (std + epsilon), mean and std of the others; not divided where their std is 0. NeMo-RL's default.

    A lone right answer gets 1, each of two more, since the others' small deviation divides it: F_n' = 1 at rho = 0 and
    1, and nears GRPO's between. ddof, guard: of the others' std, as in `grpo`.
    """
    divisor = Divisor.of("grpo_leave_one_out", ddof, epsilon, guard)

    def entry(x: FloatArray, j: FloatArray, n: int) -> FloatArray:
        others, mean = n - 1, j / (n - 1)
        std = np.sqrt(mean * (1 - mean))
        return x if others == 1 else np.divide(x, divisor(std, others), out=x, where=std > 0)

    default = (ddof, epsilon, guard) == (1, 1e-6, "add")
    shown = {} if default else {**divisor.shown, "ddof": ddof, "epsilon": epsilon}
    return by_counts(
        label("grpo_leave_one_out", **shown),
        divisor.limit(GRPO()),
        lambda c, n: entry(1 - (c - 1) / (n - 1), c - 1, n),
        lambda c, n: entry(-c / (n - 1), c, n),
        smallest_n=2,
        reference="NeMo-RL, no paper: F' = GRPO's as n grows; leave-one-out as in Ahmadian et al., arXiv:2402.14740",
        use="to reproduce NeMo-RL's default (use_leave_one_out_baseline and normalize_rewards)",
        avoid="on hard prompts: a lone right answer is the one that is not scaled up",
    )


def ngrpo(virtual: int = 1, ddof: int = 1, epsilon: float = 0.0, guard: str = "add") -> AdvantageEstimator:
    """NGRPO: (r - mean)/(std + epsilon) over the n rewards and `virtual` more of 1; A-(0) != 0, A+(n) = 0.

    std with `ddof`; guard as in `grpo`. Its clipping, looser for right answers, is the trainer's, not part of a table.
    """
    more = whole("ngrpo", "virtual", virtual)
    divisor = Divisor.of("ngrpo", ddof, epsilon, guard)

    def divide(x: FloatArray, c: FloatArray, n: int) -> FloatArray:
        under = divisor(np.sqrt((c + more) * (n - c)) / (n + more), n + more)
        return np.divide(x / (n + more), under, out=np.zeros_like(c), where=c < n)

    default = (more, ddof, divisor.epsilon) == (1, 1, 0.0)
    return by_counts(
        "ngrpo" if default else label("ngrpo", virtual=more, **{"ddof": ddof, **divisor.shown}),
        divisor.limit(GRPO()),
        lambda c, n: divide(n - c, c, n),
        lambda c, n: divide(-(c + more), c, n),
        smallest_n=2,
        reference="Nan et al., arXiv:2509.18851 (std as in the authors' code)",
        use="to learn from all-wrong groups too",
        avoid="with filters of all-wrong groups: they drop what it is for",
    )


def qae(quantile: float = 0.4, ddof: int = 0, epsilon: float = 0.0, guard: str = "add") -> AdvantageEstimator:
    """QAE: (r - b)/(std + epsilon) with the group's `quantile` as baseline b: 0 where c <= (1 - quantile) n, else 1.

    Only right answers teach on hard prompts, only wrong ones on easy prompts. As n grows the objective is GRPO's.
    ddof, guard: as in `grpo`.
    """
    share = number("qae", "quantile", quantile, 0.0, 1.0)
    if share in (0.0, 1.0):
        number("qae", "quantile inside (0, 1)", "an end")
    divisor = Divisor.of("qae", ddof, epsilon, guard)

    def entry(c: FloatArray, n: int, right: bool) -> FloatArray:
        hard = n - c >= share * n - 1e-9  # at least `share` of the rewards are 0
        std = np.sqrt(c * (n - c)) / n
        sign = 1.0 if right else -1.0
        return np.divide(sign, divisor(std, n), out=np.zeros_like(c), where=(hard == right) & (std > 0))

    return by_counts(
        label("qae", **({} if share == 0.4 else {"quantile": share}), **divisor.shown),
        divisor.limit(GRPO()),
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
        label("weighted_reinforce", strength=lam),
        (1 + lam) * Identity(),
        lambda c, n: lam,
        lambda c, n: -1.0,
        smallest_n=1,
        reference=_PSR,
        use="as NSR with a little of PSR",
        avoid="with filters of all-wrong groups: it teaches on them",
    )


def rejection(epsilon: float = 0.0) -> AdvantageEstimator:
    """Rejection sampling (RAFT): r / (mean + epsilon), every right answer weighs n/c; log-likelihood of order n."""
    number("rejection", "epsilon", epsilon, 0.0)
    return by_counts(
        label("rejection", **({"epsilon": epsilon} if epsilon else {})),
        LogLikelihood() if epsilon <= NEGLIGIBLE else None,
        lambda c, n: n / (c + n * epsilon),
        lambda c, n: 0.0,
        smallest_n=1,
        reference="Dong et al., arXiv:2304.06767 (RAFT)",
        use="as MaxRL's uncentred twin",
        avoid="when variance matters: it still pushes when every rollout is right",
    )
