"""How are command lines read? argparse, with mistyped options told by the command they were given to."""

from __future__ import annotations

import argparse
import contextlib
import math
import re
from collections.abc import Sequence
from typing import Any

__all__ = ["Parser", "minus_first", "rollouts", "seconds"]


class Parser(argparse.ArgumentParser):
    """Refuses an option that it does not know before anything else, under its own usage, with the nearest it knows.

    argparse alone reports what a subcommand left over with the usage of the whole command. Subparsers are of this
    class too, as argparse makes them of their parent's.
    """

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As argparse, but nothing is left over."""
        words = list(args or ())
        self._refuse([word for word in self._own(words) if not self._knows(word)])
        found, rest = super().parse_known_args(words, namespace)
        self._refuse(rest)
        return found, rest

    def _own(self, words: list[str]) -> list[str]:
        """The long options among the words that are this parser's: a parser of commands has those before the command,
        and nobody those after a bare --."""
        found: list[str] = []
        for word in words:
            if word == "--" or (self._subparsers is not None and not word.startswith("-")):
                break
            if word.startswith("--") and " " not in word:  # argparse takes a word with a space for a value
                found.append(word)
        return found

    def _knows(self, word: str) -> bool:
        return word.partition("=")[0] in self._option_string_actions

    def _refuse(self, words: list[str]) -> None:
        if not words:
            return
        import difflib

        hints = []
        for word in words:
            known = [option for option in self._option_string_actions if option.startswith("--")]
            close = difflib.get_close_matches(word.partition("=")[0], known, n=1) if word.startswith("--") else []
            if not close and "--set" in known and "=" in word and not word.startswith("-"):
                close = [f"--set {word}"]
            hints.append(f"{word} (did you mean {close[0]}?)" if close else word)
        self.error(f"unrecognized arguments: {' '.join(hints)}")


def minus_first(words: Sequence[str]) -> list[str]:
    """The words with a space before each formula that begins with a minus, which argparse would take for an option.

    Formulas are given to `derive` and `reverse`, whose only short options are -h and -n.

    >>> minus_first(["derive", "-rho", "-n", "8", "--base", "-log(rho)"])
    ['derive', ' -rho', '-n', '8', '--base', ' -log(rho)']
    """
    if next((word for word in words if not word.startswith("-")), "") not in ("derive", "reverse"):
        return list(words)
    return [f" {word}" if _FORMULA.match(word) else word for word in words]


_FORMULA = re.compile(r"-(?!-|h?$|n=?[-+.\d]*$)")


def rollouts(text: str) -> int:
    """A number of rollouts per prompt; how many are allowed is the command's own affair."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a whole number of rollouts per prompt, such as 16, got {text[:40]!r}"
        ) from None


def seconds(text: str) -> float:
    """A time limit above 0."""
    with contextlib.suppress(ValueError):
        if 0 < (limit := float(text)) < math.inf:
            return limit
    raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, such as 300, got {text.strip()[:40]!r}")
