"""What dividing by a batch's tokens does to prompts of short answers: every batch enumerated, long ones simulated."""

import re
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from advshape.adapters.lengths import NOTICEABLE, small_batch, weight_of_short
from advshape.adapters.verl.options import objective_warnings

DOCS = Path(__file__).parents[2] / "docs"


def enumerated(prompts, short, long):
    """Mean of 1 / (tokens of the batch) over all batches that hold a short, and a long, prompt in first place."""
    means = []
    for first in (short, long):
        batches = [(first, *rest) for rest in product([short, long], repeat=prompts - 1)]
        means.append(sum(Fraction(1, sum(batch)) for batch in batches) / len(batches))
    return means[0] / means[1]


@pytest.mark.parametrize("prompts", [1, 2, 3, 4, 9])
@pytest.mark.parametrize(("short", "long"), [(10, 100), (1, 7), (50, 50)])
def test_against_every_batch(prompts, short, long):
    exact = enumerated(prompts, short, long)
    assert weight_of_short(prompts, short, long) == pytest.approx(float(exact), rel=1e-13)


@pytest.mark.parametrize("prompts", [16, 64])
def test_against_simulated_steps(prompts):
    """Weights that prompts get over 300,000 steps of a token-divided loss; 5 standard errors."""
    rng = np.random.default_rng(0)
    long = rng.integers(0, 2, size=(300_000, prompts)).astype(bool)
    factor = 1 / np.where(long, 100, 10).sum(1, keepdims=True)
    weight = [np.broadcast_to(factor, long.shape)[kind].mean() for kind in (~long, long)]
    error = np.sqrt(2) * factor.std() / factor.mean() / np.sqrt(300_000)
    assert abs(weight[0] / weight[1] - weight_of_short(prompts)) < 5 * error


def test_the_figures_that_are_documented():
    """The table of docs/trl.md, and the number of prompts from which nothing is said."""
    page = (DOCS / "trl.md").read_text(encoding="utf-8")
    row = lambda head: re.search(rf"^\| {head} \|(.+)\|$", page, re.MULTILINE)[1].split("|")
    prompts, times = row("prompts per step"), row("times")
    assert [int(p) for p in prompts] == [1, 2, 4, 16, 64]
    assert [t.strip() for t in times] == [f"{weight_of_short(int(p)):.3g}" for p in prompts]
    assert "from 35 prompts on it is below\n1.05" in page
    assert "`actor.ppo_mini_batch_size` below 35" in (DOCS / "verl.md").read_text(encoding="utf-8")


def test_silent_in_large_batches():
    few = [prompts for prompts in range(1, 200) if small_batch(prompts, "it")]
    assert few == list(range(1, 35))
    assert weight_of_short(35) < NOTICEABLE < weight_of_short(34)


def test_verl_says_it_of_its_mini_batches():
    key = "actor_rollout_ref.actor.ppo_mini_batch_size"
    (line,) = objective_warnings({key: 4})
    assert line.startswith("actor_rollout_ref.actor.loss_agg_mode=token-mean: divides each mini-batch by its tokens")
    assert "with 4 prompts in it, a prompt of 10-token answers weighs 1.94 times" in line
    assert not objective_warnings({})
    assert not objective_warnings({key: 4, "actor_rollout_ref.actor.loss_agg_mode": "seq-mean-token-sum-norm"})
