"""Judging many completions at once, in workers that are bounded in time.

Two kinds of worker: a thread that waits for a sandbox (its own process), and a `Worker`, a Python process that
answers one question after the other and is ended when it takes too long. Whatever goes wrong with one completion
is its own ``not_judged``, with the reason.
"""

from __future__ import annotations

import json
import os
import queue
import select
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from advshape.errors import AdvshapeError
from advshape.tasks.protocol import Problem, Task, Verdict

__all__ = ["Worker", "WorkerFailed", "WorkerPool", "default_workers", "judge_all", "verdicts"]

RAISED = "the verifier raised"
"""How the reason of such a ``not_judged`` begins."""
STARTING_SECONDS = 120
"""A worker imports its verifier first; on a busy machine that takes long."""


class WorkerFailed(Exception):
    """A worker gave no answer; the message says why."""


def default_workers() -> int:
    """One for each processor that this process may use.

    >>> default_workers() >= 1
    True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_workers(workers: int | None) -> int:
    """The number of workers, or the machine's."""
    if workers is None:
        return default_workers()
    if type(workers) is not int or not 1 <= workers <= 1024:
        raise AdvshapeError(f"workers is a whole number between 1 and 1024, got {workers!r}")
    return workers


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


class Worker:
    """A Python process that runs ``module``'s ``main`` and answers JSON lines, one at a time.

    The process sees the same modules as this one but not the working directory first; it ends when its standard
    input closes.
    """

    def __init__(self, module: str) -> None:
        paths = [path for path in sys.path if path]
        code = f"import sys; sys.path[:] = {paths!r}; from {module} import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.rest = b""
        try:
            self._read(STARTING_SECONDS)
        except WorkerFailed as error:
            self.end()
            raise WorkerFailed(f"the verifier does not start: {error}") from None

    def ask(self, question: Any, seconds: float) -> Any:
        """The answer; WorkerFailed, and the end of the process, when there is none within ``seconds``."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(question).encode() + b"\n")
            self.process.stdin.flush()
            return self._read(seconds)
        except OSError as error:
            self.end()
            raise WorkerFailed(f"the verifier is gone: {error}") from None
        except BaseException:
            self.end()
            raise

    def _read(self, seconds: float) -> Any:
        """One line, decoded."""
        assert self.process.stdout is not None
        end = time.monotonic() + seconds
        while b"\n" not in self.rest:
            if not select.select([self.process.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
                raise WorkerFailed(f"the verifier took longer than {seconds:g} s")
            part = os.read(self.process.stdout.fileno(), 65536)
            if not part:
                raise WorkerFailed(f"the verifier crashed (exit code {self.process.wait()})")
            self.rest += part
        line, self.rest = self.rest.split(b"\n", 1)
        return json.loads(line)

    def end(self) -> None:
        """End the process and wait until it is gone."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


class WorkerPool:
    """Workers of one module, made when they are needed, kept between calls, ended with the pool.

    A pool that is copied or used in another process (after a fork) starts its own workers.
    """

    def __init__(self, module: str, workers: int) -> None:
        self.module, self.workers = module, workers
        self._owner = os.getpid()
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._finalizer = weakref.finalize(self, end_all, self._idle, self._owner)

    def __deepcopy__(self, memo: dict[int, Any]) -> WorkerPool:
        return WorkerPool(self.module, self.workers)

    def __reduce__(self) -> tuple[Any, ...]:
        return WorkerPool, (self.module, self.workers)

    def ask(self, question: Any, seconds: float) -> Any:
        """One question to an idle worker; a worker that was ended from outside meanwhile is replaced once."""
        self._adopt()
        try:
            worker, fresh = self._idle.get_nowait(), False
        except queue.Empty:
            worker, fresh = Worker(self.module), True
        if not fresh and worker.process.poll() is not None:
            worker.end()
            worker = Worker(self.module)
        answer = worker.ask(question, seconds)
        self._idle.put(worker)
        return answer

    def _adopt(self) -> None:
        """After a fork the workers belong to the parent."""
        if self._owner != os.getpid():
            self._owner, self._idle = os.getpid(), queue.SimpleQueue()
            self._finalizer.detach()
            self._finalizer = weakref.finalize(self, end_all, self._idle, self._owner)


def end_all(idle: queue.SimpleQueue[Worker], owner: int) -> None:
    """End the workers that wait; in the process that made them alone."""
    while os.getpid() == owner:
        try:
            idle.get_nowait().end()
        except queue.Empty:
            return
