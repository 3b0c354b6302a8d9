"""Properties: reverse(forward(F)) = F where unbiased, forward(reverse(table)) gives the weights back, random groups."""

from fractions import Fraction
from itertools import product
from math import comb

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import advshape as adv

RHO = np.linspace(0, 1, 9)
ratios = st.fractions(min_value=-4, max_value=4, max_denominator=12)
polynomials = st.lists(ratios, min_size=1, max_size=6)  # F = sum_i c_i rho^(i+1)
baselines = st.sampled_from(["zero", "leave_one_out", "centered"]) | st.builds(
    adv.Beta, st.floats(0.05, 4), st.floats(0.05, 4)
)
tables = st.integers(1, 6).flatmap(lambda n: st.tuples(*[st.lists(ratios, min_size=n + 1, max_size=n + 1)] * 2))


def typed(coefficients):
    """The polynomial as a formula; every other term in a form of its own, which must not matter."""
    return " + ".join(
        f"({c})*rho**{i + 1}" if i % 2 else f"({c})*(1-(1-rho))**{i}*rho" for i, c in enumerate(coefficients)
    )


def slope(coefficients, rho):
    return sum(float(c) * (i + 1) * rho**i for i, c in enumerate(coefficients))


@settings(deadline=None, max_examples=15)
@given(polynomials, st.integers(0, 5), baselines)
def test_reverse_of_forward_is_the_objective(coefficients, more, baseline):
    """Any polynomial, any baseline, any n that is large enough; F' by powers of rho, not by Bernstein coefficients."""
    F = adv.parse(typed(coefficients))
    rule = adv.unbiased(F, baseline)
    n = max(rule.smallest_n, 1) + more
    found = adv.reverse(rule, n)
    size = max(1.0, *(abs(float(c)) for c in coefficients)) * 64  # cancellation between powers
    np.testing.assert_allclose(found.surrogate.derivative(RHO), slope(coefficients, RHO), atol=1e-13 * size)
    values = sum(float(c) * RHO ** (i + 1) for i, c in enumerate(coefficients))
    np.testing.assert_allclose(found.surrogate.value(RHO), values, atol=1e-13 * size)


@settings(deadline=None, max_examples=60)
@given(tables, baselines)
def test_forward_of_reverse_gives_the_weights_back(vectors, baseline):
    """The surrogate of any table, built again with any baseline: another table of the same weights."""
    table = adv.AdvantageTable(*(np.array([float(x) for x in vector]) for vector in vectors))
    rule = adv.unbiased(table.surrogate(), "zero" if table.n == 1 or baseline == "centered" else baseline)
    np.testing.assert_allclose(rule.table(table.n).weight, table.weight, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(tables, st.fractions(0, 1, max_denominator=16))
def test_the_surrogate_of_any_table_is_its_enumerated_mean(vectors, rho):
    """E[(1/n) sum A_i (r_i - rho)] = rho (1-rho) F_n'(rho), over all 2^n groups, in fractions."""
    n, total = len(vectors[0]) - 1, Fraction(0)
    for group in product((0, 1), repeat=n):
        c = sum(group)
        chance = rho**c * (1 - rho) ** (n - c)
        total += chance * sum(vectors[0][c] * (1 - rho) if r else vectors[1][c] * (0 - rho) for r in group) / n
    table = adv.AdvantageTable(*(np.array([float(x) for x in vector]) for vector in vectors))
    seen = float(rho * (1 - rho)) * table.surrogate().derivative(float(rho))
    np.testing.assert_allclose(seen, float(total), atol=1e-13)


@settings(deadline=None, max_examples=30)
@given(polynomials.filter(any), st.integers(0, 3), st.data())
def test_random_groups(coefficients, more, data):
    """The table as a black box on random groups, sizes and orders: `reverse` of `advantages` finds the same weights."""
    F = adv.parse(typed(coefficients))
    rule = adv.unbiased(F, "leave_one_out")
    n = max(rule.smallest_n, 2) + more
    groups = np.array(
        data.draw(st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=1, max_size=5)), float
    )
    order = np.array(data.draw(st.permutations(range(n))))
    one = adv.advantages(groups, rule)
    np.testing.assert_array_equal(adv.advantages(groups[:, order], rule), one[:, order])
    weight = [  # in n - 1 trials: the mean of F' over subsets, in fractions
        sum((i + 1) * c * Fraction(comb(j, i), comb(n - 1, i)) for i, c in enumerate(coefficients) if i < n)
        for j in range(n)
    ]
    others = groups.sum(1, keepdims=True) - groups
    want = np.array([float(w) for w in weight])[others.astype(int)] * (groups - others / (n - 1))
    np.testing.assert_allclose(one, want, atol=1e-11)


@settings(deadline=None, max_examples=12)
@given(polynomials.filter(any), st.integers(0, 2))
def test_black_boxes_of_random_polynomials(coefficients, more):
    rule = adv.unbiased(adv.parse(typed(coefficients)), "leave_one_out")
    n = max(rule.smallest_n, 2) + more
    found = adv.reverse(lambda rewards: adv.advantages(rewards, rule), n)
    np.testing.assert_allclose(found.surrogate.weight, rule.table(n).weight, atol=1e-12)
    assert not {"order", "batch", "random", "place"} & {f.kind for f in found.findings}
