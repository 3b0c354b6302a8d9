"""Defined behaviour of the readers at the edges: repeated, missing, mixed, half-written, packed, unequal."""

import gzip
import json

import numpy as np
import pytest

from advshape.errors import AdvshapeError
from advshape.evaluation.logs.rollout_log import Rollout
from advshape.evaluation.readers import Options, read_log, read_logs
from advshape.evaluation.results.log_results import log_result

VERL = [
    {"input": f"q{i}", "output": "o", "gts": "g", "score": float((i + j) % 2), "step": 1, "uid": f"u{i}_{j}_0"}
    for i in range(3)
    for j in range(4)
]
NAMED = Options(prompt_column="p", correct_column="c")


def write(path, lines, end="\n"):
    path.write_text("\n".join(json.dumps(line) for line in lines) + end)
    return path


def counts(log):
    c = log.counts
    return {p: list(map(int, row)) for p, *row in zip(c.problems, c.correct, c.judged, c.not_judged, strict=True)}


def test_a_repeated_rollout_is_refused_dropped_or_kept(tmp_path):
    path = write(tmp_path / "v.jsonl", [*VERL, VERL[5]])
    with pytest.raises(AdvshapeError, match=r"v\.jsonl, line 13: rollout 1 of prompt 'u1' is there a second time"):
        read_log(path)
    log = read_log(path, duplicates="drop")
    assert counts(log) == {f"u{i}": [2, 4, 0] for i in range(3)}
    assert log.skipped == {"rollout that is there already": (1, "v.jsonl, line 13")}
    assert counts(read_log(path, duplicates="keep"))["u1"] == [2, 5, 0]
    path = write(tmp_path / "w.jsonl", [*VERL, {**VERL[5], "score": 1.0}])
    for duplicates in (None, "drop"):
        with pytest.raises(AdvshapeError, match="line 13: rollout 1 of prompt 'u1' is right here and wrong before"):
            read_log(path, duplicates=duplicates)


def test_far_rollout_numbers_are_told_apart_too(tmp_path):
    lines = [{**VERL[0], "uid": f"u_{j}_0", "score": 1.0} for j in (0, 1, 65535, 65536, 10**8)]
    assert counts(read_log(write(tmp_path / "v.jsonl", lines))) == {"u": [5, 5, 0]}
    with pytest.raises(AdvshapeError, match="rollout 100000000 of prompt 'u' is there a second time"):
        read_log(write(tmp_path / "v.jsonl", [*lines, VERL[4], lines[-1]]))


def test_repeated_lines_without_a_number_are_counted_and_said(tmp_path):
    lines = [{"p": "a", "c": 1}, {"p": "a", "c": 0}, {"p": "a", "c": 1}, {"p": "b", "c": 1}]
    path = write(tmp_path / "c.jsonl", lines)
    log = read_log(path, NAMED)
    assert counts(log) == {"a": [2, 3, 0], "b": [1, 1, 0]}
    assert log.notes[0].startswith("1 of 4 lines repeat an earlier one word for word; they are counted")
    log = read_log(path, NAMED, duplicates="drop")
    assert counts(log) == {"a": [1, 2, 0], "b": [1, 1, 0]}
    assert log.skipped == {"line that is there already": (1, "c.jsonl, line 3")}
    with pytest.raises(AdvshapeError, match=r"c\.jsonl, line 3: the same line"):
        read_log(path, NAMED, duplicates="refuse")


