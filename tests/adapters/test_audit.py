"""The audit of the trainers' own code: a rule that is the catalogue's gives exactly its table, others a true finding.

parity, recovery; each environment of `make test-adapters` runs its own trainer's part, elsewhere it skips.
"""

from importlib import metadata

import numpy as np
import pytest

import advshape as adv
from advshape.audit.examine import probe
from advshape.audit.names import TRAINERS
from advshape.audit.targets import load, names

KNOWN = [  # (target, the catalogue's name)
    ("verl:rloo", "rloo"),
    ("verl:rloo_vectorized", "rloo"),
    ("verl:grpo", "grpo(ddof=1, epsilon=1e-06)"),
    ("verl:grpo,norm_adv_by_std_in_grpo=false", "dr_grpo"),
    ("verl:remax", "reinforce"),
    ("skyrl:rloo", "rloo"),
    ("skyrl:grpo", "grpo(ddof=1, epsilon=1e-06)"),
    ("skyrl:maxrl", "maxrl(epsilon=1e-06)"),
    ("swift:grpo,scale_rewards=group", "grpo(ddof=1, epsilon=0.0001)"),
    ("swift:rloo,scale_rewards=none", "rloo"),
    ("openrlhf:rloo", "rloo"),
    ("openrlhf:dr_grpo", "dr_grpo"),
    ("openrlhf:group_norm", "grpo(ddof=1)"),
    ("tunix:grpo", "grpo(ddof=1, epsilon=1e-06)"),
    ("tunix:rloo", "rloo"),
    ("tunix:drgrpo", "dr_grpo"),
]
FOUND = [  # (target, a finding that its own definition gives)
    ("verl:opo", "lengths"),
    ("verl:grpo_passk", "silent"),
    ("verl:reinforce_plus_plus", "batch scale"),
    ("verl:gpg", "batch"),
    ("skyrl:reinforce++", "batch scale"),
    ("swift:grpo,scale_rewards=batch", "batch scale"),
    ("openrlhf:reinforce_baseline", "batch scale"),
]


def installed(target):
    package = TRAINERS[target.partition(":")[0]][0]
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{package} is not installed: make test-adapters runs this")


@pytest.mark.parametrize(("target", "name"), KNOWN)
def test_the_catalogues_tables_come_out_of_the_trainers_code(target, name):
    installed(target)
    found, known = probe(load(target), 8), adv.estimator(name).table(8)
    assert found.match.exact
    assert (found.match.name, found.match.factor) == (name, pytest.approx(1, abs=1e-4))
    for got, want in ((found.table.positive, known.positive), (found.table.negative, known.negative)):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("target", "kind"), FOUND)
def test_where_a_rule_is_none_the_finding_is_true(target, kind):
    """The finding's own example, put to the rule again, shows it again where it has one."""
    installed(target)
    rule = load(target).rule
    found = probe(load(target), 8)
    assert kind in {finding.kind for finding in found.findings}
    for finding in found.findings:
        if finding.kind == "batch":
            alone, beside = (np.array(group) for group in finding.rewards)
            import torch

            one = np.asarray(rule(torch.tensor(alone[None])))[0]
            two = np.asarray(rule(torch.tensor(np.stack([alone, beside]))))[0]
            assert np.abs(one - two).max() > 1e-6 or "more" in finding.message


@pytest.mark.parametrize("scheme", sorted(set(TRAINERS) - {"trl"}))
def test_every_rule_of_the_registry_has_an_answer(scheme):
    """A table, or a surrogate up to the batch's scale, or a finding that says why there is none."""
    installed(f"{scheme}:")
    listed = names(scheme)
    assert len(listed) >= 3
    for word in listed:
        found = probe(load(f"{scheme}:{word}"), 4)
        assert found.surrogate is not None or found.findings
