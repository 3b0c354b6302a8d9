"""Which objective at which step? Parameters that move, stages that end at a measured value, a rule for hard prompts.

Pure: a schedule and a position give the estimator. The position is the whole state, a few numbers for a checkpoint.
What decides (step, earlier batches, earlier visits) never looks at the group whose advantages it makes: a choice by the
group's own count is another objective, and a table of its own: `adaptive.mixed_by_count`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from advshape.catalogue import estimator
from advshape.errors import AdvshapeError
from advshape.tables.estimator import AdvantageEstimator

__all__ = ["MEASURED", "Objective", "Position", "Ramp", "Rule", "Schedule", "Stage", "Until"]

SHAPES = ("linear", "cosine", "step")
GRAIN = 100  # a number that is not whole moves in hundredths of its way, so that every objective can be checked before
OVER = 10
MEASURED = (  # what `until` can ask for: the trainer's shares and means of one generation batch, and the step
    "step",
    "pass_at_1",
    "mean_reward",
    "surrogate",
    "prompts_all_wrong",
    "prompts_mixed",
    "prompts_all_right",
    "prompts_all_equal",
    "prompts_none_judged",
    "rollouts_not_judged",
)
COMPARE = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


@dataclass(frozen=True)
class Ramp:
    """One parameter over the steps 1, 2 ... of a stage.

    "linear" and "cosine" (half a wave) stay at `start` up to steps[0] and are at `to` from steps[1] on; whole numbers
    are rounded (halves up), others move in hundredths of the way. "step": to[i] from steps[i] on.

    >>> [Ramp(8, (1,), "linear", (100, 400)).at(step) for step in (1, 100, 250, 400, 999)]
    [8, 8, 5, 1, 1]
    >>> [Ramp(8, (4, 1), "step", (100, 200)).at(step) for step in (99, 100, 200)]
    [8, 4, 1]
    """

    start: float
    to: tuple[float, ...]
    shape: str
    steps: tuple[int, ...]

    @property
    def whole(self) -> bool:
        """Only whole numbers: the ramp is rounded."""
        return all(isinstance(x, int) for x in (self.start, *self.to))

    def at(self, step: int) -> float:
        """The parameter at a step of the stage, an int where the ramp is whole."""
        if self.shape == "step":
            return (self.start, *self.to)[sum(step >= s for s in self.steps)]
        first, last = self.steps
        share = min(max((step - first) / (last - first), 0.0), 1.0)
        if self.shape == "cosine":
            share = round((1 - math.cos(math.pi * share)) / 2, 12)  # halves are halves: cos(pi / 2) is not quite 0
        way = self.to[0] - self.start
        if self.whole:
            return math.floor(self.start + share * way + 0.5)
        share = math.floor(share * GRAIN + 0.5) / GRAIN
        return self.start + share * way if share < 1 else self.to[0]

    def __str__(self) -> str:
        if self.shape == "step":
            return f"{self.start:g}, " + ", ".join(
                f"{x:g} from step {s}" for x, s in zip(self.to, self.steps, strict=True)
            )
        return f"{self.start:g} to {self.to[0]:g}, {self.shape} over steps {self.steps[0]} to {self.steps[1]}"


@dataclass(frozen=True, eq=False)
class Rule:
    """An estimator some of whose parameters move: `spec` as `estimator` takes it, a Ramp for each that does."""

    spec: Mapping[str, Any]
    ramps: Mapping[str, Ramp] = field(default_factory=dict)
    scale: str = "none"

    def __post_init__(self) -> None:
        object.__setattr__(self, "_made", lru_cache(maxsize=2 * GRAIN)(self._make))

    def _make(self, moved: tuple[tuple[str, float], ...]) -> AdvantageEstimator:
        return estimator({**self.spec, **dict(moved)}).scaled(self.scale)  # type: ignore[arg-type]

    def _moved(self, step: int) -> tuple[tuple[str, float], ...]:
        return tuple((name, ramp.at(step)) for name, ramp in self.ramps.items())

    def at(self, step: int) -> AdvantageEstimator:
        """The estimator at a step of the stage, 1 the first; each scaled by itself."""
        found: AdvantageEstimator = self._made(self._moved(step))  # type: ignore[attr-defined]
        return found

    def numbers(self, step: int) -> dict[str, float]:
        """The numeric parameters at a step, for a log."""
        values = {**self.spec, **dict(self._moved(step))}
        return {k: float(v) for k, v in values.items() if isinstance(v, int | float) and not isinstance(v, bool)}

    def changes(self) -> list[int]:
        """Steps of the stage at which the estimator becomes another one; the first is 1."""
        end = max((ramp.steps[-1] for ramp in self.ramps.values()), default=1)
        moved = [self._moved(step) for step in range(1, end + 1)]
        return [1] + [i + 1 for i in range(1, end) if moved[i] != moved[i - 1]]

    def __str__(self) -> str:
        return "; ".join([self.at(1).name, *(f"{name} {ramp}" for name, ramp in self.ramps.items())])


@dataclass(frozen=True)
class Until:
    """A stage's end: a metric of the generation batches, in the mean over the last `over` of the stage, passes a level.

    >>> Until("pass_at_1", ">", 0.5, over=2).reached(7, [0.1, 0.4, 0.8])
    True
    """

    metric: str
    compare: str
    level: float
    over: int = OVER

    def reached(self, step: int, recent: Sequence[float]) -> bool:
        """Whether the stage is over before `step` is trained; a NaN among the last values (nothing judged): not yet."""
        if self.metric == "step":
            return bool(COMPARE[self.compare](step, self.level))
        last = recent[-self.over :]
        return len(last) == self.over and bool(COMPARE[self.compare](math.fsum(last) / self.over, self.level))

    def __str__(self) -> str:
        mean = "" if self.metric == "step" or self.over == 1 else f" (mean of {self.over} generations)"
        return f"{self.metric} {self.compare} {self.level:g}{mean}"


@dataclass(frozen=True, eq=False)
class Stage:
    """A rule, the rule for prompts whose rate in EARLIER visits is below `below`, and what ends it all."""

    rule: Rule
    hard: Rule | None = None
    below: float = 0.0
    until: Until | None = None

    def __str__(self) -> str:
        hard = f" | prompts below {self.below:g} in earlier visits: {self.hard}" if self.hard else ""
        return f"{self.rule}{hard}" + (f" | until {self.until}" if self.until else "")


@dataclass(frozen=True)
class Position:
    """Where a run stands in its schedule: the state of a checkpoint.

    starts: the step with which each stage so far began, the last one is in force; recent: the last measurements of its
    metric.
    """

    starts: tuple[int, ...] = (1,)
    recent: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Objective:
    """What is in force at one step: `easy` for all prompts, or `hard` for those below `below`; numbers for the log."""

    easy: AdvantageEstimator
    hard: AdvantageEstimator | None
    below: float
    numbers: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Schedule:
    """The stages of a run's objective, in order; steps are counted from 1, as in metrics.jsonl.

    `schedule_reader.read_schedule` makes it from a recipe's table.

    >>> first = Stage(Rule({"estimator": "pass_at_k", "k": 8}), until=Until("pass_at_1", ">", 0.5, over=1))
    >>> schedule = Schedule((first, Stage(Rule({"estimator": "grpo"}))))
    >>> here = schedule.begin(Position(), 1)
    >>> schedule.at(here, 1).easy
    AdvantageEstimator(pass_at_k(k=8))
    >>> here = schedule.begin(schedule.measure(here, {"pass_at_1": 0.6}), 2)
    >>> schedule.at(here, 2).easy, here.starts
    (AdvantageEstimator(grpo), (1, 2))
    """

    stages: tuple[Stage, ...]

    @property
    def constant(self) -> bool:
        """One objective from first to last."""
        return len(self.stages) == 1 and not self.stages[0].rule.ramps and self.stages[0].hard is None

    @property
    def looks_back(self) -> bool:
        """Does a stage choose by earlier visits?"""
        return any(stage.hard is not None for stage in self.stages)

    @property
    def first(self) -> AdvantageEstimator:
        """The estimator of step 1."""
        return self.stages[0].rule.at(1)

    def estimators(self) -> Iterator[tuple[str, AdvantageEstimator]]:
        """Every estimator that can come up, each with where: "stage 2, step 120 of it", "step 120" without stages."""
        for number, stage in enumerate(self.stages, 1):
            for kind, rule in (("", stage.rule), ("hard prompts, ", stage.hard)):
                for step in rule.changes() if rule is not None else ():
                    where = f"stage {number}, {kind}step {step} of it" if len(self.stages) > 1 else f"{kind}step {step}"
                    yield where, rule.at(step)  # type: ignore[union-attr]

    def begin(self, position: Position, step: int) -> Position:
        """The position with which the generation for `step` begins: the next stage, where this one's end is reached."""
        until = self.stages[len(position.starts) - 1].until
        if until is None or not until.reached(step, position.recent):
            return position
        return Position((*position.starts, step), ())

    def measure(self, position: Position, metrics: Mapping[str, float]) -> Position:
        """Remember what one generation batch measured, after its advantages were made."""
        until = self.stages[len(position.starts) - 1].until
        if until is None or until.metric == "step":
            return position
        recent = (*position.recent, float(metrics.get(until.metric, math.nan)))
        return replace(position, recent=recent[-until.over :])

    def at(self, position: Position, step: int) -> Objective:
        """What is in force at a step, of the stage in which the position is."""
        stage, local = self.stages[len(position.starts) - 1], step - position.starts[-1] + 1
        numbers = {"": float(len(position.starts))}
        numbers |= {f"_{name}": value for name, value in stage.rule.numbers(local).items()}
        if stage.hard is None:
            return Objective(stage.rule.at(local), None, 0.0, numbers)
        numbers |= {f"_hard_{name}": value for name, value in stage.hard.numbers(local).items()}
        return Objective(stage.rule.at(local), stage.hard.at(local), stage.below, numbers)

    def position(self, state: Mapping[str, Any]) -> Position:
        """The position that a checkpoint holds; raises AdvshapeError where it is none of this schedule."""
        starts, recent = (tuple(state.get(key) or ()) for key in ("starts", "recent"))
        if not 1 <= len(starts) <= len(self.stages) or list(starts) != sorted(starts):
            raise AdvshapeError(
                f"the checkpoint stands in stage {len(starts)} of a schedule, this one has {len(self.stages)}; "
                "go on with the recipe that the run began with"
            )
        return Position(starts, recent)

    def __str__(self) -> str:
        return " -> ".join(map(str, self.stages))
