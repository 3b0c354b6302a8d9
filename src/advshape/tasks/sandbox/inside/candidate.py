"""The program under test: a fresh interpreter that defines the program's functions and answers calls.

Everything here is in the hands of the program once it runs.  That is harmless: this process never sees a test, an
expected result, or the way to the verdict.
"""

from __future__ import annotations

import sys
import types
from typing import Any

from advshape.tasks.sandbox.inside.messages import Reference, decode, encode, receive, send


class Server:
    """Holds the program's module and the objects that the tests refer to."""

    def __init__(self) -> None:
        self.module = types.ModuleType("solution")
        self.objects: list[Any] = []

    def keep(self, value: Any) -> int:
        """Number of an object that stays here."""
        self.objects.append(value)
        return len(self.objects) - 1

    def resolve(self, value: Any) -> Any:
        """References replaced by their objects, also inside lists, tuples and dicts."""
        if isinstance(value, Reference):
            return self.objects[value.number]
        if isinstance(value, (list, tuple)):
            return type(value)(self.resolve(item) for item in value)
        if isinstance(value, dict):
            return {self.resolve(key): self.resolve(item) for key, item in value.items()}
        return value

    def answer(self, verb: str, *operands: Any) -> Any:
        """Carry out one request."""
        if verb == "load":
            sys.modules["solution"] = self.module
            return exec(compile(operands[0], "solution.py", "exec"), self.module.__dict__)
        if verb == "name":
            if operands[0] not in self.module.__dict__:
                raise NameError(f"the program defines no {operands[0]!r}")
            return Reference(self.keep(self.module.__dict__[operands[0]]))
        subject = self.resolve(operands[0])
        if verb == "call":
            return subject(*self.resolve(operands[1]), **self.resolve(operands[2]))
        if verb == "get":
            return getattr(subject, operands[1])
        if verb == "set":
            return setattr(subject, operands[1], self.resolve(operands[2]))
        return list(subject)


def serve(descriptor: int) -> None:
    """Answer requests until the harness has no more."""
    server = Server()
    send(descriptor, "ready")
    while True:
        verb, *operands = receive(descriptor)
        try:
            value = server.answer(verb, *(decode(operand) for operand in operands))
            reply = {"value": encode(value, server.keep)}
            send(descriptor, reply)
        except BaseException as error:
            reply = {"raised": type(error).__name__, "text": describe(error)}
            send(descriptor, reply)


def describe(error: BaseException) -> str:
    """An exception's own words, at most 200 characters; they may fail too."""
    try:
        return str(error)[:200]
    except BaseException:
        return ""
