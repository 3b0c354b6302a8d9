"""A place where a model's program can do no harm: bubblewrap's namespaces, resource limits, one way to end it.

Inside there is Python with its standard library, the C library, an empty folder ``/box`` in memory, and nothing else:
no network, no home, no ``/proc``, no environment.  Everything inside is one PID namespace; killing its first
process kills all of it, and that is done in one place (`Cell.end`) whatever happened.  See ``docs/tasks.md`` for
what is promised and what is not.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from advshape.tasks.protocol import Verdict
from advshape.tasks.sandbox.bubblewrap import HOW_TO_GET, SandboxUnavailable, command, find_bubblewrap
from advshape.tasks.sandbox.inside.confine import ARCHITECTURES
from advshape.tasks.sandbox.limits import Limits
from advshape.tasks.sandbox.probe import PROBE
from advshape.tasks.sandbox.user_id import UserId

__all__ = ["Limits", "SandboxUnavailable", "check_sandbox", "judge_job"]

STARTING_SECONDS = 60
"""Wall-clock time that a sandbox may need to stand; a machine that needs longer is out of order."""
SPARE_SECONDS = 30
"""After its own time limit the harness has this long to say so."""

Mode = Literal["root", "user"]


def judge_job(job: Mapping[str, Any], limits: Limits) -> Verdict:
    """The verdict on a job (see ``inside.harness``), in a sandbox of its own.

    ``right`` and ``wrong`` come from the harness alone; ``not_judged`` when the sandbox failed or the tests are
    broken. Safe to call from several threads at once.

    Raises:
        SandboxUnavailable: no sandbox can be made here.
    """
    return run_job(job, limits, check_sandbox())


def run_job(job: Mapping[str, Any], limits: Limits, mode: Mode) -> Verdict:
    """`judge_job` in a mode that is known to work."""
    nonce = secrets.token_hex(16)
    rounds = len(job["tests"]) if job["kind"] == "programs" else 1
    seconds = STARTING_SECONDS + SPARE_SECONDS + rounds * (limits.seconds + 1)
    user = UserId() if mode == "root" else None
    cell = Cell(command(limits, user.number if user else None))
    try:
        text, complaint = cell.talk(json.dumps({**job, "nonce": nonce}).encode(), seconds)
    except subprocess.TimeoutExpired:
        return Verdict("not_judged", f"the sandbox gave no verdict within {seconds:g} s")
    finally:
        cell.end()
        if user:
            user.release()
    return read_verdict(text, complaint, nonce, cell.process.returncode, limits)


def read_verdict(text: bytes, complaint: bytes, nonce: str, code: int, limits: Limits) -> Verdict:
    """What the harness said, or why it said nothing.

    >>> read_verdict(b'ready\\n{"nonce": "n", "outcome": "right", "reason": ""}\\n', b"", "n", 0, Limits()).outcome
    'right'
    >>> read_verdict(b"ready\\n", b"", "n", 137, Limits())
    Verdict(outcome='not_judged', reason='the sandbox was ended from outside (exit code 137)', answer=None)
    """
    first, _, rest = text.partition(b"\n")
    words = complaint.decode("utf-8", "replace").strip().splitlines()
    if first != b"ready":
        return Verdict("not_judged", f"the sandbox did not start: {' '.join(words[-2:])[:300] or f'exit code {code}'}")
    if code == 128 + signal.SIGXCPU:
        return Verdict("wrong", f"its results kept the tests busy for more than {limits.seconds:g} s")
    try:
        line = json.loads(rest)
        outcome, reason = {"broken": "not_judged"}.get(line["outcome"], line["outcome"]), line["reason"]
    except (ValueError, KeyError, TypeError):
        if words:
            return Verdict("not_judged", f"the harness failed: {words[-1][:300]}")
        return Verdict("not_judged", f"the sandbox was ended from outside (exit code {code})")
    if line["nonce"] != nonce:
        return Verdict("not_judged", "the verdict does not carry this job's nonce")
    return Verdict(outcome, reason)


class Cell:
    """One sandbox: started, talked to, ended."""

    def __init__(self, arguments: Sequence[str]) -> None:
        reading, writing = os.pipe()
        try:
            self.process = subprocess.Popen(
                [*arguments[:1], "--info-fd", str(writing), *arguments[1:]],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[writing],
                env={},
                cwd="/",
                start_new_session=True,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        with os.fdopen(reading, "rb") as file:
            self.first = self._first_process(file)

    def _first_process(self, file: Any) -> int | None:
        """A descriptor of the namespace's first process (pidfd), None where bubblewrap failed before it."""
        text, end = b"", time.monotonic() + STARTING_SECONDS
        while select.select([file], [], [], max(0.0, end - time.monotonic()))[0]:
            part = os.read(file.fileno(), 4096)
            text += part
            if not part or b"}" in text:
                break
        try:
            return os.pidfd_open(json.loads(text)["child-pid"])
        except (ValueError, KeyError, OSError):
            return None

    def talk(self, job: bytes, seconds: float) -> tuple[bytes, bytes]:
        """Send the job, wait for the end; raises subprocess.TimeoutExpired. Only the harness holds these pipes."""
        return self.process.communicate(job, timeout=seconds)

    def end(self) -> None:
        """End everything that is left inside, and wait until it is gone. The only place that does."""
        if self.first is not None:
            try:
                signal.pidfd_send_signal(self.first, signal.SIGKILL)
            except ProcessLookupError:
                pass
            finally:
                select.select([self.first], [], [], STARTING_SECONDS)
                os.close(self.first)
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


# Trust only after a test


@dataclass
class Checked:
    """The mode that was found to hold, or why none did; found out once in a process."""

    mode: Mode | None = None
    error: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)


_checked = Checked()


def check_sandbox() -> Mode:
    """Make sure, once, that the sandbox holds here: a program tries to get past each limit and must fail.

    Raises:
        SandboxUnavailable: bubblewrap is missing, namespaces are not permitted, or a limit does not bind.
    """
    with _checked.lock:
        if _checked.mode is None and not _checked.error:
            try:
                _checked.mode = find_mode()
            except SandboxUnavailable as error:
                _checked.error = str(error)
        if _checked.mode is None:
            raise SandboxUnavailable(_checked.error)
        return _checked.mode


def find_mode() -> Mode:
    """The first mode in which the probe finds every limit in force."""
    find_bubblewrap()
    if platform.machine() not in ARCHITECTURES:
        raise SandboxUnavailable(
            f"the sandbox knows the system calls of {' and '.join(ARCHITECTURES)}, not of {platform.machine()}; "
            "programs are never run without it"
        )
    modes: tuple[Mode, ...] = ("root", "user") if os.geteuid() == 0 else ("user",)
    reasons = []
    for mode in modes:
        verdict = run_job(PROBE, Limits(seconds=30, memory=256, threads=8), mode)
        if verdict.outcome == "right":
            return mode
        reasons.append(verdict.reason)
    raise SandboxUnavailable(f"the sandbox does not hold here ({'; '.join(reasons)}); {HOW_TO_GET}")
