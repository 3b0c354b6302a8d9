"""How does a derivation read? Tables, findings, and lines to paste into a trainer."""

from __future__ import annotations

from itertools import pairwise
from textwrap import indent

from advshape.catalogue.analysis import BINS, SIGNALS, Description
from advshape.catalogue.derivation import Derivation, Rival
from advshape.cli.console import align, show_number
from advshape.cli.snippets import trl_code, verl_code
from advshape.objectives.surrogate import Surrogate
from advshape.tables.table import AdvantageTable

__all__ = ["derivation_text"]

_SCALES = {"rms": "advantages of GRPO's size, for clipping", "rloo": "RLOO's mean pull, for equal speed"}


def derivation_text(found: Derivation) -> str:
    """A derivation as `advshape derive` prints it."""
    one, table, n = found.estimator, found.table, found.table.n
    parts = [
        f"{one.name}: {one.verdict}; {'' if table.centered else 'not '}centered, n = {n} (needs n >= {one.smallest_n})",
        *([_formula_text(one.surrogate)] if one.surrogate else []),
        *([f"Regularisation:\n{found.regularization}"] if found.regularization else []),
        *(["Findings:\n" + "\n".join(f"- {line}" for line in found.findings)] if found.findings else []),
        _table_text(table),
        _curve_text(found),
        *([_rivals_text(found.rivals)] if found.rivals else []),
        _compared_text(found),
        "In TRL (pip install 'advshape[trl]'; model, verify, settings and prompts are yours):\n\n"
        + indent(trl_code(found.spec, n), "    "),
        "In verl (pip install advshape beside it; the overrides of your run come after these):\n\n"
        + indent(verl_code(found.spec, n), "    "),
    ]
    return "\n\n".join(parts)


def _formula_text(surrogate: Surrogate) -> str:
    """F, its slope and where they have no bound; a user's own surrogate need not have any of them."""
    lines = [f"F  = {getattr(surrogate, 'formula', repr(surrogate))}", f"F' = {getattr(surrogate, 'slope', 'unknown')}"]
    return "\n".join([*lines, *getattr(surrogate, "findings", ())])


def _table_text(table: AdvantageTable) -> str:
    rows = [("right", "A+ (right)", "A- (wrong)", "others right", "weight", "offset")]
    positive, negative, weight, offset = table.positive, table.negative, table.weight, table.offset
    for c in range(table.n + 1):
        left = (str(c), show_number(positive[c]) if c else "", show_number(negative[c]) if c < table.n else "")
        right = (str(c), show_number(weight[c]), show_number(offset[c])) if c < table.n else ("", "", "")
        rows.append((*left, *right))
    return align(rows, right=True)


def _curve_text(found: Derivation) -> str:
    title = "What it optimises with this n (F_n')"
    title += " against the objective (F'):" if found.estimator.surrogate else "; it has no named objective:"
    rho, *others = found.curve.values()
    rows = [tuple(found.curve)]
    rows += [(f"{x:g}", *map(show_number, values)) for x, *values in zip(rho, *others, strict=True)]
    return f"{title}\n{align(rows, right=True)}"


def _rivals_text(rivals: tuple[Rival, ...]) -> str:
    rows = [("build", "largest bias", "second moment")]
    for rival in rivals:
        if rival.largest_bias is None or rival.second_moment is None:
            rows.append((rival.build, "not available", "at this n"))
        else:
            rows.append((rival.build, show_number(rival.largest_bias), show_number(rival.second_moment)))
    title = "Alternatives for the same objective, averaged over rho ~ Beta(0.5, 1) (second moment: isotropic model):"
    return f"{title}\n{align(rows)}"


def _compared_text(found: Derivation) -> str:
    own = f"its own objective, scaled to {found.scale} ({_SCALES.get(found.scale)})"
    aim = "the same objective" if found.scale == "none" else own
    shares = [f"{low:g}-{high:g}" for low, high in pairwise(BINS)]
    errors = [f"error@{signal:g}" for signal in SIGNALS]
    head = ["estimator", "to its own F", "bias", "alignment", "2nd moment", *errors, "F_n'(0)", "F_n'(1)", "peak c"]
    return (
        f"Each judged by {aim}, averaged over rho ~ Beta(0.5, 1).\n"
        "bias and error: of rho (1-rho) F_n'; error@s: bias^2 + 2nd moment / s, s = (G/S)^2 x visits per prompt;\n"
        f"peak c: where eta is largest; {', '.join(shares)}: share of the gradient spent on prompts with such rho\n"
        + align([[*head, *shares], *map(_cells, found.compared)])
    )


def _cells(row: Description) -> list[str]:
    errors = row.error or {}
    numbers = [row.rms_bias, row.alignment, row.second_moment, *(errors.get(s) for s in SIGNALS)]
    numbers += [row.at_zero, row.at_one]
    shown = ["-" if x is None else "0" if abs(x) < 5e-12 else f"{x:.4g}" for x in numbers]
    peak = ", ".join(str(c) for c in row.peak) if len(row.peak) < 4 else f"{row.peak[0]}..{row.peak[-1]}"
    return [row.name, row.kind, *shown, peak, *(f"{share:.0%}" for share in row.shares)]
