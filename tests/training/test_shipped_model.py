"""The model that ships: the Auto classes load it, its tokenizer is exact, TRL takes it, there is room at both ends."""

import hashlib
import json
import re
import string
import sys
from importlib.resources import files
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from advshape.tasks import load_task

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

FOLDER = Path(str(files("advshape"))) / "models" / "countdown"
ALPHABET = "0123456789+-*/()= :"
SCRIPT = Path(__file__).parents[2] / "scripts" / "make_countdown_model.py"


@pytest.fixture(scope="module")
def tokenizer():
    return transformers.AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model():
    return transformers.AutoModelForCausalLM.from_pretrained(FOLDER).eval()


@pytest.fixture(scope="module")
def script():
    if not SCRIPT.exists():
        pytest.skip("no checkout: the script is not in the wheel")
    spec = spec_from_file_location("make_countdown_model", SCRIPT)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_files_match_their_record(model):
    weights = (FOLDER / "model.safetensors").read_bytes()
    record = json.loads((FOLDER / "pretraining.json").read_text())
    assert len(weights) == record["bytes"] <= 4_000_000
    assert hashlib.sha256(weights).hexdigest() == record["sha256"]
    assert model.num_parameters() == record["parameters"]
    assert 0.3e6 <= model.num_parameters() <= 1e6
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert type(model).__name__ == "LlamaForCausalLM"


def test_record_leaves_room_at_both_ends():
    record = json.loads((FOLDER / "pretraining.json").read_text())
    measured = record["measured_by_temperature"]["1"]
    assert record["heldout_puzzles"] == 256
    assert 0.10 <= measured["pass@1"] <= 0.30
    assert measured["pass@64"] >= 0.85


def test_one_token_per_character_and_exact_decoding(tokenizer):
    rng = np.random.default_rng(0)
    for length in range(1, 40):
        text = "".join(rng.choice(list(ALPHABET), length))
        ids = tokenizer(text)["input_ids"]
        assert len(ids) == length
        assert tokenizer.decode(ids) == text
        assert tokenizer.batch_decode([ids], skip_special_tokens=True) == [text]
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == ids
        assert tokenizer([text, "1"])["input_ids"][0] == ids
    assert len({tokenizer(c)["input_ids"][0] for c in ALPHABET}) == len(ALPHABET)


def test_special_tokens(tokenizer, model):
    special = {tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id}
    assert len(special) == 3
    assert tokenizer.bos_token is None
    assert tokenizer.padding_side == "left"
    assert tokenizer.chat_template is None
    assert len(tokenizer) == model.config.vocab_size == len(ALPHABET) + 3
    others = set(string.printable) - set(ALPHABET)
    assert {i for c in others for i in tokenizer(c)["input_ids"]} == {tokenizer.unk_token_id}
    for settings in (model.config, model.generation_config):
        assert settings.eos_token_id == tokenizer.eos_token_id
        assert settings.pad_token_id == tokenizer.pad_token_id
    end = tokenizer.eos_token_id
    assert tokenizer.decode([*tokenizer("1+2")["input_ids"], end], skip_special_tokens=True) == "1+2"


def test_left_padding_changes_no_logits(tokenizer, model):
    prompts = ["4 7 12=40:", "10 11 12 20=100:"]
    padded = tokenizer(prompts, return_tensors="pt", padding=True)
    assert (padded["attention_mask"][0] == 0).sum() == len(prompts[1]) - len(prompts[0])
    with torch.inference_mode():
        together = model(**{k: padded[k] for k in ("input_ids", "attention_mask")}).logits[:, -1]
        for row, prompt in zip(together, prompts, strict=True):
            alone = model(tokenizer(prompt, return_tensors="pt")["input_ids"]).logits[0, -1]
            # rotary angles shift by a constant: equal up to float32 rounding of logits of size 10
            torch.testing.assert_close(row, alone, atol=1e-4, rtol=0)


