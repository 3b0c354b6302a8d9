"""What do trainers optimise? The audit's data as one Markdown page; nothing in it is typed by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from advshape.catalogue import make_surrogate
from advshape.errors import AdvshapeError

__all__ = ["page"]

Data = dict[str, Any]


def page(audited: Sequence[Sequence[Data]], failures: Sequence[str] = (), command: str = "advshape audit") -> str:
    """The page.

    audited: for each target its `examine.examine` at every group size, the smallest first. failures: one line for each
    target that could not be run. command: what makes this page again.
    """
    parts = [
        "# What does your trainer optimise?",
        "Each rule's own code, as installed or in the file named, was run on 0/1 rewards; tables, surrogates and "
        "findings are what came out. F_n is the objective whose exact gradient the rule estimates with "
        "n rollouts per prompt ([how it is found](reverse.md)). Tokens of one response share its advantage; no KL, no "
        "length penalty, no clipping.",
        _overview(audited),
    ]
    for version, targets in _by_version(audited):
        parts += [f"## {version}", *(_section(sizes) for sizes in targets)]
    if failures:
        parts += ["## Not run", "\n".join(f"- {_inline(line)}" for line in failures)]
    parts.append(f"## Make this page again\n\n```console\n$ {command}\n```")
    return "\n\n".join(parts) + "\n"


def _by_version(audited: Sequence[Sequence[Data]]) -> Iterable[tuple[str, list[Sequence[Data]]]]:
    groups: dict[str, list[Sequence[Data]]] = {}
    for sizes in audited:
        groups.setdefault(sizes[0]["version"] or "Functions", []).append(sizes)
    return groups.items()


def _overview(audited: Sequence[Sequence[Data]]) -> str:
    head = ["rule", "n", "what it is", "F_n'(0), F_n'(1)", "all wrong, all right", "group of one", "findings"]
    rows = [_row(sizes[-1]) for sizes in audited]
    return "\n".join([_line(head), _line(["---"] * len(head)), *map(_line, rows)])


def _row(data: Data) -> list[str]:
    slopes = data["slope_at_0_and_1"]
    dead = [data["negative"][0], data["positive"][-1]] if data["positive"] else None
    kinds = [f["kind"] for f in data["findings"]]
    return [
        f"`{data['target']}`",
        str(data["n"]),
        _what(data),
        _numbers(slopes) if slopes else "none",
        _numbers(dead) if dead else "no table",
        _one(data["group_of_one"]),
        ", ".join(dict.fromkeys(kinds)) or "none",
    ]


def _what(data: Data) -> str:
    if data["nearest"] and data["exact"]:
        return _inline(data["nearest"])
    if data["weight"] is None:
        return "outside the class of count-based rules: no surrogate"
    scale = ", up to the batch's scale" if data["up_to_batch_scale"] else ""
    return f"no name: {_inline(data['nearest'])}{scale}" if data["nearest"] else f"no name{scale}"


def _section(sizes: Sequence[Data]) -> str:
    first = sizes[0]
    lines = [f"### `{first['target']}`", f"`{first['source']}`" + _given(first["notes"])]
    if first["documentation"]:
        lines.append(f"> {_inline(first['documentation'])}")
    for data in sizes:
        lines.append(f"n = {data['n']}: {_what(data)}" + _population(data))
    lines += [_table(data) for data in sizes if data["positive"]]
    lines.append(f"Filters: {_inline(sizes[-1]['filters'])}. Group of one: {_one(first['group_of_one'])}.")
    if first["findings"]:
        lines.append("\n".join(f"- **{f['kind']}**: {_inline(f['message'])}" for f in first["findings"]))
    return "\n\n".join(lines)


def _population(data: Data) -> str:
    """The recorded name of a surrogate with its formula; what is no name of ours is shown as it is."""
    if not data["population"]:
        return ""
    try:
        formula = getattr(make_surrogate(data["population"]), "formula", data["population"])
    except AdvshapeError:
        formula = data["population"]
    shown = f": F = `{formula}`" if formula != data["population"] else ""
    return f"; as n grows it maximises `{data['population']}`{shown}"


def _given(notes: Sequence[str]) -> str:
    return f", with {_inline('; '.join(notes))}" if notes else ""


def _table(data: Data) -> str:
    n = data["n"]
    head = [f"right of {n}", *map(str, range(n + 1))]
    positive = ["A+", "", *map(_number, data["positive"][1:])]
    negative = ["A-", *map(_number, data["negative"][:-1]), ""]
    return "\n".join(map(_line, (head, ["---"] * len(head), positive, negative)))


def _one(found: Data) -> str:
    if "refuses" in found:
        return f"refused ({_inline(found['refuses'])})"
    return f"wrong {_number(found['wrong'])}, right {_number(found['right'])}"


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"


def _numbers(values: Sequence[float | None]) -> str:
    return ", ".join(map(_number, values))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _inline(text: str) -> str:
    """One line in which nothing of the packages' text acts as markup."""
    shown = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for sign in "\\`*_[]#~":
        shown = shown.replace(sign, f"\\{sign}")
    return shown
