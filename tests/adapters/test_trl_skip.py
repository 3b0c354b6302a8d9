"""Skipping rollouts with advantage 0: loss and gradient of every TRL loss against TRL itself, two processes, refusals.

Parity: one trainer skips, the other is TRL alone; both get the recorded rollouts below. Tolerance 1e-6 of the
gradient's norm, in float64: TRL's advantages and the divisors are float32 (relative 6e-8), and a step moves both
models alike. Losses are differences of terms of order 1, hence 1e-7 where they cancel. A wrong divisor is off by the
share of kept rows, a fifth and more.
"""

import json
import logging
import math
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from advshape.adapters.trl import SkipZeroAdvantages, SurrogateGRPOTrainer
from advshape.adapters.trl.options import KEPT_SHARE, skipping_is_off
from advshape.adapters.trl.skip import keep_rows, kept_rows

_h = runpy.run_path(str(Path(__file__).with_name("test_trl_adapter.py")))
config, dataset, model, tokenizer, weights = map(_h.get, ("config", "dataset", "model", "tokenizer", "weights"))

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"  # rollout_func

# by the place of a group in the data set: alive, dead, dead, alive with one not judged, none judged, alive, dead, dead
TEXTS = ["a", "fgh", "ba", "hhhh", "cdeab", "ged", "d", "eeee"]
VERDICTS = ["1010", "0000", "1111", "10-0", "----", "0001", "1111", "0000"]
DEAD = ["0000", "1111", "----", "1111", "----", "0000", "1111", "0000"]


class Skipping(SkipZeroAdvantages, GRPOTrainer):
    """TRL's own advantages."""


class Rollouts:
    """Rollouts and verdicts that depend on the prompt and on the place in the group (of 4) only."""

    __name__ = "verdict"

    def __init__(self, verdicts):
        self.verdicts = verdicts

    def rollout(self, prompts, made):
        start = made.accelerator.process_index * len(prompts)
        letters = made.processing_class
        texts = [TEXTS[(ord(p[0]) + 3 * ((start + i) % 4)) % 8] for i, p in enumerate(prompts)]
        ids = [[*letters(text)["input_ids"], 1] for text in texts]
        return {
            "prompt_ids": letters(prompts)["input_ids"],
            "completion_ids": ids,
            "logprobs": [[-1.0 - 0.1 * i for i in range(len(row))] for row in ids],
            "place": [(start + i) % 4 for i in range(len(prompts))],
        }

    def __call__(self, prompts, completions, place, **_):
        found = [self.verdicts["abcdefgh".index(p[0])][i] for p, i in zip(prompts, place, strict=True)]
        return [None if verdict == "-" else float(verdict) for verdict in found]


class Gradients(TrainerCallback):
    """The gradient of every optimiser step, all parameters in one vector."""

    def __init__(self):
        self.seen = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **_):
        self.seen.append(torch.cat([p.grad.flatten() for p in model.parameters()]).clone())


def run(cls, folder, verdicts=VERDICTS, own=None, **given):
    """Train 4 steps; losses, gradients, and the trainer."""
    rollouts, gradients = Rollouts(verdicts), Gradients()
    given = {
        "per_device_train_batch_size": 4,
        "num_generations": 4,
        "max_steps": 4,
        "gradient_accumulation_steps": 2,
        "learning_rate": 0.002,
        "scale_rewards": "none",
        "max_completion_length": 6,
    } | given
    made = cls(
        model=model().double(),
        reward_funcs=rollouts,
        args=config(folder, **given),
        train_dataset=dataset(8),
        processing_class=tokenizer(),
        rollout_func=rollouts.rollout,
        callbacks=[gradients],
        **own or {},
    )
    made.train()
    return [line["loss"] for line in made.state.log_history if "loss" in line], gradients.seen, made


