"""Which table does this objective get, what does it really maximize, what else would do? One value to print or draw."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from advshape.bernstein import FloatArray
from advshape.catalogue import ENTRIES, estimator, make_surrogate
from advshape.catalogue.analysis import Description, Scale, compare, findings, scale_factor
from advshape.catalogue.resolve import EstimatorOption, resolve_objective, split_names, with_k, with_parameters
from advshape.errors import AdvshapeError
from advshape.objectives.regularize import Regularization, base_of, regularization
from advshape.objectives.surrogate import Surrogate
from advshape.tables.estimator import AdvantageEstimator
from advshape.tables.forward import plug_in, unbiased
from advshape.tables.minimum_mse import minimum_mse
from advshape.tables.table import DEFAULT_PRIOR, AdvantageTable, FiniteSurrogate

__all__ = ["LARGEST_N", "RHO", "Derivation", "Rival", "check_group", "derive", "list_slopes", "table_data"]

DEFAULT_N = 16
LARGEST_N = 4096
"""Largest group that is described: each figure averages polynomials of degree n, exact to 1e-11 up to here."""
RHO = np.array([0.01, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.99])
"""Success rates at which slopes are listed."""


@dataclass(frozen=True)
class Rival:
    """One standard build of the objective at this n: its bias where that is largest, and its second moment under
    `DEFAULT_PRIOR`; or why it does not exist."""

    build: str
    largest_bias: float | None = None
    second_moment: float | None = None
    missing: str | None = None


@dataclass(frozen=True, eq=False)
class Derivation:
    """An objective at group size n.

    estimator, table: what it becomes; spec: how a trainer's `estimator=` or a recipe names it; others: estimators to
    compare with; compared: the estimator and the others side by side, their tables brought to `scale`; rivals: other
    builds of the same objective; findings: what to know, in sentences; regularization: its base and what it adds, where
    it is a regularized objective.
    """

    estimator: AdvantageEstimator
    spec: EstimatorOption
    table: AdvantageTable
    others: tuple[AdvantageEstimator, ...]
    scale: Scale
    compared: tuple[Description, ...]
    rivals: tuple[Rival, ...]
    findings: tuple[str, ...]
    regularization: Regularization | None

    @property
    def curve(self) -> dict[str, FloatArray]:
        """Slopes, bias and second moment at `RHO`; see `list_slopes`."""
        return list_slopes(self.table, self.table.surrogate(), self.estimator.surrogate)

    @property
    def factor(self) -> float:
        """What brings the table to `scale`."""
        return scale_factor(self.table, self.scale)

    @property
    def scaled(self) -> dict[str, AdvantageTable]:
        """The table and those of the others, by name, brought to `scale`."""
        tables = {one.name: one.table(self.table.n) for one in self.others}
        tables = {self.estimator.name: self.table} | tables
        return {name: table.scaled(scale_factor(table, self.scale)) for name, table in tables.items()}

    def as_data(self) -> dict[str, Any]:
        """Everything as JSON's types."""
        one = self.estimator
        return {
            "spec": self.spec,
            "estimator": one.name,
            "surrogate": repr(one.surrogate) if one.surrogate else None,
            "kind": one.kind,
            "smallest_n": one.smallest_n,
            "n": self.table.n,
            **table_data(self.table, self.table.surrogate()),
            "alternatives": [{k: v for k, v in asdict(rival).items() if v is not None} for rival in self.rivals],
            "findings": list(self.findings),
            "compared": [row.as_row() for row in self.compared],
            "regularisation": _regularization_data(self.regularization),
        }


def derive(
    objective: str,
    n: int | None = None,
    *,
    build: str | None = None,
    baseline: str | None = None,
    against: str = "",
    scale: Scale = "none",
    base: str | None = None,
    parameters: Mapping[str, float] | None = None,
) -> Derivation:
    """The table of an objective at group size n, what it optimizes, and its rivals.

    Args:
        objective: an estimator, a surrogate, or a formula of rho.
        n: rollouts per prompt; by default 16, or the fewest that the objective allows.
        build: "unbiased", "plug_in" or "minimum_mse"; by default unbiased where that exists, else plug-in.
        baseline: of the unbiased build; by default "centered" where n allows it, else "leave_one_out".
        against: estimators to compare with, separated by commas; one that needs a k takes the objective's.
        scale: what all tables are brought to before they are compared; see `analysis.scale_factor`.
        base: an objective of which this one is a regularized version.
        parameters: numbers for the names in a formula.

    Raises:
        AdvshapeError: for an unknown objective, an n that is too small or above 4096, a build that does not exist.

    >>> found = derive("1-(1-rho)**4", 8)
    >>> found.estimator.kind, found.spec["baseline"], found.table.positive[1].round(6)
    ('unbiased', 'centered', np.float64(4.0))
    """
    if n is not None:
        check_group(n)
    if parameters:
        objective = with_parameters(objective, parameters)
    one, spec = resolve_objective(objective, DEFAULT_N if n is None else n, build, baseline)
    n = max(DEFAULT_N, one.smallest_n) if n is None else n
    check_group(n)
    others = tuple(estimator(with_k(name, one)) for name in split_names(against))
    for other in others:
        other.table(n)  # an n that is too small is an error before the work
    omega = _regularization(one, base)
    return Derivation(
        estimator=one,
        spec=spec,
        table=one.table(n),
        others=others,
        scale=scale,
        compared=tuple(compare([one, *others], n, target=one.surrogate if scale == "none" else None, scale=scale)),
        rivals=_rivals(one, n),
        findings=tuple(findings(one, n)),
        regularization=omega,
    )


