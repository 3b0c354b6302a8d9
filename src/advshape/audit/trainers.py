"""Where does each trainer keep its advantage code, and how is it called? The installed trainer's own functions.

Nothing here is a copy of a trainer's code: names, defaults and documentation are read from what is installed. What a
rule takes beside rewards (values, log-probabilities, KL) is held constant, and said so in the target's notes.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from itertools import product
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

from advshape.audit.names import TRAINERS
from advshape.audit.shapes import Call, Flat, Groups, Tensors, parameters
from advshape.audit.target import Target, documentation, options
from advshape.catalogue import nearest
from advshape.errors import AdvshapeError

__all__ = ["LOADERS", "NAMES", "module", "version"]

_EXTRA = {"trl": 'pip install "advshape[trl]", or '}
NEEDS_A_GPU = ("flash_attn", "deepspeed", "vllm", "ring_flash_attn", "flashinfer")  # replaced where they are missing


def _verl(name: str, word: str, pairs: list[str]) -> Target:
    code = module("verl")
    function = _one_of("verl", code.ADV_ESTIMATOR_REGISTRY, word)
    from verl.trainer.config import AlgoConfig

    chosen = options(pairs, {key: getattr(AlgoConfig(), key) for key in ("norm_adv_by_std_in_grpo", "gamma", "lam")})
    constants = {**chosen, "config": AlgoConfig(**chosen), **_EVEN}
    notes = _notes(
        function,
        {
            "values": "values 0",
            "reward_baselines": "reward of the greedy response 0",
            "old_log_probs": "every token equally likely",
        },
    )
    return _target("verl", name, function, Tensors(function, constants=constants), notes)


def _skyrl(name: str, word: str, pairs: list[str]) -> Target:
    code = module("skyrl")
    function = _one_of("skyrl", _registry(code), word)
    chosen = options(pairs, {"grpo_norm_by_std": True, "gamma": 1.0, "lambd": 1.0})
    rule = Tensors(function, constants={**chosen, "config": None, **_EVEN})
    return _target("skyrl", name, function, rule, _notes(function, {"values": "values 0"}))


_EVEN = {  # what token-level rules also take: no value model, and every token of the same probability
    "values": lambda mask: mask * 0,
    "reward_baselines": lambda mask: mask[:, 0] * 0,
    "old_log_probs": lambda mask: mask * 0 + np.log(0.5),
    "sum_pi_squared": lambda mask: mask * 0 + 0.5,
}


def _swift(name: str, word: str, pairs: list[str]) -> Target:
    code = module("swift")
    chosen = options(pairs, {"scale_rewards": "group"})
    _one_of("swift", dict.fromkeys(_swift_names(code)), word)
    function = _function("swift", code, "compute_advantages")
    import torch

    def rule(rewards: Any) -> Any:
        column = rewards.reshape(-1, 1)
        given = {"reward_weights": torch.ones(1, dtype=column.dtype), "num_generations": rewards.shape[1]}
        return function(column, **given, advantage_estimator=word, **chosen)[0].reshape(rewards.shape)

    return _target("swift", name, function, Groups(rule, "torch"), (_shown(chosen),))


def _tunix(name: str, word: str, pairs: list[str]) -> Target:
    code = module("tunix")
    function = _one_of("tunix", _tunix_registry(code), word)
    if "completion_mask" not in parameters(function):
        options(pairs, {})
        return _target("tunix", name, function, Flat(function, "numpy"))
    chosen = options(pairs, {"gamma": 1.0, "gae_lambda": 1.0})

    def rule(token_level_rewards: Any, response_mask: Any, values: Any) -> Any:
        return function(token_level_rewards, values, response_mask, **chosen)

    even = Tensors(rule, "numpy", constants=_EVEN)
    return _target("tunix", name, function, even, (_shown(chosen), "values 0"))


def _openrlhf(name: str, word: str, pairs: list[str]) -> Target:
    code = module("openrlhf")
    _one_of("openrlhf", dict.fromkeys(_openrlhf_names(code)), word)
    chosen = options(pairs, {"no_std_norm": False})
    maker = code.RemoteExperienceMaker
    function = _function("openrlhf", maker, "compute_advantages_and_returns")

    def rule(rewards: Any) -> Any:
        return _openrlhf_call(code, word, chosen, rewards)

    return _target("openrlhf", name, function, Groups(rule, "torch"), (_shown(chosen), "no KL, no length penalty"))


def _openrlhf_call(module: ModuleType, word: str, options: dict[str, Any], rewards: Any) -> Any:
    """RemoteExperienceMaker's own method on one Experience for each rollout, three tokens long, KL 0."""
    import torch

    groups, n = rewards.shape
    args = mock.MagicMock()  # arguments that the method reads but that play no part
    args.algo.advantage = SimpleNamespace(estimator=word, gamma=1.0, lambd=1.0, **options)
    args.rollout.n_samples_per_prompt = n
    args.reward = SimpleNamespace(clip_range=None, overlong_buffer_len=None, stop_properly_penalty_coef=None)
    maker = object.__new__(module.RemoteExperienceMaker)
    maker.strategy, maker.args, maker.advantage_estimator = SimpleNamespace(args=args), args, word
    maker.kl_ctl = SimpleNamespace(value=0.0)
    mask = torch.ones(1, 3)
    even = {"kl": mask * 0, "action_mask": mask, "values": mask * 0}
    rows = [
        SimpleNamespace(index=[i], rewards=reward.reshape(1), info={}, **even)
        for i, reward in enumerate(rewards.reshape(-1))
    ]
    found = maker.compute_advantages_and_returns(rows)
    return torch.cat([row.advantages.mean(1) for row in found]).reshape(groups, n)


