"""What does a program read of a reversal? One schema of JSON, for entries, formula pairs, and code alike."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from advshape import __version__
from advshape.catalogue import ENTRIES
from advshape.catalogue.derivation import RHO, list_slopes, table_data
from advshape.objectives.integrated import IntegratedSurrogate
from advshape.probe.reversal import Reversal
from advshape.tables.estimator import AdvantageEstimator

__all__ = ["Subject", "as_data"]


@dataclass(frozen=True)
class Subject:
    """What was reversed.

    target: as it was typed; version: of what holds it; source: where it stands there, or its paper; documentation: what
    it says of itself; notes: what stands around it; estimator: its name in the catalogue; kind: biased or not as n
    varies; smallest_n: rollouts that it needs; group_of_one: the advantage of a lone wrong and a lone right rollout, or
    how it refuses them.
    """

    target: str
    version: str = ""
    source: str = ""
    documentation: str = ""
    notes: tuple[str, ...] = ()
    estimator: str | None = None
    kind: str | None = None
    smallest_n: int = 1
    group_of_one: Mapping[str, Any] | None = None

    @classmethod
    def of_entry(cls, target: str, one: AdvantageEstimator) -> Subject:
        """An estimator of the catalogue."""
        alone: dict[str, Any] = {"refuses": f"it needs n >= {one.smallest_n}"}
        if one.smallest_n == 1:
            table = one.table(1)
            alone = {"wrong": float(table.negative[0]), "right": float(table.positive[1])}
        return cls(
            target,
            version=f"advshape {__version__}",
            source=one.reference,
            documentation=inspect.getdoc(ENTRIES.get(one.name.partition("(")[0])) or "",
            notes=(one.kind, f"needs n >= {one.smallest_n}"),
            estimator=one.name,
            kind=one.kind,
            smallest_n=one.smallest_n,
            group_of_one=alone,
        )


def as_data(found: Reversal, subject: Subject) -> dict[str, Any]:
    """A reversal as JSON's types.

    Every key is always there; null stands for what the target does not have (a table, a surrogate, a closed form) or
    nobody knows. positive, negative: A+ and A- by the number c = 0..n of right answers; weight, offset: by the number
    of right ones among the others; curve: F (with its error where it is integrated), slopes, bias and second moment.

    >>> from advshape.probe.reversal import reverse
    >>> found = as_data(reverse("rloo", 4), Subject("rloo"))
    >>> found["nearest"], found["surrogate"], found["weight"]
    ('rloo', 'Identity()', [1.0, 1.0, 1.0, 1.0])
    """
    match, finite, aim = found.match, found.surrogate, found.population
    same = match is not None and match.exact and match.same == "table" and match.factor == 1 and not found.scale_free
    return {
        **asdict(subject),
        "estimator": subject.estimator or (match.name if match is not None and same else None),
        "n": found.n,
        "summary": str(found),
        "nearest": found.nearest,
        "exact": match is not None and match.exact,
        "population": repr(aim) if aim is not None else None,
        "surrogate": repr(aim) if aim is not None else None,
        "closed_form": None if aim is None else not isinstance(aim, IntegratedSurrogate),
        "up_to_batch_scale": found.scale_free,
        "findings": [asdict(finding) for finding in found.findings],
        **table_data(found.table, finite),
        "slope_at_0_and_1": finite.derivative([0.0, 1.0]).tolist() if finite else None,
        "curve": _curve(found),
        "filters": _filters(found),
    }


def _curve(found: Reversal) -> dict[str, list[float]]:
    aim = found.population
    value = {} if aim is None else {"F": aim.value(RHO)}
    if isinstance(aim, IntegratedSurrogate):
        value["error"] = aim.error(RHO)
    slopes = list_slopes(found.table, found.surrogate, aim)
    return {name: column.tolist() for name, column in ({"rho": RHO} | value | slopes).items()}


def _filters(found: Reversal) -> str:
    """What dropping all-wrong and all-right groups does to the objective."""
    if found.table is None:
        return "no table: not known"
    n, lost = found.n, (float(found.table.negative[0]), float(found.table.positive[-1]))
    if max(map(abs, lost)) < 1e-6 * max(1.0, float(abs(found.table.positive).max())):
        return "dead groups have advantage 0: dropping them only rescales the batch"
    return (
        f"dropping dead groups loses A-(0) = {lost[0]:.4g} and A+({n}) = {lost[1]:.4g}: "
        f"F_n' loses {-lost[0]:.4g} (1-rho)^{n - 1} and {lost[1]:.4g} rho^{n - 1}"
    )
