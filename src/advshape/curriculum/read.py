"""A recipe's [objective] as the stages of a schedule: reading and checking, nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from advshape.catalogue import nearest
from advshape.curriculum.schedule import COMPARE, MEASURED, OVER, SHAPES, Ramp, Rule, Schedule, Stage, Until
from advshape.errors import AdvshapeError

__all__ = ["read_schedule"]

STAGE_KEYS = ("schedule", "hard", "until", "over", "scale")  # every other key is the estimator's
RAMP_KEYS = ("to", "shape", "steps")
_UNTIL = re.compile(r"\s*([A-Za-z_]\w*)\s*(>=|<=|>|<)\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*")


def read_schedule(table: Mapping[str, Any]) -> Schedule:
    """The schedule that a recipe's [objective] describes: one stage, or `stages`, a list of them.

    A stage: `estimator` or `surrogate` with its parameters; `scale`, "none" or "rms" (of [objective] where a stage has
    none); `schedule`, for each parameter that moves {to, shape, steps}; `hard`, the same kinds of keys and `below`;
    `until`, "METRIC > NUMBER", with `over`, the generations of its mean. Steps of a stage count from its first.
    Raises AdvshapeError, with the nearest name, for an unknown key, shape, metric or estimator.

    >>> schedule = read_schedule({"estimator": "pass_at_k", "k": 8,
    ...                           "schedule": {"k": {"to": 1, "shape": "linear", "steps": [100, 400]}}})
    >>> print(schedule)
    pass_at_k(k=8); k 8 to 1, linear over steps 100 to 400
    >>> [where for where, _ in schedule.estimators()][1]
    'step 122'
    """
    if "stages" not in table:
        return Schedule((_stage(table, "none", "[objective]", last=True),))
    listed, scale = table["stages"], table.get("scale", "none")
    _known("[objective] with stages", table, ("stages", "scale"))
    if not isinstance(listed, list) or not listed or not all(isinstance(stage, Mapping) for stage in listed):
        raise AdvshapeError(f"[objective] stages must be a list of tables, [[objective.stages]], got {listed!r:.80}")
    named = [(stage, f"[[objective.stages]] number {i}", i == len(listed)) for i, stage in enumerate(listed, 1)]
    return Schedule(tuple(_stage(stage, scale, where, last) for stage, where, last in named))


def _stage(table: Mapping[str, Any], scale: str, where: str, last: bool) -> Stage:
    until = _until(table, where)
    if last and until is not None:
        raise AdvshapeError(
            f"{where} has until = {table['until']!r} and no stage comes after it; add one as [[objective.stages]], or "
            "leave until out"
        )
    if not last and until is None:
        raise AdvshapeError(f'{where} needs until = "pass_at_1 > 0.5" or the like: only the last stage has no end')
    hard, below = table.get("hard"), 0.0
    rule = _rule(table, scale, where)
    if hard is None:
        return Stage(rule, until=until)
    place = f"{where} hard"
    if not isinstance(hard, Mapping) or not _number(hard.get("below")) or not 0 < hard["below"] < 1:
        raise AdvshapeError(
            f"{place} must be a table with an estimator and below, a rate in (0, 1): prompts whose rate in earlier "
            f"visits is lower are hard; got {hard!r:.80}"
        )
    below = float(hard["below"])
    for key in ("hard", "until", "over"):
        if key in hard:
            raise AdvshapeError(f"{place} cannot hold {key!r}: it belongs to the stage; move it up")
    inner = {key: value for key, value in hard.items() if key != "below"}
    return Stage(rule, _rule(inner, table.get("scale", scale), place), below, until)


def _rule(table: Mapping[str, Any], scale: str, where: str) -> Rule:
    spec = {key: value for key, value in table.items() if key not in STAGE_KEYS}
    scale = table.get("scale", scale)
    if scale not in ("rms", "none"):
        raise AdvshapeError(f'{where} scale = {scale!r}; allowed: "rms" or "none"')
    if ("estimator" in spec) == ("surrogate" in spec):
        named = ", ".join(sorted(spec)) or "nothing"
        raise AdvshapeError(f'{where} needs one of estimator = "pass_at_k" or surrogate = "PassAtK"; got {named}')
    moving = table.get("schedule", {})
    if not isinstance(moving, Mapping):
        raise AdvshapeError(f"{where} schedule must be a table, one line for each parameter, got {moving!r}")
    rule = Rule(spec, {name: _ramp(name, ramp, spec, f"{where} schedule") for name, ramp in moving.items()}, scale)
    rule.at(1)  # names and parameters exist
    return rule


def _ramp(name: str, table: Any, spec: Mapping[str, Any], where: str) -> Ramp:
    numbers = [key for key, value in spec.items() if _number(value)]
    if name not in numbers:
        given = f"it has {', '.join(numbers)}" if numbers else "it has none; the value there is the one it starts from"
        raise AdvshapeError(
            f"{where} moves {name!r}, which is no number of its objective{nearest(name, numbers)} ({given})"
        )
    if not isinstance(table, Mapping) or set(table) != set(RAMP_KEYS):
        _known(f"{where} {name}", table if isinstance(table, Mapping) else (), RAMP_KEYS)
        raise AdvshapeError(
            f'{where} {name} must be like {{to = 1, shape = "linear", steps = [100, 400]}}, got {table!r:.80}'
        )
    shape, steps = table["shape"], table["steps"]
    to = table["to"] if isinstance(table["to"], list) else [table["to"]]
    if shape not in SHAPES:
        raise AdvshapeError(
            f"{where} {name}: unknown shape {shape!r}{nearest(str(shape), SHAPES)}; allowed: {', '.join(SHAPES)}"
        )
    if not to or not all(map(_number, to)):
        raise AdvshapeError(f'{where} {name}: to must be a number, or with shape = "step" a list, got {table["to"]!r}')
    _check_steps(f"{where} {name}", shape, steps, len(to))
    ramp = Ramp(spec[name], tuple(to), shape, tuple(steps))
    if ramp.whole and shape != "step" and abs(to[0] - spec[name]) == 1:
        raise AdvshapeError(
            f"{where} {name} goes from {spec[name]} to {to[0]} in whole numbers, which is one jump; write "
            f'{spec[name]}.0 and {to[0]}.0 for all between, or shape = "step" with one step for the jump'
        )
    return ramp


def _check_steps(where: str, shape: str, steps: Any, values: int) -> None:
    need = 2 if shape != "step" else values
    good = isinstance(steps, list) and all(isinstance(s, int) and not isinstance(s, bool) and s >= 1 for s in steps)
    if not good or len(steps) != need or any(a >= b for a, b in pairwise(steps)):
        form = "[first, last]" if shape != "step" else f"one for each of the {values} values of to"
        raise AdvshapeError(f"{where}: steps must be {form}, rising whole numbers from 1 on, got {steps!r}")


def _until(table: Mapping[str, Any], where: str) -> Until | None:
    text, over = table.get("until"), table.get("over", OVER)
    if text is None:
        if "over" in table:
            raise AdvshapeError(f"{where} over = {over!r} goes with until, which is not there")
        return None
    found = _UNTIL.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise AdvshapeError(
            f'{where} until = {text!r}: write a metric, >, >=, < or <=, and a number: "pass_at_1 > 0.5"'
        )
    metric, compare, level = found.groups()
    if metric not in MEASURED or compare not in COMPARE:
        raise AdvshapeError(
            f"{where} until: unknown metric {metric!r}{nearest(metric, MEASURED)}; it can ask for {', '.join(MEASURED)}"
        )
    if not isinstance(over, int) or isinstance(over, bool) or over < 1:
        raise AdvshapeError(f"{where} over must be a whole number of generations, at least 1, got {over!r}")
    try:
        return Until(metric, compare, float(level), over)
    except ValueError:
        raise AdvshapeError(f"{where} until = {text!r}: {level!r} is no number") from None


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


def _known(where: str, given: Iterable[str], known: tuple[str, ...]) -> None:
    for key in given:
        if key not in known:
            raise AdvshapeError(f"unknown key {key!r} in {where}{nearest(key, known)}; allowed: {', '.join(known)}")
