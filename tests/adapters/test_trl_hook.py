"""docs/trl_hook.md against the installed TRL: the lines it names, and the class it proposes. parity."""

import re
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import advshape as adv

PAGE = (Path(__file__).parents[2] / "docs" / "trl_hook.md").read_text()
LINES = {
    2324: "def _generate_and_score_completions",
    2753: "= self._calculate_rewards(",
    2759: "unscorable_mask =",
    2761: "if self.multi_objective_aggregation ==",
    2810: "nan_to_num(advantages",
    2813: "process_slice = slice",
    2818: "advantages[process_slice]",
    2837: '_logs["advantages"].extend',
    2903: '"advantages": advantages',
    3347: '_logs["advantages"]',
}

pytestmark = pytest.mark.skipif(version("trl") != "1.16.0", reason="the page names lines of TRL 1.16.0")


def source():
    import trl

    return (Path(trl.__file__).parent / "trainer" / "grpo_trainer.py").read_text().splitlines()


@pytest.mark.parametrize("number", LINES)
def test_the_page_names_the_right_lines(number):
    assert LINES[number] in source()[number - 1]
    assert re.search(rf"\b{number}\b", PAGE)


def test_every_line_that_the_page_names_is_held():
    assert {int(n) for n in re.findall(r"\b[23]\d{3}\b(?!\.)", PAGE.split("RLOOTrainer")[0])} <= {*LINES, 2026}


def proposed():
    """The class in the page."""
    found = {}
    exec(next(b for b in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "class Surrogate" in b), found)
    return found["Surrogate"]()


def test_the_proposed_method_gives_our_advantages():
    own = proposed()
    own.reward_weights = torch.tensor([1.0, 0.0])
    right = torch.tensor([1.0, 0, 0, torch.nan, 1, 1, 0, 0])
    scores = torch.stack([right, torch.where(right.isnan(), torch.nan, 7.0)], dim=1)
    found, stds = own._compute_advantages(scores, 4, None)
    want = adv.advantages(right.view(2, 4), adv.estimator("pass_at_k", k=2))
    torch.testing.assert_close(found, want.view(-1))
    assert stds.shape == found.shape


def test_the_lines_to_move_need_nothing_that_the_method_is_not_given():
    """Run as the body of the proposed method, they give TRL's own advantages."""
    body = "\n".join(line.removeprefix("    ") for line in source()[2758:2810])
    head = "def _compute_advantages(self, rewards_per_func, num_generations, inputs):\n"
    head += "    device = rewards_per_func.device\n"
    found = {}
    from trl.trainer.utils import nanstd

    exec(head + body + "\n    return advantages, std_rewards", {"torch": torch, "nanstd": nanstd}, found)
    own = SimpleNamespace(
        multi_objective_aggregation="sum_then_normalize", scale_rewards="none", reward_weights=torch.ones(1)
    )
    rewards = torch.tensor([1.0, 0, 0, torch.nan, 1, 1, 0, 0])
    advantages, _ = found["_compute_advantages"](own, rewards[:, None], 4, None)
    torch.testing.assert_close(advantages, adv.advantages(rewards.view(2, 4), adv.estimator("dr_grpo")).view(-1))
