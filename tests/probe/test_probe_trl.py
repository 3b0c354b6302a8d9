"""Reverse on TRL itself: the installed GRPOTrainer's advantages against its documented formula in plain numpy."""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from advshape.cli import main

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

import advshape as adv  # noqa: E402
from advshape.audit.trl import TRLAdvantages  # noqa: E402

REWARDS = np.array([[1.0, 0, 0, 1, 0, 0], [1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0]])
centre = lambda r: r - r.mean(-1, keepdims=True)


def whiten(r):
    return (r - r.mean()) / (r.std(ddof=1) + 1e-4)


BY_HAND = {
    ("none", "sum_then_normalize"): centre,
    ("group", "sum_then_normalize"): lambda r: centre(r) / (r.std(-1, ddof=1, keepdims=True) + 1e-4),
    ("batch", "sum_then_normalize"): lambda r: centre(r) / (r.std(ddof=1) + 1e-4),
    ("group", "normalize_then_sum"): lambda r: whiten(centre(r) / (r.std(-1, ddof=1, keepdims=True) + 1e-4)),
}


@pytest.mark.parametrize(("scale", "order"), BY_HAND)
def test_parity_with_the_documented_formula(scale, order):
    rule = TRLAdvantages(6, scale, order)
    found = rule(torch.tensor(REWARDS))
    np.testing.assert_allclose(found.numpy(), BY_HAND[scale, order](REWARDS), rtol=1e-5, atol=1e-6)  # float32
    assert rule(REWARDS[:, :3]).shape == (3, 3)  # another group size, from an array


def test_a_rollout_that_nobody_judged_gets_nothing():
    found = TRLAdvantages(4, "none")(torch.tensor([[1.0, 0.0, torch.nan, 0.0]]))
    torch.testing.assert_close(found, torch.tensor([[2 / 3, -1 / 3, 0, -1 / 3]]))


def test_the_numbers_are_trls_own(monkeypatch):
    """Change TRL's nanstd and the answer changes: nothing here is typed by hand."""
    import trl.trainer.grpo_trainer as source

    rule = TRLAdvantages(6)
    before = rule(REWARDS)
    nanstd = source.nanstd
    monkeypatch.setattr(source, "nanstd", lambda *a, **k: 2 * nanstd(*a, **k))
    torch.testing.assert_close(2 * rule(REWARDS), before, rtol=1e-3, atol=0)  # up to the epsilon


def test_global_generators_are_left_alone():
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    want = torch.rand(1), np.random.rand(), random.random()  # noqa: NPY002
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    TRLAdvantages(4)
    assert (torch.rand(1), np.random.rand(), random.random()) == want  # noqa: NPY002


def found(capsys, target, *words):
    assert main(["reverse", target, "-n", "5", *words]) == 0
    return capsys.readouterr().out


def test_group_none_and_default(capsys):
    """TRL divides by the deviation with n - 1 plus 1e-4: GRPO, exactly named; without it Dr. GRPO."""
    for target in ("trl", "trl:scale_rewards=group"):
        out = found(capsys, target)
        assert "this is grpo(ddof=1, epsilon=0.0001) (about grpo x 0.894)" in out
        assert "maximises" in out
    assert "this is dr_grpo\n" in found(capsys, "trl:scale_rewards=none")


@pytest.mark.parametrize(
    ("target", "weights"),
    [
        ("trl:scale_rewards=batch", np.ones(5)),
        (
            "trl:multi_objective_aggregation=normalize_then_sum",
            adv.estimator("grpo(ddof=1, epsilon=1e-4)").table(5).weight,
        ),
    ],
)
def test_batch_rules_get_their_surrogate_up_to_the_batchs_scale(capsys, target, weights):
    out = json.loads(found(capsys, target, "--json"))
    assert out["up_to_batch_scale"]
    assert {"batch", "batch scale"} <= {f["kind"] for f in out["findings"]}
    ratio = np.array(out["weight"]) / weights
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)  # float32, whitened
    text = found(capsys, target)
    assert "as n grows, up to the batch's scale" in text
    assert "the batch sets their scale" in text


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("trl:scale_reward=batch", "got 'scale_reward=batch'"),
        ("trl:scale_rewards=bath", "one of group, batch, none, got 'bath'"),
        ("trl:scale_rewards=none,scale_rewards=none", "each given once"),
        ("trl:loss_type=grpo", "objective_warnings"),
        ("trl:scale_rewards", "one of group, batch, none, got ''"),
        ("trl:,", "got ''"),
    ],
)
def test_wrong_options_are_named(capsys, target, message):
    assert main(["reverse", target]) == 2
    assert message in capsys.readouterr().err


def test_one_rollout_is_too_few(capsys):
    assert main(["reverse", "trl", "-n", "1"]) == 2
    assert "at least 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("packages", "message"),
    [([], 'pip install "advshape[trl]"'), (["trl"], "could not be imported as trl.trainer.grpo_trainer")],
)
def test_without_trl_it_is_one_clear_sentence(tmp_path, capsys, packages, message):
    """An interpreter that has numpy and SciPy alone, and one with TRL but nothing that TRL needs."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "v"], check=True)
    (there,) = (tmp_path / "v").glob("lib/*/site-packages")
    for package in ("numpy", "scipy", *packages):
        for path in Path(np.__file__).parents[1].glob(f"{package}[.-]*"):
            (there / path.name).symlink_to(path)
        (there / package).symlink_to(Path(np.__file__).parents[1] / package)
    assert main(["reverse", "trl", "--python", str(tmp_path / "v/bin/python")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert len(said.err.splitlines()) == 1