def same(folder, ours=Skipping, own=None, **given):
    """Assert parity; return how many rollouts were skipped by our trainer and both."""
    losses_a, gradients_a, a = run(ours, folder, own=own, **given)
    losses_b, gradients_b, b = run(GRPOTrainer, folder, **given)
    assert losses_a == pytest.approx(losses_b, rel=1e-6, abs=1e-7)
    assert len(gradients_a) == len(gradients_b) == a.state.global_step
    for x, y in zip(gradients_a, gradients_b, strict=True):
        assert (x - y).norm() <= 1e-6 * y.norm()
    shares = [line["advshape/rollouts_skipped"] for line in a.state.log_history if "advshape/rollouts_skipped" in line]
    assert not any("advshape" in key for line in b.state.log_history for key in line)
    return shares, gradients_b, a


# parity

ACCUMULATED = {"max_steps": 2}
ITERATED = {"num_iterations": 2, "epsilon": 0.001, "max_steps": 4}  # old log-probabilities, and ratios that clip
SEQUENCE = ITERATED | {"importance_sampling_level": "sequence"}
WINDOW = ITERATED | {"steps_per_generation": 4, "max_steps": 5}
ONE_BATCH = {"gradient_accumulation_steps": 1, "per_device_train_batch_size": 16, "max_steps": 2}
CASES = [(kind, shape) for kind in sorted(KEPT_SHARE) for shape in ("ACCUMULATED", "ITERATED")]
CASES += [("grpo", "SEQUENCE"), ("luspo", "SEQUENCE"), ("bnpo", "WINDOW"), ("dapo", "WINDOW"), ("dr_grpo", "ONE_BATCH")]


@pytest.mark.parametrize(("loss_type", "shape"), CASES)
def test_loss_and_gradient_are_trls(tmp_path, loss_type, shape):
    shares, gradients, _ = same(tmp_path, loss_type=loss_type, **globals()[shape])
    assert 0.2 < max(shares) < 1
    assert max(g.norm() for g in gradients) > 1e-2


def test_every_loss_type_of_trl_is_known():
    """A loss that a later TRL adds stands in its help."""
    named = GRPOConfig.__dataclass_fields__["loss_type"].metadata["help"]
    assert set(re.findall(r"'([a-z_]+)'", named.partition("Supported values are")[2].partition(".")[0])) == set(
        KEPT_SHARE
    )


def test_ratios_were_clipped(tmp_path):
    """Meta: the iterated cases do reach the clipping that makes the loss non-linear in the policy."""
    _, _, made = run(Skipping, tmp_path, **ITERATED)
    assert max(line.get("clip_ratio/region_mean", 0) for line in made.state.log_history) > 0.05


@pytest.mark.parametrize("loss_type", ["bnpo", "grpo"])
def test_our_advantages(tmp_path, loss_type):
    own = {"estimator": "rloo"}
    ours = run(SurrogateGRPOTrainer, tmp_path, own=own, loss_type=loss_type)
    whole = run(SurrogateGRPOTrainer, tmp_path, own=own | {"skip_zero_advantages": False}, loss_type=loss_type)
    for x, y in zip(ours[1], whole[1], strict=True):
        assert (x - y).norm() <= 1e-6 * y.norm()
    assert ours[0] == pytest.approx(whole[0], rel=1e-6, abs=1e-7)
    assert not any("advshape/rollouts_skipped" in line for line in whole[2].state.log_history)


def test_a_batch_with_nothing_left(tmp_path):
    """Each micro-batch of four keeps one row; the gradients are 0 and the run ends."""
    _losses, gradients, made = run(Skipping, tmp_path, DEAD)
    assert made.state.global_step == 4
    assert not any(g.any() for g in gradients)
    assert {line["advshape/rollouts_skipped"] for line in made.state.log_history if "loss" in line} == {0.75}


class Corrected(GRPOTrainer):
    """Stock TRL with the tensors of vLLM's importance sampling in the batch, as if vLLM had generated it."""

    def _generate_and_score_completions(self, inputs):
        self.use_vllm = False
        output = super()._generate_and_score_completions(inputs)
        output["importance_sampling_ratio"] = 0.5 + output["completion_ids"] / 10
        self.use_vllm = True
        return output


