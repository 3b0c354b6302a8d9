"""The lines that `advshape derive` prints for pasting, run as they stand: in TRL itself, in a stub of verl's registry.

The stub has the documented signature of verl 0.9: `register_adv_est(name)`, then a call by keyword with
token_level_rewards (bs, T), response_mask (bs, T), index (bs,) uids and config; (advantages, returns) come back.
"""

import sys
from textwrap import dedent
from types import ModuleType

import numpy as np
import pytest

import advshape as adv
from advshape.cli import main
from advshape.cli_snippets import trl_code, verl_code
from advshape.cli_tables import resolve

torch = pytest.importorskip("torch")

OBJECTIVES = ["0.5*rho + 0.5*(1-(1-rho)**4) + 0.05*entropy(rho)", "pass_at_k(k=2)", "PassAtK(k=3)", "nsr"]


def printed(capsys, objective, n):
    """The two blocks of code in the output, without their indent."""
    assert main(["derive", objective, "-n", str(n)]) == 0
    out = capsys.readouterr().out
    trl, verl = out.split("In TRL (")[1].split("In verl, ")
    return tuple(dedent(block.split(":\n\n", 1)[1]) for block in (trl, verl))


@pytest.fixture
def registry(monkeypatch):
    """verl.trainer.ppo.core_algos with its registry alone."""
    found = {}

    def register_adv_est(name):
        def keep(function):
            assert found.setdefault(name, function) is function, "verl refuses a name that is taken"
            return function

        return keep

    for name in ("verl", "verl.trainer", "verl.trainer.ppo", "verl.trainer.ppo.core_algos"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["verl.trainer.ppo.core_algos"].register_adv_est = register_adv_est
    return found


def batch(groups, rng):
    """Rows in random order, as verl's balancing leaves them: the reward stands on one token, uids are objects."""
    rewards = np.concatenate(groups)
    uid = np.array([f"uid-{g}" for g, group in enumerate(groups) for _ in group], dtype=object)
    order = rng.permutation(len(rewards))
    length = rng.integers(2, 6, len(rewards))
    mask = (np.arange(6) < length[:, None]).astype(np.int64)
    tokens = np.zeros((len(rewards), 6), dtype=np.float32)
    tokens[np.arange(len(rewards)), length - 1] = rewards
    return torch.tensor(tokens[order]), torch.tensor(mask[order]), uid[order], rewards[order]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_verl(capsys, registry, objective):
    """Each row's advantage by a loop over uids and the table, on every token of the response and on no other."""
    n, rng = 6, np.random.default_rng(4)
    groups = [rng.permutation(np.arange(n) < c).astype(float) for c in (0, 1, 3, 5, 6)]
    tokens, mask, uid, rewards = batch(groups, rng)
    exec(printed(capsys, objective, n)[1], {})
    advantages, returns = registry["advshape"](
        token_level_rewards=tokens, response_mask=mask, index=uid, config=None, reward_baselines=None
    )
    assert advantages.shape == returns.shape == (len(uid), 6)
    assert advantages.dtype == torch.float32
    assert torch.equal(advantages, returns)
    table = resolve(objective, n, None, None)[0].table(n)
    for row, own in enumerate(uid):
        correct = int(sum(rewards[i] for i in range(len(uid)) if uid[i] == own))
        want = table.positive[correct] if rewards[row] else table.negative[correct]
        np.testing.assert_allclose(advantages[row].numpy(), want * mask[row].numpy(), rtol=1e-6, atol=1e-7)
    assert advantages.any()


def test_verl_groups_that_are_too_small_are_silent_and_penalised_rewards_refused(registry):
    exec(verl_code("pass_at_k(k=2)"), {})
    tokens, mask, uid, _ = batch([np.array([1.0, 0.0]), np.array([1.0, 0.0, 0.0, 0.0])], np.random.default_rng(0))
    advantages, _ = registry["advshape"](token_level_rewards=tokens, response_mask=mask, index=uid, config=None)
    assert not advantages[torch.tensor(uid == "uid-0")].any()
    assert advantages[torch.tensor(uid == "uid-1")].any()
    with pytest.raises(adv.AdvshapeError, match="must be 0, 1 or NaN"):  # use_kl_in_reward would end here, not silently
        registry["advshape"](token_level_rewards=tokens - 0.01, response_mask=mask, index=uid, config=None)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("objective", OBJECTIVES[:2])
def test_trl(capsys, tmp_path, objective):
    """The real trainer class takes the lines and makes one step with the shipped model."""
    pytest.importorskip("trl")
    from importlib.resources import files

    from datasets import Dataset

    n = 6
    settings = {
        "output_dir": str(tmp_path), "use_cpu": True, "bf16": False, "activation_checkpointing": False, "max_steps": 1,
        "per_device_train_batch_size": 2 * n, "max_completion_length": 4, "report_to": "none", "save_strategy": "no",
    }  # fmt: skip
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
