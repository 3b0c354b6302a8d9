"""``make demo``: train the shipped model on Countdown twice, for GRPO and for Pass@8, and compare the three.

The two runs go side by side, one process and one thread each: PyTorch with several threads is slower on so small
a model.  Both are ordinary ``advshape train`` runs with ordinary run directories.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from advshape.errors import AdvshapeError
from advshape.evaluation.logs.count import count_rollouts
from advshape.evaluation.logs.rollout_log import read_rollouts
from advshape.evaluation.sampling.bars import bar_options
from advshape.evaluation.stats.counts import Counts
from advshape.evaluation.stats.curves import paired_difference
from advshape.training.outcome import change_sentence, curves_table
from advshape.training.rundir.directory import RunDirectory

RUNS = {"GRPO": "countdown-grpo", "Pass@8": "countdown"}
SECONDS_BETWEEN_LOOKS = 0.5
# glibc: keep freed memory instead of handing it back to the kernel; a fifth less time per step, the same numbers
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "4000000000", "MALLOC_TOP_PAD_": "268435456"}


class DemoFailed(Exception):
    """A run of the demo did not finish; the message holds what it said."""


@dataclass
class Job:
    """One training process, its directory and its bar."""

    label: str
    directory: RunDirectory
    process: subprocess.Popen[bytes]
    log: Path
    bar: Any = None
    phase: str = ""

    def look(self) -> None:
        """Bring the bar up to what the run directory shows."""
        phase, done, total = _position(self.directory)
        if phase != self.phase and total:
            if self.bar is not None:
                self.bar.close()
            unit = "step" if phase == "training" else "rollout"
            self.bar = tqdm(
                total=total, desc=f"{self.label:<6} {phase}", unit=unit, unit_scale=unit == "rollout", **bar_options()
            )
            self.phase = phase
        if self.bar is not None and phase == self.phase:
            self.bar.update(min(done, self.bar.total) - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            if self.process.returncode == 0:
                self.bar.update(self.bar.total - self.bar.n)
            self.bar.close()


def demo(out: Path, steps: int | None = None, overwrite: bool = False) -> str:
    """Run the demo under ``out`` and return its closing text: table, sentences, paths.

    Raises ``AdvshapeError`` when the run directories exist, ``DemoFailed`` when a run does not finish.
    """
    directories = {label: RunDirectory(out / recipe) for label, recipe in RUNS.items()}
    for directory in directories.values():
        directory.check_free(overwrite)
    overrides = [] if steps is None else ["--set", f"trainer.max_steps={_whole(steps)}"]
    start = time.monotonic()
    print(
        "training twice from the same base, side by side: GRPO's advantages, and Pass@8\n"
        "(each evaluates, trains, evaluates; loading PyTorch takes some seconds)",
        file=sys.stderr,
    )
    out.mkdir(parents=True, exist_ok=True)
    with _jobs(directories, overrides, overwrite) as jobs:
        while any(job.process.poll() is None for job in jobs):
            for job in jobs:
                job.look()
            time.sleep(SECONDS_BETWEEN_LOOKS)
            _raise_for_failure(jobs)
        _raise_for_failure(jobs)
    return _closing(directories, out, time.monotonic() - start)


@contextmanager
def _jobs(directories: Mapping[str, RunDirectory], overrides: list[str], overwrite: bool) -> Iterator[list[Job]]:
    """The training processes; on the way out none is left running, and each may save a checkpoint first."""
    jobs = [_start(label, directory, overrides, overwrite) for label, directory in directories.items()]
    try:
        yield jobs
    except KeyboardInterrupt:
        paths = " and ".join(f"advshape train --resume {job.directory.path}" for job in jobs)
        print(f"\nstopping both runs after their step; go on with {paths}", file=sys.stderr)
        raise
    finally:
        for job in jobs:
            if job.process.poll() is None:
                job.process.send_signal(signal.SIGINT)
        for job in jobs:
            job.process.wait()
            job.close()


def _start(label: str, directory: RunDirectory, overrides: list[str], overwrite: bool) -> Job:
    log = directory.path.with_suffix(".log")
    command = [sys.executable, "-m", "advshape", "train", RUNS[label], "--out", str(directory.path), "--quiet"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **KEEP_MEMORY}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, *overrides, *(["--overwrite"] if overwrite else [])],
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Job(label, directory, process, log)


def _raise_for_failure(jobs: list[Job]) -> None:
    for job in jobs:
        if job.process.poll() not in (None, 0):
            said = job.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
            raise DemoFailed(
                f"the {job.label} run ended with exit code {job.process.returncode} (log: {job.log}):\n"
                + "\n".join(said)
            )


def _position(directory: RunDirectory) -> tuple[str, int, int]:
    """(phase, done, total) of a run, from its directory; total 0 while nothing is known."""
    summary = directory.summary()
    status = str(summary.get("status", ""))
    if status.startswith("evaluating "):
        when = status.removeprefix("evaluating ")
        log = directory.evaluation / f"{when}.jsonl"
        return status, _lines(log), int(summary.get("planned", {}).get("evaluation_rollouts", 0))
    if status == "training":
        return status, _lines(directory.metrics), int(summary.get("planned", {}).get("steps", 0))
    return status, 0, 0


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _closing(directories: Mapping[str, RunDirectory], out: Path, seconds: float) -> str:
    """The table, what happened, the picture and where everything lies; all from the runs' own files."""
    summaries = {label: directory.summary() for label, directory in directories.items()}
    curves = {"base": summaries["GRPO"]["before"]["curve"]}
    curves |= {label: summary["after"]["curve"] for label, summary in summaries.items()}
    counts = {label: _counts(directory, "after") for label, directory in directories.items()}
    versus = paired_difference(counts["GRPO"], counts["Pass@8"])
    changes = {label: summary["change"] for label, summary in summaries.items()}
    picture = _draw(curves, out / "pass_at_k.png")
    result = {"curves": curves, "changes": changes, "pass_at_8_minus_grpo": versus.to_json(), "seconds": seconds}
    (out / "demo.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    first = summaries["GRPO"]["before"]
    lines = [
        f"\n{first['prompts']} held-out puzzles x {first['n']} rollouts, 95 % intervals over puzzles:",
        curves_table(list(curves.items())),
        "",
        headline(changes),
        change_sentence(versus.to_json(), "against GRPO, Pass@8"),
        "",
        f"picture: {picture}",
        *(f"run:     {directory.path}" for directory in directories.values()),
        f"({seconds / 60:.1f} minutes)",
    ]
    return "\n".join(lines)


def headline(changes: Mapping[str, Mapping[str, Any]]) -> str:
    """One sentence on what each training did to pass@1 and to the pass@k of the largest k, with intervals.

    >>> change = {"ks": [1, 64], "difference": [0.1, -0.06], "low": [0.08, -0.09], "high": [0.12, -0.03]}
    >>> headline({"GRPO": change})
    'GRPO raised pass@1 by 0.100 [0.080, 0.120] and lowered pass@64 by 0.060 [0.030, 0.090].'
    """
    parts = []
    for label, change in changes.items():
        said = [_one_change(change, i) for i in (0, len(change["ks"]) - 1)]
        parts.append(f"{label} {said[0]} and {said[1]}")
    return "; ".join(parts) + "."


def _one_change(change: Mapping[str, Any], i: int) -> str:
    value, low, high = (change[key][i] for key in ("difference", "low", "high"))
    name = f"pass@{change['ks'][i]}"
    if low > 0:
        return f"raised {name} by {value:.3f} [{low:.3f}, {high:.3f}]"
    if high < 0:
        return f"lowered {name} by {-value:.3f} [{-high:.3f}, {-low:.3f}]"
    return f"left {name} where it was as far as the data can tell ({value:+.3f} [{low:+.3f}, {high:+.3f}])"


def _counts(directory: RunDirectory, when: str) -> Counts:
    return count_rollouts(read_rollouts(directory.evaluation / f"{when}.jsonl"))


def _draw(curves: Mapping[str, Mapping[str, Any]], path: Path) -> Path:
    """pass@k against k with interval bands, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.2), dpi=150)
    for (label, curve), color in zip(curves.items(), ("0.4", "tab:orange", "tab:blue"), strict=True):
        axes.plot(curve["ks"], curve["values"], marker="o", color=color, label=label)
        axes.fill_between(curve["ks"], curve["low"], curve["high"], color=color, alpha=0.15, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks(curves["base"]["ks"], [str(k) for k in curves["base"]["ks"]])
    axes.set(xlabel="k (rollouts per puzzle)", ylabel="pass@k", title="Countdown, held-out puzzles")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
    return path


def _whole(steps: int) -> int:
    if steps < 1:
        raise AdvshapeError(f"--steps must be at least 1, got {steps}")
    return steps