def check_group(n: int, largest: int = LARGEST_N) -> None:
    """Raises ``AdvshapeError`` for no group, and for one too large to be described while somebody waits."""
    if not 1 <= n <= largest:
        more = "; the table alone is, in Python, advshape.estimator(NAME).table(n)" if n > largest else ""
        raise AdvshapeError(f"n, the number of rollouts per prompt, runs from 1 to {largest}, got n={n}{more}")


def list_slopes(
    table: AdvantageTable | None, finite: FiniteSurrogate | None, aim: Surrogate | None
) -> dict[str, FloatArray]:
    """rho, F', F_n', bias = F_n' - F' and second moment at `RHO`, by name; without those that need what is None."""
    found = {"rho": RHO}
    if aim is not None:
        found["F'"] = aim.derivative(RHO)
    if finite is not None:
        found["F_n'"] = finite.derivative(RHO)
    if aim is not None and finite is not None:
        found["bias"] = found["F_n'"] - found["F'"]
    if table is not None:
        found["second moment"] = table.second_moment(RHO)
    return found


def table_data(table: AdvantageTable | None, finite: FiniteSurrogate | None) -> dict[str, Any]:
    """A table and what it maximizes as JSON's types, the same for `advshape derive` and `advshape reverse`."""
    return {
        "centered": table.centered if table else None,
        "positive": table.positive.tolist() if table else None,
        "negative": table.negative.tolist() if table else None,
        "weight": finite.weight.tolist() if finite else None,
        "offset": table.offset.tolist() if table else None,
        "rho": RHO.tolist(),
        "finite_derivative": finite.derivative(RHO).tolist() if finite else None,
    }


def _regularization(one: AdvantageEstimator, base: str | None) -> Regularization | None:
    """What the objective adds to the base that was named, or to the base that its own form shows."""
    aim = one.surrogate
    if base is None:
        return regularization(aim) if aim is not None and base_of(aim) is not None else None
    if aim is None:
        raise AdvshapeError(f"{one.name} has no surrogate to compare with {base!r}; leave --base out")
    name = re.match(r"\s*(\w*)", base)
    plain = estimator(with_k(base, one)).surrogate if name and name.group(1) in ENTRIES else None
    return regularization(aim, make_surrogate(base) if plain is None else plain)


def _regularization_data(found: Regularization | None) -> dict[str, Any] | None:
    if found is None:
        return None
    plain = {key: getattr(found, key) for key in ("scale", "concave", "bends_up", "falling")}
    return {"base": repr(found.base), "omega": found.name or repr(found.omega), **plain}


def _rivals(one: AdvantageEstimator, n: int) -> tuple[Rival, ...]:
    """Every standard build of the same surrogate."""
    aim = one.surrogate
    if aim is None:
        return ()
    builds: dict[str, Callable[[], AdvantageEstimator]] = {
        "this one": lambda: one,
        "unbiased, centered": lambda: unbiased(aim, "centered"),
        "unbiased, leave one out": lambda: unbiased(aim, "leave_one_out"),
        "unbiased, zero": lambda: unbiased(aim, "zero"),
        "unbiased, posterior mean": lambda: unbiased(aim, DEFAULT_PRIOR),
        "plug_in": lambda: plug_in(aim),
        "minimum_mse(signal=64)": lambda: minimum_mse(aim, DEFAULT_PRIOR),
    }
    return tuple(_rival(Rival(build), make, aim, n) for build, make in builds.items())


def _rival(rival: Rival, make: Callable[[], AdvantageEstimator], aim: Surrogate, n: int) -> Rival:
    try:
        table = make().table(n)
    except AdvshapeError as error:
        return replace(rival, missing=str(error))
    bias = table.bias(aim, RHO)
    moment = float(DEFAULT_PRIOR.counts(n) @ table.mean_square / n)
    return replace(rival, largest_bias=float(bias[np.argmax(np.abs(bias))]), second_moment=moment)
