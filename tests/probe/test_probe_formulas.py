"""Formula pairs through the real command and `reverse`: closed forms, the catalogue's, numbers with error, refusals."""

import json
import time

import numpy as np
import pytest
from mpmath import mp, mpf
from scipy.integrate import quad

import advshape as adv
from advshape.cli import main

GRPO = ("sqrt((1-rho)/rho)", "-sqrt(rho/(1-rho))")


def run(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_line_of_the_manual(capsys):
    code, out, _ = run(capsys, "reverse", "--positive", GRPO[0], "--negative", GRPO[1], "-n", 16)
    assert code == 0
    assert "maximises 2*arcsin(sqrt(rho)) as n grows" in out
    assert "this is grpo" in out
    assert "F' -> inf as rho -> 0" in out  # a singular end is said
    row = next(line.split() for line in out.splitlines() if line.strip().startswith("0.5 "))
    assert float(row[1]) == pytest.approx(np.pi / 2, abs=1e-3)
    rule = [float(x) for x in next(line for line in out.splitlines() if line.startswith("    3 ")).split()[1:3]]
    assert rule == pytest.approx([np.sqrt(13 / 3), -np.sqrt(3 / 13)], abs=1e-4)


def test_json_tells_closed_from_numeric(capsys):
    _, out, _ = run(capsys, "reverse", "--positive", "1/rho-1", "--negative=-1", "--json")
    found = json.loads(out)
    assert found["closed_form"]
    assert found["population"] == "log(rho)"
    assert found["nearest"].startswith("maxrl")
    _, out, _ = run(capsys, "reverse", "--positive", "exp(rho**2)", "--negative", "-1", "--json", "-n", "4")
    found = json.loads(out)
    assert not found["closed_form"]
    curve = found["curve"]
    for rho, value, error in zip(curve["rho"], curve["F"], curve["error"], strict=True):
        want = quad(lambda x: np.exp(x**2) + 1, 0, rho)[0]
        assert abs(value - want) < 1e-10
        assert 0 < error < 1e-9


def test_the_catalogue_names_what_no_rule_integrates():
    """GRPO over pass@k's own deviation has no rule here, but the catalogue knows its F."""
    s = "(1-rho)**2/sqrt((1-(1-rho)**3)*(1-rho)**3)"
    found = adv.reverse((f"3*(1-rho)*{s}", f"-3*rho*{s}"), 8)
    assert repr(found.population) == "GRPOJoint(k=3)"
    assert found.match.name == "grpo_k_joint(k=3)"


def test_the_table_agreeing_at_c_over_n_is_not_enough():
    """A wiggle that vanishes at every c/8 leaves GRPO's table, but not GRPO's surrogate."""
    wiggle = "*(1 + exp(rho)*" + "*".join(f"(rho-{c}/8)" for c in range(1, 8)) + ")"
    found = adv.reverse((GRPO[0] + wiggle, GRPO[1] + wiggle), 8)
    assert found.match.name == "grpo"
    assert isinstance(found.population, adv.IntegratedSurrogate)


def test_where_the_objective_falls_is_a_finding():
    found = adv.reverse(("(1-rho)*(1+log((1-rho)/rho))", "-rho*(1+log((1-rho)/rho))"), 8)
    assert repr(found.population) == "rho + entropy(rho)"
    falls = next(f for f in found.findings if f.kind == "falls")
    assert "(0.7311, 1)" in falls.message  # logit rho = 1


def test_functions_are_integrated_and_said_so():
    found = adv.reverse((lambda p: 1 / p - 1, lambda p: 0 * p - 1), 8)
    assert "by quadrature, error below" in str(found)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--positive", "1"], "needs --negative too"),
        (["--negative", "-1"], "needs --positive too"),
        (["grpo", "--positive", "1", "--negative", "0"], "either TARGET, or"),
        ([], "either TARGET, or"),
        (["--positive", "rho.__class__", "--negative", "0"], "no attributes"),
        (["--positive", "__import__('os')", "--negative", "0"], "cannot read"),
        (["--positive", "min(rho, 0.5)", "--negative", "0"], "min has a kink"),
        (["--positive", "1/(rho-0.5)", "--negative", "0"], "undefined at rho = 0.5"),
        (["--positive", "lam*rho", "--negative", "0"], "unknown name 'lam'"),
        (["--positive", "rho", "--negative", "0", "-n", "0"], "from 1 to 1024, got n=0"),
    ],
)
def test_wrong_usage(capsys, words, message):
    code, out, err = run(capsys, "reverse", *words)
    assert code == 2
    assert out == ""
    assert message in err


