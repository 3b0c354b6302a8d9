"""The progress line: everything at 80 columns, never wider than the terminal, no control characters in a log."""

import io
import json
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tqdm import tqdm

from advshape.evaluation.sampling.bars import bar_options
from advshape.training.callbacks import batch_metrics
from advshape.training.monitor.progress import pace, progress_line

RECORDED = Path(__file__).parents[1] / "data" / "runs" / "countdown.jsonl"
HISTORY = [json.loads(line) | {"advshape/pass_at_8": 0.713} for line in RECORDED.read_text().splitlines()]


def test_all_of_it_fits_80_columns():
    line = progress_line("countdown", HISTORY[:100], 150, 79)
    shape = r"100/150 +reward \.\d{3} +pass@8 \.713 +dead \d+% +entropy \.\d\d +[\d.]+k tok/s +\d\d:\d\d left"
    assert re.fullmatch(shape, line), line


def test_a_long_run_fits_80_columns_too():
    late = [line | {"step": line["step"] + 9000, "advshape/pass_at_64": 0.9} for line in HISTORY]
    line = progress_line("a recipe with a long name", late, 100_000, 79)
    assert len(line) <= 79
    for part in ("9150/100000", "reward", "pass@64", "dead", "entropy", "left"):
        assert part in line


@given(width=st.integers(1, 200), upto=st.integers(0, 150))
def test_never_wider_than_the_terminal(width, upto):
    """Property."""
    line = progress_line("countdown", HISTORY[:upto], 150, width)
    assert len(line) <= width
    assert "\n" not in line


def test_pace_of_this_sitting_alone():
    """Two sittings: seconds start again, so the pace is that of the lines after the break."""
    lines = [{"step": s, "seconds": 100.0 * s, "num_tokens": 10 * s} for s in range(1, 6)]
    lines += [{"step": s, "seconds": 3.0 * (s - 5), "num_tokens": 60 * (s - 5)} for s in range(6, 9)]
    found = pace(lines, 10)
    assert (found.step, found.tokens, found.left) == (3.0, 20.0, 6.0)
    assert pace([], 10).left is None
    assert pace([{"step": 1, "seconds": 9.0, "step_time": 2.0}], 10).left == 18.0
    assert pace([{"step": 1, "seconds": 9.0}], 10).left is None


def test_a_log_gets_whole_lines(monkeypatch):
    """No terminal: the same line is not repeated, nothing is redrawn."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with tqdm(total=100, bar_format="{desc}", desc="countdown: 0/100", **bar_options()) as bar:
        for step in range(1, 101):
            bar.set_description_str(f"{step}/100", refresh=False)
            bar.update()
    assert stream.getvalue() == "countdown: 0/100\n100/100\n"


def test_batch_metrics_by_hand():
    """Enumeration: 2 of 4 right, pass@2 = 1 - C(2,2)/C(4,2) = 5/6; the other group has one judged rollout, wrong."""
    rewards = [1.0, 0.0, 1.0, 0.0, 0.0, None, None, None]
    found = batch_metrics([{"reward": reward} for reward in rewards], n=4, k=2)
    assert found["pass_at_2"] == pytest.approx(5 / 6)
    assert found["rollouts_not_judged"] == 3 / 8
    assert (found["prompts_all_wrong"], found["prompts_mixed"], found["prompts_all_right"]) == (0.5, 0.5, 0.0)
    assert found["pass_at_1"] == pytest.approx((0.5 + 0) / 2)
    assert batch_metrics([{"reward": 0.3}, {"reward": 1.0}], n=2, k=2) == {}  # real rewards have no pass@k
    assert batch_metrics([{"reward": None}, {"reward": None}], n=2, k=2) == {"rollouts_not_judged": 1.0}
