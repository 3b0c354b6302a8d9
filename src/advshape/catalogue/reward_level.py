"""Rules for a curved or regularised reward: which function of rho instead of rho itself?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from advshape.bernstein import FloatArray
from advshape.catalogue.entry import NEGLIGIBLE, Divisor, by_counts, by_rate, label, number, whole
from advshape.errors import AdvshapeError
from advshape.objectives.elementary import Entropy, Identity, LogLikelihood, SkewR
from advshape.objectives.literature import BetaFamily, LogOdds, RiskSensitive
from advshape.objectives.weighted import LeadGRPO
from advshape.tables.estimator import AdvantageEstimator
from advshape.tables.forward import unbiased

__all__ = [
    "beta_family",
    "entropy_rloo",
    "fade",
    "grpo_lead",
    "log_odds",
    "maxrl",
    "risk_sensitive",
    "skew_r",
    "tsallis",
]

_PAPER = "Thrampoulidis et al., arXiv:2510.23049"
_MAXRL = "Tajwar et al., arXiv:2602.02710"


def skew_r(strength: float = 1.0, ddof: int = 0, epsilon: float = 0.0, guard: str = "add") -> AdvantageEstimator:
    """skew-R: (1 - strength * rho_hat) times GRPO; GRPO regularised by the reward's standard deviation.

    ddof, epsilon, guard: of the division by the standard deviation, as in `grpo`.
    """
    lam, divisor = number("skew_r", "strength", strength, 0.0, 1.0), Divisor.of("skew_r", ddof, epsilon, guard)
    return by_rate(
        label("skew_r", **({} if lam == 1 else {"strength": lam}), **divisor.shown),
        divisor.limit(SkewR(lam)),
        lambda rho: (1 - lam * rho) * (1 - rho),
        lambda rho: -(1 - lam * rho) * rho,
        divisor=divisor,
        reference=_PAPER,
        use="to keep GRPO's attention on hard prompts and off solved ones",
        avoid="when nearly solved prompts must be finished",
    )


def fade(alpha: float = 1.5, delta: float = 1.0) -> AdvantageEstimator:
    """FADE at fixed alpha, delta: A+ = (1-rho_hat)^alpha, A- = -(1-rho_hat)^(alpha-1) rho_hat / delta.

    The paper moves both during training, alpha = clip(3 (1-p)/(2 p), 1, 3) with the running solve rate p and
    delta = clip(1 + H - H*, 0.3, 1) with the running entropy H and its target H*, so each step has another table of
    this form. The defaults are those of p = 1/2, H >= H*. delta = 1 is its Power(alpha), alpha = 1 its
    AsymGRPO(delta). Known to us from a public summary of the paper; equation numbers could not be checked.
    """
    a, d = number("fade", "alpha", alpha, 1.0), number("fade", "delta", delta, 0.01)
    return by_rate(
        label("fade", **({} if (a, d) == (1.5, 1.0) else {"alpha": a, "delta": d})),
        BetaFamily(1.0, a) if d == 1 else (1 - 1 / d) * BetaFamily(1.0, a + 1) + (1 / d) * BetaFamily(1.0, a),
        lambda rho: (1 - rho) ** a,
        lambda rho: -((1 - rho) ** (a - 1)) * rho / d,
        reference="Decugis et al., arXiv:2607.01490",
        use="as two dials: alpha for how hard the prompts, delta for how strongly wrong answers are pushed down",
        avoid="as the whole method: that one moves alpha and delta while it trains",
    )


def maxrl(order: int | None = None, epsilon: float = 0.0) -> AdvantageEstimator:
    """MaxRL: (r - mean) / (mean + epsilon), 0 at c = 0: log-likelihood of order n - 1; or any fixed order, centred.

    Its surrogate is that of epsilon -> 0, and none above `NEGLIGIBLE`.
    """
    number("maxrl", "epsilon", epsilon, 0.0)
    if order is not None and epsilon > 0:
        raise AdvshapeError("maxrl takes order or epsilon: epsilon belongs to the division by the group's mean")
    if order is not None:
        fixed = unbiased(LogLikelihood(whole("maxrl", "order", order)), "centered")
        return replace(
            fixed,
            name=f"maxrl(order={order})",
            reference=_MAXRL,
            use="to have one objective at every n",
            avoid="with more than order + 1 rollouts to spare: maxrl uses them for a higher order",
        )
    return by_counts(
        label("maxrl", **({"epsilon": epsilon} if epsilon else {})),
        LogLikelihood() if epsilon <= NEGLIGIBLE else None,
        lambda c, n: (n - c) / (c + n * epsilon),
        lambda c, n: np.where(c > 0, -c / np.maximum(c + n * epsilon, 1), 0.0),
        smallest_n=2,
        reference=_MAXRL,
        use="to weigh every pass@k alike: hard prompts count by 1/rho",
        avoid="with noisy verifiers: one false positive on a hard prompt weighs n - 1",
    )


def risk_sensitive(beta: float = 2.0, epsilon: float = 0.0) -> AdvantageEstimator:
    """Risk-sensitive GRPO: A+ = (e^beta/Z - 1)/beta, A- = (1/Z - 1)/beta, Z = 1 + rho_hat (e^beta - 1) + epsilon.

    With an epsilon groups are not centred, and all-wrong and all-right ones get -epsilon / beta or less.
    """
    b = number("risk_sensitive", "beta", beta, -30.0, 30.0)
    if b == 0:
        number("risk_sensitive", "beta other than 0", "0")
    more, rise = number("risk_sensitive", "epsilon", epsilon, 0.0), np.expm1(b)
    return by_counts(
        label("risk_sensitive", beta=b, **({"epsilon": more} if more else {})),
        RiskSensitive(b) if more <= NEGLIGIBLE else None,
        lambda c, n: (rise * (n - c) - n * more) / (n + c * rise + n * more) / b,
        lambda c, n: (-rise * c - n * more) / (n + c * rise + n * more) / b,
        smallest_n=2,
        reference="Jiang et al., arXiv:2509.24261",
        use="as a smooth dial between pass@1 (beta -> 0) and the maximum",
        avoid="with beta < 0 unless safety against bad outcomes is the aim",
    )


def entropy_rloo(strength: float = 0.1) -> AdvantageEstimator:
    """rho + strength * H(rho): A+ = (1-rho) q, A- = -rho q, q = 1 + strength log((1-rho)/rho)."""
    lam = number("entropy_rloo", "strength", strength)
    return by_rate(
        label("entropy_rloo", strength=lam),
        Identity() + lam * Entropy(),
        lambda rho: (1 - rho) * (1 + lam * np.log((1 - rho) / rho)),
        lambda rho: -rho * (1 + lam * np.log((1 - rho) / rho)),
        reference=_PAPER,
        use="to keep prompts undecided a little longer",
        avoid="with large strength: beyond rho where q < 0 it unlearns",
    )


def log_odds(ddof: int = 0, epsilon: float = 0.0) -> AdvantageEstimator:
    """Log-odds: A+ = 1/rho_hat, A- = -1/(1 - rho_hat), every mixed group weighs the same.

    That is (r - mean) / (var + epsilon), var with `ddof`.
    """
    divisor = Divisor.of("log_odds", ddof, epsilon, "add")

    def entry(x: FloatArray, c: FloatArray, n: int) -> FloatArray:
        variance = c * (n - c) / (n * (n - ddof))
        return np.divide(x, variance + epsilon, out=np.zeros_like(c), where=variance > 0)

    return by_counts(
        label("log_odds", **divisor.shown),
        divisor.limit(LogOdds()),
        lambda c, n: entry(1 - c / n, c, n),
        lambda c, n: entry(-c / n, c, n),
        smallest_n=2,
        reference=f"{_PAPER} (omega = 1)",
        use="to see the natural scale of policy updates",
        avoid="with noisy verifiers: the ends dominate",
    )


def beta_family(a: float = 0.5, b: float = 0.5, epsilon: float = 0.0) -> AdvantageEstimator:
    """F' = rho^(a-1) (1-rho)^(b-1), plug-in: REINFORCE (1, 1), GRPO (1/2, 1/2), focal (1/2, gamma + 1/2).

    That is (r - mean) / (rho_hat^(1-a) (1-rho_hat)^(1-b) + epsilon).
    """
    a, b = number("beta_family", "a", a, 0.0), number("beta_family", "b", b, 0.0)
    surrogate, divisor = BetaFamily(a, b), Divisor.of("beta_family", None, epsilon, "add")

    def slope(rho: FloatArray) -> FloatArray:
        return surrogate.derivative(rho) / (1 + divisor.epsilon * surrogate.derivative(rho))

    return by_rate(
        label("beta_family", a=a, b=b, **divisor.shown),
        divisor.limit(surrogate),
        lambda rho: (1 - rho) * slope(rho),
        lambda rho: -rho * slope(rho),
        reference="Xiao et al., arXiv:2506.02864 (BNPO)",
        use="as one dial over known rules",
        avoid="with a < 1/2 or b < 1/2: single groups dominate",
    )


def tsallis(q: float = 0.75) -> AdvantageEstimator:
    """Tsallis: weight rho_hat^-q, F = (rho^(1-q) - 1)/(1-q), between RLOO's (q = 0) and MaxRL's (q -> 1); plug-in.

    beta_family(a=1-q, b=1) under the name of the loss family of which GARL is an estimator; that one weighs the
    likelihood of reference answers, this one the rate of right answers in the group. 0.75 is the least q with which
    the paper's cold starts succeeded.
    """
    power = number("tsallis", "q", q, 0.0, 1.0)
    if power == 1:
        raise AdvshapeError("tsallis needs q < 1: at q = 1 it is log rho, which maxrl maximises")
    same = beta_family(1 - power, 1.0)
    name = label("tsallis", **({} if power == 0.75 else {"q": power}))
    return replace(
        same,
        name=name,
        reference="Lin & Ie, arXiv:2604.25907",
        use="as a dial between pass@1 and MaxRL's weight on hard prompts",
        avoid="with noisy verifiers and q near 1: one false positive on a hard prompt weighs n^q",
    )


def grpo_lead(
    low: float = 0.4,
    high: float = 1.5,
    center: float = 0.75,
    steepness: float = 10.0,
    ddof: int = 0,
    epsilon: float = 0.0,
    guard: str = "add",
) -> AdvantageEstimator:
    """GRPO-LEAD: A+ = w(rho) GRPO+, A- = w(1-rho) GRPO-, w(x) = low + (high-low)/(1+exp(steepness (x-center))).

    ddof, epsilon, guard: as in `grpo`.
    """
    given = {"low": low, "high": high, "center": center, "steepness": steepness}
    surrogate = LeadGRPO(**{key: number("grpo_lead", key, value) for key, value in given.items()})
    divisor = Divisor.of("grpo_lead", ddof, epsilon, guard)
    default = (low, high, center, steepness) == (0.4, 1.5, 0.75, 10.0)
    return by_rate(
        label("grpo_lead", **({} if default else given), **divisor.shown),
        divisor.limit(surrogate),
        lambda rho: surrogate.weight(rho) * (1 - rho),
        lambda rho: -surrogate.weight(1 - rho) * rho,
        divisor=divisor,
        reference="Zhang & Zuo, arXiv:2504.09696",
        use="to reproduce GRPO-LEAD's difficulty weighting",
        avoid="where groups must be centred: they are not",
    )
