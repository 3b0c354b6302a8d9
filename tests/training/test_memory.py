"""Expected memory against what torch holds: tensors saved for backward, optimiser states, a KV cache, known models."""

import pytest

pytest.importorskip("trl")
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from advshape.training.recipe.memory import block, count_parameters, estimate, zero_stage
from advshape.training.recipe.model import lora_config

SHAPE = {
    "vocab_size": 64,
    "hidden_size": 40,
    "intermediate_size": 112,
    "num_attention_heads": 5,
    "num_key_value_heads": 1,
}
QWEN_7B = Qwen2Config(
    vocab_size=152064,
    hidden_size=3584,
    intermediate_size=18944,
    num_hidden_layers=28,
    num_attention_heads=28,
    num_key_value_heads=4,
    tie_word_embeddings=False,
)
QWEN_1_5B = Qwen2Config(
    vocab_size=151936,
    hidden_size=1536,
    intermediate_size=8960,
    num_hidden_layers=28,
    num_attention_heads=12,
    num_key_value_heads=2,
    tie_word_embeddings=True,
)
TRAINER = {"per_device_train_batch_size": 8, "max_completion_length": 100, "num_generations": 8}


def saved_bytes(model, tokens, autocast):
    """Bytes that autograd keeps for the backward pass, weights and their casts aside."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    shapes = {tuple(p.shape)[::-1] for p in model.parameters()} | {tuple(p.shape) for p in model.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights and tuple(tensor.shape) not in shapes:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        model.model(torch.randint(0, 50, tokens), use_cache=False)
    return sum(size for size, _ in kept.values())


@pytest.mark.parametrize(
    ("dtype", "autocast", "s", "c"), [("float32", True, 4, 2), ("float32", False, 4, 4), ("bfloat16", False, 2, 2)]
)
@pytest.mark.parametrize(("kind", "made"), [(Qwen2Config, Qwen2ForCausalLM), (LlamaConfig, LlamaForCausalLM)])
def test_a_block_keeps_what_the_formula_says(kind, made, dtype, autocast, s, c):
    """Exact: the difference between two layers and one, for each of 51 tokens."""
    one, two = (
        saved_bytes(made(kind(num_hidden_layers=layers, **SHAPE)).to(getattr(torch, dtype)), (3, 17), autocast)
        for layers in (1, 2)
    )
    assert (two - one) / 51 == block(kind(**SHAPE), s, c)


def test_parameters_of_known_models():
    """As their published weights have them: 15,231,233,024 and 3,087,428,608 bytes in bfloat16."""
    assert count_parameters(QWEN_7B) == (15_231_233_024 // 2,) * 2
    assert count_parameters(QWEN_1_5B) == (3_087_428_608 // 2,) * 2


def test_lora_trains_two_thin_matrices():
    whole, trained = count_parameters(QWEN_1_5B, lora_config({"r": 4, "target_modules": ["q_proj"]}))
    assert trained == 28 * 4 * (1536 + 1536)
    assert whole == 3_087_428_608 // 2 + trained


@pytest.mark.parametrize(("name", "options"), [("AdamW", {}), ("SGD", {})])
def test_weights_gradients_and_optimizer_as_torch_has_them(name, options):
    config = Qwen2Config(num_hidden_layers=2, **SHAPE)
    model = Qwen2ForCausalLM(config)
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=1e-3, **options)
    model(torch.randint(0, 50, (2, 5)), labels=torch.randint(0, 50, (2, 5))).loss.backward()
    optimizer.step()
    states = [t for state in optimizer.state.values() for t in state.values() if torch.is_tensor(t) and t.numel() > 1]
    trainer = TRAINER | {"bf16": False, "optim": "adamw_torch" if name == "AdamW" else "sgd"}
    found = estimate(config, count_parameters(config), trainer, dtype="float32", processes=1, rollouts=8, prompt=5)
    assert found.weights == sum(p.nbytes for p in model.parameters())
    assert found.gradients == sum(p.grad.nbytes for p in model.parameters())
    assert found.optimizer == sum(t.nbytes for t in states)


def test_kv_cache_as_transformers_has_it():
    config = Qwen2Config(num_hidden_layers=3, **SHAPE)
    cache = Qwen2ForCausalLM(config)(torch.randint(0, 50, (8, 12)), use_cache=True).past_key_values
    bytes_ = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    trainer = TRAINER | {"bf16": False, "max_completion_length": 7}
    found = estimate(config, (1, 1), trainer, dtype="float32", processes=1, rollouts=8, prompt=5)
    assert found.kv_cache == bytes_
    assert (
        estimate(
            config, (1, 1), trainer | {"use_vllm": True}, dtype="float32", processes=1, rollouts=8, prompt=5
        ).kv_cache
        == 0
    )


def test_zero_divides_as_the_paper_does():
    """Mixed precision and Adam: 16 bytes a parameter in all (section 3.1), and figure 1's 31.4, 16.6, 1.9 GB at 64."""

    def states(stage):
        trainer = TRAINER | {"deepspeed": {"zero_optimization": {"stage": stage}}}
        found = estimate(QWEN_7B, (7_500_000_000,) * 2, trainer, dtype="bfloat16", processes=64, rollouts=64, prompt=9)
        return (found.weights + found.gradients + found.optimizer) / 1e9

    assert [round(states(stage), 1) for stage in (1, 2, 3)] == [31.4, 16.6, 1.9]
    assert zero_stage({"fsdp": True}) == 3
    assert zero_stage({"fsdp": True, "fsdp_config": {"reshard_after_forward": False}}) == 2
    assert zero_stage({}) == 0


def test_checkpointing_and_peak():
    named = {"dtype": "float32", "processes": 8, "rollouts": 512, "prompt": 200}
    full = estimate(QWEN_1_5B, (10, 10), TRAINER | {"activation_checkpointing": False}, **named)
    less = estimate(QWEN_1_5B, (10, 10), TRAINER, **named)
    tokens = 8 * 300
    assert full.activations == tokens * 28 * block(QWEN_1_5B, 4, 2)
    assert less.activations == tokens * (28 * 4 * 1536 + block(QWEN_1_5B, 4, 2))
    assert less.logits == 3 * 2 * 8 * 100 * 151936
    assert less.peak == less.weights + less.gradients + less.optimizer + less.activations + less.logits
    assert "at the peak of one process" in less.describe()
