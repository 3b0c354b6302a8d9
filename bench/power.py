"""Does `advshape compare` claim too much, and does it find what `advshape plan` promises?

    python bench/power.py                  # some minutes on one core
    python bench/power.py --pairs 400      # a quick look

Type I: both runs sample the same success rates; with a yardstick's spread, each prompt's log-odds move by a
symmetric random amount. The share of pairs with p <= 0.05 must lie between 3 and 7 %.
Power: the alternative of the plan is simulated with the prompts that it asks for, or others; the share of pairs
with p <= 0.05 must lie within 3 points of the plan's power.
Where fewer than 10 prompts differ at all in the mean pair, no test reaches 5 %: with four prompts the most
extreme of 16 sign patterns has 6 %. These cells are held to the upper limit only.
Null pairs of two recipes, whose prompts change for better and worse with mean 0, are not symmetric, so the test
is not exact for them: where fewer than 30 prompts differ, they are printed and not held to a limit.
Crossing: two curves that cross at a known k; how often the bootstrap interval holds it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit

from advshape.evaluation.results.difference import Options, unpaired
from advshape.evaluation.results.runs import Run
from advshape.evaluation.stats.counts import Counts
from advshape.evaluation.stats.crossing import crossing
from advshape.evaluation.stats.extrapolate import RateModel
from advshape.evaluation.stats.power import SimulatedPower, alternative
from advshape.evaluation.stats.sample_size import make_plan
from advshape.evaluation.stats.significance import sign_flip_test
from advshape.passk import pass_at_k

RATES = {
    "AIME-like: Beta(.3, .6)": RateModel(0.3, 0.6),
    "hard: Beta(.2, 3)": RateModel(0.2, 3),
    "easy: Beta(3, .6)": RateModel(3, 0.6),
    "half never, half Beta(.5, 1)": RateModel(0.5, 1, 0.5),
}
PERMUTATIONS = 999


def draw(rates: RateModel, prompts: int, rng: np.random.Generator) -> np.ndarray:
    return rng.beta(rates.a, rates.b, prompts) * (rng.random(prompts) >= rates.never)


def changed(rho: np.ndarray, shift: float, spread: float, rng: np.random.Generator) -> np.ndarray:
    """Log-odds moved by shift + spread z; rates that underflow to 0 stay 0."""
    with np.errstate(divide="ignore"):
        return expit(logit(rho) + shift + spread * rng.standard_normal(len(rho)))


def rejections(
    rates: RateModel, shift: float, spread: float, prompts: int, n: int, k: int, pairs: int, seed: int, cluster: int = 1
) -> tuple[float, float]:
    """Share of simulated pairs of runs whose sign-flip test says p <= 0.05; mean number of prompts that differ."""
    rng = np.random.default_rng([seed, prompts, n, k])
    table = pass_at_k(np.arange(n + 1), n, k)
    labels = np.arange(prompts) // cluster if cluster > 1 else None
    found = differing = 0
    for i in range(pairs):
        rho = np.repeat(draw(rates, -(-prompts // cluster), rng), cluster)[:prompts]
        moved = changed(rho, shift, spread, rng)
        difference = table[rng.binomial(n, moved)] - table[rng.binomial(n, rho)]
        differing += np.count_nonzero(difference)
        found += sign_flip_test(difference[:, None], labels, PERMUTATIONS, seed=i)[0] <= 0.05
    return found / pairs, differing / pairs / cluster


def type_one(pairs: int, seed: int) -> Iterator[tuple[str, tuple[float, float]]]:
    """(cell, share of false alarms)."""
    for name, rates in RATES.items():
        for prompts in (30, 100, 300):
            for n, k in ((16, 1), (16, 8), (64, 64)):
                yield (
                    f"{name} | same rates | {prompts} | {n} | {k}",
                    rejections(rates, 0, 0, prompts, n, k, pairs, seed),
                )
    for prompts in (30, 100, 300):
        rates = RATES["AIME-like: Beta(.3, .6)"]
        label = f"AIME-like, clusters of 5 | same rates | {prompts} | 16 | 8"
        yield label, rejections(rates, 0, 0, prompts, 16, 8, pairs, seed, cluster=5)


def mean_zero(pairs: int, seed: int) -> Iterator[tuple[str, tuple[float, float]]]:
    """Null pairs of two recipes: prompts change for better and worse and the mean of pass@k stays."""
    for name, rates in RATES.items():
        for k in (1, 8):
            shift = float(brentq(lambda s, rates=rates, k=k: alternative(rates, s, 1.0).gain(k), -3, 3))
            for prompts in (100, 300):
                label = f"{name} | log-odds + N({shift:.2f}, 1) | {prompts} | 16 | {k}"
                yield label, rejections(rates, shift, 1.0, prompts, 16, k, pairs, seed)


def type_one_unpaired(pairs: int, seed: int) -> Iterator[tuple[str, tuple[float, float]]]:
    """The permutation test for runs on different prompts."""
    for name, rates in RATES.items():
        rng = np.random.default_rng([seed, 7])
        hits = 0
        for i in range(pairs):
            runs = [Run(str(j), "", counts(rng.binomial(16, draw(rates, 100, rng)), 16)) for j in range(2)]
            found = unpaired(runs[0], runs[1], [8], [8], Options(permutations=PERMUTATIONS, seed=i))
            hits += found.p[0] <= 0.05
        yield f"{name} | unpaired | 100 | 16 | 8", (hits / pairs, 100.0)


def powers(pairs: int, seed: int) -> Iterator[tuple[str, float, float]]:
    """(cell, planned power, simulated power)."""
    for name, rates in RATES.items():
        for difference, k, spread in ((0.05, 8, 1.0), (0.03, 1, 0.5), (-0.05, 8, 1.0)):
            if difference > 1 - rates.never - rates.pass_at([k])[0]:
                continue  # no room for a gain
            plan = make_plan(rates, difference, k, ns=[16, 64], spread=spread)
            pairs_of = alternative(rates, plan.shift, spread)
            for row in plan.rows[:-1]:
                most = row.prompts or 0
                tested = SimulatedPower(pairs_of, row.n, k, most)
                for prompts in (most // 2, most):
                    simulated, _ = rejections(rates, plan.shift, spread, prompts, row.n or 1, k, pairs, seed)
                    yield f"{name} | {difference:+} | {prompts} | {row.n} | {k}", tested.at(prompts), simulated


def counts(correct: np.ndarray, n: int) -> Counts:
    return Counts.of(map(str, range(len(correct))), correct, [n] * len(correct))


def crossings(pairs: int, seed: int) -> Iterator[tuple[str, float, float]]:
    """(cell, coverage of the 95 % interval, share of finite intervals): log-odds stretched, curves cross at k = 4."""
    for name, a, b, stretch in (("Beta(.6, .8)", 0.6, 0.8, 1.5), ("Beta(1, 2)", 1.0, 2.0, 2.0)):
        many = logit(np.random.default_rng(seed).beta(a, b, 200_000))

        def gap(shift: float, many: np.ndarray = many, stretch: float = stretch) -> float:
            return float(np.mean(expit(-many) ** 4 - expit(-stretch * many - shift) ** 4))

        shift = float(brentq(gap, -5, 5))
        for prompts in (100, 300):
            rng = np.random.default_rng([seed, prompts])
            held = finite = crossed = 0
            for i in range(pairs):
                odds = logit(rng.beta(a, b, prompts))
                both = [counts(rng.binomial(64, expit(x)), 64) for x in (odds, stretch * odds + shift)]
                found = crossing(both[0], both[1], resamples=500, seed=i)
                if found is not None:
                    crossed += 1
                    held += found.low <= 4 <= found.high
                    finite += found.low >= 1 and found.high <= found.n
            label = f"{name}, log-odds x {stretch} {shift:+.2f} | {prompts} | {100 * crossed / pairs:.0f}"
            yield label, held / max(crossed, 1), finite / pairs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--pairs", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    pairs, seed = options.pairs, options.seed
    noise = 3 * np.sqrt(0.05 * 0.95 / pairs)
    bad = []
    print("False alarms: population | change | prompts | n | k | prompts (clusters) that differ | share with p <= 0.05")
    for part in (type_one, mean_zero, type_one_unpaired):
        for cell, (share, differing) in part(pairs, seed):
            print(f"| {cell} | {differing:.1f} | {100 * share:.1f} |", flush=True)
            held = part is not mean_zero or differing >= 30
            bad += [cell] if (share > 0.07 and held) or (share < 0.03 and differing >= 10) else []
    print("Power: population | difference | prompts | n | k | planned | simulated")
    for cell, planned, simulated in powers(pairs, seed):
        print(f"| {cell} | {100 * planned:.1f} | {100 * simulated:.1f} |", flush=True)
        bad += [cell] if abs(planned - simulated) > 0.03 else []
    print("Crossing at k = 4: population | prompts | % that cross | of these, interval holds it | both ends in 1..n")
    for cell, held, finite in crossings(max(pairs // 10, 1), seed):
        print(f"| {cell} | {100 * held:.1f} | {100 * finite:.1f} |", flush=True)
    print(f"{len(bad)} cells outside the limits (standard error of a false-alarm rate: {noise / 3:.4f})")
    for cell in bad:
        print(cell)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
