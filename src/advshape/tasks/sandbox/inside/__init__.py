"""What runs inside the sandbox? Standard library only, mounted read-only, never imported outside.

Start at `harness`: it holds the tests and gives the verdict. The program under test runs in a fresh interpreter
(`candidate`), confined once more (`confine`), and the two speak in `messages`.
"""
