"""Readers on files that the real tools wrote: parity with what was planned when the files were made.

`expected.json` comes from the plan of scripts/make_log_fixtures.py (for TRL from what the reward function itself
gave), not from reading the files.
"""

import gzip
import json
from pathlib import Path

import pytest

from advshape.errors import AdvshapeError
from advshape.evaluation.logs.rollout_log import Rollout, RolloutLog
from advshape.evaluation.readers import Options, detect, read_log, read_logs

LOGS = Path(__file__).parents[1] / "data" / "logs"
EXPECTED = json.loads((LOGS / "expected.json").read_text())
FORMATS = {
    "human_eval": "human-eval",
    "evalplus": "evalplus",
    "samples_own": "lm-eval",
    "inspect": "inspect",
    "verl": "verl",
    "trl": "trl",
}
CHOSEN = {  # what a reader must be told for this file
    "evalplus_eval_results.json base_status": {"correct_column": "base_status"},
    "verl_legacy_validation.jsonl": {"correct_column": "acc"},
    "verl_v1_validation.jsonl": {"threshold": 0.0},
    "trl_chat/completions_00001.parquet": {"correct_column": "judge"},
    "trl_chat/completions_00002.parquet": {"correct_column": "judge"},
}


def options_for(name):
    file, _, more = name.partition(" ")
    if "own_sum_2" in file:
        return file, {"where": (("filter", more),)}
    return file, CHOSEN.get(name, {})


def rows(log):
    c = log.counts
    return {p: list(map(int, row)) for p, *row in zip(c.problems, c.correct, c.judged, c.not_judged, strict=True)}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_parity_with_the_tools_own_files(name):
    file, more = options_for(name)
    log = read_log(LOGS / file, **more)
    planned = EXPECTED[name]
    if log.reader == "trl" and "chat" in file:  # prompts are chat messages there
        planned = {json.dumps([{"content": p, "role": "user"}], sort_keys=True): v for p, v in planned.items()}
    assert rows(log) == planned
    assert log.reader == next(reader for prefix, reader in FORMATS.items() if file.startswith(prefix))


def test_every_fixture_is_expected_small_and_of_a_known_version():
    files = {str(p.relative_to(LOGS)) for p in LOGS.rglob("*") if p.is_file()} - {"expected.json", "versions.json"}
    assert files - {"human_eval_samples.jsonl"} == {name.partition(" ")[0] for name in EXPECTED}
    assert all((LOGS / file).stat().st_size < 50_000 for file in files)
    versions = json.loads((LOGS / "versions.json").read_text())
    assert set(versions) == {"human_eval", "evalplus", "lm_eval", "inspect_ai", "verl", "trl"}
    assert all(entry["version"] and entry["ran"] for entry in versions.values())


def test_inspect_tells_truncated_and_crashed_samples():
    for file in ("inspect_own_sum.eval", "inspect_own_sum.json.gz"):
        log = read_log(LOGS / file)
        assert log.knows_truncated
        assert log.counts.truncated.sum() == 4
        assert log.settings["task"] == "own_sum"
        assert log.settings["model"] == "mockllm/model"
        assert log.right == "match"


def test_verl_v1_counts_the_last_output_of_a_rollout():
    log = read_log(LOGS / "verl_v1_rollouts.jsonl")
    ((what, (count, first)),) = log.skipped.items()
    assert "earlier output" in what
    assert count == 1
    assert first == "verl_v1_rollouts.jsonl, line 11"


def test_a_folder_of_trl_steps_is_refused_split_or_pooled():
    with pytest.raises(AdvshapeError, match=r"mixes 2 values of step \(1, 2\).*--by step"):
        read_log(LOGS / "trl_text")
    one, two = read_logs(LOGS / "trl_text", by=("step",))
    assert rows(one) == EXPECTED["trl_text/completions_00001.parquet"]
    assert rows(two) == EXPECTED["trl_text/completions_00002.parquet"]
    assert rows(read_log(LOGS / "trl_text", where=(("step", "2"),))) == rows(two)
    pooled = read_log(LOGS / "trl_text", pool=("step",))
    assert pooled.counts.judged.sum() == one.counts.judged.sum() + two.counts.judged.sum()


def test_trl_asks_which_reward_function():
    with pytest.raises(AdvshapeError, match="the columns judge, length can be rewards; choose one"):
        read_log(LOGS / "trl_chat" / "completions_00001.parquet")
    with pytest.raises(AdvshapeError, match=r"row \d+, field 'length': the reward is .*--threshold"):
        read_log(LOGS / "trl_chat" / "completions_00001.parquet", correct_column="length")


def test_trl_groups_by_position():
    plain = read_log(LOGS / "trl_text" / "completions_00001.parquet")
    grouped = read_log(LOGS / "trl_text" / "completions_00001.parquet", group_size=4)
    assert rows(grouped) == rows(plain)
    halves = read_log(LOGS / "trl_text" / "completions_00001.parquet", group_size=2)
    assert halves.counts.prompts == 2 * plain.counts.prompts
    assert {p.partition(" #")[0] for p in halves.counts.problems} == set(plain.counts.problems)
    with pytest.raises(AdvshapeError, match="the prompt changes within a group of 3 rows"):
        read_log(LOGS / "trl_text" / "completions_00001.parquet", group_size=3)