def test_samples_solve_heldout_puzzles_in_the_recorded_band(tokenizer, model):
    task = load_task("countdown")
    problems = task.problems("heldout", 64)
    inputs = tokenizer([p.prompt for p in problems], return_tensors="pt", padding=True)
    torch.manual_seed(0)
    with torch.inference_mode():
        out = model.generate(
            inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            do_sample=True,
            top_k=0,
            max_new_tokens=16,
            num_return_sequences=16,
        )
    new = out[:, inputs["input_ids"].shape[1] :]
    assert (new == tokenizer.eos_token_id).any(dim=1).float().mean() > 0.99
    texts = tokenizer.batch_decode(new, skip_special_tokens=True)
    right = [task.verdict(problems[i // 16], text).outcome == "right" for i, text in enumerate(texts)]
    # recorded .264 on 256 puzzles; the standard error over 64 puzzles is about .03
    assert 0.14 < np.mean(right) < 0.40


def test_script_makes_the_same_tokenizer_and_examples(script, tokenizer):
    again = script.make_tokenizer()
    assert again.get_vocab() == tokenizer.get_vocab()
    prompt = "4 7 12=40:"
    assert again(prompt)["input_ids"] == tokenizer(prompt)["input_ids"]
    for example in script.make_examples(tokenizer, 50, seed=1):
        text = tokenizer.decode(example["input_ids"])
        prompt, _ = re.fullmatch(r"([0-9 ]+=[0-9]+:)([0-9+*()-]{5,15})<eos>", text).groups()
        assert example["input_ids"][: len(prompt)] == tokenizer(prompt)["input_ids"]
        assert example["labels"] == [-100] * len(prompt) + example["input_ids"][len(prompt) :]


def test_script_makes_a_model_and_a_killed_run_ends_with_the_same_one(script, tmp_path, monkeypatch, capsys):
    """Recovery: killed in step 4 of 5 and started again, the weights are bit for bit those of a run in one go."""

    def make(name: str) -> Path:
        options = ["--steps", "5", "--batch", "8", "--puzzles", "2", "--save-steps", "2"]
        monkeypatch.setattr(sys, "argv", ["make_countdown_model.py", "--out", str(tmp_path / name), *options])
        script.main()
        return tmp_path / name

    step, calls = script.Trainer.training_step, []

    def killed(*args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return step(*args, **kwargs)

    whole = make("whole")
    with monkeypatch.context() as patch:
        patch.setattr(script.Trainer, "training_step", killed)
        with pytest.raises(KeyboardInterrupt):
            make("resumed")
    assert not (tmp_path / "resumed").exists()
    resumed = make("resumed")
    assert (whole / "model.safetensors").read_bytes() == (resumed / "model.safetensors").read_bytes()
    assert {f.name for f in FOLDER.iterdir()} == {f.name for f in whole.iterdir()}
    assert {f.name for f in tmp_path.iterdir()} == {"whole", "resumed"}
    records = [json.loads((f / "pretraining.json").read_text()) for f in (FOLDER, whole, resumed)]
    assert records[0].keys() == records[1].keys()
    assert [record["seconds"] is None for record in records] == [False, False, True]
    with pytest.raises(SystemExit):
        make("whole")
    assert "is not empty; give a new folder" in capsys.readouterr().err


def test_trl_gets_the_prompt_ids_of_pretraining_and_clean_completions(tmp_path):
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    task = load_task("countdown")
    problems = {p.prompt: p for p in task.problems("train", 8)}
    seen: list[tuple[str, str, list[int], float]] = []

    def reward(prompts, completions, completion_ids, **_):
        rewards = [task.verdict(problems[p], c).reward for p, c in zip(prompts, completions, strict=True)]
        seen.extend(zip(prompts, completions, completion_ids, rewards, strict=True))
        return rewards

    trainer = trl.GRPOTrainer(
        model=str(FOLDER),
        reward_funcs=reward,
        train_dataset=datasets.Dataset.from_list([{"prompt": prompt} for prompt in problems]),
        args=trl.GRPOConfig(
            output_dir=str(tmp_path),
            use_cpu=True,
            bf16=False,
            per_device_train_batch_size=64,
            num_generations=16,
            max_completion_length=16,
            max_steps=2,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        ),
    )
    tokenizer = trainer.processing_class
    tokenized = trainer._tokenize_prompts(list(problems))
    ids = tokenized[0] if isinstance(tokenized, tuple) else tokenized
    assert ids == [tokenizer(prompt)["input_ids"] for prompt in problems]
    trainer.train()
    assert len(seen) == 128
    for _, completion, token_ids, _ in seen:
        assert re.fullmatch(r"[0-9+*()/=: -]{0,16}", completion), completion
        assert [t for t in token_ids if t != tokenizer.eos_token_id] == tokenizer(completion)["input_ids"]
        assert token_ids[-1] == tokenizer.eos_token_id or len(token_ids) == 16
    assert np.mean([r for *_, r in seen]) > 0.05
    assert all(np.isfinite(x["loss"]) for x in trainer.state.log_history if "loss" in x)
