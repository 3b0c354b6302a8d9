"""How often do the intervals hold the truth? The coverage study behind the default in `advshape.evaluation`.

    python bench/coverage.py                    # some 10 minutes on one core; writes docs/coverage.csv
    python bench/coverage.py --replicates 400   # a quick look
    python bench/coverage.py --held-out         # other populations and M, run once after all constants were set

Prompts are drawn from populations of success rates whose mean pass@k is known, n rollouts each; a cell is one
(population, number of prompts M, n, k). Cells whose coverage comes out within three standard errors of 93 or
99 % are simulated anew, with ten times the replicates and another seed, and the new figure stands. A cell is
"beyond resolution" when fewer than half a prompt of M is expected to be unlike all others,
M min(pass@k, 1 - pass@k) < 1/2 (M: clusters, where there are some): the data are then all or none solved in
most evaluations; these cells are held to the lower limit only, and their coverage is printed.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import betaln, expit, logit
from scipy.stats import binom

from advshape.evaluation.stats.intervals import (
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
    Population("clusters of 4, Beta(.2, 3)", *clustered(0.2, 3, 4, 0.5), cluster=4),
    Population("clusters of 2, Beta(.3, .6)", *clustered(0.3, 0.6, 2, 1.0), cluster=2),
)

HELD_OUT = (
    Population("Beta(.1, 1)", *beta(0.1, 1)),
    Population("Beta(1, .1)", *beta(1, 0.1)),
    Population("Beta(.15, .15)", *beta(0.15, 0.15)),
    Population("Beta(1, 20)", *beta(1, 20)),
    Population("80 % .01, 20 % .7", *mixture((0.8, point(0.01)), (0.2, point(0.7)))),
    Population("98 % Beta(8, 1), 2 % 0", *mixture((0.98, beta(8, 1)), (0.02, point(0)))),
    Population("all alike: .1", *point(0.1)),
    Population("clusters of 10, Beta(.3, .6)", *clustered(0.3, 0.6, 10, 0.7), cluster=10),
    Population("clusters of 4, Beta(4, .5)", *clustered(4, 0.5, 4, 0.9), cluster=4),
)

PAIRED_HELD_OUT = (
    Population("Beta(.5, .5)", *beta(0.5, 0.5)),
    Population("Beta(2, 1)", *beta(2, 1)),
    Population("Beta(.05, .5)", *beta(0.05, 0.5)),
    Population("60 % uniform, 40 % .99", *mixture((0.6, beta(1, 1)), (0.4, point(0.99)))),
    Population("clusters of 3, Beta(.4, 1)", *clustered(0.4, 1, 3, 0.8), cluster=3),
)
"""For paired differences, whose one constant was set while looking at `HELD_OUT`."""


def cells(
    replicates: int, seed: int, populations: Sequence[Population], sizes: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """The coverage of every method in every cell; doubtful cells a second time."""
    for number, population in enumerate(populations):
        for prompts in sizes:
            rng = np.random.default_rng([seed, number, prompts])
            count = replicates if prompts < 1000 else max(replicates // 2, 1)
            for n, ks in ATTEMPTS.items():
                rows = list(simulate(population, prompts, n, ks, count, rng))
                for row in rows:
                    if not row["beyond"] and doubtful(float(row["ours"]), count):
                        again = np.random.default_rng([seed, number, prompts, n, int(row["k"])])
                        parts = [
                            next(simulate(population, prompts, n, (row["k"],), count, again, False)) for _ in range(10)
                        ]
                        row["ours"] = float(np.mean([part["ours"] for part in parts]))
                        row["replicates"] = 10 * count
                yield from rows
        print(f"{number + 1} of {len(populations)} populations", file=sys.stderr)


def doubtful(coverage: float, count: int) -> bool:
    """Within three standard errors of a limit, or outside."""
    return coverage < 0.93 + 3 * np.sqrt(0.93 * 0.07 / count) or coverage > 0.99 - 3 * np.sqrt(0.99 * 0.01 / count)


def simulate(
    population: Population,
    prompts: int,
    n: int,
    ks: Sequence[int],
    count: int,
    rng: np.random.Generator,
    contrast: bool = True,
) -> Iterator[dict[str, Any]]:
    """One row for each k, all from the same `count` simulated evaluations."""
    correct = rng.binomial(n, population.draw(rng, (count, prompts)))
    for k in ks:
        values = pass_at_k(np.arange(n + 1), n, k)[correct].T
        yield cell(population, prompts, n, k, values, correct, rng, contrast)


def cell(
    population: Population,
    prompts: int,
    n: int,
    k: int,
    values: np.ndarray,
    correct: np.ndarray,
    rng: np.random.Generator,
    contrast: bool,
) -> dict[str, Any]:
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
    if contrast and prompts <= 100 and population.cluster == 1:
        ends["bootstrap"] = bootstrap(pass_at_k(np.arange(n + 1), n, k), correct[:300], rng)
    row: dict[str, Any] = {"population": population.name, "M": prompts, "n": n, "k": k, "truth": truth}
    for name, (low, high) in ends.items():
        row[name] = float(np.mean((low <= truth + 1e-12) & (truth - 1e-12 <= high)))
    row["width"] = float(np.mean(ours.high - ours.low))
    row["replicates"] = correct.shape[0]
    row["unlike"] = prompts / population.cluster * min(truth, 1 - truth)
    row["beyond"] = float(row["unlike"]) < 0.5
    return row


def bootstrap(values: np.ndarray, correct: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bootstrap over prompts, 400 resamples of each replicate."""
    low, high = np.empty(len(correct)), np.empty(len(correct))
    for i, row in enumerate(correct):
        seen, counts = np.unique(row, return_counts=True)
        means = rng.multinomial(len(row), counts / len(row), size=400) @ values[seen] / len(row)
        low[i], high[i] = np.quantile(means, [0.025, 0.975])
    return low, high


