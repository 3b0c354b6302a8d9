"""What does that rule really optimise? Any advantage function, formula pair, table or estimator -> its surrogate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advshape.bernstein import FloatArray
from advshape.catalogue import estimator
from advshape.errors import AdvshapeError
from advshape.objectives.elementary import AllOfK, PassAtK
from advshape.objectives.expression import Expression, parse
from advshape.objectives.integrated import Formula, IntegratedSurrogate, closed_form
from advshape.objectives.regularize import falling, warning
from advshape.objectives.surrogate import Surrogate, spell
from advshape.probe.call import immeasurable
from advshape.probe.measure import Arrays, Finding, Measured, measure, staircase
from advshape.probe.nearest import Match, MeanMatch, nearest, nearest_mean, nearest_weights
from advshape.tables.estimator import AdvantageEstimator
from advshape.tables.forward import plug_in_table
from advshape.tables.table import AdvantageTable, FiniteSurrogate, counts_text

__all__ = ["Finding", "Reversal", "reverse"]

_INSIDE = np.linspace(0.01, 0.99, 99)
Counts = NDArray[np.integer[Any]]
OneFormula = Formula | Expression | str
Target = str | AdvantageEstimator | AdvantageTable | tuple[OneFormula, OneFormula] | Callable[[Any], Any]


@dataclass(frozen=True)
class Reversal:
    """What a rule does with n rollouts per prompt.

    table: its AdvantageTable; None where it is no function of the group's counts. surrogate: what it really maximises
    with n rollouts, exactly; None outside the class (never a wrong one). population: the surrogate as n grows, known
    for an exact match in the catalogue and for formulas: an Expression where a closed form of typed ones was found,
    the catalogue's surrogate where its slope is theirs, else an IntegratedSurrogate with its `error(rho)`. findings:
    what to know, each with its smallest example. nearest: the catalogue's name for it, with factor and epsilon; match:
    the same as data. scale_free: the batch sets the scale, so table, surrogate and factor are known up to one number.
    """

    n: int
    table: AdvantageTable | None
    surrogate: FiniteSurrogate | None
    findings: tuple[Finding, ...] = ()
    match: Match | None = None
    population: Surrogate | None = field(default=None, repr=False)
    scale_free: bool = False

    @property
    def nearest(self) -> str | None:
        if self.match is None:
            return None
        if self.scale_free and self.match.exact:
            return f"{replace(self.match, factor=1.0, also=())}{self._scale}"
        return f"{self.match} where it is finite" if self.match.exact and self.outside else str(self.match)

    @property
    def _scale(self) -> str:
        return ", up to the batch's scale" if self.scale_free else ""

    @property
    def outside(self) -> bool:
        """Whether the rule has no surrogate because it is no function of the counts."""
        return self.surrogate is None

    def __str__(self) -> str:
        lines = [
            f"n = {self.n}: " + (f"this is {self.nearest}" if self.match and self.match.exact else self._unnamed())
        ]
        if self.population is not None:
            lines.append(f"maximises {_aside(self.population)} as n grows")
        elif self.scale_free and self.match is not None and self.match.exact:
            aim = replace(self.match, factor=1.0).surrogate
            many = f"as n grows{self._scale}, in batches of many prompts"
            lines.append(f"maximises {_aside(aim)} {many}" if aim else "its surrogate has no closed form")
        elif (power := extreme(self.surrogate)) is not None:
            lines.append(f"maximises {_aside(power)} exactly, with these n{self._scale}")
        if self.surrogate is not None:
            ends = ", ".join(f"{x:.4g}" for x in self.surrogate.derivative([0.0, 0.5, 1.0]))
            lines.append(f"F_n' at rho = 0, 1/2, 1: {ends}{self._scale}")
        return "\n".join([*lines, *(f"- {finding}" for finding in self.findings)])

    def _unnamed(self) -> str:
        if any(finding.kind in ("overflow", "underflow") for finding in self.findings):
            return "not measured"
        if self.outside:
            if self.match and not isinstance(self.match, MeanMatch):
                return f"not finite in some groups, so no surrogate; elsewhere {self.match}"
            named = f"; {self.match}" if self.match else ""
            return f"outside the class of count-based rules, no surrogate{named}"
        return str(self.match) if self.match else "no entry of the catalogue is near"


def _aside(aim: Surrogate) -> str:
    """The surrogate inside a sentence."""
    return f"{spelled}," if (spelled := spell(aim)) != repr(aim) else spelled


def reverse(rule: Target, n: int, *, rng: int | np.random.Generator = 0, arrays: Arrays = "auto") -> Reversal:
    """What does this rule really maximise with n rollouts per prompt?

    rule: an advantage function rewards (groups, n) -> advantages of the same shape, numpy or torch (numpy is tried
    first; arrays="torch" decides); a pair of formulas (A+, A-) of the success rate, typed (see `parse`) or functions,
    taken at c/n in mixed groups and integrated for `population`; an AdvantageTable of this n; an AdvantageEstimator
    or its name.
    rng: seed of the permutations and batch mates. A function is called on every count, on permuted groups, alone and
    beside other groups, repeatedly, in several dtypes, always on copies; it must not keep state between calls. It is
    probed on 0/1 rewards only, n at a time: what it does elsewhere stays unknown.
    Raises AdvshapeError where the function takes no batch of 0/1 rewards at all, or n < 1.
    Theory: arXiv:2510.23049; F_n' has the table's weights as Bernstein coefficients (arXiv:2510.13651).

    >>> R = reverse(lambda r: (r - r.mean(-1, keepdims=True)) / (r.std(-1, ddof=1, keepdims=True) + 1e-4), n=16)
    >>> print(R.nearest)
    grpo(ddof=1, epsilon=0.0001) (about grpo x 0.968)
    >>> reverse(("sqrt((1-rho)/rho)", "-sqrt(rho/(1-rho))"), n=16).population
    2*arcsin(sqrt(rho))
    >>> R = reverse(lambda r: r - r.mean(), n=4)      # the batch's mean, not the group's
    >>> R.table is None, [f.kind for f in R.findings]
    (True, ['batch', 'batch baseline'])
    """
    if not isinstance(n, int | np.integer) or isinstance(n, bool) or n < 1:
        raise AdvshapeError(f"a group has a whole number n >= 1 of rollouts, got n={n!r}")
    if isinstance(rule, str):
        rule = estimator(rule)
    if isinstance(rule, AdvantageEstimator):
        found = _of_table(rule.table(n))
        return replace(found, population=rule.surrogate) if rule.surrogate is not None else found
    if isinstance(rule, AdvantageTable):
        if rule.n != n:
            raise AdvshapeError(f"the table is for n={rule.n}, asked was n={n}; pass n={rule.n} or an estimator")
        return _of_table(rule)
    if isinstance(rule, tuple):
        return _of_formulas(rule, n)
    if not callable(rule):
        raise AdvshapeError(f"cannot reverse {rule!r}; pass a function, a table, an estimator or a pair of formulas")
    if arrays not in ("auto", "numpy", "torch"):
        raise AdvshapeError(f"arrays must be 'auto', 'numpy' or 'torch', got {arrays!r}")
    return _of_function(rule, int(n), np.random.default_rng(rng), arrays)


def extreme(finite: FiniteSurrogate | None) -> Surrogate | None:
    """F_n where only a lone right answer weighs, or only an answer among n right ones: pass@n, pass^n, times a factor.

    >>> extreme(estimator("leave_one_out_max").table(8).surrogate())    # F_n' = w_0 (1-rho)^(n-1)
    PassAtK(k=8)
    """
    if finite is None:
        return None
    weight, n = finite.weight, len(finite.weight)
    small = np.abs(weight) <= 1e-9 * np.abs(weight).max()
    if n < 2 or small.sum() != n - 1 or (small[0] and small[-1]):
        return None
    factor = float(weight[~small][0]) / n
    whole = PassAtK(n) if small[-1] else AllOfK(n)
    return whole if abs(factor - 1) < 1e-9 else factor * whole


def _of_table(table: AdvantageTable, findings: tuple[Finding, ...] = (), precision: float = 1e-9) -> Reversal:
    size = immeasurable(np.stack([table.positive, table.negative]))
    if size is not None:
        return Reversal(table.n, None, None, (*findings, size))
    match = nearest(table, tolerance=precision)
    population = match.surrogate if match else None
    findings = (*findings, *_about(table, precision))
    return Reversal(table.n, table, table.surrogate(), findings, match, population)


def _of_formulas(pair: tuple[OneFormula, OneFormula], n: int) -> Reversal:
    if len(pair) != 2 or not all(callable(f) or isinstance(f, Expression | str) for f in pair):
        raise AdvshapeError("formulas come as a pair (positive, negative) of formulas or functions of the success rate")
    typed = [parse(f) if isinstance(f, str) else f for f in pair]
    positive, negative = (f.value if isinstance(f, Expression) else f for f in typed)
    integrated = IntegratedSurrogate(positive, negative)
    slope = integrated.derivative(_INSIDE)  # a clear error where a formula is not finite
    found = _of_table(plug_in_table(positive, negative, n))
    aim = _closed(typed, slope, found.population) or integrated
    notes = [Finding("falls", warning(spans)) for spans in [falling(aim)] if spans]
    notes += [Finding("singular", text) for text in (aim.findings if isinstance(aim, Expression) else ())]
    return replace(found, population=aim, findings=(*found.findings, *notes))


def _closed(pair: list[Any], slope: FloatArray, known: Surrogate | None) -> Surrogate | None:
    """A formula for typed pairs, or the catalogue's surrogate if its slope is theirs everywhere, not at c/n alone."""
    if not all(isinstance(f, Expression) for f in pair):
        return None
    found = closed_form(*pair)
    if found is None and known is not None and np.allclose(known.derivative(_INSIDE), slope, rtol=1e-8):
        return known
    return found


