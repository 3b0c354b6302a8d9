"""What the harness and the candidate say to each other: length-prefixed JSON that can hold Python's plain values.

The harness decodes what a hostile program sends, so decoding makes plain values only: no code, no classes, no
object whose ``==`` someone else has written.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

__all__ = ["LONGEST", "Reference", "Shared", "decode", "encode", "receive", "send"]

LONGEST = 8 * 2**20
"""Bytes of one message."""
SMALL = 2**53


class Reference:
    """Stands for an object that stays on the candidate's side, with the special methods that its class defines."""

    def __init__(self, number: int, specials: Iterable[str] = ()) -> None:
        self.number, self.specials = number, frozenset(specials)


class Shared:
    """The lists, dicts and sets of one request, numbered alike on both sides: a change, and the same object, shows."""

    def __init__(self) -> None:
        self.objects: list[Any] = []
        self.numbers: dict[int, int] = {}

    def number(self, value: Any) -> int | None:
        """The number of an object that is part of the request; None for any other."""
        return self.numbers.get(id(value))

    def add(self, value: Any) -> None:
        """Number every list, dict and set in a value."""
        todo = [value]
        while todo:
            part = todo.pop()
            if type(part) in SHARED and id(part) not in self.numbers:
                self.numbers[id(part)] = len(self.objects)
                self.objects.append(part)
            elif type(part) is not tuple:
                continue
            todo.extend([*part, *part.values()] if type(part) is dict else part)

    def bodies(self, keep: Callable[[Any], Reference] | None) -> list[Any]:
        """What each object holds now."""
        return [encode_parts(value, lambda part: encode(part, keep, self), keep) for value in self.objects]

    def make(self, bodies: Sequence[Any], make: Callable[[Reference], Any]) -> None:
        """The objects of a request on the other side; they may hold each other."""
        for body in bodies:
            kind = list if isinstance(body, list) else {"dict": dict, "set": set}[next(iter(body))]
            self.add(kind())
        for number, body in enumerate(bodies):
            self.fill(number, body, make)

    def fill(self, number: int, body: Any, make: Callable[[Reference], Any]) -> None:
        """Let an object hold what this body says; raises ValueError where that is another kind of object."""
        found, value = self.objects[number], decode(body, self, make)
        if type(found) is not type(value):
            raise ValueError("an argument changed its type")
        found.clear()
        found.extend(value) if type(found) is list else found.update(value)


SHARED = (list, dict, set)


def encode(value: Any, keep: Callable[[Any], Reference] | None = None, shared: Shared | None = None) -> Any:
    """A value as JSON: plain values by value, subclasses of them as their base, anything else as a reference.

    Args:
        value: what to send.
        keep: gives the reference of an object that cannot be sent by value; None: such an object is an error.
        shared: objects that are part of the call; they are sent by number.

    >>> encode([1, (2.5, "x"), {3: None}])
    [1, {'tuple': [2.5, 'x']}, {'dict': [[3, None]]}]
    >>> decode(encode({1, 2})) == {1, 2}
    True
    """
    if shared is not None and (number := shared.number(value)) is not None:
        return {"shared": number}
    return encode_parts(value, lambda part: encode(part, keep, shared), keep)


