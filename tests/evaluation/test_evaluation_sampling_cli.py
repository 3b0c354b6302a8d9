"""`advshape evaluate` as a command: killed and resumed (recovery), full disk, wrong usage, what it prints.

A process that has imported torch and loaded a model once forks a child for each command: a real process is
there to be killed, and the seconds of the imports are paid once.
"""

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from importlib.metadata import version

import pytest

from advshape.cli import main
from advshape.evaluation.logs.rollout_log import read_rollouts, read_settings

if any(importlib.util.find_spec(name) is None for name in ("torch", "transformers", "tqdm")):
    pytest.skip("sampling needs torch and transformers", allow_module_level=True)

FORKS = textwrap.dedent("""
    import json, os, resource, sys
    import torch
    import advshape.evaluation.sampling.evaluate, advshape.tasks.countdown
    from advshape.cli import main
    from advshape.evaluation.sampling.models import find_model, load_model

    torch.set_num_threads(1)
    load_model(find_model("countdown"))
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if not child:
            os.chdir(order["cwd"])
            for number, name in ((1, "out.txt"), (2, "err.txt")):
                os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            if order["most"]:
                resource.setrlimit(resource.RLIMIT_FSIZE, (order["most"], order["most"]))
            try:
                code = main(order["words"])
                sys.stdout.flush()
            except BaseException:
                import traceback
                traceback.print_exc()
                code = 99
            sys.stderr.flush()
            os._exit(code)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
""")
WORDS = ["evaluate", "countdown", "--task", "countdown", "-n", "5", "--count", "8", "--batch-size", "6", "--quiet"]


@pytest.fixture(scope="module")
def forks():
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", FORKS], text=True, env=env, **pipes) as process:
        yield process
        process.stdin.close()


class Command:
    """One `advshape ...` in a process of its own."""

    def __init__(self, forks, cwd, *words, most=0):
        self.forks, self.cwd = forks, cwd
        forks.stdin.write(json.dumps({"cwd": str(cwd), "words": [*WORDS, *words], "most": most}) + "\n")
        forks.stdin.flush()
        self.pid = int(forks.stdout.readline())

    def wait(self):
        """(exit code, standard output, standard error)."""
        code = int(self.forks.stdout.readline())
        return code, (self.cwd / "out.txt").read_text(), (self.cwd / "err.txt").read_text()


def size(path):
    return path.stat().st_size if path.exists() else 0