def test_mixed_settings_are_refused_chosen_split_or_pooled(tmp_path):
    lines = [{"p": "a", "c": i % 2, "temperature": t, "step": s} for i in range(4) for t in (0.5, 1) for s in (1, 2)]
    path = write(tmp_path / "c.jsonl", lines)
    with pytest.raises(AdvshapeError, match="mixes 2 values of step") as error:
        read_log(path, NAMED)
    assert "2 values of temperature (0.5, 1)" in str(error.value)
    with pytest.raises(AdvshapeError, match="mixes 2 values of temperature"):
        read_logs(path, NAMED, by=("step",))
    log = read_log(path, NAMED, where=(("step", "1"), ("temperature", "1.0")))
    assert counts(log) == {"a": [2, 4, 0]}
    assert log.settings == {"step": "1", "temperature": "1"}
    assert log.skipped == {"record outside step=1, temperature=1.0": (12, "c.jsonl")}
    assert len(read_logs(path, NAMED, by=("step", "temperature"))) == 4
    assert counts(read_log(path, NAMED, pool=("step",), where=(("temperature", "1"),))) == {"a": [4, 8, 0]}
    with pytest.raises(AdvshapeError, match="no rollout in this log; 16 x record outside step=9"):
        read_log(path, NAMED, where=(("step", "9"),))
    with pytest.raises(AdvshapeError, match=r"line 1, field 'seed': missing; this row has p, c, temperature, step"):
        read_logs(path, NAMED, by=("seed",))
    with pytest.raises(AdvshapeError, match="verl rollout or validation dump: there is no setting 'seed'; it has step"):
        read_logs(write(tmp_path / "v.jsonl", VERL), by=("seed",))


def test_pooled_settings_number_their_rollouts_apart(tmp_path):
    path = write(tmp_path / "v.jsonl", [*VERL, *({**line, "step": 2} for line in VERL)])
    assert counts(read_log(path, pool=("step",)))["u0"] == [4, 8, 0]
    with pytest.raises(AdvshapeError, match="line 25: rollout 0 of prompt 'u0' is there a second time"):
        read_log(write(path, [*VERL, *({**line, "step": 2} for line in VERL), VERL[0]]), pool=("step",))


def test_missing_samples_and_unequal_n(tmp_path):
    path = write(tmp_path / "v.jsonl", [line for line in VERL if line["uid"] != "u2_3_0"])
    log = read_log(path)
    assert log.counts.judged.tolist() == [4, 4, 3]
    result = log_result(log)
    assert result.curve.ks.tolist() == [1, 2]
    # by hand: prompts 0 and 1 have 2 of 4 right, prompt 2 has 1 of 3
    assert np.allclose(result.curve.values, [(1 / 2 + 1 / 2 + 1 / 3) / 3, (5 / 6 + 5 / 6 + 2 / 3) / 3])
    with pytest.raises(
        AdvshapeError, match=r"pass@4 needs n >= 4 .*; 1 of 3 prompts have fewer, the fewest 3: sample n = 4"
    ):
        log_result(log, [4, 1])


def test_not_judged_rollouts_give_bounds(tmp_path):
    lines = [
        {"p": "a", "c": None},
        {"p": "a", "c": 1},
        {"p": "a", "c": 0},
        {"p": "b", "c": float("nan")},
        {"p": "b", "c": 0},
        {"p": "b", "c": 0},
        {"p": "c", "c": None},
    ]
    log = read_log(write(tmp_path / "c.jsonl", lines), NAMED)
    assert counts(log) == {"a": [1, 2, 1], "b": [0, 2, 1], "c": [0, 0, 1]}
    result = log_result(log)
    assert result.curve.values.tolist() == [0.25, 0.5]
    assert result.curve.unjudged == 1
    low, high = result.bounds
    assert np.allclose([low[0], high[0]], [(1 / 3 + 0 + 0) / 3, (2 / 3 + 1 / 3 + 1) / 3])
    assert np.isnan([low[1], high[1]]).all(), "prompt c has one rollout, judged or not"
    with pytest.raises(AdvshapeError, match="none of 3 rollouts was judged"):
        log_result(read_log(write(tmp_path / "n.jsonl", [{"p": "a", "c": None}] * 3), NAMED))


@pytest.mark.parametrize("form", ["own", "verl", "columns"])
def test_a_file_cut_anywhere_loses_at_most_its_half_written_line(tmp_path, form):
    own = [Rollout(f"p{i}", j, "", "", "right").to_json() for i in range(2) for j in range(2)]
    lines, options = {
        "own": (own, Options()),
        "verl": (VERL[:4], Options()),
        "columns": ([{"p": "é", "c": 1}] * 3, NAMED),
    }[form]
    whole = b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)
    path = tmp_path / "cut.jsonl"
    for size in range(len(whole.split(b"\n")[0]) + 1, len(whole) + 1):
        path.write_bytes(whole[:size])
        complete = whole[:size].count(b"\n") + (whole[size : size + 1] == b"\n")
        log = read_log(path, options)
        assert log.counts.judged.sum() == complete
        tail = whole[:size].rpartition(b"\n")[2]
        half = bool(tail) and whole[size : size + 1] != b"\n"
        assert log.skipped == ({"half-written last line": (1, f"cut.jsonl, line {complete + 1}")} if half else {})


