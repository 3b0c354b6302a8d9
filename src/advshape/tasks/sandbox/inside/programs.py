"""Tests that are pairs of input and output: each runs the program anew, in an empty box."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from advshape.tasks.sandbox.inside.confine import confine
from advshape.tasks.sandbox.inside.ends import INTERPRETER, CandidateGone, describe_exit

BOX = "/box"


def check_programs(job: Mapping[str, Any], limits: Mapping[str, Any]) -> str:
    """Run the program on each input; the reason why its first output is not the expected one, "" if all are.

    ``job``: ``source`` of the program, ``tests``: pairs of input and expected output.
    """
    for number, (given, expected) in enumerate(job["tests"], 1):
        code, output, complaint = run_program(job["source"], given, limits)
        if code is None:
            return f"test {number}: took longer than {limits['seconds']:g} s"
        if code != 0:
            return f"test {number}: {describe_exit(code)}{': ' if complaint else ''}{complaint}"
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
    """Remove what an earlier run left, whatever its modes and however deep; raises CandidateGone where that fails.

    Folders are flattened, not walked: no path gets long and no recursion deep.
    """
    try:
        with contextlib.suppress(PermissionError):  # as root mounted it, it is ours only to write in
            os.chmod(folder, 0o1777)
        while left := list(os.scandir(folder)):
            for entry in left:
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.path)
                    continue
                os.chmod(entry.path, 0o700)
                for child in os.scandir(entry.path):
                    if child.is_dir(follow_symlinks=False):
                        os.chmod(child.path, 0o700)
                    os.rename(child.path, os.path.join(folder, secrets.token_hex(16)))
                os.rmdir(entry.path)
    except OSError as error:
        raise CandidateGone(f"the program left files that cannot be removed ({error.strerror})") from None


def lines_of(text: str) -> list[str]:
    """Lines without the blanks at their ends and without empty lines at the end."""
    return [line.rstrip() for line in text.rstrip().splitlines()]


def shortened(lines: Sequence[str]) -> str:
    """A text for a reason."""
    text = "\n".join(lines)
    return repr(text if len(text) <= 100 else text[:100] + "...")
