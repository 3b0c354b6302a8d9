"""How is an advantage function called? On copies, in one array library, results checked; findings and their rows."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from advshape.bernstein import FloatArray
from advshape.errors import AdvshapeError

__all__ = ["Arrays", "Caller", "Finding", "Refused", "caller_of", "immeasurable", "rows_of", "short", "staircase"]

Arrays = Literal["auto", "numpy", "torch"]
_PRECISION = {"float64": 1e-9, "float32": 1e-6, "float16": 2.5e-4, "bfloat16": 1e-3}  # ten times it: 5 roundings


@dataclass(frozen=True)
class Finding:
    """Something to know about a rule. kind: one word; message: what, with the smallest example found; rewards,
    advantages: that example, rows are groups."""

    kind: str
    message: str
    rewards: tuple[tuple[float, ...], ...] = ()
    advantages: tuple[tuple[float, ...], ...] = ()

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


class Refused(Exception):
    """The function raised, or returned no advantages of the right shape."""


@dataclass
class Caller:
    """Calls the function on copies, in one array library, and remembers what it did to them."""

    function: Callable[[Any], Any]
    library: str
    findings: list[Finding] = field(default_factory=list)
    precision: float = 1e-9

    def __call__(self, groups: FloatArray, dtype: str = "float64") -> FloatArray:
        given, before = self._array(groups, dtype), self._array(groups, dtype)
        try:
            with np.errstate(all="ignore"):
                found = self.function(given)
        except Exception as error:
            raise Refused(f"{type(error).__name__}: {str(error)[:600]}") from error
        if found is None:
            raise Refused("it returned None")
        if hasattr(found, "detach"):
            found = found.detach().cpu()
            name = str(found.dtype).removeprefix("torch.")
            if found.is_complex():
                raise Refused(f"it returned complex numbers ({name}); return real advantages")
            found = found.double().numpy()
        else:
            try:
                found = np.asarray(found)
                if np.iscomplexobj(found):
                    raise Refused(f"it returned complex numbers ({found.dtype.name}); return real advantages")
                name = found.dtype.name
                found = found.astype(np.float64)
            except (TypeError, ValueError) as error:
                raise Refused(f"it returned {type(found).__name__}, not an array of numbers") from error
        if found.shape != groups.shape:
            raise Refused(f"it returned shape {found.shape} for rewards of shape {groups.shape}")
        if dtype == "float64":
            self.precision = max(self.precision, _PRECISION.get(name, 1e-9))
            self._half(name)
        self._mutation(groups, given, before)
        return np.array(found, dtype=np.float64)  # a copy: a function may return its input

    def _array(self, groups: FloatArray, dtype: str) -> Any:
        if self.library == "numpy":
            return groups.astype(dtype)
        import torch

        return torch.tensor(groups.tolist(), dtype=getattr(torch, dtype))

    def _half(self, name: str) -> None:
        """Half precision hides what is smaller, and bends names: said once."""
        if _PRECISION.get(name, 0.0) > 1e-5 and not any(f.kind == "precision" for f in self.findings):
            text = (
                f"its advantages are {name}: a name, its parameters and what depends on order or batch are told within "
                f"{10 * _PRECISION[name]:.2g} of the largest advantage; return float32 for more"
            )
            self.findings.append(Finding("precision", text))

    def _mutation(self, groups: FloatArray, given: Any, before: Any) -> None:
        if bool((given == before).all()) or any(f.kind == "mutates" for f in self.findings):
            return
        row = int(np.flatnonzero(np.asarray((given != before).any(-1)))[0])
        text = f"it writes into its input: {short(groups[row])} became {short(np.asarray(given[row], np.float64))}"
        self.findings.append(Finding("mutates", text, rows_of(groups[row : row + 1])))


def staircase(n: int) -> FloatArray:
    """All counts once: row c has its first c rollouts right; shape (n + 1, n)."""
    return np.where(np.arange(n) < np.arange(n + 1)[:, None], 1.0, 0.0)


def caller_of(function: Callable[[Any], Any], n: int, arrays: Arrays) -> Caller:
    """The function in the first library that it takes. Raises AdvshapeError where it takes none."""
    libraries = ["numpy", "torch"] if arrays == "auto" else [arrays]
    if "torch" in libraries and importlib.util.find_spec("torch") is None:
        libraries.remove("torch")
    groups, errors = staircase(n), []
    for library in libraries:
        call = Caller(function, library)
        for some in (groups, *groups[:, None]):  # some functions refuse all-wrong groups
            try:
                call(some)
            except Refused as error:
                errors.append(f"{library}: {error}")
            else:
                return Caller(function, library)
    raise AdvshapeError(
        f"the function took no batch of 0/1 rewards of shape (groups, {n}) [{'; '.join(dict.fromkeys(errors))[:600]}]; "
        "it must return one advantage per rollout, in the same shape"
    )


def immeasurable(advantages: FloatArray) -> Finding | None:
    """A finding where the squares of the advantages are not finite, or 0: nothing can be compared then."""
    size = float(np.abs(advantages[np.isfinite(advantages)]).max(initial=0.0))
    if size == 0 or 1e-150 < size < 1e150:
        return None
    return Finding(
        "overflow" if size > 1 else "underflow",
        f"the largest advantage is {size:.3g}, whose square leaves double precision, so that nothing is compared or "
        f"named; divide the rule by {size:.0e}",
    )


def short(values: FloatArray) -> str:
    """A group in short."""
    return "[" + ", ".join(f"{v:.4g}" for v in values[:8]) + (", ...]" if len(values) > 8 else "]")


def rows_of(*groups: FloatArray) -> tuple[tuple[float, ...], ...]:
    """Groups as tuples."""
    return tuple(tuple(float(x) for x in row) for part in groups for row in np.atleast_2d(part))
