"""Real rewards and history through the real trainer: parity with stock TRL, by hand, metrics, refusals, checkpoints.

Tolerances: rewards and advantages pass through float32 (1e-6 of numbers below 3); parity as in test_trl_adapter.py.
"""

import json
import math
import runpy
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from trl import GRPOTrainer

import advshape as adv
from advshape.adapters.trl import SurrogateGRPOTrainer, combine_rewards
from advshape.adapters.trl.metrics import stacked_value
from advshape.adapters.trl.state import HISTORY_FILE

_h = runpy.run_path(str(Path(__file__).with_name("test_trl_adapter.py")))
trained, one_batch, trainer, config, dataset = map(_h.get, ("trained", "one_batch", "trainer", "config", "dataset"))
model, weights, right, Seen, GROUPS = map(_h.get, ("model", "weights", "right", "Seen", "GROUPS"))
CAKE = partial(SurrogateGRPOTrainer, real="layer_cake")
REAL = [[0.1, 2.5, -1.0, 0.1], [0.5, None, 2.0, 1.0], [3.0, 3.0, 3.0, 3.0], [None] * 4, [None, 7.0, None, None]]


def score(completions, **_):
    """A real-valued reward in which ties and unlike gaps occur, of either sign."""
    return [round(sum(math.cos(2 * ord(letter)) for letter in text), 1) for text in completions]


# parity with stock TRL


