"""Recovery: JSON Lines cut at any byte, or written by somebody else, give their whole lines or one clear error."""

import json

import pytest

from advshape.cli import main
from advshape.errors import AdvshapeError
from advshape.evaluation.logs import jsonl
from advshape.evaluation.logs.jsonl import append_jsonl, parse_line, plain, read_json, read_jsonl, to_line

RECORDS = [{"step": 1, "text": "ein Maß für ρ"}, {"step": 2, "text": '日本 🎲\u2028 \\ " \n'}, {"step": 3}]


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "a.jsonl"
    append_jsonl(path, RECORDS[:1])
    append_jsonl(path, RECORDS[1:])
    assert list(read_jsonl(path)) == RECORDS
    assert path.read_bytes().count(b"\n") == len(RECORDS)
    assert list(read_jsonl(tmp_path / "nothing.jsonl")) == []


def test_cut_at_every_byte(tmp_path):
    """The whole lines are there, whatever the cut hits: a character of several bytes, a string, a brace."""
    path = tmp_path / "a.jsonl"
    whole = "".join(map(to_line, RECORDS)).encode()
    ends = [0, *(place + 1 for place, byte in enumerate(whole) if byte == 10)]
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        lines = sum(end <= size for end in ends) - 1
        lines += size + 1 in ends  # only the line end is missing
        assert list(read_jsonl(path)) == RECORDS[:lines], size


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'{"a": 1}\n[1]\n', r"a\.jsonl, line 2: expected a JSON object, got list"),
        (b'{"a": 1}\n\n7\n', r"a\.jsonl, line 3: expected a JSON object, got int"),
        (b'{"a": 1\n{"a": 2}\n', r"a\.jsonl, line 1: not JSON"),
        (b'{"a": "\xff"}\n', r"a\.jsonl, line 1: not JSON"),
        (b"[" * 100_000 + b"\n", r"a\.jsonl, line 1: not JSON"),
        (b'{"b": 1}\n', r"a\.jsonl, line 1: field 'a' has to be int, got nothing"),
        (b'{"a": "x"}\n', r"a\.jsonl, line 1: field 'a' has to be int, got 'x'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, raw, message):
    (tmp_path / "a.jsonl").write_bytes(raw)
    with pytest.raises(AdvshapeError, match=message):
        list(read_jsonl(tmp_path / "a.jsonl", {"a": int}))


def test_a_line_has_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonl, "LONGEST_LINE", 100)
    (tmp_path / "a.jsonl").write_bytes(b'{"a": "' + b"x" * 100 + b'"}\n')
    with pytest.raises(AdvshapeError, match="longer than"):
        list(read_jsonl(tmp_path / "a.jsonl"))


def test_lone_surrogates_and_what_strict_json_lacks():
    assert json.loads(to_line({"a": "\ud800x", "b": [float("inf"), float("nan")], "c": {3}})) == {
        "a": "?x",
        "b": [None, None],
        "c": "{3}",
    }
    assert plain({1: (float("-inf"),)}) == {"1": [None]}
    assert parse_line(b"", "x") is None


def test_one_file_of_json(tmp_path):
    assert read_json(tmp_path / "summary.json") == {}
    for raw in (b"[1]", b"{", b"\xff", b"[" * 100_000):
        (tmp_path / "summary.json").write_bytes(raw)
        with pytest.raises(AdvshapeError, match=r"summary\.json (is not JSON|holds list)"):
            read_json(tmp_path / "summary.json")


@pytest.fixture
def run(tmp_path):
    from advshape.training.recipe.load import load_recipe
    from advshape.training.rundir.directory import RunDirectory

    directory = RunDirectory(tmp_path / "run")
    directory.create(load_recipe("countdown").to_toml())
    directory.update_summary(status="training", name="x")
    return directory


def test_a_run_whose_last_metrics_are_cut_can_go_on(run):
    whole = "".join(map(to_line, RECORDS)).encode()
    last = len("".join(map(to_line, RECORDS[:1])).encode())
    for size in range(last, len(whole)):
        run.metrics.write_bytes(whole[:size])
        run.cut_back(1)
        assert run.metrics.read_bytes() == whole[:last]


@pytest.mark.parametrize("raw", [b"[1]\n", b"7\n", b'"x"\n', b"\xff\xfe\n", b"nonsense\n"])
def test_commands_end_in_a_sentence(run, capsys, raw):
    run.metrics.write_bytes(b'{"step": 1, "loss": 0.0}\n' + raw)
    assert main(["watch", str(run.path), "--once"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("advshape: ")
    assert "metrics.jsonl, line 2" in said
    assert "Traceback" not in said
