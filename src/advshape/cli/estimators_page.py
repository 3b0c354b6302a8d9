"""How does the page docs/estimators.md read? The whole catalogue as Markdown, with an index of papers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from advshape.catalogue.describe import FAMILIES, NOTE, signature

__all__ = ["estimators_page"]


def estimators_page(rows: list[dict[str, Any]]) -> str:
    """The page docs/estimators.md."""
    return "\n\n".join(
        [_HEAD, *(_section(family, title, rows) for family, title in FAMILIES.items()), _OUTSIDE, _papers(rows)]
    )


def _section(family: str, title: str, rows: list[dict[str, Any]]) -> str:
    mine = [r for r in rows if r["family"] == family]
    lines = [f"## {title}", "", "| estimator | n ≥ | kind | centred | maximises |", "|---|---|---|---|---|"]
    for row in mine:
        aim = f"`{row['surrogate']}`: `{row['formula']}`" if row["surrogate"] else "F_n of each n"
        kind = "no limit" if row["kind"] == "unknown surrogate" else row["kind"]
        lines.append(
            f"| `{signature(row)}` | {row['smallest_n']} | {kind}{', random' if row['random'] else ''} "
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
surrogate F that it aims at (as n grows, for a biased one), by name and formula; what it maximises with your n is
`adv.estimator(...).table(n).surrogate()`, exactly. *kind* says how the gradient of that differs from the gradient
of this F, for every n: unbiased, unbiased up to a constant, biased. *Centred*: every group's advantages sum to 0;
these and other words are in the [glossary](glossary.md). {NOTE} Kind and centred are computed from
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
- **CurveRL** ([arXiv:2605.24331](https://arxiv.org/abs/2605.24331)) weighs a prompt by its rank and density among the
  batch's pass rates: a table for a frozen distribution of rates only.
- **Outside the class**: rules that look at tokens, ranks or whole sets of answers. `adv.reverse` says so and gives
  no surrogate.

GRPO_K's and skew-R's exact forms could not be confirmed from their paper's text: `grpo_k`, `grpo_k_joint` and
`grpo_k_leave_one_out` are three readings of the former. FADE is known to us from a public summary of its paper,
Sqrt-R's value at rho_hat = 1 not at all."""
