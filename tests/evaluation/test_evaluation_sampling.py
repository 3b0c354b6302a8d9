"""Sampling and evaluation with the model that ships: seeded, resumable, undisturbed, honest about failures."""

import importlib.resources
import json
import random
from collections import Counter

import numpy as np
import pytest
from scipy.special import chdtrc

from advshape.errors import AdvshapeError
from advshape.evaluation.logs.count import count_rollouts
from advshape.evaluation.logs.rollout_log import read_rollouts, read_settings
from advshape.evaluation.sampling.evaluate import evaluate, evaluate_temperatures
from advshape.evaluation.sampling.local import (
    SamplingSettings,
    encode_prompts,
    fingerprint,
    load_model,
    sample_rollouts,
)
from advshape.evaluation.stats.curves import pass_curve
from advshape.tasks import Problem, Verdict, load_task

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

MODEL = importlib.resources.files("advshape") / "models" / "countdown"
SMALL = {"count": 6, "n": 4, "max_new_tokens": 17, "progress": False}


@pytest.fixture(scope="module")
def loaded():
    return load_model(str(MODEL))


@pytest.fixture
def task():
    return load_task("countdown")


def sampled(loaded, task, problems, **options):
    options = {"n": 4, "max_new_tokens": 17, "progress": False, **options}
    return [r for batch in sample_rollouts(*loaded, task, problems, **options) for r in batch]


def test_same_seed_same_rollouts_and_nothing_else_moves(loaded, task):
    problems = task.problems("heldout", 5)
    loaded[0].train()
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    first = sampled(loaded, task, problems, batch_size=7)
    again = sampled(loaded, task, problems, batch_size=7)
    other = sampled(loaded, task, problems, batch_size=7, seed=1)
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert loaded[0].training
    assert first == again
    assert [r.completion for r in first] != [r.completion for r in other]
    assert [r.key[:2] for r in first] == [(p.id, i) for p in problems for i in range(4)]


def test_the_distribution_is_the_models_at_this_temperature(loaded, task):
    """First characters of 4,000 rollouts against the softmax of the logits, by chi-square."""
    model, tokenizer = loaded
    problem, temperature, n = task.problems("heldout", 1)[0], 1.7, 4000
    rollouts = sampled(loaded, task, [problem], n=n, temperature=temperature, max_new_tokens=1, batch_size=n)
    with torch.inference_mode():
        logits = model.eval()(torch.tensor(encode_prompts(tokenizer, [problem.prompt]))).logits[0, -1]
    chance = torch.softmax(logits.double() / temperature, 0).numpy()
    seen = Counter(r.completion for r in rollouts)
    texts = [tokenizer.decode([i], skip_special_tokens=True) for i in range(len(chance))]
    likely = [i for i in range(len(chance)) if chance[i] * n > 5 and texts[i]]
    observed = [seen[texts[i]] for i in likely]
    expected = [chance[i] * n for i in likely]
    rest = n - sum(observed), n - sum(expected)
    cells = np.array([*observed, rest[0]]), np.array([*expected, rest[1]])
    chi_square = ((cells[0] - cells[1]) ** 2 / cells[1]).sum()
    assert chdtrc(len(cells[0]) - 1, chi_square) > 1e-4  # seeded; a model default such as top-k 1 gives p = 0


def test_the_models_own_generation_defaults_do_not_leak_in(loaded, task):
    model, _ = loaded
    problems = task.problems("heldout", 3)
    plain = sampled(loaded, task, problems)
    kept = model.generation_config.top_k, model.generation_config.repetition_penalty
    model.generation_config.top_k, model.generation_config.repetition_penalty = 1, 5.0
    try:
        assert sampled(loaded, task, problems) == plain
        assert model.generation_config.top_k == 1
    finally:
        model.generation_config.top_k, model.generation_config.repetition_penalty = kept


def test_padding_changes_nothing(loaded, task):
    """At a temperature of 1e-3 sampling is greedy: alone and beside longer prompts the answers agree."""
    problems = sorted(task.problems("heldout", 12), key=lambda p: len(p.prompt))
    assert len({len(p.prompt) for p in problems}) > 2
    together = sampled(loaded, task, problems, n=1, temperature=1e-3, batch_size=12)
    alone = sampled(loaded, task, problems, n=1, temperature=1e-3, batch_size=1)
    assert [r.completion for r in together] == [r.completion for r in alone]


def test_token_counts_and_truncation(loaded, task):
    _, tokenizer = loaded
    for rollout in sampled(loaded, task, task.problems("heldout", 8), max_new_tokens=8):
        characters = len(tokenizer(rollout.completion, add_special_tokens=False)["input_ids"])
        assert rollout.tokens == (8 if rollout.truncated else characters + 1)
        assert rollout.tokens <= 8
    assert any(r.truncated for r in sampled(loaded, task, task.problems("heldout", 8), max_new_tokens=3))


class Moody:
    """A task whose verifier crashes on one problem and shrugs on another."""

    name = "moody"

    def problems(self, split, count, seed=0):
        return load_task("countdown").problems(split, count, seed)

    def verdict(self, problem, completion):
        place = [p.id for p in self.problems("heldout", 6)].index(problem.id)
        if place == 0:
            raise RuntimeError("verifier down")
        return Verdict("not_judged", "unsure") if place == 1 else Verdict("right")