def test_hostile_pairs_are_refused_fast(capsys):
    """Security: the pair goes through the same parser as every formula."""
    run(capsys, "reverse", "--positive", "nothing", "--negative", "0")  # the imports of the first call
    for hostile in ("(" * 1000, "rho**1000000", "rho+" * 2_500_000, "().__class__", "rho\u200b", "\uff52ho"):
        times = []
        for _ in range(3):  # the least: a collection of the test process's garbage is not the parser's
            start = time.process_time()
            code, _, err = run(capsys, "reverse", "--positive", hostile, "--negative", "0")
            times.append(time.process_time() - start)
            assert code == 2
            assert len(err) < 700
        assert min(times) < 0.3


def peak(x):
    return (mp.atan(1000 * (x - mpf(0.3))) + mp.atan(1000 * mpf(0.3))) / 1000


def bell(x):
    return mp.sqrt(mp.pi) / 2000 * (mp.erf(1000 * (x - mpf(0.3))) + mp.erf(1000 * mpf(0.3)))


@pytest.mark.parametrize(
    ("slope", "exact"),
    [
        (lambda r: 1 / np.sqrt(r * (1 - r)), lambda x: 2 * mp.asin(mp.sqrt(x))),
        (lambda r: r**-0.99, lambda x: 100 * x ** mpf(0.01)),
        (lambda r: 1 / (r * (1 - np.log(r)) ** 2), lambda x: 1 / (1 - mp.log(x)) if x else mpf(0)),
        (lambda r: 1 / (r * (100 - np.log(r)) ** 2), lambda x: 1 / (100 - mp.log(x)) if x else mpf(0)),
        (lambda r: 1 / ((1 - r) * (1 - np.log1p(-r)) ** 2), lambda x: 1 - 1 / (1 - mp.log(1 - x)) if x < 1 else mpf(1)),
        (lambda r: 1 / (1 + 1e6 * (r - 0.3) ** 2), peak),
        (lambda r: np.exp(-1e6 * (r - 0.3) ** 2), bell),
        (lambda r: np.abs(r - 0.3), lambda x: ((x - mpf(0.3)) * abs(x - mpf(0.3)) + mpf(0.3) ** 2) / 2),
    ],
)
def test_the_error_is_no_understatement(slope, exact):
    """Antiderivatives by mpmath: slow tails, narrow peaks and a kink; the error covers the difference, and is small."""
    F = adv.IntegratedSurrogate(slope, lambda r: 0 * r)
    rho = [0.0, 1e-5, 0.2, 0.3, 0.31, 0.5, 0.9, 1.0]
    for x, value, error in zip(rho, F.value(rho), F.error(rho), strict=True):
        assert abs(float(exact(mpf(x)) - mpf(float(value)))) <= error
        assert error < 0.01


@pytest.mark.parametrize(
    ("slope", "end"),
    [
        (lambda r: 1 / (r * (1 - np.log(r))), -np.inf),
        (lambda r: 1 / r, -np.inf),
        (lambda r: 1 / r**2, -np.inf),
        (lambda r: 1 / (r * (2 - np.log(r)) * np.log(2 - np.log(r)) ** 2), np.nan),
    ],
)
def test_an_end_that_diverges_or_may(slope, end):
    """The first three diverge at 0; 1 / (t log(t)^2) converges, which numbers cannot tell from 1 / (t log t)."""
    F = adv.IntegratedSurrogate(slope, lambda r: 0 * r)
    np.testing.assert_equal(float(F.value(0.0)), end)
    np.testing.assert_equal(float(F.error(0.0)), np.inf if np.isnan(end) else np.nan)
    assert F.value(0.5) == 0
    assert 0 < F.error(0.9) < 1e-13
    assert ("may diverge at rho = 0" in repr(F)) == np.isnan(end)


def test_far_ends_are_integrated_too():
    F = adv.IntegratedSurrogate(lambda r: 1 / r, lambda r: 0 * r)
    assert F.value(1e-200) == pytest.approx(-200 * np.log(10) + np.log(2), rel=1e-13)
