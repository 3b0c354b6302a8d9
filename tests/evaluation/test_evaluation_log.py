"""The rollout log: round trip, resume after any crash point, broken lines, double writers."""

import gzip
import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advshape.errors import AdvshapeError
from advshape.evaluation.logs.rollout_log import (
    BLOCK,
    FAR,
    KeySet,
    Rollout,
    RolloutLog,
    read_rollouts,
    read_settings,
    settings_hash,
)

ROLLOUTS = [
    Rollout("a", 0, "1 2=3:", "1+2", "right", tokens=4, settings="s"),
    Rollout("a", 1, "1 2=3:", "line\nend \u2028 \ud800 </script>", "wrong", "no expression", settings="s"),
    Rollout("b", 0, [{"role": "user", "content": "2?"}], "", "not_judged", "crash", settings="s", more={"step": 3}),
]


def write(path, rollouts=ROLLOUTS):
    with RolloutLog(path) as log:
        log.append(rollouts)


def test_round_trip(tmp_path):
    write(tmp_path / "log.jsonl")
    assert list(read_rollouts(tmp_path / "log.jsonl")) == ROLLOUTS
    rewards = [rollout.reward for rollout in ROLLOUTS]
    assert rewards[:2] == [1.0, 0.0]
    assert math.isnan(rewards[2])
    assert (tmp_path / "log.jsonl").read_bytes().count(b"\n") == 3


def test_gzip_is_read(tmp_path):
    write(tmp_path / "log.jsonl")
    packed = tmp_path / "log.jsonl.gz"
    packed.write_bytes(gzip.compress((tmp_path / "log.jsonl").read_bytes()))
    assert list(read_rollouts(packed)) == ROLLOUTS


def test_recovery_from_a_cut_at_every_byte(tmp_path):
    whole = tmp_path / "whole.jsonl"
    write(whole)
    data = whole.read_bytes()
    cut = tmp_path / "cut.jsonl"
    for size in range(len(data) + 1):
        cut.write_bytes(data[:size])
        complete = data[:size].count(b"\n")
        # the last line is complete also when only its line end is missing
        complete += data[size : size + 1] == b"\n" and size > 0
        assert list(read_rollouts(cut)) == ROLLOUTS[:complete]
        with RolloutLog(cut) as log:
            assert [rollout.key for rollout in log.read()] == [r.key for r in ROLLOUTS[:complete]]
            log.append(ROLLOUTS[complete:])
        assert cut.read_bytes() == data


def test_a_broken_line_in_the_middle_is_an_error_with_its_number(tmp_path):
    path = tmp_path / "log.jsonl"
    write(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:20] + b"\n" + lines[2])
    with pytest.raises(AdvshapeError, match=r"log\.jsonl, line 2: not JSON"):
        list(read_rollouts(path))
    path.write_bytes(lines[0] + lines[0])
    with pytest.raises(AdvshapeError, match=r"line 2.*second time"):
        list(read_rollouts(path))
    path.write_bytes(b"[1]\n")
    with pytest.raises(AdvshapeError, match="line 1: expected a JSON object"):
        list(read_rollouts(path))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"outcome": "maybe"}, "'outcome' is 'maybe'"),
        ({"sample": "0"}, "'sample' has to be int, got '0'"),
        ({"sample": True}, "'sample' has to be int, got True"),
        ({"problem": 3}, "'problem' has to be str, got 3"),
        ({"prompt": None}, "'prompt' has to be str | list, got None"),
        ({"completion": None}, "'completion' has to be str, got None"),
        ({"prompt": ["user"]}, "'prompt' has to be a text, or chat messages"),
        ({"outcome": ["right"]}, "'outcome' has to be str"),
        ({"truncated": "no"}, "'truncated' has to be bool, got 'no'"),
        ({"tokens": 10**30}, "'tokens' has to be int"),
        ({"settings": []}, "'settings' has to be str"),
    ],
)
def test_wrong_fields(tmp_path, change, words):
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps({**ROLLOUTS[0].to_json(), **change}) + "\n")
    with pytest.raises(AdvshapeError, match="line 1") as error:
        list(read_rollouts(path))
    assert words in str(error.value)
    line = ROLLOUTS[0].to_json()
    del line["completion"]
    path.write_text(json.dumps(line) + "\n")
    with pytest.raises(AdvshapeError, match="'completion' is missing"):
        list(read_rollouts(path))


def test_no_rollout_twice_and_no_second_writer(tmp_path):
    path = tmp_path / "log.jsonl"
    write(path)
    with RolloutLog(path) as log:
        with pytest.raises(AdvshapeError, match="already in the log"):
            log.append(ROLLOUTS[:1])
        with pytest.raises(AdvshapeError, match="another process"):
            RolloutLog(path)
        assert log.missing(["a", "b"], 2, "s") == [("b", 1)]
        assert log.missing(["a"], 1, "other") == [("a", 0)]
    with pytest.raises(AdvshapeError, match="there is no rollout log"):
        list(read_rollouts(tmp_path / "none.jsonl"))


def test_settings_are_written_once(tmp_path):
    path = tmp_path / "log.jsonl"
    for _ in range(2):
        with RolloutLog(path) as log:
            name = log.describe({"temperature": 0.5, "seed": 1})
    assert name == settings_hash({"seed": 1, "temperature": 0.5})
    assert read_settings(path) == {name: {"temperature": 0.5, "seed": 1}}
    assert len(path.read_text().splitlines()) == 1
    assert list(read_rollouts(path)) == []


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(codec=None)), st.text())
def test_any_text_survives(completion, reason):
    rollout = Rollout("p", 0, "", completion, "wrong", reason)
    assert Rollout.from_json(json.loads(json.dumps(rollout.to_json()))) == rollout


def test_key_set_is_a_set():
    """Reduction: against a set of tuples, with samples beyond the bits and below 0."""
    chance = random.Random(5)
    keys, plain = KeySet(), set()
    for _ in range(3000):
        key = (chance.choice("abc"), chance.choice([-1, 0, 1, 63, 64, 65, FAR - 1, FAR, 10**12]), chance.choice("st"))
        assert (key in keys) == (key in plain)
        assert keys.add(key) == (key not in plain)
        plain.add(key)
        assert len(keys) == len(plain)


def test_a_half_line_longer_than_a_block_is_cut(tmp_path):
    """Recovery: the last line end is looked for from the end, over several blocks."""
    path = tmp_path / "log.jsonl"
    with RolloutLog(path) as log:
        log.append(ROLLOUTS)
    whole = path.read_bytes()
    for length in (BLOCK - 1, BLOCK, 6 * BLOCK):
        path.write_bytes(whole + b'{"problem": "' + b"x" * length)
        with RolloutLog(path) as log:
            assert log.repaired == length + 13
            assert len(log.keys) == len(ROLLOUTS)
        assert path.read_bytes() == whole
    path.write_bytes(b"x" * 3 * BLOCK)
    with RolloutLog(path) as log:
        assert log.repaired == 3 * BLOCK
    assert path.read_bytes() == b""