def exact_coverage(prompts: int) -> tuple[float, float, float]:
    """0/1 prompts, no simulation: least and largest coverage over 10,000 rates, and its mean.

    The largest is taken where at least half a prompt is expected to be unlike the others.
    """
    solved = np.arange(prompts + 1)
    interval = mean_interval((np.arange(prompts)[:, None] < solved).astype(np.float64))
    rates = np.arange(1, 10_001) / 20_000
    coverage = np.array(
        [binom.pmf(solved, prompts, rate)[(interval.low <= rate) & (rate <= interval.high)].sum() for rate in rates]
    )
    return float(coverage.min()), float(coverage[prompts * rates >= 0.5].max()), float(coverage.mean())


def band_coverage(replicates: int, seed: int) -> Iterator[tuple[str, int, float, float]]:
    """(population, M, pointwise, simultaneous): how often the whole curve, n = 64, lies within its intervals."""
    ks = 2 ** np.arange(7)
    table = pass_at_k(np.arange(65)[:, None], 64, ks)
    for number, population in enumerate(POPULATIONS):
        for prompts in (30, 100, 300):
            rng = np.random.default_rng([seed, 1, number, prompts])
            truth = np.array([population.truth(int(k)) for k in ks])
            labels = np.arange(prompts) // population.cluster if population.cluster > 1 else None
            hits = np.zeros(2)
            for correct in rng.binomial(64, population.draw(rng, (replicates, prompts))):
                values = table[correct]
                for i, level in enumerate((0.95, simultaneous_confidence(values, 0.95, labels))):
                    interval = mean_interval(values, level, labels, tail=(1 - level) / (1 + i))
                    hits[i] += np.all((interval.low <= truth + 1e-12) & (truth - 1e-12 <= interval.high))
            yield population.name, prompts, *(hits / replicates)


CHANGES: dict[str, Callable[[np.random.Generator, np.ndarray], np.ndarray]] = {
    "none": lambda rng, rho: rho,
    "all prompts, rho -> 1 - (1 - rho)^1.3": lambda rng, rho: 1 - (1 - rho) ** 1.3,
    "another seed: log-odds + N(0, 1)": lambda rng, rho: expit(logit(rho) + rng.standard_normal(rho.shape)),
    "one prompt in 10 drawn anew": lambda rng, rho: np.where(
        rng.random(rho.shape) < 0.1, rng.beta(0.3, 0.6, rho.shape), rho
    ),
    "one prompt in 20 solved": lambda rng, rho: np.where(rng.random(rho.shape) < 0.05, 1.0, rho),
}


def difference_coverage(
    replicates: int, seed: int, populations: Sequence[Population], sizes: Sequence[int]
) -> Iterator[tuple[str, str, int, int, int, float]]:
    """(population, change, M, n, k, coverage) of the paired interval."""
    for number, population in enumerate(populations):
        for change, apply in CHANGES.items():
            rng = np.random.default_rng([seed, 2, number])
            many = population.draw(rng, (2000, 1000))
            later = apply(rng, many)
            for prompts in sizes:
                labels = np.arange(prompts) // population.cluster if population.cluster > 1 else None
                first = population.draw(rng, (replicates, prompts))
                second = apply(rng, first)
                for n, ks in ((4, (1, 4)), (64, (1, 8, 64))):
                    pairs = [rng.binomial(n, rho) for rho in (first, second)]
                    for k in ks:
                        truth = np.mean((1 - many) ** k - (1 - later) ** k)
                        table = pass_at_k(np.arange(n + 1), n, k)
                        interval = difference_interval((table[pairs[1]] - table[pairs[0]]).T, 0.95, labels)
                        hits = (interval.low <= truth) & (truth <= interval.high)
                        yield population.name, change, prompts, n, k, float(np.mean(hits))