def test_a_broken_line_before_the_last_is_an_error(tmp_path):
    path = tmp_path / "v.jsonl"
    good = json.dumps(VERL[0]).encode()
    broken = {
        b'{"input": ': "not JSON",
        b"[1]": "expected a JSON object, got list",
        b"\xff\xfe": "not JSON",
        b"[" * 100_000: "not JSON",
        b"{}": "field 'score': missing; this line has no field",
    }
    for bad, words in broken.items():
        path.write_bytes(good + b"\n" + bad + b"\n" + good + b"\n")
        with pytest.raises(AdvshapeError) as error:
            read_log(path)
        assert f"{path}, line 2" in str(error.value)
        assert words in str(error.value)


def test_gzip_whole_and_cut(tmp_path):
    path = tmp_path / "v.jsonl"
    data = b"".join(
        json.dumps({**line, "output": f"{i * 7919 % 104729}"}).encode() + b"\n" for i, line in enumerate(VERL)
    )
    packed = gzip.compress(data)
    path.write_bytes(packed)
    assert counts(read_log(path)) == {f"u{i}": [2, 4, 0] for i in range(3)}
    path.write_bytes(packed[:-9])
    log = read_log(path)
    assert "gzip stream that ends early" in log.skipped
    assert 0 < log.counts.judged.sum() <= 12
    path.write_bytes(packed[:60] + bytes([packed[60] ^ 255]) + packed[61:])
    with pytest.raises(AdvshapeError, match=r"v\.jsonl"):
        read_log(path)


def test_blank_lines_windows_line_ends_and_a_byte_order_mark_do_not_matter(tmp_path):
    path = tmp_path / "v.jsonl"
    text = "\r\n\r\n".join(json.dumps(line) for line in VERL)
    path.write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\r\n\n")
    assert counts(read_log(path)) == {f"u{i}": [2, 4, 0] for i in range(3)}
    path.write_bytes(b'\xef\xbb\xbfp,c\r\na,1\r\n\r\n"x\r\ny",0\r\n')
    assert counts(read_log(path, NAMED)) == {"a": [1, 1, 0], "x\r\ny": [0, 1, 0]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("p,c\na,1,2\nb,1\n", "line 2: 3 cells where the first line names 2 columns"),
        ("p,c\na\nb,1\n", "line 2: 1 cells"),
        ("p,p\na,1\n", "line 1: the first line has to name the columns"),
        ("p,c\na,perhaps\n", "line 2, field 'c': expected a finite number"),
        ("p,c\na,inf\n", "line 2, field 'c': expected a finite number"),
        ("p,c\n,1\n", "line 2, field 'p': '' names no prompt"),
        ("p,d\na,1\n", "line 2, field 'c': missing; this line has p, d"),
        ('p,c\n"a"b,1\n', "line 2: no CSV"),
        ("p,c\na,0.5\n", "line 2, field 'c': the reward is 0.5"),
    ],
)
def test_broken_tables_name_line_and_field(tmp_path, text, words):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(AdvshapeError) as error:
        read_log(path, NAMED)
    assert f"{path}, {words}" in str(error.value)


