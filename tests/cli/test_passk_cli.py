"""`advshape passk`: what it prints and refuses (snapshots of behaviour), and parity of its numbers."""

import csv
import json
import re
from dataclasses import replace
from itertools import combinations
from math import comb
from pathlib import Path

import numpy as np
import pytest

from advshape.cli import main
from advshape.evaluation.logs.rollout_log import Rollout, RolloutLog, read_rollouts

LOGS = Path(__file__).parents[1] / "data" / "logs"
HUMAN_EVAL = LOGS / "human_eval_samples.jsonl_results.jsonl"


def passk(capsys, *arguments):
    code = main(["passk", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def test_one_log(capsys):
    code, out, err = passk(capsys, HUMAN_EVAL, "--measure", "pass,all")
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
    assert row["curves"]["pass@k"]["ks"] == [1, 3]
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
    code, out, _ = passk(capsys, LOGS / "verl_legacy_validation.jsonl", "--measure", "max,min", "--json")
    (row,) = json.loads(out)
    assert code == 0
    assert list(row["curves"]) == ["max@k", "min@k"]
    # -1/1 rewards: 2 pass@k - 1
    assert row["curves"]["max@k"]["values"] == pytest.approx([0.0, 2 * 0.625 - 1, 0.5])
    assert row["curves"]["min@k"]["values"] == pytest.approx([0.0, -0.25, -0.5])
    out = passk(capsys, LOGS / "verl_legacy_validation.jsonl", "--measure", "pass,max", "--threshold", "0")[1]
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line[:1].isdigit()}
    assert (rows["2"][1], rows["2"][4]) == ("0.625", "0.250")


def test_intervals_of_rewards_stay_in_their_range(capsys, tmp_path):
    """Reduction: rewards of -1 and 1 are 0/1 rewards on another scale, with the same interval."""
    table = tmp_path / "r.csv"
    table.write_text(
        "p,r\n"
        + "".join(f"{p},{1 if i < c else -1}\n" for p, c in zip("abcd", (0, 0, 1, 3), strict=True) for i in range(4))
    )
    named = (table, "--prompt-column", "p", "--correct-column", "r", "--threshold", "0", "--json")
    (row,) = json.loads(passk(capsys, *named, "--measure", "pass,all,max,min")[1])
    for measure, rate in (("max@k", "pass@k"), ("min@k", "pass^k")):
        for end in ("low", "values", "high"):
            assert row["curves"][measure][end] == pytest.approx([2 * x - 1 for x in row["curves"][rate][end]])
    table.write_text("p,r\na,2.5\na,2.5\nb,2.5\nb,2.5\n")
    text = passk(capsys, table, "--prompt-column", "p", "--correct-column", "r", "--measure", "max")[1]
    assert "interval: none: all rewards are alike" in text
    assert text.count("2.500") == 2


def test_one_prompt_has_no_interval(capsys, tmp_path):
    (tmp_path / "c.csv").write_text("prompt,n,correct\na,4,1\n")
    code, out, _ = passk(capsys, tmp_path / "c.csv")
    assert code == 0
    assert "interval: none: an interval over prompts needs 2 of them" in out
    assert json.loads(passk(capsys, tmp_path / "c.csv", "--json")[1])[0]["curves"]["pass@k"]["low"] == [
        None,
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.jsonl"], "there is no file or folder none.jsonl"),
        ([HUMAN_EVAL, "-k", "8"], "pass@8 needs n >= 8 judged rollouts of every prompt; 4 of 4 prompts have fewer"),
        ([LOGS / "verl_legacy_validation.jsonl"], "line 1, field 'score': the reward is -1, but pass@k counts"),
        ([LOGS / "trl_text"], "mixes 2 values of step (1, 2)"),
        ([HUMAN_EVAL, "--by", "step"], "human-eval results: there is no setting 'step'; it has no settings"),
        ([HUMAN_EVAL, "--reader", "he"], "there is no reader 'he'"),
        ([HUMAN_EVAL, "--confidence", "95"], "confidence must lie between 0 and 1"),
        ([HUMAN_EVAL, "--measure", "max", "--threshold", "1"], "leave out --threshold"),
        ([HUMAN_EVAL, "--measure", "max", "--extrapolate", "8"], "--extrapolate is for pass@k"),
        ([HUMAN_EVAL, "--answer-column", "completion"], "add maj to --measure"),
        ([HUMAN_EVAL, "--measure", "maj"], "line 1: maj@k needs the answer of each rollout: name its field"),
        ([HUMAN_EVAL, "--measure", "maj", "--answer-column", "answr"], "line 1, field 'answr': missing"),
        ([HUMAN_EVAL, "-k", "8"], "--extrapolate 8 gives what a MODEL says"),
        ([HUMAN_EVAL, "--plot", "curve.eps"], "--plot curve.eps has to end in .png or .svg or .pdf"),
        ([HUMAN_EVAL, "--csv", "none/a.csv"], "the folder none does not exist"),
        ([HUMAN_EVAL, "--correct-column", "passd"], "line 1, field 'passd': missing"),
        ([LOGS / "trl_text" / "completions_00001.parquet", "--group-size", "0"], "--group-size must be 1 or more"),
    ],
)
def test_refusals_take_one_line_and_exit_2(capsys, arguments, words):
    code, out, err = passk(capsys, *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-k", "0"], "expected whole numbers >= 1 such as 1,8,64, at most 10^12, got '0'"),
        (["-k", "two"], "got 'two'"),
        (["--threshold", "nan"], "expected a number"),
        (["--where", "step"], "expected NAME=VALUE"),
        (["--treshold", "1"], "unrecognized arguments"),
        (["--measure", "mean"], "no measure 'mean'; there are pass, all"),
        (["-k", "9" * 20], "at most 10^12"),
        (["--extrapolate", "0"], "expected whole numbers >= 1"),
    ],
)
def test_mistyped_options(capsys, arguments, words):
    with pytest.raises(SystemExit) as stop:
        main(["passk", str(HUMAN_EVAL), *arguments])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


