"""Other people's code where it lies: each call shape, each finding, each way to fail, and the page, on small rules."""

import json
import os
import re
import shlex
import subprocess
import sys
import time

import numpy as np
import pytest

import advshape as adv
from advshape.audit import trainers
from advshape.audit.answer import read
from advshape.audit.examine import examine, probe
from advshape.audit.page import page
from advshape.audit.run import TargetFailed, audit, estimators
from advshape.audit.shapes import shaped
from advshape.audit.targets import load
from advshape.cli import main
from advshape.cli.reverse import reversal_text
from advshape.probe.record import Subject, as_data

RULES = '''
import os, time
import numpy as np

def groups(r):
    """Leave-one-out.

    More of it.
    """
    n = r.shape[1]
    return (r - r.mean(1, keepdims=True)) * n / (n - 1)

def one(r):
    return groups(r[None])[0]

def silent(r):
    groups(r)

def scaled(r, by):
    return by * groups(r)

def flat(r, n):
    return groups(r.reshape(-1, n)).reshape(-1)

def listed(rewards):
    return [groups(r[None])[0] for r in rewards], [r for r in rewards]

def plain_list(rewards):
    return [groups(r[None])[0].tolist() for r in rewards]

def by_uid(token_level_rewards, response_mask, index, config, epsilon=0.0):
    import torch
    scores = token_level_rewards.sum(-1) * getattr(config, "scale", 1)
    for uid in set(index):
        own = torch.as_tensor(index == uid)
        n = int(own.sum())
        if n < 2:
            raise ValueError("a group of one")
        scores[own] = (scores[own] - scores[own].mean()) * n / (n - 1)
    return scores[:, None] * response_mask, scores

def by_place(token_level_rewards, response_mask, index, **_):
    scores = token_level_rewards.sum(-1).reshape(-1, 4)
    return (scores - scores.mean(1, keepdim=True)).reshape(-1, 1) * response_mask, None

def by_length(token_level_rewards, response_mask, **_):
    return token_level_rewards.sum(-1)[:, None] * response_mask / response_mask.sum(-1, keepdim=True), None

def by_all_tokens(token_level_rewards, response_mask, **_):
    scores, lengths = token_level_rewards.sum(-1), response_mask.sum(-1)
    return (scores - (scores * lengths).sum() / lengths.sum())[:, None] * response_mask, None

def by_token(token_level_rewards, response_mask, **_):
    return token_level_rewards, None

def by_batch(token_level_rewards, response_mask, **_):
    scores = token_level_rewards.sum(-1)
    return (scores - scores.mean())[:, None] * response_mask, None

def single(token_level_rewards, response_mask, index, noise=0.0, bend=0.0, **_):
    """Rounds to float32 inside, each place in its own way."""
    import torch
    n = int((index == index[0]).sum())
    scores = token_level_rewards.sum(-1).float().reshape(-1, n)
    scores = (scores - scores.mean(1, keepdim=True)) / (bend + scores.mean(1, keepdim=True) ** (1 + bend) + 1e-6)
    scores = scores * (1 + noise * torch.arange(n).float())
    return scores.reshape(-1, 1) * response_mask, None

def tiny(token_level_rewards, response_mask, index, what="order", **_):
    """Not of the class, by 3e-6 of the largest advantage, in double precision."""
    import torch
    n = int((index == index[0]).sum())
    scores = token_level_rewards.sum(-1).reshape(-1, n)
    more = torch.arange(n) if what == "order" else torch.rand(scores.shape)
    return (scores - scores.mean(1, keepdim=True) + 3e-6 * more / n).reshape(-1, 1) * response_mask, None

def float32_only(token_level_rewards, response_mask, **_):
    import torch
    found = torch.zeros(len(response_mask))
    found[torch.arange(len(found))] = token_level_rewards.sum(-1)
    return found[:, None] * response_mask, None

def float64_only(token_level_rewards, response_mask, **_):
    import torch
    assert token_level_rewards.dtype == torch.float64
    scores = token_level_rewards.sum(-1).reshape(-1, 4)
    return (scores * (1 + scores.mean(1, keepdim=True).sin())).reshape(-1, 1) * response_mask, None

def no_tokens(token_level_rewards, **_):
    return token_level_rewards.sum(-1), None

def forever(r):
    while True:
        time.sleep(1)

def leaves(r):
    os._exit(7)

def writes(r):
    with open("left behind", "w") as file:
        file.write("x")
    print("noise on standard output")
    return groups(r)

def lone(rewards):
    return (rewards - rewards.mean()) / (rewards.std() + 1e-4)

def lone_only(rewards):
    (n,) = rewards.shape
    return rewards - rewards.sum() / n

def batch_baseline(rewards):
    rows, n = rewards.shape
    return rewards - rewards.mean()

def _hidden(r):
    return r

number = 3
'''


