"""The formula that a surrogate shows is the surrogate: typed again, it has the same F, up to a constant, and F'."""

import inspect

import mpmath
import numpy as np
import pytest

import advshape as adv
from advshape.objectives import elementary, literature, regularize, weighted
from advshape.objectives.surrogate import Algebra, spell

RHO = np.linspace(0.02, 0.98, 25)
SURROGATES = [
    adv.Identity(),
    adv.PassAtK(1),
    adv.PassAtK(8),
    adv.AllOfK(1),
    adv.AllOfK(3),
    adv.GRPO(),
    adv.LogLikelihood(),
    adv.LogLikelihood(5),
    adv.SkewR(),
    adv.SkewR(0.4),
    adv.Entropy(),
    adv.Variance(),
    adv.Deviation(),
    adv.KL(0.3),
    adv.BetaFamily(0.7, 1.9),
    adv.Focal(2.0),
    adv.Focal(0.5),
    adv.GRPOJoint(3),
    adv.GRPOJoint(4),
    adv.LogOdds(),
    adv.RiskSensitive(2.0),
    adv.RiskSensitive(-1.3),
    adv.MajorityOfK(1),
    adv.MajorityOfK(5),
    literature.GRPOTimesPassAtK(1),
    literature.GRPOTimesPassAtK(3),
    literature.PassAtKCombination(3),
    weighted.SqrtR(),
    weighted.GaussianGRPO(0.4, 0.2),
    weighted.LeadGRPO(0.4, 1.5, 0.75, 10.0),
    2 * adv.PassAtK(3) - 0.5 * adv.Entropy(),
    0.1 * adv.Identity() - adv.KL(0.3),
]


@pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)
def test_formula_and_slope_can_be_typed(surrogate):
    """Tolerance: F' reaches 75 at these rates, in doubles with a few rounding errors."""
    slope = adv.parse(surrogate.slope)
    np.testing.assert_allclose(slope.value(RHO), surrogate.derivative(RHO), rtol=1e-12, atol=1e-14)
    if surrogate.formula == f"the integral of {surrogate.slope}":
        return
    typed = adv.parse(surrogate.formula)
    assert np.ptp(typed.value(RHO) - surrogate.value(RHO)) < 1e-12
    np.testing.assert_allclose(typed.derivative(RHO), surrogate.derivative(RHO), rtol=1e-11, atol=1e-14)


def test_every_class_is_among_them():
    """Rerolled alone is left out: its F' holds the weights of a table."""
    classes = {
        one
        for module in (elementary, literature, regularize, weighted)
        for _, one in inspect.getmembers(module, inspect.isclass)
        if issubclass(one, Algebra) and one.__module__ == module.__name__
    }
    assert classes - {type(s) for s in SURROGATES} == {weighted.Rerolled}


def test_spelled_by_name_and_formula():
    assert spell(adv.PassAtK(8)) == "PassAtK(k=8), F = 1 - (1 - rho)**8"
    assert spell(adv.parse("rho + 0.1*entropy(rho)")) == "rho + 0.1*entropy(rho)"  # its name is its formula
    assert spell(adv.estimator("rloo").table(4).surrogate()) == "FiniteSurrogate(n=4)"


@pytest.mark.parametrize("surrogate", [weighted.SqrtR(), weighted.GaussianGRPO(), weighted.GaussianGRPO(0.9, 0.02)])
def test_new_surrogates_against_mpmath(surrogate):
    """Differences of F by 30-digit quadrature of F' as the papers have it."""
    if isinstance(surrogate, weighted.SqrtR):
        slope = lambda x: 1 / (x * mpmath.sqrt(1 - x))
    else:
        center, width = mpmath.mpf(surrogate.center), mpmath.mpf(surrogate.width)
        slope = lambda x: mpmath.exp(-((x - center) ** 2) / (2 * width**2)) / mpmath.sqrt(x * (1 - x))
    with mpmath.workdps(30):
        for low, high in ((1e-6, 0.3), (0.3, 0.85), (0.85, 0.999)):
            cuts = np.linspace(low, high, 12).tolist()
            exact = mpmath.quad(slope, cuts)
            found = surrogate.value(high) - surrogate.value(low)
            assert float(found) == pytest.approx(float(exact), rel=1e-10, abs=1e-13)


def test_gaussian_refuses_what_its_quadrature_would_miss():
    with pytest.raises(adv.AdvshapeError, match=r"width >= 0\.02"):
        weighted.GaussianGRPO(0.5, 0.01)
