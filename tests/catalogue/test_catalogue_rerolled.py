"""Dynamic sampling (DAPO, arXiv:2503.14476): dropping dead groups, drawing them anew; enumeration in fractions."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from scipy.integrate import simpson

import advshape as adv
from advshape.objectives.weighted import Rerolled

RHO = [Fraction(1, 50), Fraction(1, 3), Fraction(9, 10)]
NAMES = ["grpo", "rloo", "nsr", "pkpo_loo(k=2)", "pass_at_k(k=2)", "maxrl", "rejection"]


def steps(table, rho):
    """(probability, is mixed, (1/n) sum_i A_i d log p / d rho) of every group, in fractions."""
    plus, minus = ([Fraction(float(x)) for x in v] for v in (table.positive, table.negative))
    for r in product([0, 1], repeat=table.n):
        c = sum(r)
        score = sum((plus[c] if x else minus[c]) * (x - rho) for x in r) / (table.n * rho * (1 - rho))
        yield rho**c * (1 - rho) ** (table.n - c), 0 < c < table.n, score


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [4, 6])
def test_a_group_drawn_until_it_is_mixed(name, n):
    """E[step | mixed]: what the first mixed group of independent tries brings."""
    table = adv.estimator(name).table(n)
    for rho in RHO:
        mixed = [(p, g) for p, alive, g in steps(table, rho) if alive]
        expected = sum(p * g for p, g in mixed) / sum(p for p, _ in mixed)
        found = table.rerolled().derivative(float(rho))
        assert found == pytest.approx(float(expected), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_dropping_only_rescales_the_batch(name):
    """Three prompts, the batch a mean over its mixed groups: each prompt's expected step is its own F_n' times the mean
    of 1 / (1 + mixed groups of the others), whatever its rule."""
    table = adv.estimator(name).table(4)
    alone = [list(steps(table, rho)) for rho in RHO]
    alive = [sum(p for p, mixed, _ in prompt if mixed) for prompt in alone]
    for me in range(3):
        a, b = (alive[i] for i in range(3) if i != me)
        scale = (1 - a) * (1 - b) + (a * (1 - b) + b * (1 - a)) / 2 + a * b / 3
        expected = Fraction(0)
        others = [alone[i] for i in range(3) if i != me]
        for p, mixed, g in alone[me]:
            for (q, second, _), (s, third, _) in product(*([(x, m, None) for x, m in collapsed(o)] for o in others)):
                expected += p * q * s * g / (1 + second + third) if mixed else 0
        slope = table.without_dead_groups().surrogate().derivative(float(RHO[me]))
        assert float(expected) == pytest.approx(float(scale) * slope, rel=1e-10, abs=1e-12)


def collapsed(prompt):
    """(probability, mixed?) of a prompt's group."""
    alive = sum(p for p, mixed, _ in prompt if mixed)
    return [(alive, True), (1 - alive, False)]


def test_dropping_changes_nothing_where_dead_groups_are_silent():
    for name in ("grpo", "rloo", "pass_at_k(k=2)", "maxrl"):
        table = adv.estimator(name).table(5)
        np.testing.assert_array_equal(table.without_dead_groups().weight, table.weight)
    nsr = adv.estimator("nsr").table(4)
    assert nsr.without_dead_groups().negative[0] == 0
    assert nsr.negative[0] == -1
    assert (
        nsr.without_dead_groups().surrogate().derivative(0.0) == 0
    )  # NSR behind a filter: no pull on unsolved prompts


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [2, 3, 16, 64])
def test_value_is_the_integral(name, n):
    if n < adv.estimator(name).smallest_n:
        pytest.skip(f"{name} needs n >= {adv.estimator(name).smallest_n}")
    surrogate = adv.estimator(name).table(n).rerolled()
    assert surrogate.value(0.5) == pytest.approx(0, abs=1e-14)
    for rho in (1e-4, 0.2, 0.97):
        t = np.linspace(0.0, np.log(rho / (1 - rho)), 8001)  # the log-odds: d rho = rho (1 - rho) dt
        inside = 1 / (1 + np.exp(-t))
        area = simpson(surrogate.derivative(inside) * inside * (1 - inside), x=t)
        assert surrogate.value(rho) == pytest.approx(area, rel=1e-8, abs=1e-9)
    values = surrogate.value(np.array([[0.1, 0.5], [0.7, 0.9]]))
    assert values.shape == (2, 2)
    assert values[1, 0] == pytest.approx(float(surrogate.value(0.7)))


def test_closed_form_at_two_rollouts_and_ends():
    """n = 2: every centred rule is RLOO, and re-rolled it maximises half the log-odds."""
    rho = np.array([0.01, 0.3, 0.8])
    found = adv.estimator("rloo").table(2).rerolled()
    np.testing.assert_allclose(found.value(rho), np.log(rho / (1 - rho)) / 2, rtol=1e-12)
    assert list(found.derivative([0.0, 1.0])) == [np.inf, np.inf]
    assert list(found.value([0.0, 1.0])) == [-np.inf, np.inf]
    solved = adv.estimator("pass_at_k(k=2)").table(3).rerolled()  # silent on the last mixed count: finite at rho = 1
    assert solved.derivative(1.0) == pytest.approx(float(solved.derivative(1 - 1e-7)), rel=1e-5)
    assert np.isfinite(solved.value(1.0))


def test_what_it_is_not():
    assert adv.estimator("grpo").table(4).rerolled().degree is None
    with pytest.raises(adv.AdvshapeError, match="no unbiased table"):
        adv.unbiased(adv.estimator("grpo").table(4).rerolled())
    with pytest.raises(adv.AdvshapeError, match="n >= 2"):
        adv.estimator("psr").table(1).rerolled()
    with pytest.raises(adv.AdvshapeError, match="never mixed"):
        Rerolled((1.0,))
