"""Mutated logs (fuzzing, parity): the number of a plain recount, or an error with file, place and field.

Each log is a file that its tool wrote, or one of our own. The recount below reads whole files with json, csv, zipfile
and pyarrow and counts in a dictionary; it shares no code with the readers. Where it finds something odd, the reader
must refuse the file; where the reader gives numbers, they and the number of lines left out must be the recount's.
"""

import csv
import gzip
import io
import json
import math
import random
import re
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from advshape.errors import AdvshapeError
from advshape.evaluation.logs.rollout_log import Rollout
from advshape.evaluation.readers import read_log

LOGS = Path(__file__).parents[1] / "data" / "logs"
NONE = {"", "null", "none", "nan", "not_judged"}
YES, NO = {"true", "right", "correct", "pass", "passed", "yes"}, {"false", "wrong", "incorrect", "fail", "failed", "no"}


class OddError(Exception):
    """The recount cannot say what this file means."""


def verdict(value):
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        word = value.strip().lower()
        if word in NONE or word in YES or word in NO:
            return None if word in NONE else word in YES
        try:
            value = float(word)
        except ValueError:
            raise OddError(word) from None
        return verdict(value)
    if not isinstance(value, bool | int | float) or value not in (0, 1):
        raise OddError(value)
    return bool(value)


def name(value):
    if isinstance(value, bool | float) or value is None or value == "":
        raise OddError(value)
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def whole(value):
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            raise OddError(value) from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise OddError(value)
    if isinstance(value, float) and not value.is_integer():
        raise OddError(value)
    if not 0 <= value < 2**62:
        raise OddError(value)
    return int(value)


def same(value):
    """Settings that print alike are alike."""
    if isinstance(value, dict | list):
        raise OddError(value)
    return "" if value is None else str(int(value) if isinstance(value, float) and value.is_integer() else value)


def lines(data):
    """(objects, lines left out)."""
    found = []
    parts = data.split(b"\n")
    for i, part in enumerate(parts):
        if not part.strip():
            continue
        try:
            row = json.loads((part.removeprefix(b"\xef\xbb\xbf") if i == 0 else part).decode())
        except (ValueError, RecursionError):
            if i == len(parts) - 1:
                return found, 1
            raise OddError(part) from None
        if not isinstance(row, dict):
            raise OddError(row)
        found.append(row)
    return found, 0


def count(triples, left_out=0):
    """{prompt: [right, judged, not judged]} of (prompt, verdict, settings)."""
    table = {}
    seen = set()
    for prompt, value, settings in triples:
        row = table.setdefault(prompt, [0, 0, 0])
        row[0] += value is True
        row[1] += value is not None
        row[2] += value is None
        seen.add(settings)
    if len(seen) > 1 or not table:
        raise OddError("settings")
    return table, left_out


def numbered(rows, left_out):
    """As count, of (prompt, number, verdict, settings)."""
    keys = [row[:2] for row in rows]
    if len(set(keys)) < len(keys):
        raise OddError("twice")
    return count([(p, v, s) for p, _, v, s in rows], left_out)


def get(row, key):
    if not isinstance(row, dict) or key not in row:
        raise OddError(key)
    return row[key]


def recount_own(data):
    rows, left_out = lines(data)
    kept = []
    for row in rows:
        if row.get("kind") == "settings":
            continue
        outcomes = {"right": True, "wrong": False, "not_judged": None}
        outcome = get(row, "outcome")
        if not isinstance(outcome, str) or outcome not in outcomes:
            raise OddError(outcome)
        if "truncated" in row and verdict(row["truncated"]) is None:
            raise OddError("truncated")
        settings = tuple(same(row.get(key)) for key in ("settings", "temperature", "step"))
        kept.append((name(get(row, "problem")), whole(get(row, "sample")), outcomes[outcome], settings))
    return numbered(kept, left_out)


def recount_human_eval(data):
    rows, left_out = lines(data)
    return count([(name(get(row, "task_id")), verdict(get(row, "passed")), ()) for row in rows], left_out)


