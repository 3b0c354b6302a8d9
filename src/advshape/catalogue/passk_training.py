"""Pass@k Training (Chen et al., arXiv:2508.10751): groups of k rollouts share the best reward among them.

The paper draws the groups at random (full sampling, bootstrap), averages over all of them (analytical), and reshapes
the result (exceeding, combination, adaptive). Random ones have a `draw`; their table is the exact expectation.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from advshape.bernstein import FloatArray, basis, choose_ratio
from advshape.catalogue.entry import Divisor, by_counts, fail_ratio, label, number, whole
from advshape.catalogue.policy_gradient import grpo
from advshape.errors import AdvshapeError
from advshape.objectives.elementary import GRPO
from advshape.objectives.literature import GRPOJoint, PassAtKCombination
from advshape.passk import pass_at_k
from advshape.tables.estimator import AdvantageEstimator
from advshape.tables.table import AdvantageTable

__all__ = [
    "passk_training",
    "passk_training_adaptive",
    "passk_training_bootstrap",
    "passk_training_combination",
    "passk_training_exceeding",
    "passk_training_full",
]

_CHEN = "Chen et al., arXiv:2508.10751"


def passk_training(k: int, epsilon: float = 0.0, guard: str = "add") -> AdvantageEstimator:
    """Pass@k Training, analytical: A+ = (1-R)/sigma, A- = (1-R-C(n-c-1,k-1)/C(n-1,k-1))/sigma, R = p(n,c,k).

    epsilon, guard: of sigma, the deviation of all groups' rewards, as in `grpo`.
    """
    k, divisor = whole("passk_training", "k", k), Divisor.of("passk_training", None, epsilon, guard)

    def spread(c: FloatArray, n: int) -> tuple[FloatArray, FloatArray]:
        fail = choose_ratio(n - c.astype(np.int64), k, n, k)
        return fail, np.sqrt(fail * pass_at_k(c, n, k))

    def divide(x: FloatArray, sigma: FloatArray) -> FloatArray:
        return np.divide(x, divisor(sigma, 1), out=np.zeros_like(sigma), where=sigma > 0)

    def positive(c: FloatArray, n: int) -> FloatArray:
        fail, sigma = spread(c, n)
        return divide(fail, np.where(c < n, sigma, 0.0))

    def negative(c: FloatArray, n: int) -> FloatArray:
        _, sigma = spread(c, n)
        return divide(-c / n * fail_ratio(c, n, k), np.where(c > 0, sigma, 0.0))  # fail = (1 - c/n) fail_ratio

    return by_counts(
        label("passk_training", k=k, **divisor.shown),
        divisor.limit((1 / k) * GRPOJoint(k)),
        positive,
        negative,
        smallest_n=k + 1,
        reference=f"{_CHEN}, eq. 14-15",
        use="to reproduce Pass@k Training",
        avoid="when solved prompts must still learn: mute when n - c < k",
        note=f"groups of {k} are drawn from the n rollouts, and one group alone has no spread",
    )


def passk_training_full(k: int, ddof: int = 0, epsilon: float = 0.0, guard: str = "add") -> AdvantageEstimator:
    """Full sampling: the n rollouts split at random into floor(n/k) groups; A = (best of my group - mean) / std.

    Mean and std over the groups; ddof, epsilon, guard: of that std, as in `grpo`. Left-over rollouts get 0 and still
    count in n. Table: E[A | c] over all splits.
    """
    k, divisor = whole("passk_training_full", "k", k), Divisor.of("passk_training_full", ddof, epsilon, guard)

    def build(n: int) -> AdvantageTable:
        m, c = n // k, np.arange(1, n)
        new = np.arange(float(m))  # groups, other than my own, that hold a right answer
        occupied = np.zeros(m)
        occupied[0] = 1.0
        positive = np.zeros(n + 1)
        for right in range(1, n):  # one right answer is mine; the others fall on the n - 1 other places one by one
            positive[right] = m * k / n * (occupied @ _best(new + 1, m, divisor))
            enter = (m - 1 - new) * k / (n - right)  # a place in a group that is all wrong so far, given those taken
            occupied = occupied * (1 - enter) + np.r_[0.0, (occupied * enter)[:-1]]
        return AdvantageTable(positive, np.r_[0.0, -c * positive[1:n] / (n - c), 0.0])

    def draw(rewards: FloatArray, rng: np.random.Generator) -> FloatArray:
        n = rewards.shape[1]
        m = n // k
        place = rng.permuted(np.broadcast_to(np.arange(n), rewards.shape), axis=1)
        grouped = np.take_along_axis(rewards, place[:, : m * k], 1).reshape(-1, m, k).max(-1)
        right = grouped.sum(-1, keepdims=True)
        found, scores = np.zeros(rewards.shape), np.where(grouped == 1, *_scores(right, m, divisor))
        np.put_along_axis(found, place[:, : m * k], np.repeat(scores, k, 1), 1)
        return found

    return AdvantageEstimator(
        label("passk_training_full", k=k, **divisor.shown),
        divisor.limit((1 / k) * GRPOJoint(k)),
        build,
        2 * k,
        f"{_CHEN}, section 2.2 and algorithm 1",
        "to reproduce Pass@k Training's first form",
        "in practice: passk_training has the same aim without the noise of the split",
        f"two groups of {k} are the fewest that have a spread",
        draw,
    )


def passk_training_bootstrap(
    k: int, groups: int | None = None, ddof: int = 0, epsilon: float = 0.0, guard: str = "add"
) -> AdvantageEstimator:
    """Bootstrap: `groups` random k-subsets (n if None); A = sum over the subsets I am in of (its best - mean) / std.

    Mean and std over the subsets; ddof, epsilon, guard: of that std, as in `grpo`. Table: E[A | c] over all draws. A
    sum, as the paper says: with `groups` = n and as n grows k times passk_training; at n = 8 and k = 4 its A+ are 0.31
    (where only one is wrong) to 0.93 of that.
    """
    k, divisor = whole("passk_training_bootstrap", "k", k), Divisor.of("passk_training_bootstrap", ddof, epsilon, guard)
    if groups is not None and whole("passk_training_bootstrap", "groups", groups) < 2:
        raise AdvshapeError("passk_training_bootstrap needs groups >= 2: one group alone has no spread")

    def build(n: int) -> AdvantageTable:
        size, c = groups or n, np.arange(n + 1)
        others = np.arange(float(size))  # right ones among the size - 1 other subsets
        chance = basis(size - 1, np.clip(1 - choose_ratio(n - c, k, n, k), 0.0, 1.0))
        right, wrong = chance @ _best(others + 1, size, divisor), chance @ _rest(others, size, divisor)
        alone = np.r_[fail_ratio(np.arange(float(n)), n, k), 0.0]  # a subset that holds a wrong answer is all wrong
        scale = size * k / n
        return AdvantageTable(scale * right, scale * (alone * wrong + (1 - alone) * right))

    def draw(rewards: FloatArray, rng: np.random.Generator) -> FloatArray:
        size = groups or rewards.shape[1]
        member = np.zeros((2, *rewards.shape))  # in how many all-wrong and in how many right subsets each rollout is
        right, rows = np.zeros((len(rewards), 1)), np.arange(len(rewards))
        for _ in range(size):
            chosen = np.argpartition(rng.random(rewards.shape), k - 1, axis=1)[:, :k]
            best = np.take_along_axis(rewards, chosen, 1).max(1).astype(np.int64)
            member[best[:, None], rows[:, None], chosen] += 1
            right[:, 0] += best
        best, rest = _scores(right, size, divisor)
        return member[1] * best + member[0] * rest

    return AdvantageEstimator(
        label("passk_training_bootstrap", k=k, **({} if groups is None else {"groups": groups}), **divisor.shown),
        divisor.limit(GRPOJoint(k)) if groups is None else None,
        build,
        k + 1,
        f"{_CHEN}, eq. 6 and algorithm 2",
        "to reproduce Pass@k Training's second form",
        "in practice: passk_training is what it tends to with many groups",
        f"with n = {k} every group would be the same",
        draw,
    )


def passk_training_exceeding(k: int, epsilon: float = 0.0, guard: str = "add") -> AdvantageEstimator:
    """Exceeding Pass@k Training: passk_training times 4 / (10 log(c + 1/2)). epsilon, guard: as in `passk_training`."""
    base = passk_training(k, epsilon, guard)

    def build(n: int) -> AdvantageTable:
        c, table = np.arange(1, n + 1), base.table(n)
        factor = np.r_[0.0, 4 / (10 * np.log(c + 0.5))]
        return AdvantageTable(factor * table.positive, factor * table.negative)

    return replace(
        base,
        name=base.name.replace("passk_training", "passk_training_exceeding"),
        surrogate=None,
        build=build,
        reference=f"{_CHEN}, eq. 17",
        use="to move the most weight to groups with a single right answer",
        avoid="when groups of different size are mixed: its scale falls with log c, so it has no limit as n grows",
    )


def passk_training_combination(k: int, epsilon: float = 0.0, guard: str = "add") -> AdvantageEstimator:
    """Combination Training: (c/n) passk_training + (1 - c/n) grpo. epsilon, guard: of both deviations, as in `grpo`."""
    base, other = passk_training(k, epsilon, guard), grpo(0, epsilon, guard)

    def build(n: int) -> AdvantageTable:
        return _mixture(np.arange(n + 1) / n, base.table(n), other.table(n))

    return replace(
        base,
        name=base.name.replace("passk_training", "passk_training_combination"),
        surrogate=PassAtKCombination(k) if base.surrogate else None,
        build=build,
        reference=f"{_CHEN}, eq. 18",
        use="to learn hard prompts at GRPO's speed without finishing the solved ones",
        avoid="when pass@k alone matters: hard prompts are trained for pass@1",
    )


def passk_training_adaptive(k: int, share: float = 0.5, epsilon: float = 0.0, guard: str = "add") -> AdvantageEstimator:
    """Adaptive Training at a fixed mix: share * grpo + (1 - share) * passk_training.

    The paper gives grpo to the prompts whose responses have the highest policy entropy, `share` of the batch, and
    passk_training to the rest: a rule that sees the batch's entropies and is no count table. This entry is its average
    where entropy says nothing about a prompt; `advshape.entropy_adaptive` is the rule itself. epsilon, guard: of both
    deviations, as in `grpo`.
    """
    base, other = passk_training(k, epsilon, guard), grpo(0, epsilon, guard)
    mix = number("passk_training_adaptive", "share", share, 0.0, 1.0)

    def build(n: int) -> AdvantageTable:
        return _mixture(np.full(n + 1, 1 - mix), base.table(n), other.table(n))

    guarded = Divisor(None, epsilon, guard).shown
    return replace(
        base,
        name=label("passk_training_adaptive", k=k, **({} if mix == 0.5 else {"share": mix}), **guarded),
        surrogate=((1 - mix) / k) * GRPOJoint(k) + mix * GRPO() if base.surrogate else None,
        build=build,
        reference=f"{_CHEN}, section 4.2.3, at a fixed mix",
        use="to see what the entropy switch does on average (entropy_adaptive trains with it)",
        avoid="as the paper's method: that one switches by entropy, prompt by prompt",
    )


def _best(right: FloatArray, size: int, divisor: Divisor) -> FloatArray:
    """(1 - mean)/std over `size` group rewards of which `right` are 1; 0 where all are alike."""
    std = np.sqrt(right * (size - right)) / size
    return np.divide(1 - right / size, divisor(std, size), out=np.zeros(np.shape(right)), where=std > 0)


def _rest(right: FloatArray, size: int, divisor: Divisor) -> FloatArray:
    """(0 - mean)/std, likewise."""
    return -_best(size - right, size, divisor)


def _scores(right: FloatArray, size: int, divisor: Divisor) -> tuple[FloatArray, FloatArray]:
    """Of a group with a right answer, and of one without."""
    return _best(right, size, divisor), _rest(right, size, divisor)


def _mixture(weight: FloatArray, a: AdvantageTable, b: AdvantageTable) -> AdvantageTable:
    """weight[c] a + (1 - weight[c]) b."""
    return AdvantageTable(
        weight * a.positive + (1 - weight) * b.positive, weight * a.negative + (1 - weight) * b.negative
    )