def test_the_commands_of_the_docs_run(capsys, monkeypatch):
    """docs/logs.md: its example prints what the page says."""
    root = Path(__file__).parents[2]
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


VOTES = [
    ("a", "4", 1),
    ("a", "4", 1),
    ("a", "5", 0),
    ("a", " 6", 0),
    ("b", "x", 0),
    ("b", "x", 0),
    ("b", "y", 1),
    ("b", "z", 1),
]


def test_majority_vote(capsys, tmp_path):
    """Enumeration: all subsets of k rollouts, ties shared; two right answers of one prompt are two answers."""
    lines = [json.dumps({"p": p, "said": answer, "ok": ok}) for p, answer, ok in VOTES]
    (tmp_path / "v.jsonl").write_text("\n".join(lines) + "\n")
    named = ("--prompt-column", "p", "--correct-column", "ok", "--answer-column", "said")
    code, out, _ = passk(capsys, tmp_path / "v.jsonl", *named, "--measure", "maj", "-k", "1,2,3,4", "--json")
    (row,) = json.loads(out)
    wanted = []
    for k in (1, 2, 3, 4):
        chances = []
        for prompt in ("a", "b"):
            right = {answer for p, answer, ok in VOTES if p == prompt and ok}
            subsets = list(combinations([answer for p, answer, _ in VOTES if p == prompt], k))
            tops = [[a for a in set(s) if s.count(a) == max(map(s.count, s))] for s in subsets]
            chances.append(sum(len(right & set(top)) / len(top) for top in tops) / len(subsets))
        wanted.append(sum(chances) / 2)
    assert code == 0
    assert row["curves"]["maj@k"]["values"] == pytest.approx(wanted)
    text = passk(capsys, tmp_path / "v.jsonl", *named, "--measure", "maj")[1]
    assert "a tie is broken at random among the answers at the top" in text


def test_majority_vote_of_tools_that_log_an_answer(capsys):
    """inspect keeps the scorer's answer, TRL has any text column; the counts are those of pass@1 at k = 1."""
    for log, named in ((LOGS / "inspect_own_sum.eval", ()), (LOGS / "trl_text", ("--answer-column", "completion"))):
        pool = ("--pool", "step") if log.name == "trl_text" else ()
        code, out, err = passk(capsys, log, "--measure", "pass,maj", *named, *pool, "-k", "1", "--json")
        assert (code, err) == (0, "")
        curves = json.loads(out)[0]["curves"]
        assert curves["maj@k"]["values"] == pytest.approx(curves["pass@k"]["values"])
    code, _, err = passk(capsys, LOGS / "trl_text", "--measure", "maj", "--pool", "step")
    assert code == 2
    assert "name its column with --answer-column" in err


