"""The harness: reads the job, runs the program under test beside it, says one verdict.

Only the harness knows the tests and holds the way out (its standard output).  It prints ``ready`` once the sandbox
stands, and in the end one line of JSON with the job's nonce, an outcome and a reason:

``right``, ``wrong``
    the tests decided, or the program broke a limit, died, or raised.
``broken``
    the tests themselves do not work (a name that nothing defines, a missing module): nobody's answer is wrong.
"""

from __future__ import annotations

import builtins
import contextlib
import json
import math
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any, NoReturn

from advshape.tasks.sandbox.inside.confine import confine, limit_self
from advshape.tasks.sandbox.inside.messages import Reference, decode, encode, receive, send

BOX = "/box"
SPARE_MEMORY = 512
"""MiB that the harness may have above the program's limit."""
SPARE_SECONDS = 5
"""Processor time of the harness beyond the time limit: then the kernel ends it (SIGXCPU), whatever it is doing."""
INTERPRETER = [sys.executable, "-s", "-P", "-B"]


class CandidateRaised(Exception):
    """The program under test raised; a test may expect that."""


class CandidateGone(BaseException):
    """The program under test is no more, or no longer makes sense; no test can catch this."""


class TestsBroken(BaseException):
    """The tests cannot be run."""


def main() -> NoReturn:
    """Confine, say ready, judge, say the verdict, end."""
    limits, uid = json.loads(sys.argv[1]), json.loads(sys.argv[2])
    limit_self(limits, uid)
    bound_self(limits)
    way_out = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what the tests print
    os.write(way_out, b"ready\n")
    job = json.loads(sys.stdin.buffer.read())

    def say(outcome: str, reason: str) -> NoReturn:
        line = {"nonce": job["nonce"], "outcome": outcome, "reason": reason[:1000]}
        os.write(way_out, json.dumps(line).encode() + b"\n")
        os._exit(0)

    def too_long(number: int, frame: FrameType | None) -> NoReturn:
        say("wrong", f"took longer than {limits['seconds']:g} s")

    signal.signal(signal.SIGALRM, too_long)
    say(*judge(job, limits))


def bound_self(limits: Mapping[str, Any]) -> None:
    """The program's results can be large and the tests slow on them: the harness has its own limits."""
    memory, seconds = (limits["memory"] + SPARE_MEMORY) * 2**20, math.ceil(limits["seconds"]) + SPARE_SECONDS
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 60))


def judge(job: Mapping[str, Any], limits: Mapping[str, Any]) -> tuple[str, str]:
    """Outcome and reason of a job."""
    check = {"functions": check_functions, "programs": check_programs}[job["kind"]]
    try:
        reason = check(job, limits)
    except CandidateGone as gone:
        return "wrong", str(gone)
    except TestsBroken as broken:
        return "broken", str(broken)
    return ("wrong", reason) if reason else ("right", "")


# Functions: the tests are Python code that calls the program's functions


def check_functions(job: Mapping[str, Any], limits: Mapping[str, Any]) -> str:
    """Run the tests against the program's functions; the reason why it is wrong, "" if it is not.

    ``job``: ``source`` of the program; ``names`` of its functions that the tests use; ``setup`` and ``after``,
    Python code that is run before and after these names are known; ``tests``, Python code.
    """
    program = Program(limits)
    signal.setitimer(signal.ITIMER_REAL, limits["seconds"])
    try:
        program.request("load", job["source"])
        return run_tests(job, program)
    except CandidateRaised as error:
        return f"the program raises {error}"


def run_tests(job: Mapping[str, Any], program: Program) -> str:
    """The reason why the first test fails, "" if none does."""
    random.seed(0)
    namespace: dict[str, Any] = {"__name__": "tests"}
    execute(job["setup"], "setup", namespace)
    namespace.update({name: RemoteFunction(program, name) for name in job["names"]})
    execute(job["after"], "setup", namespace)
    for test in job["tests"]:
        try:
            execute(test, "test", namespace)
        except CandidateRaised as error:
            return f"{line_of(error, test)}: raises {error}"
        except AssertionError as error:
            return f"failed: {line_of(error, test)}"
        except Exception as error:
            return f"{line_of(error, test)}: {type(error).__name__} on the result: {str(error)[:200]}"
    return ""


