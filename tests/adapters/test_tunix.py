"""tunix: parity through its registry, with NumPy and JAX arrays.

parity, property; the environment of `make test-adapters` runs it, elsewhere it skips.
"""

import hostile
import numpy as np
import pytest
from by_position import by_position

REASON = "google-tunix is not installed; make test-adapters runs this in an environment of its own"
pytest.importorskip("tunix", reason=REASON)
import jax
import jax.numpy as jnp
from tunix.rl import algo_core
from tunix.rl.function_registry import get_advantage_estimator
from tunix.rl.grpo.grpo_learner import GRPOConfig

from advshape.adapters import tunix as adapter
from advshape.audit.targets import names
from advshape.errors import AdvshapeError


def call(rewards, n):
    """As GRPOLearner does: the estimator by the name in its configuration."""
    config = GRPOConfig(advantage_estimator="advshape", num_generations=n)
    estimator = get_advantage_estimator(config.advantage_estimator)
    return estimator(rewards=rewards, num_generations=config.num_generations)


@pytest.mark.parametrize("kind", [np, jnp], ids=["numpy", "jax"])
@pytest.mark.parametrize("case", hostile.CASES, ids=lambda case: case.name)
def test_hostile_cases(case, kind):
    case, n = by_position(case)
    rewards = kind.asarray(np.array(case.rewards, dtype=np.float32).astype(jnp.dtype(case.dtype)))
    if n is None or case.refused:
        with pytest.raises(AdvshapeError, match=case.refused or "are no groups of num_generations"):
            adapter.register(case.rule)
            call(rewards, n or max(map(case.uids.count, case.uids)))
        return
    if n == 1:
        pytest.skip("tunix's GRPOConfig refuses num_generations=1")
    adapter.register(case.rule)
    found = call(rewards, n)
    np.testing.assert_allclose(np.asarray(found), hostile.expected(case), rtol=case.tolerance, atol=case.tolerance)
    assert isinstance(found, jax.Array if kind is jnp else np.ndarray)
    assert found.dtype == np.float32
    assert found.shape == rewards.shape


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("rloo", "rloo"),
        ("dr_grpo", "drgrpo"),
        ({"estimator": "grpo", "ddof": 1, "epsilon": 1e-6}, "grpo"),
    ],
)
def test_the_same_as_tunixs_own_where_both_mean_the_same(ours, theirs):
    rewards = np.array(hostile.mixed(9, [8] * 4)[0], dtype=np.float32)
    adapter.register(ours)
    want = get_advantage_estimator(theirs)(rewards=rewards, num_generations=8)
    np.testing.assert_allclose(call(rewards, 8), want, rtol=2e-5, atol=1e-6)


def test_the_audit_lists_tunixs_own_estimators_and_not_ours():
    before = names("tunix")
    adapter.register("rloo")
    assert names("tunix") == before
    assert "grpo" in before


def test_inside_jit_is_refused():
    adapter.register("rloo")
    with pytest.raises(AdvshapeError, match=r"traced by jax\.jit"):
        jax.jit(lambda r: call(r, 2))(jnp.zeros(4))


def test_a_name_that_is_taken_and_a_changed_signature(monkeypatch):
    with pytest.raises(AdvshapeError, match="'grpo' is an estimator of tunix's own"):
        adapter.register("rloo", "grpo")
    monkeypatch.setattr(algo_core, "compute_advantages", lambda rewards, mask: rewards)
    with pytest.raises(AdvshapeError, match=r"compute_advantages takes \(rewards, mask\), expected"):
        adapter.register("rloo")
