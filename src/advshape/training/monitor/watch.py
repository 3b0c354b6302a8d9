"""A run seen from outside: what its directory says at this moment, and one screen of text; needs no torch.

Reads ``summary.json`` and ``metrics.jsonl`` alone, and the times at which the run last wrote something.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from textwrap import fill
from typing import Any

from advshape.errors import AdvshapeError
from advshape.report.data.run_files import curve_points, read_metrics, read_summary
from advshape.report.data.text import short
from advshape.training.monitor.progress import batch_pass, clock, pace
from advshape.training.monitor.warning_signs import dead_share, warning_signs
from advshape.training.rundir.directory import RunDirectory

__all__ = ["Snapshot", "screen", "snapshot", "sparkline"]

OVER = ("done", "failed", "interrupted")
SILENT = 120.0  # seconds without a sign of life, at least; a slow run may be silent for SILENT_STEPS of its steps
SILENT_STEPS = 10
BLOCKS, ASCII_BLOCKS = "▁▂▃▄▅▆▇█", "_.-=+*#@"
ROWS = (
    ("reward", lambda line: line.get("reward")),
    ("pass@{k}", lambda line: (batch_pass(line) or (0, None))[1]),
    ("dead groups", dead_share),
    ("entropy", lambda line: line.get("entropy")),
    ("gradient norm", lambda line: line.get("grad_norm")),
    ("KL", lambda line: line.get("kl")),
    ("cut off", lambda line: line.get("completions/clipped_ratio")),
    ("not judged", lambda line: line.get("advshape/rollouts_not_judged")),
)


@dataclass(frozen=True)
class Snapshot:
    """A run at one moment.

    ``status`` is the summary's, "not begun" before there is one, and "silent" where a run that should be at work
    has written nothing for ``silent`` seconds, longer than its own pace explains.
    """

    path: Path
    status: str
    summary: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    checkpoint: int | None
    silent: float

    @property
    def over(self) -> bool:
        """Will nothing more come?"""
        return self.status in OVER


def snapshot(directory: str | Path, now: float | None = None) -> Snapshot:
    """Read a run directory; a last line that is being written is left out.

    Args:
        directory: as ``advshape train`` makes it.
        now: seconds since the epoch, for the silence; default: the clock.

    Raises AdvshapeError where there is no run directory, or a file in it is broken.
    """
    run = RunDirectory(directory)
    if not run.path.is_dir():
        raise AdvshapeError(f"there is no run directory {str(run.path)!r}; `advshape train` makes one")
    if not run.recipe.is_file():
        raise AdvshapeError(f"{str(run.path)!r} is no run directory: it has no recipe.toml")
    summary = read_summary(run.path / "summary.json")
    history = read_metrics(run.metrics)
    silent = (time.time() if now is None else now) - _last_written(run)
    status = str(summary.get("status", "not begun"))
    patience = max(SILENT, SILENT_STEPS * (pace(history, 0).step or 0.0))
    if status not in OVER and silent > patience:
        status = "silent"
    checkpoint = run.last_checkpoint()
    return Snapshot(run.path, status, summary, history, checkpoint[1] if checkpoint else None, silent)


def _last_written(run: RunDirectory) -> float:
    """The newest time of what a run writes as it goes; evaluations write their own logs."""
    files = [run.recipe, run.path / "summary.json", run.metrics, run.rollouts, *run.evaluation.glob("*.jsonl")]
    times = []
    for file in files:
        with suppress(OSError):  # not there yet, or gone again
            times.append(file.stat().st_mtime)
    return max(times, default=0.0)


def screen(seen: Snapshot, width: int = 80, blocks: str = BLOCKS) -> str:
    """One screen: where the run stands, its metrics with their course, its evaluations, its warnings.

    Args:
        seen: from ``snapshot``.
        width: columns; what is longer goes on in the next line, but for a path or a command to copy.
        blocks: characters of the sparklines, lowest first.
    """
    lines = [*_heading(seen), "", *_metrics(seen.history, width, blocks)]
    for when in ("before", "after"):
        if when in seen.summary:
            lines.append(_evaluation(when, curve_points(seen.summary[when], f"summary.json: {when}")))
    lines += [f"warning: {short(text, 1000)}" for text in seen.summary.get("warnings", [])]
    lines += [f"warning at {sign}" for sign in warning_signs(seen.history)]
    return "\n".join(_wrapped(line.rstrip(), width) for line in lines)


def _wrapped(line: str, width: int) -> str:
    """In several lines where it is too long; a command to copy stays whole."""
    if len(line) <= width or line.startswith("go on with"):
        return line
    return fill(line, max(width, 20), subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _heading(seen: Snapshot) -> list[str]:
    summary = seen.summary
    total = summary.get("planned", {}).get("steps", -1)
    step = seen.history[-1]["step"] if seen.history else 0
    left = pace(seen.history, total).left if total > 0 else None
    where = f"step {step} of {total}" if total > 0 else f"step {step}"
    parts = [short(str(summary.get("name", seen.path.name)), 40), _status(seen), where]
    if left is not None and seen.status == "training":
        parts.append(f"{clock(left)} left")
    saved = "none yet" if seen.checkpoint is None else f"step {seen.checkpoint}"
    lines = [" · ".join(parts), f"checkpoint: {saved} · {seen.path}"]
    if "objective" in summary:
        lines.append(f"objective: {short(str(summary['objective']), 300)}")
    if seen.status == "failed":
        lines.append(f"error: {short(str(summary.get('error', 'not told')), 400)}")
    if seen.status in ("failed", "interrupted", "silent"):
        lines.append(f"go on with: advshape train --resume {seen.path}")
    return lines


def _status(seen: Snapshot) -> str:
    if seen.status != "silent":
        return seen.status
    was = seen.summary.get("status", "not begun")
    return f"{was}, but silent for {clock(seen.silent)}: was it killed?"


def _metrics(history: Sequence[Mapping[str, Any]], width: int, blocks: str) -> list[str]:
    """A row for each metric that was logged: first and last value, and its course."""
    if not history:
        return ["no training step yet"]
    found = batch_pass(history[-1])
    lines = [f"{'':<14}{'first':>9}{'last':>9}   course over {len(history)} logged steps"]
    for title, of in ROWS:
        values = [float(value) for value in map(of, history) if value is not None]
        if values:
            name = title.format(k=found[0] if found else "k")
            course = sparkline(values, max(1, min(60, width - 35)), blocks)
            lines.append(f"{name:<14}{values[0]:>9.3f}{values[-1]:>9.3f}   {course}")
    speed = pace(history, 0)
    if speed.step is not None:
        tokens = "" if speed.tokens is None else f", {speed.tokens:.0f} tokens/s"
        lines.append(f"{'pace':<14}{speed.step:>9.2f} s a step{tokens}")
    return lines


def sparkline(values: Sequence[float], width: int, blocks: str = BLOCKS) -> str:
    """The course of some numbers in at most ``width`` characters; neighbours are averaged where there are more.

    >>> sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8)
    '▁▂▃▄▅▆▇█'
    >>> sparkline([1, 1, 5, 5], 2), sparkline([2, 2], 8)
    ('▁█', '▁▁')
    """
    count = min(width, len(values))
    cuts = [round(place * len(values) / count) for place in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(cuts)]
    low, spread = min(means), max(means) - min(means)
    return "".join(blocks[int((mean - low) / spread * (len(blocks) - 1) + 0.5) if spread > 0 else 0] for mean in means)


def _evaluation(when: str, points: Sequence[tuple[float, ...]]) -> str:
    """First and last k."""
    cells = []
    for k, value, low, high in dict.fromkeys((points[0], points[-1])):
        interval = "" if math.isnan(low) else f" [{low:.3f}, {high:.3f}]"
        cells.append(f"pass@{k:.0f} {value:.3f}{interval}")
    return f"{when:<14}{'  '.join(cells)}"
