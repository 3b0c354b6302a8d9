"""The part of the sandbox that runs inside it: standard library only, mounted read-only, never imported outside.

``harness`` holds the tests and says the verdict.  The program under test runs in a fresh interpreter of its own
(``candidate``), confined once more (``confine``), and the two speak in ``messages``.
"""
