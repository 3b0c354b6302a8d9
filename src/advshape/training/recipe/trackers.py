"""TRL's trackers (``[trainer] report_to``): checked before a model loads, and kept at home.

Metrics reach them as ``metrics.jsonl`` names them, with transformers' ``train/`` in front: ``train/reward``,
``train/advshape/pass_at_1``.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import util
from pathlib import Path
from typing import Any

from advshape.errors import AdvshapeError

__all__ = ["TRACKERS", "check_trackers", "kept_in", "tracker_options"]

TRACKERS: Mapping[str, tuple[str, ...]] = {
    "tensorboard": ("tensorboard", "tensorboardX"),
    "wandb": ("wandb",),
    "trackio": ("trackio",),
}
"""Tracker -> the packages of which one must be there."""


def check_trackers(report_to: Any) -> tuple[str, ...]:
    """The trackers that ``report_to`` names, known and installed.

    >>> check_trackers("none")
    ()

    Raises AdvshapeError for anything but "none", a tracker's name or a list of names, and for a missing package.
    """
    names = [report_to] if isinstance(report_to, str) else report_to
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise AdvshapeError(f'[trainer] report_to must be a name or a list of names such as "wandb", got {report_to!r}')
    if list(names) == ["none"]:
        return ()
    for name in names:
        if name not in TRACKERS:
            near = difflib.get_close_matches(name, [*TRACKERS, "none"], n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ";"
            raise AdvshapeError(f'[trainer] report_to = {name!r}{hint} allowed: "none", {_quoted(TRACKERS)}')
        if not any(_installed(package) for package in TRACKERS[name]):
            raise AdvshapeError(
                f"[trainer] report_to = {name!r} needs a package that is not installed: pip install {TRACKERS[name][0]}"
            )
    return tuple(names)


def tracker_options(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """``GRPOConfig`` fields that a recipe with trackers gets when it leaves them out: ``project`` and ``run_name``."""
    if not check_trackers(config.get("report_to", "none")):
        return {}
    return {key: value for key, value in (("project", "advshape"), ("run_name", name)) if key not in config}


@contextmanager
def kept_in(directory: Path, report_to: Any) -> Iterator[None]:
    """While it lasts, what TensorBoard and W&B write goes into ``directory``, unless the user's environment says
    otherwise; without trackers nothing is made."""
    homes = {
        "TENSORBOARD_LOGGING_DIR": str(directory / "tensorboard"),
        "WANDB_DIR": str(directory),
        "WANDB_PROJECT": "advshape",
    }
    chosen = {name: value for name, value in homes.items() if name not in os.environ}
    if check_trackers(report_to):
        directory.mkdir(parents=True, exist_ok=True)
        os.environ.update(chosen)
    try:
        yield
    finally:
        for name in chosen:
            os.environ.pop(name, None)


def _installed(package: str) -> bool:
    """A folder of that name in the working directory, such as W&B makes, is no package."""
    spec = util.find_spec(package)
    return spec is not None and spec.origin is not None


def _quoted(names: Mapping[str, Any]) -> str:
    return ", ".join(f'"{name}"' for name in names)
