"""Regularisation: the published decompositions in closed form, shapes by second differences, falls by root finding."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import beta

import advshape as adv
from advshape.errors import AdvshapeError
from advshape.objectives.regularize import KL, Deviation, falling, regularization, warning

RHO = np.linspace(0.02, 0.98, 25)


@pytest.mark.parametrize(
    ("objective", "base", "scale", "name"),
    [
        (adv.SkewR(), adv.GRPO(), 0.5, "1 * Deviation()"),  # arXiv:2510.23049, section 6
        (adv.SkewR(0.3), adv.GRPO(), 0.85, "0.3 * Deviation()"),
        (adv.Identity() + 0.1 * adv.Entropy(), adv.Identity(), 1, "0.1 * Entropy()"),
        (adv.PassAtK(2), adv.Identity(), 1, "1 * Variance()"),  # 2 rho - rho^2 = rho + rho (1 - rho)
        (adv.Identity() - 0.2 * KL(0.5), adv.Identity(), 1, "0.2 * Entropy()"),  # KL(1/2) = log 2 - entropy
        (adv.estimator("prioritized_rloo").surrogate, adv.Identity(), 0.5, "0.5 * Variance()"),
        (adv.parse("rho + 0.1*entropy(rho)"), adv.Identity(), 1, "0.1 * Entropy()"),
    ],
    ids=str,
)
def test_named_regularisers(objective, base, scale, name):
    found = regularization(objective, base)
    assert found.scale == pytest.approx(scale, rel=1e-12)
    assert found.name == name
    assert found.concave
    assert not found.bends_up
    rest = objective.value(RHO) - scale * base.value(RHO)
    np.testing.assert_allclose(found.omega.value(RHO), rest, atol=1e-14)
    assert name in str(found)


def test_a_base_is_found_in_the_objectives_own_form():
    for objective, base in [
        (adv.SkewR(0.4), "GRPO()"),
        (adv.Focal(2.0), "GRPO()"),
        (adv.PassAtK(4) + 0.1 * adv.Entropy() - 0.2 * KL(0.3), "PassAtK(k=4)"),
        (2 * adv.Identity() + adv.Variance(), "2 * Identity()"),
    ]:
        found = regularization(objective)
        assert repr(found.base) == base
        total = found.scale * found.base.value(RHO) + found.omega.value(RHO)
        np.testing.assert_allclose(total, objective.value(RHO), atol=1e-13)
    assert regularization(adv.Identity() - 0.2 * KL(0.3)).scale == 1  # KL differs at the ends: the base stays whole
    for plain in (adv.Identity(), adv.PassAtK(3) + adv.Identity(), adv.Entropy()):
        with pytest.raises(AdvshapeError, match="shows no base"):
            regularization(plain)


def test_focal_is_grpo_and_a_rest_that_is_equal_at_both_ends():
    found = regularization(adv.Focal(2.0), adv.GRPO())
    assert found.scale == pytest.approx(beta(0.5, 2.5) / np.pi, rel=1e-12)
    assert found.name is None
    ends = found.omega.value([0.0, 1.0])
    assert ends[0] == pytest.approx(ends[1], abs=1e-12)


def test_shape_agrees_with_second_differences():
    objective = adv.AllOfK(3) + 0.3 * adv.Variance()
    found = regularization(objective, adv.Identity(), scale=1)
    assert not found.concave
    (low, high), h = found.bends_up[0], 1e-3
    second = lambda x: np.diff(found.omega.value(np.array([x - h, x, x + h])), 2)[0]
    assert second(low - 0.01) < 0 < second(low + 0.01)  # rho^3 + 0.3 rho (1-rho) bends at rho = 0.1
    assert low == pytest.approx(0.1, abs=1e-3)
    assert high == 1.0


@pytest.mark.parametrize("strength", [0.2, 1.0, 3.0])
def test_too_much_entropy_falls_where_the_logit_says(strength):
    spans = falling(adv.Identity() + strength * adv.Entropy())
    assert spans == (pytest.approx((1 / (1 + np.exp(-1 / strength)), 1.0), abs=1e-12),)  # logit rho = 1/strength
    assert "pushed down" in warning(spans)


@pytest.mark.parametrize("strength", ["0.064", "0.063", "0.05", "0.04", "0.032"])
@pytest.mark.parametrize("typed", [False, True])
def test_any_amount_of_entropy_falls_over_a_last_stretch_of_about_exp_of_minus_its_inverse(strength, typed):
    amount = float(strength)
    spans = falling(adv.parse(f"rho+{strength}*entropy()") if typed else adv.Identity() + amount * adv.Entropy())
    ((low, high),) = spans
    assert high == 1.0
    assert 1 - low == pytest.approx(np.exp(-1 / amount), rel=1e-5, abs=2.3e-16)  # two spacings of doubles next to 1
    assert f"(1 - {1 - low:.2g}, 1)" in warning(spans)
    mirrored = falling(adv.Identity() - amount * adv.Entropy())  # falls after rho = 0, which doubles resolve
    assert mirrored == ((0.0, pytest.approx(1 / (1 + np.exp(1 / amount)), rel=1e-9)),)


@pytest.mark.parametrize("strength", [0.028, 0.02, 0.01, 1e-3])
def test_a_stretch_below_double_precision_is_said(strength):
    spans = falling(adv.Identity() + strength * adv.Entropy())
    assert spans == ((pytest.approx(1.0, abs=2e-15), 1.0),)
    assert "in a part of it too short for double precision" in warning(spans)
    assert "too short" not in warning(falling(adv.Identity() + 0.05 * adv.Entropy()))


@pytest.mark.parametrize("size", [1e-300, 1e-14, 1.0, 1e14])
def test_falls_do_not_depend_on_the_size_of_the_objective(size):
    mixed = size * adv.Identity() + size * adv.Entropy()
    assert falling(mixed) == ((pytest.approx(1 / (1 + np.exp(-1)), abs=1e-12), 1.0),)
    assert regularization(mixed, adv.Identity(), scale=size).concave
    assert not regularization(size * adv.AllOfK(3) + size * adv.Identity(), adv.Identity(), scale=size).concave
    for rising in (
        adv.Identity(),
        adv.GRPO(),
        adv.SkewR(),
        adv.Focal(2.0),
        adv.PassAtK(500),
        adv.LogLikelihood(),
        0.5 * adv.GRPO() + Deviation(),
        adv.parse("(rho-1/2)**3"),
        adv.LogLikelihood() - adv.Identity(),
        adv.Identity() + adv.Variance(),
        adv.GRPO() + 0.5 * adv.Entropy(),
    ):
        assert falling(size * rising) == ()


def test_nothing_added_is_said():
    for objective, base in [
        (adv.Identity(), adv.Identity()),
        (2 * adv.PassAtK(3), adv.PassAtK(3)),
        (adv.GRPO(), adv.parse("2*arcsin(sqrt(rho))")),
    ]:
        found = regularization(objective, base)
        assert str(found).endswith(": nothing is added to it")
        assert (found.name, repr(found.omega), found.concave) == ("0", "0", True)
        assert found.omega.value([0.2, 0.9]).tolist() == [0.0, 0.0]
    falls = regularization(adv.Entropy(), adv.Entropy())
    assert "nothing is added" in str(falls)
    assert "F falls" in str(falls)


def test_falls_in_the_middle_and_nowhere():
    bump = adv.parse("rho + 16*rho**2*(1-rho)**2*(1-2*rho)")
    (low, high), slope = falling(bump)[0], lambda x: float(bump.derivative(x))
    assert len(falling(bump)) == 1
    assert low == pytest.approx(brentq(slope, low - 0.05, low + 0.05, xtol=1e-14), abs=1e-10)
    assert high == pytest.approx(brentq(slope, high - 0.05, high + 0.05, xtol=1e-14), abs=1e-10)
    for rising in (adv.Identity(), adv.PassAtK(8), adv.GRPO(), adv.LogLikelihood(), adv.SkewR(), adv.AllOfK(9)):
        assert falling(rising) == ()


@pytest.mark.parametrize("omega", [KL(0.3), Deviation()], ids=str)
def test_new_surrogates_by_finite_differences(omega):
    h = 1e-6
    slope = (omega.value(RHO + h) - omega.value(RHO - h)) / (2 * h)
    np.testing.assert_allclose(omega.derivative(RHO), slope, rtol=1e-6, atol=1e-8)  # h^2 F'''/6, rounding 1e-16/h
    typed = adv.parse(repr(omega))
    np.testing.assert_allclose(typed.value(RHO), omega.value(RHO), rtol=1e-12, atol=1e-15)


def test_kl_by_its_definition():
    t, x = 0.3, 0.8
    assert KL(t).value(x) == pytest.approx(x * np.log(x / t) + (1 - x) * np.log((1 - x) / (1 - t)), rel=1e-14)
    with pytest.raises(AdvshapeError, match="between 0 and 1"):
        KL(1.0)


def test_regularised_tables_are_sums_of_tables():
    n, whole = 12, adv.plug_in(adv.PassAtK(4) + 0.3 * adv.Entropy()).table(12)
    parts = adv.plug_in(adv.PassAtK(4)).table(n), adv.plug_in(adv.Entropy()).table(n)
    np.testing.assert_allclose(whole.positive, parts[0].positive + 0.3 * parts[1].positive, atol=1e-14)