def test_vllms_corrections_are_cut_with_their_rows(tmp_path):
    ours = type("Ours", (SkipZeroAdvantages, Corrected), {})
    given = {"off_policy_mask_threshold": 0.4, **ITERATED}
    a, b, stock = run(ours, tmp_path, **given), run(Corrected, tmp_path, **given), run(GRPOTrainer, tmp_path, **given)
    for x, y in zip(a[1], b[1], strict=True):
        assert (x - y).norm() <= 1e-6 * y.norm()
    assert max((y - z).norm() / z.norm() for y, z in zip(b[1], stock[1], strict=True) if z.any()) > 0.1
    assert "sampling_per_token_logps" in a[2]._buffered_inputs[0]


# rows, by hand


def batch():
    return {
        "advantages": torch.tensor([0.0, 3.0, 0.0, -1.0, 0.0]),
        "completion_mask": torch.tensor([[1, 1], [1, 0], [1, 1], [1, 1], [1, 0]]),
        "tool_mask": torch.tensor([[1, 1], [1, 1], [1, 1], [0, 1], [0, 1]]),
        "importance_sampling_ratio": torch.arange(5.0)[:, None],
        "names": list("vwxyz"),
        "num_items_in_batch": torch.tensor(8),
        "old_per_token_logps": None,
    }


def test_every_row_is_cut_and_dead_ones_fill_up():
    kept = keep_rows(batch(), 3, "dapo")
    assert kept["advantages"].tolist() == [0, 3, -1]
    assert kept["importance_sampling_ratio"].flatten().tolist() == [0, 1, 3]
    assert kept["names"] == ["v", "w", "y"]
    assert kept["num_items_in_batch"] == 8
    assert kept["old_per_token_logps"] is None
    assert batch()["advantages"].tolist() == [0, 3, 0, -1, 0]


@pytest.mark.parametrize(("loss_type", "share"), [("dr_grpo", 2 / 5), ("bnpo", 2 / 6), ("cispo", 1)])
def test_shares_by_hand(loss_type, share):
    """Two rows of five; of the tokens that count, 2 + 1 + 2 + 1 + 0 = 6, two are theirs."""
    assert keep_rows(batch(), 2, loss_type)["advantages"].tolist() == pytest.approx([3 * share, -share])


def test_advantages_of_tokens():
    given = batch() | {"advantages": torch.tensor([[0.0, 0], [0, 2], [0, 0], [1, 0], [0, 0]])}
    assert keep_rows(given, 2, "dapo")["advantages"].tolist() == [[0, 2], [1, 0]]


def test_processes_keep_what_one_of_them_needs_and_one_row_at_least():
    others = torch.tensor([[3, 0]])
    here = SimpleNamespace(device="cpu", gather=lambda mine: torch.cat([mine, others]))
    dead = batch() | {"advantages": torch.zeros(5)}
    assert kept_rows([batch(), dead], here) == [3, 1]


# where it is off


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"beta": 0.04}, "beta=0.04 acts on"),
        ({"entropy_coef": 0.1}, "entropy_coef=0.1"),
        ({"use_adaptive_entropy": True}, "use_adaptive_entropy=True"),
        ({"top_entropy_quantile": 0.5}, "top_entropy_quantile=0.5"),
        ({"router_aux_loss_coef": 0.1}, "router_aux_loss_coef=0.1"),
        ({"loss_type": "new"}, "loss_type='new' is none of dr_grpo, grpo"),
    ],
)
def test_options_that_need_every_rollout(given, reason):
    assert reason in skipping_is_off(SimpleNamespace(**given))
    assert skipping_is_off(SimpleNamespace()) is None


def test_it_says_once_that_it_is_off_and_leaves_the_loss_alone(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "advshape"):
        shares, _, made = same(tmp_path, entropy_coef=0.1)
    assert [r.getMessage() for r in caplog.records if r.name == "advshape"] == [
        "Rollouts with advantage 0 are not skipped: entropy_coef=0.1 acts on rollouts with advantage 0 too."
    ]
    assert shares == []
    assert not made.skip_zero_advantages


def test_it_must_be_off_there(tmp_path):
    """Meta: with the entropy bonus the dead rollouts do count."""
    forced = type("Forced", (Skipping,), {"why_not_skip": lambda self: None})
    _, ours, _ = run(forced, tmp_path, entropy_coef=0.1)
    _, stock, _ = run(GRPOTrainer, tmp_path, entropy_coef=0.1)
    assert (ours[0] - stock[0]).norm() > 1e-3 * stock[0].norm()