def _of_function(function: Callable[[Any], Any], n: int, rng: np.random.Generator, arrays: Arrays) -> Reversal:
    seen = measure(function, n, rng, arrays)
    finite = seen.weight is not None and bool(np.all(np.isfinite(seen.weight)))
    if seen.positive is None or seen.negative is None:
        if seen.weight is None or not finite:
            return _of_random(seen, n) if seen.mean is not None else Reversal(n, None, None, seen.findings)
        surrogate, match = FiniteSurrogate(seen.weight), nearest_weights(seen.weight, seen.precision)
        aim = match.surrogate if match and not seen.scale_free else None
        zero = 10 * seen.precision * float(np.abs(seen.weight).max())
        findings = (*seen.findings, *_backward(seen.weight, zero))
        return Reversal(n, None, surrogate, findings, match, aim, seen.scale_free)
    if not finite:
        known = np.stack([np.isfinite(seen.positive), np.isfinite(seen.negative)])
        rest = AdvantageTable(*(np.nan_to_num(x, posinf=0, neginf=0) for x in (seen.positive, seen.negative)))
        return Reversal(n, None, None, seen.findings, nearest(rest, known, seen.precision))
    found = _of_table(AdvantageTable(seen.positive, seen.negative), seen.findings, seen.precision)
    if seen.scale_free:
        return replace(found, population=None, scale_free=True)
    return found