def test_own_log_and_its_settings(tmp_path):
    path = tmp_path / "rollouts.jsonl"
    with RolloutLog(path) as log:
        for t in (0.5, 1.0):
            name = log.describe({"temperature": t})
            log.append(
                [
                    Rollout("p", i, "1+1=", "2", o, truncated=i == 2, temperature=t, settings=name)
                    for i, o in enumerate(("right", "wrong", "not_judged"))
                ]
            )
    with pytest.raises(AdvshapeError, match=r"mixes 2 values of settings .*2 values of temperature"):
        read_log(path)
    logs = read_logs(path, by=("temperature",))
    assert [log.settings["temperature"] for log in logs] == ["0.5", "1"]
    assert all(rows(log) == {"p": [1, 2, 1]} for log in logs)
    assert logs[0].counts.truncated.tolist() == [1]
    assert rows(read_log(path, where=(("temperature", "0.50"),))) == {"p": [1, 2, 1]}
    assert rows(read_log(path, pool=("settings", "temperature"))) == {"p": [2, 4, 2]}


def test_lm_eval_says_what_it_cannot_know():
    log = read_log(LOGS / "samples_own_sum_4_2026-01-01T00-00-00.000000.jsonl")
    assert any("leaves open" in note for note in log.notes)
    log = read_log(LOGS / "samples_own_sum_first_2026-01-01T00-00-00.000000.jsonl")
    assert any("judges one of them" in note for note in log.notes)


def test_human_eval_samples_point_to_their_results():
    with pytest.raises(
        AdvshapeError, match=r"samples without verdicts; human_eval_samples\.jsonl_results\.jsonl beside"
    ):
        read_log(LOGS / "human_eval_samples.jsonl")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("form", ["csv", "tsv", "semicolon", "jsonl", "array", "parquet"])
def test_named_columns_and_counts(tmp_path, form, packed):
    odd = 'b, "b"\n'
    rows_of = [("a", "1", "no"), ("a", "0", "yes"), (odd, "true", "no"), (odd, "", "no")]
    rollouts = [{"question": q, "ok": ok, "cut": cut} for q, ok, cut in rows_of]
    counts = [{"prompt": "a", "n": 4, "correct": 3}, {"prompt": "b", "n": 2, "correct": 0}]
    one = save(tmp_path / f"one.{form}", rollouts, form, packed)
    log = read_log(one, prompt_column="question", correct_column="ok", truncated_column="cut")
    assert rows(log) == {"a": [1, 2, 0], odd: [1, 1, 1]}
    assert log.knows_truncated
    assert log.counts.truncated.tolist() == [1, 0]
    two = save(tmp_path / f"two.{form}", counts, form, packed)
    more = {"reader": "counts"} if form == "array" else {}
    assert rows(read_log(two, **more)) == {"a": [3, 4, 0], "b": [0, 2, 0]}


def save(path, table, form, packed=False):
    if form == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(table), path)
        return path
    if form in ("jsonl", "array"):
        lines = [json.dumps(row) for row in table]
        text = "\n".join(lines) + "\n" if form == "jsonl" else f"[{', '.join(lines)}]"
    else:
        import csv
        import io

        file = io.StringIO()
        sign = {"csv": ",", "tsv": "\t", "semicolon": ";"}[form]
        writer = csv.DictWriter(file, list(table[0]), delimiter=sign)
        writer.writeheader()
        writer.writerows(table)
        text = file.getvalue()
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    return path


def test_max_at_k_keeps_the_rewards(tmp_path):
    path = save(tmp_path / "r.jsonl", [{"p": "a", "r": 0.5}, {"p": "a", "r": -2}, {"p": "a", "r": None}], "jsonl")
    named = Options(prompt_column="p", correct_column="r")
    assert [list(r) for r in read_log(path, named, measures=("max",)).rewards] == [[0.5, -2.0]]
    with pytest.raises(AdvshapeError, match=r"line 1, field 'r': the reward is 0.5"):
        read_log(path, named)
    log = read_log(path, named, threshold=0.5)
    assert rows(log) == {"a": [1, 2, 1]}
    assert log.right == "r >= 0.5"


def test_detection_is_by_content(tmp_path):
    for name in EXPECTED:
        file = LOGS / name.partition(" ")[0]
        renamed = tmp_path / "any.name"
        renamed.write_bytes(file.read_bytes())
        assert detect(renamed) is detect(file)
    assert len({detect(LOGS / n.partition(" ")[0]).name for n in EXPECTED}) == 6


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (b"hello\n", "a table with hello"),
        (b'{"a": 1}\n', "JSON Lines with a;"),
        (b"\x00\x01\x02", "no known log"),
        (b"PAR1 and then nothing", "no whole Parquet file"),
        (b"PK\x03\x04", "no whole zip archive"),
        (b"\x1f\x8b\x08\x00", "cannot be read"),
        (b"[1, 2]", "a JSON document"),
    ],
)
def test_unknown_files_say_what_was_seen(tmp_path, content, words):
    path = tmp_path / "log"
    path.write_bytes(content)
    with pytest.raises(AdvshapeError) as error:
        read_log(path)
    assert words in str(error.value)
    assert str(path) in str(error.value)
