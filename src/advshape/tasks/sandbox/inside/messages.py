"""What the harness and the candidate say to each other: length-prefixed JSON that can hold Python's plain values.

The harness decodes what a hostile program sends, so decoding makes plain values only: no code, no classes, no
object whose ``==`` someone else has written.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["LONGEST", "Reference", "decode", "encode", "receive", "send"]

LONGEST = 8 * 2**20
"""Bytes of one message."""
SMALL = 2**53


class Reference:
    """Stands for an object that stays on the candidate's side."""

    def __init__(self, number: int) -> None:
        self.number = number


def encode(value: Any, keep: Callable[[Any], int] | None = None) -> Any:
    """A value as JSON: plain values by value, subclasses of them as their base, anything else as a reference.

    Args:
        value: what to send.
        keep: gives the number of an object that cannot be sent by value; None: such an object is an error.

    >>> encode([1, (2.5, "x"), {3: None}])
    [1, {'tuple': [2.5, 'x']}, {'dict': [[3, None]]}]
    >>> decode(encode({1, 2})) == {1, 2}
    True
    """
    if value is None or isinstance(value, (bool, float)):
        return value if value is None or isinstance(value, bool) else float(value)
    if isinstance(value, int):
        return int(value) if -SMALL < value < SMALL else {"int": hex(value)}
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, list):
        return [encode(item, keep) for item in value]
    for kind, name in ((tuple, "tuple"), (set, "set"), (frozenset, "frozenset")):
        if isinstance(value, kind):
            return {name: [encode(item, keep) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[encode(key, keep), encode(item, keep)] for key, item in value.items()]}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": value.hex()}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if (fractions := sys.modules.get("fractions")) and isinstance(value, fractions.Fraction):
        return {"fraction": [hex(value.numerator), hex(value.denominator)]}
    if isinstance(value, range):
        return {"range": [hex(part) for part in (value.start, value.stop, value.step)]}
    if isinstance(value, Reference):
        return {"reference": value.number}
    if keep is None:
        raise TypeError(f"{type(value).__name__} cannot be passed to the program under test")
    return {"reference": keep(value)}


def decode(message: Any) -> Any:
    """The value of an encoded message; raises ValueError when it is none.

    >>> decode({"tuple": [1, {"int": "0xff"}]})
    (1, 255)
    """
    if message is None or isinstance(message, (bool, int, float, str)):
        return message
    if isinstance(message, list):
        return [decode(item) for item in message]
    if not isinstance(message, dict) or len(message) != 1:
        raise ValueError("not an encoded value")
    ((name, body),) = message.items()
    try:
        return DECODERS[name](body)
    except (KeyError, TypeError, ArithmeticError) as error:
        raise ValueError(f"not an encoded value: {type(error).__name__}") from None


def integer(text: str) -> int:
    """An integer written in hexadecimal: no limit of digits, linear time."""
    return int(text, 16)


def fraction(body: Any) -> Any:
    """A fraction; the module is imported where one occurs, since importing it takes longer than most programs run."""
    from fractions import Fraction

    return Fraction(*map(integer, body))


DECODERS: dict[str, Callable[[Any], Any]] = {
    "int": integer,
    "tuple": lambda body: tuple(map(decode, body)),
    "set": lambda body: set(map(decode, body)),
    "frozenset": lambda body: frozenset(map(decode, body)),
    "dict": lambda body: {decode(key): decode(item) for key, item in body},
    "bytes": bytes.fromhex,
    "complex": lambda body: complex(*body),
    "fraction": fraction,
    "range": lambda body: range(*map(integer, body)),
    "reference": lambda body: Reference(int(body)),
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
