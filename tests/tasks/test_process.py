"""A process with a time limit: it ends, and so does all that it started; what it says is kept within bounds."""

import os
import sys
import time

import pytest

from advshape.tasks import process
from advshape.tasks.process import run_python


def test_output_error_and_code():
    done = run_python(["-c", "import sys; print('é'); print('no', file=sys.stderr); sys.exit(3)"], 60)
    assert (done.code, done.output, done.last_words) == (3, "é\n", "no")
    assert run_python(["-c", "import os; os._exit(4)"], 60).last_words == "exit code 4"


def gone(pid):
    """Whether a process has ended; a zombie that nobody reaped has."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


CHILD = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize(("more", "seconds"), [("", 60), ("import time; time.sleep(600)", 3)])
def test_what_it_started_ends_with_it(more, seconds):
    """A child that holds the streams open neither outlives the call nor delays it."""
    start = time.monotonic()
    done = run_python(["-c", f"{CHILD}print(p.pid, flush=True); {more}"], seconds)
    assert (done.code is None) == (seconds == 3)
    assert time.monotonic() - start < 30
    end = time.monotonic() + 10
    while not gone(int(done.output)) and time.monotonic() < end:
        time.sleep(0.05)
    assert gone(int(done.output))


def test_a_flood_keeps_its_end(monkeypatch):
    monkeypatch.setattr(process, "TAIL", 1000)
    done = run_python(["-c", "for i in range(100_000): print(i)"], 60)
    assert done.output.endswith("99999\n")
    assert len(done.output) <= 1000


def test_variables_folder_and_no_interpreter(tmp_path):
    code = "import os; print(os.getcwd(), os.environ['A'], 'PATH' in os.environ)"
    done = run_python(["-c", code], 60, folder=str(tmp_path), environment={"A": "b"})
    assert done.output.split() == [os.path.realpath(tmp_path), "b", "True"]
    with pytest.raises(OSError, match="nowhere"):
        run_python(["-c", ""], 60, python="/nowhere/python")
