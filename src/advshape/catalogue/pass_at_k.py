"""Rules for pass@k: at least one of k attempts right, and for its relatives all-of-k and majority-of-k."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from advshape.bernstein import FloatArray, choose_ratio, log_choose
from advshape.catalogue.entry import Divisor, by_counts, by_rate, fail_ratio, label, whole
from advshape.objectives.elementary import AllOfK, PassAtK
from advshape.objectives.literature import GRPOJoint, GRPOTimesPassAtK, MajorityOfK
from advshape.passk import pass_at_k as estimated_pass_at_k
from advshape.tables.estimator import AdvantageEstimator
from advshape.tables.forward import unbiased
from advshape.tables.table import AdvantageTable

__all__ = [
    "all_of_k",
    "grpo_k",
    "grpo_k_joint",
    "grpo_k_leave_one_out",
    "leave_one_out_max",
    "majority_of_k",
    "maxpo",
    "pass_at_k",
    "pass_at_k_plug_in",
    "pkpo_loo",
    "pkpo_loo_minus_one",
    "pkpo_s",
    "reinforce_k",
    "rloo_k",
]

_PAPER = "Thrampoulidis et al., arXiv:2510.23049"
_PKPO = "Walder & Karkhanis, arXiv:2505.15201"


def _some_right(n: int, c: FloatArray, k: int) -> FloatArray:
    """p(n, c, k) = 1 - C(n-c, k)/C(n, k): a random k of n rollouts holds a right one."""
    if k == 0:
        return np.zeros_like(c)
    return estimated_pass_at_k(np.clip(c, 0, n), n, k)  # 1 - the ratio would lose the digits of small c


def reinforce_k(k: int) -> AdvantageEstimator:
    """REINFORCE_K: A+ = k f(c-1), A- = 0."""
    k = whole("reinforce_k", "k", k)
    return by_counts(
        f"reinforce_k(k={k})",
        PassAtK(k),
        lambda c, n: k * fail_ratio(c - 1, n, k),
        lambda c, n: 0.0,
        smallest_n=k,
        reference=_PAPER,
        use="when only right answers should be pushed",
        avoid="when variance matters: use rloo_k",
        note=f"pass@{k} cannot be estimated from fewer than {k} rollouts",
    )


def rloo_k(k: int) -> AdvantageEstimator:
    """RLOO_K: REINFORCE_K with baseline j/(n-1): A+ = k f(c-1)(n-c)/(n-1), A- = -k f(c) c/(n-1)."""
    k = whole("rloo_k", "k", k)
    return by_counts(
        f"rloo_k(k={k})",
        PassAtK(k),
        lambda c, n: k * fail_ratio(c - 1, n, k) * (n - c) / (n - 1),
        lambda c, n: -k * fail_ratio(c, n, k) * c / (n - 1),
        smallest_n=max(2, k),
        reference=_PAPER,
        use="for unbiased pass@k down to n = k",
        avoid="where groups must be centred: use pass_at_k",
        note=f"pass@{k} cannot be estimated from fewer than {k} rollouts",
    )


def pass_at_k(k: int) -> AdvantageEstimator:
    """Pass@K, centred (leave-two-out): A+ = k f(c-1)(n-k-c+1)/(n-k), A- = -k f(c) c/(n-k)."""
    k = whole("pass_at_k", "k", k)
    return by_counts(
        f"pass_at_k(k={k})",
        PassAtK(k),
        lambda c, n: k * fail_ratio(c - 1, n, k) * np.maximum(n - k - c + 1, 0) / (n - k),
        lambda c, n: -k * fail_ratio(c, n, k) * c / (n - k),
        smallest_n=k + 1,
        reference=f"{_PAPER}; the leave-two-out form",
        use="for unbiased and centred pass@k: the default for pass@k here",
        avoid="when solved prompts must be pushed to 1: it is silent once c > n - k",
        note=f"centred pass@{k} needs one rollout more than k",
    )


def maxpo(k: int) -> AdvantageEstimator:
    """MaxPO, the leave-two-out baseline for max@k: on 0/1 rewards the same table as pass_at_k.

    On real rewards it is pass_at_k with real="layer_cake". A factor that the paper may put in front is left out: here
    E[g] is the gradient of pass@k itself.
    """
    same = pass_at_k(whole("maxpo", "k", k))
    return replace(same, name=f"maxpo(k={k})", reference="Takashiro et al., arXiv:2606.06080 (leave-two-out)")


def pass_at_k_plug_in(k: int) -> AdvantageEstimator:
    """Pass@K plug-in: A+ = k (1-rho_hat)^k, A- = -k (1-rho_hat)^(k-1) rho_hat."""
    k = whole("pass_at_k_plug_in", "k", k)
    return by_rate(
        f"pass_at_k_plug_in(k={k})",
        PassAtK(k),
        lambda rho: k * (1 - rho) ** k,
        lambda rho: -k * (1 - rho) ** (k - 1) * rho,
        reference=_PAPER,
        use="for k near or above n, with low variance on hard prompts",
        avoid="when bias matters: at small n it optimises a smaller k",
    )


def pkpo_s(k: int) -> AdvantageEstimator:
    """PKPO's s, times n: A+ = k, A- = k p(n-1, c, k-1)."""
    k = whole("pkpo_s", "k", k)
    return by_counts(
        f"pkpo_s(k={k})",
        PassAtK(k),
        lambda c, n: float(k),
        lambda c, n: k * _some_right(n - 1, c, k - 1),
        smallest_n=k,
        reference=f"{_PKPO}, s, eq. 19",
        use="as PKPO's rule before variance reduction",
        avoid="in practice: it has no baseline",
        note=f"pass@{k} cannot be estimated from fewer than {k} rollouts",
    )


