"""Record the runs behind the README's figure: base, stock TRL GRPO, MaxRL and Pass@8 on Countdown, through TRL.

    python scripts/record_front_page.py train --steps 600 --seeds 0 1 2   # restartable, skips finished runs
    python scripts/record_front_page.py evaluate                          # counts per puzzle and temperature
    python scripts/record_front_page.py draw                              # front_page.png, front_page.svg, table.md

Two `train` processes may share the work: a run that another process has claimed is skipped (a claim is a directory).
Writes runs/front_page/<method>-<seed>/ (model, log) and docs/front_page/<method>-<seed>.json (right rollouts of 64 per
puzzle and temperature). Intervals are 95 % over puzzles, of the mean over training seeds; the spread between training
seeds is another matter and stands beside it: thin lines in the figure, single seeds and Student's t in the table.
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
        output_dir=str(out),
        seed=seed,
        max_steps=steps,
        num_generations=16,
        per_device_train_batch_size=512,
        gradient_accumulation_steps=1,
        max_completion_length=16,
        learning_rate=2e-4,
        warmup_steps=10,
        lr_scheduler_type="linear",
        max_grad_norm=1.0,
        beta=0.0,
        loss_type="dr_grpo",
        scale_rewards="group",
        temperature=1.0,
        use_cpu=not torch.cuda.is_available(),
        bf16=torch.cuda.is_available(),
        gradient_checkpointing=False,
        activation_checkpointing=False,
        save_strategy="no",
        report_to="none",
        logging_steps=10,
        disable_tqdm=True,
    )
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
                **inputs,
                do_sample=True,
                temperature=temperature,
                top_k=0,
                top_p=1.0,
                max_new_tokens=16,
                num_return_sequences=ROLLOUTS,
            )
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
    recorded: dict[str, dict[float, list]] = {}
    for path in sorted(OUT.glob("*-[0-9].json"), key=lambda p: (list(METHODS_AND_BASE).index(p.stem[:-2]), p.stem)):
        data = json.loads(path.read_text())
        for t, right in data["temperatures"].items():
            recorded.setdefault(LABELS[data["method"]], {}).setdefault(float(t), []).append(_counts(right, data["n"]))
    curves = {label: {t: _mean_curve(seeds) for t, seeds in by_t.items()} for label, by_t in recorded.items()}
    _figure(recorded, curves)
    lines = [*_table(curves), "", *_seed_table(recorded), "", *_equal_table(recorded)]
    (OUT / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def _figure(recorded: dict, curves: dict) -> None:
    """pass@k at temperature 1, and the frontier; thin lines are single training seeds."""
    from advshape.report.figures.curves import COLOURS, draw_frontier, draw_pass_curves, new_figure, save_figure

    figure, axes = new_figure(columns=2)
    for (_, by_t), colour in zip(recorded.items(), COLOURS, strict=False):
        single = {t: [_mean_curve([counts]) for counts in seeds] for t, seeds in by_t.items()}
        thin = {"color": colour, "alpha": 0.45, "linewidth": 0.6}
        for curve in single[1.0] if len(single[1.0]) > 1 else []:
            axes[0].plot(curve.ks, curve.values, **thin)
        for seed in range(len(single[1.0])) if len(single[1.0]) > 1 else []:
            points = [[single[t][seed].at(k)[0] for t in sorted(single)] for k in (1, 64)]
            axes[1].plot(*points, **thin)
    draw_pass_curves({label: by_t[1.0] for label, by_t in curves.items()}, axes[0])
    axes[0].set_title("Temperature 1", fontsize=10)
    draw_frontier(curves, axes[1])
    axes[1].set_title("Frontier over temperatures 0.4 to 1", fontsize=10)
    save_figure(figure, OUT / "front_page")


def _table(curves: dict) -> list[str]:
    """Mean over training seeds with 95 % intervals over puzzles."""
    lines = ["| | T | pass@1 | pass@8 | pass@64 |", "|---|---|---|---|---|"]
    for label, by_t in curves.items():
        for t, curve in sorted(by_t.items()):
            cells = ["{:.3f} [{:.3f}, {:.3f}]".format(*curve.at(k)) for k in (1, 8, 64)]
            lines.append(f"| {label} | {t:g} | {' | '.join(cells)} |")
    return lines


def _seed_table(recorded: dict) -> list[str]:
    """Single seeds at temperature 1; change of pass@64 from the base, paired over puzzles; Student's t over seeds."""
    from advshape.evaluation.stats.curves import paired_difference

    lines = [*SEED_NOTE, "", "| | seed | pass@1 | pass@8 | pass@64 | change of pass@64 |", "|---|---|---|---|---|---|"]
    base = recorded[LABELS["base"]][1.0][0]
    for label in [x for x in recorded if x != LABELS["base"]]:
        rows = []
        for seed, counts_ in enumerate(recorded[label][1.0]):
            one, change = _mean_curve([counts_]), paired_difference(base, counts_, [64])
            rows.append([*(one.at(k)[0] for k in (1, 8, 64)), float(change.difference[0])])
            cells = [f"{value:.3f}" for value in rows[-1][:3]]
            cells.append(f"{rows[-1][3]:+.3f} [{change.low[0]:+.3f}, {change.high[0]:+.3f}]")
            lines.append(f"| {label} | {seed} | {' | '.join(cells)} |")
        if len(rows) > 1:
            cells = [
                f"{mean:.3f} ± {half:.3f}" for mean, half in (_over_seeds(column) for column in zip(*rows, strict=True))
            ]
            lines.append(f"| {label} | all {len(rows)} | {' | '.join(cells)} |")
    return lines


