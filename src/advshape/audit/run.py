"""An audit in a process of its own: with a time limit, in the target's own interpreter, in an empty folder.

It is no sandbox: the target's code runs with the caller's rights, as it would in its trainer.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from advshape.audit.answer import clean, read
from advshape.errors import AdvshapeError
from advshape.tasks.process import run_python

__all__ = ["TargetFailed", "audit", "estimators"]

CHILD = Path(__file__).with_name("child.py")
LARGEST_N = 512
"""Largest group that code is probed with: every count beside every other, n^3 rewards in all."""


class TargetFailed(Exception):
    """The target's own code did not come to an end, or took its process with it."""


def audit(
    target: str,
    sizes: Sequence[int],
    *,
    python: str | None = None,
    signature: str | None = None,
    seconds: float = 300.0,
    paths: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """What a target, run where it lies, maximises with n rollouts per prompt: `examine.examine` for each n of `sizes`.

    target: a name for `targets.load`. python: interpreter of the environment that has it (default: this one; it needs
    Python 3.11, numpy and SciPy). seconds: wall-clock limit. paths: where modules of one's own are looked for.
    Raises AdvshapeError where there is no such target, n < 1 or n > 512, TargetFailed where its code does not finish.
    """
    for n in sizes:
        if not 1 <= n <= LARGEST_N:
            raise AdvshapeError(f"code is probed on every count of groups of 1 to {LARGEST_N} rollouts, got n={n}")
    shown = target
    if ".py:" in target:
        where, _, function = target.rpartition(":")
        target = f"{Path(where).absolute()}:{function}"
    request = {"target": target, "shown": shown, "sizes": list(sizes), "signature": signature, "paths": list(paths)}
    found: list[dict[str, Any]] = _asked(request, python, seconds)["data"]
    return found


def estimators(scheme: str, *, python: str | None = None, seconds: float = 300.0) -> list[str]:
    """Names of the advantage rules that the trainer `scheme` of that interpreter has."""
    found: list[str] = _asked({"target": scheme, "shown": scheme, "names": True}, python, seconds)["names"]
    return found


def _asked(request: dict[str, Any], python: str | None, seconds: float) -> dict[str, Any]:
    """The child's answer. Its working directory is a folder of its own, and Python leaves no caches behind."""
    with tempfile.TemporaryDirectory(prefix="advshape-", ignore_cleanup_errors=True) as folder:
        ask = Path(folder) / "request.json"
        ask.write_text(json.dumps(request), encoding="utf-8")
        said = _run([str(CHILD), str(ask)], python, folder, seconds, request["shown"])
        answer = ask.with_name("answer.json")
        if not answer.is_file():
            raise TargetFailed(f"{request['shown']}: its process ended without an answer: {said}")
        try:
            found = read(answer, None if request.get("names") else len(request["sizes"]))
        except ValueError as error:
            why = clean(f"{type(error).__name__}: {error}")
            raise TargetFailed(f"{request['shown']}: its process left an answer that cannot be read ({why})") from None
    if "error" in found:
        raise AdvshapeError(found["error"])
    return found


def _run(arguments: list[str], python: str | None, folder: str, seconds: float, target: str) -> str:
    """Run to its end; returns the last line said on standard error."""
    quiet = {"PYTHONDONTWRITEBYTECODE": "1", "TOKENIZERS_PARALLELISM": "false"}
    try:
        done = run_python(arguments, seconds, python=python, folder=folder, environment=quiet)
    except OSError as error:
        raise AdvshapeError(f"{python!r} cannot be run ({error}); give --python the path of an interpreter") from None
    if done.code is None:
        raise TargetFailed(f"{target} took longer than {seconds:g} s; allow more with --seconds")
    return str(clean(done.last_words))
