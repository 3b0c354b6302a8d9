"""One table of hostile cases for every trainer's adapter, and what `advshape.advantages` says of each.

A case is one batch of flat rewards as a trainer might hold it. An adapter's test feeds each case to the trainer's own
function and compares with `expected(case)`, or finds `refused` in the message where the case is no legal input.
"""

from dataclasses import dataclass, field

import numpy as np

import advshape as adv

NAN = float("nan")


@dataclass(frozen=True)
class Case:
    """rewards: one per rollout, NaN = not judged. uids: the group of each. length: response tokens of each rollout, 0
    for an empty response mask; default 1, 2, 3, 1 ... texts: prompt texts, where they mislead. dtype: of the token
    rewards. rule: parts of algorithm.advshape, or of whatever the trainer calls it. tolerance: of the comparison, wider
    only where the rewards themselves were rounded."""

    name: str
    rewards: tuple
    uids: tuple
    length: tuple = ()
    texts: tuple = ()
    dtype: str = "float32"
    rule: dict = field(default_factory=lambda: {"estimator": "pass_at_k", "k": 2})
    refused: str = ""
    tolerance: float = 1e-6

    @property
    def lengths(self):
        return self.length or tuple(1 + i % 3 for i in range(len(self.rewards)))


def mixed(seed, sizes, low=0.0, high=1.0):
    """0/1 rewards of groups of these sizes, rows shuffled."""
    rng = np.random.default_rng(seed)
    rewards = np.concatenate([(rng.random(n) < rng.uniform(low, high)).astype(float) for n in sizes])
    uids = np.repeat([f"uid-{i}" for i in range(len(sizes))], sizes)
    order = rng.permutation(len(rewards))
    return tuple(rewards[order].tolist()), tuple(uids[order].tolist())


REAL = (0.3, -1.5, 2.0, 0.0, 0.25, -0.125, 7.5, 0.25)
EXACT = (0.25, -1.5, 2.0, 0.0, 0.25, -0.125, 7.5, 0.25)  # float16 and bfloat16 hold these
TWO = ("a", "b", "a", "b", "b", "a", "a", "b")
CAKE = {"estimator": "rloo", "real": "layer_cake"}
SIGNED = {"estimator": "nsr", "real": "layer_cake"}

CASES = (
    Case("unequal groups", *mixed(1, [3, 8, 4, 16])),
    Case("unequal groups, some too small for the rule", *mixed(2, [1, 2, 3, 9])),
    Case("shuffled uids", *mixed(3, [8] * 16)),
    Case(
        "uids interleaved, never two neighbours alike",
        (1.0, 0.0, 0.0, 1.0, 1.0, 1.0),
        ("a", "b", "c") * 2,
        rule={"estimator": "rloo"},
    ),
    Case("one rollout per prompt, rule needs more", (1.0, 0.0, 1.0), ("a", "b", "c"), rule={"estimator": "rloo"}),
    Case("one rollout per prompt, rule allows it", (1.0, 0.0, 1.0), ("a", "b", "c"), rule={"estimator": "reinforce"}),
    Case("all wrong", (0.0,) * 8, TWO),
    Case("all wrong, and the rule speaks there", (0.0,) * 8, TWO, rule={"estimator": "nsr"}),
    Case("all right", (1.0,) * 8, TWO),
    Case("all right, and the rule speaks there", (1.0,) * 8, TWO, rule={"estimator": "psr"}),
    Case("some not judged", (1.0, NAN, 0.0, 1.0, 0.0, NAN, 1.0, 0.0), TWO),
    Case("a group not judged at all", (1.0, NAN, 0.0, NAN, NAN, 0.0, 1.0, NAN), TWO),
    Case("float16", *mixed(4, [8, 5]), dtype="float16"),
    Case("bfloat16", *mixed(5, [8, 5]), dtype="bfloat16"),
    Case("bfloat16, groups larger than bfloat16 can count", *mixed(6, [300, 301]), dtype="bfloat16"),
    Case("real rewards", REAL, TWO, rule=CAKE),
    Case("real rewards in float16", EXACT, TWO, dtype="float16", rule=CAKE),
    Case("real rewards in bfloat16", EXACT, TWO, dtype="bfloat16", rule=CAKE),
    Case("real rewards, some not judged", (0.3, NAN, 2.0, 0.0, 0.25, NAN, 7.5, 0.25), TWO, rule=CAKE),
    Case("real rewards and a bound", REAL, TWO, rule=SIGNED | {"bounds": [None, 8.0]}),
    Case("real rewards without the bound that the rule needs", REAL, TWO, rule=SIGNED, refused="bounds"),
    Case("real rewards, nothing said of them", REAL, TWO, refused="rewards must be 0, 1 or NaN"),
    Case("negative rewards", (1.0, -1.0, -1.0, 1.0), ("a", "a", "b", "b"), refused="rewards must be 0, 1 or NaN"),
    Case("infinite reward", (float("inf"), 0.0), ("a", "a"), rule=CAKE, refused="finite"),
    Case("duplicated prompt texts", (1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0), TWO, texts=("the same",) * 8),
    Case("empty response masks", (1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0), TWO, length=(2, 0, 3, 0, 1, 1, 0, 2)),
    Case("every response mask empty", (1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0), TWO, length=(0,) * 8),
    Case("a rule with a batch of its own formula", *mixed(7, [6, 6, 9]), rule={"surrogate": "1-(1-rho)**3"}),
    Case("scaled", *mixed(8, [6, 6, 9]), rule={"estimator": "maxrl", "scale": "rms"}),
)


def expected(case):
    """(bs,) advantages by `advshape.advantages` in double precision, each group by itself.

    Unit rms is one factor for the batch: that of its largest group, rollouts that were not judged counted.
    """
    spec = {key: value for key, value in case.rule.items() if key not in ("scale", "real", "bounds")}
    rule, largest = adv.estimator(spec), max(map(case.uids.count, case.uids))
    factor = 1 / rule.table(largest).rms() if case.rule.get("scale") == "rms" else 1.0
    options = {key: case.rule[key] for key in ("real", "bounds") if key in case.rule}
    rewards = np.array(case.rewards)
    found = np.full(len(rewards), NAN)
    for uid in set(case.uids):
        rows = [i for i, own in enumerate(case.uids) if own == uid]
        # what float32 makes of a reward is the reward: trainers hold no other
        given = rewards[rows].astype(np.float32).astype(np.float64)
        found[rows] = factor * adv.advantages(given, rule, too_small="zero", **options)
    return found
