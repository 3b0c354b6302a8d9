"""``advshape audit``: every advantage rule of the installed trainers, as one page with its data beside it."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from advshape.audit.names import SHAPES, TRAINERS
from advshape.cli.parser import seconds
from advshape.errors import AdvshapeError

__all__ = ["add"]


def add(commands: Any) -> None:
    """The subcommand."""
    sub = commands.add_parser(
        "audit", help="what do the installed trainers really optimise? one page", allow_abbrev=False
    )
    sub.add_argument(
        "targets",
        metavar="TARGET",
        nargs="*",
        help=f"{', '.join(TRAINERS)}: all its rules; or single targets of `advshape reverse`, such as "
        "path/to/file.py:function (default: those that --python names, else trl)",
    )
    sub.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="[TRAINER=]PATH",
        help="interpreter that has this trainer, or for your own files; repeatable",
    )
    sub.add_argument("--signature", choices=SHAPES, help="of functions in files")
    sub.add_argument("-n", default="8,16", metavar="N[,N]", help="rollouts per prompt (default 8,16)")
    sub.add_argument("--seconds", type=seconds, default=300.0, help="time limit for each rule (default 300)")
    sub.add_argument("--out", metavar="FILE.md", default="audit.md", help="the page; data goes to FILE.json beside it")
    sub.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Audit, write the page and its data, and say how many rules there are."""
    from advshape.audit.page import page

    pythons, sizes = _pythons(options.python), _sizes(options.n)
    out = Path(options.out)
    if out.suffix != ".md" or not out.absolute().parent.is_dir():
        raise AdvshapeError(f"--out {options.out}: give a file FILE.md in a folder that exists")
    audited: list[Any] = []
    failures: list[str] = []
    words = options.targets or sorted(key for key in pythons if key) or ["trl"]
    targets = _targets(words, pythons, options.seconds, failures)
    for number, target in enumerate(targets, 1):
        print(f"[{number}/{len(targets)}] {target}", end="", file=sys.stderr, flush=True)
        start = time.monotonic()
        found = _one(target, sizes, pythons, options, failures)
        said = "" if found is not None else ", not run"
        print(f": {time.monotonic() - start:.1f} s{said}", file=sys.stderr, flush=True)
        if found is not None:
            audited.append(found)
    if not audited:
        raise AdvshapeError("; ".join(failures))
    lines = ",\n".join(json.dumps(one) for one in audited)  # a rule to a line
    out.with_suffix(".json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    out.write_text(page(audited, failures, _command(options)), encoding="utf-8")
    print(f"{len(audited)} rules in {out} (data: {out.with_suffix('.json')}), {len(failures)} not run")
    return 1 if failures else 0


def _one(target: str, sizes: list[int], pythons: dict[str, str], options: Any, failures: list[str]) -> Any:
    from advshape.audit.run import TargetFailed, audit

    scheme = target.partition(":")[0] if target.partition(":")[0] in TRAINERS else ""
    own = None if scheme else options.signature
    where = {"python": pythons.get(scheme), "paths": [str(Path.cwd())]}
    try:
        return audit(target, sizes, signature=own, seconds=options.seconds, **where)  # type: ignore[arg-type]
    except (AdvshapeError, TargetFailed) as error:
        failures.append(str(error) if target in str(error) else f"{target}: {error}")
        return None


def _targets(words: list[str], pythons: dict[str, str], limit: float, failures: list[str]) -> list[str]:
    """A trainer's name stands for all its rules."""
    from advshape.audit.run import TargetFailed, estimators

    found: list[str] = []
    for word in words:
        if word not in TRAINERS:
            if ":" not in word:
                raise AdvshapeError(
                    f"{word!r} is no trainer ({', '.join(TRAINERS)}) and no target like module:function"
                )
            found.append(word)
            continue
        try:
            found += [f"{word}:{name}" for name in estimators(word, python=pythons.get(word), seconds=limit)]
        except (AdvshapeError, TargetFailed) as error:
            failures.append(f"{word}: {error}")
    return found


def _pythons(given: list[str]) -> dict[str, str]:
    found = {}
    for pair in given:
        scheme, _, path = pair.rpartition("=")
        if scheme not in (*TRAINERS, "") or not path or path in TRAINERS:
            raise AdvshapeError(
                f"--python {pair!r}: write TRAINER=PATH, with TRAINER one of {', '.join(TRAINERS)}, "
                "or PATH for files of your own"
            )
        found[scheme] = path
    return found


def _sizes(text: str) -> list[int]:
    try:
        sizes = sorted({int(word) for word in text.split(",")})
    except ValueError:
        sizes = []
    if not sizes or sizes[0] < 2:
        raise AdvshapeError(f"-n {text!r}: give group sizes of at least 2, such as 8,16")
    return sizes


def _command(options: Any) -> str:
    """The command that makes the page again; interpreters' paths are this machine's own."""
    targets = [shlex.quote(word) for word in options.targets]
    named = [f"--python {scheme}{'=' if scheme else ''}PATH" for scheme in _pythons(options.python)]
    signature = [f"--signature {options.signature}"] if options.signature else []
    return " ".join(
        ["advshape audit", *targets, *named, *signature, f"-n {options.n}", f"--out {shlex.quote(options.out)}"]
    )