def summary(rows: list[dict[str, Any]]) -> str:
    """Smallest and largest coverage by population, as a Markdown table."""
    lines = [
        "| population | cells | ours | above 99 %, resolvable | Student's t | Wald | bootstrap |",
        "|---|---|---|---|---|---|---|",
    ]
    for population in dict.fromkeys(row["population"] for row in rows):
        own = [row for row in rows if row["population"] == population]
        plain = [row for row in own if not row["beyond"]]
        lines.append(
            f"| {population} | {len(own)} | {span(own, 'ours')} | {sum(row['ours'] > 0.99 for row in plain)}"
            f" of {len(plain)} | {span(own, 'Student')} | {span(own, 'Wald')} | {span(own, 'bootstrap')} |"
        )
    return "\n".join(lines)


def span(rows: list[dict[str, Any]], name: str) -> str:
    found = [100 * float(row[name]) for row in rows if name in row]
    return f"{min(found):.1f} – {max(found):.1f}" if found else "–"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--replicates", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "coverage.csv")
    parser.add_argument("--held-out", action="store_true")
    options = parser.parse_args()
    if options.held_out:
        return held_out(options.replicates, options.seed)
    rows = list(cells(options.replicates, options.seed, POPULATIONS, PROMPTS))
    write_csv(options.out, rows)
    print(summary(rows))
    failed = report_cells(rows)
    print("\n0/1 prompts, exact, over 10,000 rates: least, largest (where resolvable), mean coverage")
    for prompts in (30, 50, 100, 200, 300, 1000):
        print("| " + " | ".join([str(prompts), *(f"{100 * x:.1f}" for x in exact_coverage(prompts))]) + " |")
    bands = list(band_coverage(min(options.replicates, 1000), options.seed))
    print("\nWhole curve, n = 64: population, M = 30, 100, 300; pointwise intervals, simultaneous band")
    for name in [p.name for p in POPULATIONS]:
        own = [row for row in bands if row[0] == name]
        print(f"| {name} |" + " |".join(f" {100 * a:.1f} | {100 * b:.1f}" for _, _, a, b in own) + " |")
    paired = [p for p in POPULATIONS if p.name.startswith(("AIME", "hard", "clusters of 5"))]
    report_differences(list(difference_coverage(min(options.replicates, 2000), options.seed, paired, PROMPTS)), PROMPTS)
    return 1 if failed else 0


def held_out(replicates: int, seed: int) -> int:
    """Cells of populations and M that no constant was set on, and paired differences; nothing is written."""
    sizes: tuple[int, ...] = (50, 200)
    rows = list(cells(replicates, seed, HELD_OUT, sizes))
    print(summary(rows))
    failed = report_cells(rows)
    report_differences(list(difference_coverage(min(replicates, 2000), seed, HELD_OUT, sizes)), sizes)
    sizes = (40, 75, 150)
    report_differences(list(difference_coverage(min(replicates, 2000), seed + 1, PAIRED_HELD_OUT, sizes)), sizes)
    return 1 if failed else 0


def report_differences(found: list[tuple[str, str, int, int, int, float]], sizes: Sequence[int]) -> None:
    print(f"\nPaired differences: population, change; smallest - largest coverage for M = {', '.join(map(str, sizes))}")
    for key in dict.fromkeys(row[:2] for row in found):
        spans = [[100 * row[5] for row in found if row[:2] == key and row[2] == prompts] for prompts in sizes]
        print(f"| {key[0]} | {key[1]} |" + " |".join(f" {min(s):.1f} – {max(s):.1f}" for s in spans) + " |")
    shares = [row[5] for row in found]
    print(f"{len(found)} cells: {sum(s < 0.93 for s in shares)} below 93 %, {sum(s > 0.99 for s in shares)} above 99 %")


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    names = [
        "population",
        "M",
        "n",
        "k",
        "truth",
        "ours",
        "Student",
        "Wald",
        "bootstrap",
        "width",
        "replicates",
        "unlike",
        "beyond",
    ]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: round(v, 5) if isinstance(v, float) else v for key, v in row.items()} for row in rows)


def report_cells(rows: list[dict[str, Any]]) -> bool:
    """Print the cells outside the limits, and what happens beyond resolution; True where a limit is broken."""
    low = [row for row in rows if row["ours"] < 0.93]
    high = [row for row in rows if row["ours"] > 0.99 and not row["beyond"]]
    beyond = [row for row in rows if row["beyond"]]
    above = [row for row in beyond if row["ours"] > 0.99]
    certain = [row for row in above if row["unlike"] <= 0.01]
    plain = len(rows) - len(beyond)
    print(f"\n{len(rows)} cells: {len(low)} below 93 %; {len(high)} of {plain} resolvable ones above 99 %")
    print(
        f"{len(beyond)} beyond resolution: {len(above)} above 99 %, {len(certain)} of them with at most 0.01 unlike"
        f" prompts; the others reach {max([float(r['ours']) for r in above if r not in certain], default=0):.4f}"
    )
    for row in low + high:
        print({key: row[key] for key in ("population", "M", "n", "k", "truth", "ours", "replicates")})
    return bool(low or high)


if __name__ == "__main__":
    sys.exit(main())