def test_a_half_written_last_row(tmp_path):
    path = tmp_path / "t.csv"
    for text in ("p,c\na,1\nb", 'p,c\na,1\n"b'):
        path.write_text(text)
        log = read_log(path, NAMED)
        assert counts(log) == {"a": [1, 1, 0]}
        assert log.skipped == {"half-written last row": (1, "t.csv, line 3")}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "a", "n": 2, "correct": 3}, "field 'correct': 3 right of 2 rollouts"),
        ({"prompt": "a", "n": -1, "correct": 0}, "field 'n': expected a whole number >= 0, got -1"),
        ({"prompt": "a", "n": 2.5, "correct": 0}, "field 'n': expected a whole number >= 0, got 2.5"),
        ({"prompt": "a", "n": True, "correct": 0}, "field 'n': expected a whole number"),
        ({"prompt": "a", "n": 10**30, "correct": 0}, "field 'n': expected a whole number"),
        ({"prompt": "b", "n": 4, "correct": 0}, "prompt 'b' has a row already (line 1)"),
    ],
)
def test_tables_of_counts_are_checked(tmp_path, row, words):
    first = {"prompt": "b", "n": "4", "correct": 2.0}
    path = write(tmp_path / "t.jsonl", [first, row])
    with pytest.raises(AdvshapeError) as error:
        read_log(path)
    assert f"{path}, line 2" in str(error.value)
    assert words in str(error.value)
    assert counts(read_log(write(path, [first, first]), duplicates="keep")) == {"b": [4, 8, 0]}
    log = read_log(write(path, [first, first]), duplicates="drop")
    assert (counts(log), sum(count for count, _ in log.skipped.values())) == ({"b": [2, 4, 0]}, 1)


def test_a_folder_names_what_is_no_log(tmp_path):
    write(tmp_path / "10.jsonl", [{**line, "step": 10} for line in VERL])
    write(tmp_path / "2.jsonl", [{**line, "step": 2} for line in VERL])
    (tmp_path / "config.json").write_text('{"lr": 1}\n')
    logs = read_logs(tmp_path, by=("step",))
    assert [log.settings["step"] for log in logs] == ["2", "10"]
    assert logs[0].skipped == {"file that is no log": (1, "config.json")}
    (tmp_path / "c.csv").write_text("prompt,n,correct\na,1,1\n")
    with pytest.raises(AdvshapeError, match="holds logs of counts and verl; give the files one by one"):
        read_logs(tmp_path)
    with pytest.raises(AdvshapeError, match="there is no file or folder"):
        read_log(tmp_path / "none")
    (tmp_path / "deep" / "logs").mkdir(parents=True)
    with pytest.raises(AdvshapeError, match=r"holds no file that ends in .*; it has the folders logs"):
        read_log(tmp_path / "deep")


def test_options_that_a_reader_would_ignore_are_refused(tmp_path):
    path = write(tmp_path / "v.jsonl", VERL)
    for option in ({"group_size": 4}, {"truncated_column": "t"}, {"n_column": "n"}):
        with pytest.raises(AdvshapeError, match="leave it out"):
            read_log(path, **option)
    with pytest.raises(AdvshapeError, match="there is no reader 'vrl'; there are advshape, trl"):
        read_log(path, reader="vrl")


def test_long_prompts_keep_apart(tmp_path):
    lines = [{"p": "x" * 5000 + end, "c": 1} for end in "ab"] * 2
    log = read_log(write(tmp_path / "c.jsonl", lines), NAMED)
    assert log.counts.prompts == 2
    assert all(len(name) < 80 for name in log.counts.problems)


def test_verl_best_of_n_is_the_expectation_of_its_own_bootstrap(tmp_path):
    """Parity with verl's bootstrap_metric: 1,000 draws with replacement, here 200,000 to come close."""
    lines = [
        {**VERL[0], "uid": f"u{i}_{j}_0", "score": float(j < c)} for i, c in enumerate((0, 1, 5)) for j in range(8)
    ]
    result = log_result(read_log(write(tmp_path / "v.jsonl", lines)))
    best = next(figure for figure in result.foreign if figure.name == "verl best@k")
    rng = np.random.default_rng(0)
    for k, value in zip(best.ks, best.values, strict=True):
        drawn = [np.isin(rng.integers(0, 8, (200_000, k)), range(c)).any(axis=1).mean() for c in (0, 1, 5)]
        assert value == pytest.approx(np.mean(drawn), abs=5 * 0.5 / np.sqrt(200_000))
    at = result.curve.ks.tolist().index(8)
    assert result.curve.values[at] == pytest.approx(2 / 3)
    assert best.values[best.ks.index(8)] < 0.6


