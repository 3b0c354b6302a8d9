"""How do trainers call their advantage function? Each way as one call: rewards (groups, n) -> advantages (groups, n).

`groups` is that call itself. `group` takes one group (n,) at a time, `flat` has (P n,) rewards and the group size,
`list` one array for each group, `verl` the keyword tensors of verl and SkyRL, one reward at the end of each response.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from advshape.audit.names import SHAPES
from advshape.errors import AdvshapeError

__all__ = ["Call", "Flat", "Groups", "Listed", "OneGroup", "Tensors", "parameters", "shaped"]

TOKENS = 3  # length of every response, unless lengths are probed
Rows = NDArray[np.float64]


@dataclass
class Call:
    """A trainer's function, called in its own way, as rewards (P, n) -> advantages (P, n).

    arrays: what the function takes. `ragged` calls it with groups of unequal size, `sized` with responses of unequal
    length; both are None where its signature has no such thing.
    """

    function: Callable[..., Any]
    arrays: Literal["auto", "numpy", "torch"] = "auto"
    ragged: Callable[[Sequence[Rows]], list[Rows]] | None = field(default=None, init=False)
    sized: Callable[[Rows, NDArray[np.int64]], Rows] | None = field(default=None, init=False)

    def __call__(self, rewards: Any) -> Any:
        raise NotImplementedError


class Groups(Call):
    """function(rewards (P, n)) -> (P, n)."""

    def __call__(self, rewards: Any) -> Any:
        return self.function(rewards)


class OneGroup(Call):
    """function(rewards (n,)) -> (n,), one group at a time."""

    def __call__(self, rewards: Any) -> Any:
        return _stacked([self.function(group) for group in rewards])


class Flat(Call):
    """function(rewards (P n,), n) -> (P n,): rows of a group stand together; n is left out if it is not taken."""

    def __call__(self, rewards: Any) -> Any:
        named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)
        taken = [p for p in parameters(self.function).values() if p.kind not in named]
        size = (rewards.shape[1],) if len(taken) > 1 else ()
        return _array(self.function(rewards.reshape(-1), *size)).reshape(rewards.shape)


class Listed(Call):
    """function([rewards (n,), ...]) -> [advantages (n,), ...], perhaps first of a pair; one array for each group."""

    def __post_init__(self) -> None:
        self.ragged = lambda groups: [np.asarray(_array(a), float) for a in self._call(list(groups))]

    def __call__(self, rewards: Any) -> Any:
        return _stacked(self._call(list(rewards)))

    def _call(self, groups: list[Any]) -> Any:
        found = self.function(groups)
        pair = isinstance(found, tuple) and len(found) == 2 and np.ndim(_array(found[0][0])) > 0
        return found[0] if pair else found


@dataclass
class Tensors(Call):
    """function(token_level_rewards=(B, T), response_mask=(B, T), index=uids, ...) -> (advantages (B, T), returns).

    `constants` are further keyword arguments, values or functions of the mask (B, T); those that the function does not
    take are left out. A response's advantage is the mean over its tokens; `uneven` counts responses whose tokens
    differed. arrays: "torch" or "numpy".
    """

    arrays: Literal["auto", "numpy", "torch"] = "torch"
    constants: dict[str, Any] = field(default_factory=dict)
    single: bool = False
    uneven: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.ragged = self._ragged
        self.sized = lambda rewards, lengths: self._rows(
            rewards.ravel(), np.repeat(np.arange(len(rewards)), rewards.shape[1]), lengths.ravel()
        ).reshape(rewards.shape)

    def __call__(self, rewards: Any) -> Any:
        groups, n = rewards.shape
        ids = np.repeat(np.arange(groups), n)
        return self._given(self._rows(np.asarray(rewards).reshape(-1), ids, None).reshape(groups, n))

    def _ragged(self, groups: Sequence[Rows]) -> list[Rows]:
        sizes = [len(group) for group in groups]
        found = self._rows(np.concatenate(groups), np.repeat(np.arange(len(groups)), sizes), None)
        return np.split(found, np.cumsum(sizes)[:-1])

    def _rows(self, rewards: Rows, ids: NDArray[np.int64], lengths: NDArray[np.int64] | None) -> Rows:
        sizes = np.full(len(ids), TOKENS) if lengths is None else lengths
        dtype = np.float32 if self.single else np.float64
        mask: Any = (np.arange(int(sizes.max())) < sizes[:, None]).astype(dtype)
        tokens = np.zeros_like(mask)
        tokens[np.arange(len(ids)), sizes - 1] = rewards
        uids = np.array([f"prompt-{i}" for i in ids], dtype=object)
        given: dict[str, Any] = {"token_level_rewards": tokens, "response_mask": mask}
        given |= {key: value(mask) if callable(value) else value for key, value in self.constants.items()}
        given = {key: self._given(value) for key, value in given.items()} | {"index": uids}
        advantages = _numbers(_first(self.function(**_taken(self.function, given))))
        if advantages.shape != mask.shape:
            raise ValueError(f"it returned shape {advantages.shape} for rewards of shape {mask.shape}")
        mean = (advantages * mask).sum(1) / mask.sum(1)
        apart = np.abs((advantages - mean[:, None]) * mask) > 1e-6 * np.abs(advantages).max()
        self.uneven += int(apart.any(1).sum())
        return mean.astype(dtype)  # the precision tells how exact a name can be

    def _given(self, values: Any) -> Any:
        """An array as the function takes it."""
        if self.arrays == "numpy" or not isinstance(values, np.ndarray):
            return values
        import torch

        return torch.as_tensor(values)


def shaped(function: Callable[..., Any], shape: str, **constants: Any) -> Call:
    """The function as rewards (P, n) -> advantages (P, n), called in the way `shape` (one of `known.SHAPES`) says.

    >>> shaped(lambda rewards, n: rewards - rewards.reshape(-1, n).mean(1).repeat(n), "flat")(np.array([[1.0, 0.0]]))
    array([[ 0.5, -0.5]])
    """
    if shape == "verl":
        return Tensors(function, constants=constants)
    kinds = {"groups": Groups, "group": OneGroup, "flat": Flat, "list": Listed}
    if shape not in kinds:
        raise AdvshapeError(f"signature {shape!r} is unknown; allowed: {', '.join(SHAPES)}")
    return kinds[shape](function)


def parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Its parameters by name; none where Python cannot tell."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}


def _taken(function: Callable[..., Any], given: dict[str, Any]) -> dict[str, Any]:
    """Those keyword arguments that the function takes: all of them where it has **kwargs."""
    known = parameters(function)
    if any(p.kind is p.VAR_KEYWORD for p in known.values()):
        return given
    return {key: value for key, value in given.items() if key in known}


def _first(found: Any) -> Any:
    return found[0] if isinstance(found, tuple) else found


def _numbers(found: Any) -> Rows:
    """As numpy's float64; it does not know torch's bfloat16."""
    found = _array(found)
    return found.astype(np.float64) if isinstance(found, np.ndarray) else np.asarray(found.detach().double().numpy())


def _array(found: Any) -> Any:
    """numpy and torch arrays as they are; anything else (lists, JAX arrays) as numpy."""
    return found if isinstance(found, np.ndarray) or type(found).__module__.startswith("torch") else np.asarray(found)


def _stacked(found: Sequence[Any]) -> Any:
    """One row for each group: numpy, or torch where any of them is."""
    rows = [_array(a) for a in found]
    if all(isinstance(a, np.ndarray) for a in rows):
        return np.stack(rows)
    import torch

    return torch.stack([torch.as_tensor(a) for a in rows])