def _over_seeds(values: tuple[float, ...]) -> tuple[float, float]:
    """Mean and half-width of Student's 95 % interval over training seeds."""
    import numpy as np
    from scipy.stats import t

    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return float(np.mean(values)), float(t.ppf(0.975, len(values) - 1) * error)


def _equal_table(recorded: dict, draws: int = 2000) -> list[str]:
    """pass@8 and pass@64 at GRPO's pass@1, read off each frontier by linear interpolation over temperatures."""
    import numpy as np

    rng = np.random.default_rng(0)
    values = {label: _per_puzzle(by_t) for label, by_t in recorded.items()}
    grpo = LABELS["trl_grpo"]
    puzzles = values[grpo].shape[2]
    samples = [np.arange(puzzles), *rng.integers(0, puzzles, (draws, puzzles))]
    lines = [*(line.format(draws=draws) for line in EQUAL_NOTE), "", "| | pass@8 minus GRPO's | pass@64 minus GRPO's |"]
    lines.append("|---|---|---|")
    for label in [x for x in values if x != grpo]:
        gaps = np.array([_gap(values[label][..., rows], values[grpo][..., rows]) for rows in samples])
        cells = []
        for column in gaps.T:
            low, high = np.nanquantile(column[1:], [0.025, 0.975]) if np.isfinite(column[0]) else (np.nan, np.nan)
            outside = np.isnan(column[1:]).mean()
            cell = f"{column[0]:+.3f} [{low:+.3f}, {high:+.3f}]" if np.isfinite(column[0]) else "-"
            cells.append(cell + (f" ({outside:.0%} of the draws outside)" if cell != "-" and outside else ""))
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return lines


def _per_puzzle(by_t: dict):
    """pass@1, 8, 64 of each puzzle, mean over seeds: (temperatures, 3, puzzles), temperatures ascending."""
    import numpy as np

    from advshape.passk import pass_at_k

    return np.array(
        [
            np.mean([pass_at_k(c.correct, c.judged, np.array([1, 8, 64])[:, None]) for c in by_t[t]], axis=0)
            for t in sorted(by_t)
        ]
    )


def _gap(rows, grpo):
    """(pass@8, pass@64) of a frontier at GRPO's pass@1 at the highest temperature, minus GRPO's; NaN outside."""
    import numpy as np

    mean, target = rows.mean(axis=2), grpo[-1].mean(axis=1)
    order = np.argsort(mean[:, 0])
    x = mean[order, 0]
    if not x[0] <= target[0] <= x[-1]:
        return [np.nan, np.nan]
    return [float(np.interp(target[0], x, mean[order, i]) - target[i]) for i in (1, 2)]


SEED_NOTE = (
    "Training seeds one by one, T = 1, and the change of pass@64 from the base, paired over puzzles (last row of each",
    "method: mean over seeds with Student's 95 % interval over seeds, puzzles fixed):",
)
EQUAL_NOTE = (
    "At the pass@1 that GRPO has at T = 1, read off the frontiers by linear interpolation between temperatures (mean",
    "over seeds; 95 % percentile bootstrap over puzzles, {draws} draws, seed 0; '-': outside the frontier):",
)
METHODS_AND_BASE = ("base", *METHODS)
LABELS = {"base": "base", "trl_grpo": "GRPO (stock TRL)", "maxrl": "MaxRL", "pass_at_8": "Pass@8"}


def _counts(right: list[int], n: int):
    from advshape.evaluation.stats.counts import Counts

    return Counts.of([str(i) for i in range(len(right))], correct=right, judged=[n] * len(right))


def _mean_curve(seeds: list):
    """pass@k averaged over training seeds for each puzzle, then the mean over puzzles with its interval."""
    from dataclasses import replace

    import numpy as np

    from advshape.evaluation.stats.curves import pass_curve
    from advshape.evaluation.stats.intervals import mean_interval
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
