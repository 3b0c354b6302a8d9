"""How often do the intervals hold the truth? The coverage study behind the default in `advshape.evaluation`.

    python bench/coverage.py                    # about 4 minutes on one core; writes docs/coverage.csv
    python bench/coverage.py --replicates 500   # a quick look

Prompts are drawn from populations of success rates whose mean pass@k is known, n rollouts each; a cell is one
(population, number of prompts M, n, k). A cell is "beyond resolution" when fewer than half a prompt of M is
expected to be unlike all others (M min(pass@k, 1 - pass@k) < 1/2): there no interval with few values can stay
below 99 %, and only the lower limit is asked for.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import betaln

from advshape.evaluation.intervals import (
    difference_interval,
    mean_interval,
    simultaneous_confidence,
    t_quantile,
)
from advshape.passk import pass_at_k

Rates = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
ATTEMPTS = {1: (1,), 4: (1, 4), 16: (1, 4, 16), 64: (1, 8, 64)}
PROMPTS = (30, 100, 300, 1000)


@dataclass(frozen=True)
class Population:
    """Success rates (replicates, prompts), their exact mean pass@k, and the size of clusters of prompts."""

    name: str
    draw: Rates
    truth: Callable[[int], float]
    cluster: int = 1


def beta(a: float, b: float) -> tuple[Rates, Callable[[int], float]]:
    """Beta(a, b); E[(1 - rho)^k] = B(a, b + k) / B(a, b)."""
    return lambda rng, shape: rng.beta(a, b, shape), lambda k: float(-np.expm1(betaln(a, b + k) - betaln(a, b)))


def point(rho: float) -> tuple[Rates, Callable[[int], float]]:
    """All prompts alike."""
    return lambda rng, shape: np.full(shape, rho), lambda k: 1 - (1 - rho) ** k


def mixture(*parts: tuple[float, tuple[Rates, Callable[[int], float]]]) -> tuple[Rates, Callable[[int], float]]:
    """(weight, population) pairs."""

    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        which = rng.choice(len(parts), p=[weight for weight, _ in parts], size=shape)
        return np.choose(which, [part[0](rng, shape) for _, part in parts])

    return draw, lambda k: sum(weight * part[1](k) for weight, part in parts)


def clustered(a: float, b: float, size: int, same: float) -> tuple[Rates, Callable[[int], float]]:
    """Prompts in clusters; each has its cluster's rate with chance `same`, else one of its own, Beta(a, b)."""

    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        shared = np.repeat(rng.beta(a, b, (shape[0], -(-shape[1] // size))), size, axis=1)[:, : shape[1]]
        return np.where(rng.random(shape) < same, shared, rng.beta(a, b, shape))

    return draw, beta(a, b)[1]


POPULATIONS = (
    Population("AIME-like: Beta(.3, .6)", *beta(0.3, 0.6)),
    Population("hard: Beta(.2, 3)", *beta(0.2, 3)),
    Population("very hard: Beta(.05, 5)", *beta(0.05, 5)),
    Population("easy: Beta(3, .6)", *beta(3, 0.6)),
    Population("saturated: Beta(5, .1)", *beta(5, 0.1)),
    Population("middling: Beta(2, 2)", *beta(2, 2)),
    Population("zero-inflated: half 0, half Beta(.5, 1)", *mixture((0.5, point(0)), (0.5, beta(0.5, 1)))),
    Population("zero-inflated: 95 % 0, 5 % uniform", *mixture((0.95, point(0)), (0.05, beta(1, 1)))),
    Population("two points: half .02, half .98", *mixture((0.5, point(0.02)), (0.5, point(0.98)))),
    Population("two points: 97 % .001, 3 % .5", *mixture((0.97, point(0.001)), (0.03, point(0.5)))),
    Population("two points: 90 % 0, 10 % 1", *mixture((0.9, point(0)), (0.1, point(1)))),
    Population("all alike: .3", *point(0.3)),
    Population("all alike: .01", *point(0.01)),
    Population("all alike: .999", *point(0.999)),
    Population("clusters of 5, Beta(.5, 1)", *clustered(0.5, 1, 5, 0.8), cluster=5),
    Population("clusters of 3, Beta(3, .6)", *clustered(3, 0.6, 3, 0.9), cluster=3),
)


def cells(replicates: int, seed: int) -> Iterator[dict[str, object]]:
    """The coverage of every method in every cell."""
    for number, population in enumerate(POPULATIONS):
        for prompts in PROMPTS:
            rng = np.random.default_rng([seed, number, prompts])
            count = replicates if prompts < 1000 else max(replicates // 2, 1)
            for n, ks in ATTEMPTS.items():
                correct = rng.binomial(n, population.draw(rng, (count, prompts)))
                for k in ks:
                    values = pass_at_k(np.arange(n + 1), n, k)[correct].T
                    yield cell(population, prompts, n, k, values, correct, rng)
        print(f"{number + 1} of {len(POPULATIONS)} populations", file=sys.stderr)


def cell(
    population: Population,
    prompts: int,
    n: int,
    k: int,
    values: np.ndarray,
    correct: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, object]:
    """values (M, R): every replicate is one column."""
    truth = population.truth(k)
    labels = np.arange(prompts) // population.cluster if population.cluster > 1 else None
    ours = mean_interval(values, 0.95, labels)
    mean, error = values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(prompts)
    ends = {
        "ours": (ours.low, ours.high),
        "Student": (mean - t_quantile(0.95, prompts - 1) * error, mean + t_quantile(0.95, prompts - 1) * error),
        "Wald": (mean - 1.96 * error, mean + 1.96 * error),
    }
    if prompts <= 100 and population.cluster == 1:
        ends["bootstrap"] = bootstrap(pass_at_k(np.arange(n + 1), n, k), correct[:300], rng)
    row: dict[str, object] = {"population": population.name, "M": prompts, "n": n, "k": k, "truth": truth}
    for name, (low, high) in ends.items():
        row[name] = float(np.mean((low <= truth + 1e-12) & (truth - 1e-12 <= high)))
    row["width"] = float(np.mean(ours.high - ours.low))
    row["beyond"] = prompts / population.cluster * min(truth, 1 - truth) < 0.5
    return row


def bootstrap(values: np.ndarray, correct: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bootstrap over prompts, 400 resamples of each replicate."""
    low, high = np.empty(len(correct)), np.empty(len(correct))
    for i, row in enumerate(correct):
        seen, counts = np.unique(row, return_counts=True)
        means = rng.multinomial(len(row), counts / len(row), size=400) @ values[seen] / len(row)
        low[i], high[i] = np.quantile(means, [0.025, 0.975])
    return low, high


def band_coverage(replicates: int, seed: int) -> list[tuple[str, int, float, float]]:
    """(population, M, pointwise, simultaneous): how often the whole curve, n = 64, lies within its intervals."""
    ks = 2 ** np.arange(7)
    found = []
    for population in POPULATIONS[:8]:
        for prompts in (30, 100, 300):
            rng = np.random.default_rng([seed, prompts])
            truth = np.array([population.truth(int(k)) for k in ks])
            table = pass_at_k(np.arange(65)[:, None], 64, ks)
            hits = np.zeros(2)
            for correct in rng.binomial(64, population.draw(rng, (replicates, prompts))):
                values = table[correct]
                for i, level in enumerate((0.95, simultaneous_confidence(values, 0.95))):
                    interval = mean_interval(values, level, tail=(1 - level) / (1 + i))
                    hits[i] += np.all((interval.low <= truth + 1e-12) & (truth - 1e-12 <= interval.high))
            found.append((population.name, prompts, *(hits / replicates)))
    return found


def difference_coverage(replicates: int, seed: int) -> list[tuple[str, int, int, float]]:
    """(change, M, k, coverage) of the paired interval; n = 64."""
    changes: dict[str, Callable[[np.random.Generator, np.ndarray], np.ndarray]] = {
        "none": lambda rng, rho: rho,
        "all prompts, rho -> 1 - (1 - rho)^1.3": lambda rng, rho: 1 - (1 - rho) ** 1.3,
        "one prompt in 10 drawn anew": lambda rng, rho: np.where(
            rng.random(rho.shape) < 0.1, rng.beta(0.3, 0.6, rho.shape), rho
        ),
        "one prompt in 20 solved": lambda rng, rho: np.where(rng.random(rho.shape) < 0.05, 1.0, rho),
    }
    found = []
    for change, apply in changes.items():
        for prompts in (30, 100, 300, 1000):
            rng = np.random.default_rng([seed, prompts])
            many = rng.beta(0.3, 0.6, (2000, 1000))
            later = apply(rng, many)
            first = rng.beta(0.3, 0.6, (replicates, prompts))
            second = apply(rng, first)
            pairs = [rng.binomial(64, rho) for rho in (first, second)]
            for k in (1, 8, 64):
                truth = np.mean((1 - many) ** k - (1 - later) ** k)
                table = pass_at_k(np.arange(65), 64, k)
                interval = difference_interval((table[pairs[1]] - table[pairs[0]]).T)
                found.append((change, prompts, k, float(np.mean((interval.low <= truth) & (truth <= interval.high)))))
    return found


def summary(rows: list[dict[str, object]]) -> str:
    """Smallest and largest coverage by population, as a Markdown table."""
    lines = [
        "| population | cells | ours | above 99 %, resolvable | Student's t | Wald | bootstrap |",
        "|---|---|---|---|---|---|---|",
    ]
    for population in [p.name for p in POPULATIONS]:
        own = [row for row in rows if row["population"] == population]
        plain = [row for row in own if not row["beyond"]]
        lines.append(
            f"| {population} | {len(own)} | {span(own, 'ours')} | {sum(row['ours'] > 0.99 for row in plain)}"
            f" of {len(plain)} | {span(own, 'Student')} | {span(own, 'Wald')} | {span(own, 'bootstrap')} |"
        )
    return "\n".join(lines)


def span(rows: list[dict[str, object]], name: str) -> str:
    found = [100 * float(row[name]) for row in rows if name in row]  # type: ignore[arg-type]
    return f"{min(found):.1f} – {max(found):.1f}" if found else "–"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "coverage.csv")
    options = parser.parse_args()
    rows = list(cells(options.replicates, options.seed))
    names = ["population", "M", "n", "k", "truth", "ours", "Student", "Wald", "bootstrap", "width", "beyond"]
    with options.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: round(v, 5) if isinstance(v, float) else v for key, v in row.items()} for row in rows)
    print(summary(rows))
    low = [row for row in rows if row["ours"] < 0.93]  # type: ignore[operator]
    high = [row for row in rows if row["ours"] > 0.99 and not row["beyond"]]  # type: ignore[operator]
    beyond = sum(bool(row["beyond"]) for row in rows)
    print(f"\n{len(rows)} cells, {beyond} of them beyond resolution:")
    print(f"{len(low)} below 93 %, {len(high)} resolvable ones above 99 %")
    for row in low + high:
        print({key: row[key] for key in ("population", "M", "n", "k", "truth", "ours")})
    print("\nWhole curve, n = 64 (pointwise intervals, simultaneous band):")
    for name, prompts, pointwise, band in band_coverage(min(options.replicates, 1000), options.seed):
        print(f"| {name} | {prompts} | {100 * pointwise:.1f} | {100 * band:.1f} |")
    print("\nPaired differences, n = 64:")
    for change, prompts, k, coverage in difference_coverage(min(options.replicates, 2000), options.seed):
        print(f"| {change} | {prompts} | {k} | {100 * coverage:.1f} |")
    return 1 if low or high else 0


if __name__ == "__main__":
    sys.exit(main())