def test_losses_of_subclasses_and_routers(tmp_path):
    own = type("Own", (Skipping,), {"_compute_loss": lambda self, model, inputs: None})
    made = object.__new__(own)
    assert made.why_not_skip() == "Own has its own _compute_loss"
    made = object.__new__(Skipping)
    made.args, made.aux_loss_enabled = SimpleNamespace(), True
    assert "router" in made.why_not_skip()
    made.aux_loss_enabled = False
    assert made.why_not_skip() is None


def test_images_on_another_process_switch_it_off_here(caplog):
    made = object.__new__(Skipping)
    made.skip_zero_advantages, made._tokens, made._buffered_inputs = True, [(1, 1)], [batch()]
    images = kept_rows([batch() | {"num_images": [1] * 5}], SimpleNamespace(device="cpu", gather=lambda mine: mine))
    made.accelerator = SimpleNamespace(
        device="cpu", is_main_process=True, gather=lambda mine: torch.cat([mine, torch.tensor([images])])
    )
    with caplog.at_level(logging.WARNING, "advshape"):
        made._cut()
    assert "images" in caplog.text
    assert not made.skip_zero_advantages
    assert made._tokens == []
    assert len(made._buffered_inputs[0]["advantages"]) == 5


# seconds


def test_seconds_saved_by_hand(monkeypatch):
    """Least seconds per kept token so far, times skipped tokens: 30 x .1 + 20 x .1, then 30 x .05 + 20 x .05."""
    now, took = [0.0], iter([1.0, 4.0, 0.5, 2.0])

    class Clock:
        def training_step(self, *_):
            now[0] += next(took) + 100
            self._preparing, self._step = 100.0, self._step + 1
            return torch.zeros(())

    monkeypatch.setattr("advshape.adapters.trl.skip.time.perf_counter", lambda: now[0])
    made = object.__new__(type("Timed", (SkipZeroAdvantages, Clock), {}))
    made.args = SimpleNamespace(steps_per_generation=2)
    made.current_gradient_accumulation_steps, made._step = 2, 0
    made._tokens, made._seconds_saved, made._seconds_per_token = [(10, 30), (20, 20)], 0.0, math.inf
    made._metrics = {"train": {"advshape/seconds_saved": []}}
    for _ in range(4):
        made.training_step(None, None)
    assert made._metrics["train"]["advshape/seconds_saved"] == pytest.approx([5.0, 2.5])


# two processes


def work(folder):
    """Both trainers on two processes of two groups each; what each process had left, and the gradients."""
    given = {"max_steps": 6, "loss_type": "dr_grpo"}
    left = []

    class Watched(Skipping):
        def _generate_and_score_completions(self, inputs):
            output = super()._generate_and_score_completions(inputs)
            left.append(int(output["advantages"].count_nonzero()))
            return output

    ours, whole = run(Watched, folder, **given), run(GRPOTrainer, folder, **given)
    assert ours[2].accelerator.num_processes == 2
    result = {
        "left": left,
        "norms": [float(g.norm()) for g in whole[1]],
        "off_by": [float((x - y).norm()) for x, y in zip(ours[1], whole[1], strict=True)],
        "losses": [ours[0], whole[0]],
        "weights": weights(ours[2]).tolist(),
    }
    Path(folder, f"{ours[2].accelerator.process_index}.json").write_text(json.dumps(result))


@pytest.mark.long
def test_two_processes_of_which_one_has_nothing_left(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", __file__]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (json.loads((tmp_path / f"{i}.json").read_text()) for i in range(2))
    assert any(min(pair) == 0 < max(pair) for pair in zip(first["left"], second["left"], strict=True))
    assert first["weights"] == second["weights"]
    for one in (first, second):
        assert max(one["norms"]) > 1e-2
        assert all(off <= 1e-6 * norm for off, norm in zip(one["off_by"], one["norms"], strict=True))
    assert first["losses"][0] == pytest.approx(first["losses"][1], rel=1e-6, abs=1e-7)


if __name__ == "__main__":
    work(sys.argv[1])
