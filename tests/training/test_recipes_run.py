"""Each shipped recipe, and each way to train that the documentation names, for two steps through the real command."""

import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("trl")
import torch
from safetensors.torch import load_file

sys.path.append(str(Path(__file__).parents[1]))
from advshape.cli import main
from advshape.evaluation.logs.jsonl import read_jsonl
from advshape.evaluation.sampling.models import find_model, load_model
from advshape.training.recipe.load import recipe_names
from advshape.training.rundir.directory import RunDirectory
from tiny_model import save_model, save_problems

SHORT = ["trainer.max_steps=2", "trainer.gradient_accumulation_steps=1", "evaluation.count=2", "evaluation.n=2"]
NO_EVALUATION = ["evaluation.before=false", "evaluation.after=false"]
# what a recipe needs that a machine without a GPU and a network lacks: a small model, no vLLM, problems from a file
IN_PLACE = {
    "countdown": ["trainer.per_device_train_batch_size=32"],
    "countdown-grpo": ["trainer.per_device_train_batch_size=32"],
    "countdown-anneal": ["trainer.per_device_train_batch_size=32"],
    "smollm2-arithmetic": ["model.path={tiny}", "trainer.per_device_train_batch_size=16"],
    "qwen-gsm8k-8gpu": [
        "model.path={tiny}",
        "task={name='maths', path='{sums}'}",
        "trainer.use_vllm=false",
        "trainer.per_device_train_batch_size=16",
        "trainer.max_completion_length=8",
    ],
}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("places")
    return {"tiny": str(save_model(folder / "model")), "sums": str(save_problems(folder / "sums.jsonl"))}


def run(recipe, out, *overrides, places=()):
    words = ["train", recipe, "--out", str(out), "--quiet"]
    for override in (*SHORT, *overrides):
        for key, value in dict(places).items():
            override = override.replace(f"{{{key}}}", value)
        words += ["--set", override]
    assert main(words) == 0
    found = RunDirectory(out)
    steps = [line for line in read_jsonl(found.metrics) if "loss" in line]
    assert [line["step"] for line in steps] == [1, 2]
    assert found.summary()["status"] == "done"
    return found, steps


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe(name, places, tmp_path):
    found, _ = run(name, tmp_path / "run", *IN_PLACE[name], places=places)
    assert sum(found.summary()["after"]["outcomes"][key] for key in ("right", "wrong", "not_judged")) == 4
    model, tokenizer = load_model(find_model(str(found.model)))
    assert model.num_parameters() > 10_000
    assert len(tokenizer) > 10


def run_small(out, *overrides):
    return run("countdown", out, "trainer.per_device_train_batch_size=32", *NO_EVALUATION, *overrides)


def weights(path):
    return load_file(path / "model.safetensors")


def test_lora_trains_and_saves_the_adapter_and_the_merged_model(tmp_path):
    """Only the adapted matrices differ from the base, each by the product of the two that are saved beside."""
    lora = "model.lora={r=4, lora_alpha=8, target_modules=['q_proj', 'v_proj']}"
    found, _ = run_small(tmp_path / "run", lora, "trainer.learning_rate=0.01")
    base, merged = weights(Path(find_model("countdown").location)), weights(found.model)
    adapter = load_file(found.adapter / "adapter_model.safetensors")
    assert base.keys() == merged.keys()
    changed = {name for name in base if not torch.equal(base[name], merged[name])}
    assert changed == {name for name in base if "q_proj" in name or "v_proj" in name}
    name = sorted(changed)[0]
    stem = f"base_model.model.{name.removesuffix('.weight')}"
    product = adapter[f"{stem}.lora_B.weight"] @ adapter[f"{stem}.lora_A.weight"] * 8 / 4
    torch.testing.assert_close(merged[name] - base[name], product, rtol=0, atol=1e-6)
    assert not (found.adapter / "training_args.bin").exists()


def test_gradient_checkpointing_changes_no_number(tmp_path):
    """Activations are made again from the same inputs: the same losses and weights."""
    plain, steps = run_small(tmp_path / "plain")
    other, again = run_small(
        tmp_path / "checkpointed", "trainer.activation_checkpointing=true", "trainer.gradient_checkpointing=true"
    )
    assert [line["loss"] for line in again] == pytest.approx([line["loss"] for line in steps], abs=1e-7)
    for name, value in weights(plain.model).items():
        torch.testing.assert_close(weights(other.model)[name], value, rtol=0, atol=1e-6)


def test_bf16(tmp_path):
    found, steps = run_small(tmp_path / "run", "model.dtype=bfloat16", "trainer.bf16=true")
    assert {value.dtype for value in weights(found.model).values()} == {torch.bfloat16}
    assert all(line["grad_norm"] > 0 for line in steps)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_torch_compile(tmp_path):
    _, steps = run_small(tmp_path / "run", "trainer.torch_compile=true")
    assert all(line["grad_norm"] > 0 for line in steps)
