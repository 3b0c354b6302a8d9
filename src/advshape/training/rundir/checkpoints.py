"""Which checkpoint a run goes on from: the newest that is whole, and of the same recipe.

Every checkpoint holds the recipe that made it and a seal, the size and CRC-32 of each of its files.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from advshape.errors import AdvshapeError
from advshape.training.recipe.load import Recipe, load_recipe
from advshape.training.rundir.directory import RunDirectory

SEAL, RECIPE = "seal.json", "recipe.toml"
FREE = ("trainer.max_steps", "trainer.save_", "trainer.logging_", "trainer.report_to", "evaluation.")
"""What may change in the middle of a run: how long it goes on, what it writes, how it is evaluated."""


def seal(folder: Path) -> None:
    """Write size and CRC-32 of every file of a finished checkpoint."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != SEAL)
    sums = {str(file.relative_to(folder)): [file.stat().st_size, _sum(file)] for file in files}
    (folder / SEAL).write_text(json.dumps(sums), encoding="utf-8")


def damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint, or None; one without a seal (not of a run's own making) is believed."""
    try:
        sums = json.loads((folder / SEAL).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        return f"{SEAL} cannot be read ({error})"
    for name, (size, total) in sums.items():
        file = folder / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size} bytes, written were {size}"
        if _sum(file) != total:
            return f"{name} is not what was written (CRC-32)"
    return None


def choose(directory: RunDirectory, recipe: Recipe) -> tuple[tuple[Path, int] | None, tuple[str, ...]]:
    """((checkpoint, step), what to tell): the newest whole checkpoint; None where the run has none.

    Raises ``AdvshapeError`` when all are damaged, or when the checkpoint was made by another recipe, with the entries
    that differ. Entries under ``FREE`` may differ, but ``max_steps`` not fall below the checkpoint's step.
    """
    told: list[str] = []
    found = directory.whole_checkpoints()
    for path, step in found:
        if wrong := damage(path):
            told.append(f"{path.name} is damaged: {wrong}")
            continue
        changes = list(_against(path, recipe))
        if stopping := [change for change in changes if not change.startswith(FREE)]:
            raise AdvshapeError(
                f"{path} was made by another recipe than {directory.recipe}: {'; '.join(stopping)}. Put that back, or "
                "start another run (advshape train RECIPE --out DIR)"
            )
        told += [f"changed since {path.name}: {change}" for change in changes]
        _check_step(path, step, recipe)
        if len(found) > 1 and path != found[0][0]:
            told.append(f"going on from {path.name}")
        return (path, step), tuple(told)
    if found:
        raise AdvshapeError(
            f"no checkpoint in {directory.checkpoints} is whole ({'; '.join(told)}); "
            "start the run anew with --overwrite"
        )
    return None, ()


def differences(then: Mapping[str, Any], now: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """The entries of two nested tables that differ, one line each.

    >>> list(differences({"a": {"x": 1, "y": 2}}, {"a": {"x": 3, "y": 2}}))
    ['a.x was 1, is 3']
    """
    for key in [*then, *(key for key in now if key not in then)]:
        old, new = then.get(key, "not set"), now.get(key, "not set")
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from differences(old, new, f"{place}{key}.")
        elif old != new:
            yield f"{place}{key} was {old!r}, is {new!r}"


def _against(folder: Path, recipe: Recipe) -> Iterator[str]:
    if (folder / RECIPE).is_file():
        yield from differences(load_recipe(folder / RECIPE).tables(), recipe.tables())


def _check_step(folder: Path, step: int, recipe: Recipe) -> None:
    """Raise where the run has gone further than the recipe now says; at that very step nothing is left to train."""
    last = recipe.trainer.get("max_steps", -1)
    if 0 < last < step:
        raise AdvshapeError(
            f"{folder} is of step {step}, and trainer.max_steps = {last}: the run went further; set it to {step} "
            f"(nothing more is trained) or more, or remove the checkpoints after step {last}"
        )


def _sum(file: Path) -> int:
    total = 0
    with file.open("rb") as stream:
        while piece := stream.read(1 << 20):
            total = zlib.crc32(piece, total)
    return total
