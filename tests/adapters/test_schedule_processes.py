"""Parity: two processes draw the same prompts, choose the same rules and end stages at the same step as one.

Rollouts are recorded, see test_trl_processes.py. Its tolerance of 1e-6 is for four steps of rate 0.5; rounding grows
over three times as many, so the rate here is 0.02.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("trl")
sys.path.append(str(Path(__file__).parent))
from test_trl_adapter import model, trainer, weights
from test_trl_processes import batch_metrics, judged, recorded

import advshape as adv
from advshape.adapters.trl.schedule import ScheduledGRPOTrainer

SCHEDULE = {
    "stages": [
        {
            "estimator": "rloo_k",
            "k": 2,
            "until": "pass_at_1 > 0.1",
            "over": 3,
            "hard": {"estimator": "rloo", "below": 0.4},
        },
        {"estimator": "rloo"},
    ]
}


class Told(ScheduledGRPOTrainer):
    def group_advantages(self, rewards, prompts):
        self.told = getattr(self, "told", []) + [row["number"] for row in prompts]
        return super().group_advantages(rewards, prompts)


def work(folder, processes):
    """12 rollouts in groups of 4 on 1 process, or 6 on each of 2: the middle group lies on both."""

    def made(**named):
        return Told(schedule=SCHEDULE, history=adv.PromptHistory(), prioritized={"floor": 0.05, "within": 6}, **named)

    run = trainer(
        made,
        folder,
        rewards=judged,
        rollout=recorded,
        per_device_train_batch_size=12 // processes,
        num_generations=4,
        max_steps=12,
        learning_rate=0.02,
    )
    assert run.accelerator.num_processes == processes
    run.train()
    result = {
        "weights": weights(run).tolist(),
        "told": run.told,
        "log": batch_metrics(run),
        "history": run.history.state_dict(),
        "position": asdict(run.position),
    }
    Path(folder, f"{processes}-{run.accelerator.process_index}.json").write_text(json.dumps(result))


@pytest.mark.long
def test_two_processes_draw_and_choose_as_one_does(tmp_path):
    environment = os.environ | {"TRL_EXPERIMENTAL_SILENCE": "1", "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", __file__]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    work(tmp_path, 1)
    one, first, second = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("1-0", "2-0", "2-1"))
    for two in (first, second):
        for name in ("told", "history", "position"):
            assert two[name] == one[name]
        torch.testing.assert_close(torch.tensor(two["weights"]), torch.tensor(one["weights"]), rtol=0, atol=1e-6)
    start = weights(SimpleNamespace(model=model()))
    assert (torch.tensor(one["weights"]) - start).abs().max() > 1e-3
    assert first["log"] == one["log"]
    assert one["position"]["starts"] == [1, 4]
    hard = [line["advshape/prompts_hard"] for line in one["log"] if "advshape/prompts_hard" in line]
    assert any(0 < share < 1 for share in hard)
    counts = [one["told"].count(number) for number in range(8)]
    assert min(counts) >= 2, "twelve generations, each prompt within six"
    assert max(counts) > min(counts) + 1


if __name__ == "__main__":
    work(sys.argv[1], 2)
