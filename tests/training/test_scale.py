"""Sections for large models are checked by --dry-run: what is wrong, what is missing here, what a start would take."""

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("trl")
from transformers import Qwen2Config

sys.path.append(str(Path(__file__).parents[1]))
from advshape.cli import main
from advshape.training.recipe import scale
from tiny_model import save_problems

DEEPSPEED = "trainer.deepspeed={zero_optimization={stage=3}}"


def dry_run(capsys, *overrides, recipe="countdown", more=()):
    code = main(["train", recipe, "--dry-run", *more, *[w for o in overrides for w in ("--set", o)]])
    return code, *capsys.readouterr()


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["trainer.use_vllm=true", "trainer.vllm_mode=servre"], ["'servre'", "'server'", "colocate"]),
        (["trainer.deepspeed=none.json"], ["'none.json'", "no JSON file"]),
        (["trainer.deepspeed={zero_optimization={stage=4}}"], ["stage = 4", "0, 1, 2, 3"]),
        ([DEEPSPEED, "trainer.fsdp=true"], ["deepspeed and fsdp", "one of them"]),
        (["trainer.fsdp=true", "trainer.fsdp_config=none.json"], ["fsdp_config", "'none.json'"]),
        (["trainer.use_vllm=true", "trainer.vllm_tensor_parallel_size=2"], ["vllm_tensor_parallel_size = 2"]),
    ],
)
def test_wrong_sections(capsys, overrides, words):
    code, out, err = dry_run(capsys, *overrides)
    assert (code, out) == (2, "")
    for word in words:
        assert word in err


@pytest.mark.parametrize(
    ("overrides", "package"),
    [
        (["trainer.use_vllm=true"], "vllm"),
        (["trainer.use_vllm=true", "trainer.vllm_mode=server", "trainer.vllm_server_base_url=http://a:8000"], "vllm"),
        ([DEEPSPEED], "deepspeed"),
        (["trainer.deepspeed={zero_optimization={stage=2}}"], "deepspeed"),
        (["trainer.use_liger_kernel=true"], "liger-kernel"),
    ],
)
def test_a_missing_package_is_one_sentence_and_the_plan_is_printed(capsys, monkeypatch, overrides, package):
    real = scale.util.find_spec
    monkeypatch.setattr(scale.util, "find_spec", lambda name: None if name in scale.NEEDED.values() else real(name))
    code, out, err = dry_run(capsys, *overrides)
    assert code == 2
    assert "\nmemory     " in out
    assert err.count("\n") == 1
    assert f"pip install {package}" in err
    assert main(["train", "countdown", "--out", "run", *[w for o in overrides for w in ("--set", o)]]) == 2
    assert f"pip install {package}" in capsys.readouterr().err
    assert not Path("run").exists()


def test_a_deepspeed_file_is_read(capsys, monkeypatch):
    Path("zero2.json").write_text(json.dumps({"zero_optimization": {"stage": 2}, "bf16": {"enabled": True}}))
    monkeypatch.setattr(scale.util, "find_spec", lambda name: object())
    assert dry_run(capsys, "trainer.deepspeed=zero2.json")[0] == 0
    Path("zero2.json").write_text("[]")
    assert "not a JSON object" in dry_run(capsys, "trainer.deepspeed=zero2.json")[2]


def test_fsdp_needs_processes_and_says_that_a_cpu_is_not_sharded(capsys):
    code, out, err = dry_run(capsys, "trainer.fsdp=true")
    assert code == 2
    assert "torchrun --nproc_per_node" in err
    code, out, err = dry_run(capsys, "trainer.fsdp=true", more=["--processes", "4"])
    assert (code, err) == (0, "")
    assert "128 prompts x 16 rollouts" in out
    assert "accelerate shards on accelerators only" in out


def test_processes_go_with_dry_run_alone(capsys):
    assert main(["train", "countdown", "--processes", "4"]) == 2
    assert "--dry-run" in capsys.readouterr().err
    assert dry_run(capsys, more=["--processes", "0"])[0] == 2


def test_the_eight_gpu_recipe_states_memory_and_tokens_of_a_model_that_is_not_there(capsys, tmp_path):
    """From a configuration alone. By hand: 512 rollouts of 1024 tokens after the longest prompt (bytes)."""
    shape = {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12}
    config = Qwen2Config(vocab_size=151936, num_key_value_heads=2, tie_word_embeddings=True, **shape)
    config.save_pretrained(tmp_path / "qwen")
    save_problems(tmp_path / "sums.jsonl", 200)
    here = ["model.path=qwen", "task={name='maths', path='sums.jsonl', train_problems=100}", "trainer.use_vllm=false"]
    code, out, _ = dry_run(capsys, *here, recipe="qwen-gsm8k-8gpu", more=["--processes", "8"])
    assert code == 0
    assert "32 prompts x 16 rollouts" in out
    assert "parameters 1,543.71 M" in out
    assert "weights 9.26, gradients 12.3, optimizer 12.3" in out  # 4 + 2, 2 x 4 and 8 bytes a parameter
    assert "in bytes for want of a tokenizer" in out
    longest = len("What is 100 + 1?\n\nPlease reason step by step, and put your final answer within \\boxed{}.")
    assert f"at most {512 * (longest + 1024):,} for each generation" in out
    code, _, err = dry_run(capsys, recipe="qwen-gsm8k-8gpu", more=["--processes", "8"])
    assert code == 2
    assert "--set model.path=DIR" in err
