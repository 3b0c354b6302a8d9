"""The harness: reads the job, runs the program under test beside it, says one verdict.

Only the harness knows the tests and holds the way out (its standard output).  It prints ``ready`` once the sandbox
stands, and in the end one line of JSON with the job's nonce, an outcome and a reason:

``right``, ``wrong``
    the tests decided, or the program broke a limit, died, or raised.
``broken``
    the tests themselves do not work (a name that nothing defines, a missing module): nobody's answer is wrong.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any, NoReturn

from advshape.tasks.sandbox.inside.confine import limit_self, mount_box
from advshape.tasks.sandbox.inside.ends import CandidateGone, TestsBroken
from advshape.tasks.sandbox.inside.functions import check_functions
from advshape.tasks.sandbox.inside.programs import check_programs

SPARE_MEMORY = 512
"""MiB that the harness may have above the program's limit."""
SPARE_SECONDS = 5
"""Processor time of the harness beyond the time limit: then the kernel ends it (SIGXCPU), whatever it is doing."""


def main() -> NoReturn:
    """Confine, say ready, judge, say the verdict, end."""
    limits, uid = json.loads(sys.argv[1]), json.loads(sys.argv[2])
    mount_box(limits)
    limit_self(limits, uid)
    bound_self(limits)
    way_out = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what the tests print
    os.write(way_out, b"ready\n")
    job = json.loads(sys.stdin.buffer.read())

    def say(outcome: str, reason: str) -> NoReturn:
        line = {"nonce": job["nonce"], "outcome": outcome, "reason": reason[:1000]}
        os.write(way_out, json.dumps(line).encode() + b"\n")
        os._exit(0)

    def too_long(number: int, frame: FrameType | None) -> NoReturn:
        say("wrong", f"took longer than {limits['seconds']:g} s")

    signal.signal(signal.SIGALRM, too_long)
    say(*judge(job, limits))


def bound_self(limits: Mapping[str, Any]) -> None:
    """The program's results can be large and the tests slow on them: the harness has its own limits."""
    memory, seconds = (limits["memory"] + SPARE_MEMORY) * 2**20, math.ceil(limits["seconds"]) + SPARE_SECONDS
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 60))


def judge(job: Mapping[str, Any], limits: Mapping[str, Any]) -> tuple[str, str]:
    """Outcome and reason of a job."""
    check = {"functions": check_functions, "programs": check_programs}[job["kind"]]
    try:
        reason = check(job, limits)
    except CandidateGone as gone:
        return "wrong", str(gone)
    except TestsBroken as broken:
        return "broken", str(broken)
    return ("wrong", reason) if reason else ("right", "")


if __name__ == "__main__":
    main()
