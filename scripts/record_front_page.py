"""Record the runs behind the README's figure: base, stock TRL GRPO, MaxRL and Pass@8 on Countdown, through TRL.

    python scripts/record_front_page.py train --steps 400 --seeds 0 1 2   # restartable, skips finished runs
    python scripts/record_front_page.py evaluate                          # counts per puzzle and temperature
    python scripts/record_front_page.py draw                              # front_page.png, front_page.svg, table.md

Two `train` processes may share the work: a run that another process has claimed is skipped (a claim is a directory).
Writes runs/front_page/<method>-<seed>/ (model, log) and docs/front_page/<method>-<seed>.json (right rollouts of 64 per
puzzle and temperature). Intervals are 95 % over puzzles, of the mean over training seeds; seeds are listed beside it.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNS = ROOT / "runs" / "front_page"
OUT = ROOT / "docs" / "front_page"
METHODS = {"trl_grpo": None, "maxrl": "maxrl", "pass_at_8": "pass_at_k(k=8)"}
TEMPERATURES = (0.4, 0.6, 0.8, 1.0)
PUZZLES, ROLLOUTS, SKIP = 512, 64, 256  # fresh held-out puzzles: the first 256 chose the base


def train(method: str, seed: int, steps: int) -> None:
    """One run: 32 prompts x 16 rollouts a step, lr 2e-4 after 10 warm-up steps, linear to 0."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    import advshape as adv
    from advshape.adapters.trl import SurrogateGRPOTrainer
    from advshape.tasks import load_task

    task = load_task("countdown")
    problems = {p.prompt: p for p in task.problems("train", 32 * steps, seed=seed)}

    def correct(prompts, completions, **_):
        return [task.verdict(problems[p], c).reward for p, c in zip(prompts, completions, strict=True)]

    base = ROOT / "src" / "advshape" / "models" / "countdown"
    out = RUNS / f"{method}-{seed}"
    config = GRPOConfig(
        output_dir=str(out), seed=seed, max_steps=steps, num_generations=16, per_device_train_batch_size=512,
        gradient_accumulation_steps=1, max_completion_length=16, learning_rate=2e-4, warmup_steps=10,
        lr_scheduler_type="linear", max_grad_norm=1.0, beta=0.0, loss_type="dr_grpo", scale_rewards="group",
        temperature=1.0, use_cpu=not torch.cuda.is_available(), bf16=torch.cuda.is_available(),
        gradient_checkpointing=False, save_strategy="no", report_to="none", logging_steps=10, disable_tqdm=True,
    )  # fmt: skip
    keywords = {
        "model": AutoModelForCausalLM.from_pretrained(base),
        "processing_class": AutoTokenizer.from_pretrained(base),
        "args": config,
        "reward_funcs": correct,
        "train_dataset": Dataset.from_list([{"prompt": p} for p in problems]),
    }
    rule = METHODS[method]
    if rule is None:
        trainer = GRPOTrainer(**keywords)
    else:
        scaled = adv.estimator(rule).scaled("rms", adv.Beta(0.5, 1.0))
        trainer = SurrogateGRPOTrainer(estimator=scaled, **keywords)
    begin = time.time()
    trainer.train()
    trainer.save_model(str(out / "model"))
    facts = {"method": method, "seed": seed, "steps": steps, "seconds": time.time() - begin}
    (out / "log.json").write_text(json.dumps({**facts, "log": trainer.state.log_history}))
    (out / "done.json").write_text(json.dumps(facts))


