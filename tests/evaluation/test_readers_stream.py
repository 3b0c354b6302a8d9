"""Streaming: JSON piece by piece (property: as json.loads, however small the pieces), and the memory of large logs."""

import io
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advshape.errors import AdvshapeError
from advshape.evaluation.readers import json_stream
from advshape.evaluation.readers.base import Context, Options
from advshape.evaluation.readers.json_stream import JsonStream

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def stream(text):
    return JsonStream(io.BytesIO(text.encode(errors="surrogatepass")), Context(Path("x.json"), Options()))


def walk(cursor, take):
    """The document, arrays and objects entered or decoded or skipped as `take` says."""
    if cursor.starts() == "{":
        return {key: part(cursor, take) for key in cursor.members()}
    if cursor.starts() == "[":
        return [part(cursor, take) for _ in cursor.elements()]
    return cursor.value()


def part(cursor, take):
    kind = take.pop() if take else 0
    if kind == 0:
        return cursor.value()
    return walk(cursor, take) if kind == 1 else None


def expected(value, take):
    if isinstance(value, dict):
        return {key: expected_part(inner, take) for key, inner in value.items()}
    if isinstance(value, list):
        return [expected_part(inner, take) for inner in value]
    return value


def expected_part(value, take):
    kind = take.pop() if take else 0
    if kind == 0:
        return value
    return expected(value, take) if kind == 1 else None


@settings(max_examples=150, deadline=None)
@given(VALUES, st.lists(st.integers(0, 2), max_size=30), st.integers(1, 40), st.sampled_from([0, 2**23]), st.booleans())
def test_a_document_is_read_in_pieces_as_whole(value, take, chunk, unchecked, indent):
    before = json_stream.CHUNK, json_stream.UNCHECKED
    json_stream.CHUNK, json_stream.UNCHECKED = chunk, unchecked
    try:
        text = json.dumps(value, ensure_ascii=indent, indent=1 if indent else None)
        cursor = stream(text + "\n ")
        assert walk(cursor, list(take)) == expected(value, list(take))
        cursor.finish()
    finally:
        json_stream.CHUNK, json_stream.UNCHECKED = before


def skim(cursor):
    for _ in cursor.members():
        pass
    cursor.finish()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1', "line 1: no JSON (the file ends in"),
        ('{"a": ', "ends in the middle of a value"),
        ('{"a": "x', "ends"),
        ('{"a": {"b": [1, 2]', "ends in the middle"),
        ('{"a": 1}\n{"b": 2}', "line 2: no JSON (something follows"),
        ('{"a": 1,}', "no JSON"),
        ('{"a" 1}', "expected ':'"),
        ("{1: 2}", "expected a key"),
        ("[1]", "expected an object"),
        ('{"a": tru}', "no JSON"),
        ('{"a": [1 2]}', "no JSON"),
    ],
)
@pytest.mark.parametrize("chunk", [1, 7, 2**20])
def test_broken_documents_are_errors_with_their_line(text, words, chunk, monkeypatch):
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    with pytest.raises(AdvshapeError, match=r"x\.json, line \d") as error:
        skim(stream(text))
    if chunk > 1:
        assert words in str(error.value)


def test_a_key_that_was_skipped_or_taken_twice_does_not_shift_the_others():
    cursor = stream('{"a": {"x": "}\\""}, "b": [[], {}], "c": 3}')
    assert {key: cursor.value() for key in cursor.members() if key == "c"} == {"c": 3}


@pytest.mark.long
@pytest.mark.parametrize("form", ["lines", "packed lines", "document", "parquet"])
def test_a_log_of_200_mb_needs_little_memory(tmp_path, form):
    """Peak memory in a process of its own, 200 MB of text in 1,000 prompts; a 5 GB log with as many needs the same."""
    path, options = large_log(tmp_path, form)
    code = textwrap.dedent(f"""
        import resource, sys
        from advshape.evaluation.readers import read_log
        log = read_log({str(path)!r}, **{options!r})
        try:  # what the parent had when it started this process is no part of it
            peak = int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) / 1024
        except OSError:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(log.counts.prompts, int(log.counts.judged.sum()), int(log.counts.correct.sum()), round(peak))
    """)
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    prompts, judged, correct, peak = map(int, out)
    print(f"{form}: {path.stat().st_size >> 20} MiB on disk, peak {peak} MiB")
    assert (prompts, judged, correct) == (1000, 100_000, 50_000)
    assert peak < 500


def large_log(folder, form):
    text = "lorem ipsum " * 165  # 2 kB a rollout
    rows = ((i % 1000, i // 1000) for i in range(100_000))
    if form == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = folder / "completions_00001.parquet"
        schema = pa.schema(
            [
                ("step", pa.int64()),
                ("prompt", pa.string()),
                ("completion", pa.string()),
                ("judge", pa.float64()),
                ("advantage", pa.float64()),
            ]
        )
        with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
            for start in range(0, 100_000, 10_000):
                batch = [
                    {
                        "step": 1,
                        "prompt": f"q{i % 1000}",
                        "completion": f"{i} {text}",
                        "judge": float(i // 1000 % 2),
                        "advantage": 0.0,
                    }
                    for i in range(start, start + 10_000)
                ]
                writer.write_table(pa.Table.from_pylist(batch, schema))
        return path, {}
    if form == "document":
        path = folder / "log.json"
        with path.open("w") as file:
            file.write('{"version": 2, "status": "success", "eval": {"task": "t", "model": "m"}, "samples": [')
            for k, (prompt, number) in enumerate(rows):
                sample = {"id": prompt, "epoch": number, "events": [text], "scores": {"s": {"value": "IC"[number % 2]}}}
                file.write(("," if k else "") + json.dumps(sample))
            file.write("]}")
        return path, {}
    import gzip

    path = folder / ("v.jsonl.gz" if "packed" in form else "v.jsonl")
    with gzip.open(path, "wt", compresslevel=1) if "packed" in form else path.open("w") as file:
        for prompt, number in rows:
            row = {
                "input": f"q{prompt}",
                "output": text,
                "score": float(number % 2),
                "step": 1,
                "uid": f"u{prompt}_{number}_0",
            }
            file.write(json.dumps(row) + "\n")
    return path, {}