_TRL_OPTIONS = {  # those of GRPOConfig that make the advantages; TRL's defaults first
    "scale_rewards": ("group", "batch", "none"),
    "multi_objective_aggregation": ("sum_then_normalize", "normalize_then_sum"),
}


def _trl(name: str, word: str, pairs: list[str]) -> Target:
    given = [word, *pairs] if ":" in name and name.partition(":")[2].strip() else []
    try:
        chosen = options(given, {key: values[0] for key, values in _TRL_OPTIONS.items()}, _TRL_OPTIONS)
    except AdvshapeError as error:
        raise AdvshapeError(
            f"{error}. Other options change the loss: `advshape.adapters.trl.objective_warnings(config)` tells which "
            "change the objective"
        ) from None
    module("trl")
    from trl import GRPOTrainer

    from advshape.audit.trl import TRLAdvantages

    rule = Groups(TRLAdvantages(2, **chosen), "torch")
    function = GRPOTrainer._generate_and_score_completions
    return replace(_target("trl", name, function, rule, (_shown(chosen), "one 0/1 reward function")), smallest_n=2)


def module(scheme: str) -> Any:
    """The module that holds a trainer's advantage code; missing packages that need a GPU get a stand-in."""
    package, path = TRAINERS[scheme]
    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        raise AdvshapeError(
            f"{package} is not installed for {sys.executable}: {_EXTRA.get(scheme, '')}give --python PATH, the "
            f"interpreter of the environment that has it (looked for {path})"
        ) from None
    while True:
        try:
            return importlib.import_module(path)
        except ImportError as error:
            absent = (error.name or "").partition(".")[0]
            if absent in NEEDS_A_GPU and not any(isinstance(f, _StandIns) and f.name == absent for f in sys.meta_path):
                sys.meta_path.append(_StandIns(absent))
                continue
            raise AdvshapeError(
                f"{package} {version} could not be imported as {path} ({error}): install what it needs; if the module "
                "has moved, this version is not known yet"
            ) from error


def _absent() -> tuple[str, ...]:
    """What had to be replaced, as a note."""
    gone = [finder.name for finder in sys.meta_path if isinstance(finder, _StandIns)]
    return (f"without {', '.join(gone)}, which its advantages do not use",) if gone else ()


