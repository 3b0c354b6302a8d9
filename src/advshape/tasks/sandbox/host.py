"""A place where a model's program can do no harm: bubblewrap's namespaces, resource limits, one way to end it.

Inside there is Python with its standard library, the C library, an empty folder ``/box`` in memory, and nothing else:
no network, no home, no ``/proc``, no environment.  Everything inside is one PID namespace; killing its first
process kills all of it, and that is done in one place (`Cell.end`) whatever happened.  See ``docs/tasks.md`` for
what is promised and what is not.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import secrets
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from advshape.errors import AdvshapeError
from advshape.tasks.protocol import Verdict
from advshape.tasks.sandbox.inside.confine import ARCHITECTURES

__all__ = ["Limits", "SandboxUnavailable", "check_sandbox", "judge_job"]

INSIDE = Path(__file__).parent / "inside"
START = "import sys; sys.path.insert(0, '/harness'); from advshape.tasks.sandbox.inside.harness import main; main()"
STARTING_SECONDS = 60
"""Wall-clock time that a sandbox may need to stand; a machine that needs longer is out of order."""
SPARE_SECONDS = 30
"""After its own time limit the harness has this long to say so."""
FIRST_UID = 2**31
SLOTS = 64
HOW_TO_GET = (
    "install bubblewrap (Debian, Ubuntu: apt-get install bubblewrap) on Linux; in a container it needs the right "
    "to make namespaces (docker run --cap-add SYS_ADMIN --security-opt seccomp=unconfined --security-opt "
    "apparmor=unconfined); programs are never run without a sandbox"
)

Mode = Literal["root", "user"]


class SandboxUnavailable(AdvshapeError):
    """No sandbox can be made here; the message says why and what to do."""


@dataclass(frozen=True)
class Limits:
    """What one program may use.

    Args:
        seconds: wall-clock time, for all tests of a function, or for each input of a program. The processor time
            of a process is limited to one second more.
        memory: MiB of address space; a program is one process, so this is all that it can take.
        output: MiB that it may write to standard output, to standard error, and to any file.
        threads: threads that it may have.
        disk: MiB of the folder ``/box``.

    >>> Limits(seconds=0)
    Traceback (most recent call last):
        ...
    advshape.errors.AdvshapeError: seconds is a number above 0, at most 3600, got 0
    """

    seconds: float = 10.0
    memory: int = 512
    output: int = 4
    threads: int = 32
    disk: int = 32

    def __post_init__(self) -> None:
        if not isinstance(self.seconds, (int, float)) or not 0 < self.seconds <= 3600:
            raise AdvshapeError(f"seconds is a number above 0, at most 3600, got {self.seconds!r}")
        for name, low, high in (("memory", 64, 2**20), ("output", 1, 1024), ("threads", 1, 1024), ("disk", 1, 2**16)):
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise AdvshapeError(f"{name} is a whole number between {low} and {high}, got {value!r}")


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
    cell = Cell(command(limits, mode))
    try:
        text, complaint = cell.talk(json.dumps({**job, "nonce": nonce}).encode(), seconds)
    except subprocess.TimeoutExpired:
        return Verdict("not_judged", f"the sandbox gave no verdict within {seconds:g} s")
    finally:
        cell.end()
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


def command(limits: Limits, mode: Mode) -> list[str]:
    """bubblewrap's command line.

    As root (``mode="root"``) there is no user namespace: the harness gives up root for a user id of its own, which
    RLIMIT_NPROC binds; a root that is only renamed inside a user namespace would be bound by nothing. As anybody
    else bubblewrap makes a user namespace, in which the kernel (5.14 and later) counts tasks apart.
    """
    uid = next_uid() if mode == "root" else None
    rights = (
        ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        if mode == "root"
        else [
            "--unshare-user",
            "--uid",
            "65534",
            "--gid",
            "65534",
        ]
    )
    return [
        find_bubblewrap(),
        *rights,
        "--unshare-ipc",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-uts",
        "--unshare-cgroup-try",
        "--die-with-parent",
        "--new-session",
        "--hostname",
        "sandbox",
        "--clearenv",
        "--setenv",
        "HOME",
        "/box",
        "--setenv",
        "PATH",
        "/python/bin",
        "--setenv",
        "LANG",
        "C.UTF-8",
        "--setenv",
        "PYTHONHASHSEED",
        "0",
        "--setenv",
        "LD_LIBRARY_PATH",
        "/python/lib",
        *what_exists(limits),
        "--remount-ro",
        "/",
        "--chdir",
        "/box",
        "--",
        "/python/bin/python3",
        "-s",
        "-P",
        "-B",
        "-c",
        START,
        json.dumps(asdict(limits)),
        json.dumps(uid),
    ]


def what_exists(limits: Limits) -> list[str]:
    """bubblewrap's options for all that exists inside: system libraries, Python, the harness, devices, a box."""
    executable = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    prefix = Path(sys.base_prefix)
    library = prefix / ("lib" if (prefix / "lib").is_dir() else "lib64")
    options: list[str] = []
    place = "harness/advshape/tasks/sandbox"
    parents = [str(folder) for folder in reversed(Path(place).parents[:-1])]
    for folder in ("dev", "etc", *parents, place, "python", "python/bin"):
        options += ["--perms", "0755", "--dir", f"/{folder}"]
    for name in ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"):
        options += ["--ro-bind-try", name, name]
    options += ["--ro-bind", executable, "/python/bin/python3", "--ro-bind", str(library), f"/python/{library.name}"]
    for folder in packages(library):
        options += ["--tmpfs", folder, "--remount-ro", folder]
    for name in ("null", "zero", "full", "random", "urandom"):
        options += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    options += ["--ro-bind", str(INSIDE), f"/{place}/inside"]
    options += ["--perms", "1777", "--size", str(limits.disk * 2**20), "--tmpfs", "/box", "--symlink", "box", "/tmp"]
    return options