def encode_parts(value: Any, again: Callable[[Any], Any], keep: Callable[[Any], Reference] | None = None) -> Any:
    """`encode` of a value that is not shared; `again` encodes what it holds."""
    if value is None or isinstance(value, (bool, float)):
        return value if value is None or isinstance(value, bool) else float(value)
    if isinstance(value, int):
        return int(value) if -SMALL < value < SMALL else {"int": hex(value)}
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, list):
        return [again(item) for item in value]
    for kind, name in SEQUENCES:
        if isinstance(value, kind):
            return {name: [again(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[again(key), again(item)] for key, item in value.items()]}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": value.hex()}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, range):
        return {"range": [hex(part) for part in (value.start, value.stop, value.step)]}
    for name, view in VIEWS.items():
        if type(value) is view:
            whole: Any = value
            pairs = whole if name == "items" else ((n, n) for n in whole) if name == "keys" else enumerate(whole)
            return {name: [[again(key), again(item)] for key, item in pairs]}
    if (plain := encode_library(value)) is not None:
        return plain
    if isinstance(value, Reference):
        return {"reference": [value.number, sorted(value.specials)]}
    if keep is None:
        raise TypeError(f"{type(value).__name__} cannot be passed to the program under test")
    return again(keep(value))


SEQUENCES = ((tuple, "tuple"), (set, "set"), (frozenset, "frozenset"))
VIEWS: dict[str, type] = {"keys": type({}.keys()), "values": type({}.values()), "items": type({}.items())}


def encode_library(value: Any) -> Any:
    """Values of standard-library classes that cannot lie about themselves; None for any other.

    A module is looked up only where it is loaded: importing one takes longer than most programs run.
    """
    if (fractions := sys.modules.get("fractions")) and isinstance(value, fractions.Fraction):
        return {"fraction": [hex(value.numerator), hex(value.denominator)]}
    if (decimal := sys.modules.get("decimal")) and isinstance(value, decimal.Decimal):
        return {"decimal": decimal.Decimal.__str__(value)}
    if (times := sys.modules.get("datetime")) and isinstance(value, times.timedelta):
        return {"timedelta": [value.days, value.seconds, value.microseconds]}
    for name in ("datetime", "date", "time"):  # a datetime is a date too
        if times and isinstance(value, (kind := getattr(times, name))):
            return {"when": [name, kind.isoformat(value)]}
    return None


def decode(message: Any, shared: Shared | None = None, make: Callable[[Reference], Any] = lambda found: found) -> Any:
    """The value of an encoded message; raises ValueError when it is none.

    Args:
        message: as `encode` made it.
        shared: objects that are part of the call; what is sent by number is one of them.
        make: what a reference becomes.

    >>> decode({"tuple": [1, {"int": "0xff"}]})
    (1, 255)
    """
    if message is None or isinstance(message, (bool, int, float, str)):
        return message
    if isinstance(message, list):
        return [decode(item, shared, make) for item in message]
    if not isinstance(message, dict) or len(message) != 1:
        raise ValueError("not an encoded value")
    ((name, body),) = message.items()
    try:
        if name == "shared":
            return (shared or Shared()).objects[body]
        if name in VIEWS:
            return getattr(dict(decode(item, shared, make) for item in body), name)()
        if name in HOLDERS:
            return HOLDERS[name](decode(item, shared, make) for item in body)
        if name == "reference":
            return make(Reference(int(body[0]), map(str, body[1])))
        return DECODERS[name](body)
    except (KeyError, IndexError, TypeError, ArithmeticError) as error:
        raise ValueError(f"not an encoded value: {type(error).__name__}") from None


def integer(text: str) -> int:
    """An integer written in hexadecimal: no limit of digits, linear time."""
    return int(text, 16)


def fraction(body: Any) -> Any:
    """A fraction; the module is imported where one occurs, since importing it takes longer than most programs run."""
    from fractions import Fraction

    return Fraction(*map(integer, body))


def decimal(text: str) -> Any:
    """A Decimal, imported where one occurs."""
    from decimal import Decimal

    return Decimal(text)


def when(body: Any) -> Any:
    """A date, a time or both."""
    import datetime

    name, text = body
    if name not in ("datetime", "date", "time"):
        raise KeyError(name)
    return getattr(datetime, name).fromisoformat(text)


def timedelta(body: Any) -> Any:
    """A difference of times."""
    import datetime

    return datetime.timedelta(*map(int, body))


HOLDERS: dict[str, Callable[[Iterable[Any]], Any]] = {"tuple": tuple, "set": set, "frozenset": frozenset, "dict": dict}
DECODERS: dict[str, Callable[[Any], Any]] = {
    "int": integer,
    "decimal": decimal,
    "when": when,
    "timedelta": timedelta,
    "bytes": bytes.fromhex,
    "complex": lambda body: complex(*body),
    "fraction": fraction,
    "range": lambda body: range(*map(integer, body)),
}


def send(descriptor: int, message: Any) -> None:
    """Write one message; raises ValueError when it is too long, OSError when nobody listens."""
    body = json.dumps(message).encode()
    if len(body) > LONGEST:
        raise ValueError(f"a value of more than {LONGEST // 2**20} MiB")
    data = memoryview(len(body).to_bytes(4, "big") + body)
    while data:
        data = data[os.write(descriptor, data) :]


def receive(descriptor: int) -> Any:
    """Read one message; raises EOFError at the end, ValueError when it is none."""
    size = int.from_bytes(exactly(descriptor, 4), "big")
    if size > LONGEST:
        raise ValueError(f"a value of more than {LONGEST // 2**20} MiB")
    try:
        return json.loads(exactly(descriptor, size))
    except RecursionError:
        raise ValueError("a value that is nested too deeply") from None


def exactly(descriptor: int, size: int) -> bytes:
    """``size`` bytes, or EOFError."""
    parts = []
    while size:
        part = os.read(descriptor, min(size, 2**20))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