@pytest.fixture(scope="module")
def rules(tmp_path_factory):
    path = tmp_path_factory.mktemp("audit") / "their_rules.py"
    path.write_text(RULES)
    return path


@pytest.mark.parametrize(
    ("function", "signature"),
    [
        ("groups", None),
        ("groups", "groups"),
        ("one", "group"),
        ("scaled,by=1.0", "groups"),
        ("flat", "flat"),
        ("listed", "list"),
        ("plain_list", "list"),
        ("by_uid", None),
        ("by_uid,epsilon=0.5", "verl"),
    ],
)
def test_every_call_shape_is_the_same_rule(rules, function, signature):
    """Parity: one rule behind four signatures has one table, RLOO's."""
    found = probe(load(f"{rules}:{function}", signature), 5)
    assert found.match.name == "rloo"
    assert found.match.exact
    np.testing.assert_allclose(found.table.weight, adv.estimator("rloo").table(5).weight, rtol=1e-6)
    assert not found.findings


def test_what_the_function_also_takes_reaches_it(rules):
    assert probe(load(f"{rules}:by_uid,config.scale=3"), 4).match.factor == pytest.approx(3)
    assert probe(load(f"{rules}:scaled,by=2.5"), 4).match.factor == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("function", "n", "kinds"),
    [
        ("by_uid", 4, set()),
        ("by_place", 4, {"unequal groups"}),
        ("by_length", 4, {"lengths", "not centred", "dead groups"}),
        ("by_token", 4, {"tokens", "lengths", "not centred", "dead groups"}),
        ("by_batch", 4, {"batch", "batch baseline"}),
    ],
)
def test_what_only_the_signature_shows(rules, function, n, kinds):
    found = probe(load(f"{rules}:{function}", "verl"), n)
    assert {finding.kind for finding in found.findings} == kinds


def test_code_that_rounds_to_single_precision_keeps_its_name(rules):
    """Neither the rounding (no exact name in double precision) nor its dependence on the place is a finding."""
    for n in (8, 16):
        found = probe(load(f"{rules}:single", "verl"), n)
        assert found.match.exact
        assert found.nearest.startswith("maxrl")
    found = probe(load(f"{rules}:single,noise=2e-8,bend=0.5", "verl"), 8)
    assert found.table is not None
    assert "order" not in {finding.kind for finding in found.findings}
    assert "order" in {finding.kind for finding in probe(load(f"{rules}:single,noise=1e-3", "verl"), 8).findings}


def test_single_precision_hides_nothing_untold(rules):
    """Chance is no rounding; an order dependence beyond float32's rounding is told."""
    found = probe(load(f"{rules}:tiny", "verl"), 6)
    (told,) = (f for f in found.findings if f.kind == "precision")
    assert "order: " in told.message
    assert found.match.name == "dr_grpo"
    found = probe(load(f"{rules}:tiny,what=chance", "verl"), 6)
    assert found.surrogate is None
    assert "random" in {f.kind for f in found.findings}


def test_code_that_takes_one_precision_alone_is_measured_in_it(rules):
    assert probe(load(f"{rules}:float32_only", "verl"), 4).match.name == "reinforce"
    assert probe(load(f"{rules}:float64_only", "verl"), 4).table is not None


def test_advantages_without_tokens_are_refused(rules):
    for n in (3, 4):  # three responses of three tokens would broadcast
        with pytest.raises(adv.AdvshapeError, match="returned shape"):
            probe(load(f"{rules}:no_tokens", "verl"), n)


@pytest.mark.parametrize("function", ["by_length", "by_all_tokens"])
def test_the_example_of_unequal_lengths_can_be_run_as_it_stands(rules, function):
    target = load(f"{rules}:{function}", "verl")
    (found,) = [f for f in probe(target, 4).findings if f.kind == "lengths"]
    rewards, lengths = (np.array([row]) for row in found.rewards)
    np.testing.assert_allclose(target.rule.sized(rewards, lengths.astype(int))[0], found.advantages[0])


def test_examination(rules):
    target = load(f"{rules}:by_length", "verl")
    data = examine(target, probe(target, 4))
    assert data["filters"].startswith("dropping dead groups loses A-(0) = 0 and A+(4) = 0.3333")
    assert data["group_of_one"] == {"wrong": 0.0, "right": pytest.approx(1 / 3)}
    target = load(f"{rules}:by_uid", "verl")
    data = examine(target, probe(target, 4))
    assert data["group_of_one"] == {"refuses": "ValueError: a group of one"}
    assert "only rescales" in data["filters"]
    assert data["slope_at_0_and_1"] == pytest.approx([1.0, 1.0])
    assert json.loads(json.dumps(data)) == json.loads(json.dumps(data))
    assert load(f"{rules}:groups").documentation == "Leave-one-out."


