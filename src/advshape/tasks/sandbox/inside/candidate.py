"""The program under test: a fresh interpreter that defines the program's functions and answers calls.

Everything here is in the hands of the program once it runs.  That is harmless: this process never sees a test, an
expected result, or the way to the verdict.
"""

from __future__ import annotations

import sys
import types
from typing import Any

from advshape.tasks.sandbox.inside.messages import Reference, Shared, decode, encode, receive, send

SPECIALS = tuple(
    f"__{name}__"
    for name in "len getitem setitem delitem bool next str repr int float index enter exit".split()  # noqa: SIM905
)
"""Special methods that a test may use on an object of the program: each gives or takes a value. Comparisons,
arithmetic and `in` are left out: with them the program would decide a test by itself."""


class Server:
    """Holds the program's module and the objects that the tests refer to."""

    def __init__(self) -> None:
        self.module = types.ModuleType("solution")
        self.objects: list[Any] = []

    def keep(self, value: Any) -> Reference:
        """Stands for an object that stays here."""
        self.objects.append(value)
        return Reference(len(self.objects) - 1, [name for name in SPECIALS if hasattr(type(value), name)])

    def find(self, reference: Reference) -> Any:
        """The object that a reference stands for."""
        return self.objects[reference.number]

    def reply(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out a request: what came of it, and which of its lists, dicts and sets hold something else now."""
        shared = Shared()
        shared.make(request["shared"], self.find)
        try:
            operands = [decode(operand, shared, self.find) for operand in request["operands"]]
            said = {"value": encode(self.answer(request["verb"], *operands), self.keep, shared)}
        except BaseException as error:
            names = [[kind.__module__, kind.__qualname__] for kind in type(error).__mro__]
            said = {"raised": names, "text": describe(error)}
        after = zip(request["shared"], shared.bodies(self.keep), strict=True)
        return {**said, "changed": [[n, body] for n, (before, body) in enumerate(after) if body != before]}

    def answer(self, verb: str, *operands: Any) -> Any:
        """Carry out one request."""
        if verb == "load":
            sys.modules["solution"] = self.module
            return exec(compile(operands[0], "solution.py", "exec"), self.module.__dict__)
        if verb == "name":
            if operands[0] not in self.module.__dict__:
                raise NameError(f"the program defines no {operands[0]!r}")
            return self.keep(self.module.__dict__[operands[0]])
        subject, *others = operands
        if verb == "call":
            return subject(*others[0], **others[1])
        if verb == "get":
            return getattr(subject, *others)
        if verb == "set":
            return setattr(subject, *others)
        if verb == "special":
            return getattr(type(subject), others[0])(subject, *others[1:])
        return list(subject)


def serve(descriptor: int) -> None:
    """Answer requests until the harness has no more."""
    server = Server()
    send(descriptor, "ready")
    while True:
        request = receive(descriptor)
        try:
            send(descriptor, server.reply(request))
        except BaseException as error:  # too large, nested too deeply, or encoded by what the program redefined
            send(descriptor, {"raised": [["builtins", type(error).__name__]], "text": describe(error), "changed": []})


def describe(error: BaseException) -> str:
    """An exception's own words, at most 200 characters; they may fail too."""
    try:
        return str(error)[:200]
    except BaseException:
        return ""