def pkpo_loo(k: int) -> AdvantageEstimator:
    """PKPO's s_loo, times n: A+ = k - n k/(n-1) p(n-1,c-1,k), A- = k p(n-1,c,k-1) - n k/(n-1) p(n-1,c,k)."""
    k = whole("pkpo_loo", "k", k)
    return by_counts(
        f"pkpo_loo(k={k})",
        PassAtK(k),
        lambda c, n: k - n * k / (n - 1) * _some_right(n - 1, c - 1, k),
        lambda c, n: k * _some_right(n - 1, c, k - 1) - n * k / (n - 1) * _some_right(n - 1, c, k),
        smallest_n=k + 1,
        reference=f"{_PKPO}, s_loo, eq. 29",
        use="to compare with PKPO's published variants",
        avoid="with real rewards without a lower bound: A+(n) is not 0",
        note="the leave-one-out estimate needs k <= n - 1",
    )


def pkpo_loo_minus_one(k: int) -> AdvantageEstimator:
    """PKPO's s_loo-1, times n: on 0/1 rewards A+ = k f(c-1), A- = 0, as reinforce_k."""
    entry = reinforce_k(whole("pkpo_loo_minus_one", "k", k))
    return replace(entry, name=f"pkpo_loo_minus_one(k={k})", reference=f"{_PKPO}, s_loo-1, eq. 33")


def leave_one_out_max() -> AdvantageEstimator:
    """Leave-one-out max: pays a single right answer, PKPO's s_loo-1 at k = n. Published scale A+(1) = 1, here n."""
    return by_counts(
        "leave_one_out_max",
        None,
        lambda c, n: np.where(c == 1, float(n), 0.0),
        lambda c, n: 0.0,
        smallest_n=1,
        reference="Tang et al., arXiv:2503.19595",
        use="for pass@n itself, k equal to the group size",
        avoid="when most groups hold two or more right answers: it is silent on them",
    )


def grpo_k(k: int, ddof: int = 0, epsilon: float = 0.0, guard: str = "add") -> AdvantageEstimator:
    """GRPO_K, divided by s = sqrt(rho (1-rho)): A+ = k (1-rho)^k / s, A- = -k (1-rho)^(k-1) rho / s.

    ddof, epsilon, guard: of s, as in `grpo`.
    """
    k, divisor = whole("grpo_k", "k", k), Divisor.of("grpo_k", ddof, epsilon, guard)
    return by_rate(
        label("grpo_k", k=k, **divisor.shown),
        divisor.limit(GRPOTimesPassAtK(k)),
        lambda rho: k * (1 - rho) ** k,
        lambda rho: -k * (1 - rho) ** (k - 1) * rho,
        divisor=divisor,
        reference=f"{_PAPER} (one of three readings, with the pass@1 deviation)",
        use="as pass@k with GRPO's normaliser",
        avoid="when an unbiased pass@k gradient is wanted",
    )


