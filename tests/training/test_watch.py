"""Looking at a run from outside: not begun, under way, half a line, killed, failed, done; and from a real terminal."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from advshape.cli import main
from advshape.training.monitor.watch import screen, snapshot, sparkline

RECORDED = Path(__file__).parents[1] / "data" / "runs"
CURVE = {"ks": [1, 2, 4], "values": [0.25, 0.4, 0.6], "low": [0.2, 0.3, 0.5], "high": [0.3, 0.5, 0.7]}


def make(path, status="training", lines="countdown", count=40, **entries):
    """A run directory at some moment; ``status`` None: nothing was noted yet."""
    path.mkdir()
    (path / "recipe.toml").write_text("")
    if status:
        summary = {"status": status, "name": "countdown", "objective": "pass_at_k(k=8)", "planned": {"steps": 150}}
        (path / "summary.json").write_text(json.dumps(summary | entries))
    if count:
        text = (RECORDED / f"{lines}.jsonl").read_text().splitlines(keepends=True)
        (path / "metrics.jsonl").write_text("".join(text[:count]))
    return path


def shown(path, **options):
    return screen(snapshot(path, **options))


def test_under_way(tmp_path):
    run = make(tmp_path / "run", before={"curve": CURVE})
    (run / "checkpoints" / "checkpoint-20").mkdir(parents=True)
    (run / "checkpoints" / "checkpoint-20" / "trainer_state.json").write_text("{}")
    text = shown(run)
    assert re.search(r"^countdown · training · step 40 of 150 · \d\d:\d\d left$", text, re.M)
    assert "checkpoint: step 20" in text
    assert re.search(r"^reward +0\.244 +0\.\d{3} +[▁▂▃▄▅▆▇█]{40}$", text, re.M)
    assert "pass@1 0.250 [0.200, 0.300]  pass@4 0.600 [0.500, 0.700]" in text
    assert "warning" not in text


def test_time_left_is_steps_times_pace(tmp_path):
    """Computed here from the file: the mean over the last 20 lines, times 110 steps."""
    lines = [json.loads(line) for line in (RECORDED / "countdown.jsonl").read_text().splitlines()[:40]]
    left = round((lines[39]["seconds"] - lines[20]["seconds"]) / 19 * 110)
    assert f"{left // 60:02d}:{left % 60:02d} left" in shown(make(tmp_path / "run"))


@pytest.mark.parametrize("keep", [0, 1, 20, -2])
def test_half_a_last_line(tmp_path, keep):
    run = make(tmp_path / "run")
    extra = '{"step": 41, "seconds": 99.0, "reward": 0.9}\n'
    with (run / "metrics.jsonl").open("a") as file:
        file.write(extra[:keep])
    assert "step 40 of 150" in shown(run)


def test_not_begun(tmp_path):
    run = make(tmp_path / "run", status=None, count=0)
    assert "not begun" in shown(run)
    assert "no training step yet" in shown(run)


def test_evaluating_before(tmp_path):
    assert "evaluating before · step 0 of 150" in shown(make(tmp_path / "run", "evaluating before", count=0))


def test_killed(tmp_path):
    """Nothing written for an hour in the midst of training; a finished run may be silent for ever."""
    run = make(tmp_path / "run")
    text = shown(run, now=time.time() + 3600)
    assert "training, but silent for 1:00:" in text
    assert f"advshape train --resume {run}" in text
    assert "left" not in text
    assert "silent" not in shown(run, now=time.time() + 60)
    done = make(tmp_path / "done", "done")
    assert "silent" not in shown(done, now=time.time() + 3600)


def test_a_slow_run_is_not_taken_for_dead(tmp_path):
    run = make(tmp_path / "run", count=0)
    (run / "metrics.jsonl").write_text("".join(f'{{"step": {s}, "seconds": {600 * s}}}\n' for s in (1, 2, 3)))
    assert snapshot(run, now=time.time() + 3600).status == "training"
    assert snapshot(run, now=time.time() + 6100).status == "silent"


def test_failed_says_why_and_how_to_go_on(tmp_path):
    text = shown(make(tmp_path / "run", "failed", error="OSError: " + "the disk is full " * 10))
    assert " ".join(text.split()).count("disk is full") == 10
    assert "go on with: advshape train --resume" in text


def test_warnings(tmp_path):
    text = shown(make(tmp_path / "run", lines="one-token", warnings=["beta changes the objective"]))
    assert "warning: beta changes the objective" in text
    assert text.count("warning at step 5") == 2


def test_hostile_texts_do_nothing_to_a_terminal(tmp_path):
    text = shown(make(tmp_path / "run", "failed", name="a\x1b[2Jb", error="\x1b]0;title\x07", warnings=["\x1b[31m"]))
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [40, 80, 200])
def test_lines_fit(tmp_path, width):
    text = screen(snapshot(make(tmp_path / "run")), width)
    paths = [line for line in text.splitlines() if str(tmp_path) in line]  # a path is never cut
    assert all(len(line) <= width for line in text.splitlines() if line not in paths)


def test_sparkline_by_hand():
    assert sparkline([0.0, 0.0, 1.0, 1.0, 0.5, 0.5], 3, "abc") == "acb"
    assert sparkline([3.0], 10, "abc") == "a"


def test_wrong_directories(tmp_path, capsys):
    assert main(["watch", str(tmp_path / "none")]) == 2
    assert "there is no run directory" in capsys.readouterr().err
    assert main(["watch", str(tmp_path)]) == 2
    assert "no recipe.toml" in capsys.readouterr().err
    run = make(tmp_path / "run")
    (run / "summary.json").write_text("{")
    assert main(["watch", str(run), "--once"]) == 2
    assert "summary.json" in capsys.readouterr().err
    assert main(["watch", str(run), "--every", "0"]) == 2


def test_no_terminal_shows_it_once(tmp_path, capsys):
    assert main(["watch", str(make(tmp_path / "run"))]) == 0
    assert capsys.readouterr().out.count("step 40 of 150") == 1


def read_until(descriptor, words, seconds=60):
    """What a terminal shows until ``words`` come."""
    got, end = "", time.monotonic() + seconds
    while words not in got and time.monotonic() < end:
        if select.select([descriptor], [], [], 0.2)[0]:
            got += os.read(descriptor, 65536).decode()
    assert words in got, got
    return got


def in_terminal(run):
    main_end, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "advshape", "watch", str(run), "--every", "0.2"],
        stdout=terminal,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored if the tests run in the background
    )
    os.close(terminal)
    return process, main_end


def drain(process, screen_end):
    """Read on, as a terminal does, until the process has left; it could not write its last line otherwise."""
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        if select.select([screen_end], [], [], 0.1)[0]:
            with contextlib.suppress(OSError):  # the other end is closed
                os.read(screen_end, 65536)
    assert process.poll() is not None


def test_it_refreshes_and_ctrl_c_leaves_quietly(tmp_path):
    run = make(tmp_path / "run")
    process, screen_end = in_terminal(run)
    read_until(screen_end, "step 40 of 150")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 41, "seconds": 101.0, "reward": 0.9}\n')
    read_until(screen_end, "step 41 of 150")
    process.send_signal(signal.SIGINT)
    drain(process, screen_end)
    assert (process.returncode, process.stderr.read()) == (0, "")
    process.stderr.close()
    os.close(screen_end)


def test_it_leaves_when_the_run_is_over(tmp_path):
    run = make(tmp_path / "run")
    process, screen_end = in_terminal(run)
    read_until(screen_end, "step 40 of 150")
    (run / "summary.json").write_text(json.dumps({"status": "done", "name": "countdown"}))
    read_until(screen_end, "countdown · done")
    drain(process, screen_end)
    assert process.returncode == 0
    process.stderr.close()
    os.close(screen_end)