def test_in_its_own_process(rules, tmp_path, monkeypatch):
    """It writes where nobody looks, its noise is not ours, and no caches are left beside the file."""
    monkeypatch.chdir(tmp_path)
    found = audit(f"{rules}:writes", [3, 4])
    assert [data["n"] for data in found] == [3, 4]
    assert "this is rloo" in found[0]["summary"]
    assert os.listdir(tmp_path) == []
    assert os.listdir(rules.parent) == [rules.name]


def test_time_limit_and_death(rules):
    start = time.monotonic()
    with pytest.raises(TargetFailed, match=r"longer than 2 s; allow more with --seconds"):
        audit(f"{rules}:forever", [4], seconds=2)
    assert time.monotonic() - start < 30
    with pytest.raises(TargetFailed, match="exit code 7"):
        audit(f"{rules}:leaves", [4])


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["reverse", "{rules}:nothing"], 2, "no advantage function"),
        (["reverse", "{rules}:nothing"], 2, "it has groups, one, silent, scaled, flat"),
        (["reverse", "{rules}:lisled"], 2, "did you mean 'listed'?"),
        (["reverse", "json:lods"], 2, "did you mean 'loads'?"),
        (["reverse", "{rules}:lone_only"], 2, "with --signature group or flat it answers"),
        (["reverse", "{rules}:groups", "--signature", "group"], 2, "with --signature groups it answers"),
        (["reverse", "{rules}:flat"], 2, "with --signature flat it answers"),
        (["reverse", "{rules}:scaled"], 2, "it also needs by: add ,by=VALUE to its name"),
        (["reverse", "{rules}:silent"], 2, "it returned None"),
        (["reverse", "{rules}:groups", "-n", "0"], 2, "1 to 512 rollouts, got n=0"),
        (["reverse", "{rules}:number"], 2, "is no function but of type int"),
        (["reverse", "{rules}:scaled,by"], 2, "write function,name=value"),
        (["reverse", "{rules}.py:groups"], 2, "there is no file"),
        (["reverse", "{rules}:groups", "--python", "/no/such/python"], 2, "give --python the path of an interpreter"),
        (["reverse", "tunix:grpo"], 2, "google-tunix is not installed for"),
        (["reverse", "trl:", "--signature", "flat"], 2, "--signature is for functions of your own"),
        (["reverse", "{rules}:leaves"], 1, "exit code 7"),
        (["audit", "nobody"], 2, "'nobody' is no trainer"),
        (["audit", "tunix", "--out", "{folder}/a.md"], 2, "google-tunix is not installed"),
        (["audit", "--python", "verl"], 2, "write TRAINER=PATH"),
        (["audit", "-n", "8;16"], 2, "give group sizes"),
        (["audit", "-n", "1"], 2, "give group sizes"),
        (["audit", "--out", "page.html"], 2, "give a file FILE.md"),
    ],
)
def test_each_mistake_is_one_clear_sentence(rules, tmp_path, capsys, words, code, message):
    words = [word.format(rules=rules, folder=tmp_path) for word in words]
    assert main(words) == code
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""
    assert len([line for line in said.err.splitlines() if line.startswith("advshape:")]) == 1


@pytest.mark.parametrize("words", [["reverse", "x:y"], ["audit"], ["doctor"]])
@pytest.mark.parametrize("limit", ["-1", "0", "inf", "nan", "soon"])
def test_a_time_limit_is_a_number_above_0(capsys, words, limit):
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--seconds", limit])
    assert f"expected a number of seconds above 0, such as 300, got '{limit}'" in capsys.readouterr().err


def test_a_rule_of_one_group_called_with_many_is_told_how_to_be_called(rules):
    """`lone` takes one group: on a batch it divides by the batch's deviation, which is another rule."""
    (hint,) = [f for f in probe(load(f"{rules}:lone"), 4).findings if f.kind == "signature"]
    assert "--signature group" in hint.message
    found = probe(load(f"{rules}:lone", "group"), 4)
    assert found.match.name == "grpo(ddof=0, epsilon=0.0001)"
    assert {f.kind for f in found.findings} <= {"array type"}  # torch's own deviation has ddof = 1
    for name, signature in (("batch_baseline", None), ("lone", "groups")):  # takes no single group; it was said
        found = probe(load(f"{rules}:{name}", signature), 4)
        assert "signature" not in {f.kind for f in found.findings}


