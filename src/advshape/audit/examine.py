"""What does a target do, beyond its table? Groups of one, unequal groups, response lengths, filters of dead groups."""

from __future__ import annotations

import contextlib
import inspect
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import advshape as adv
from advshape.audit.names import SHAPES
from advshape.audit.shapes import Call, Tensors, parameters, shaped
from advshape.audit.target import Target
from advshape.errors import AdvshapeError
from advshape.probe.call import caller_of, staircase
from advshape.probe.record import as_data
from advshape.probe.reversal import Reversal, reverse

__all__ = ["examine", "probe"]

Rows = NDArray[np.float64]


def probe(target: Target, n: int) -> Reversal:
    """`advshape.reverse` of the target's rule, with what only its own signature can show among the findings."""
    if n < target.smallest_n:
        raise AdvshapeError(f"{target.version} takes at least {target.smallest_n} rollouts per prompt, got n={n}")
    try:
        found = _reversed(target.rule, n)
    except AdvshapeError as error:
        raise AdvshapeError(f"{error}{_how(target, n)}") from error
    checks = [_lengths, _tokens]
    if not any(finding.kind == "batch" for finding in found.findings):  # else a group of any size changes it
        checks.append(_ragged)
    more = [check(target.rule, n) for check in checks]
    if target.guessed and (found.table is None or found.scale_free) and "group" in _answering(target, n):
        text = "it was called with many groups; if it is written for one group at a time, say so: --signature group"
        more.append(adv.Finding("signature", text))
    return replace(found, findings=(*found.findings, *(f for f in more if f is not None)))


def _how(target: Target, n: int) -> str:
    """How a function that took no batch may be called: what else it needs, and the signatures that it answers to."""
    needed = [p.name for p in parameters(target.rule.function).values() if p.default is p.empty and p.kind in _NAMED][
        1:
    ]
    other = _answering(target, n)
    words = [f"it also needs {', '.join(needed)}: add ,{needed[0]}=VALUE to its name"] if needed else []
    size = f", with the group size as {needed[0]}" if needed and "flat" in other else ""
    words += [f"with --signature {' or '.join(other)} it answers{size}"] if other else []
    return "".join(f"; {word}" for word in words)


_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _reversed(rule: Call, n: int) -> Reversal:
    """In double precision; keyword tensors also in single, where that gives what double does not: a call at all, an
    exact name, or a table. Code that rounds to float32 inside has none of these in double precision.
    """
    if not isinstance(rule, Tensors):
        return reverse(rule, n, arrays=rule.arrays)
    try:
        double = reverse(rule, n, arrays=rule.arrays)
    except AdvshapeError:
        rule.single = True  # code that mixes the rewards with float32 of its own may refuse float64
        return reverse(rule, n, arrays=rule.arrays)
    kinds = {finding.kind for finding in double.findings}
    if (double.match and double.match.exact) or "random" in kinds:  # rounding is the same in every call
        return double
    rule.single = True
    try:
        single = reverse(rule, n, arrays=rule.arrays)
    except AdvshapeError:
        rule.single = False
        return double
    if (single.match and single.match.exact) or (double.outside and not single.outside):
        return replace(single, findings=(*single.findings, *_rounded(rule, n, double, single)))
    return double


def _rounded(rule: Tensors, n: int, double: Reversal, single: Reversal) -> list[adv.Finding]:
    """What single precision hides of double: told where it is more than the rounding of float32 is likely to be."""
    lost = [f for f in double.findings if f.kind in _OUTSIDE and f.kind not in {g.kind for g in single.findings}]
    text = ""
    if single.table is not None and not single.scale_free:
        rule.single = False
        apart = [_apart(rule, group, single) for group in (staircase(n), staircase(n)[:, ::-1])]
        rule.single = True
        if max(apart) > 1e-6:
            text = f"up to {max(apart):.1g} of the largest advantage"
    elif lost:
        text = "differences of less than 1e-5 of the largest advantage"
    if not text:
        return []
    seen = "".join(f"; in double precision {finding}" for finding in lost)
    return [adv.Finding("precision", f"{text} was taken for the rounding of code that computes in float32{seen}")]


_OUTSIDE = ("order", "place", "batch", "raises")