def _of_random(seen: Measured, n: int) -> Reversal:
    """No table; the name of the mean, where it has one."""
    assert seen.mean is not None
    far = seen.mean.distance(np.zeros((2, n + 1)))
    if far > 8:  # twice what an entry may differ by
        return Reversal(n, None, None, seen.findings, nearest_mean(seen.mean, n))
    text = f"its mean over {seen.mean.draws:,} draws is 0 within {far:.1f} standard errors"
    return Reversal(n, None, None, (*seen.findings, Finding("silent", text)))


def _about(table: AdvantageTable, precision: float) -> Iterator[Finding]:
    """What a table says about itself; entries below the precision count as 0."""
    n, groups = table.n, staircase(table.n)
    c = np.arange(n + 1)
    size = float(max(np.abs(table.positive).max(), np.abs(table.negative).max()))
    zero = 10 * precision * size
    right, wrong = np.where(c > 0, table.positive, 0.0), np.where(c < n, table.negative, 0.0)
    dead = (np.abs(right) <= zero) & (np.abs(wrong) <= zero)
    if dead.all():
        yield Finding("silent", "it never teaches: every advantage is 0")
        return
    mixed = c[1:n][dead[1:n]]
    if len(mixed):
        yield _finding("silent", f"groups with {counts_text(mixed)} of {n} right teach nothing", table, groups, mixed)
    bad = c[(right < -zero) | (wrong > zero)]
    if len(bad):
        what = "right answers are pushed down" if right[bad[0]] < -zero else "wrong answers are pushed up"
        yield _finding("sign", f"{what} in groups with {counts_text(bad)} of {n} right", table, groups, bad)
    yield from _backward(table.weight, zero)
    total = c * right + (n - c) * wrong
    uneven = c[1:n][np.abs(total[1:n]) > zero * n]
    if len(uneven):
        text = f"advantages sum to {total[uneven[0]]:.4g} in groups with {uneven[0]} of {n} right"
        yield _finding("not centred", text, table, groups, uneven)
    ends = [name for name, value in (("all wrong", wrong[0]), ("all right", right[n])) if abs(value) > zero]
    if ends:
        text = f"groups that are {' or '.join(ends)} teach too: do not filter them out, and expect their backward pass"
        yield Finding("dead groups", text)


def _backward(weight: FloatArray, zero: float) -> Iterator[Finding]:
    backward = np.flatnonzero(weight < -zero)
    if len(backward):
        text = f"F_n' has a negative coefficient: with {counts_text(backward)} others right, being right is worth less"
        yield Finding("sign", text + " than being wrong")


def _finding(kind: str, text: str, table: AdvantageTable, groups: FloatArray, counts: Counts) -> Finding:
    c = int(counts[0])
    values = np.where(groups[c] == 1, table.positive[c], table.negative[c])
    return Finding(kind, text, (tuple(groups[c].tolist()),), (tuple(values.tolist()),))
