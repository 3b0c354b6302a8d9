"""Untrusted text made safe to show: what cannot be seen is written out, what is too long is cut and says so.

Nothing here is HTML: escaping is Jinja2's work in the templates and `textContent`'s in the page's scripts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["csv_text", "prompt_text", "short", "to_script_json", "visible"]

HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]|\r(?!\n)"
)
"""Control characters, line separators, what turns the direction of text, and halves of surrogate pairs."""


def visible(text: str) -> str:
    """The text with characters that act but cannot be seen written as their code.

    >>> visible("a\\x1b[31m\\u202eb")
    'a⟨U+001B⟩[31m⟨U+202E⟩b'
    """
    return HIDDEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


def short(text: str, length: int = 60) -> str:
    """One line of at most `length` visible characters, cut in the middle.

    >>> short("abcdefghij", 7)
    'abc…hij'
    """
    line = " ".join(visible(text).split())
    head = (length - 1) // 2
    return line if len(line) <= length else f"{line[: length - 1 - head]}…{line[-head:]}"


def prompt_text(prompt: str | Sequence[Mapping[str, str]]) -> str:
    """A prompt as one text; chat messages with their roles.

    >>> prompt_text([{"role": "user", "content": "2+2?"}])
    'user: 2+2?'
    """
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{message.get('role', '')}: {message.get('content', '')}" for message in prompt)


def to_script_json(value: Any) -> str:
    """JSON that is safe inside a script element: no "<", ">" or "&", no line separators; NaN becomes null.

    >>> to_script_json({"a": "</script>", "b": float("nan")})
    '{"a":"\\\\u003c/script\\\\u003e","b":null}'
    """
    text = json.dumps(_finite(value), separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def csv_text(head: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    """A table as CSV (RFC 4180); text that a spreadsheet would take for a formula gets a quote in front.

    >>> csv_text(["name", "value"], [["=1+1", -0.5]])
    "name,value\\n'=1+1,-0.5\\n"
    """
    return "".join(",".join(map(_csv_cell, row)) + "\n" for row in [head, *rows])


def _csv_cell(value: Any) -> str:
    text = "" if value is None else visible(str(value))
    if isinstance(value, str) and text[:1] in ("=", "+", "-", "@", "\t"):
        text = f"'{text}"
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not (abs(value) < float("inf")):
        return None
    return value