ANSWERS = [
    ("a", "4", 1),
    ("a", "4", 1),
    ("a", "5", 0),
    ("a", "", 0),
    ("b", "x", 0),
    ("b", "x", 0),
    ("b", "y", 1),
    ("b", None, None),
]


def test_majority_vote_of_our_own_log(capsys, tmp_path):
    """The answers that the verifier read; what was not judged has no vote; older logs say what they lack."""
    outcomes = {1: "right", 0: "wrong", None: "not_judged"}
    rollouts = [Rollout(p, i, p, f"so {said}", outcomes[ok], answer=said) for i, (p, said, ok) in enumerate(ANSWERS)]
    with RolloutLog(tmp_path / "rollouts.jsonl") as log:
        log.append(rollouts)
    assert list(read_rollouts(tmp_path / "rollouts.jsonl")) == rollouts
    code, out, err = passk(capsys, tmp_path, "--measure", "maj", "-k", "1,3", "--json")
    assert (code, err) == (0, "")
    # a, k = 3 of 4, 4, 5, none: two of the four subsets hold both 4, in the others one of three at the top is right;
    # b, k = 3: x x y, wrong
    assert json.loads(out)[0]["curves"]["maj@k"]["values"] == pytest.approx([(1 / 2 + 1 / 3) / 2, (1 / 2 + 1 / 6) / 2])
    with RolloutLog(tmp_path / "old" / "rollouts.jsonl") as log:
        log.append([replace(r, answer=None) for r in rollouts])
    assert '"answer"' not in (tmp_path / "old" / "rollouts.jsonl").read_text()
    code, _, err = passk(capsys, tmp_path / "old", "--measure", "maj")
    assert code == 2
    assert "line 1, field 'answer': maj@k needs the answer of each rollout, and this one has none" in err
    assert passk(capsys, tmp_path / "old", "--measure", "maj", "--answer-column", "completion")[0] == 0


def test_an_answer_judged_both_ways_is_said(capsys, tmp_path):
    lines = [json.dumps({"p": p, "said": "4", "ok": i % 2}) for p in "ab" for i in range(4)]
    (tmp_path / "v.jsonl").write_text("\n".join(lines) + "\n")
    named = ("--prompt-column", "p", "--correct-column", "ok", "--answer-column", "said", "--measure", "maj")
    out = passk(capsys, tmp_path / "v.jsonl", *named)[1]
    assert "2 answers were judged right at one time and wrong at another" in out
    assert out.count("0.500 [") + out.count("0.500  [") == 3


def test_extrapolation_is_labelled_everywhere(capsys, tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"p{i},16,{c}" for i, c in enumerate(rng.binomial(16, rng.beta(0.5, 1.5, 40)))]
    (tmp_path / "c.csv").write_text("\n".join(["prompt,n,correct", *rows, ""]))
    table, figure = tmp_path / "out.csv", tmp_path / "out.svg"
    code, out, err = passk(capsys, tmp_path / "c.csv", "--extrapolate", "16,256", "--csv", table, "--plot", figure)
    assert code == 0
    assert f"table: {table}" in err
    assert "MODEL, not measured: pass@k beyond n = 16" in out
    assert "goodness of fit" in out
    (line,) = [line for line in out.splitlines() if line.startswith("256 ")]
    assert line.split()[1] == "-"
    with table.open() as file:
        found = list(csv.DictReader(file))
    assert {row["source"] for row in found} == {
        "measured",
        "MODEL (beta-binomial)",
        "MODEL (zero-inflated beta-binomial)",
    }
    assert all(int(row["k"]) <= 16 for row in found if row["source"] == "measured")
    assert all(float(row["low"]) <= float(row["value"]) <= float(row["high"]) for row in found)
    assert "<svg" in figure.read_text()
    models = json.loads(passk(capsys, tmp_path / "c.csv", "--extrapolate", "256", "--json")[1])[0]["models"]
    assert [model["label"][:5] for model in models] == ["MODEL", "MODEL"]
    assert [model["measured"] for model in models] == [[False], [False]]
    code, _, err = passk(capsys, tmp_path / "c.csv", "--csv", table)
    assert code == 2
    assert "--overwrite" in err


