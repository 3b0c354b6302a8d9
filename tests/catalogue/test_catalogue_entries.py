"""Every entry: advice, source, smallest n, limit as n grows, autograd; the command and docs/estimators.md agree."""

import json
import re
from dataclasses import replace
from inspect import getdoc, signature
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import advshape as adv
from advshape.catalogue import ENTRIES
from advshape.catalogue.describe import describe_entry
from advshape.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "estimators.md"


def make(name, k=3):
    return adv.estimator(name, **({"k": k} if "k" in signature(ENTRIES[name]).parameters else {}))


OTHERS = [
    "maxrl(order=3)",
    "maxrl(epsilon=1e-5)",
    "grpo(ddof=1, epsilon=1e-4)",
    "skew_r(strength=0.4)",
    "ngrpo(virtual=2, ddof=0)",
    "qae(quantile=0.7)",
    "fade(alpha=2.5, delta=0.5)",
    "fade(alpha=1, delta=0.3)",
    "passk_training_adaptive(k=2, share=0.2)",
]
RULES = [make(name) for name in ENTRIES] + [adv.estimator(spec) for spec in OTHERS]
names = lambda rule: rule.name


@pytest.mark.parametrize("rule", RULES, ids=names)
def test_every_entry_says_when_to_use_it_and_where_it_is_from(rule):
    for advice in (rule.use, rule.avoid):
        assert 10 < len(advice) < 130
        assert not advice.endswith(".")
    assert re.search(r"arXiv:\d{4}\.\d{5}|\d{4}|no paper: F'", rule.reference)
    assert rule.draw is None or rule.note


@pytest.mark.parametrize("name", ENTRIES)
def test_first_line_states_the_rule(name):
    line = getdoc(ENTRIES[name]).partition("\n")[0]
    assert re.search(r"[=*/]|times", line), line
    assert len(line) < 120


@pytest.mark.parametrize("rule", RULES, ids=names)
def test_smallest_n_is_allowed_and_less_is_refused(rule):
    table = rule.table(rule.smallest_n)
    assert table.n == rule.smallest_n
    if rule.smallest_n > 1:
        with pytest.raises(adv.AdvshapeError, match=f"n >= {rule.smallest_n}"):
            rule.table(rule.smallest_n - 1)
    if rule.kind == "unbiased":  # binomial completeness: a polynomial of degree d needs d + 1 rollouts
        assert rule.smallest_n >= rule.surrogate.degree + 1


@pytest.mark.parametrize("rule", [r for r in RULES if r.surrogate is not None], ids=names)
def test_the_surrogate_is_what_it_optimises_as_n_grows(rule):
    """Reduction: F_n' -> F' inside (0, 1); the error falls at least like 1/sqrt(n) and is small at n = 800."""
    rho = np.linspace(0.15, 0.85, 8)
    aim = rule.surrogate.derivative(rho)
    errors = [np.abs(rule.table(n).surrogate().derivative(rho) - aim).max() / np.abs(aim).max() for n in (50, 800)]
    constant = "epsilon" in rule.name  # GRPO's epsilon stays: 1e-4 / std at most 3e-4
    assert errors[1] <= max(0.35 * errors[0], 3e-4 if constant else 1e-9)
    assert errors[1] < (0.1 if rule.draw else 0.02)  # 266 groups of 3 are fewer than 800 rollouts


def test_the_limit_check_can_fail():
    """1.03 times GRPO has GRPO's shape and not its limit."""
    grpo = adv.estimator("grpo")
    rule = replace(grpo, build=lambda n: grpo.table(n).scaled(1.03))
    with pytest.raises(AssertionError):
        test_the_surrogate_is_what_it_optimises_as_n_grows(rule)


@pytest.mark.parametrize("rule", RULES, ids=names)
def test_softmax_policy_follows_the_finite_surrogate(rule):
    """Gradient: over all 5^4 groups E[(1/n) sum A grad log pi] is autograd's grad of F_n(rho), biased rules too."""
    torch = pytest.importorskip("torch")
    if rule.smallest_n > 4:
        rule = make(rule.name.partition("(")[0], k=2)
    theta = torch.tensor([0.3, -0.2, 0.5, 0.1, -0.7], dtype=torch.float64, requires_grad=True)
    right = torch.tensor([0, 1, 0, 0, 1], dtype=torch.float64)
    groups = torch.tensor(list(product(range(5), repeat=4)))
    logp = torch.log_softmax(theta, 0)
    a = adv.advantages(right[groups], rule)
    chance = logp.detach()[groups].sum(1).exp()
    (found,) = torch.autograd.grad((chance * (a * logp[groups]).mean(1)).sum(), theta, retain_graph=True)
    rho = (torch.softmax(theta, 0) * right).sum()
    coefficients = torch.tensor(rule.table(4).weight)
    partial = torch.cat([torch.zeros(1, dtype=torch.float64), coefficients.cumsum(0)]) / 4
    binomial = torch.tensor([1.0, 4, 6, 4, 1], dtype=torch.float64)
    c = torch.arange(5)
    value = (partial * binomial * rho**c * (1 - rho) ** (4 - c)).sum()  # F_n, written out for autograd
    (expected,) = torch.autograd.grad(value, theta)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_kind_and_centred_are_computed():
    row = describe_entry("qae")
    assert (row["kind"], row["centered"], row["random"]) == ("biased", False, False)
    assert describe_entry("fade(alpha=1, delta=1)")["kind"] == "unbiased up to a constant"  # Dr. GRPO
    assert describe_entry("pass_at_k(k=3)")["kind"] == "unbiased"
    assert describe_entry("passk_training_full")["random"]


def test_command_in_100_columns(capsys):
    assert main(["estimators"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    assert all(re.search(rf"^{name}\b", out, re.MULTILINE) for name in ENTRIES)


def test_json_has_everything(capsys):
    assert main(["estimators", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(ENTRIES)
    for row in rows:
        shown = {p["name"]: p for p in row["parameters"]}
        for key, p in signature(ENTRIES[row["name"]]).parameters.items():
            assert shown[key]["required"] == (p.default is p.empty)
            assert shown[key]["default"] == (None if p.default is p.empty else p.default)
        assert {"centered", "kind", "rule", "surrogate", "smallest_n", "reference", "use", "avoid", "random"} <= set(
            row
        )


def test_one_entry_in_full(capsys):
    assert main(["estimators", "pass_at_k(k=8)"]) == 0
    out = capsys.readouterr().out
    assert "smallest n  9" in out
    assert "advshape reverse 'pass_at_k(k=8)' -n 9" in out
    for name in ENTRIES:
        assert main(["estimators", name]) == 0
        assert max(map(len, capsys.readouterr().out.splitlines())) <= 100


@pytest.mark.parametrize(
    ("words", "part"), [(["rlo"], "'rloo'"), (["qae", "--markdown"], "leave the name out"), (["rloo_k(k=0)"], "k >= 1")]
)
def test_wrong_usage(capsys, words, part):
    assert main(["estimators", *words]) == 2
    captured = capsys.readouterr()
    assert part in captured.err
    assert not captured.out


def test_the_page_is_what_the_catalogue_says(capsys):
    assert main(["estimators", "--markdown"]) == 0
    out = capsys.readouterr().out
    assert PAGE.read_text() == out, "run: advshape estimators --markdown > docs/estimators.md"
    index = out.partition("## Paper index")[2]
    assert all(f"`{name}`" in index for name in ENTRIES)
