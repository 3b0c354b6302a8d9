"""How often do the intervals of max@k and min@k, for real rewards, hold the truth?

    python bench/coverage_rewards.py                    # some 10 minutes on one core
    python bench/coverage_rewards.py --evaluations 200  # a quick look

Each cell simulates evaluations (M prompts, n = 8 rewards each) from a population of rewards: `ours` is Wilson's
interval on the range of the rewards seen, as `advshape passk --measure max` makes it; Student's t and SciPy's BCa
bootstrap (999 resamples, 200 evaluations, M up to 100) stand beside it. The truth is the mean of 400,000 prompts.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import bootstrap

from advshape.evaluation.stats.intervals import mean_interval, t_quantile

Ends = tuple[float, float]
N = 8


def binary(rng: np.random.Generator, prompts: int, a: float, b: float) -> np.ndarray:
    return (rng.random((prompts, N)) < rng.beta(a, b, (prompts, 1))).astype(float)


def tests_passed(rng: np.random.Generator, prompts: int, a: float, b: float) -> np.ndarray:
    return rng.binomial(5, rng.beta(a, b, (prompts, 1)), (prompts, N)) / 5


def normal(rng: np.random.Generator, prompts: int) -> np.ndarray:
    return rng.normal(0, 1, (prompts, 1)) + rng.normal(0, 0.5, (prompts, N))


POPULATIONS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "share of 5 tests": lambda rng, m: tests_passed(rng, m, 0.4, 0.8),
    "share of 5 tests, saturated": lambda rng, m: tests_passed(rng, m, 6, 0.3),
    "-1/1, AIME-like": lambda rng, m: 2 * binary(rng, m, 0.3, 0.6) - 1,
    "0.1 for the format + 1 if right": lambda rng, m: 0.1 * (rng.random((m, N)) < 0.8) + binary(rng, m, 0.5, 3),
    "0/1, rare": lambda rng, m: binary(rng, m, 0.1, 4),
    "normal": normal,
    "log-normal (heavy tail)": lambda rng, m: np.exp(normal(rng, m)),
}
MEASURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": lambda rewards: rewards.mean(axis=-1),
    "max@8": lambda rewards: rewards.max(axis=-1),
    "min@8": lambda rewards: rewards.min(axis=-1),
}


def ours(values: np.ndarray, least: float, most: float) -> Ends:
    if least == most:
        return least, least  # `passk` gives none
    unit = mean_interval(((values - least) / (most - least))[:, None])
    return least + (most - least) * float(unit.low[0]), least + (most - least) * float(unit.high[0])


def student(values: np.ndarray) -> Ends:
    half = t_quantile(0.95, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return float(values.mean() - half), float(values.mean() + half)


def bca(values: np.ndarray) -> Ends:
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = bootstrap((values,), np.mean, n_resamples=999, method="BCa", random_state=0).confidence_interval
    return float(found.low), float(found.high)


def share(ends: Sequence[Ends], truth: float) -> float:
    return 100 * float(np.mean([low <= truth + 1e-12 and truth - 1e-12 <= high for low, high in ends]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--evaluations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print("| rewards | measure | M | ours | Student's t | BCa | t leaves the range of the rewards |")
    print("|---|---|---|---|---|---|---|")
    for name, draw in POPULATIONS.items():
        many = draw(np.random.default_rng(9), 400_000)
        for measure, value in MEASURES.items():
            truth = float(value(many).mean())
            for prompts in (10, 30, 100, 300):
                rng = np.random.default_rng([options.seed, prompts])
                seen = [draw(rng, prompts) for _ in range(options.evaluations)]
                ranges = [(float(x.min()), float(x.max())) for x in seen]
                t = [student(value(x)) for x in seen]
                left = np.mean(
                    [a < low - 1e-12 or b > high + 1e-12 for (a, b), (low, high) in zip(t, ranges, strict=True)]
                )
                own = [ours(value(x), *ends) for x, ends in zip(seen, ranges, strict=True)]
                resampled = f"{share([bca(value(x)) for x in seen[:200]], truth):.1f}" if prompts <= 100 else "–"
                print(
                    f"| {name} | {measure} | {prompts} | {share(own, truth):.1f} | {share(t, truth):.1f} |"
                    f" {resampled} | {100 * left:.0f} % |",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
