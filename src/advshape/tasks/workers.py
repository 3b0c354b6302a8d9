"""Worker processes that judge completions under a time limit."""

from __future__ import annotations

import json
import os
import queue
import select
import subprocess
import sys
import time
import weakref
from contextlib import suppress
from functools import cache
from typing import Any

from advshape.errors import AdvshapeError

STARTING_SECONDS = 120


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

    A pool that is used in another process (after a fork) starts its own workers.
    """

    def __init__(self, module: str) -> None:
        self.module = module
        self._owner = os.getpid()
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._finalizer = weakref.finalize(self, end_all, self._idle, self._owner)

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


@cache
def shared_pool(module: str) -> WorkerPool:
    """This process's pool for the verifier in a module; it ends with the process. Tasks are values and hold none."""
    return WorkerPool(module)


def end_all(idle: queue.SimpleQueue[Worker], owner: int) -> None:
    """End the workers that wait; in the process that made them alone."""
    while os.getpid() == owner:
        try:
            idle.get_nowait().end()
        except queue.Empty:
            return
