"""How long does a training step take beside stock TRL? The shipped model on Countdown, the recipe's batch, one thread.

    python bench/bench_training.py

First a step in which half the groups are dead: recorded rollouts, no generation, both trainers in one process, the
same batch in turn. Then whole steps with generation, each trainer in processes of its own for its peak memory, in
turn. Processor times are those of the process, so that other programs count little. A goal that is missed is a
result, not a failure.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from importlib.resources import files
from typing import Any

os.environ |= {"TRL_EXPERIMENTAL_SILENCE": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
from bench_passk import peak_mebibytes  # noqa: E402

PROMPTS, N, GOAL = 32, 16, 0.6
REPEATS, STEPS, ROUNDS = 10, 5, 2
STOCK_RULE = "grpo(ddof=1, epsilon=1e-4)"  # what stock TRL computes with scale_rewards="group"


def make_trainer(ours: bool, folder: str, rewards: Any, rollout: Any = None, **given: Any) -> Any:
    """TRL's trainer or ours, with the settings of the recipe `countdown-grpo` and advantages that are the same."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
    from trl import GRPOConfig, GRPOTrainer

    from advshape.adapters.trl import SurrogateGRPOTrainer
    from advshape.tasks import load_task

    torch.set_num_threads(1)
    path = files("advshape") / "models" / "countdown"
    problems = load_task("countdown").problems("train", PROMPTS * (1 if rollout else STEPS + 1), 0)
    settings: dict[str, Any] = {
        "per_device_train_batch_size": 128,
        "gradient_accumulation_steps": 4,
        "num_generations": N,
        "max_completion_length": 16,
        "loss_type": "dr_grpo",
        "activation_checkpointing": False,
        "gradient_checkpointing": False,
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "logging_steps": 1,
        "save_strategy": "no",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "seed": 0,
    }
    made = (SurrogateGRPOTrainer if ours else GRPOTrainer)(
        model=AutoModelForCausalLM.from_pretrained(path),
        reward_funcs=rewards,
        args=GRPOConfig(folder, **settings | given),
        train_dataset=Dataset.from_list([{"prompt": p.prompt, "number": i} for i, p in enumerate(problems)]),
        processing_class=AutoTokenizer.from_pretrained(path),
        rollout_func=rollout,
        **({"estimator": STOCK_RULE} if ours else {}),
    )
    made.problems = problems
    made.remove_callback(PrinterCallback)
    made.add_callback(_clock())
    return made