def recount_verl(data):
    rows, left_out = lines(data)
    last, plain = {}, []
    for row in rows:
        value, step = verdict(get(row, "score")), same(row.get("step"))
        if "uid" not in row:
            plain.append((name(get(row, "input")), value, step))
            continue
        if not isinstance(row["uid"], str) or not re.fullmatch(r"(?s).+_[0-9]{1,9}_[0-9]{1,9}", row["uid"]):
            raise OddError(row["uid"])
        uid, session, output = row["uid"].rsplit("_", 2)
        key = uid, int(session), step
        if key in last and last[key][0] == int(output):
            raise OddError("twice")
        if key in last:
            left_out += 1
        last[key] = max(last.get(key, (-1, None)), (int(output), value), key=lambda pair: pair[0])
    return count([*plain, *((uid, value, step) for (uid, _, step), (_, value) in last.items())], left_out)


def recount_lm_eval(data):
    rows, left_out = lines(data)
    triples = []
    for row in rows:
        metrics = row.get("metrics", [])
        if not isinstance(metrics, list) or len(metrics) != 1 or not isinstance(metrics[0], str):
            raise OddError(metrics)
        if re.fullmatch(r"pass@\d+", metrics[0]):
            raise OddError("another metric")
        responses = get(row, "resps")
        if not isinstance(responses, list) or not responses or not all(isinstance(r, list) and r for r in responses):
            raise OddError(responses)
        key, filters = name(get(row, "doc_id")), same(row.get("filter"))
        triples.append((key, verdict(get(row, metrics[0])), filters))
        triples += [(key, None, filters)] * (len(responses[0]) - 1 if len(responses) == 1 else 0)
    return count(triples, left_out)


def recount_evalplus(data):
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise OddError("JSON") from None
    triples = []
    tasks = get(document, "eval")
    if not isinstance(tasks, dict):
        raise OddError(tasks)
    for task, solutions in tasks.items():
        if not isinstance(solutions, list):
            raise OddError(solutions)
        for solution in solutions:
            if not isinstance(solution, dict):
                raise OddError(solution)
            base, plus = get(solution, "base_status"), get(solution, "plus_status")
            known = ("pass", "fail", "timeout")
            if (base is not None and base not in known) or (plus is not None and plus not in known):
                raise OddError(solution)
            some = [s for s in (base, plus) if s is not None]
            triples.append((task, False if {"fail", "timeout"} & set(some) else None if base is None else True, ()))
    return count(triples)


def inspect_sample(sample):
    if not isinstance(sample, dict):
        raise OddError(sample)
    scores = sample.get("scores")
    key = name(get(sample, "id")), whole(get(sample, "epoch"))
    if sample.get("error") is not None or scores is None or scores == {}:
        return *key, None, ()
    if not isinstance(scores, dict) or len(scores) != 1:
        raise OddError(scores)
    (score,) = scores.values()
    if not isinstance(score, dict):
        raise OddError(score)
    value = get(score, "value")
    if isinstance(value, dict):
        if len(value) != 1:
            raise OddError(value)
        (value,) = value.values()
    return *key, verdict({"C": 1, "I": 0, "N": 0, "P": 0.5}.get(value, value) if isinstance(value, str) else value), ()


def recount_inspect(data):
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise OddError("JSON") from None
    samples = get(document, "samples")
    if not isinstance(samples, list):
        raise OddError(samples)
    return numbered([inspect_sample(sample) for sample in samples], 0)


def unzip(data):
    """{member: content}, of zstd members through pyarrow."""
    archive = zipfile.ZipFile(io.BytesIO(data))
    found = {}
    for info in archive.infolist():
        start = info.header_offset
        skip = (
            30
            + int.from_bytes(data[start + 26 : start + 28], "little")
            + int.from_bytes(data[start + 28 : start + 30], "little")
        )
        packed = data[start + skip : start + skip + info.compress_size]
        found[info.filename] = pa.input_stream(pa.py_buffer(packed), compression="zstd").read()
    return found


