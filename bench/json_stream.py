"""Large JSON documents: our cursor against ijson (pip install ijson), seconds and memory above the start.

Two documents of 200 MB: inspect_ai's shape (samples of which 3 % is read: the rest is events and messages) and
evalplus' shape (all of it is read). Run: python bench/json_stream.py
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZE = 200 * 2**20
WANTED = ("id", "epoch", "scores")


def write(path: Path, shape: str) -> None:
    text = "The answer is 42.\n\\boxed{42} " * 30
    events = [{"event": "model", "input": [{"role": "user", "content": text}], "pending": None}] * 16
    sample = {"id": "p", "epoch": 1, "scores": {"match": {"value": "C", "answer": text[:400]}}, "events": events}
    solution = {"task_id": "HumanEval/0", "solution": text, "base_status": "pass", "plus_status": "fail"}
    entry = json.dumps(sample if shape == "inspect" else solution).encode()
    with path.open("wb") as file:
        file.write(b'{"samples": [')
        file.write(b", ".join([entry] * (SIZE // len(entry))))
        file.write(b"]}")


def own(path: Path, shape: str) -> int:
    from advshape.evaluation.readers.base import Context, Options
    from advshape.evaluation.readers.json_stream import JsonStream

    found = 0
    with path.open("rb") as file:
        stream = JsonStream(file, Context(path, Options()))
        for _ in stream.members():
            for _ in stream.elements():
                if shape == "inspect":
                    sample = {key: stream.value() for key in stream.members() if key in WANTED}
                else:
                    sample = stream.value()
                found += len(sample)
    return found


def ijson_whole(path: Path, shape: str) -> int:
    """ijson.items: every entry is built whole."""
    import ijson

    with path.open("rb") as file:
        entries = ijson.items(file, "samples.item", use_float=True)
        return sum(len([key for key in entry if shape != "inspect" or key in WANTED]) for entry in entries)


def ijson_events(path: Path, shape: str) -> int:
    """ijson.parse: only the wanted fields are built."""
    import ijson

    found = 0
    prefixes = {f"samples.item.{name}" for name in WANTED}
    with path.open("rb") as file:
        events = ijson.parse(file, use_float=True)
        for prefix, event, value in events:
            if event == "map_key" or prefix not in prefixes:
                continue
            if event in ("start_map", "start_array"):
                builder = ijson.ObjectBuilder()
                builder.event(event, value)
                for inner, kind, leaf in events:
                    builder.event(kind, leaf)
                    if inner == prefix and kind in ("end_map", "end_array"):
                        break
            found += 1
    return found


def peak() -> float:
    """The most memory that this process has held, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measure(name: str, path: str, shape: str) -> None:
    import ijson  # noqa: F401  (neither import counts)

    import advshape.evaluation.readers.json_stream  # noqa: F401

    before, start = peak(), time.process_time()
    found = globals()[name](Path(path), shape)
    seconds = time.process_time() - start
    size = Path(path).stat().st_size / 1e6
    print(f"{shape:<9}{name:<13}{size / seconds:>5.0f} MB/s  {peak() - before:>5.0f} MB more memory  {found} fields")


def nested(name: str, path: str, shape: str) -> None:
    """What a small hostile file does: 20,000 arrays in one another, 40 KB; the address space has 8 GiB."""
    resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30,) * 2)
    start, before = time.process_time(), peak()
    try:
        said = f"{globals()[name](Path(path), shape)} fields"
    except Exception as error:
        said = f"{type(error).__name__}: {str(error).splitlines()[0][-70:] if str(error) else ''}"
    print(f"nested   {name:<13}{time.process_time() - start:>5.1f} s  {peak() - before:>8.0f} MB more memory  {said}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        (nested if sys.argv[3] == "nested" else measure)(*sys.argv[1:])
        sys.exit()
    with tempfile.TemporaryDirectory() as folder:
        for shape in ("inspect", "evalplus", "nested", "nan"):
            path = Path(folder) / f"{shape}.json"
            if shape == "nested":
                path.write_bytes(b'{"samples": [' + b"[" * 20_000 + b"]" * 20_000 + b"]}")
            elif shape == "nan":
                path.write_bytes(b'{"samples": [{"id": "p", "value": NaN}]}')
            else:
                write(path, shape)
            for name in ("own", "ijson_whole", *(["ijson_events"] if shape == "inspect" else [])):
                subprocess.run([sys.executable, __file__, name, str(path), shape], check=shape != "nan")
