"""What a recipe's [objective] and [sampling] ask for, checked for every objective that can come up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import advshape
from advshape.catalogue import UnknownParameter
from advshape.curriculum.prioritized import PrioritizedBatches
from advshape.curriculum.read import read_schedule
from advshape.curriculum.schedule import Schedule, Stage
from advshape.errors import AdvshapeError
from advshape.training.recipe.keys import SAMPLING_KEYS, check_keys, meant

STOCK_KEYS = ("trainer",)
REWARD_KEYS = ("real", "bounds")  # of [objective]: what the trainer does with real-valued rewards
HISTORY_KEYS = ("baseline", "discount", "prior")
FLOOR = 0.05
SHOWN = 12  # values of a ramp that --dry-run prints


def resolve_objective(objective: Mapping[str, Any]) -> Schedule | None:
    """The objectives of ``[objective]``, each scaled; None for ``trainer = "stock"`` (TRL's own advantages)."""
    given = [key for key in ("estimator", "surrogate", "trainer", "stages") if key in objective]
    if len(given) != 1:
        raise AdvshapeError(
            f'[objective] needs exactly one of estimator = "pass_at_k", surrogate = "PassAtK", stages or '
            f'trainer = "stock"; got {", ".join(given) or "none"}'
        )
    if given == ["trainer"]:
        check_keys("objective", objective, STOCK_KEYS)
        if objective["trainer"] != "stock":
            raise AdvshapeError(
                f'[objective] trainer = {objective["trainer"]!r}: only "stock" (TRL\'s own GRPOTrainer)'
            )
        return None
    table = {key: value for key, value in objective.items() if key not in ("history", *REWARD_KEYS)}
    try:
        return read_schedule({"scale": "rms", **table})
    except UnknownParameter as error:
        if given == ["stages"]:
            raise
        hints = "".join(meant(key, (), "objective") for key in table if f"parameter {key!r}" in str(error))
        raise AdvshapeError(
            f"{error}{hints} ([objective] holds {', '.join(objective)}; another objective replaces the whole table: "
            f"--set 'objective={{{given[0]} = \"{objective[given[0]]}\"}}')"
        ) from None


def check_schedule(schedule: Schedule, objective: Mapping[str, Any], n: int) -> None:
    """``check_group`` and ``check_rewards`` for every objective that can come up."""
    for where, estimator in schedule.estimators():
        try:
            check_group(estimator, n)
            check_rewards(objective, estimator, n)
        except AdvshapeError as error:
            raise AdvshapeError(str(error) if schedule.constant else f"[objective] {where}: {error}") from None


def check_group(estimator: advshape.AdvantageEstimator, n: int) -> None:
    """Raise when a group of n rollouts is too small for the estimator (K above n, or below its smallest n)."""
    if n < estimator.smallest_n:
        raise AdvshapeError(
            f"{estimator.name} needs at least {estimator.smallest_n} rollouts per prompt, got num_generations={n}; "
            f"set [trainer] num_generations = {estimator.smallest_n} or more, or choose a smaller k"
        )
    estimator.table(n)


def check_rewards(objective: Mapping[str, Any], estimator: advshape.AdvantageEstimator, n: int) -> None:
    """Raise when the estimator cannot take real-valued rewards as ``[objective] real`` and ``bounds`` say."""
    from advshape.shaping.real import check_real

    try:
        check_real(estimator, objective.get("real"), objective.get("bounds"), range(estimator.smallest_n, n + 1))
    except AdvshapeError as error:
        raise AdvshapeError(f"[objective] {error}") from None


def schedule_lines(schedule: Schedule) -> Iterator[str]:
    """The objectives of a run for a person, a line for each stage and for each parameter that moves."""
    for number, stage in enumerate(schedule.stages, 1):
        yield f"{f'stage {number}: ' if len(schedule.stages) > 1 else ''}{stage}"
        for kind, rule in (("", stage.rule), ("hard ", stage.hard)):
            for name, ramp in rule.ramps.items() if rule is not None else ():
                changes = [(step, ramp.at(step)) for step in range(1, ramp.steps[-1] + 1)]
                moves = [pair for pair, before in zip(changes[1:], changes, strict=False) if pair[1] != before[1]]
                if len(moves) <= SHOWN:
                    listed = "".join(f", {value:g} from {step}" for step, value in moves)
                    yield f"  {kind}{name} = {changes[0][1]:g}{listed}"


def too_late(schedule: Schedule, steps: int) -> Iterator[str]:
    """What of a schedule a run of so many steps does not reach; nothing for a run that counts in epochs."""
    for number, stage in enumerate(schedule.stages, 1):
        ends = [ramp.steps[-1] for rule in _rules(stage) for ramp in rule.ramps.values()]
        if 0 < steps < max(ends, default=0):
            which = f" of stage {number}" if len(schedule.stages) > 1 else ""
            yield f"the schedule{which} goes on to step {max(ends)}, the run has {steps}: it stops on the way"


def _rules(stage: Stage) -> list[Any]:
    return [rule for rule in (stage.rule, stage.hard) if rule is not None]


@dataclass(frozen=True)
class Visits:
    """What the run does with earlier visits to a problem; ``history`` is None where it does nothing with them."""

    history: Mapping[str, Any] | None  # of advshape.PromptHistory
    baseline: bool = False
    prioritized: Mapping[str, Any] | None = None  # floor, within (None: to be chosen)
    weight: float | None = None

    def with_batches(self, problems: int, prompts: int, config: Mapping[str, Any]) -> Visits:
        """The same for so many problems, so many in a generation: ``within`` chosen and checked."""
        if self.prioritized is None:
            return self
        within = self.prioritized["within"]
        if within is None:
            within = -(-problems // max(1, prompts // 4))
        if config.get("dataloader_num_workers"):
            raise AdvshapeError(
                f"[trainer] dataloader_num_workers={config['dataloader_num_workers']} draws problems far ahead of "
                "their rewards; [sampling] prioritized needs 0"
            )
        if prompts > problems:
            raise AdvshapeError(
                f"[sampling] prioritized needs at least as many problems as a generation holds: {problems} for "
                f"{prompts}; set [task] train_problems = {prompts} or more"
            )
        try:
            PrioritizedBatches(problems, prompts, within, int(config.get("seed", 0)))
        except AdvshapeError as error:
            raise AdvshapeError(f"[sampling] prioritized: {error}") from None
        return Visits(self.history, self.baseline, {**self.prioritized, "within": within}, self.weight)

    def arguments(self) -> dict[str, Any]:
        """As the trainer takes it; a new history each time."""
        if self.history is None:
            return {}
        return {
            "history": advshape.PromptHistory(**self.history),
            "history_key": "problem_id",
            "history_baseline": self.baseline,
            "prioritized": self.prioritized,
            "priority_weight": self.weight,
        }

    def lines(self, prompts: int) -> Iterator[str]:
        """For a person."""
        if self.baseline and self.history is not None:
            yield f"baseline   posterior mean of each problem's earlier visits, discount {_past(self.history)}"
        if self.prioritized is not None:
            floor, within = self.prioritized["floor"], self.prioritized["within"]
            yield (
                f"sampling   prioritized: probability ~ 1 - rate of earlier visits + {floor:g}; every problem within "
                f"{within} generations, {prompts} problems each"
            )
        if self.weight is not None:
            yield f"sampling   advantages times 1 - rate of earlier visits + {self.weight:g}"


def read_visits(objective: Mapping[str, Any], sampling: Mapping[str, Any], schedule: Schedule | None) -> Visits:
    """What ``[objective] history`` and ``[sampling]`` ask for.

    Raises ``AdvshapeError`` for unknown keys and values, for both kinds of priority at once, and where counts of right
    answers have no meaning: with TRL's own trainer and with real-valued rewards.
    """
    check_keys("sampling", sampling, SAMPLING_KEYS)
    past = _options("[objective] history", objective.get("history", False), HISTORY_KEYS)
    draw = _options("[sampling] prioritized", sampling.get("prioritized", False), ("floor", "within"))
    weigh = _options("[sampling] weight", sampling.get("weight", False), ("floor",))
    used = [
        name
        for name, value in (
            ("[objective] history", past),
            ("[sampling] prioritized", draw),
            ("[sampling] weight", weigh),
        )
        if value is not None
    ]
    if schedule is not None and schedule.looks_back:
        used.append("[objective] hard")
    if draw is not None and weigh is not None:
        raise AdvshapeError(
            "[sampling] prioritized and weight are two ways to one objective; both together weigh twice: choose one"
        )
    if used and schedule is None:
        raise AdvshapeError(f"{used[0]} has no effect on TRL's own trainer; choose an estimator")
    if used and objective.get("real") is not None:
        raise AdvshapeError(f"{used[0]} counts right answers of earlier visits, real rewards have none; leave one out")
    if not used:
        return Visits(None)
    floors = [
        None if table is None else _floor(name, table) for name, table in (("prioritized", draw), ("weight", weigh))
    ]
    within = None if draw is None else draw.get("within")
    if draw is not None and within is not None and (isinstance(within, bool) or not isinstance(within, int)):
        raise AdvshapeError(f"[sampling] prioritized within must be a whole number of generations, got {within!r}")
    return Visits(
        _history(past or {}),
        past is not None and bool(past.get("baseline", True)),
        None if draw is None else {"floor": floors[0], "within": within},
        floors[1],
    )


def _options(where: str, value: Any, known: tuple[str, ...]) -> dict[str, Any] | None:
    """``true`` as an empty table, ``false`` as None."""
    if isinstance(value, bool):
        return {} if value else None
    if not isinstance(value, Mapping):
        raise AdvshapeError(f"{where} must be true, false or a table with {', '.join(known)}, got {value!r}")
    check_keys(where.strip("[").replace("]", ""), value, known)
    return dict(value)


def _floor(name: str, table: Mapping[str, Any]) -> float:
    floor = table.get("floor", FLOOR)
    try:
        advshape.priority(advshape.Beta(1.0, 1.0), floor)
    except AdvshapeError as error:
        raise AdvshapeError(f"[sampling] {name}: {error}") from None
    return float(floor)


def _history(table: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of ``PromptHistory``, checked by making one."""
    if not isinstance(table.get("baseline", True), bool):
        raise AdvshapeError(f"[objective] history baseline must be true or false, got {table['baseline']!r}")
    made = {key: value for key, value in table.items() if key == "discount"}
    try:
        if "prior" in table:
            made["prior"] = advshape.Beta(*table["prior"])
        advshape.PromptHistory(**made)
    except TypeError:
        raise AdvshapeError(f"[objective] history prior must be two numbers [a, b], got {table['prior']!r}") from None
    except AdvshapeError as error:
        raise AdvshapeError(f"[objective] history: {error}") from None
    return made


def _past(history: Mapping[str, Any]) -> str:
    return f"{advshape.PromptHistory(**history).state_dict()['discount']:g}"