def test_a_k_within_n_needs_no_model(capsys, tmp_path):
    (tmp_path / "c.csv").write_text("prompt,n,correct\na,4,1\nb,4,0\nc,6,6\n")
    code, out, _ = passk(capsys, tmp_path / "c.csv", "-k", "1", "--extrapolate", "2,4")
    assert code == 0
    assert "MODEL," not in out
    # by hand: of the 6 pairs of a's rollouts 3 hold its right one, and all four rollouts do
    assert "k = 2 is at most n = 4 and needs no MODEL: the unbiased estimate of pass@2 is 0.500, interval [" in out
    assert "k = 4 is at most n = 4 and needs no MODEL: the unbiased estimate of pass@4 is 0.667, interval [" in out
    out = passk(capsys, tmp_path / "c.csv", "-k", "1", "--extrapolate", "2,64")[1]
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line[:1].isdigit()}
    assert (rows["2"][1], rows["64"][1]) == ("0.500", "-")
    assert "MODEL, not measured: pass@k beyond n = 4" in out
    assert "k = 2 is at most n = 4 and needs no MODEL" in out
    (row,) = json.loads(passk(capsys, tmp_path / "c.csv", "--extrapolate", "2", "--json")[1])
    assert (row["models"], len(row["notes"])) == ([], 1)


def write_run(folder):
    """A run directory as training leaves it, with what passk looks at."""
    (folder / "evaluation").mkdir(parents=True)
    (folder / "recipe.toml").write_text("")
    for when, right in (("before", 1), ("after", 3)):
        lines = [
            {
                "problem": p,
                "sample": i,
                "prompt": p,
                "completion": "",
                "settings": when,
                "outcome": "right" if i < right else "wrong",
            }
            for p in "ab"
            for i in range(4)
        ]
        (folder / "evaluation" / f"{when}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    line = {
        "step": 1,
        "problem": "a",
        "completion": "",
        "reward": 1.0,
        "verdict": "right",
        "reason": "",
        "advantage": 0,
    }
    (folder / "rollouts.jsonl").write_text(json.dumps(line) + "\n")
    return folder


def test_a_run_directory_gives_both_evaluations(capsys, tmp_path):
    run = write_run(tmp_path / "run")
    code, out, _ = passk(capsys, run)
    assert code == 0
    assert [line.split()[:4] for line in out.strip().splitlines()[-2:]] == [
        ["before.jsonl", "2", "4", "0.250"],
        ["after.jsonl", "2", "4", "0.750"],
    ]
    code, _, err = passk(capsys, run / "rollouts.jsonl")
    assert code == 2
    assert f"read {run / 'evaluation' / 'after.jsonl'}" in err
    (run / "evaluation" / "before.jsonl").unlink()
    assert passk(capsys, run)[0] == 0
    (run / "evaluation" / "after.jsonl").unlink()
    code, _, err = passk(capsys, run)
    assert code == 2
    assert "train --resume" in err


def test_a_model_of_data_that_are_all_alike_has_no_interval(capsys, tmp_path):
    for right in (0, 4):
        (tmp_path / "c.csv").write_text(f"prompt,n,correct\na,4,{right}\nb,4,{right}\n")
        code, out, _ = passk(capsys, tmp_path / "c.csv", "--extrapolate", "64")
        assert code == 0
        assert out.count("note: all rollouts came out alike, so the") == 2
        (line,) = [line for line in out.splitlines() if line.startswith("64 ")]
        assert line.split()[3::2] == ["-", "-"]
    models = json.loads(passk(capsys, tmp_path / "c.csv", "--extrapolate", "64", "--json")[1])[0]["models"]
    assert [model["low"] for model in models] == [[None], [None]]
    passk(capsys, tmp_path / "c.csv", "--extrapolate", "64", "--plot", tmp_path / "c.png", "--csv", tmp_path / "o.csv")
    assert (tmp_path / "c.png").stat().st_size > 5000
