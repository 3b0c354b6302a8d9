"""Judging a batch: parity with one by one, in order, whoever raises; and what counts as the verifier's source."""

import importlib
import sys
import threading
import time
from dataclasses import replace

import pytest

from advshape.errors import AdvshapeError
from advshape.evaluation.results.runs import load_runs
from advshape.evaluation.sampling import collect
from advshape.evaluation.sampling.answers import REFUSED
from advshape.evaluation.sampling.engine import Completion, Identity, SamplingSettings, judged
from advshape.evaluation.sampling.evaluate import evaluate
from advshape.evaluation.sampling.verifier import verifier_sources, verifier_version
from advshape.tasks import Problem, Verdict
from advshape.tasks.judging import guarded, judge_all

SETTINGS = SamplingSettings(task="sums", seed=3)


class OneByOne:
    """Right where the text is the answer; raises on some texts."""

    name = "sums"

    def problems(self, split, count, seed=0):
        return [Problem(f"p{i}", f"{i}+{i}=", {"answer": str(2 * i)}) for i in range(count)]

    def verdict(self, problem, completion):
        if completion == "boom":
            raise RuntimeError("no verdict")
        right = completion == problem.data["answer"]
        return Verdict("right", "", completion) if right else Verdict("wrong", f"not {completion}")


class InParallel(OneByOne):
    """The same verdicts, four at a time, the first to start the last to end."""

    threads: set[str]

    def __init__(self):
        self.threads = set()

    def verdicts(self, problems, completions):
        def slowly(item):
            self.threads.add(threading.current_thread().name)
            time.sleep(0.003 * (4 - int(item[0].id[1:]) % 4))
            return self.verdict(*item)

        return judge_all(slowly, list(zip(problems, completions, strict=True)), 4)


def batch():
    problems = OneByOne().problems("train", 12)
    texts = ["0", "boom", "4", "5", "", "10", "boom", "14", "1", "18", "20", "x"]
    return [
        (problem, i % 3, Completion(text, len(text), i % 5 != 0, "the server stopped it" if i in (2, 11) else "", ""))
        for i, (problem, text) in enumerate(zip(problems, texts, strict=True))
    ]


def test_parity_of_a_batch_with_one_by_one():
    task = InParallel()
    found = judged(task, batch(), SETTINGS)
    for (problem, sample, answer), rollout in zip(batch(), found, strict=True):
        verdict = guarded(lambda item: OneByOne().verdict(*item), (problem, answer.text))
        wanted = ("not_judged", answer.refused) if answer.refused else (verdict.outcome, verdict.reason)
        assert (rollout.outcome, rollout.reason) == wanted
        assert rollout.key == (problem.id, sample, SETTINGS.hash)
        assert (rollout.completion, rollout.truncated) == (answer.text, not answer.ended)
        assert rollout.answer == (answer.text if rollout.outcome == "right" else None)
    assert found == judged(OneByOne(), batch(), SETTINGS)
    assert [r.outcome for r in found].count("not_judged") == 4
    assert len(task.threads) > 1


class Answers:
    """An engine whose answer depends on the sample alone; remembers what it was asked for."""

    identity, notes = Identity("m", "m", "fake", "1"), ()

    def __init__(self):
        self.asked = []

    def sample(self, task, problems, *, n, settings, skip, progress):
        for problem in problems:
            asked = [sample for sample in range(n) if (problem.id, sample) not in skip]
            self.asked += [(problem.id, sample) for sample in asked]
            texts = [("0", "2", "boom", "lost")[sample % 4] for sample in asked]
            refused = [f"{REFUSED} 'filter'" if text == "lost" else "" for text in texts]
            answers = [
                Completion(text, 2, sample % 2 == 0, why, "hm")
                for sample, text, why in zip(asked, texts, refused, strict=True)
            ]
            yield judged(task, [(problem, *pair) for pair in zip(asked, answers, strict=True)], settings)


class Other(OneByOne):
    """Another verifier: raises on no text, and takes any digit for right."""

    def verdict(self, problem, completion):
        return Verdict("right" if completion.isdigit() else "wrong")


class Reworded(Other):
    def problems(self, split, count, seed=0):
        return [replace(problem, prompt=f"Add: {problem.prompt}") for problem in super().problems(split, count, seed)]