def test_human_eval_above_n_is_named(tmp_path):
    lines = [{"task_id": f"T/{i}", "completion": f"{j}", "passed": j < i} for i in range(3) for j in range(4)]
    log = read_log(write(tmp_path / "h.jsonl", lines))
    with pytest.raises(AdvshapeError, match=r"pass@8 needs n >= 8 .* estimate_pass_at_k .* would say 1\.000"):
        log_result(log, [8])


def inspect_log(path, samples, **more):
    log = {"version": 2, "status": "success", "eval": {"task": "t", "model": "m", "eval_id": "e"}, **more}
    path.write_text(json.dumps({**log, "samples": samples}))
    return path


def test_inspect_letters_errors_limits_and_scorers(tmp_path):
    samples = [{"id": "a", "epoch": i, "scores": {"s": {"value": value}}} for i, value in enumerate("CINC")]
    samples[3]["error"] = {"message": "gone"}
    samples += [
        {"id": "b", "epoch": 1, "scores": None, "limit": {"type": "token", "limit": 9}},
        {
            "id": "b",
            "epoch": 2,
            "scores": {"s": {"value": True}},
            "output": {"choices": [{"stop_reason": "max_tokens"}]},
        },
    ]
    path = tmp_path / "i.json"
    log = read_log(inspect_log(path, samples, status="cancelled"))
    assert counts(log) == {"a": [1, 3, 1], "b": [1, 1, 1]}
    assert log.counts.truncated.tolist() == [0, 2]
    assert log.notes == ("inspect says that this evaluation is 'cancelled': samples may be missing",)
    partial = [{"id": "a", "epoch": 1, "scores": {"s": {"value": "P"}}}]
    with pytest.raises(AdvshapeError, match=r"sample 0, line 1, field 's': the reward is 0.5"):
        read_log(inspect_log(path, partial))
    assert counts(read_log(path, threshold=0.5)) == {"a": [1, 1, 0]}
    several = [{"id": "a", "epoch": 1, "scores": {"s": {"value": {"x": "C", "y": 0}}, "t": {"value": "I"}}}]
    with pytest.raises(AdvshapeError, match=r"this sample has the scores s\.x, s\.y, t; choose one"):
        read_log(inspect_log(path, several))
    assert counts(read_log(path, correct_column="s.x")) == {"a": [1, 1, 0]}


def test_two_runs_of_inspect_in_a_folder_are_one_sample_only_when_pooled(tmp_path):
    samples = [{"id": "a", "epoch": 1, "scores": {"s": {"value": "C"}}}]
    for run in "xy":
        inspect_log(tmp_path / f"{run}.json", samples, eval={"task": "t", "model": "m", "eval_id": run})
    with pytest.raises(AdvshapeError, match=r"mixes 2 values of run \(x, y\)"):
        read_log(tmp_path)
    assert counts(read_log(tmp_path, pool=("run",))) == {"a": [2, 2, 0]}


def test_parquet_rewards_that_are_null_nan_infinite_or_real(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    def write_rewards(rewards):
        n = len(rewards)
        pq.write_table(
            pa.table(
                {
                    "step": [1] * n,
                    "prompt": ["q"] * n,
                    "completion": ["c"] * n,
                    "judge": pa.array(rewards, pa.float64()),
                    "advantage": [0.0] * n,
                }
            ),
            path,
        )

    path = tmp_path / "t.parquet"
    write_rewards([1.0, None, float("nan"), 0.0])
    assert counts(read_log(path)) == {"q": [1, 2, 2]}
    for bad, words in ((float("inf"), "expected a finite number"), (0.25, "the reward is 0.25")):
        write_rewards([1.0, 0.0, bad])
        with pytest.raises(AdvshapeError, match=rf"t\.parquet, row 3, field 'judge': {words}"):
            read_log(path)
    assert [list(r) for r in read_log(path, measures=("max",)).rewards] == [[1.0, 0.0, 0.25]]
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(AdvshapeError, match=r"no whole Parquet file .* is it still being written"):
        read_log(path)
