"""A chat model of 20,000 parameters in a directory: in place of one that would have to be downloaded."""

import json

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def save_model(folder, chat=True, pad=True):
    """Save a Qwen2 model whose tokens are bytes; optionally without a chat template or a pad token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = [*alphabet, "<|start|>", "<|end|>", "<|pad|>"]
    tokens = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=[]))
    tokens.pre_tokenizer, tokens.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokens,
        eos_token="<|end|>",
        additional_special_tokens=["<|start|>"],
        **({"pad_token": "<|pad|>"} if pad else {}),
    )
    tokenizer.chat_template = TEMPLATE if chat else None
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    size = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    ends = {"bos_token_id": None, "eos_token_id": 257, **({"pad_token_id": 258} if pad else {})}
    Qwen2ForCausalLM(Qwen2Config(vocab_size=len(names), **size, **ends)).save_pretrained(folder)
    return folder


def save_problems(path, count=64, **columns):
    """Sums in GSM8K's columns, or with other names for them."""
    asks, tells = columns.get("question", "question"), columns.get("answer", "answer")
    rows = [{asks: f"What is {i} + 1?", tells: f"One more than {i}.\n#### {i + 1}"} for i in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
