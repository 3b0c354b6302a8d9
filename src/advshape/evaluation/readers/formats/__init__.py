"""What does each tool write? One file per format, recognized from its content.

Start at `own`, the log of this package.
"""
