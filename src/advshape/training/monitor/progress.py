"""Where a run stands, from the lines of ``metrics.jsonl``: pace, time left, and one line of text; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from advshape.training.monitor.warning_signs import dead_share

__all__ = ["Pace", "batch_pass", "clock", "pace", "progress_line"]

PACE_LINES = 20  # lines over which the pace is taken: old ones tell of warming up, few ones jump


@dataclass(frozen=True)
class Pace:
    """Seconds a step, tokens (prompts and completions) a second, seconds left; None where it is not known yet."""

    step: float | None
    tokens: float | None
    left: float | None


def pace(history: Sequence[Mapping[str, Any]], total: int) -> Pace:
    """The pace over the last lines of this sitting, and the time left of ``total`` steps at that pace.

    ``seconds`` counts from the start of a sitting, so a line with fewer seconds than the one before begins another.

    >>> lines = [{"step": s, "seconds": 10.0 + 2 * s, "num_tokens": 500 * s} for s in (1, 2, 3)]
    >>> pace(lines, total=10)
    Pace(step=2.0, tokens=250.0, left=14.0)
    """
    lines = _sitting(history[-PACE_LINES:])
    if len(lines) < 2 or lines[-1]["step"] == lines[0]["step"]:
        step = lines[-1].get("step_time") if lines else None
        return Pace(step, None, None if step is None else step * max(0, total - lines[-1]["step"]))
    first, last = lines[0], lines[-1]
    seconds = last["seconds"] - first["seconds"]
    step = seconds / (last["step"] - first["step"])
    counted = first.get("num_tokens") is not None and last.get("num_tokens") is not None and seconds > 0
    tokens = (last["num_tokens"] - first["num_tokens"]) / seconds if counted else None
    return Pace(step, tokens, step * max(0, total - last["step"]))


def _sitting(lines: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    timed = [line for line in lines if line.get("seconds") is not None]
    for place in range(len(timed) - 1, 0, -1):
        if timed[place]["seconds"] < timed[place - 1]["seconds"]:
            return timed[place:]
    return timed


def batch_pass(line: Mapping[str, Any]) -> tuple[int, float] | None:
    """(k, pass@k) of the training batch for the largest k that was logged."""
    ks = [
        int(name.removeprefix("advshape/pass_at_"))
        for name, value in line.items()
        if name.startswith("advshape/pass_at_") and value is not None
    ]
    return (max(ks), float(line[f"advshape/pass_at_{max(ks)}"])) if ks else None


def progress_line(label: str, history: Sequence[Mapping[str, Any]], total: int, width: int = 80) -> str:
    """Step, reward, pass@k, share of dead groups, entropy, tokens a second and time left, in at most ``width`` columns.

    What does not fit goes in this order: the label, wide gaps, tokens a second, entropy, dead groups, pass@k, reward.

    >>> line = {"step": 12, "seconds": 25.0, "reward": 0.25, "advshape/pass_at_8": 0.7,
    ...         "advshape/prompts_mixed": 0.84, "entropy": 0.402, "step_time": 2.0}
    >>> progress_line("countdown", [line], 150)
    'countdown  12/150  reward .250  pass@8 .700  dead 16%  entropy .40  04:36 left'
    >>> progress_line("countdown", [line], 150, width=50)
    '12/150 reward .250 pass@8 .700 dead 16% 04:36 left'
    """
    line = history[-1] if history else {}
    speed = pace(history, total)
    best, dead = batch_pass(line), dead_share(line)
    pieces = {
        "label": label,
        "step": f"{line.get('step', 0)}/{total}",
        "reward": _named("reward", line.get("reward")),
        "pass": _named(f"pass@{best[0]}", best[1]) if best else "",
        "dead": "" if dead is None else f"dead {dead:.0%}",
        "entropy": _named("entropy", line.get("entropy"), 2),
        "tokens": "" if speed.tokens is None else f"{tqdm.format_sizeof(speed.tokens)} tok/s",
        "left": "" if speed.left is None else f"{clock(speed.left)} left",
    }
    pieces = {name: text for name, text in pieces.items() if text}
    gap = "  "
    for drop in ("label", None, "tokens", "entropy", "dead", "pass", "reward", "left"):
        text = gap.join(pieces.values())
        if len(text) <= width:
            return text
        gap = gap if drop else " "
        pieces.pop(drop or "", None)
    return gap.join(pieces.values())[:width]


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are some.

    >>> clock(192.4), clock(7265)
    ('03:12', '2:01:05')
    """
    return str(tqdm.format_interval(round(seconds)))


def _named(name: str, value: float | None, digits: int = 3) -> str:
    """A number with a fixed number of digits after the point, without the 0 before it."""
    if value is None:
        return ""
    text = f"{value:.{digits}f}"
    return f"{name} {text.replace('0.', '.', 1) if text.startswith(('0.', '-0.')) else text}"
