"""How does the catalogue read in a terminal? All entries in 100 columns, or one in full."""

from __future__ import annotations

import textwrap
from typing import Any

from advshape.catalogue.describe import FAMILIES, NOTE, signature

__all__ = ["catalogue_text", "entry_text"]

WIDTH = 100
NO_LIMIT = "F_n of each n: table(n).surrogate()"


def catalogue_text(rows: list[dict[str, Any]]) -> str:
    """The catalogue in `WIDTH` columns."""
    lines = [f"{'estimator':<31}{'n >=':>4}  {'kind':<12}{'centred':<9}maximises"]
    for family, title in FAMILIES.items():
        lines += ["", title]
        for row in (r for r in rows if r["family"] == family):
            lines += [*_row(row), *_advice(row)]
    return "\n".join([*lines, "", NOTE, "`advshape estimators NAME` shows one entry in full, with its parameters."])


def entry_text(row: dict[str, Any]) -> str:
    """One entry in full."""
    words = [
        row["kind"] + (" against this F" if row["kind"] == "biased" else ""),
        "centred" if row["centered"] else "not centred",
    ]
    words += ["random: advantages(..., rng=) draws, else the exact expectation"] if row["random"] else []
    facts = {
        "maximises": f"{row['surrogate']}: F = {row['formula']}, F' = {row['slope']}" if row["surrogate"] else NO_LIMIT,
        "kind": ", ".join(words),
        "smallest n": ": ".join([str(row["smallest_n"]), *([row["needs"]] if row["needs"] else [])]),
        "source": row["reference"],
        "use": row["use"],
        "avoid": row["avoid"],
    }
    wrapped = (
        textwrap.fill(value, WIDTH, initial_indent=f"{key:<12}", subsequent_indent=" " * 12)
        for key, value in facts.items()
    )
    shown = [f"shown: {row['shown']}"] if "(" in row["shown"] else []
    table = f"advshape reverse '{row['shown']}' -n {max(8, row['smallest_n'])}"
    told = "\n\n".join(textwrap.fill(part, WIDTH) for part in row["documentation"].split("\n\n"))
    head = [signature(row), *shown, "", told, ""]
    return "\n".join([*head, *wrapped, "", f"Its table: {table}"])


def _kind(row: dict[str, Any]) -> str:
    short = {"unbiased up to a constant": "up to const", "unknown surrogate": "-"}
    return short.get(row["kind"], row["kind"])


def _aim(row: dict[str, Any]) -> str:
    return f"{row['surrogate']}: {row['formula']}" if row["surrogate"] else NO_LIMIT


def _row(row: dict[str, Any]) -> list[str]:
    aim = textwrap.wrap(_aim(row), WIDTH - 58)
    name = signature(row, defaults=False)
    first = f"{name:<31}{row['smallest_n']:>4}  {_kind(row):<12}{'yes' if row['centered'] else 'no':<9}{aim[0]}"
    return [first, *(" " * 58 + line for line in aim[1:])]


def _advice(row: dict[str, Any]) -> list[str]:
    random = "Random, with rng=. " if row["random"] else ""
    advice = f"{random}Use {row['use']}; avoid {row['avoid']}. [{row['reference']}]"
    return textwrap.wrap(advice, WIDTH, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
