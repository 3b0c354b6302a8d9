"""A rule where it lies, and the options in its name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from advshape.audit.shapes import Call
from advshape.errors import AdvshapeError
from advshape.probe.record import Subject

__all__ = ["Target", "documentation", "options"]


@dataclass(frozen=True)
class Target:
    """A rule where it lies: how to call it, whose it is, what its own documentation says, what stands around it.

    shape: how a function of one's own is called, one of `known.SHAPES`; guessed: nobody said so.
    """

    name: str
    version: str
    source: str
    documentation: str
    rule: Call
    notes: tuple[str, ...] = ()
    smallest_n: int = 1
    shape: str = ""
    guessed: bool = False

    @property
    def subject(self) -> Subject:
        """The same without what calls it."""
        words = (self.name, self.version, self.source, self.documentation, self.notes)
        return Subject(*words, smallest_n=self.smallest_n)


def options(
    pairs: Sequence[str], defaults: Mapping[str, Any], allowed: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Any]:
    """`key=value` words over defaults, each of the default's type."""
    found = dict(defaults)
    seen: set[str] = set()
    for pair in pairs:
        key, _, text = (word.strip() for word in pair.partition("="))
        if key not in defaults or key in seen:
            kinds = f"{' and '.join(defaults)}, each given once" if defaults else "no options"
            raise AdvshapeError(f"the advantages here follow {kinds}; got {pair!r}")
        if allowed is not None and text not in allowed[key]:
            raise AdvshapeError(f"{key} is one of {', '.join(allowed[key])}, got {text!r}")
        seen.add(key)
        found[key] = _value(text, defaults[key], key)
    return found


def _value(text: str, default: Any, key: str) -> Any:
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise AdvshapeError(f"{key} is true or false, got {text!r}")
        return text.lower() == "true"
    try:
        return type(default)(text)
    except ValueError:
        raise AdvshapeError(f"{key} is a {type(default).__name__}, got {text!r}") from None


def documentation(function: Any) -> str:
    """The first paragraph of its documentation, on one line."""
    return " ".join((inspect.getdoc(function) or "").partition("\n\n")[0].split())