class _StandIns:
    """Imports `name` and everything below it as a module of stand-ins."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] != self.name:
            return None
        return importlib.util.spec_from_loader(name, self, is_package=True)  # type: ignore[arg-type]

    def create_module(self, spec: Any) -> ModuleType:
        return mock.MagicMock(name=spec.name, __spec__=spec, __path__=[], __name__=spec.name)

    def exec_module(self, module: ModuleType) -> None: ...


def _one_of(scheme: str, known: Any, word: str) -> Any:
    if word not in known:
        names = [name for name in sorted(known) if not name.startswith("advshape")]  # ours are the catalogue's
        raise AdvshapeError(
            f"{version(scheme)} has no advantage estimator {word!r}{nearest(word, known)}; it has {', '.join(names)}"
        )
    return known[word]


def _function(scheme: str, module: Any, name: str) -> Any:
    if not callable(getattr(module, name, None)):
        raise AdvshapeError(f"{version(scheme)} has no {name} in {TRAINERS[scheme][1]}: this version is not known yet")
    return getattr(module, name)


def _registry(module: Any) -> dict[str, Any]:
    registry = module.AdvantageEstimatorRegistry
    return {str(key): value for key, value in registry._functions.items() if not _ours(value)}


def _verl_names(module: Any) -> list[str]:
    """Its own, without those that our plug-in registers."""
    return sorted(name for name in module.ADV_ESTIMATOR_REGISTRY if not name.startswith("advshape"))


def _tunix_registry(module: Any) -> dict[str, Any]:
    registry = importlib.import_module("tunix.rl.function_registry").default_registry
    kind = "advantage_estimator"
    found = {word: registry.get(kind, word) for word in registry.list_functions(kind)}
    return {word: function for word, function in found.items() if not _ours(function)}


def _ours(function: Any) -> bool:
    """Did an adapter of this package register it?"""
    return str(getattr(getattr(function, "func", None), "__module__", "")).startswith("advshape.")


def _swift_names(module: Any) -> list[str]:
    return _quoted(module.compute_advantages.__doc__, "advantage_estimator:")


def _swift_scales(module: Any) -> list[str]:
    return _quoted(module.compute_advantages.__doc__, "scale_rewards:")


def _trl_names() -> list[str]:
    words = ([f"{key}={value}" for value in values] for key, values in _TRL_OPTIONS.items())
    return [",".join(pair) for pair in product(*words)]


def _openrlhf_names(module: Any) -> list[str]:
    """The words that the method compares its estimator with."""
    method = module.RemoteExperienceMaker.compute_advantages_and_returns
    tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
    words: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and ast.unparse(node.left).endswith(("advantage.estimator", "_estimator")):
            words |= {c.value for c in ast.walk(node) if isinstance(c, ast.Constant) and isinstance(c.value, str)}
    return sorted(words)


def _quoted(text: str, after: str) -> list[str]:
    """The words in quotes of the line of `text` that holds `after`."""
    line = next((line for line in (text or "").splitlines() if after in line), "")
    return [word.strip("`'\" ,.") for word in line.partition(after)[2].replace(" or ", ",").split(",") if "'" in word]


def _notes(function: Callable[..., Any], told: dict[str, str]) -> tuple[str, ...]:
    """What is said of the constants that this function takes by name."""
    return tuple(text for key, text in told.items() if key in parameters(function))


def _shown(options: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in options.items())


def _target(scheme: str, name: str, function: Any, rule: Call, notes: tuple[str, ...] = ()) -> Target:
    source = f"{function.__module__}.{function.__qualname__}"
    return Target(name, version(scheme), source, documentation(function), rule, (*notes, *_absent()))


def version(scheme: str) -> str:
    """Its distribution and version, as "ms-swift 4.6.0"."""
    package = TRAINERS[scheme][0]
    return f"{package} {metadata.version(package)}"


LOADERS: dict[str, Callable[[str, str, list[str]], Target]] = {
    "verl": _verl,
    "skyrl": _skyrl,
    "swift": _swift,
    "openrlhf": _openrlhf,
    "tunix": _tunix,
    "trl": _trl,
}
NAMES: dict[str, Callable[[Any], list[str]]] = {  # every rule of a trainer, with the options that change it
    "verl": lambda code: [*_verl_names(code), "grpo,norm_adv_by_std_in_grpo=false"],
    "skyrl": lambda code: [*sorted(_registry(code)), "grpo,grpo_norm_by_std=false"],
    "swift": lambda code: [f"{word},scale_rewards={s}" for word in _swift_names(code) for s in _swift_scales(code)],
    "openrlhf": lambda code: [*_openrlhf_names(code), "reinforce_baseline,no_std_norm=true"],
    "tunix": lambda code: sorted(_tunix_registry(code)),
    "trl": lambda code: _trl_names(),
}
