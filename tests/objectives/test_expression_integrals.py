"""F' back to F: every closed form against adaptive quadrature; what has none stays None."""

import contextlib
import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

import advshape as adv
from advshape.objectives.expression.integrate import antiderivative
from advshape.objectives.integrated import closed_form

ZERO = adv.parse("0")
RHO = np.array([0.03, 0.2, 0.5, 0.77, 0.96])


def found(slope):
    return closed_form(adv.parse(slope), ZERO)


ELEMENTARY = [
    "sqrt((1-rho)/rho) + sqrt(rho/(1-rho))",
    "(1-rho)**2/sqrt(rho*(1-rho))",
    "sqrt(rho*(1-rho))",
    "rho**-1.5*(1-rho)**-1.5",
    "rho**1.5*(1-rho)**-2.5",
    "rho**0.5*(1-rho)**-1.5",
    "1/(rho*(1-rho))",
    "1/(rho**2*(1-rho)**3)",
    "rho**4/(1-rho)**2",
    "1/(rho*sqrt(1-rho))",
    "sqrt(rho)/(1-rho)",
    "(1-rho)**1.5/rho",
    "rho**-2*(1-rho)**-1.5",
    "(1-rho)**-1*rho**-2.5",
    "rho**0.3*(1-rho)**2",
    "rho**3*(1-rho)**-0.7",
    "1 + 0.3*log((1-rho)/rho)",
    "rho**2*log(rho) + (1-rho)*log(1-rho)",
    "log(rho)/rho",
    "log(rho)/rho**2",
    "log(rho)/(1-rho)**2",
    "sqrt(rho)*log(rho)",
    "entropy(rho)",
    "rho*entropy(rho) + 3",
    "log(rho*(1-rho)**2)",
    "exp(-3*rho)*rho**2",
    "exp(2)/(1+rho*(exp(2)-1))",
    "rho/(1+2*rho)**2 + 1/(2-rho)",
    "rho**2*sqrt(3-rho)",
    "rho/sqrt(4-4*rho+rho**2)",
    "(1-2*rho)/sqrt(1+rho*(1-rho))",
    "(2*rho+1)/(rho**2+rho+1)",
    "(2*rho-3)/(rho**2-3*rho+4)",
    "8*(1-rho)**7 + 0.5",
]
NAMED = ["rho**(1/3)*(1-rho)**(2/3)", "rho**(-4/3)*(1-rho)**(2/3)", "rho**5.5*(1-rho)**3.5", "(1-rho)**-2.2*rho**0.4"]
NONE = [
    "log(1-rho)/rho",
    "exp(rho**2)",
    "1/(1+rho**2)",
    "arcsin(rho)",
    "exp(rho)*log(rho)",
    "log(1+rho)",
    "rho**-0.3/(1-rho)",
]


@pytest.mark.parametrize("slope", ELEMENTARY + NAMED)
def test_against_quadrature(slope):
    """scipy's adaptive quadrature between five points, of numpy's own evaluation of the typed text."""
    F, numpy = found(slope), {**vars(np), "entropy": lambda p: -p * np.log(p) - (1 - p) * np.log(1 - p)}
    assert F is not None
    assert ("beta(" in repr(F)) == (slope in NAMED)
    for low, high in itertools.pairwise(RHO):
        want = quad(lambda rho: eval(slope, numpy, {"rho": rho}), low, high, epsabs=1e-12, epsrel=1e-12)[0]
        assert F.value(high) - F.value(low) == pytest.approx(want, rel=1e-9, abs=1e-11)
    assert abs(F.value(0.0)) < 1e-14 or np.isinf(F.value(0.0))


@pytest.mark.parametrize("slope", NONE)
def test_what_has_none_is_not_guessed(slope):
    assert found(slope) is None


@pytest.mark.parametrize(
    ("positive", "negative", "closed"),
    [
        ("sqrt((1-rho)/rho)", "-sqrt(rho/(1-rho))", "2*arcsin(sqrt(rho))"),
        ("(1-rho)*sqrt((1-rho)/rho)", "-(1-rho)*sqrt(rho/(1-rho))", "arcsin(sqrt(rho)) + sqrt(rho)*sqrt(1 - rho)"),
        ("1/rho-1", "-1", "log(rho)"),
        ("1/rho", "-1/(1-rho)", "log(rho) - log(1 - rho)"),
        ("8*(1-rho)**8", "-8*(1-rho)**7*rho", "1 - (1 - rho)**8"),
        ("(1-rho)*(1+0.3*log((1-rho)/rho))", "-rho*(1+0.3*log((1-rho)/rho))", "rho + 0.3*entropy(rho)"),
        ("(1-rho)**1.3*sqrt((1-rho)/rho)", "-(1-rho)**1.3*sqrt(rho/(1-rho))", "beta(0.5, 1.8, rho)"),
    ],
)
def test_the_papers_pairs(positive, negative, closed):
    """arXiv:2510.23049: the surrogates of GRPO, skew-R, MaxRL, log-odds, Pass@K, entropy-regularised, focal GRPO."""
    assert repr(closed_form(adv.parse(positive), adv.parse(negative))) == closed


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(-9, 9), st.integers(-7, 9), st.integers(-7, 9)), min_size=1, max_size=3),
    st.sampled_from([1, 2]),
)
def test_random_powers_come_back(terms, half):
    """Property: sums of c rho^(a/h) (1-rho)^(b/h) have a closed form, whose central difference is the sum."""
    slope = " + ".join(f"({c})*rho**({a}/{half})*(1-rho)**({b}/{half})" for c, a, b in terms)
    F, h, rho = found(slope), 1e-4, np.linspace(0.2, 0.8, 7)
    assert F is not None
    near = [F.value(rho + step * h) for step in (-2, -1, 1, 2)]
    want = sum(c * rho ** (a / half) * (1 - rho) ** (b / half) for c, a, b in terms)
    size = 1 + max(abs(c) for c, _, _ in terms) * 0.2**-8  # F''''' h^4 / 30 and rounding 1e-16 / h of terms this large
    np.testing.assert_allclose((near[0] - 8 * near[1] + 8 * near[2] - near[3]) / (12 * h), want, atol=1e-9 * size)


@pytest.mark.parametrize(
    "slope",
    [
        "rho**-30*(1-rho)**-30",
        "(1-rho)**500/sqrt(rho)",
        "rho**200*log(rho)",
        "rho**300*exp(-rho)",
        "(1-rho)**-40.5*rho**-20.5",
        "rho**60*sqrt(2-rho)",
        "pass_at(500)*log(1-rho)",
        "entropy(rho)**9",
        "log(rho)**60",
        "1/(1+rho)**200",
    ],
)
def test_large_exponents_end_soon(slope):
    """Security: a formula within the parser's limits costs no more than seconds, found or not."""
    node, start = adv.parse(slope).node, time.process_time()
    with contextlib.suppress(adv.AdvshapeError):  # numbers too large to stay exact: the quadrature serves
        antiderivative(node)
    assert time.process_time() - start < 2