def _clock() -> Any:
    """A callback that keeps (wall, processor) seconds of every optimiser step, and of nothing around it."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.seconds: list[tuple[float, float]] = []

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.start = time.perf_counter(), time.process_time()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.seconds.append((time.perf_counter() - self.start[0], time.process_time() - self.start[1]))

    return Clock()


def seconds_of(made: Any) -> np.ndarray:
    """(steps, 2): wall and processor seconds."""
    (clock,) = [c for c in made.callback_handler.callbacks if type(c).__name__ == "Clock"]
    return np.array(clock.seconds)


def recorded(made: Any) -> dict[str, list[list[int]]]:
    """One rollout of the model for each place of the batch, its prompt and its completion."""
    import torch

    tokens = made.processing_class(
        [p.prompt for p in made.problems],
        return_tensors="pt",
        padding=True,
        padding_side="left",
        return_token_type_ids=False,
    )
    torch.manual_seed(0)
    out = made.model.generate(**tokens, do_sample=True, max_new_tokens=16, num_return_sequences=N, use_cache=True)
    end = made.processing_class.eos_token_id
    new = [row[: row.index(end) + 1] if end in row else row for row in out[:, tokens["input_ids"].shape[1] :].tolist()]
    plain = made.processing_class([p.prompt for p in made.problems], return_token_type_ids=False)["input_ids"]
    prompts = [ids for ids in plain for _ in range(N)]
    return {"prompt_ids": prompts, "completion_ids": new, "logprobs": [[0.0] * len(row) for row in new]}


def half_dead(completions: Any, number: Any, **_: Any) -> list[float]:
    """Every second group all wrong, every other half right."""
    return [float(group % 2 and i % 2) for i, group in enumerate(number)]


def dead_groups(folder: str) -> float:
    """Print one row; the ratio ours / stock of processor time."""
    import torch

    found: dict[str, Any] = {}
    rollout = lambda prompts, made: found or found.update(recorded(made)) or found
    given = {"rollout": rollout, "max_steps": 1, "learning_rate": 0.0, "shuffle_dataset": False}
    both = [make_trainer(ours, folder, half_dead, **given) for ours in (True, False)]
    for repeat in range(REPEATS + 1):
        for made in both[:: 1 if repeat % 2 else -1]:
            torch.manual_seed(repeat)  # TRL shuffles rows into micro-batches
            made.train()
        losses = [[line for line in made.state.log_history if "loss" in line][-1]["loss"] for made in both]
        assert np.isclose(*losses, rtol=1e-5, atol=1e-6), losses
    ours, stock = (seconds_of(made)[1:] for made in both)  # the first one records and warms up
    log = [line for line in both[0].state.log_history if "advshape/rollouts_skipped" in line][-1]
    ratios = np.median(ours / stock, axis=0)
    print(f"{PROMPTS} prompts x {N} rollouts in 4 micro-batches, half of the groups dead, no generation")
    for name, seconds in (("ours", ours), ("stock TRL", stock)):
        wall, cpu = np.median(seconds, axis=0)
        print(f"  {name:<10} {wall:6.2f} s  {cpu:6.2f} s of processor time")
    print(
        f"  ours / stock: {ratios[0]:.2f} of wall time, {ratios[1]:.2f} of processor time (goal {GOAL}"
        f"{'' if ratios[1] <= GOAL else ': NO'})"
    )
    saved = np.median((stock - ours)[:, 0])
    print(
        f"  skipped {log['advshape/rollouts_skipped']:.2f} of the rollouts; the metric seconds_saved says "
        f"{log['advshape/seconds_saved']:.2f} s a step, measured {saved:.2f} s"
    )
    return float(ratios[1])


def whole_steps(ours: bool, folder: str) -> dict[str, float]:
    """A short run with generation and the task's verdicts, in this process."""
    from advshape.tasks import load_task

    task = load_task("countdown")
    verdict = lambda completions, number, **_: [
        task.verdict(made.problems[i], text).reward for i, text in zip(number, completions, strict=True)
    ]
    made = make_trainer(ours, folder, verdict, max_steps=STEPS, learning_rate=1e-4)
    made.train()
    wall, cpu = np.median(seconds_of(made)[1:], axis=0)
    logs = [line for line in made.state.log_history if "num_tokens" in line]
    tokens = (logs[-1]["num_tokens"] - logs[0]["num_tokens"]) / (len(logs) - 1)
    skipped = np.mean([line.get("advshape/rollouts_skipped", 0.0) for line in logs])
    return {"wall": wall, "cpu": cpu, "tokens": tokens, "peak": peak_mebibytes(), "skipped": skipped}


def side_by_side(folder: str) -> None:
    """Print a row for each trainer, from processes that run in turn."""
    rows: dict[str, list[dict[str, float]]] = {"ours": [], "stock": []}
    for _ in range(ROUNDS):
        for who, seen in rows.items():
            out = subprocess.run([sys.executable, __file__, who, folder], check=True, capture_output=True, text=True)
            seen.append(json.loads(out.stdout.splitlines()[-1]))
    print(f"the same with generation and verdicts; medians of {STEPS - 1} steps, means of {ROUNDS} runs")
    mean = {who: {key: np.mean([row[key] for row in seen]) for key in seen[0]} for who, seen in rows.items()}
    for who, row in mean.items():
        print(
            f"  {who:<10} {row['wall']:6.2f} s  {row['cpu']:6.2f} s of processor time a step,"
            f" {row['tokens'] / row['cpu']:7,.0f} tokens a processor second, peak {row['peak']:.0f} MiB,"
            f" skipped {row['skipped']:.2f}"
        )
    ours, stock = mean["ours"], mean["stock"]
    print(
        f"  ours / stock: {ours['cpu'] / stock['cpu']:.2f} of processor time, {ours['peak'] / stock['peak']:.2f} "
        "of peak memory"
    )


def main() -> int:
    """Print every row with its goal."""
    if len(sys.argv) == 3:
        print(json.dumps(whole_steps(sys.argv[1] == "ours", sys.argv[2])))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        dead_groups(folder)
        side_by_side(folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
