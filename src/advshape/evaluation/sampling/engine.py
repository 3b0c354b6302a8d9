"""What every sampling engine shares: the settings that key a rollout, the verdict on it, the progress bar."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from advshape.errors import AdvshapeError
from advshape.evaluation.logs.rollout_log import Rollout, settings_hash
from advshape.evaluation.sampling.bars import bar_options
from advshape.tasks.judging import verdicts
from advshape.tasks.protocol import Verdict

if TYPE_CHECKING:
    from advshape.tasks.protocol import Problem, Task

__all__ = ["Completion", "Engine", "Identity", "SamplingFailed", "SamplingSettings", "check_rollouts", "judged"]


class SamplingFailed(AdvshapeError):
    """The work itself failed (server, disk, memory); what was sampled before is kept, and can be gone on with."""


@dataclass(frozen=True)
class Identity:
    """Which model answers, and through what.

    Attributes:
        model: where the model lies or what the server calls it; for the reader only.
        fingerprint: what tells this model from another one.
        engine: what samples, such as "transformers".
        engine_version: its version.
    """

    model: str
    fingerprint: str
    engine: str
    engine_version: str


@dataclass(frozen=True)
class Completion:
    """One sampled answer, before it is judged.

    Attributes:
        text: without special tokens.
        tokens: sampled tokens, the end token included; 0: not known.
        ended: it came to its end within the allowed tokens.
        refused: why it cannot be judged whatever its text is; empty otherwise.
        reasoning: the part of the answer that the engine keeps apart from the text.
    """

    text: str
    tokens: int
    ended: bool
    refused: str = ""
    reasoning: str = ""


@dataclass(frozen=True)
class SamplingSettings:
    """All that decides what is sampled, apart from the problems and the number of rollouts.

    The hash of these settings keys every rollout in the log, so a log never mixes two of them unseen.

    >>> SamplingSettings(task="countdown", model="base", temperature=0.7).hash == SamplingSettings().hash
    False
    """

    task: str = ""
    model: str = ""
    fingerprint: str = ""
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 32
    seed: int = 0
    engine: str = "transformers"
    engine_version: str = ""
    verifier: str = ""

    def __post_init__(self) -> None:
        if not (self.temperature >= 0 and math.isfinite(self.temperature)):
            raise AdvshapeError(f"temperature must be above 0 (or 0: greedy, one rollout), got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise AdvshapeError(f"top_p must lie in (0, 1], got {self.top_p}")
        if self.max_new_tokens < 1:
            raise AdvshapeError(f"max_new_tokens must be 1 or more, got {self.max_new_tokens}")

    @cached_property
    def hash(self) -> str:
        """12 hex digits; see `advshape.evaluation.logs.rollout_log.settings_hash`."""
        return settings_hash(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """The settings that make up the hash; the model is its fingerprint there, wherever it lies."""
        return {k: v for k, v in asdict(self).items() if k != "model"}


@runtime_checkable
class Engine(Protocol):
    """Something that answers prompts: a model in this process, or a server."""

    @property
    def identity(self) -> Identity:
        """Which model answers, and through what."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What the reader of the numbers should know about this engine."""
        ...

    def sample(
        self,
        task: Task,
        problems: Sequence[Problem],
        *,
        n: int,
        settings: SamplingSettings,
        skip: Container[tuple[str, int]],
        progress: bool,
    ) -> Iterator[list[Rollout]]:
        """Rollouts 0..n-1 of every problem that are not in `skip`, judged, a few at a time."""
        ...


def check_rollouts(n: int, temperature: float) -> None:
    """Raise unless n rollouts at this temperature can say something.

    >>> check_rollouts(4, 0.0)
    Traceback (most recent call last):
        ...
    advshape.errors.AdvshapeError: temperature must be above 0 for n=4 rollouts, got 0.0: greedy decoding ...
    """
    if n < 1:
        raise AdvshapeError(f"n must be 1 or more rollouts per problem, got n={n}; 64 is usual")
    if temperature == 0 and n > 1:
        raise AdvshapeError(
            f"temperature must be above 0 for n={n} rollouts, got {temperature}: greedy decoding gives the same"
            " answer every time, so pass@k would say nothing; set n=1, or a temperature above 0"
        )


def judged(task: Task, answers: Iterable[tuple[Problem, int, Completion]], settings: SamplingSettings) -> list[Rollout]:
    """The rollouts of a batch of (problem, sample, completion), in order, judged in parallel where the task can.

    A verifier that raises is reported in that rollout, not passed on; see `advshape.tasks.judging.verdicts`.
    """
    batch = list(answers)
    asked = [(problem, answer.text) for problem, _, answer in batch if not answer.refused]
    found = iter(verdicts(task, [problem for problem, _ in asked], [text for _, text in asked]))
    return [
        _rollout(*one, Verdict("not_judged", one[2].refused) if one[2].refused else next(found), settings)
        for one in batch
    ]


def _rollout(
    problem: Problem, sample: int, answer: Completion, verdict: Verdict, settings: SamplingSettings
) -> Rollout:
    return Rollout(
        problem=problem.id,
        sample=sample,
        prompt=problem.prompt,
        completion=answer.text,
        outcome=verdict.outcome,
        reason=verdict.reason,
        tokens=answer.tokens,
        truncated=not answer.ended,
        temperature=settings.temperature,
        seed=settings.seed,
        settings=settings.hash,
        answer=verdict.answer,
        more={"reasoning": answer.reasoning} if answer.reasoning else {},
    )


@contextmanager
def progress_bar(total: int, done: int, show: bool, title: str) -> Iterator[Callable[[int], Any]]:
    """A bar's update function, or one that does nothing; the time left is reckoned from what comes now alone."""
    if not show:
        yield lambda count: None
        return
    from tqdm import tqdm

    with tqdm(total=total, initial=done, desc=title, unit="rollout", unit_scale=True, delay=1, **bar_options()) as bar:
        yield bar.update
