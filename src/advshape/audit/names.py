"""What the audit knows by name, for the command line too: trainers and ways to call a function. Imports nothing."""

__all__ = ["SHAPES", "TRAINERS"]

TRAINERS = {  # scheme: (distribution, module that holds the advantage code)
    "verl": ("verl", "verl.trainer.ppo.core_algos"),
    "trl": ("trl", "trl.trainer.grpo_trainer"),
    "skyrl": ("skyrl", "skyrl.backends.skyrl_train.utils.ppo_utils"),
    "swift": ("ms-swift", "swift.rl_core.advantage"),
    "openrlhf": ("openrlhf", "openrlhf.trainer.ppo_utils.experience_maker"),
    "tunix": ("google-tunix", "tunix.rl.algo_core"),
}
SHAPES = ("groups", "group", "flat", "list", "verl")  # `shapes` says what each means