def test_the_page(rules, tmp_path, capsys):
    """Through the command: rules that run stand in page and data, the one that fails is named, exit code 1."""
    out = tmp_path / "page.md"
    targets = [f"{rules}:groups", f"{rules}:leaves"]
    assert main(["audit", *targets, "-n", "4,6", "--signature", "groups", "--out", str(out)]) == 1
    said = capsys.readouterr()
    assert "1 rules in" in said.out
    assert re.search(r"^\[1/2\] .*:groups: [0-9.]+ s\n\[2/2\] .*:leaves: [0-9.]+ s, not run$", said.err, re.MULTILINE)
    text, data = out.read_text(), json.loads(out.with_suffix(".json").read_text())
    assert [one["n"] for one in data[0]] == [4, 6]
    assert data[0][1]["positive"] == pytest.approx(adv.estimator("rloo").table(6).positive.tolist())
    assert "| 6 | rloo | 1, 1 | 0, 0 |" in text
    assert "## Not run" in text
    assert "exit code 7" in text
    assert (
        text.rstrip().splitlines()[-2]
        == f"$ advshape audit {shlex.join(targets)} --signature groups -n 4,6 --out {out}"
    )
    assert page([data[0]], command="x") == page(json.loads(json.dumps([data[0]])), command="x")


def test_markup_in_a_packages_text_stays_text():
    data = audit_like("<script>alert(1)</script> [a](http://b) `c` *d*\n| e |")
    text = page([[data]])
    assert "<script>" not in text
    assert re.search(r"(?<!\\)\]\((?!reverse)", text) is None
    assert "\\*d\\*" in text


def audit_like(words):
    found = adv.reverse(adv.estimator("rloo").table(2), 2)
    about = Subject("a:b", "x 1", "x.y", words, (words,), group_of_one={"refuses": words})
    return {**as_data(found, about), "filters": words}


def test_only_this_package_comes_along(rules, tmp_path):
    """The child finds advshape by its path; nothing else of this environment is on the child's path."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "v"], check=True)
    (there,) = (tmp_path / "v").glob("lib/*/site-packages")
    for package in ("numpy", "numpy.libs", "scipy", "scipy.libs"):
        source = os.path.join(os.path.dirname(os.path.dirname(np.__file__)), package)
        if os.path.exists(source):
            (there / package).symlink_to(source)
    path = tmp_path / "looks.py"
    path.write_text(
        "import importlib.util\n"
        "def rule(r):\n"
        "    assert importlib.util.find_spec('hypothesis') is None\n"
        "    return r - r.mean(1, keepdims=True)\n"
    )
    assert "dr_grpo" in audit(f"{path}:rule", [4], python=str(tmp_path / "v/bin/python"))[0]["summary"]


def test_a_file_of_a_package_is_imported_as_its_part(tmp_path):
    inner = tmp_path / "theirs_of_test" / "inner"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent):
        (folder / "__init__.py").touch()
    (inner.parent / "shared.py").write_text("def mean(r):\n    return r.mean(1, keepdims=True)\n")
    (inner / "rule.py").write_text("from ..shared import mean\ndef rule(r):\n    return r - mean(r)\n")
    assert "dr_grpo" in audit(f"{inner}/rule.py:rule", [4])[0]["summary"]


def test_names_of_an_installed_trainer():
    pytest.importorskip("trl")
    names = estimators("trl")
    assert "scale_rewards=batch,multi_objective_aggregation=sum_then_normalize" in names
    assert len(names) == 6


def test_a_mistyped_name_of_a_trainers_rule_is_told_among_its_own(monkeypatch):
    """Behaviour: the nearest name, and of the names those that are the trainer's, not ours inside it."""
    monkeypatch.setattr(trainers, "version", lambda scheme: "verl 0.9.1")
    known = {"grpo": 1, "grpo_passk": 2, "advshape/grpo": 3}
    with pytest.raises(adv.AdvshapeError, match=r"'grpo_pask', did you mean 'grpo_passk'\?; it has grpo, grpo_passk$"):
        trainers._one_of("verl", known, "grpo_pask")
    assert trainers._one_of("verl", known, "advshape/grpo") == 3


def test_unknown_shape_names_the_known_ones():
    with pytest.raises(adv.AdvshapeError, match="groups, group, flat, list, verl"):
        shaped(len, "rows")


