"""Parity: two processes, replicated (DDP) or sharded (FSDP2), do what one does with the same global batch.

Rollouts are recorded, because TRL gives each process its own random state. Tolerance 1e-6: the two halves of a gradient
are summed in another order. accelerate offers FSDP on accelerators only and drops the plugin on a CPU without a word;
`offer_fsdp_on_cpu` makes the choice that it makes there. What shards, gathers and reduces then is torch's own FSDP2,
over gloo.
"""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("trl")
sys.path.append(str(Path(__file__).parent))
from test_trl_adapter import LETTERS, model, trainer, weights

import advshape as adv
from advshape.adapters.trl import SurrogateGRPOTrainer

RECORDED = ["abc", "fgh", "ba", "hhh", "cde", "g", "d", "eeee"]
SHARDED = {"fsdp": True, "fsdp_config": {"version": 2, "auto_wrap_policy": "TRANSFORMER_BASED_WRAP"}}


def recorded(prompts, made):
    """Rollouts that depend on the prompt and on the place in the group only, so that one and two processes agree."""
    start = made.accelerator.process_index * len(prompts)
    letters = made.processing_class
    texts = [RECORDED[(3 * LETTERS.index(p[0]) + 5 * ((start + i) % 4)) % 8] for i, p in enumerate(prompts)]
    completion_ids = [[*letters(text)["input_ids"], 1] for text in texts]
    return {
        "prompt_ids": letters(prompts)["input_ids"],
        "completion_ids": completion_ids,
        "logprobs": [[0.0] * len(ids) for ids in completion_ids],
    }


def judged(completions, **_):
    return [None if text == "g" else float(text[0] in "abcd") for text in completions]


class Told(SurrogateGRPOTrainer):
    def group_advantages(self, rewards, prompts):
        self.told = getattr(self, "told", []) + [row["number"] for row in prompts]
        return super().group_advantages(rewards, prompts)


def offer_fsdp_on_cpu():
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType

    made = AcceleratorState.__init__

    def make(self, *args, fsdp_plugin=None, **named):
        made(self, *args, fsdp_plugin=fsdp_plugin, **named)
        if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin
            PartialState._shared_state["distributed_type"] = self.distributed_type

    AcceleratorState.__init__ = make


def work(folder, processes, kind):
    """12 rollouts in groups of 4 on 1 process, or 6 on each of 2: the middle group lies on both."""
    given = {"per_device_train_batch_size": 12 // processes, "num_generations": 4, "max_steps": 4}
    made = trainer(
        functools.partial(Told, history=adv.PromptHistory()),
        folder,
        estimator="rloo",
        rewards=judged,
        rollout=recorded,
        **given,
        **(SHARDED if kind == "fsdp2" else {}),
    )
    assert made.accelerator.num_processes == processes
    made.train()
    result = {
        "distributed": str(made.accelerator.distributed_type),
        "sharded": [type(p).__name__ for p in made.model.parameters()].count("DTensor"),
        "weights": whole(made).tolist(),
        "losses": [entry["loss"] for entry in made.state.log_history if "loss" in entry],
        "told": made.told,
        "log": batch_metrics(made),
        "advantages": list(made._logs["advantages"]),
        "history": made.history.state_dict(),
    }
    with open(f"{folder}/{kind}-{made.accelerator.process_index}.json", "w") as file:
        json.dump(result, file)


def batch_metrics(made):
    """Our metrics of each generation but skipping's: both processes keep as many rows as the one that needs more."""
    own = ("advshape/rollouts_skipped", "advshape/seconds_saved")
    return [
        {k: v for k, v in line.items() if k.startswith("advshape/") and k not in own} for line in made.state.log_history
    ]


def whole(made):
    """All weights, on every process."""
    return torch.cat(
        [getattr(p.detach(), "full_tensor", lambda p=p: p.detach())().flatten() for p in made.model.parameters()]
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    environment = os.environ | {"TRL_EXPERIMENTAL_SILENCE": "1", "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", __file__]
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    work(folder, 1, "one")
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*-?.json")}


@pytest.mark.long
@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_two_processes_do_what_one_does(results, kind):
    one, pair = results["one-0"], [results[f"{kind}-0"], results[f"{kind}-1"]]
    start = weights(SimpleNamespace(model=model()))
    assert (torch.tensor(one["weights"]) - start).abs().max() > 1e-2
    assert len(one["losses"]) == 4
    assert all(abs(loss) > 1e-4 for loss in one["losses"])
    assert any(one["advantages"])
    for two in pair:
        assert two["losses"] == pytest.approx(one["losses"], rel=1e-5, abs=1e-7)
        torch.testing.assert_close(torch.tensor(two["weights"]), torch.tensor(one["weights"]), rtol=0, atol=1e-6)
        assert two["told"] == one["told"]
        assert two["advantages"] == one["advantages"]
        assert two["history"] == one["history"]
    assert pair[0]["log"] == one["log"]


@pytest.mark.long
def test_they_were_what_they_are_called(results):
    assert results["one-0"]["distributed"] == "DistributedType.NO"
    assert results["ddp-1"]["distributed"] == "DistributedType.MULTI_CPU"
    assert results["fsdp2-1"]["distributed"] == "DistributedType.FSDP"
    assert results["ddp-1"]["sharded"] == 0
    assert results["fsdp2-1"]["sharded"] == 12  # every parameter of the model lies in two halves


if __name__ == "__main__":
    offer_fsdp_on_cpu()
    for kind in ("ddp", "fsdp2"):
        work(sys.argv[1], 2, kind)
