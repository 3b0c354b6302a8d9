"""What does the command `advshape` do? One file per command; nothing is computed here.

Start at `entry`.
"""

from advshape.cli.entry import main

__all__ = ["main"]
