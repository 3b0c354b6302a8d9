"""``advshape estimators``: the catalogue as text, as JSON or as the page docs/estimators.md."""

from __future__ import annotations

import argparse
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from typing import Any

__all__ = ["add", "catalogue", "markdown", "one", "text"]

WIDTH = 100
FAMILIES = {
    "policy_gradient": "REINFORCE, GRPO and their normalisations",
    "pass_at_k": "Pass@k, all-of-k and majority-of-k",
    "passk_training": "Pass@k Training",
    "prompt_weights": "Prompts weighed by difficulty",
    "reward_level": "Other functions of the success rate",
}
EXAMPLE = {"k": 4}  # what a required parameter is set to where an entry is shown without one
NO_LIMIT = "F_n of each n: table(n).surrogate()"
NOTE = "n >=, kind and maximises: with k = 4 (majority_of_k: k = 3) where a k is needed."


def add(commands: Any) -> None:
    """The subcommand."""
    sub = commands.add_parser("estimators", help="the catalogue, or one entry in full", allow_abbrev=False)
    sub.add_argument("name", nargs="?", metavar="NAME", help="one estimator, such as qae or 'pass_at_k(k=8)'")
    form = sub.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="everything known of each entry")
    form.add_argument("--markdown", action="store_true", help="the page docs/estimators.md")
    sub.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what was asked for."""
    from advshape.errors import AdvshapeError

    if options.name is None:
        rows = catalogue()
        print(json.dumps(rows, indent=1) if options.json else markdown(rows) if options.markdown else text(rows))
    elif options.markdown:
        raise AdvshapeError("--markdown prints the page of the whole catalogue; leave the name out, or use --json")
    else:
        row = describe(options.name)
        print(json.dumps(row, indent=1) if options.json else one(row))
    return 0


def catalogue() -> list[dict[str, Any]]:
    """Every entry's description, by family; see `describe`."""
    from advshape.catalogue import ENTRIES

    return [describe(name) for name in ENTRIES]


def describe(spec: str) -> dict[str, Any]:
    """What is known of an entry: parameters with defaults, rule, objective, kind, centred, smallest n, source, advice.

    kind and centred are computed from its tables; k = 4 where one is needed and not given. Raises AdvshapeError for
    an unknown name.
    """
    from advshape.catalogue import ENTRIES, estimator

    name = spec.partition("(")[0].strip()
    example: dict[str, int] = {}
    if "(" not in spec and name in ENTRIES:
        needed = [p.name for p in inspect.signature(ENTRIES[name]).parameters.values() if p.default is p.empty]
        example = {key: 3 if name == "majority_of_k" else EXAMPLE[key] for key in needed}
    entry = estimator(spec, **example)
    factory = ENTRIES[name]
    documentation = inspect.getdoc(factory) or ""
    return {
        "name": name,
        "family": factory.__module__.rpartition(".")[2],
        "parameters": [
            {"name": p.name, "required": p.default is p.empty, "default": None if p.default is p.empty else p.default}
            for p in inspect.signature(factory).parameters.values()
        ],
        "shown": entry.name,
        "example": example,
        "rule": documentation.partition("\n")[0],
        "documentation": documentation,
        "surrogate": repr(entry.surrogate) if entry.surrogate else None,
        "formula": getattr(entry.surrogate, "formula", None),
        "slope": getattr(entry.surrogate, "slope", None),
        "kind": entry.kind,
        "verdict": entry.verdict,
        "centered": all(entry.table(n).centered for n in (max(2, entry.smallest_n), entry.smallest_n + 5)),
        "random": entry.draw is not None,
        "smallest_n": entry.smallest_n,
        "needs": entry.note,
        "reference": entry.reference,
        "papers": re.findall(r"\d{4}\.\d{5}", entry.reference),
        "use": entry.use,
        "avoid": entry.avoid,
    }


def text(rows: list[dict[str, Any]]) -> str:
    """The catalogue in `WIDTH` columns."""
    lines = [f"{'estimator':<31}{'n >=':>4}  {'kind':<12}{'centred':<9}maximises"]
    for family, title in FAMILIES.items():
        lines += ["", title]
        for row in (r for r in rows if r["family"] == family):
            lines += [*_row(row), *_advice(row)]
    return "\n".join([*lines, "", NOTE, "`advshape estimators NAME` shows one entry in full, with its parameters."])


def one(row: dict[str, Any]) -> str:
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
    head = [_signature(row), *shown, "", told, ""]
    return "\n".join([*head, *wrapped, "", f"Its table: {table}"])


def markdown(rows: list[dict[str, Any]]) -> str:
    """The page docs/estimators.md."""
    return "\n\n".join(
        [_HEAD, *(_section(family, title, rows) for family, title in FAMILIES.items()), _OUTSIDE, _papers(rows)]
    )


def _signature(row: dict[str, Any], defaults: bool = True) -> str:
    kept = [p for p in row["parameters"] if defaults or p["required"]]
    shown = ", ".join(p["name"] if p["required"] else f"{p['name']}={p['default']}" for p in kept)
    return f"{row['name']}({shown})" if shown else row["name"]


def _kind(row: dict[str, Any]) -> str:
    short = {"unbiased up to a constant": "up to const", "unknown surrogate": "-"}
    return short.get(row["kind"], row["kind"])


def _aim(row: dict[str, Any]) -> str:
    return f"{row['surrogate']}: {row['formula']}" if row["surrogate"] else NO_LIMIT


