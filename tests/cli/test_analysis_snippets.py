"""The lines that `advshape derive` prints for pasting: run in TRL itself; for verl, read as its adapter reads them.

tests/adapters/test_verl.py gives the latter to Hydra and to verl.
"""

import ast
import json
import shlex
from textwrap import dedent

import numpy as np
import pytest

import advshape as adv
from advshape.adapters.verl.options import objective as verl_objective
from advshape.catalogue.resolve import resolve_objective
from advshape.cli import main
from advshape.cli.snippets import trl_code, verl_code

torch = pytest.importorskip("torch")

OBJECTIVES = ["0.5*rho + 0.5*(1-(1-rho)**4) + 0.05*entropy(rho)", "pass_at_k(k=2)", "PassAtK(k=3)", "nsr"]


def printed(capsys, objective, n):
    """The two blocks of code in the output, without their indent."""
    assert main(["derive", objective, "-n", str(n)]) == 0
    out = capsys.readouterr().out
    trl, verl = out.split("In TRL (")[1].split("In verl (")
    return tuple(dedent(block.split(":\n\n", 1)[1]) for block in (trl, verl))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_verl(capsys, objective):
    """The overrides, read by the shell's rules, describe the estimator that was derived."""
    words = shlex.split(printed(capsys, objective, 6)[1].replace("\\\n", " "), comments=True)
    assert words[:3] == ["python", "-m", "verl.trainer.main_ppo"]
    given = dict(word.split("=", 1) for word in words[3:])
    assert given.pop("actor_rollout_ref.rollout.n") == "6"
    assert given.pop("algorithm.adv_estimator") == "advshape"
    own = {key.removeprefix("+algorithm.advshape."): json.loads(value) for key, value in given.items()}
    found, _ = verl_objective({"algorithm.adv_estimator": "advshape", "algorithm.advshape": own})
    table, want = found.table(6), resolve_objective(objective, 6)[0].table(6)
    np.testing.assert_array_equal(table.positive, want.positive)
    np.testing.assert_array_equal(table.negative, want.negative)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("objective", OBJECTIVES[:2])
def test_trl(capsys, tmp_path, objective):
    """The real trainer class takes the lines and makes one step with the shipped model."""
    pytest.importorskip("trl")
    from importlib.resources import files

    from datasets import Dataset

    n = 6
    settings = {
        "output_dir": str(tmp_path),
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
        "max_steps": 1,
        "per_device_train_batch_size": 2 * n,
        "max_completion_length": 4,
        "report_to": "none",
        "save_strategy": "no",
    }
    names = {
        "model": str(files("advshape") / "models" / "countdown"),
        "verify": lambda completions, **_: [float(i % 3 == 0) for i in range(len(completions))],
        "settings": settings,
        "prompts": Dataset.from_list([{"prompt": "1 2 3 = 6"}, {"prompt": "4 5 6 = 15"}]),
    }
    exec(printed(capsys, objective, n)[0], names)
    trainer = names["trainer"]
    trainer.train()
    assert trainer.state.global_step == 1
    table = trainer.estimator.table(n)
    assert sorted({round(a, 5) for a in trainer._logs["advantages"]}) == sorted(
        {round(float(table.negative[2]), 5), round(float(table.positive[2]), 5)}
    )


def test_the_lines_name_the_size():
    assert "num_generations=12" in trl_code("rloo", 12)


@pytest.mark.parametrize("spec", ["rloo", {"surrogate": "rho", "build": "unbiased"}])
def test_the_learning_rate_stands_beside_the_lines(spec):
    """Unscaled lines say what to write for GRPO's learning rate; that text is a spec, and its own lines say so."""
    line = trl_code(spec, 8).splitlines()[-1]
    scaled = ast.literal_eval(line.partition("; ")[2].partition(" has GRPO's")[0])
    assert adv.estimator(scaled).table(8).rms() == pytest.approx(1)
    for code in (trl_code(scaled, 8), verl_code(scaled, 8)):
        assert "at unit rms, GRPO's scale: a learning rate tuned for GRPO is a good start" in code
    assert "+algorithm.advshape.scale=rms has GRPO's" in verl_code(spec, 8)