def execute(code: str, name: str, namespace: dict[str, Any]) -> None:
    """Run code of the data set; what is wrong with the code itself raises TestsBroken."""
    try:
        exec(compile(code, name, "exec"), namespace)
    except CandidateRaised:
        raise
    except (NameError, ImportError, SyntaxError, SystemExit) as error:
        raise TestsBroken(f"the {name} code raises {type(error).__name__}: {str(error)[:200]}") from error
    except Exception as error:
        if name == "setup":
            raise TestsBroken(f"the setup code raises {type(error).__name__}: {str(error)[:200]}") from error
        raise


def line_of(error: BaseException, test: str) -> str:
    """The line of the tests where it failed."""
    lines = test.splitlines()
    places = [entry.lineno for entry in traceback.extract_tb(error.__traceback__) if entry.filename == "test"]
    place = places[-1] if places and places[-1] else 1
    return lines[place - 1].strip()[:300] if 0 < place <= len(lines) else "a test"


class Program:
    """The program under test in its own process; requests and replies over a socket that it alone shares."""

    def __init__(self, limits: Mapping[str, Any]) -> None:
        ours, theirs = socket.socketpair()
        self.descriptor = ours.detach()
        self.process = subprocess.Popen(
            [*INTERPRETER, "-c", BOOTSTRAP, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            preexec_fn=lambda: confine(limits),
        )
        theirs.close()
        if receive(self.descriptor) != "ready":  # before the program's first line: its time begins here
            raise RuntimeError("the interpreter of the program does not start")

    def request(self, verb: str, *operands: Any) -> Any:
        """The decoded reply; raises what the program raised."""
        try:
            message = [verb, *(encode(unwrap(operand)) for operand in operands)]
            send(self.descriptor, message)
        except (TypeError, ValueError) as error:
            raise TestsBroken(f"an argument in the tests: {error}") from None
        except OSError:
            raise self.gone() from None
        try:
            reply = receive(self.descriptor)
            if "raised" in reply:
                kind, text = str(reply["raised"]), str(reply["text"])
            else:
                return wrap(self, decode(reply["value"]))
        except (EOFError, OSError):
            raise self.gone() from None
        except (ValueError, TypeError, KeyError, RecursionError, MemoryError) as error:
            raise CandidateGone(f"the program gave no readable result ({str(error)[:200]})") from None
        raise raised(kind, text)

    def gone(self) -> CandidateGone:
        """How the program left."""
        try:
            return CandidateGone(f"the program ended before the tests did ({ending(self.process.wait(1))})")
        except subprocess.TimeoutExpired:
            return CandidateGone("the program closed its connection to the tests")


class RemoteObject:
    """An object of the program's own class: its attributes, its calls and its items, asked of the program.

    It is equal to itself alone: what the program thinks equal to it never decides a test.
    """

    def __init__(self, program: Program, reference: Reference) -> None:
        self.__dict__.update(_program=program, _reference=reference)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._program.request("call", self._reference, list(args), kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._program.request("get", self._reference, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._program.request("set", self._reference, name, value)

    def __iter__(self) -> Any:
        return iter(self._program.request("list", self._reference))


class RemoteFunction:
    """A function or class of the program, by name, looked up when it is first called."""

    def __init__(self, program: Program, name: str) -> None:
        self.program, self.name = program, name
        self.found: RemoteObject | None = None

    def resolve(self) -> RemoteObject:
        """What the program defines under this name."""
        if self.found is None:
            self.found = self.program.request("name", self.name)
        return self.found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.resolve()(*args, **kwargs)


def unwrap(value: Any) -> Any:
    """Remote objects back to references, also inside lists, tuples and dicts."""
    if isinstance(value, RemoteFunction):
        value = value.resolve()
    if isinstance(value, RemoteObject):
        return value._reference
    if type(value) in (list, tuple):
        return type(value)(unwrap(item) for item in value)
    if type(value) is dict:
        return {key: unwrap(item) for key, item in value.items()}
    return value


def wrap(program: Program, value: Any) -> Any:
    """References to remote objects, also inside lists, tuples and dicts."""
    if isinstance(value, Reference):
        return RemoteObject(program, value)
    if type(value) in (list, tuple):
        return type(value)(wrap(program, item) for item in value)
    if type(value) is dict:
        return {key: wrap(program, item) for key, item in value.items()}
    return value


def raised(kind: str, text: str) -> CandidateRaised:
    """The program's exception as one that tests for a built-in exception can catch."""
    base = getattr(builtins, kind, None)
    words = f"{kind}: {text}" if text else kind
    if isinstance(base, type) and issubclass(base, Exception):
        with contextlib.suppress(TypeError, ValueError):
            error: CandidateRaised = type(kind, (CandidateRaised, base), {"__str__": lambda self: words})(words)
            return error
    return CandidateRaised(words)


# Programs: standard input in, standard output out


def check_programs(job: Mapping[str, Any], limits: Mapping[str, Any]) -> str:
    """Run the program on each input; the reason why its first output is not the expected one, "" if all are.

    ``job``: ``source`` of the program, ``tests``: pairs of input and expected output.
    """
    for number, (given, expected) in enumerate(job["tests"], 1):
        code, output, complaint = run_program(job["source"], given, limits)
        if code is None:
            return f"test {number}: took longer than {limits['seconds']:g} s"
        if code != 0:
            return f"test {number}: {ending(code)}{': ' if complaint else ''}{complaint}"
        if (got := lines_of(output)) != (want := lines_of(expected)):
            return f"test {number}: printed {shortened(got)}, expected {shortened(want)}"
    return ""


def run_program(source: str, given: str, limits: Mapping[str, Any]) -> tuple[int | None, str, str]:
    """(exit code, None after the time limit; standard output; last line of standard error) of a fresh process.

    Its output goes into files of limited size that no name leads to, so nothing has to be read while it runs.
    """
    empty(BOX)
    place = os.path.join(BOX, "solution.py")
    with open(place, "w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(source)
    with memory_file(given) as stdin, memory_file() as stdout, memory_file() as stderr:
        process = subprocess.Popen(
            [*INTERPRETER, place], stdin=stdin, stdout=stdout, stderr=stderr, preexec_fn=lambda: confine(limits)
        )
        try:
            code: int | None = process.wait(limits["seconds"])
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = None
        most = limits["output"] * 2**20
        return code, contents(stdout, most), (contents(stderr, most).strip().splitlines() or [""])[-1][:300]


def memory_file(text: str = "") -> Any:
    """An open file without a name."""
    file = os.fdopen(os.memfd_create("file"), "w+b")
    file.write(text.encode("utf-8", "surrogatepass"))
    file.seek(0)
    return file


def contents(file: Any, most: int) -> str:
    """What was written, at most ``most`` bytes of it."""
    return os.pread(file.fileno(), most, 0).decode("utf-8", "replace")


def empty(folder: str) -> None:
    """Remove what an earlier run left."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            os.unlink(entry.path)


def lines_of(text: str) -> list[str]:
    """Lines without the blanks at their ends and without empty lines at the end."""
    return [line.rstrip() for line in text.rstrip().splitlines()]


def shortened(lines: Sequence[str]) -> str:
    """A text for a reason."""
    text = "\n".join(lines)
    return repr(text if len(text) <= 100 else text[:100] + "...")


def ending(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"exit code {code}"
    number = -code
    name = signal.Signals(number).name if number in {entry.value for entry in signal.Signals} else str(number)
    return f"killed by {name}{' (processor time)' if number == signal.SIGXCPU else ''}"


BOOTSTRAP = (
    f"import sys; sys.path.insert(0, {os.path.dirname(os.path.abspath(__file__)).rpartition('/advshape/')[0]!r})\n"
    "from advshape.tasks.sandbox.inside.candidate import serve\n"
    "sys.path.pop(0); sys.setrecursionlimit(10_000); serve(int(sys.argv[1]))\n"
)


if __name__ == "__main__":
    main()
