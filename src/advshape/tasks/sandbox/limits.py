"""What may one program use?"""

from __future__ import annotations

from dataclasses import dataclass

from advshape.errors import AdvshapeError

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """What one program may use.

    Args:
        seconds: wall-clock time, for all tests of a function, or for each input of a program. The processor time
            of a process is limited to one second more.
        memory: MiB of address space; a program is one process, so this is all that it can take.
        output: MiB that it may write to standard output, to standard error, and to any file.
        threads: threads that it may have.
        disk: MiB of the folder ``/box``.
        files: files, folders and links in ``/box``.

    >>> Limits(seconds=0)
    Traceback (most recent call last):
        ...
    advshape.errors.AdvshapeError: seconds is a number above 0, at most 3600, got 0
    """

    seconds: float = 10.0
    memory: int = 512
    output: int = 4
    threads: int = 32
    disk: int = 32
    files: int = 4096

    def __post_init__(self) -> None:
        if not isinstance(self.seconds, (int, float)) or not 0 < self.seconds <= 3600:
            raise AdvshapeError(f"seconds is a number above 0, at most 3600, got {self.seconds!r}")
        allowed = {"memory": (64, 2**20), "output": (1, 1024), "threads": (1, 1024)}
        for name, (low, high) in {**allowed, "disk": (1, 2**16), "files": (16, 2**20)}.items():
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise AdvshapeError(f"{name} is a whole number between {low} and {high}, got {value!r}")
