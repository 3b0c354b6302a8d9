"""Make the model that ships with advshape: a 0.34 M-parameter character-level Llama that plays Countdown.

    python scripts/make_countdown_model.py --out build/countdown-model

draws 128,000 training puzzles, each with one random correct expression, trains ``LlamaForCausalLM`` on them
with ``transformers.Trainer`` (loss on the expression alone), measures pass@1, 8 and 64 on held-out puzzles
and writes model, tokenizer and ``pretraining.json`` (settings, versions, time, measurements, SHA-256 of the
weights). A killed run continues from its last checkpoint when the same command is given again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
import transformers
from tokenizers import Regex, decoders, models, pre_tokenizers
from tqdm.auto import tqdm
from transformers import (
    DataCollatorForSeq2Seq,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    set_seed,
)

from advshape.passk import pass_at_k
from advshape.tasks.countdown import Countdown

CHARACTERS = "0123456789+-*/()= :"
SPECIAL = ("<pad>", "<eos>", "<unk>")
LONGEST_COMPLETION = 16
"""Tokens of a completion: 15 characters are enough for every puzzle, and the end token."""
LONGEST_SEQUENCE = 64


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token per character, no token before or after the text, padding on the left."""
    vocabulary = {token: number for number, token in enumerate((*SPECIAL, *CHARACTERS))}
    backend = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        padding_side="left",
        model_max_length=LONGEST_SEQUENCE,
        clean_up_tokenization_spaces=False,
    )


def make_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Three layers of width 96, four heads, feed-forward 256; weights in float32."""
    ids = {
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
    }
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=LONGEST_SEQUENCE,
        dtype="float32",
        **ids,
    )
    model = LlamaForCausalLM(config).to(torch.float32)
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=LONGEST_COMPLETION, **ids
    )
    return model


def make_examples(tokenizer: PreTrainedTokenizerFast, count: int, seed: int) -> list[dict[str, list[int]]]:
    """Tokenised training puzzles with a random correct expression; the prompt carries no loss."""
    pairs = [(problem.prompt, answer) for problem, answer in Countdown().solved(count, seed)]
    prompts = tokenizer([prompt for prompt, _ in pairs])["input_ids"]
    answers = tokenizer([answer for _, answer in pairs])["input_ids"]
    examples = []
    for prompt, answer in zip(prompts, answers, strict=True):
        completion = [*answer, tokenizer.eos_token_id]
        examples.append({"input_ids": prompt + completion, "labels": [-100] * len(prompt) + completion})
    return examples


def train(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, options: argparse.Namespace, work: Path
) -> float | None:
    """Train in place; returns seconds, None if an earlier, killed run did a part of it."""
    resume = any(work.glob("checkpoint-*"))
    arguments = TrainingArguments(
        output_dir=str(work),
        max_steps=options.steps,
        per_device_train_batch_size=options.batch,
        learning_rate=options.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=20,
        weight_decay=0.0,
        use_cpu=True,
        bf16=False,
        seed=options.seed,
        logging_steps=25,
        save_steps=options.save_steps,
        save_total_limit=1,
        report_to=[],
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=make_examples(tokenizer, options.steps * options.batch, options.seed),
        data_collator=DataCollatorForSeq2Seq(tokenizer, padding=True),
    )
    start = time.perf_counter()
    trainer.train(resume_from_checkpoint=resume)
    return None if resume else round(time.perf_counter() - start, 1)


def count_right(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, puzzles: int, n: int, temperature: float
) -> list[int]:
    """Right completions among ``n`` for each of the first held-out puzzles."""
    set_seed(0)
    task = Countdown()
    right = []
    changed = {"temperature": temperature, "num_return_sequences": n}
    settings = GenerationConfig.from_dict({**model.generation_config.to_dict(), **changed})
    model.eval()
    problems = task.problems("heldout", puzzles)
    for start in tqdm(range(0, puzzles, 8), desc=f"measuring, T = {temperature}"):
        batch = problems[start : start + 8]
        inputs = tokenizer([p.prompt for p in batch], return_tensors="pt", padding=True)
        inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        with torch.inference_mode():
            out = model.generate(**inputs, generation_config=settings)
        texts = tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        for i, problem in enumerate(batch):
            verdicts = [task.verdict(problem, text) for text in texts[i * n : (i + 1) * n]]
            right.append(sum(verdict.outcome == "right" for verdict in verdicts))
    return right


def measure(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, options: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """pass@1, 8 and 64 at each temperature."""
    table = {}
    for temperature in options.temperatures:
        right = count_right(model, tokenizer, options.puzzles, 64, temperature)
        table[f"{temperature:g}"] = {f"pass@{k}": round(float(np.mean(pass_at_k(right, 64, k))), 4) for k in (1, 8, 64)}
        print(f"T = {temperature:g}: {table[f'{temperature:g}']}")
    return table


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to write; must be new or empty")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save-steps", type=int, default=100, help="steps between checkpoints")
    parser.add_argument("--puzzles", type=int, default=256, help="held-out puzzles to measure on")
    parser.add_argument("--temperatures", type=float, nargs="*", default=[1.0])
    options = parser.parse_args()
    if options.out.is_dir() and any(options.out.iterdir()):
        parser.error(f"{options.out} is not empty; give a new folder")
    return options


def main() -> None:
    """Make, measure, save."""
    options = parse()
    set_seed(options.seed)
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    settings = f"{options.steps}-{options.batch}-{options.learning_rate}-{options.seed}"
    work = options.out.with_name(f"{options.out.name}.work-{settings}")
    seconds = train(model, tokenizer, options, work)
    measured = measure(model, tokenizer, options)
    model.save_pretrained(options.out)
    tokenizer.save_pretrained(options.out)
    weights = options.out / "model.safetensors"
    weights.chmod(0o644)
    record: dict[str, Any] = {
        "parameters": model.num_parameters(),
        "steps": options.steps,
        "batch": options.batch,
        "learning_rate": options.learning_rate,
        "seed": options.seed,
        "seconds": seconds,
        "threads": torch.get_num_threads(),
        "heldout_puzzles": options.puzzles,
        "rollouts_per_puzzle": 64,
        "measured_by_temperature": measured,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__,
        },
        "bytes": weights.stat().st_size,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }
    (options.out / "pretraining.json").write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
