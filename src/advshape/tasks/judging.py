"""Judging many completions at once, in workers that are bounded in time.

Two kinds of worker: a thread that waits for a sandbox (its own process), and a `Worker`, a Python process that
answers one question after the other and is ended when it takes too long. Whatever goes wrong with one completion
is its own ``not_judged``, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from advshape.errors import AdvshapeError
from advshape.tasks.protocol import Problem, Task, Verdict

__all__ = ["judge_all", "verdicts"]

RAISED = "the verifier raised"
"""How the reason of such a ``not_judged`` begins."""
"""A worker imports its verifier first; on a busy machine that takes long."""


def judge_all(judge: Callable[[Any], Verdict], items: Sequence[Any], workers: int) -> list[Verdict]:
    """The verdict on each item, in order, at most ``workers`` at a time.

    ``AdvshapeError`` (nothing can be judged here: a missing package, no sandbox) passes through; anything else that
    ``judge`` raises is that item's ``not_judged``.

    >>> judge_all(lambda item: Verdict("right") if item else Verdict("wrong", "it is 0"), [1, 0], workers=2)[1].reason
    'it is 0'
    """

    def one(item: Any) -> Verdict:
        try:
            return judge(item)
        except AdvshapeError:
            raise
        except Exception as error:
            return failed(error)

    if len(items) <= 1 or workers == 1:
        return [one(item) for item in items]
    with ThreadPoolExecutor(min(workers, len(items)), thread_name_prefix="advshape-judge") as pool:
        return list(pool.map(one, items))


def verdicts(task: Task, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
    """The task's verdict on each completion: through its ``verdicts``, which judges in parallel, if it has one.

    A verifier that raises gives ``not_judged`` with the error; `AdvshapeError` from a task's ``verdicts`` (nothing can
    be judged here) passes through.

    >>> from advshape.tasks import load_task
    >>> task = load_task("countdown")
    >>> [verdict.outcome for verdict in verdicts(task, task.problems("train", 2), ["no", "1"])]
    ['wrong', 'wrong']
    """
    items = list(zip(problems, completions, strict=True))
    many: Callable[..., Sequence[Verdict]] | None = getattr(task, "verdicts", None)
    if many is None:
        return [guarded(lambda item: task.verdict(*item), item) for item in items]
    try:
        found = list(many(problems, completions))
    except AdvshapeError:
        raise
    except Exception as error:
        return [failed(error)] * len(items)
    if len(found) != len(items):
        raise AdvshapeError(f"the task {task.name!r} gave {len(found)} verdicts on {len(items)} completions")
    return found


def guarded(judge: Callable[[Any], Verdict], item: Any) -> Verdict:
    """The verdict, or ``not_judged`` when ``judge`` raises."""
    try:
        return judge(item)
    except Exception as error:
        return failed(error)


def failed(error: Exception) -> Verdict:
    """The verdict of a verifier that raised."""
    return Verdict("not_judged", f"{RAISED} {type(error).__name__}: {str(error)[:200]}")