def _row(row: dict[str, Any]) -> list[str]:
    aim = textwrap.wrap(_aim(row), WIDTH - 58)
    name = _signature(row, defaults=False)
    first = f"{name:<31}{row['smallest_n']:>4}  {_kind(row):<12}{'yes' if row['centered'] else 'no':<9}{aim[0]}"
    return [first, *(" " * 58 + line for line in aim[1:])]


def _advice(row: dict[str, Any]) -> list[str]:
    random = "Random, with rng=. " if row["random"] else ""
    advice = f"{random}Use {row['use']}; avoid {row['avoid']}. [{row['reference']}]"
    return textwrap.wrap(advice, WIDTH, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)


def _section(family: str, title: str, rows: list[dict[str, Any]]) -> str:
    mine = [r for r in rows if r["family"] == family]
    lines = [f"## {title}", "", "| estimator | n ≥ | kind | centred | maximises |", "|---|---|---|---|---|"]
    for row in mine:
        aim = f"`{row['surrogate']}`: `{row['formula']}`" if row["surrogate"] else "F_n of each n"
        kind = "no limit" if row["kind"] == "unknown surrogate" else row["kind"]
        lines.append(
            f"| `{_signature(row)}` | {row['smallest_n']} | {kind}{', random' if row['random'] else ''} "
            f"| {'yes' if row['centered'] else 'no'} | {aim} |"
        )
    lines += ["", *(_item(row) for row in mine)]
    return "\n".join(lines)


def _item(row: dict[str, Any]) -> str:
    rule = row["rule"].rstrip(".")
    return f"- **{row['name']}**. {rule}. *Use* {row['use']}; *avoid* {row['avoid']}. {_linked(row['reference'])}."


def _linked(reference: str) -> str:
    return re.sub(r"arXiv:(\d{4}\.\d{5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", reference)


def _papers(rows: list[dict[str, Any]]) -> str:
    found = dict.fromkeys((paper, _authors(row["reference"], paper)) for row in rows for paper in row["papers"])
    lines = ["## Paper index", "", "| paper | by | entries |", "|---|---|---|"]
    for paper, authors in sorted(found):
        names = ", ".join(f"`{row['name']}`" for row in rows if paper in row["papers"])
        lines.append(f"| [arXiv:{paper}](https://arxiv.org/abs/{paper}) | {authors} | {names} |")
    others = [row for row in rows if not row["papers"]]
    lines += [f"| | {row['reference']} | `{row['name']}` |" for row in others]
    return "\n".join(lines)


def _authors(reference: str, paper: str) -> str:
    part = next(part for part in _parts(reference) if paper in part)
    return part.partition(f"arXiv:{paper}")[0].strip(" ,(")


def _parts(reference: str) -> Iterator[str]:
    yield from (part.strip() for part in reference.split(";"))


_HEAD = f"""# Estimators

Printed by `advshape estimators --markdown` from the catalogue; a test holds this page to it. An estimator turns a
group's 0/1 rewards into advantages through a table: A+ for a right and A- for a wrong rollout when c of n are
right, rho_hat = c/n, f(j) = C(n-1-j,k-1)/C(n-1,k-1), p(n,c,k) = 1 - C(n-c,k)/C(n,k). What it *maximises* is the
surrogate F that it aims at (as n grows, for a biased one); what it maximises with your n is
`adv.estimator(...).table(n).surrogate()`, exactly. *kind* says how the two differ, for every n: unbiased, unbiased
up to a constant, biased. *Centred*: every group's advantages sum to 0. {NOTE} Kind and centred are computed from
the tables; that each table is the published rule is a test by enumeration of all groups
(`tests/tables/test_core_enumeration.py`).

Random ones draw with `adv.advantages(rewards, rule, rng=np.random.default_rng(0))`. Without `rng` they give their
exact expectation, which has the same mean gradient and less variance."""

_OUTSIDE = """## Near the catalogue

- **Dynamic sampling** (DAPO, [arXiv:2503.14476](https://arxiv.org/abs/2503.14476)) is no rule of its own. Dropping
  all-wrong and all-right groups leaves a table's objective as it is, where the table is silent on them
  (`table.without_dead_groups()` elsewhere), and rescales the batch. Drawing each prompt's group anew until it is
  mixed maximises F' = F_n'/(1 - rho^n - (1-rho)^n) instead, `table.rerolled()`: without bound on prompts that are
  hardly ever, or nearly always, solved.
- **Adaptive Training** (Chen et al., [arXiv:2508.10751](https://arxiv.org/abs/2508.10751), section 4.2.3) gives
  `grpo` to the half of a batch's prompts with the highest policy entropy and `passk_training` to the rest:
  `advshape.entropy_adaptive`. It sees the batch, so it has no table; `passk_training_adaptive` is its
  average where entropy says nothing about the prompt.
- **Batch-normalised rules** (REINFORCE++, TRL's `scale_rewards="batch"`) are a table times a scale that the batch
  sets; `adv.reverse` finds the table and says so.
- **Outside the class**: rules that look at tokens, ranks or whole sets of answers. `adv.reverse` says so and gives
  no surrogate.

GRPO_K's and skew-R's exact forms could not be confirmed from their paper's text: `grpo_k` and `grpo_k_joint` are
the two readings of the former. FADE is known to us from a public summary of its paper."""