def test_what_cannot_be_judged_is_counted_and_bounded(loaded):
    result = evaluate(loaded[0], Moody(), tokenizer=loaded[1], **SMALL)
    assert result.counts.totals()["not_judged"] == 8
    assert result.curve.prompts == 4
    assert result.curve.unjudged == 2
    summary = result.to_json()
    assert summary["not_judged_reasons"] == {"the verifier raised RuntimeError: verifier down": 4, "unsure": 4}
    assert summary["bounds"]["all_wrong"][0] == pytest.approx(4 / 6)
    assert summary["bounds"]["all_right"][0] == 1


def test_evaluation_resumes_where_it_stopped(loaded, task, tmp_path):
    whole = evaluate(loaded[0], task, tokenizer=loaded[1], batch_size=5, out=tmp_path / "whole", **SMALL)
    lines = (tmp_path / "whole" / "rollouts.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 1 + 24
    cut = tmp_path / "cut" / "rollouts.jsonl"
    cut.parent.mkdir()
    cut.write_bytes(b"".join(lines[:9]) + lines[9][:-40])
    resumed = evaluate(loaded[0], task, tokenizer=loaded[1], batch_size=5, out=tmp_path / "cut", **SMALL)
    assert resumed.rollouts == whole.rollouts
    assert cut.read_bytes() == b"".join(lines)
    assert json.loads((cut.parent / "summary.json").read_text()) == resumed.to_json()


def test_a_finished_log_is_not_sampled_again_and_can_grow(loaded, task, tmp_path, monkeypatch):
    out = tmp_path / "run.jsonl"
    first = evaluate(loaded[0], task, tokenizer=loaded[1], out=out, **SMALL)
    more = evaluate(loaded[0], task, tokenizer=loaded[1], out=out, **{**SMALL, "n": 8})
    assert more.counts.judged.tolist() == [8] * 6
    assert [r for r in more.rollouts if r.sample < 4] == list(first.rollouts)
    monkeypatch.setattr(type(loaded[0]), "generate", None)
    again = evaluate(loaded[0], task, tokenizer=loaded[1], out=out, **SMALL)
    assert again.rollouts == first.rollouts
    assert (tmp_path / "run.summary.json").exists()


def test_several_temperatures_in_one_log(loaded, task, tmp_path):
    results = evaluate_temperatures(loaded[0], task, [0.5, 1.0], tokenizer=loaded[1], out=tmp_path, **SMALL)
    assert [result.settings.temperature for result in results] == [0.5, 1.0]
    rollouts = list(read_rollouts(tmp_path / "rollouts.jsonl"))
    assert Counter(r.temperature for r in rollouts) == {0.5: 24, 1.0: 24}
    described = read_settings(tmp_path / "rollouts.jsonl")
    assert {r.settings for r in rollouts} == set(described)
    for result in results:
        own = [r for r in rollouts if r.settings == result.settings.hash]
        np.testing.assert_array_equal(pass_curve(count_rollouts(own)).values, result.curve.values)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [s["settings"]["temperature"] for s in summary["temperatures"]] == [0.5, 1.0]
    with pytest.raises(AdvshapeError, match="distinct"):
        evaluate_temperatures(loaded[0], task, [1.0, 1.0], tokenizer=loaded[1], **SMALL)


def test_another_model_has_other_settings(loaded):
    before = fingerprint(loaded[0])
    weight = next(loaded[0].parameters())
    with torch.no_grad():
        weight[0, 0] += 1
        changed = fingerprint(loaded[0])
        weight[0, 0] -= 1
    assert changed != before
    assert SamplingSettings(fingerprint=before).hash != SamplingSettings(fingerprint=changed).hash
    assert SamplingSettings(model="here").hash == SamplingSettings(model="there").hash


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"top_p": 0.0}, "top_p"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"n": 0}, "n must be 1 or more"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"temperature": -1.0, "n": 1}, "temperature must be above 0"),
        ({"temperature": float("nan")}, "temperature must be above 0"),
        ({"count": 0}, "needs problems"),
        ({"count": 1}, "at least 2"),
    ],
)
def test_bad_options(loaded, task, options, words):
    with pytest.raises(AdvshapeError, match=words):
        evaluate(loaded[0], task, tokenizer=loaded[1], **{**SMALL, **options})


def test_no_such_model(tmp_path, loaded):
    with pytest.raises(AdvshapeError, match="there is no model folder"):
        load_model(str(tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(AdvshapeError, match="cannot load the model"):
        load_model(str(tmp_path / "empty"))
    with pytest.raises(AdvshapeError, match="no chat template"):
        encode_prompts(loaded[1], [[{"role": "user", "content": "2+2?"}]])


def test_chat_prompts_go_through_the_template(loaded):
    tokenizer = load_model(str(MODEL))[1]
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}:{% endif %}"
    )
    chat = encode_prompts(tokenizer, [[{"role": "user", "content": "1 2=3"}]])
    assert chat == [tokenizer("1 2=3:", add_special_tokens=False)["input_ids"]]
    problem = Problem("chat", [{"role": "user", "content": "1 2=3"}], {"numbers": [1, 2], "target": 3})
    rollouts = sampled((loaded[0], tokenizer), load_task("countdown"), [problem])
    assert rollouts[0].prompt == problem.prompt