def counts(model_path: Path, temperature: float, seed: int = 0) -> list[int]:
    """Right rollouts of 64 per held-out puzzle."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from advshape.tasks import load_task

    task = load_task("countdown")
    puzzles = task.problems("heldout", SKIP + PUZZLES)[SKIP:]
    model = AutoModelForCausalLM.from_pretrained(model_path).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_path, padding_side="left")
    torch.manual_seed(seed)
    right = []
    for i in range(0, PUZZLES, 32):
        batch = puzzles[i : i + 32]
        inputs = tokenizer([p.prompt for p in batch], return_tensors="pt", padding=True, return_token_type_ids=False)
        with torch.no_grad():
            tokens = model.generate(
                **inputs, do_sample=True, temperature=temperature, top_k=0, top_p=1.0, max_new_tokens=16,
                num_return_sequences=ROLLOUTS,
            )  # fmt: skip
        texts = tokenizer.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        for p, row in zip(batch, range(0, len(texts), ROLLOUTS), strict=True):
            right.append(sum(task.verdict(p, t).outcome == "right" for t in texts[row : row + ROLLOUTS]))
    return right


def evaluate() -> None:
    """Counts of the base and of every finished run, at every temperature; one small JSON file each."""
    OUT.mkdir(parents=True, exist_ok=True)
    models = {"base-0": ROOT / "src" / "advshape" / "models" / "countdown"}
    models |= {p.parent.name: p.parent / "model" for p in sorted(RUNS.glob("*/done.json"))}
    for name, path in models.items():
        target, claim = OUT / f"{name}.json", RUNS / f"{name}.evaluating"
        if target.exists() or not _claim(claim):
            continue
        found = {str(t): counts(path, t) for t in TEMPERATURES}
        done = path.parent / "done.json"
        facts = json.loads(done.read_text()) if done.exists() else {"method": "base"}
        target.write_text(json.dumps({**facts, "n": ROLLOUTS, "temperatures": found}))
        print(name, {t: round(sum(c) / ROLLOUTS / PUZZLES, 3) for t, c in found.items()}, flush=True)


def draw() -> None:
    """The figure and the tables of docs/front_page from the recorded counts."""
    from advshape.evaluation.curves import paired_difference
    from advshape.report.figures import draw_frontier, draw_pass_curves, new_figure, save_figure

    recorded: dict[str, dict[float, list]] = {}
    for path in sorted(OUT.glob("*-[0-9].json"), key=lambda p: (list(LABELS).index(p.stem[:-2]), p.stem)):
        data = json.loads(path.read_text())
        for t, right in data["temperatures"].items():
            recorded.setdefault(LABELS[data["method"]], {}).setdefault(float(t), []).append(_counts(right, data["n"]))
    curves = {label: {t: _mean_curve(seeds) for t, seeds in by_t.items()} for label, by_t in recorded.items()}
    figure, axes = new_figure(columns=2)
    draw_pass_curves({label: by_t[1.0] for label, by_t in curves.items()}, axes[0])
    axes[0].set_title("Temperature 1", fontsize=10)
    draw_frontier(curves, axes[1])
    axes[1].set_title("Frontier over temperatures 0.4 to 1", fontsize=10)
    save_figure(figure, OUT / "front_page")
    lines = ["| | T | pass@1 | pass@8 | pass@64 |", "|---|---|---|---|---|"]
    for label, by_t in curves.items():
        for t, curve in sorted(by_t.items()):
            cells = ["{:.3f} [{:.3f}, {:.3f}]".format(*curve.at(k)) for k in (1, 8, 64)]
            lines.append(f"| {label} | {t:g} | {' | '.join(cells)} |")
    lines += ["", "Training seeds one by one, T = 1, and the change of pass@64 from the base, paired over puzzles:", ""]
    lines += ["| | seed | pass@1 | pass@8 | pass@64 | change of pass@64 |", "|---|---|---|---|---|---|"]
    base = recorded[LABELS["base"]][1.0][0]
    for label in [x for x in recorded if x != LABELS["base"]]:
        for seed, counts_ in enumerate(recorded[label][1.0]):
            one, change = _mean_curve([counts_]), paired_difference(base, counts_, [64])
            cells = [f"{one.at(k)[0]:.3f}" for k in (1, 8, 64)]
            cells.append(f"{change.difference[0]:+.3f} [{change.low[0]:+.3f}, {change.high[0]:+.3f}]")
            lines.append(f"| {label} | {seed} | {' | '.join(cells)} |")
    (OUT / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


LABELS = {"base": "base", "trl_grpo": "GRPO (stock TRL)", "maxrl": "MaxRL", "pass_at_8": "Pass@8"}


def _counts(right: list[int], n: int):
    from advshape.evaluation.curves import Counts

    return Counts.of([str(i) for i in range(len(right))], correct=right, judged=[n] * len(right))


def _mean_curve(seeds: list):
    """pass@k averaged over training seeds for each puzzle, then the mean over puzzles with its interval."""
    from dataclasses import replace

    import numpy as np

    from advshape.evaluation.curves import pass_curve
    from advshape.evaluation.intervals import mean_interval
    from advshape.passk import pass_at_k

    first = pass_curve(seeds[0])
    values = np.mean([pass_at_k(c.correct[:, None], c.judged[:, None], first.ks) for c in seeds], axis=0)
    mean, low, high = mean_interval(values)
    return replace(first, values=mean, low=low, high=high)


def _claim(path: Path) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir()
    except FileExistsError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["train", "evaluate", "draw"])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    if options.action == "evaluate":
        return evaluate()
    if options.action == "draw":
        return draw()
    for seed in options.seeds:
        for method in METHODS:
            if _claim(RUNS / f"{method}-{seed}.training"):
                train(method, seed, options.steps)
                print("finished", method, seed, flush=True)
    return None


if __name__ == "__main__":
    main()