@pytest.fixture(scope="module")
def whole(forks, tmp_path_factory):
    """The log and the summary of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    code, _, err = Command(forks, folder, "--out", "log", "--temperature", "0.7,1.0").wait()
    assert (code, err) == (0, "")
    return folder / "log"


def test_killed_at_random_moments(forks, whole, tmp_path):
    """Recovery: SIGKILL six times, whenever the log has reached a seeded random size; then one run to the end."""
    log, complete = tmp_path / "log" / "rollouts.jsonl", whole / "rollouts.jsonl"
    chance, deaths = random.Random(3), []
    for kill in range(6):
        command = Command(forks, tmp_path, "--out", "log", "--temperature", "0.7,1.0")
        target = chance.randint(0, size(complete) * (kill + 1) // 7)
        patience = time.monotonic() + 300
        while size(log) < target and time.monotonic() < patience:
            time.sleep(0.0005)
        time.sleep(chance.uniform(0, 0.004))
        os.kill(command.pid, signal.SIGKILL)
        deaths.append(command.wait()[0])
    assert deaths == [-9] * 6
    assert Command(forks, tmp_path, "--out", "log", "--temperature", "0.7,1.0").wait()[0] == 0
    rollouts = list(read_rollouts(log))
    assert Counter(Counter(r.settings for r in rollouts).values()) == {40: 2}
    assert {r.key for r in rollouts} == {r.key for r in read_rollouts(complete)}
    assert log.read_bytes() == complete.read_bytes()  # the same texts too, with the same batch size
    assert (log.parent / "summary.json").read_text() == (whole / "summary.json").read_text()


def test_cut_anywhere(forks, whole, tmp_path):
    """Recovery: a log cut at seeded random bytes, as a crash of the machine can leave it."""
    data, chance = (whole / "rollouts.jsonl").read_bytes(), random.Random(8)
    (tmp_path / "log").mkdir()
    for place in [0, 1, len(data) - 1, *(chance.randrange(len(data)) for _ in range(3))]:
        (tmp_path / "log" / "rollouts.jsonl").write_bytes(data[:place])
        assert Command(forks, tmp_path, "--out", "log", "--temperature", "0.7,1.0").wait()[0] == 0
        assert (tmp_path / "log" / "rollouts.jsonl").read_bytes() == data, place


def test_full_disk(forks, whole, tmp_path):
    """Recovery: no file may grow beyond a limit (the system's own error, as of a full disk)."""
    most = size(whole / "rollouts.jsonl") // 2 + 17
    code, out, err = Command(forks, tmp_path, "--out", "log", "--temperature", "0.7,1.0", most=most).wait()
    assert (code, out) == (1, "")
    assert "cannot write log/rollouts.jsonl: File too large" in err
    assert "same command again" in err
    assert err.count("\n") == 1
    kept = list(read_rollouts(tmp_path / "log" / "rollouts.jsonl"))
    assert 20 < len(kept) < 60
    assert Command(forks, tmp_path, "--out", "log", "--temperature", "0.7,1.0").wait()[0] == 0
    assert (tmp_path / "log" / "rollouts.jsonl").read_bytes() == (whole / "rollouts.jsonl").read_bytes()


def test_everything_that_decides_the_numbers_is_in_every_output(forks, tmp_path):
    """n, temperature, top-p, token limit, seed, engine, verifier, versions, truncated, not judged."""
    words = ["--temperature", "0.6", "--top-p", "0.9", "--seed", "7", "--max-new-tokens", "11"]
    code, out, _ = Command(forks, tmp_path, *words).wait()
    assert code == 0
    code, printed, _ = Command(forks, tmp_path, *words, "--json").wait()
    written = json.loads((tmp_path / "runs" / "evaluate-countdown-countdown" / "summary.json").read_text())
    assert json.loads(printed) == written
    settings, outcomes = written["settings"], written["outcomes"]
    assert (written["n"], settings["temperature"], settings["top_p"]) == (5, 0.6, 0.9)
    assert (settings["max_new_tokens"], settings["seed"]) == (11, 7)
    engine = f"transformers {version('transformers')}, torch {version('torch')}"
    assert f"{settings['engine']} {settings['engine_version']}" == engine
    assert written["versions"] == {"advshape": version("advshape")}
    assert settings["verifier"].startswith("advshape.tasks.countdown.Countdown ")
    assert outcomes["truncated"] == sum(r.truncated for r in read_rollouts(next(tmp_path.rglob("rollouts.jsonl"))))
    for part in (
        "n = 5",
        "temperature 0.6",
        "top-p 0.9",
        "at most 11 tokens",
        "seed 7",
        engine,
        settings["verifier"],
        f"advshape {version('advshape')}",
        f"{outcomes['truncated']} truncated",
        f"{outcomes['not_judged']} not judged",
        settings["fingerprint"],
        "8 heldout problems",
        "pass@4",
    ):
        assert part in out, part


def test_several_temperatures(forks, tmp_path, whole):
    """One command, one log, settings told apart; the frontier says what each single curve says."""
    words = ["--temperature", "0.7,1.0", "--out", str(whole), "--plot", "figures/frontier.svg"]
    code, out, err = Command(forks, tmp_path, *words).wait()
    assert code == 0
    assert "drawn: figures/frontier.svg" in err
    assert "also holds" not in out
    image = (tmp_path / "figures" / "frontier.svg").read_text()
    assert image.startswith("<?xml")
    assert [p.name for p in (tmp_path / "figures").iterdir()] == ["frontier.svg"]
    settings = read_settings(whole / "rollouts.jsonl")
    assert sorted(s["temperature"] for s in settings.values()) == [0.7, 1.0]
    rows = [line.split() for line in out.splitlines() if line.startswith(("0.7 ", "1 "))]
    curves = [line.split()[1] for line in out.splitlines() if line.startswith(("pass@1 ", "pass@4 "))]
    assert [row[1] for row in rows] == curves[::2]  # pass@1 at 0.7 and 1.0
    assert [row[5 if row[4] == "*" else 4] for row in rows] == curves[1::2]
    code, out, _ = Command(forks, tmp_path, "--seed", "5", "--out", str(whole)).wait()
    assert code == 0
    assert "also holds rollouts of 2 other settings (seed); they are kept, and not counted here" in out


def test_greedy_takes_one_rollout(forks, tmp_path):
    """Reduction: temperature 0 is the limit of ever colder sampling."""
    greedy = Command(forks, tmp_path, "-n", "1", "--temperature", "0", "--out", "greedy").wait()
    cold = Command(forks, tmp_path, "-n", "1", "--temperature", "0.001", "--out", "cold").wait()
    assert (greedy[0], cold[0]) == (0, 0)
    texts = [[r.completion for r in read_rollouts(tmp_path / f / "rollouts.jsonl")] for f in ("greedy", "cold")]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["countdown", "--task", "countdwn"], ["'countdwn'", "'countdown'"]),
        (["countdwn", "--task", "countdown"], ["'countdwn'", "'countdown'"]),
        (["./nowhere", "--task", "countdown"], ["'./nowhere'", "config.json"]),
        (["--task", "countdown"], ["MODEL", "--server"]),
        (["countdown", "--task", "countdown", "--server", "http://127.0.0.1:1"], ["either", "--model-name"]),
        (["countdown", "--task", "countdown", "--chat", "--retries", "0"], ["--chat, --retries", "--server URL"]),
        (["countdown", "--task", "countdown", "-n", "0"], ["n must be 1 or more"]),
        (["countdown", "--task", "countdown", "--temperature", "0"], ["temperature", "greedy", "n=64"]),
        (["countdown", "--task", "countdown", "--temperature", "-1", "-n", "1"], ["above 0", "-1"]),
        (["countdown", "--task", "countdown", "--temperature", "nan"], ["above 0", "nan"]),
        (["countdown", "--task", "countdown", "--top-p", "0"], ["top_p"]),
        (["countdown", "--task", "countdown", "--count", "1"], ["at least 2"]),
        (["countdown", "--task", "countdown", "--batch-size", "0"], ["batch_size"]),
        (["countdown", "--task", "countdown", "--max-new-tokens", "0"], ["max_new_tokens"]),
        (["countdown", "--task", "countdown", "--plot", "file/curve.png"], ["file is a file"]),
        (["countdown", "--task", "countdown", "--set", "largets=3"], ["largets", "largest"]),
        (["countdown", "--task", "countdown", "--out", "run"], ["training run"]),
        (["countdown", "--task", "countdown", "--out", "file"], ["file is a file"]),
        (["--task", "countdown", "--server", "127.0.0.1"], ["no address"]),
    ],
)
def test_wrong_usage(capsys, tmp_path, monkeypatch, words, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.toml").write_text("")
    (tmp_path / "file").write_text("")
    code = main(["evaluate", *words, "--quiet"])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.startswith("advshape: ")
    assert err.count("\n") == 1
    for part in expected:
        assert part in err
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "recipe.toml", "run"]


def test_wrong_usage_is_said_before_torch_is_loaded():
    words = ["evaluate", "countdown", "--task", "countdown", "--top-p", "2"]
    code = f"import sys; from advshape.cli import main; main({words}); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "top_p must lie in (0, 1]" in done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--temperature", "0.4,hot"], "'0.4,hot' is no list of temperatures"),
        (["--temperature", "1,1.0"], "has a temperature twice"),
        (["--plot", "figure.jpg"], "has to end in .png or .svg"),
        (["--temprature", "1"], "unrecognized arguments: --temprature"),
    ],
)
def test_argparse_refuses(capsys, words, expected):
    with pytest.raises(SystemExit) as error:
        main(["evaluate", "countdown", "--task", "countdown", *words])
    assert error.value.code == 2
    assert expected in capsys.readouterr().err
