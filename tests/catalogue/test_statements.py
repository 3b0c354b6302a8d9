"""Numbers in sentences about entries, recomputed: where a sentence would be wrong, so would its number be here."""

import re
from inspect import getdoc

import numpy as np
import pytest

import advshape as adv
from advshape.catalogue import ENTRIES


def test_the_bootstrap_is_k_times_passk_training_only_as_n_grows():
    """Its docstring: the least and the largest share of k times at n = 8, k = 4; at n = 256 hardly less than 1."""
    said = re.search(r"its A\+ are (\S+)\s.*?to (\S+) of that", getdoc(ENTRIES["passk_training_bootstrap"]), re.DOTALL)
    low, high = map(float, said.groups())
    shares = {}
    for n in (8, 256):
        boot, plain = (adv.estimator(name, k=4).table(n) for name in ("passk_training_bootstrap", "passk_training"))
        some = np.flatnonzero(plain.positive)
        shares[n] = boot.positive[some] / (4 * plain.positive[some])
    assert (shares[8].min().round(2), shares[8].max().round(2)) == (low, high)
    assert shares[8].argmin() == len(shares[8]) - 1
    assert 0.97 < shares[256][64] < 1  # at a quarter right


def test_all_of_k_is_pulled_by_k_rho_to_the_k_minus_1():
    assert "k rho^(k-1) falls to 0 with rho" in adv.estimator("all_of_k(k=4)").avoid
    for k in (2, 4):
        slope = adv.estimator("all_of_k", k=k).table(8).surrogate().derivative([0.0, 0.25, 0.5])
        np.testing.assert_allclose(slope, [0, k * 0.25 ** (k - 1), k * 0.5 ** (k - 1)], atol=1e-14)


def test_sqrt_r_on_solved_prompts():
    assert "A-(n - 1) = -sqrt(n)" in adv.estimator("sqrt_r").avoid
    assert adv.estimator("sqrt_r").table(9).negative[8] == pytest.approx(-3)


def test_nemo_rl_gives_less_to_a_lone_right_answer_than_to_each_of_two():
    table = adv.estimator("grpo_leave_one_out").table(8)
    assert table.positive[1] == 1 < table.positive[2]
    slope = table.surrogate().derivative([0.0, 0.5, 1.0])
    assert slope[[0, 2]].tolist() == [1, 1]
    assert 1.9 < slope[1] < 2.1  # GRPO's is 2


def test_tsallis_and_maxrl_on_a_lone_right_answer():
    """avoid: one right answer in n weighs n^q, and n - 1 under MaxRL, its A- being about -1."""
    for n in (8, 64):
        table = adv.estimator("tsallis(q=0.5)").table(n)
        assert table.positive[1] - table.negative[1] == pytest.approx(n**0.5)
        assert adv.estimator("maxrl").table(n).positive[1] == pytest.approx(n - 1)
