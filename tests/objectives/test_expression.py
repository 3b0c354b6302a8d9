"""Typed formulas: exact polynomials by enumeration, slopes by finite differences, ends by limits; nothing executed."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import advshape as adv
from advshape.errors import AdvshapeError

RHO = np.array([1e-9, 0.01, 0.2, 0.5, 0.77, 0.999])


def enumerate_gradient(table, rho):
    """E[(1/n) sum_i A_i d log p(r_i) / d rho] over all 2^n outcomes, exact fractions of the table's doubles."""
    n, total = table.n, Fraction(0)
    positive, negative = ([Fraction(float(x)) for x in v] for v in (table.positive, table.negative))
    for outcome in product((0, 1), repeat=n):
        c = sum(outcome)
        p = rho**c * (1 - rho) ** (n - c)
        score = c * positive[c] / rho - (n - c) * negative[c] / (1 - rho)
        total += p * score / n
    return total


@settings(max_examples=40, deadline=None)
@given(st.lists(st.fractions(-9, 9, max_denominator=12), min_size=2, max_size=6), st.sampled_from(["rho", "(1-rho)"]))
def test_every_typed_polynomial_is_unbiased(coefficients, base):
    formula = " + ".join(f"({c})*{base}**{i}" for i, c in enumerate(coefficients))
    surrogate = adv.parse(formula)
    sign = 1 if base == "rho" else -1
    for baseline, extra in (("leave_one_out", 1), ("zero", 1), ("centered", 2)):
        n = max(2, surrogate.degree + extra)
        for rho in (Fraction(1, 7), Fraction(3, 5)):
            x = rho if base == "rho" else 1 - rho
            aim = sum(sign * i * c * x ** (i - 1) for i, c in enumerate(coefficients) if i)
            got = enumerate_gradient(adv.unbiased(surrogate, baseline).table(n), rho)
            assert abs(got - aim) < Fraction(1, 10**11)  # doubles in the table: 1e-15 times coefficients below 1e3


@pytest.mark.parametrize(
    ("formula", "same"),
    [
        ("1-(1-rho)**8", "pass_at(8)"),
        ("rho*(2-rho)", "pass_at(2)"),
        ("(1-(1-rho)**8)/rho*rho", "pass_at(8)"),
        ("(rho**3-1)/(rho-1)", "1 + rho + rho**2"),
        ("sqrt(rho)**4", "all_of(2)"),
        ("exp(3*log(rho))", "rho**3"),
        ("log(exp(rho)**2)", "2*rho"),
        ("rho**3 - rho**3 + rho", "identity()"),
        ("majority_of(3)", "3*rho**2*(1-rho) + rho**3"),
        ("log_likelihood(3)", "-(1-rho) - (1-rho)**2/2 - (1-rho)**3/3"),
        ("beta(2, 3)", "rho**2/2 - 2*rho**3/3 + rho**4/4"),
        ("variance(variance(rho))", "rho*(1-rho)*(1-rho*(1-rho))"),
        ("pass_at(2, all_of(3))", "1 - (1-rho**3)**2"),
        ("1/(1/rho)", "rho"),
        ("sqrt(4)*rho**(2**2)", "2*rho**4"),
    ],
)
def test_polynomials_are_recognised_and_unique(formula, same):
    assert adv.parse(formula) == adv.parse(same)
    assert adv.parse(formula).degree is not None


@pytest.mark.parametrize(
    ("formula", "surrogate"),
    [
        ("1-(1-rho)**8", adv.PassAtK(8)),
        ("all_of(5)", adv.AllOfK(5)),
        ("entropy(rho)", adv.Entropy()),
        ("-rho*log(rho) - (1-rho)*log(1-rho)", adv.Entropy()),
        ("variance()", adv.Variance()),
        ("2*arcsin(sqrt(rho))", adv.GRPO()),
        ("skew_r(0.4)", adv.SkewR(0.4)),
        ("focal(2)", adv.Focal(2)),
        ("beta(0.7, 2.5)", adv.BetaFamily(0.7, 2.5)),
        ("risk_sensitive(2)", adv.RiskSensitive(2.0)),
        ("log_odds()", adv.LogOdds()),
        ("log_likelihood()", adv.LogLikelihood()),
        ("log_likelihood(6)", adv.LogLikelihood(6)),
        ("majority_of(5)", adv.MajorityOfK(5)),
        ("grpo_joint(4)", adv.GRPOJoint(4)),
    ],
)
def test_formulas_equal_the_named_surrogates(formula, surrogate):
    typed = adv.parse(formula)
    assert typed.degree == surrogate.degree
    # rtol: the named grpo_joint takes arcsin next to 1, where rounding 1e-16 becomes 1e-16 / sqrt(1e-12)
    np.testing.assert_allclose(typed.value(RHO), surrogate.value(RHO), rtol=1e-10, atol=1e-15)
    # rtol: the named ones subtract next to rho = 0 and 1 (1 - rho of a double), up to 1e-16 / 1e-9
    np.testing.assert_allclose(typed.derivative(RHO), surrogate.derivative(RHO), rtol=1e-6, atol=1e-12)
    again = adv.parse(repr(surrogate))
    np.testing.assert_allclose(again.value(RHO), typed.value(RHO), rtol=1e-9, atol=1e-12)


