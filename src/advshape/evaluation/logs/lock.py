"""Who may write this file? One process at a time; the kernel releases the lock when that process dies."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import IO

from advshape.errors import AdvshapeError

__all__ = ["lock_file"]


def lock_file(file: IO[bytes], path: Path, what: str = "") -> None:
    """Hold an exclusive lock on an open file until it is closed, or its process dies.

    `flock`, not a lock file whose presence is the lock: nothing is left locked after a kill. Linux turns it into a
    byte-range lock on NFS, so that processes on other machines are kept out too.

    Args:
        file: the open file.
        path: what the message names.
        what: what is being written, for the message; the path itself by default.

    Raises:
        AdvshapeError: another process holds the lock, or the file system has no locks.
    """
    try:
        import fcntl
    except ImportError:  # no advisory locks on this platform
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        name = what or str(path)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise AdvshapeError(
                f"{name} is being written by another process; wait for it, or choose another folder"
            ) from error
        raise AdvshapeError(
            f"{name} cannot be locked ({error.strerror}), so two processes could write it at once; choose a folder on "
            "a file system with locks"
        ) from error