@pytest.mark.parametrize("batch_size", [5, 12, 1024])
def test_a_changed_verifier_judges_what_is_there_and_samples_what_is_not(tmp_path, monkeypatch, batch_size):
    """Reduction: as if sampled under the new verifier; a log is read on while batches of it are appended."""
    monkeypatch.setattr(collect._judged_again, "__defaults__", (batch_size,))
    options = {"count": 3, "out": tmp_path, "progress": False}
    first = evaluate(Answers(), OneByOne(), n=4, **options)
    written = (tmp_path / "rollouts.jsonl").read_bytes()
    engine = Answers()
    found = evaluate(engine, Other(), n=6, **options)
    assert engine.asked == [(f"p{i}", sample) for i in range(3) for sample in (4, 5)]
    assert found.settings.hash != first.settings.hash
    fresh = evaluate(Answers(), Other(), n=6, count=3, progress=False)
    assert found.rollouts == fresh.rollouts
    assert found.counts.totals() == {"right": 12, "wrong": 3, "not_judged": 3, "truncated": 9}, "a refusal stays one"
    assert "1 other settings (verifier)" in found.notes[-1]
    assert "12 of them were judged again by this verifier, not sampled again" in found.notes[-1]
    log = (tmp_path / "rollouts.jsonl").read_bytes()
    assert log.startswith(written), "nothing is taken back"
    ((run,),) = load_runs([str(tmp_path)])
    assert run.counts.totals() == found.counts.totals(), "a comparison takes the last verdict"
    assert f"at @settings={first.settings.hash}" in run.notes[-1]
    ((run,),) = load_runs([f"{tmp_path}@settings={first.settings.hash}"])
    assert run.counts.totals() == first.counts.totals()
    again = Answers()
    evaluate(again, Other(), n=6, **options)
    assert again.asked == []
    assert (tmp_path / "rollouts.jsonl").read_bytes() == log
    evaluate(again, Reworded(), n=4, **options)
    assert len(again.asked) == 12, "another prompt needs another answer"


def test_nothing_can_be_judged_here_stops_the_work():
    class Missing(OneByOne):
        def verdicts(self, problems, completions):
            raise AdvshapeError("no sandbox here")

    with pytest.raises(AdvshapeError, match="no sandbox here"):
        judged(Missing(), batch(), SETTINGS)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of a user: the task imports one module relatively, and names a worker in a text."""
    files = {
        "__init__.py": "",
        "rules.py": "LIMIT = 1\n",
        "unused.py": "",
        "sub/__init__.py": "",
        "sub/worker.py": "import usertasks.deep\n",
        "deep.py": "",
        "task.py": "from .rules import LIMIT\nWORKER = 'run usertasks.sub.worker'\nclass Sums: name = 'sums'\n",
    }
    for name, text in files.items():
        path = tmp_path / "usertasks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "usertasks", importlib.import_module("usertasks.task").Sums()
    for name in [name for name in sys.modules if name.startswith("usertasks")]:
        del sys.modules[name]


def test_the_verifier_is_all_its_source(package):
    folder, task = package
    assert sorted(verifier_sources("usertasks.task")) == [
        "usertasks.deep",
        "usertasks.rules",
        "usertasks.sub.worker",
        "usertasks.task",
    ]
    seen = {verifier_version(task)}
    for name in ("rules.py", "deep.py", "sub/worker.py", "task.py"):
        with (folder / name).open("a") as file:
            file.write("CHANGED = 1\n")
        seen.add(verifier_version(task))
    assert len(seen) == 5
    (folder / "unused.py").write_text("CHANGED = 1\n")
    for name in ("rules.py", "task.py"):  # what decides no verdict
        (folder / name).write_text('"""A word."""\n\n# a comment\n' + (folder / name).read_text())
    assert verifier_version(task) in seen


def test_a_rule_with_a_name_is_that_name(package):
    task = package[1]
    type(task).VERIFIER = "of May"
    assert verifier_version(task) == "usertasks.task.Sums of May"
    other = type("Other", (type(task),), {"__module__": "usertasks.task"})()
    assert "of May" not in verifier_version(other)  # it may judge in another way


def test_a_lone_module_counts_the_files_beside_it_that_it_imports(tmp_path, monkeypatch):
    (tmp_path / "lonetask.py").write_text("import json\nimport lonehelper\nclass Sums: name = 'sums'\n")
    (tmp_path / "lonehelper.py").write_text("")
    (tmp_path / "other.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("lonetask")
    assert sorted(verifier_sources("lonetask")) == ["lonehelper", "lonetask"]
    assert verifier_sources("builtins") == {}
    for name in ("lonetask", "lonehelper"):
        del sys.modules[name]


def test_what_runs_in_the_sandbox_and_in_workers_counts():
    importlib.import_module("advshape.tasks.code")
    importlib.import_module("advshape.tasks.maths")
    assert {
        "advshape.tasks.sandbox.inside.harness",
        "advshape.tasks.sandbox.inside.candidate",
        "advshape.tasks.sandbox.host",
    } <= set(verifier_sources("advshape.tasks.code"))
    assert "advshape.tasks.maths_worker" in verifier_sources("advshape.tasks.maths")