SMOOTH = [
    "0.5*rho + 0.5*(1-(1-rho)**8) + 0.05*entropy(rho)",
    "rho**rho",
    "exp(-rho)*sqrt(rho)/(1+rho)",
    "log(1+rho)/log(2)",
    "kl(0.3) - variance(rho)**2",
    "arcsin(rho**2)",
    "arcsin(sqrt(rho)/2)",
    "1/(2-rho)**2 - 3/(1+rho)**0.5",
    "entropy(pass_at(4))",
    "beta(0.5, 2.5, rho**2)",
    "rho**(1/3)*(1-rho)**(2/3)",
    "log_likelihood(4, sqrt(rho))",
    "grpo_joint(3) + skew_r(0.5) + deviation()",
    "pi*rho**e",
]


@pytest.mark.parametrize("formula", SMOOTH)
def test_derivative_by_finite_differences(formula):
    surrogate, rho, h = adv.parse(formula), np.linspace(0.03, 0.97, 21), 1e-4
    near = [surrogate.value(rho + step * h) for step in (-2, -1, 1, 2)]
    slope = (near[0] - 8 * near[1] + 8 * near[2] - near[3]) / (12 * h)
    # five points: error h^4 F'''''/30 < 1e-7 here (F''''' < 1e10 next to 0.03), rounding 1e-16/h
    np.testing.assert_allclose(surrogate.derivative(rho), slope, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("formula", SMOOTH)
def test_the_formula_and_its_slope_can_be_typed_again(formula):
    surrogate = adv.parse(formula)
    inside = RHO[1:]
    np.testing.assert_allclose(adv.parse(repr(surrogate)).value(inside), surrogate.value(inside), rtol=1e-9, atol=1e-12)
    again = adv.parse(surrogate.slope).value(inside)
    np.testing.assert_allclose(again, surrogate.derivative(inside), rtol=1e-9, atol=1e-12)


def test_slope_of_a_sum_needs_no_parts_and_keeps_shapes():
    surrogate = adv.parse("rho + 0.1*entropy(rho)")
    assert surrogate.value(0.5).shape == ()
    assert surrogate.derivative(np.full((2, 3), 0.5)).shape == (2, 3)
    twice = 2 * surrogate + adv.PassAtK(2)
    np.testing.assert_allclose(twice.derivative(0.5), 2 * 1 + 1)
    assert repr(twice) == "2 * rho + 2 * 0.1*entropy(rho) + PassAtK(k=2)"
    assert hash(surrogate) == hash(adv.parse("0.1*entropy(rho) + rho"))


@pytest.mark.parametrize(
    ("formula", "at_zero", "at_one", "findings"),
    [
        ("rho*log(rho)", (0, -np.inf), (0, 1), 1),
        ("2*arcsin(sqrt(rho))", (0, np.inf), (np.pi, np.inf), 2),
        ("log(rho)", (-np.inf, np.inf), (0, 1), 2),
        ("sqrt((1-rho)/rho)*rho", (0, np.inf), (0, -np.inf), 2),
        ("rho/(rho*(1-rho))", (1, 1), (np.inf, np.inf), 2),
        ("exp(-1/rho)", (0, 0), (np.exp(-1), np.exp(-1)), 0),
        ("skew_r(1)", (0, np.inf), (np.pi / 2, 0), 1),
        ("rho**2*log(rho)", (0, 0), (0, 1), 0),
        ("pass_at(3)", (0, 3), (1, 0), 0),
    ],
)
def test_ends_are_limits_and_said(formula, at_zero, at_one, findings):
    surrogate = adv.parse(formula)
    seen = [(float(surrogate.value(end)), float(surrogate.derivative(end))) for end in (0.0, 1.0)]
    np.testing.assert_allclose(seen, [at_zero, at_one], atol=1e-12)
    assert len(surrogate.findings) == findings


def test_undetermined_ends_are_nan_not_a_guess():
    surrogate = adv.parse("(exp(rho)-1)/rho")  # the limit is 1, but rounding cancels the numerator
    assert np.isnan(surrogate.value(0.0))
    assert "no limit that could be determined as rho -> 0" in surrogate.findings[0]
    cancelled = adv.parse("(exp(rho)-1-rho)/rho**2")  # 1/2 in truth; in floating point 0 from 1e-8 on
    assert np.isnan(cancelled.value(0))
    assert "F has no limit that could be determined as rho -> 0" in cancelled.findings


@pytest.mark.parametrize(
    "formula",
    ["(rho-0.5)**0.5**2", "sqrt(rho-1/2)**2", "exp(log(rho-0.5))", "sqrt(rho-1)*sqrt(rho-1)", "deviation(2*rho)**2"],
)
def test_what_cancels_must_still_be_defined(formula):
    with pytest.raises(AdvshapeError, match="is undefined at rho = "):
        adv.parse(formula)


@pytest.mark.parametrize(
    ("formula", "place"),  # the places are roots by hand: of l - a, sqrt(rho) - a, (rho - a)^2, log(1 + rho) - a
    [
        ("1/(rho-1e-6)", r"rho = 1e-06, "),
        ("1/(1-1e-6-rho)", r"rho = 1 - 1e-06, "),
        ("1/(rho-1e-20)", r"rho = 1e-20, "),
        ("1/(sqrt(rho)-1e-4)", r"rho = 1e-08, "),
        ("1/(rho**2-2e-6*rho+1e-12)", r"rho = 1e-06, "),
        ("1/(exp(rho)-exp(1e-6))", r"rho = 1e-06, "),
        ("log(rho-1e-5)", r"rho = [\d.]+e-06, "),
        ("sqrt(rho-1e-7)", r"rho = [\d.]+e-08, "),
        ("log(1-1e-7-rho)", r"rho = 1 - [\d.]+e-08, "),
        ("entropy(rho-1e-7)", r"rho = [\d.]+e-08, "),
        ("arcsin(1+1e-6-rho)", r"rho = [\d.]+e-07, "),
        ("sqrt(rho-1e-7)**2", r"rho = [\d.]+e-08, "),
        ("exp(log(rho-1e-7))", r"rho = [\d.]+e-08, "),
        ("log(log(1+rho)-1e-7)", r"rho = [\d.]+e-08, "),
        ("1/(entropy()-1e-4)", r"rho = 7\.8392\de-06, "),  # mpmath.findroot: 7.83922e-06
    ],
)
def test_poles_and_gaps_next_to_an_end_are_refused_with_their_place(formula, place):
    with pytest.raises(AdvshapeError, match="is undefined at " + place):
        adv.parse(formula)


@pytest.mark.parametrize(
    "formula",
    [
        "1/rho",
        "log(rho)",
        "log(rho**64)",
        "1/(1-rho)**3",
        "log(1-sqrt(rho))",
        "1/(1-sqrt(rho))",
        "sqrt(1-sqrt(rho))",
        "log(rho*(1-sqrt(rho)))",
        "1/(1-exp(-rho))",
        "log(1-exp(rho-1))",
        "1/log(rho)",
        "log(-log(rho))",
        "1/entropy()",
        "1/arcsin(sqrt(rho))",
        "1/(pi/2-arcsin(sqrt(rho)))",
        "log(grpo())",
        "log(1-pass_at(32))",
        "rho**rho",
        "log(sqrt(rho)-rho)",
        "log(1+1e-9-sqrt(rho))",
        "entropy(sqrt(rho))",
        "1/(rho+1e-9)",
        "sqrt(log(2)-log(1+rho))",
        "(log(rho)+1)**2",
        "sqrt(-log(rho))",
        "1/(exp(1)-exp(rho))",
        "log(rho)/(1-rho)",
        "1/(0.31-rho**300+rho**60)",
    ],
)
def test_what_is_singular_at_an_end_alone_is_taken(formula):
    surrogate = adv.parse(formula)  # each is finite inside (0, 1), by hand; rounding cancels some of them at an end
    assert np.all(np.isfinite(surrogate.value([1e-4, 0.3, 1 - 1e-4])))


def test_long_polynomials_are_abbreviated_and_still_exact():
    surrogate = adv.parse("((1/3 + (1-rho)))**40")
    assert repr(surrogate) == "<polynomial of degree 40>"
    assert surrogate.derivative(0.25) == pytest.approx(-40 * (1 / 3 + 0.75) ** 39, rel=1e-13)
    assert repr(adv.parse("7**100*rho")) == "3.234476509624758e+84*rho"


def test_no_unbiased_table_names_the_term():
    with pytest.raises(AdvshapeError, match=r"derivative of 0\.1\*entropy\(rho\) is no polynomial"):
        adv.unbiased(adv.parse("1-(1-rho)**8 + 0.1*entropy(rho)"))


def test_parameters():
    assert adv.parse("a1*rho**2", a1=Fraction(1, 3)).bernstein(1).tolist() == [0.0, 2 / 3]
    assert adv.parse("lam*rho", lam=0.1) == adv.parse("rho/10")
    assert adv.parse("lam*rho", lam=np.float32(0.5)) == adv.parse("rho/2")
    for bad in ({"lam": np.inf}, {"lam": True}, {"lam": "1"}, {"lam": 1, "mu": 2}, {"lam": 1, "rho": 2}, {}):
        with pytest.raises(AdvshapeError):
            adv.parse("lam*rho", **bad)
    with pytest.raises(AdvshapeError, match="taken or no plain name"):
        adv.parse("x*rho", x=1, __class__=1)


def test_tables_follow_the_class():
    typed, named = adv.parse("1-(1-rho)**200"), adv.PassAtK(200)
    np.testing.assert_allclose(typed.bernstein(299), named.bernstein(299), rtol=1e-11, atol=1e-300)
    assert typed.bernstein(100) is None
    plug = adv.plug_in(adv.parse("grpo()")).table(16)
    np.testing.assert_allclose(plug.positive, adv.estimator("grpo").table(16).positive, rtol=1e-14)