def _apart(rule: Tensors, groups: Rows, single: Reversal) -> float:
    """How far the rule in double precision is from the entry that single precision named, or else from its table."""
    assert single.table is not None
    table, factor = single.table, 1.0
    if single.match and single.match.exact and single.match.same == "table":
        table, factor = adv.estimator(single.match.name).table(single.n), single.match.factor
    given: Any = groups.copy()
    if rule.arrays == "torch":
        import torch

        given = torch.as_tensor(given)
    count = groups.sum(1).astype(int)
    entry = factor * np.where(groups == 1, table.positive[count][:, None], table.negative[count][:, None])
    return float(np.abs(np.asarray(rule(given)) - entry).max() / (np.abs(entry).max() or 1.0))


def _answering(target: Target, n: int) -> list[str]:
    """The other signatures under which a function of one's own gives advantages."""
    found: list[str] = []
    for shape in SHAPES if target.shape in ("groups", "group", "flat", "list") else ():
        if shape not in (target.shape, "verl"):
            with contextlib.suppress(AdvshapeError):
                caller_of(shaped(target.rule.function, shape), n, "auto")
                found.append(shape)
    return found


def examine(target: Target, found: Reversal) -> dict[str, Any]:
    """Everything the audit says of one target, found by `probe`, as data."""
    return as_data(found, replace(target.subject, group_of_one=_group_of_one(target.rule)))


def _lengths(rule: Call, n: int) -> adv.Finding | None:
    """Do the responses' lengths change their advantages? The same rewards with equal and with unequal lengths."""
    if rule.sized is None:
        return None
    rewards = staircase(min(n, 4))
    lengths = np.random.default_rng(0).integers(1, 10, size=rewards.shape)
    for row in range(len(rewards)):  # each group as a batch of its own, so that the example can be run as it stands
        group, sizes = rewards[row : row + 1], lengths[row : row + 1]
        even, uneven = rule.sized(group, np.full_like(sizes, 5))[0], rule.sized(group, sizes)[0]
        if np.abs(even - uneven).max() > 1e-5 * (np.abs(even).max() or 1.0):
            text = (
                f"advantages follow the lengths of the responses: {_shown(group)} gives {_shown(even)} with equal "
                f"lengths, and {_shown(uneven)} with {sizes[0].tolist()} tokens"
            )
            return adv.Finding("lengths", text, (_plain(group), _plain(sizes)), (_plain(uneven),))
    return None


def _tokens(rule: Call, n: int) -> adv.Finding | None:
    """Did the tokens of one response get unequal advantages?"""
    if not isinstance(rule, Tensors) or not rule.uneven:
        return None
    return adv.Finding("tokens", "tokens of one response get unequal advantages; their mean stands for it here")


def _ragged(rule: Call, n: int) -> adv.Finding | None:
    """Does a group get the same advantages beside a group of another size as beside one of its own?"""
    if rule.ragged is None:
        return None
    group, other = staircase(4)[1], staircase(3)[2]
    try:
        beside = rule.ragged([group, other])[0]
    except Exception as error:
        text = f"it fails on groups of unequal size ({type(error).__name__}: {str(error)[:200]})"
        return adv.Finding("unequal groups", text, (_plain(group), _plain(other)))
    alone = rule.ragged([group, staircase(4)[2]])[0]
    if np.allclose(beside, alone, rtol=1e-5, atol=1e-8):
        return None
    text = f"{_shown(group)} gives {_shown(alone)} beside a group of 4, and {_shown(beside)} beside one of 3"
    return adv.Finding("unequal groups", text, (_plain(group), _plain(other)), (_plain(alone), _plain(beside)))


def _group_of_one(rule: Call) -> dict[str, Any]:
    """The advantage of a lone wrong, and a lone right rollout; or how the rule refuses it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the standard deviation of one number
        try:
            found = [_number(rule, reward) for reward in (0.0, 1.0)]
        except Exception as error:
            return {"refuses": f"{type(error).__name__}: {str(error)[:200]}"}
    return {"wrong": found[0], "right": found[1]}


def _number(rule: Call, reward: float) -> float | None:
    group: Any = np.array([[reward]])
    if rule.arrays == "torch":
        import torch

        group = torch.as_tensor(group)
    value = float(rule(group)[0][0])
    return value if np.isfinite(value) else None


def _plain(values: Any) -> tuple[float, ...]:
    return tuple(float(x) for x in np.ravel(values))


def _shown(values: Rows) -> str:
    return "[" + ", ".join(f"{v:.4g}" for v in np.ravel(values)) + "]"