@pytest.mark.parametrize("rule", ["dr_grpo", "rloo"])
def test_mean_centred_real_rewards_are_stock_trl(tmp_path, rule):
    """Reduction: F(rho) = rho at every threshold is the reward minus the mean; RLOO has n / (n - 1) times that."""
    factor = 6 / 5 if rule == "rloo" else 1.0  # SGD without clipping: a step size
    ours, losses_a, weights_a = trained(CAKE, tmp_path, estimator=rule, rewards=score, learning_rate=0.0003 / factor)
    stock, losses_b, weights_b = trained(
        GRPOTrainer, tmp_path, rewards=score, learning_rate=0.0003, scale_rewards="none"
    )
    torch.testing.assert_close(losses_a, factor * losses_b, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(weights_a, weights_b, rtol=0, atol=2e-6)
    a, b = torch.tensor(ours._logs["advantages"]), torch.tensor(stock._logs["advantages"])
    torch.testing.assert_close(a, factor * b, rtol=0, atol=2e-6)
    assert b.unique().numel() > 5
    assert (losses_b.abs() > 1e-3).all()
    assert (weights_b - weights(type("M", (), {"model": model()}))).abs().max() > 2e-3


def test_parity_can_fail(tmp_path):
    _, _, ours = trained(CAKE, tmp_path, estimator="grpo", rewards=score, max_steps=1)
    _, _, stock = trained(GRPOTrainer, tmp_path, rewards=score, scale_rewards="none", max_steps=1)
    assert (ours - stock).abs().max() > 1e-3


# advantages


def layered(tmp_path, groups, rule, bounds=None, real="layer_cake"):
    return one_batch(tmp_path, groups, rule, cls=partial(Seen, real=real, bounds=bounds))


def test_real_advantages_by_hand(tmp_path):
    """RLOO: r - mean of the other judged ones, times 4 / judged; one judged rollout is too few."""
    made, seen = layered(tmp_path, REAL, "rloo")
    first = [0.1 - 1.6 / 3, 2.5 + 0.8 / 3, -1 - 2.7 / 3, 0.1 - 1.6 / 3]
    second = [4 / 3 * a for a in (0.5 - 1.5, 0, 2 - 0.75, 1 - 1.25)]
    torch.testing.assert_close(seen[:2], torch.tensor([first, second]), rtol=0, atol=1e-6)
    assert seen[0, 0] == seen[0, 3], "ties are exact"
    assert not seen[2:].any()
    log = made.state.log_history[0]
    assert log["advshape/prompts_too_small"] == pytest.approx(2 / 5)


def test_0_1_rewards_are_the_table(tmp_path):
    _, cake = layered(tmp_path, GROUPS, "pkpo_loo(k=2)", bounds=(0, 1))
    _, table = one_batch(tmp_path, GROUPS, "pkpo_loo(k=2)")
    torch.testing.assert_close(cake, table, rtol=0, atol=1e-6)


def test_functions_and_own_hooks_get_the_rewards_as_they_are(tmp_path):
    told = []

    def centred(rewards):
        told.append(rewards.clone())
        return rewards - rewards.nanmean(dim=1, keepdim=True)

    _, seen = layered(tmp_path, REAL[:3], centred, real="as_is")
    expected = torch.tensor([[np.nan if v is None else v for v in row] for row in REAL[:3]])
    torch.testing.assert_close(told[0], expected, equal_nan=True, rtol=0, atol=0)
    torch.testing.assert_close(seen[0], expected[0] - 0.425, rtol=0, atol=1e-6)

    class Own(Seen):
        def group_advantages(self, rewards, prompts):
            return 2 * rewards

    _, seen = one_batch(tmp_path, [[0.5, -3.0, 0.0, 1.0]], None, cls=partial(Own, real="as_is"))
    torch.testing.assert_close(seen, torch.tensor([[1.0, -6.0, 0.0, 2.0]]))


# metrics


def test_real_metrics_by_hand(tmp_path):
    made, _ = layered(tmp_path, REAL, "pass_at_k(k=2)")
    log = {k.removeprefix("advshape/"): v for k, v in made.state.log_history[0].items() if k.startswith("advshape/")}
    assert log["prompts_mixed"] == pytest.approx(2 / 5)
    assert log["prompts_all_equal"] == pytest.approx(2 / 5)
    assert log["prompts_none_judged"] == pytest.approx(1 / 5)
    assert log["rollouts_not_judged"] == pytest.approx(8 / 20)
    assert log["mean_reward"] == pytest.approx((1.7 / 4 + 3.5 / 3 + 3 + 7) / 4)
    best_of_2 = [(3 * 2.5 + 3 * 0.1) / 6, (2 * 2 + 1) / 3, 3]  # over pairs: 3 with 2.5, one of 0.1s, two with -1
    assert log["surrogate"] == pytest.approx(sum(best_of_2) / 3, rel=1e-6)
    assert not {"pass_at_1", "prompts_all_wrong", "prompts_all_right"} & set(log)


def test_the_stacked_value_is_the_best_of_k_and_on_0_1_the_surrogate():
    rewards = np.random.default_rng(0).normal(size=9)
    for k in (1, 2, 4):
        values = [float(v) for v in adv.pass_at_k(np.arange(10), 9, k)]
        expected = float(adv.max_at_k(rewards, k))
        assert stacked_value(rewards.tolist(), values, (None, None)) == pytest.approx(expected, abs=1e-12)
        assert stacked_value(rewards.tolist(), values, (-4.0, 4.0)) == pytest.approx(expected + 4, abs=1e-12)
    plug_in = [0.3, 0.5, 0.6, 0.9]
    assert stacked_value([1.0, 0.0, 1.0], plug_in, (0.0, 1.0)) == pytest.approx(0.6)
    assert stacked_value([0.0] * 3, plug_in, (0.0, 1.0)) == pytest.approx(0.3)
    assert stacked_value([1.0, 0.0, 1.0], plug_in, (0.0, None)) is None


# rewards


def test_combined_real_rewards_by_hand():
    nan, inf = float("nan"), float("inf")
    scores = torch.tensor([[1.0, 0.5, 9.0], [nan, -2.0, 9.0], [nan, nan, 9.0]])
    found = combine_rewards(scores, torch.tensor([1.0, 2.0, 0.0]), real=True)
    torch.testing.assert_close(found, torch.tensor([2.0, -4.0, nan]), equal_nan=True)
    tenth = combine_rewards(torch.tensor([[0.1], [0.0]]), torch.ones(1), real=True, bounds=(0.0, 0.1))
    assert tenth.tolist() == [torch.tensor(0.1).item(), 0]  # float32(0.1) > 0.1
    for score, bounds, message in (
        (inf, (None, None), "reward inf .*must be finite"),
        (-inf, (0.0, 1.0), "reward -inf .*within bounds"),
        (1.001, (0.0, 1.0), r"rollout 1 .*judge 1\.001 with weight 1, completion 'bb'.*within bounds=\(0\.0, 1\.0\)"),
    ):
        with pytest.raises(adv.AdvshapeError, match=message):
            combine_rewards(
                torch.tensor([[1.0], [score]]), torch.ones(1), ["judge"], {1: "bb"}, real=True, bounds=bounds
            )


def test_bounds_of_any_fraction_serve_float32_rewards(tmp_path):
    """float32(0.1) lies above 0.1 and float32(0.7) below 0.7: neither may stop a run."""
    _, seen = layered(tmp_path, [[0.1, 0.7, 0.7, 0.1]], "weighted_reinforce", bounds=(0.7 / 7, 0.7))
    assert seen[0, 1] > seen[0, 0]


@pytest.mark.parametrize(
    ("rule", "given", "message"),
    [
        ("nsr", {"real": "layer_cake"}, r"A-\(0\) = 1 .*high end"),
        ("pkpo_loo(k=2)", {"real": "layer_cake", "bounds": (None, 1)}, r"A\+\(n\).*low end"),
        ("rloo", {"real": "layer_cake", "bounds": (1, 0)}, "low <= high"),
        ("rloo", {"real": "layer_cake", "bounds": 1}, r"\(low, high\)"),
        ("rloo", {"real": "layer-cake"}, '"layer_cake".*"as_is"'),
        ("rloo", {"real": "as_is"}, 'rloo is made of 0/1 counts: real="layer_cake"'),
        ("rloo", {"bounds": (0, 1)}, 'go with real="layer_cake"'),
        (lambda r: r, {"real": "layer_cake"}, 'real="as_is"'),
        (lambda r: r, {"history": adv.PromptHistory()}, "no known weights"),
        ("rloo", {"history": adv.Beta(1.0, 1.0)}, "give a PromptHistory"),
        ("rloo", {"history": adv.PromptHistory(), "real": "layer_cake"}, "leave one of them out"),
    ],
)
def test_refusals_come_before_the_model(tmp_path, rule, given, message):
    with pytest.raises(adv.AdvshapeError, match=message):
        SurrogateGRPOTrainer(
            "/no/such/model", right, config(tmp_path), estimator=rule, train_dataset=dataset(), **given
        )


def test_real_rewards_without_a_choice_name_the_choice(tmp_path):
    with pytest.raises(adv.AdvshapeError, match='real="layer_cake"'):
        one_batch(tmp_path, [[1, 0, 0.5, 0]], "rloo")


# history


class Told(SurrogateGRPOTrainer):
    """Keeps rows, rewards and advantages of every batch."""

    def group_advantages(self, rewards, prompts):
        found = super().group_advantages(rewards, prompts)
        self.told = [*getattr(self, "told", []), (self.model.training, prompts, rewards.clone(), found.clone())]
        return found


def test_baselines_come_from_earlier_visits_only(tmp_path):
    """By a plain dictionary: A = r - (j + a) / (n - 1 + a + b), counts of the visits before; evaluation looks on."""
    history = adv.PromptHistory(adv.Beta(0.5, 1.0), discount=0.5)
    cls = partial(Told, history=history, history_key="number")
    given = {"eval_strategy": "steps", "eval_steps": 2, "per_device_eval_batch_size": 12}
    made, _, _ = trained(cls, tmp_path, estimator="rloo", rows=4, eval_rows=2, max_steps=4, **given)
    plain, trainings, evaluations = {}, 0, 0
    for training, prompts, rewards, found in made.told:
        before = [plain.get(row["number"], (0.0, 0.0)) for row in prompts]
        for (right_before, wrong_before), group, advantage in zip(before, rewards, found, strict=True):
            a, b = 0.5 + right_before, 1.0 + wrong_before
            expected = [r - (group.sum() - r + a) / (len(group) - 1 + a + b) for r in group]
            torch.testing.assert_close(advantage, torch.stack(expected), rtol=0, atol=1e-6)
        trainings, evaluations = trainings + training, evaluations + (not training)
        if training:
            for row, group in zip(prompts, rewards, strict=True):
                old = plain.get(row["number"], (0.0, 0.0))
                c = float(group.sum())
                plain[row["number"]] = (0.5 * old[0] + c, 0.5 * old[1] + len(group) - c)
    assert (trainings, evaluations > 0) == (4, True)
    assert history.visits(range(4)).tolist() == [4] * 4
    np.testing.assert_allclose(history.prior(range(4)).a, [0.5 + plain[i][0] for i in range(4)])
    log = [entry["advshape/prompts_seen_before"] for entry in made.state.log_history if "loss" in entry]
    assert log == [0, 1, 1, 1]


def test_history_goes_into_the_checkpoint_and_comes_back(tmp_path):
    """Recovery: four steps, and two steps resumed to four, end with one history."""
    given = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4, "rows": 16}
    make = lambda: adv.PromptHistory(adv.Beta(0.5, 1.0), discount=0.5)
    whole = trainer(partial(SurrogateGRPOTrainer, history=make()), tmp_path, estimator="rloo", **given)
    whole.train()
    saved = json.loads((tmp_path / "checkpoint-2" / HISTORY_FILE).read_text())
    assert len(saved["ids"]) == 8
    assert all(isinstance(key, str) for key in saved["ids"])  # the prompt itself
    resumed = trainer(partial(SurrogateGRPOTrainer, history=make()), tmp_path, estimator="rloo", **given)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert resumed.history.state_dict() == whole.history.state_dict()
    assert len(whole.history) == 16
    (tmp_path / "checkpoint-2" / HISTORY_FILE).unlink()
    late = trainer(partial(SurrogateGRPOTrainer, history=make()), tmp_path, estimator="rloo", **given)
    with pytest.raises(adv.AdvshapeError, match="holds no prompt_history"):
        late.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


def test_an_unknown_column_is_told_before_training(tmp_path):
    with pytest.raises(adv.AdvshapeError, match=r"history_key='problem' is no column .*'number'"):
        trainer(
            partial(SurrogateGRPOTrainer, history=adv.PromptHistory(), history_key="problem"),
            tmp_path,
            estimator="rloo",
        )


def test_chat_prompts_are_known_by_their_messages():
    made = object.__new__(SurrogateGRPOTrainer)
    made.history_key = "prompt"
    chat = [{"role": "user", "content": "1+1"}]
    turned = [{"content": "1+1", "role": "user"}]
    assert made.prompt_ids([{"prompt": chat}]) == made.prompt_ids([{"prompt": turned}])
    assert made.prompt_ids([{"prompt": "a"}, {"prompt": 3}]) == ["a", 3]
