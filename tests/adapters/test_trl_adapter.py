"""The TRL adapter: parity with stock TRL, hand-made advantages, metrics, refusals.

Parity tolerance: ours are float64 tables rounded once to float32, TRL's are chains of four float32 operations
(relative 2e-7 each, with a division by std >= .3); five SGD steps keep that below 1e-5 of each update. Updates
are of the order 1e-2, so weights agree to 1e-6. A wrong objective differs by more than 1e-3 (tested too).
"""

import dataclasses
import logging
import math
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer, RLOOTrainer

import advshape as adv
from advshape.adapters.trl import (
    ObjectiveWarning,
    SurrogateGRPOTrainer,
    SurrogateMixin,
    combine_rewards,
    objective_warnings,
)
from advshape.adapters.trl.options import DEFAULTS, prompts_per_step

LETTERS = "abcdefgh"
NONE = None


def tokenizer():
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<eos>", *LETTERS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        eos_token="<eos>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def model():
    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(
        vocab_size=10, max_position_embeddings=32, pad_token_id=0, bos_token_id=None, eos_token_id=1, **size
    )
    made = LlamaForCausalLM(config)
    torch.nn.init.normal_(made.lm_head.weight, std=0.5)  # some letters are likelier: groups are mixed
    return made


def dataset(count=8):
    return Dataset.from_list([{"prompt": LETTERS[i % 8] + LETTERS[i // 8 % 8], "number": i} for i in range(count)])


def right(completions, **_):
    """A rollout is right when it starts with one of the first four letters: half of all, about."""
    return [float(text[:1] in set("abcd") and text != "") for text in completions]


def config(tmp_path, **given):
    defaults = {
        "output_dir": str(tmp_path),
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
        "optim": "sgd",
        "learning_rate": 0.5,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "max_steps": 5,
        "seed": 3,
        "report_to": "none",
        "per_device_train_batch_size": 24,
        "num_generations": 6,
        "max_completion_length": 5,
        "loss_type": "dr_grpo",
        "logging_steps": 1,
        "save_strategy": "no",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    return GRPOConfig(**defaults | given)


def trainer(cls, tmp_path, *, estimator=NONE, rewards=right, rows=8, eval_rows=0, rollout=NONE, **given):
    named = {} if estimator is None else {"estimator": estimator}
    return cls(
        model=model(),
        reward_funcs=rewards,
        args=config(tmp_path, **given),
        train_dataset=dataset(rows),
        eval_dataset=dataset(eval_rows) if eval_rows else None,
        processing_class=tokenizer(),
        rollout_func=rollout,
        **named,
    )


def weights(made):
    return torch.cat([p.detach().flatten() for p in made.model.parameters()])


def trained(*args, **kwargs):
    made = trainer(*args, **kwargs)
    made.train()
    losses = [entry["loss"] for entry in made.state.log_history if "loss" in entry]
    return made, torch.tensor(losses), weights(made)


class Script:
    """A reward function that hands out a prepared list, whatever the completions are."""

    def __init__(self, *groups):
        self.values = [value for group in groups for value in group]
        self.__name__ = "script"

    def __call__(self, completions, **_):
        return self.values[: len(completions)]


class Seen(SurrogateGRPOTrainer):
    """Keeps what the loss will get, before TRL shuffles it."""

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        self.seen = output["advantages"].clone()
        return output


def one_batch(tmp_path, groups, estimator, cls=Seen, **given):
    n = len(groups[0])
    given = {"max_steps": 1, "num_generations": n, "per_device_train_batch_size": n * len(groups)} | given
    made = trainer(cls, tmp_path, estimator=estimator, rewards=Script(*groups), rows=len(groups), **given)
    made.train()
    return made, made.seen.view(-1, n) if hasattr(made, "seen") else None


# parity with stock TRL


@pytest.mark.parametrize(("ours", "stock"), [("dr_grpo", "none"), ("grpo(ddof=1, epsilon=1e-4)", "group")])
def test_parity_with_stock_trl(tmp_path, ours, stock):
    start = weights(SimpleNamespace(model=model()))
    a, losses_a, weights_a = trained(SurrogateGRPOTrainer, tmp_path, estimator=ours)
    b, losses_b, weights_b = trained(GRPOTrainer, tmp_path, scale_rewards=stock)
    assert a.state.global_step == b.state.global_step == 5
    assert (weights_b - start).abs().max() > 1e-2  # it did move
    torch.testing.assert_close(losses_a, losses_b, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(weights_a, weights_b, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        torch.tensor(a._logs["advantages"]), torch.tensor(b._logs["advantages"]), atol=1e-5, rtol=0
    )


def test_parity_can_fail(tmp_path):
    """Bessel's factor and the epsilon matter: GRPO without them is another trajectory."""
    _, _, ours = trained(SurrogateGRPOTrainer, tmp_path, estimator="grpo")
    _, _, stock = trained(GRPOTrainer, tmp_path, scale_rewards="group")
    assert (ours - stock).abs().max() > 1e-3


@pytest.mark.parametrize(
    "shape",
    [
        {"gradient_accumulation_steps": 2, "num_iterations": 2},
        {"gradient_accumulation_steps": 2, "steps_per_generation": 4, "num_iterations": 2},
        {"gradient_accumulation_steps": 1, "steps_per_generation": 3},
    ],
    ids=["accumulated-iterated", "all-three", "off-policy"],
)
def test_parity_with_accumulation_iterations_and_steps_per_generation(tmp_path, shape):
    shape = shape | {"per_device_train_batch_size": 12, "loss_type": "dapo"}
    _, losses_a, weights_a = trained(SurrogateGRPOTrainer, tmp_path, estimator="dr_grpo", **shape)
    _, losses_b, weights_b = trained(GRPOTrainer, tmp_path, scale_rewards="none", **shape)
    torch.testing.assert_close(losses_a, losses_b, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(weights_a, weights_b, rtol=0, atol=1e-6)


def test_loss_types_that_are_named_reweigh_and_the_others_do_not(tmp_path):
    """The list of warnings against measured gradients: one SGD step from the same model, rollouts and advantages."""
    steps = {}
    for kind in ("dr_grpo", "dapo", "bnpo", "cispo", "vespo", "luspo", "grpo", "sapo"):
        level = "sequence" if kind == "luspo" else "token"
        given = {
            "max_steps": 1,
            "loss_type": kind,
            "importance_sampling_level": level,
            "learning_rate": 0.1,
            "epsilon_high": 5.0,
        }
        named = kind not in ("dr_grpo", "luspo")  # four prompts a step: dapo, cispo, vespo and bnpo are named too
        with pytest.warns(ObjectiveWarning) if named else nullcontext():
            _, _, end = trained(SurrogateGRPOTrainer, tmp_path, estimator="rloo", **given)
        steps[kind] = (end - weights(SimpleNamespace(model=model()))).double()
    base = steps.pop("dr_grpo")
    for kind, step in steps.items():
        residual = (step - (step @ base) / (base @ base) * base).norm() / step.norm()
        reweighs = bool(objective_warnings(SimpleNamespace(loss_type=kind, generation_batch_size=64 * 8)))
        assert reweighs == (residual > 0.05), (kind, residual)
        assert reweighs or residual < 1e-4, (kind, residual)  # float32 rounding of parameters of order 1


# advantages, by hand

GROUPS = [[1, 0, 0, NONE], [1, 1, 1, 1], [NONE] * 4, [1, 0, NONE, NONE], [0, 0, 0, 0], [0, 1, 0, 1]]


def test_not_judged_rollouts_leave_n_and_the_group_is_scaled_by_hand(tmp_path):
    """RLOO by hand: r - mean of the other judged ones, times 4 / judged."""
    made, seen = one_batch(tmp_path, GROUPS, "rloo")
    third = 2 / 3
    expected = [[4 / 3, -third, -third, 0], [0] * 4, [0] * 4, [2, -2, 0, 0], [0] * 4, [-third, third, -third, third]]
    torch.testing.assert_close(seen, torch.tensor(expected), atol=1e-6, rtol=0)  # float32
    assert list(made._logs["advantages"]) == seen.flatten().tolist()


def test_a_sum_of_rules_by_hand(tmp_path):
    """0.5 RLOO + 0.25 NSR: half of r - mean of the others, minus a quarter where wrong."""
    _, seen = one_batch(tmp_path, [[1, 0, 0, 0], [0, 0, 0, 0]], "0.5*rloo + 0.25*nsr")
    wrong = -0.5 / 3 - 0.25
    torch.testing.assert_close(seen, torch.tensor([[0.5, wrong, wrong, wrong], [-0.25] * 4]), atol=1e-6, rtol=0)


def test_unit_rms_has_one_factor_for_groups_with_rollouts_that_were_not_judged(tmp_path):
    """RLOO with 2 of 4 judged: twice r - other, times 4 / 2, times the factor of n = 4 that the whole group shows."""
    _, seen = one_batch(tmp_path, [[1, 0, 0, NONE], [1, 0, 0, 0], [1, 0, NONE, NONE]], "rloo at unit rms")
    factor = seen[1, 0]  # RLOO alone gives 1 there
    assert 0.9 < factor < 2
    expected = torch.tensor([[4 / 3, -2 / 3, -2 / 3, 0], [1, -1 / 3, -1 / 3, -1 / 3], [2, -2, 0, 0]])
    torch.testing.assert_close(seen, factor * expected, atol=1e-6, rtol=0)


def test_groups_too_small_are_silent_counted_and_said_once(tmp_path, caplog):
    """pass_at_k(k=2) needs three: the group of two gets 0. The group of three by hand: (2, -1, -1) x 4/3."""
    with caplog.at_level(logging.WARNING, "advshape"):
        _made, seen = one_batch(tmp_path, GROUPS, "pass_at_k(k=2)", max_steps=3)
    torch.testing.assert_close(seen[0], torch.tensor([8 / 3, -4 / 3, -4 / 3, 0]), atol=1e-6, rtol=0)
    assert not seen[3].any()
    assert not seen[2].any()
    said = [r.getMessage() for r in caplog.records if "fewer judged" in r.getMessage()]
    assert len(said) == 1
    assert said[0].startswith("2 of 6 prompts")


def test_metrics_by_hand(tmp_path):
    made, seen = one_batch(tmp_path, GROUPS, "pass_at_k(k=2)")
    log = made.state.log_history[0]
    shares = {"all_wrong": 1, "mixed": 3, "all_right": 1, "none_judged": 1, "with_not_judged": 3, "too_small": 2}
    for name, count in shares.items():
        assert log[f"advshape/prompts_{name}"] == pytest.approx(count / 6, abs=1e-6), name
    assert log["advshape/rollouts_not_judged"] == pytest.approx(7 / 24, abs=1e-6)
    assert log["advshape/pass_at_1"] == pytest.approx((1 / 3 + 1 + 1 / 2 + 0 + 1 / 2) / 5, abs=1e-6)
    pass_at_2 = [1 - math.comb(n - c, 2) / math.comb(n, 2) for c, n in [(1, 3), (4, 4), (0, 4), (2, 4)]]
    assert log["advshape/surrogate"] == pytest.approx(sum(pass_at_2) / 4, abs=1e-6)
    assert log["advshape/advantage_rms"] == pytest.approx(float(seen.square().mean()) ** 0.5, rel=1e-5)


def test_surrogate_is_unscaled_unbiased_where_it_can_be_and_finite_elsewhere(tmp_path):
    def values(rule, n):
        made = object.__new__(SurrogateGRPOTrainer)
        made.estimator, made._surrogates = rule, {}
        return made.surrogate_values(n)

    expected = [1 - math.comb(8 - c, 4) / math.comb(8, 4) for c in range(9)]
    scaled = adv.estimator("pass_at_k", k=4).scaled("rms")
    assert values(scaled, 8) == pytest.approx(expected, abs=1e-12)
    grpo = values(adv.estimator("grpo"), 3)
    assert grpo[1] == pytest.approx(2 * math.asin(math.sqrt(1.5 / 4)))
    assert all(math.isfinite(v) for name in ("maxrl", "grpo", "rloo") for v in values(adv.estimator(name), 5))
    assert values(adv.estimator("rloo").table(4), 4) == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert values(adv.estimator("pass_at_k", k=4), 4) is None
    assert values(lambda rewards: rewards, 4) is None


def test_advantage_functions_and_tables(tmp_path):
    """A table and a function give what the estimator gives; a function gets NaN and may return it there."""

    def rloo(rewards):
        judged = (~rewards.isnan()).sum(1, keepdim=True)
        total = rewards.nansum(1, keepdim=True)
        return rewards - (total - rewards) / (judged - 1).clamp(min=1)

    _, by_function = one_batch(tmp_path, GROUPS, rloo)
    _, by_name = one_batch(tmp_path, GROUPS, "rloo")
    torch.testing.assert_close(by_function, by_name, atol=1e-6, rtol=0)
    _, by_table = one_batch(tmp_path, GROUPS, adv.estimator("rloo").table(4))
    assert not by_table[[0, 2, 3]].any()  # a table is for n = 4 judged rollouts
    torch.testing.assert_close(by_table[5], by_name[5])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda rewards: rewards[:, :2], r"a Tensor shape \(1, 2\), rewards a tensor of shape \(1, 4\)"),
        (lambda rewards: rewards.numpy(), "are a ndarray"),
        (lambda rewards: rewards / 0.0, "must be finite"),
    ],
)
def test_bad_advantage_functions_are_refused(tmp_path, function, message):
    with pytest.raises(adv.AdvshapeError, match=message):
        one_batch(tmp_path, [[1, 0, 1, 0]], function)


# several reward functions


def test_weighted_rewards_and_monitors(tmp_path):
    """Two judges of weight 1/2 that agree, and a real-valued monitor of weight 0, are one judge."""

    def half(completions, **_):
        return right(completions)

    def length(completions, **_):
        return [len(text) / 7 for text in completions]

    several = {"rewards": [right, half, length], "reward_weights": [0.5, 0.5, 0.0], "max_steps": 3}
    made, _, a = trained(SurrogateGRPOTrainer, tmp_path, estimator="rloo", **several)
    _, _, b = trained(SurrogateGRPOTrainer, tmp_path, estimator="rloo", max_steps=3)
    torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert made.state.log_history[0]["rewards/length/mean"] > 0


def test_combine_rewards_by_hand():
    nan = math.nan
    scores = torch.tensor([[1, 1, 0.3], [0, 0, 9], [nan, nan, 1], [nan, 0, nan]])
    assert combine_rewards(scores, torch.tensor([0.3, 0.7, 0.0])).nan_to_num(nan=-1).tolist() == [1, 0, -1, 0]
    routed = torch.tensor([[1, nan], [nan, 0], [nan, 1]])  # one function for each kind of prompt
    assert combine_rewards(routed, torch.ones(2)).tolist() == [1, 0, 1]


@pytest.mark.parametrize("score", [0.5, 2.0, -1.0, math.inf, 1 + 1e-6])
def test_other_rewards_are_refused_and_named(score):
    with pytest.raises(adv.AdvshapeError, match=r"rollout 1 of the batch.*judge .*weight 1, completion 'bb'"):
        combine_rewards(torch.tensor([[1.0], [score]]), torch.ones(1), ["judge"], {0: "aa", 1: "bb"})


def test_half_a_reward_stops_the_training(tmp_path):
    with pytest.raises(adv.AdvshapeError, match=r"rollout 2 .* reward 0\.5 \(script 0\.5 with weight 1, completion"):
        one_batch(tmp_path, [[1, 0, 0.5, 0]], "rloo")


def test_a_partly_scored_rollout_is_the_sum_of_its_scores(tmp_path):
    with pytest.raises(adv.AdvshapeError, match=r"reward 0\.5 \(function 0 1 with weight 0\.5, function 1 None"):
        combine_rewards(torch.tensor([[1.0, math.nan]]), torch.tensor([0.5, 0.5]))


# evaluation


@pytest.mark.parametrize("n_eval", [1, 2, 6])
def test_evaluation_neither_crashes_nor_pollutes(tmp_path, caplog, n_eval):
    class Hook(SurrogateGRPOTrainer):
        calls = []  # noqa: RUF012

        def group_advantages(self, rewards, prompts):
            self.calls.append((self.model.training, tuple(rewards.shape), len(prompts)))
            return super().group_advantages(rewards, prompts)

    given = {"eval_strategy": "steps", "eval_steps": 1, "max_steps": 2, "per_device_eval_batch_size": 36}
    with caplog.at_level(logging.WARNING, "advshape"):
        made, _, _ = trained(
            Hook, tmp_path, estimator="pass_at_k(k=3)", eval_rows=8, num_generations_eval=n_eval, **given
        )
    train = [e for e in made.state.log_history if "loss" in e]
    evaluations = [e for e in made.state.log_history if "eval_loss" in e]
    assert len(train) == len(evaluations) == 2
    assert all(e["advshape/prompts_too_small"] == 0 for e in train)
    assert all(e["eval_advshape/prompts_too_small"] == float(n_eval < 4) for e in evaluations)
    assert all(0 <= e["eval_advshape/pass_at_1"] <= 1 for e in evaluations)
    assert not [r for r in caplog.records if "fewer judged" in r.getMessage()]
    seen_training = [training for training, _, _ in Hook.calls]
    assert seen_training.count(True) == 2
    assert (False in seen_training) == (n_eval == 6)
    assert all(shape == (count, 6) for _, shape, count in Hook.calls)


# subclasses


def test_mixin_on_a_users_trainer_and_rewards_changed_on_either_side(tmp_path):
    def flip(self, *args):
        return 1 - super(type(self).flipper, self)._calculate_rewards(*args)

    below = type("Below", (GRPOTrainer,), {"_calculate_rewards": flip})
    mixed = type("Mixed", (SurrogateMixin, below), {"flipper": below})
    above = type("Above", (SurrogateGRPOTrainer,), {"_calculate_rewards": flip})
    above.flipper = above
    for cls in (mixed, above):
        made, _ = one_batch(tmp_path, [[1, 0, 0, 0]], "rloo", cls=cls)
        expected = [-1, 1 / 3, 1 / 3, 1 / 3]  # rewards flipped: 0 1 1 1
        assert list(made._logs["advantages"]) == pytest.approx(expected, abs=1e-6)


def test_own_hook_sees_groups_and_their_prompts_and_needs_no_estimator(tmp_path):
    class Own(Seen):
        def group_advantages(self, rewards, prompts):
            assert [row["prompt"] for row in prompts] == list(self._logs["prompt"])[:: rewards.shape[1]]
            numbers = torch.tensor([float(row["number"]) for row in prompts])
            self.numbers = numbers
            return numbers[:, None] + rewards

    made, seen = one_batch(tmp_path, [[1, 0, 0, NONE], [0, 0, 1, 1]], None, cls=Own)
    third = 4 / 3
    first, second = made.numbers.tolist()
    expected = [[third * (first + 1), third * first, third * first, 0], [second, second, second + 1, second + 1]]
    torch.testing.assert_close(seen, torch.tensor(expected), atol=1e-6, rtol=0)


def test_a_base_class_that_changes_advantages_later_is_refused(tmp_path):
    class Doubles(GRPOTrainer):
        def _generate_and_score_completions(self, inputs):
            output = super()._generate_and_score_completions(inputs)
            return output | {"advantages": 2 * output["advantages"]}

    both = type("Both", (SurrogateMixin, Doubles), {})
    with pytest.raises(adv.AdvshapeError, match="changes rollouts or advantages"):
        one_batch(tmp_path, [[1, 0, 0, 0]], "rloo", cls=both)


# refusals and warnings at construction


@pytest.mark.parametrize(
    ("estimator", "given", "message"),
    [
        ("pass_at_k(k=8)", {}, r"pass_at_k\(k=8\) needs at least 9 rollouts per prompt, got num_generations=6"),
        ("rloo", {"multi_objective_aggregation": "normalize_then_sum"}, "would have no effect"),
        ("rloo", {"reward_weights": [0.0]}, "all 0"),
        ("rlooo", {}, "rloo"),
        (None, {}, "estimator=None: give a name"),
        (adv.estimator("rloo").table(4), {}, "the table needs exactly 4 rollouts per prompt"),
    ],
)
def test_refusals_come_before_the_model(tmp_path, estimator, given, message):
    for positional in (False, True):
        args = config(tmp_path, **given)
        rest = ("/no/such/model", right, args) if positional else ()
        named = {} if positional else {"model": "/no/such/model", "reward_funcs": right, "args": args}
        with pytest.raises(adv.AdvshapeError, match=message):
            SurrogateGRPOTrainer(*rest, **named, estimator=estimator, train_dataset=dataset())


def test_without_a_config_the_defaults_count():
    with pytest.raises(adv.AdvshapeError, match="got num_generations=8"):
        SurrogateGRPOTrainer("/no/such/model", right, train_dataset=dataset(), estimator="pass_at_k(k=8)")


def test_rloo_trainer_is_refused(tmp_path):
    with pytest.raises(adv.AdvshapeError, match="is no GRPOTrainer"):
        type("Wrong", (SurrogateMixin, RLOOTrainer), {})("/no/such/model", right, estimator="rloo")


CHANGES = [
    {"loss_type": "grpo"},
    {"loss_type": "sapo"},
    {"loss_type": "bnpo", "per_device_train_batch_size": 1},
    {"loss_type": "bnpo", "gradient_accumulation_steps": 4},
    {"mask_truncated_completions": True},
    {"top_entropy_quantile": 0.2},
    {"off_policy_mask_threshold": 0.1},
    {"beta": 0.04},
    {"entropy_coef": 0.01},
    {"use_adaptive_entropy": True},
    {"router_aux_loss_coef": 0.001},
    {"top_p": 0.9},
    {"top_k": 20},
    {"min_p": 0.1},
    {"repetition_penalty": 1.1},
    {"use_vllm": True},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda c: "-".join(f"{k}={v}" for k, v in c.items()))
def test_each_option_that_changes_the_objective_is_named(change):
    lines = objective_warnings(SimpleNamespace(**{"loss_type": "dr_grpo", **change}))
    named = "vllm_importance_sampling_mode" if "use_vllm" in change else next(iter(change))
    assert len(lines) == 1
    assert lines[0].startswith(f"{named}=")


def test_trl_defaults_are_as_assumed_and_silent_with_many_prompts(tmp_path):
    fields = {field.name: field.default for field in dataclasses.fields(GRPOConfig)}
    assert {name: fields[name] for name in DEFAULTS} == DEFAULTS
    many = {"generation_batch_size": 64 * 8}
    assert objective_warnings(SimpleNamespace(**many)) == objective_warnings(config(tmp_path)) == []
    masks = {"use_vllm": True, "vllm_importance_sampling_mode": "token_truncate"}
    assert objective_warnings(SimpleNamespace(**many, **masks)) == []
    corrects = {"use_vllm": True, "vllm_importance_sampling_correction": False}
    assert objective_warnings(SimpleNamespace(**many, **corrects)) == []


def test_trl_defaults_are_one_prompt_per_step_and_that_is_said(tmp_path):
    """8 rollouts on one device are one prompt: dapo then divides each rollout by its prompt's own mean length."""
    for found in (objective_warnings(SimpleNamespace()), objective_warnings(GRPOConfig)):
        (line,) = found
        assert line.startswith("loss_type=dapo: divides each generation batch by its tokens: with 1 prompt in it")
        assert "weighs 10 times one of 100-token answers" in line
    made = GRPOConfig(
        str(tmp_path), per_device_train_batch_size=32, gradient_accumulation_steps=2, use_cpu=True, bf16=False
    )
    assert prompts_per_step(made) == 8
    assert prompts_per_step(SimpleNamespace(world_size=4)) == 4
    for kind, few in (("dapo", 8), ("cispo", 8), ("vespo", 2), ("bnpo", 4)):
        batch = {"generation_batch_size": 8 * few, "per_device_train_batch_size": 8 * few}
        (line,) = objective_warnings(SimpleNamespace(loss_type=kind, **batch))
        assert f"with {few} prompts in it" in line
    assert not objective_warnings(SimpleNamespace(loss_type="luspo"))


def test_the_warning_comes_at_construction(tmp_path):
    with pytest.warns(ObjectiveWarning, match=r"entropy_coef=0\.1: adds a bonus"):
        trainer(SurrogateGRPOTrainer, tmp_path, estimator="rloo", entropy_coef=0.1)


def test_the_documentation_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "trl.md").read_text()
    example, hook, history, schedule = (block.split("```")[0] for block in page.split("```python\n")[1:])
    names = {"torch": torch}
    exec(example, names)
    assert names["trainer"].state.global_step == 2
    exec(hook, names)
    assert issubclass(names["MyTrainer"], SurrogateGRPOTrainer)
    exec(history, names)
    rest = {"model": model(), "reward_funcs": right, "processing_class": tokenizer(), "train_dataset": dataset()}
    made = names["make_trainer"](names["Prioritised"], args=config(tmp_path, max_steps=3), **rest)
    made.train()
    assert len(made.history) == 8
    assert made.history.visits(made.train_dataset["prompt"]).sum() == 12
    exec(schedule, names)
    made = names["make_trainer"](args=config(tmp_path, max_steps=2, num_generations=12), **rest)
    made.train()
    assert [line["advshape/objective_k"] for line in made.state.log_history[:2]] == [8, 8]