def packages(library: Path) -> list[str]:
    """Folders of installed packages, as seen inside: hidden, since they may hold a data set with its answers.

    Only the standard library is left, so that a verdict does not depend on what is installed.
    """
    found = []
    for root, seen in ((library, f"/python/{library.name}"), (Path("/usr/lib"), "/usr/lib")):
        for kind in ("site-packages", "dist-packages"):
            found += [f"{seen}/{place.relative_to(root)}" for place in root.glob(f"python3*/{kind}")]
    return sorted(set(found))


_numbers = itertools.count()


def next_uid() -> int:
    """A user id above all that a system gives out, distinct for each sandbox that runs at the same time."""
    return FIRST_UID + os.getpid() * SLOTS + next(_numbers) % SLOTS


def find_bubblewrap() -> str:
    """The path of ``bwrap``; raises SandboxUnavailable where there is none."""
    found = shutil.which("bwrap")
    if platform.system() != "Linux" or found is None:
        raise SandboxUnavailable(f"judging programs needs a sandbox, and there is no bwrap here; {HOW_TO_GET}")
    return found


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


PROBE = {
    "kind": "functions",
    "names": ["probe"],
    "setup": "",
    "after": "",
    "tests": [
        "result = probe()",
        "assert result['processes'] == 'PermissionError', result['processes']",
        "assert result['signals'] == 'PermissionError', result['signals']",
        "assert 1 <= result['threads'] <= 8 + 4, result['threads']",
        "assert result['memory'] == 'MemoryError', result['memory']",
        "assert result['root'] in ('PermissionError', 'OSError'), result['root']",
        "assert result['network'] == 'PermissionError', result['network']",
        "import socket\nfound = {name for _, name in socket.if_nameindex()}\nassert found <= {'lo'}, found",
        "assert result['write'] == 'OSError', result['write']",
        "assert not set(result['see']) - set('box dev etc harness lib lib64 python tmp usr'.split()), result['see']",
    ],
    "source": """
import os, signal, socket, threading, time

def attempt(action):
    try:
        action()
    except (Exception, MemoryError) as error:
        return "PermissionError" if isinstance(error, PermissionError) else (
            "OSError" if isinstance(error, OSError) else type(error).__name__)
    return "done"

def threads():
    release, started = threading.Event(), []
    threading.stack_size(65536)
    try:
        for _ in range(64):
            thread = threading.Thread(target=release.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        pass
    finally:
        release.set()
    for thread in started:
        thread.join()
    return len(started)

def probe():
    return {
        "processes": attempt(lambda: os.fork() or os._exit(0)),
        "signals": attempt(lambda: os.kill(os.getppid(), 0)),
        "threads": threads(),
        "memory": attempt(lambda: bytearray(512 * 2**20)),
        "root": attempt(lambda: os.setuid(0)),
        "network": attempt(socket.socket),
        "write": attempt(lambda: open("/escape", "w")),
        "see": sorted(os.listdir("/")),
    }
""",
}
