"""Which keys a recipe's tables take, and what was meant by one that they do not: the nearest, or another table's."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from advshape.errors import AdvshapeError, nearest
from advshape.training.recipe.source_fields import source_fields

SECTIONS = ("model", "task", "objective", "sampling", "trainer", "evaluation")
MODEL_KEYS = ("path", "dtype", "lora")
EVALUATION_KEYS = (
    "count",
    "n",
    "temperature",
    "top_p",
    "seed",
    "batch_size",
    "max_new_tokens",
    "before",
    "after",
)
OBJECTIVE_KEYS = (
    *("estimator", "surrogate", "stages", "trainer"),
    *("scale", "build", "baseline", "schedule", "hard", "history", "real", "bounds"),
)
SAMPLING_KEYS = ("prioritized", "weight")
TASK_KEYS = ("name", "train_problems", "seed")
OUR_TRAINER_KEYS = ("skip_zero_advantages",)  # true or false; no fields of GRPOConfig
OWNED_TRAINER_KEYS = {
    "output_dir": "the run directory decides it; use --out",
    "resume_from_checkpoint": "use --resume",
    "disable_tqdm": "advshape draws its own progress bar",
    "remove_unused_columns": "the verifier needs the problem's id; it stays off",
}


def check_keys(section: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Raise for the first key of ``[section]`` that is not known, naming what was meant (see ``meant``)."""
    for key in given:
        if key not in known:
            listed = f"; allowed: {', '.join(known)}" if len(known) <= 20 else ""
            raise AdvshapeError(f"unknown key {key!r} in [{section}]{meant(key, known, section)}{listed}")


def check_sections(given: Iterable[str]) -> None:
    """Raise for the first name that is no table of a recipe, naming what was meant."""
    for key in given:
        if key not in SECTIONS:
            raise AdvshapeError(
                f"a recipe has no table {key!r}{meant(key, SECTIONS)}; its tables: {', '.join(SECTIONS)}"
            )


def meant(key: str, known: Iterable[str], section: str = "") -> str:
    """``"; did you mean 'x'?"``: tables but ``section`` that take this very key, else its nearest word, or nothing.

    >>> meant("max_steps", EVALUATION_KEYS), meant("maxsteps", SECTIONS), meant("colour", SECTIONS)
    ("; did you mean 'trainer.max_steps'?", "; did you mean 'trainer.max_steps'?", '')
    >>> meant("seed", MODEL_KEYS)
    "; did you mean 'task.seed' or 'trainer.seed' or 'evaluation.seed'?"
    """
    tables = {table: keys for table, keys in _keys_by_table().items() if table != section}
    found = [f"{table}.{key}" for table, keys in tables.items() if key in keys]
    if found:
        return f"; did you mean {' or '.join(map(repr, found))}?"
    if here := nearest(key, known):
        return here
    close = difflib.get_close_matches(key, [word for keys in tables.values() for word in keys], n=1, cutoff=0.8)
    return meant(close[0], (), section) if close else ""


@cache
def _keys_by_table() -> Mapping[str, Sequence[str]]:
    """Every key that is known before a task is made; parameters of estimators among those of the objective."""
    from advshape.catalogue import ENTRIES

    parameters = {name for entry in ENTRIES.values() for name in inspect.signature(entry).parameters}
    return {
        "model": MODEL_KEYS,
        "task": TASK_KEYS,
        "objective": (*OBJECTIVE_KEYS, *sorted(parameters - set(OBJECTIVE_KEYS))),
        "sampling": SAMPLING_KEYS,
        "trainer": (*source_fields("trl.trainer.grpo_config", "GRPOConfig"), *OUR_TRAINER_KEYS),
        "evaluation": EVALUATION_KEYS,
    }
