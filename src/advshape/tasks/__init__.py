"""Which problems, and who judges the answers? Tasks by name, or your own `module:function`.

Start at `protocol`: what a task is.

>>> from advshape.tasks import load_task
>>> load_task("countdown").problems("train", 2, seed=1)[0].prompt
'...:'
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any

from advshape.errors import AdvshapeError
from advshape.tasks.declared import find_own_code
from advshape.tasks.protocol import Outcome, Problem, Prompt, Split, Task, Verdict

__all__ = ["Outcome", "Problem", "Prompt", "Split", "Task", "Verdict", "load_task"]

BUILT_IN = {
    "countdown": "advshape.tasks.countdown:Countdown",
    "maths": "advshape.tasks.maths:Maths",
    "code": "advshape.tasks.code:Code",
    "human_eval": "advshape.tasks.code:human_eval",
}
FORMS = f"a task is {', '.join(map(repr, BUILT_IN))}, 'reasoning_gym:NAME' or your own 'module:function'"


def load_task(spec: str, /, **parameters: Any) -> Task:
    """The task of this name, made with these parameters.

    Args:
        spec: a name of `BUILT_IN` such as ``"countdown"``, ``"reasoning_gym:NAME"``, or ``"module:function"``: a
            class or function that declares a task (modules in the working directory are found too).
        parameters: keyword arguments of the task.

    Raises:
        AdvshapeError: unknown task (with the nearest name), unknown or missing parameters (with the allowed
            ones), a function that does not declare a task (nothing is imported then), or returns something else.
            Errors raised by the user's own code are passed on as they are.

    >>> load_task("countdown", four=0.0).problems("heldout", 1)[0].data["numbers"].__len__()
    3
    >>> load_task("countdwon")
    Traceback (most recent call last):
        ...
    advshape.errors.AdvshapeError: unknown task 'countdwon'; did you mean 'countdown'? a task is ...
    """
    module, colon, name = spec.partition(":")
    if spec in BUILT_IN:
        place, _, kind = BUILT_IN[spec].partition(":")
        return call(spec, getattr(importlib.import_module(place), kind), parameters)
    if module == "reasoning_gym" and colon:
        from advshape.tasks.reasoning_gym import ReasoningGym

        return ReasoningGym(name, **parameters)
    if not (module and colon and name):
        near = difflib.get_close_matches(module, [*BUILT_IN, "reasoning_gym"], n=1, cutoff=0.6)
        guess = f"did you mean {near[0] + ('' if near[0] in BUILT_IN else ':NAME')!r}? " if near else ""
        raise AdvshapeError(f"unknown task {spec!r}; {guess}{FORMS}")
    return call(spec, find_function(spec, module, name), parameters)


def find_function(spec: str, module: str, name: str) -> Callable[..., Any]:
    """Import ``module`` (the working directory included), after its source declares a task of this name."""
    find_own_code(spec)
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def call(spec: str, function: Callable[..., Any], parameters: dict[str, Any]) -> Task:
    """Call a task's maker after checking the parameters against its signature, and check what comes back."""
    signature = inspect.signature(function)
    try:
        signature.bind(**parameters)
    except TypeError as error:
        allowed = [str(parameter) for parameter in signature.parameters.values()]
        unknown = next((name for name in parameters if name not in signature.parameters), "")
        near = difflib.get_close_matches(unknown, signature.parameters, n=1, cutoff=0.6)
        guess = f"; did you mean {near[0]!r}?" if near else ""
        raise AdvshapeError(f"task {spec!r}: {error}{guess}; allowed: {', '.join(allowed) or 'none'}") from error
    task: object = function(**parameters)
    if not isinstance(task, Task):
        raise AdvshapeError(
            f"task {spec!r} returned {type(task).__name__}; a task has a name, problems(split, count, seed) "
            "and verdict(problem, completion)"
        )
    return task