HOSTILE = """
import json, os, sys, time
import numpy as np

import advshape
from advshape.probe.record import Subject, as_data

ROW = as_data(advshape.reverse("reinforce", 1), Subject("t", group_of_one={"wrong": 0.0, "right": None}))

def own(r):
    return r - r.mean(1, keepdims=True)

def forge(text):
    with open(os.path.join(os.path.dirname(sys.argv[1]), "answer.json"), "wb") as file:
        file.write(text)
    os._exit(0)

def no_json(r):
    forge(b"{no")

def no_text(r):
    forge(b"\\xff")

def deep(r):
    forge(b"[" * 200000)

def other(r):
    forge(b'{"data": [{}]}')

def colours(r):
    forge(json.dumps({"data": [{**ROW, "summary": "\\x1b[31mred\\x07"}]}).encode())

def says(r):
    os.write(2, b"\\x1b]0;title\\x07\\n")
    os._exit(3)

def raises(r):
    if (r.sum(1) == 3).any():
        raise ValueError("\\x1b[2J" + "A" * 1000000)
    return own(r)

def flood(r):
    while True:
        os.write(2, b"x" * 1000000)

def stays(r):
    if not hasattr(np, "stayed") and os.fork() == 0:
        os.setsid()
        time.sleep(30)
        os._exit(0)
    np.stayed = True
    return own(r)

def undefined(r):
    found = own(r)
    if len(r) > 1:
        found[r.sum(1) == 2] = np.nan
    return found
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    path = tmp_path_factory.mktemp("hostile") / "hostile.py"
    path.write_text(HOSTILE, encoding="utf-8")
    return path


def printable(text):
    return all(c.isprintable() or c in "\n\t" for c in text)


@pytest.mark.parametrize("name", ["no_json", "no_text", "deep", "other"])
def test_an_answer_that_the_target_forged(hostile, name):
    """Security: one sentence, no traceback."""
    with pytest.raises(TargetFailed, match=f"{name}: its process left an answer that cannot be read"):
        audit(f"{hostile}:{name}", [4])


ROW = as_data(adv.reverse("reinforce", 1), Subject("t", group_of_one={"wrong": 0.0, "right": None}))
WRONG = (None, True, 3, 3.5, "x", [], {}, [None, "x"], [[1]], [{}], {"wrong": "x", "right": 1}, -1, 10**400, [1.0] * 9)


def test_wrong_types_inside_forged_data_are_told_and_never_reach_the_page(tmp_path):
    """Security: each part of the data as something else is refused, or can be written as a page and as text."""
    answer, refused = tmp_path / "answer.json", 0

    def forged(data):
        answer.write_text(json.dumps({"data": data}))
        return read(answer, 1)["data"]

    assert page([forged([ROW])])
    finding = {"kind": "k", "message": "m", "rewards": [], "advantages": []}
    rows = [{**ROW, key: wrong} for key in ROW for wrong in WRONG]
    rows += [{**ROW, "findings": [{**finding, key: wrong}]} for key in finding for wrong in WRONG]
    rows += [{k: v for k, v in ROW.items() if k != key} for key in ROW]
    for row in rows:
        try:
            page([forged([row])])
            reversal_text(*forged([row]))
        except ValueError as error:
            assert "in data" in str(error) or "data lacks" in str(error)  # noqa: PT017
            refused += 1
    assert refused > 150
    for data in ([], [ROW, ROW], [3], {}, "x"):
        with pytest.raises(ValueError, match="data in the answer"):
            forged(data)


def test_nothing_of_the_target_acts_on_the_terminal(hostile):
    """Security: forged text, the last words of a dying process, a long message of an exception."""
    assert audit(f"{hostile}:colours", [4])[0]["summary"] == "\ufffd[31mred\ufffd"
    with pytest.raises(TargetFailed) as caught:
        audit(f"{hostile}:says", [4])
    assert "title" in str(caught.value)
    assert printable(str(caught.value))
    text = reversal_text(*audit(f"{hostile}:raises", [4]))
    assert "AAA" in text
    assert printable(text)
    assert len(text) < 5000


def test_standard_error_without_end_takes_no_memory(hostile):
    """Security: only the tail is kept."""
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TargetFailed, match="longer than 3 s"):
        audit(f"{hostile}:flood", [4], seconds=3.0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB; it writes gigabytes


def test_a_process_that_leaves_the_group_delays_nothing(hostile):
    """Security: it holds standard error open after the answer is there."""
    start = time.monotonic()
    assert "dr_grpo" in audit(f"{hostile}:stays", [4], seconds=25.0)[0]["summary"]
    assert time.monotonic() - start < 20


def test_numbers_that_json_lacks_are_null(hostile):
    found = audit(f"{hostile}:undefined", [4])
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert any(None in row for f in found[0]["findings"] for row in f["advantages"])
