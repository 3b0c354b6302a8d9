"""Tests that are Python code: they run here, and call the program's functions in a process of its own."""

from __future__ import annotations

import contextlib
import dis
import os
import random
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from functools import partial
from types import CodeType, TracebackType
from typing import Any

from advshape.tasks.sandbox.inside.candidate import SPECIALS
from advshape.tasks.sandbox.inside.confine import confine
from advshape.tasks.sandbox.inside.ends import INTERPRETER, CandidateGone, CandidateRaised, TestsBroken, describe_exit
from advshape.tasks.sandbox.inside.messages import Reference, Shared, decode, encode, receive, send


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
        compiled = compile(code, name, "exec")
    except (SyntaxError, ValueError) as error:
        raise TestsBroken(f"the {name} code raises {type(error).__name__}: {str(error)[:200]}") from error
    try:
        exec(compiled, namespace)
    except CandidateRaised:
        raise
    except SystemExit as error:
        raise TestsBroken(f"the {name} code raises SystemExit") from error
    except Exception as error:
        if name == "setup" or is_own_fault(error, compiled):
            raise TestsBroken(f"the {name} code raises {type(error).__name__}: {str(error)[:200]}") from error
        raise


def is_own_fault(error: Exception, code: CodeType) -> bool:
    """Whether a test fails by itself: it uses a name that nothing binds, or imports what is not there.

    A name that the test does bind (in a loop over an empty result, say), or that a result brought in, is not its fault.
    """
    *_, last = traceback.walk_tb(error.__traceback__)
    if isinstance(error, NameError) and last[0].f_code.co_filename in ("test", "setup"):
        return not isinstance(error, UnboundLocalError) and error.name not in bound(code)
    return isinstance(error, ImportError) and (error.name or "").partition(".")[0] in imported(code)


def bound(code: CodeType) -> set[str]:
    """Names that code assigns somewhere, in its functions too."""
    found = {str(step.argval) for step in dis.get_instructions(code) if step.opname.startswith("STORE_")}
    return found.union(*(bound(part) for part in code.co_consts if isinstance(part, CodeType)))


def imported(code: CodeType) -> set[str]:
    """Top-level modules that code imports, in its functions too."""
    found = {str(s.argval).partition(".")[0] for s in dis.get_instructions(code) if s.opname == "IMPORT_NAME"}
    return found.union(*(imported(part) for part in code.co_consts if isinstance(part, CodeType)))


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
        """The decoded reply; raises what the program raised. Arguments that the program changed are changed here."""
        shared = Shared()
        try:
            for operand in operands:
                shared.add(operand)
            encoded = [encode(operand, reference_of, shared) for operand in operands]
            message = {"verb": verb, "operands": encoded, "shared": shared.bodies(reference_of)}
            send(self.descriptor, message)
        except (TypeError, ValueError) as error:
            raise TestsBroken(f"an argument in the tests: {error}") from None
        except OSError:
            raise self.gone() from None
        make = partial(RemoteObject.of, self)
        try:
            reply = receive(self.descriptor)
            for number, body in reply["changed"]:
                shared.fill(number, body, make)
            if "raised" in reply:
                failure = raised(reply["raised"], str(reply["text"]))
            else:
                return decode(reply["value"], shared, make)
        except (EOFError, OSError):
            raise self.gone() from None
        except (ValueError, TypeError, KeyError, IndexError, RecursionError, MemoryError) as error:
            raise CandidateGone(f"the program gave no readable result ({str(error)[:200]})") from None
        raise failure

    def gone(self) -> CandidateGone:
        """How the program left."""
        try:
            return CandidateGone(f"the program ended before the tests did ({describe_exit(self.process.wait(1))})")
        except subprocess.TimeoutExpired:
            return CandidateGone("the program closed its connection to the tests")


class RemoteObject:
    """An object of the program's own class: its attributes, its calls and its items, asked of the program.

    It is equal to itself alone: what the program thinks equal to it never decides a test.
    """

    def __init__(self, program: Program, reference: Reference) -> None:
        self.__dict__.update(_program=program, _reference=reference)

    @classmethod
    def of(cls, program: Program, reference: Reference) -> RemoteObject:
        """The object, with the special methods that its class has: one without `__len__` has none here either."""
        methods = {name: special(name) for name in SPECIALS if name in reference.specials}
        return type("RemoteObject", (cls,), methods)(program, reference)

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


def special(name: str) -> Any:
    """A special method that asks the program."""

    def method(self: RemoteObject, *operands: Any) -> Any:
        operands = tuple(None if isinstance(part, BaseException | TracebackType | type) else part for part in operands)
        return self._program.request("special", self._reference, name, *operands)

    return method


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


def reference_of(value: Any) -> Reference:
    """What stands for a remote object; raises TypeError for anything else that cannot be sent by value."""
    if isinstance(value, RemoteFunction):
        value = value.resolve()
    if isinstance(value, RemoteObject):
        return value._reference
    raise TypeError(f"{type(value).__name__} cannot be passed to the program under test")


def raised(names: Sequence[Sequence[str]], text: str) -> CandidateRaised:
    """The program's exception as one that tests for its built-in and standard-library classes can catch.

    names: module and name of its class and of each base class, in the order of resolution.
    """
    kind = str(names[0][1])
    words = f"{kind}: {text}" if text else kind
    bases: list[type] = []
    for module, name in names:
        found = getattr(sys.modules.get(str(module)), str(name), None) if known(str(module)) else None
        if isinstance(found, type) and issubclass(found, Exception) and not any(issubclass(b, found) for b in bases):
            bases.append(found)
    body = {"__str__": lambda self: words, "__init__": lambda self, *parts: None}
    for chosen in (bases, bases[:1]):
        with contextlib.suppress(TypeError, ValueError):
            error: CandidateRaised = type(kind, (CandidateRaised, *chosen), body)(words)
            return error
    return CandidateRaised(words)


def known(module: str) -> bool:
    """Whether a module's exceptions may be named by the program: the standard library's."""
    return module == "builtins" or module.partition(".")[0] in sys.stdlib_module_names


BOOTSTRAP = (
    f"import sys; sys.path.insert(0, {os.path.dirname(os.path.abspath(__file__)).rpartition('/advshape/')[0]!r})\n"
    "from advshape.tasks.sandbox.inside.candidate import serve\n"
    "sys.path.pop(0); sys.setrecursionlimit(10_000); serve(int(sys.argv[1]))\n"
)
