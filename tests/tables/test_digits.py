"""Digits at extreme inputs: surrogates by mpmath near 0 and 1, tables and pass@k by exact fractions at large n."""

from fractions import Fraction
from math import comb

import pytest
from mpmath import mp, mpf

import advshape as adv
from advshape.objectives.literature import GRPOTimesPassAtK, PassAtKCombination

RHO = [1e-60, 1e-12, 1e-5, 0.3, 0.5, 0.9, 1 - 1e-5, 1 - 1e-12, 1 - 2.0**-53]


def angle(x):
    return 2 * mp.asin(mp.sqrt(x))


def entropy(x):
    return -x * mp.log(x) - (1 - x) * mp.log(1 - x)


def combination(x):
    solved = 1 - (1 - x) ** 4
    return angle(x) / 2 + mp.sqrt(x * (1 - x)) + (angle(solved) - mp.betainc(0.5, 0.75, 0, solved)) / 4


@pytest.mark.parametrize(
    ("surrogate", "value"),
    [
        (adv.GRPO(), angle),
        (adv.SkewR(), lambda x: angle(x) / 2 + mp.sqrt(x * (1 - x))),
        (adv.SkewR(0.5), lambda x: angle(x) * 3 / 4 + mp.sqrt(x * (1 - x)) / 2),
        (adv.GRPOJoint(1), angle),
        (adv.GRPOJoint(4), lambda x: angle(1 - (1 - x) ** 4)),
        (adv.GRPOJoint(32), lambda x: angle(1 - (1 - x) ** 32)),
        (PassAtKCombination(4), combination),
        (GRPOTimesPassAtK(4), lambda x: 4 * mp.betainc(0.5, 3.5, 0, x)),
        (adv.PassAtK(8), lambda x: 1 - (1 - x) ** 8),
        (adv.Entropy(), entropy),
        (adv.LogOdds(), lambda x: mp.log(x / (1 - x))),
        (adv.RiskSensitive(2.0), lambda x: mp.log(1 + x * mp.expm1(2)) / 2),
        (adv.RiskSensitive(-30.0), lambda x: -mp.log(1 + x * mp.expm1(-30)) / 30),
        (adv.RiskSensitive(700.0), lambda x: mp.log(1 + x * mp.expm1(700)) / 700),
    ],
    ids=lambda p: repr(p) if hasattr(p, "derivative") else "",  # no address: alike in every process
)
def test_values_and_slopes_keep_their_digits(surrogate, value):
    for rho in RHO:
        with mp.workdps(200):  # 1 - rho at rho = 1e-60 and the difference in the slope need them
            x = mpf(rho)
            want, slope = value(x), mp.diff(value, x, h=x * (1 - x) * mpf(10) ** -60)
        assert float(surrogate.value(rho)) == pytest.approx(float(want), rel=4e-15)
        assert float(surrogate.derivative(rho)) == pytest.approx(float(slope), rel=1e-13)


def test_a_risk_beyond_doubles_is_refused():
    with pytest.raises(adv.AdvshapeError, match="<= 700"):
        adv.RiskSensitive(1000.0)


def test_tables_at_large_n():
    """Enumeration with fractions at n = 2,048, k = 8, where 1 - C(n-c, k)/C(n, k) is small."""
    n, k = 2048, 8

    def some(n, c, k):
        return 1 - Fraction(comb(n - c, k), comb(n, k))

    s, loo, chen = (adv.estimator(name, k=k).table(n).negative for name in ("pkpo_s", "pkpo_loo", "passk_training"))
    for c in (1, 2, 3, 50, 1000):
        before = k * some(n - 1, c, k - 1)
        assert s[c] == pytest.approx(float(before), rel=1e-13)
        assert loo[c] == pytest.approx(float(before - Fraction(n * k, n - 1) * some(n - 1, c, k)), rel=1e-11)
        solved = some(n, c, k)
        part = 1 - solved - Fraction(comb(n - c - 1, k - 1), comb(n - 1, k - 1))
        assert chen[c] == pytest.approx(float(part) / float(solved * (1 - solved)) ** 0.5, rel=1e-11)


@pytest.mark.parametrize("n", [1, 1000, 20_000])
def test_pass_at_k_at_large_n(n):
    for k in {1, min(5, n), max(1, n // 2), n}:
        for c in {0, 1, min(3, n), n // 2, n - 1, n}:
            right = 1 - Fraction(comb(n - c, k), comb(n, k))
            assert float(adv.pass_at_k(c, n, k)) == pytest.approx(float(right), rel=1e-12)
            assert float(adv.pass_hat_k(c, n, k)) == pytest.approx(float(Fraction(comb(c, k), comb(n, k))), rel=1e-11)