def zipped(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, content in members.items():
            archive.writestr(key, content)
    return file.getvalue()


def recount_zip(data):
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        texts = [
            archive.read(key)
            for key in dict.fromkeys(archive.namelist())
            if key.startswith("samples/") and key.endswith(".json")
        ]
        return numbered([inspect_sample(json.loads(text.decode("utf-8-sig"))) for text in texts], 0)
    except OddError:
        raise
    except Exception:
        raise OddError("zip") from None


def recount_trl(data):
    try:
        table = pq.read_table(io.BytesIO(data), columns=["prompt", "judge", "step"]).to_pylist()
    except Exception:
        raise OddError("parquet") from None
    return count([(name(get(r, "prompt")), verdict(get(r, "judge")), same(get(r, "step"))) for r in table])


def recount_csv(data):
    triples, left_out, header, start = [], 0, None, 1
    try:
        text = data.decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        whole_end = text.endswith(("\n", "\r"))
        for row in reader:
            start = reader.line_num + 1
            last = reader.line_num == text.count("\n") + 1
            if header is None:
                header = row
            elif row and len(row) < len(header) and last and not whole_end:
                left_out = 1
            elif row and (len(row) != len(header) or len(set(header)) < len(header)):
                raise OddError(row)
            elif row:
                cells = dict(zip(header, row, strict=True))
                triples.append((name(get(cells, "prompt")), verdict(get(cells, "right")), cells.get("step", "")))
    except csv.Error as error:
        if "unexpected end" not in str(error) or whole_end or reader.line_num != start:
            raise OddError("CSV") from None
        left_out = 1
    except ValueError:
        raise OddError("UTF-8") from None
    return count(triples, left_out)


def recount_counts(data):
    rows, left_out = lines(data)
    table = {}
    for row in rows:
        key = name(get(row, "prompt"))
        n, c, missing = whole(get(row, "n")), whole(get(row, "correct")), whole(row.get("not_judged", 0))
        if c > n or key in table:
            raise OddError(row)
        table[key] = [c, n, missing]
    if not table:
        raise OddError("nothing")
    return table, left_out


def own_log():
    rows = [
        Rollout(f"p{i}", j, "q", f"{i} {j}", ("right", "wrong", "not_judged")[(i * j) % 3], settings="s")
        for i in range(3)
        for j in range(4)
    ]
    return "".join(json.dumps(row.to_json()) + "\n" for row in rows).encode()


def csv_log():
    rows = "".join(f'"q{i}, long",{(i + j) % 2},7,text é\n' for i in range(3) for j in range(4))
    return ("prompt,right,step,completion\n" + rows).encode()


def counts_log():
    return "".join(
        json.dumps({"prompt": f"q{i}", "n": 8, "correct": i, "not_judged": 1}) + "\n" for i in range(6)
    ).encode()


def fixture(file):
    data = (LOGS / file).read_bytes()
    return gzip.decompress(data) if file.endswith(".gz") else data


FIRST = "samples_own_sum_first_2026-01-01T00-00-00.000000.jsonl"
FAMILIES = {  # family -> (file name, the log, its recount, options)
    "own": ("rollouts.jsonl", own_log, recount_own, {}),
    "human-eval": ("h.jsonl", lambda: fixture("human_eval_samples.jsonl_results.jsonl"), recount_human_eval, {}),
    "verl": ("5.jsonl", lambda: fixture("verl_legacy_rollouts.jsonl"), recount_verl, {}),
    "verl V1": ("7.jsonl", lambda: fixture("verl_v1_rollouts.jsonl"), recount_verl, {}),
    "lm-eval": (FIRST, lambda: fixture(FIRST), recount_lm_eval, {}),
    "evalplus": ("e.json", lambda: fixture("evalplus_eval_results.json"), recount_evalplus, {}),
    "inspect": ("i.json", lambda: fixture("inspect_own_sum.json.gz"), recount_inspect, {}),
    "inspect zip": ("i.eval", lambda: zipped(unzip(fixture("inspect_own_sum.eval"))), recount_zip, {}),
    "trl": (
        "t.parquet",
        lambda: fixture("trl_text/completions_00001.parquet"),
        recount_trl,
        {"correct_column": "judge"},
    ),
    "columns": ("c.csv", csv_log, recount_csv, {"prompt_column": "prompt", "correct_column": "right"}),
    "counts": ("n.jsonl", counts_log, recount_counts, {}),
}
VALUES = [None, math.nan, -1, 0.5, 1, 0, True, "x", "", "1", [], {}, 1e400, 10**30, "true", "not_judged", [[]], 2, -0.0]


def bytewise(data, rng):
    """Flip, delete, insert, cut."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[at : at + rng.choice((1, 1, 10, 200))]
        elif kind == 2:
            data[at:at] = rng.choice((b"\x00", b"\n", b'"', b"}", b"{", b",", b"1", b"\xff", b"null", b"[" * 3000))
        elif kind == 3:
            del data[at:]
        else:
            data[at : at + 1] = bytes([rng.randrange(256)])
        if not data:
            break
    return bytes(data)


def linewise(data, rng):
    """Repeat, drop, swap and blank lines; other line ends; a byte order mark."""
    rows = data.splitlines(keepends=True)
    kind = rng.randrange(6)
    i, j = rng.randrange(len(rows)), rng.randrange(len(rows))
    if kind == 0:
        rows.insert(j, rows[i])
    elif kind == 1:
        del rows[i]
    elif kind == 2:
        rows[i], rows[j] = rows[j], rows[i]
    elif kind == 3:
        rows.insert(i, rng.choice((b"\n", b"  \n", b"\r\n")))
    elif kind == 4:
        rows = [row.replace(b"\n", b"\r\n") for row in rows]
    else:
        rows.insert(0, b"\xef\xbb\xbf")
    return b"".join(rows)


def change(value, rng):
    """Another value, a missing or a further key, somewhere in a JSON value."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        kind = rng.randrange(4)
        if kind == 0:
            return {k: v for k, v in value.items() if k != key}
        if kind == 1:
            return {(f"{k}_" if k == key else k): v for k, v in value.items()}
        return {k: change(v, rng) if k == key else v for k, v in value.items()}
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        return rng.choice(
            (
                value[:at] + value[at + 1 :],
                [*value, value[at]],
                [change(v, rng) if i == at else v for i, v in enumerate(value)],
            )
        )
    return rng.choice(VALUES)


def by_field(family, data, rng):
    """A change of meaning at one place, in the format of the family; and its line, in JSON Lines."""
    if family == "trl":
        table = pq.read_table(io.BytesIO(data)).to_pydict()
        key = rng.choice(list(table))
        kind = rng.randrange(3)
        if kind == 0:
            del table[key]
        elif kind == 1:
            table[key] = [rng.choice((None, v, v)) for v in table[key]]
        else:
            table[key] = [rng.choice((None, 0.5, 1.0, 0.0, math.nan, math.inf, 2.0)) for _ in table[key]]
        file = io.BytesIO()
        pq.write_table(pa.table(table), file)
        return file.getvalue(), None
    if family == "columns":
        rows = list(csv.reader(io.StringIO(data.decode(), newline="")))
        row = rng.choice(rows)
        row[rng.randrange(len(row))] = str(rng.choice(VALUES))
        file = io.StringIO(newline="")
        csv.writer(file).writerows(rows)
        return file.getvalue().encode(), None
    if family == "inspect zip":
        members = unzip_plain(data)
        key = rng.choice([k for k in members if k.startswith("samples/") or k == "header.json"])
        if rng.random() < 0.2:
            del members[key]
        else:
            members[key] = json.dumps(change(json.loads(members[key]), rng)).encode()
        return zipped(members), None
    if family in ("evalplus", "inspect"):
        document = json.loads(data)
        inner = "eval" if family == "evalplus" else "samples"
        if rng.random() < 0.8:
            document[inner] = change(document[inner], rng)
        else:
            document = change(document, rng)
        return json.dumps(document).encode(), None
    rows = data.splitlines()
    at = rng.randrange(len(rows))
    rows[at] = json.dumps(change(json.loads(rows[at]), rng)).encode()
    return b"\n".join(rows) + b"\n", at + 1


def unzip_plain(data):
    archive = zipfile.ZipFile(io.BytesIO(data))
    return {key: archive.read(key) for key in archive.namelist()}


def mutated(family, data, rng):
    kind = rng.random()
    if kind < 0.4:
        return by_field(family, data, rng)
    if kind < 0.6 and family not in ("trl", "inspect zip"):
        return linewise(data, rng), None
    return bytewise(data, rng), None


PLACE = re.compile(r"line \d+|row \d+|sample \d+|task '|samples/\S+|header\.json|_journal/")
WHOLE = (  # said of a whole file
    "no known log",
    "is empty",
    "mixes",
    "no rollout in this log",
    "no whole",
    "can be rewards",
    "cannot be read",
    "no column of numbers",
    "the columns are",
    "neither header.json",
    "field 'eval'",
    "field 'samples': missing",
    "field 'status'",
)
LATER = ("second time", "before", "already", "follows output")  # said of a later line


def check(family, tmp_path, rng):
    """Mutate once and compare; returns what came of it."""
    file, make, recount, options = FAMILIES[family]
    original = make()
    data, line = mutated(family, original, rng)
    packed = family not in ("trl", "inspect zip") and rng.random() < 0.1
    path = tmp_path / file
    path.write_bytes(gzip.compress(data) if packed else data)
    try:
        truth = recount(data)
    except OddError as odd:
        truth = odd
    try:
        log = read_log(path, **options)
    except AdvshapeError as error:
        text = str(error)
        assert str(path) in text, text
        assert PLACE.search(text.replace(str(path), "")) or any(words in text for words in WHOLE), f"{family}: {text}"
        if line and not any(words in text for words in (*WHOLE, *LATER)):
            assert f"line {line}," in text or f"line {line}:" in text, f"{family}: line {line} was changed, not {text}"
            assert "field '" in text or "no JSON" in text or "expected a JSON object" in text, text
        assert not isinstance(truth, tuple) or data != original, f"{family}: refuses a good file: {text}"
        return "refused a readable file" if isinstance(truth, tuple) else "refused"
    assert not isinstance(truth, OddError), f"{family}: {truth!r} was read as {table(log)}"
    assert table(log) == {key if len(key) <= 80 else key[:48]: row for key, row in truth[0].items()}, family
    left_out = sum(n for what, (n, _) in log.skipped.items() if "member" not in what)
    assert left_out == truth[1], f"{family}: {dict(log.skipped)}, the recount left out {truth[1]}"
    return "read"


def table(log):
    c = log.counts
    names = [p if len(p) < 68 else p[:48] for p in c.problems]  # a long prompt is its beginning and a hash
    return {p: list(map(int, row)) for p, *row in zip(names, c.correct, c.judged, c.not_judged, strict=True)}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_recount_agrees_on_the_log_itself(family, tmp_path):
    file, make, recount, options = FAMILIES[family]
    (tmp_path / file).write_bytes(make())
    log = read_log(tmp_path / file, **options)
    assert (table(log), sum(n for n, _ in log.skipped.values())) == recount(make())


def fuzz(count_of, seed, tmp_path):
    outcomes = {}
    for i in range(count_of):
        family = list(FAMILIES)[i % len(FAMILIES)]
        found = check(family, tmp_path, random.Random(f"{seed} {i}"))
        outcomes.setdefault(family, []).append(found)
    return outcomes


def test_300_mutated_logs(tmp_path):
    outcomes = fuzz(300, 0, tmp_path)
    every = [found for some in outcomes.values() for found in some]
    assert every.count("read") > 60
    assert every.count("refused") > 60
    # a file that has a meaning may be refused only where the reader is stricter than the recount needs to be
    assert every.count("refused a readable file") < 15


@pytest.mark.long
def test_5000_mutated_logs(tmp_path):
    outcomes = fuzz(5000, 1, tmp_path)
    for family, found in outcomes.items():
        assert found.count("read") > 20, family
        assert found.count("refused a readable file") < len(found) / 10, family
