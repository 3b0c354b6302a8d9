"""TRL's own advantages as a function of rewards: the lines of the installed GRPOTrainer, run on recorded rollouts.

`GRPOTrainer._generate_and_score_completions` is called as it stands. A tiny random model, a rollout function that
hands out one recorded token for each rollout and a reward function that hands out the rewards in question stand around
it; what comes back is the batch's "advantages". Nothing of TRL is copied or patched.
"""

from __future__ import annotations

import random
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
import trl
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

__all__ = ["TRLAdvantages"]


class TRLAdvantages:
    """(groups, n) rewards to the (groups, n) advantages that TRL's `GRPOTrainer` gives them in one batch.

    Args:
        n: rollouts per prompt, at least 2; calls may have other group sizes.
        scale_rewards, multi_objective_aggregation: as in TRL's `GRPOConfig`; there is one reward function.

    Rewards are a tensor or an array of numbers, NaN = not judged; advantages are a float32 tensor, TRL's precision.

    >>> rule = TRLAdvantages(4, scale_rewards="none")
    >>> rule(torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
    tensor([[ 0.7500, -0.2500, -0.2500, -0.2500]])
    """

    def __init__(
        self,
        n: int,
        scale_rewards: Literal["group", "batch", "none"] = "group",
        multi_objective_aggregation: Literal["sum_then_normalize", "normalize_then_sum"] = "sum_then_normalize",
    ) -> None:
        self.options = {"scale_rewards": scale_rewards, "multi_objective_aggregation": multi_objective_aggregation}
        self._rewards: list[float] = []
        with _quietly(), tempfile.TemporaryDirectory() as folder:
            self._trainer = GRPOTrainer(
                _model(),
                reward_funcs=self._score,
                args=_config(folder, n, self.options),
                train_dataset=Dataset.from_list([{"prompt": "<eos>"}]),
                processing_class=_tokenizer(),
                rollout_func=_rollout,
            )

    def _score(self, completions: Any, **_: Any) -> list[float]:
        return self._rewards

    def __call__(self, rewards: Any) -> torch.Tensor:
        given = torch.as_tensor(rewards)
        self._rewards = given.flatten().tolist()
        self._trainer.num_generations = given.shape[1]
        rows = [{"prompt": "<eos>"} for _ in self._rewards]
        found: torch.Tensor = self._trainer._generate_and_score_completions(rows)["advantages"]
        return found.view(given.shape)

    @property
    def description(self) -> str:
        """Whose advantages these are, in one line."""
        shown = ", ".join(f"{key}={value!r}" for key, value in self.options.items())
        return f"TRL {trl.__version__}: GRPOTrainer's own advantages with {shown}, one 0/1 reward function"


def _config(folder: str, n: int, options: dict[str, Any]) -> GRPOConfig:
    return GRPOConfig(
        folder,
        num_generations=n,
        per_device_train_batch_size=n,
        max_completion_length=1,
        use_cpu=True,
        bf16=False,
        activation_checkpointing=False,
        report_to="none",
        **options,
    )


def _rollout(prompts: list[str], trainer: Any) -> dict[str, Any]:
    """One recorded token for each rollout: advantages do not look at it."""
    return {"prompt_ids": [[1]] * len(prompts), "completion_ids": [[1]] * len(prompts), "logprobs": None}


def _tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1}, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>")


def _model() -> LlamaForCausalLM:
    size = {"hidden_size": 2, "intermediate_size": 2, "num_hidden_layers": 1, "num_attention_heads": 1}
    ends = {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": 1}
    return LlamaForCausalLM(LlamaConfig(vocab_size=2, max_position_embeddings=8, **size, **ends))


@contextmanager
def _quietly() -> Iterator[None]:
    """The trainer seeds every global generator and notes that rollout functions are experimental: both undone."""
    plain, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(plain)
        np.random.set_state(numpy)  # noqa: NPY002