def grpo_k_joint(k: int, epsilon: float = 0.0, guard: str = "add") -> AdvantageEstimator:
    """GRPO_K, divided by s_k = sqrt(rho_k (1 - rho_k)), rho_k = 1 - (1-rho)^k; surrogate 2 arcsin sqrt(rho_k).

    epsilon, guard: of s_k, as in `grpo`.
    """
    k, divisor = whole("grpo_k_joint", "k", k), Divisor.of("grpo_k_joint", None, epsilon, guard)

    def odds(rho: FloatArray) -> FloatArray:
        """sqrt(rho_k / (1 - rho_k)): s_k / (1-rho)^k, which does not underflow to 0/0."""
        with np.errstate(over="ignore"):
            return np.sqrt(np.expm1(-k * np.log1p(-rho)))

    def right(rho: FloatArray) -> FloatArray:
        if divisor.epsilon == 0:
            return k / odds(rho)
        left = (1 - rho) ** k
        return k * left / divisor(np.sqrt(-np.expm1(k * np.log1p(-rho)) * left), 1)

    return by_rate(
        label("grpo_k_joint", k=k, **divisor.shown),
        divisor.limit(GRPOJoint(k)),
        right,
        lambda rho: -right(rho) * rho / (1 - rho),
        reference=f"{_PAPER} (one of three readings, with the pass@k deviation)",
        use="as pass@k with the normaliser of the pass@k reward",
        avoid="when an unbiased pass@k gradient is wanted",
    )


def grpo_k_leave_one_out(k: int, ddof: int = 0, epsilon: float = 0.0, guard: str = "add") -> AdvantageEstimator:
    """GRPO_K with RLOO_K's weights, divided by s: A+ = k f(c-1) (1-rho_hat)/s, A- = -k f(c) rho_hat/s.

    f(j): all k - 1 companions are wrong when j of the others are right, in place of (1-rho_hat)^(k-1). ddof, epsilon,
    guard: of s = sqrt(rho_hat (1-rho_hat)), as in `grpo`.
    """
    k, divisor = whole("grpo_k_leave_one_out", "k", k), Divisor.of("grpo_k_leave_one_out", ddof, epsilon, guard)

    def entry(x: FloatArray, j: FloatArray, c: FloatArray, n: int) -> FloatArray:
        rho = c / n
        under = divisor(np.sqrt(rho * (1 - rho)), n)
        return np.divide(k * fail_ratio(j, n, k) * x, under, out=np.zeros_like(c), where=(c > 0) & (c < n))

    return by_counts(
        label("grpo_k_leave_one_out", k=k, **divisor.shown),
        divisor.limit(GRPOTimesPassAtK(k)),
        lambda c, n: entry(1 - c / n, c - 1, c, n),
        lambda c, n: entry(-c / n, c, c, n),
        smallest_n=max(2, k),
        reference=f"{_PAPER} (one of three readings, with leave-one-out weights)",
        use="as grpo_k, with the unbiased weight of rloo_k in front of the deviation",
        avoid="where groups must be centred: use grpo_k",
        note=f"pass@{k} cannot be estimated from fewer than {k} rollouts",
    )


def all_of_k(k: int) -> AdvantageEstimator:
    """All k right (pass^k): weight(j) = k C(j, k-1)/C(n-1, k-1), leave-one-out baseline."""
    k = whole("all_of_k", "k", k)

    def weight(j: FloatArray, n: int) -> FloatArray:
        return k * choose_ratio(j.astype(np.int64), k - 1, n - 1, k - 1)

    return by_counts(
        f"all_of_k(k={k})",
        AllOfK(k),
        lambda c, n: weight(c - 1, n) * (n - c) / (n - 1),
        lambda c, n: -weight(c, n) * c / (n - 1),
        smallest_n=max(2, k),
        reference="Yao et al., arXiv:2406.12045 (pass^k as a measure)",
        use="for reliability: every one of k attempts must be right",
        avoid="on hard prompts: its pull k rho^(k-1) falls to 0 with rho",
        note=f"pass^{k} cannot be estimated from fewer than {k} rollouts",
    )


def majority_of_k(k: int) -> AdvantageEstimator:
    """Majority of an odd k, h = (k-1)/2: weight(j) = k C(k-1,h) C(n-k,j-h)/C(n-1,j), leave-one-out baseline."""
    surrogate = MajorityOfK(whole("majority_of_k", "k", k))
    h = (k - 1) // 2

    def build(n: int) -> AdvantageTable:
        j = np.arange(n)
        inside = (j >= h) & (j <= n - 1 - h)
        ratio = choose_ratio(n - 1 - 2 * h, j - h, n - 1, j)
        middle = k * float(np.exp(log_choose(k - 1, h)))
        weight = np.where(inside, middle * ratio, 0.0)
        return AdvantageTable.from_weights(weight, weight * j / (n - 1))

    base = unbiased(surrogate, "leave_one_out")
    return replace(
        base,
        name=f"majority_of_k(k={k})",
        build=build,
        reference="no paper: F' = k C(k-1,h) (rho (1-rho))^h, h = (k-1)/2, in the Bernstein basis",
        use="for majority voting between two answers",
        avoid="with many different wrong answers: a right plurality wins below rho = 1/2",
    )
