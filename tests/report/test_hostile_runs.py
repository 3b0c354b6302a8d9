"""Hardening: a run that somebody else wrote, with any field replaced, gives its page or one sentence."""

import json
import shutil
from pathlib import Path

import pytest

from advshape.errors import AdvshapeError
from advshape.report.data.run import read_run
from advshape.report.pages.run import facts, page_charts
from advshape.report.rollouts import browser
from advshape.training.monitor.watch import screen, snapshot

RUN = Path(__file__).parents[1] / "data" / "v0_1_0" / "done"
FILES = ["metrics.jsonl", "rollouts.jsonl", "evaluation/before.jsonl", "evaluation/after.jsonl"]
ODD = [None, [], {}, "x", -1, True, 1.5, [1, "a"], {"a": 1}, float("nan"), float("inf"), 10**400]


def looked_at(run):
    """What `advshape watch` and `advshape report` do with it, but for the HTML; whether all of it was possible."""
    try:
        screen(snapshot(run))
        data = read_run(run)
        browser(data)
        facts(data)
        page_charts(data)
    except AdvshapeError:
        return False
    return True


def changed(record, field, value):
    found = dict(record)
    if value == "gone":
        del found[field]
    else:
        found[field] = value
    return found


@pytest.fixture
def run(tmp_path):
    return shutil.copytree(RUN, tmp_path / "run")


def test_the_run_as_it_is(run):
    assert looked_at(run)


def test_any_field_of_the_summary(run):
    shutil.rmtree(run / "evaluation")
    summary = json.loads((RUN / "summary.json").read_text())
    places = [(summary, summary, field) for field in summary]
    for name, value in summary.items():
        if isinstance(value, dict):
            places += [(value, name, field) for field in value]
    refused = 0
    for record, name, field in places:
        for value in [*ODD, "gone"]:
            whole = changed(record, field, value)
            whole = whole if record is summary else {**summary, name: whole}
            (run / "summary.json").write_text(json.dumps(whole))
            refused += not looked_at(run)
    assert refused > len(places), "a run with a broken summary was shown as if nothing were wrong"


@pytest.mark.parametrize("file", FILES)
def test_any_field_of_a_line(run, file):
    if not file.startswith("evaluation"):
        shutil.rmtree(run / "evaluation")
    lines = (RUN / file).read_text().splitlines(keepends=True)
    refused = 0
    for number in (0, len(lines) - 1):  # an evaluation's first line says what its settings are
        record = json.loads(lines[number])
        for field in record:
            for value in [*ODD, "gone"]:
                text = json.dumps(changed(record, field, value)) + "\n"
                (run / file).write_text("".join([*lines[:number], text, *lines[number + 1 :]]))
                refused += not looked_at(run)
    assert refused


@pytest.mark.parametrize("file", FILES)
def test_cut_within_the_last_line(run, file):
    """A writer at work, or a crash: never an error, wherever the line is cut."""
    whole = (RUN / file).read_bytes()
    start = whole.rstrip(b"\n").rfind(b"\n") + 1
    for size in range(start, len(whole), 1 + (len(whole) - start) // 40):
        (run / file).write_bytes(whole[:size])
        assert looked_at(run)
