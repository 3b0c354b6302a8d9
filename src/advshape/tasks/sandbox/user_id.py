"""Which user does a sandbox run as? One that no other living sandbox runs as."""

from __future__ import annotations

import errno
import secrets
import socket

__all__ = ["UserId"]

USER_IDS = range(2**31, 2**32 - 2)
"""Above all that a system gives out."""


class UserId:
    """A user id that no other sandbox has while this one lives: limits of tasks are counted by user.

    Chosen at random, since other machines' containers may share this kernel; and held by the name of a socket, which
    one process on the machine can bind at a time and the kernel frees when it dies.
    """

    def __init__(self) -> None:
        self.holder = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        while True:
            self.number = secrets.choice(USER_IDS)
            try:
                self.holder.bind(f"\0advshape-sandbox-{self.number}")
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return

    def release(self) -> None:
        """Let another sandbox have it."""
        self.holder.close()
