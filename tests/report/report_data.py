"""Runs, logs and comparisons for the report's tests, with texts that try to run, load, or break something."""

import json
from pathlib import Path

import numpy as np

from advshape.evaluation.logs.count import count_rollouts
from advshape.evaluation.logs.rollout_log import Rollout, RolloutLog, read_rollouts
from advshape.evaluation.results.compare import compare
from advshape.evaluation.results.runs import Run
from advshape.evaluation.stats.counts import Counts
from advshape.evaluation.stats.curves import paired_difference

HOSTILE = [
    "<script>window.hacked = 1</script>",
    "</script><script>window.hacked = 2</script>",
    "<img src=x onerror='window.hacked = 3'>",
    "<svg onload=window.hacked=4>",
    "<svg><script>window.hacked=5</script></svg>",
    "<iframe srcdoc='<script>parent.hacked=6</script>'></iframe>",
    "<iframe src='javascript:parent.hacked=7'></iframe>",
    "javascript:window.hacked=8",
    '"><script>window.hacked = 9</script>',
    "' onmouseover='window.hacked = 10' x='",
    "{{ 7 * 7 }}{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
    "${window.hacked = 12}",
    "<!-- --><script>window.hacked = 13</script>",
    "]]><script>window.hacked = 14</script>",
    "<style>body { display: none }</style>",
    "<link rel=stylesheet href=https://example.invalid/x.css>",
    "<img src=https://example.invalid/pixel.png>",
    "<meta http-equiv=refresh content='0;url=https://example.invalid/'>",
    "<base href=https://example.invalid/>",
    "<form action=https://example.invalid/><input autofocus onfocus='window.hacked = 20'></form>",
    "<details open ontoggle='window.hacked = 21'>",
    "\u2028window.hacked = 22\u2029",
    "<a href='https://example.invalid/' ping='https://example.invalid/'>click</a>",
    "\ud800 lone surrogate \x00 and \x1b[31m control",
    "<math><mtext></table><mglyph><style><img src=x onerror='window.hacked=25'>",
    "\u202ereversed \u2066isolated\u2069 \u200bnothing",
    '"}]}\\\\", "x": window.hacked = 27, //',
    '<a href="javascript:window.hacked=28">go</a> <b>bold</b><br>%{customdata} %{meta[0]}',
    "$\\href{javascript:window.hacked=29}{x}$ $\\frac{1}{2}$ \\(x\\)",
    "*{display:none}</style><style>@import url(https://example.invalid/x.css);",
    '=HYPERLINK("https://example.invalid","x")',
    "_starts with an underscore",
    "<b>bold</b> $x^2$",
    "long" * 60_000,
]
"""34 texts for completions, prompts, reasons and names."""


def write_log(path: Path, seed: int, shape: float, prompts: int, n: int, temperature: float = 1.0) -> Counts:
    """Rollouts with Beta(shape, 2 shape) success rates; the rates are the same for every seed."""
    rates = np.random.default_rng(0).beta(0.5, 1.0, prompts) ** (1 / shape)
    rng = np.random.default_rng(seed)
    rollouts = []
    with RolloutLog(path) as log:
        name = log.describe({"task": "countdown", "temperature": temperature, "top_p": 1.0, "seed": seed})
        for p in range(prompts):
            for i in range(n):
                right = rng.random() < rates[p]
                hostile = HOSTILE[i] if p == 0 and i < len(HOSTILE) else None
                asked = HOSTILE[p - 4] if 4 <= p < 4 + len(HOSTILE) else f"{p % 19 + 1} {p % 7 + 2} {p % 11 + 3}"
                outcome = "not_judged" if p == 3 and i == 5 else "right" if right else "wrong"
                reason = {"right": "", "wrong": f"gives {p + i}", "not_judged": "the verifier crashed"}[outcome]
                rollouts.append(
                    Rollout(
                        problem=f"p{p}" if p else "<b onclick='window.hacked=99'>p0</b>",
                        sample=i,
                        prompt=f"{asked}={p + 10}:",
                        completion=hostile or f"{p % 19 + 1}*{p % 7 + 2}+{i}",
                        outcome=outcome,
                        reason=hostile or reason,
                        tokens=8,
                        truncated=i == 7 and p % 50 == 0,
                        temperature=temperature,
                        seed=seed,
                        settings=name,
                    )
                )
        log.append(rollouts)
    return count_rollouts(rollouts)


def write_run(path: Path, prompts: int = 40, n: int = 32, steps: int = 20) -> Path:
    """A finished run: recipe, both evaluations, metrics and training rollouts."""
    first = write_log(path / "evaluation" / "before.jsonl", 1, 1.0, prompts, n)
    second = write_log(path / "evaluation" / "after.jsonl", 2, 2.0, prompts, n)
    summary = {
        "status": "done",
        "name": "countdown " + " ".join(HOSTILE[:-1]),
        "objective": "pass_at_k(k=8), rms",
        "seed": 0,
        "command": "advshape train countdown",
        "training": {"steps": steps, "seconds": 183.2},
        "before": {},
        "after": {},
        "change": paired_difference(first, second).to_json(),
        "versions": {"advshape": "0.1.0", "python": "3.11.7", "trl": "1.16.0"},
        "warnings": ["<script>window.hacked = 98</script>"],
    }
    (path / "summary.json").write_text(json.dumps(summary))
    (path / "recipe.toml").write_text('[model]\npath = "countdown"\n# </pre><script>window.hacked = 97</script>\n')
    rng = np.random.default_rng(5)
    with (path / "metrics.jsonl").open("w") as file:
        for step in range(1, steps + 1):
            wrong, right = 0.5 * 0.99**step, 0.02 * step / (1 + 0.02 * step)
            record = {
                "step": step,
                "reward": 0.2 + 0.15 * (1 - 0.97**step) + rng.normal(0, 0.02),
                "advshape/prompts_all_wrong": wrong,
                "advshape/prompts_all_right": right,
                "advshape/prompts_mixed": 1 - wrong - right,
                "advshape/surrogate": 0.6 + 0.1 * (1 - 0.97**step),
                "entropy": 0.55 * 0.98**step,
                "grad_norm": 1.3 + rng.normal(0, 0.1),
            }
            file.write(json.dumps(record) + "\n")
    with (path / "rollouts.jsonl").open("w") as file:
        for step in range(1, steps + 1):
            for p in range(4):
                for i in range(8):
                    right = bool(rng.random() < 0.4)
                    record = {
                        "step": step,
                        "problem": f"train-{p}",
                        "completion": HOSTILE[i] if p == 0 else f"{i}+{p}",
                        "reward": float(right),
                        "verdict": "right" if right else "wrong",
                        "reason": "" if right else "gives 7",
                        "advantage": 1.2 if right else -0.4,
                    }
                    file.write(json.dumps(record) + "\n")
    return path


def compared(paths, labels, **options):
    """A comparison of the logs at these paths."""
    runs = []
    for path, label in zip(paths, labels, strict=True):
        rollouts = list(read_rollouts(path))
        texts = {rollout.problem: rollout.prompt for rollout in rollouts}
        runs.append(Run(label, str(path), count_rollouts(rollouts), texts, {"temperature": 1.0}))
    return compare(runs, permutations=200, resamples=50, **options)
