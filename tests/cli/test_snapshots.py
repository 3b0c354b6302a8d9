"""What the command says, held to files that a reviewer reads: every help page and typical errors, word for word.

`make snapshots` writes the files anew; the difference belongs into the change that caused it.
"""

import os
import re
import shlex
import sys
from pathlib import Path

import pytest

import advshape as adv
from advshape.cli import main

FOLDER = Path(__file__).with_name("snapshots")
UPDATE = os.environ.get("ADVSHAPE_SNAPSHOTS") == "update"
pytestmark = pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="recorded with Python 3.11; argparse words its texts differently in others"
)
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no model is looked for on the network

COMMANDS = """
advshape comapre runs/a runs/b
advshape derive
advshape derive "rho +"
advshape derive "1-(1-rho)**8 + 0.1*entropi(rho)"
advshape derive "1/(rho-0.5)"
advshape derive PassAtK
advshape derive "PassAtK(kk=8)"
advshape derive "PassAtK(k=8)" -n 1
advshape derive "PassAtK(k=8)" -n 4
advshape derive "PassAtK(k=8)" -n eight
advshape derive rho --jsn
advshape estimators groop
advshape estimators grpo --markdown
advshape reverse gpro
advshape reverse grpo -n 1000000
advshape reverse "pass_at_k(j=8)"
advshape reverse "pass_at_k(k=0)"
advshape reverse rules.py:shorter
advshape reverse rules.py:nothing
advshape reverse nowhere.py:mine
advshape passk nowhere.jsonl
advshape passk broken.jsonl
advshape passk odd.csv
advshape passk counts.csv -k 100
advshape passk counts.csv --measure best
advshape passk counts.csv --reader excel
advshape passk counts.csv --confidence 95
advshape compare counts.csv
advshape compare counts.csv other.csv
advshape plan --difference 0.03 -k 8
advshape plan --prior 0.5,1 --difference 3 -k 8
advshape report nowhere
advshape watch .
advshape watch . --every 0
advshape audit torch
advshape doctor --config nowhere.yaml
advshape train
advshape train cuntdown --dry-run
advshape train countdown --dry-run --set trainer.learning_rat=1e-5
advshape train countdown --dry-run --set objective.estimator=rlo
advshape train countdown --dry-run --set trainer.num_generations=1
advshape train countdown --dry-run trainer.max_steps=2
advshape train broken.toml --dry-run
advshape train --resume nowhere
advshape evaluate countdown --task cuntdown
advshape evaluate nowhere --task countdown
advshape evaluate countdown --task countdown -n 0
"""
CALLS = """
adv.estimator("groop")
adv.estimator("rloo_k", n=8)
adv.estimator("rloo_k", k=8).table(4)
adv.make_surrogate("PassAtKay", k=8)
adv.parse("rho**", k=1)
adv.unbiased(adv.PassAtK(8)).table(4)
adv.unbiased(adv.PassAtK(8), baseline="middle")
adv.advantages([[1, 0, 2]], adv.estimator("rloo"))
adv.advantages([[1]], adv.estimator("rloo"))
adv.advantages([], adv.estimator("rloo"))
adv.pass_at_k(2, 4, 8)
adv.pass_at_k(5, 4, 2)
adv.Beta(-1, 1)
adv.reverse(lambda rewards: 1, n=4)
adv.reverse("grpo", n=1)
"""
FILES = {
    "broken.jsonl": '{"prompt": "a", "reward": 1}\n{"prompt": "a", "rew\n',
    "broken.toml": "[model\npath = 1\n",
    "counts.csv": "prompt,n,correct\na,4,1\nb,4,0\n",
    "odd.csv": "colour,shape\nred,round\n",
    "other.csv": "prompt,n,correct\nc,4,1\nd,4,0\n",
    "rules.py": "def shorter(rewards):\n    return rewards[:, :1]\n",
}


def said(capsys, words):
    """Exit code, standard output and standard error of a command."""
    try:
        code = main(words)
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    return code, out, err


def check(name, text):
    """The file holds this text; or, when updating, it does from now on."""
    path = FOLDER / name
    if UPDATE:
        FOLDER.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{path.name} is missing: make snapshots"
    assert path.read_text(encoding="utf-8") == text, "make snapshots writes it anew; look at the difference"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder with a few files, so that messages name no path of this machine."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    return tmp_path


def commands(capsys):
    """The commands, as `advshape --help` lists them."""
    _, out, _ = said(capsys, ["--help"])
    return re.findall(r"(?m)^ {4}([a-z][\w-]*)\b", out)


def test_help(place, capsys):
    names = commands(capsys)
    assert len(names) >= 10
    for words in ([], *([name] for name in names)):
        code, out, err = said(capsys, [*words, "--help"])
        assert (code, err) == (0, "")
        check(f"help-{'-'.join(words) or 'advshape'}.txt", out)
    files = {f"help-{name}.txt" for name in ("advshape", *names)}
    for stale in [path for path in FOLDER.glob("help-*.txt") if path.name not in files]:
        assert UPDATE, f"{stale.name}: no such command"
        stale.unlink()


def test_errors_of_the_command(place, capsys):
    """One block for each: the message, on standard error alone, with exit code 2."""
    blocks = []
    for line in COMMANDS.strip().splitlines():
        code, out, err = said(capsys, shlex.split(line)[1:])
        assert (line, code, out) == (line, 2, "")
        blocks.append(f"$ {line}\n{err.replace(str(place), 'HERE')}\n")
    check("errors.txt", "".join(blocks))


def test_errors_of_the_calls(place):
    blocks = []
    for line in CALLS.strip().splitlines():
        with pytest.raises(adv.AdvshapeError) as caught:
            print(line, eval(line, {"adv": adv}))
        blocks.append(f">>> {line}\n{caught.value}\n\n")
    check("calls.txt", "".join(blocks))


@pytest.mark.skipif(UPDATE, reason="updating")
def test_the_check_can_fail():
    with pytest.raises(AssertionError, match="look at the difference"):
        check("calls.txt", "other words")
    with pytest.raises(AssertionError, match="is missing"):
        check("nothing.txt", "")
