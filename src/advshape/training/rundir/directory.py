"""The run directory: everything a run leaves behind, readable while it is written and after it was stopped.

``recipe.toml`` (resolved), ``metrics.jsonl``, ``rollouts.jsonl``, ``summary.json``, ``evaluation/``,
``checkpoints/``, ``model/``, ``adapter/`` (LoRA weights alone), ``trackers/``, ``report.html``.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from advshape.errors import AdvshapeError
from advshape.evaluation.logs.jsonl import plain, read_json, read_jsonl, to_line
from advshape.evaluation.logs.lock import lock_file

PARTS = (
    "recipe.toml",
    "metrics.jsonl",
    "rollouts.jsonl",
    "summary.json",
    "report.html",
    "evaluation",
    "checkpoints",
    "model",
    "adapter",
    "trackers",
)

REPLACED = "being replaced"  # the status of an old run from ``--overwrite`` until the new one is there


class RunDirectory:
    """One run's directory.  Making the object touches nothing; ``create`` and ``resume`` do."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.recipe = self.path / "recipe.toml"
        self.metrics = self.path / "metrics.jsonl"
        self.rollouts = self.path / "rollouts.jsonl"
        self.evaluation = self.path / "evaluation"
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model"
        self.adapter = self.path / "adapter"
        self.trackers = self.path / "trackers"
        self.report = self.path / "report.html"
        self.lock = self.path / ".lock"

    def check_free(self, overwrite: bool = False) -> None:
        """Raise unless the directory is absent or empty, or is a run that may be overwritten."""
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise AdvshapeError(f"{str(self.path)!r} is a file; choose another run directory with --out")
        entries = [entry.name for entry in self.path.iterdir()]
        if set(entries) <= {_beside(self.recipe).name, self.lock.name}:  # killed before there was a run
            return
        if "recipe.toml" not in entries:
            raise AdvshapeError(
                f"{str(self.path)!r} is there and no run directory (it has no recipe.toml), so --overwrite will not "
                "delete it; choose another with --out"
            )
        if not overwrite:
            begun = self.summary().get("status") not in ("done", REPLACED)
            resume = f"go on with it by --resume {self.path}, " if begun else ""
            raise AdvshapeError(
                f"run directory {str(self.path)!r} exists; {resume}replace it by --overwrite, or choose another "
                "with --out"
            )

    def check_resumable(self) -> None:
        """Raise unless the directory holds a run that is not done."""
        if not self.recipe.is_file():
            raise AdvshapeError(f"{str(self.path)!r} holds no run to resume (no recipe.toml)")
        status = self.summary().get("status")
        if status == "done":
            raise AdvshapeError(f"the run in {str(self.path)!r} is done; nothing is left to resume")
        if status == REPLACED:
            raise AdvshapeError(
                f"the run in {str(self.path)!r} was being replaced by another one, which had not begun; start that one "
                "again with --overwrite"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process from writing this run; its end, or its death, releases it.

        Raises `AdvshapeError` where another process writes the run.
        """
        self._make()
        with self.lock.open("ab") as file:
            lock_file(file, self.lock, f"the run in {str(self.path)!r}")
            yield

    def _make(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AdvshapeError(
                f"the run directory {str(self.path)!r} cannot be made ({error.strerror}); choose another with --out"
            ) from None

    def create(self, recipe_toml: str, overwrite: bool = False) -> None:
        """Make the directory and write the resolved recipe; with ``overwrite`` an old run's parts go first.

        The recipe appears last, and whole: a directory that has one holds a run which can be resumed.
        """
        self.check_free(overwrite)
        self._make()
        summary = self.path / "summary.json"
        if self.recipe.exists():
            replace_text(summary, json.dumps({"status": REPLACED}))
        for part in PARTS:
            target = self.path / part
            if target.is_dir():
                shutil.rmtree(target)
            elif target.exists() and target not in (self.recipe, summary):
                target.unlink()
        replace_text(self.recipe, recipe_toml)
        summary.unlink(missing_ok=True)

    def summary(self) -> dict[str, Any]:
        """The summary as last written; empty when there is none yet."""
        return read_json(self.path / "summary.json")

    def update_summary(self, **entries: Any) -> dict[str, Any]:
        """Merge entries into ``summary.json``; the file is replaced whole, so a reader never sees half of it."""
        summary = self.summary() | entries
        replace_text(self.path / "summary.json", json.dumps(plain(summary), indent=2) + "\n")
        return summary

    def last_checkpoint(self) -> tuple[Path, int] | None:
        """The newest complete checkpoint and its step, or None."""
        found = self.whole_checkpoints()
        return found[0] if found else None

    def whole_checkpoints(self) -> list[tuple[Path, int]]:
        """Checkpoints that were finished, and their steps; the newest first."""
        found = [
            (path, int(path.name.rpartition("-")[2]))
            for path in self.checkpoints.glob("checkpoint-*")
            if (path / "trainer_state.json").is_file()
        ]
        return sorted(found, key=lambda entry: -entry[1])

    def cut_back(self, step: int) -> None:
        """Drop metrics and rollouts of later steps than ``step``: a resumed run makes them again."""
        for path in (self.metrics, self.rollouts):
            if path.exists():
                kept = [line for line in read_jsonl(path, {"step": int}) if line["step"] <= step]
                replace_text(path, "".join(map(to_line, kept)))


def replace_text(path: Path, text: str) -> None:
    """Write a file beside and rename it: at every moment the old one is there, or the whole new one."""
    _beside(path).write_text(text, encoding="utf-8")
    os.replace(_beside(path), path)


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".new")
