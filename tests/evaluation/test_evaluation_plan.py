"""Plans: parity with simulation and with a table, reductions, the floor, the command."""

import json

import numpy as np
import pytest
from scipy.special import expit, logit

from advshape.cli import main
from advshape.errors import AdvshapeError
from advshape.evaluation.stats.counts import Counts
from advshape.evaluation.stats.extrapolate import RateModel
from advshape.evaluation.stats.power import SimulatedPower, alternative, fit_change, power
from advshape.evaluation.stats.sample_size import make_plan
from advshape.evaluation.stats.significance import sign_flip_test
from advshape.passk import pass_at_k

RATES = RateModel(0.4, 0.8, 0.2)


def pairs(plan, n, prompts, rng):
    """Counts of two simulated runs, (2, prompts)."""
    rho = rng.beta(plan.rates.a, plan.rates.b, prompts)
    solvable = rng.random(prompts) >= plan.rates.never
    after = expit(logit(rho) + plan.shift + plan.spread * rng.standard_normal(prompts))
    return rng.binomial(n, np.stack([rho, after]) * solvable)


def test_difference_and_variance_are_those_of_simulated_runs():
    """Four standard errors of 200,000 prompts: 0.004 for the mean, 1 % for the standard deviation."""
    plan = make_plan(RATES, 0.06, 4, ns=[8, 32], spread=0.8)
    for row in plan.rows[:-1]:
        correct = pairs(plan, row.n, 200_000, np.random.default_rng(row.n))
        first, second = pass_at_k(np.arange(row.n + 1), row.n, 4)[correct]
        assert (second - first).mean() == pytest.approx(0.06, abs=0.004)
        assert (second - first).std() == pytest.approx(row.spread, rel=0.01)


@pytest.mark.parametrize(("rates", "difference"), [(RATES, 0.06), (RateModel(3, 0.6), -0.05)])
def test_power_is_that_of_the_sign_flip_test(rates, difference):
    """1,500 simulated pairs, standard error 1 point; the plan is to hold within 3. The second is carried by few."""
    plan = make_plan(rates, difference, 4, ns=[16], spread=0.8)
    prompts = plan.rows[0].prompts
    table, rng, found = pass_at_k(np.arange(17), 16, 4), np.random.default_rng(0), 0
    for i in range(1500):
        first, second = table[pairs(plan, 16, prompts, rng)]
        found += sign_flip_test((second - first)[:, None], permutations=999, seed=i)[0] <= 0.05
    tested = SimulatedPower(alternative(rates, plan.shift, 0.8), 16, 4, prompts)
    assert found / 1500 == pytest.approx(tested.at(prompts), abs=0.03)
    assert tested.at(prompts) == pytest.approx(0.8, abs=0.03)


def test_few_large_differences_need_fewer_prompts_than_the_normal_approximation_says():
    plan = make_plan(RateModel(3, 0.6), -0.05, 8, ns=[64])
    assert power(0.05 / plan.rows[0].spread, plan.rows[0].prompts) < 0.5


def test_power_formula():
    """Cohen 1988, table 2.3: a one-sample t-test of effect 0.5 at 5 % needs 34 observations for power 0.8."""
    assert power(0.5, 34) >= 0.8 > power(0.5, 33)
    assert power(0, 50, 0.1) == pytest.approx(0.1)
    assert power(-0.3, 40) == power(0.3, 40)


def test_more_rollouts_approach_the_floor():
    plan = make_plan(RATES, 0.05, 8, ns=[8, 16, 64, 512], given=100)
    needed = [row.prompts for row in plan.rows]
    assert needed == sorted(needed, reverse=True)
    assert plan.rows[-1].n is None
    assert plan.rows[-2].prompts < 1.1 * plan.rows[-1].prompts
    assert plan.cheapest.rollouts == min(row.rollouts for row in plan.rows[:-1])
    assert plan.rows[0].detectable > plan.rows[-1].detectable


def test_alike_prompts_have_no_floor():
    """Reduction: all rates .5, no spread: V = 0 and at k = 1 the variance is 2 rho (1 - rho) / n."""
    plan = make_plan(RateModel(1e5, 1e5), 0.001, 1, ns=[10, 1000], spread=0)
    assert plan.rows[0].spread ** 2 == pytest.approx(0.5 / 10, rel=1e-3)
    assert plan.rows[-1].spread < 1e-4


def test_a_second_log_measures_the_change():
    rng = np.random.default_rng(1)
    plan = make_plan(RateModel(0.5, 0.8), 0.05, 1, spread=1.3)
    correct = pairs(plan, 64, 600, rng)
    first, second = (Counts.of(map(str, range(600)), c, [64] * 600) for c in correct)
    shift, spread = fit_change(first, second, plan.rates)
    assert shift == pytest.approx(plan.shift, abs=0.25)
    assert spread == pytest.approx(1.3, abs=0.2)


def test_rates_that_touch_the_ends():
    found = alternative(RateModel(0.02, 0.02, 0.5), 0.3, 1.0)
    assert np.isfinite([found.gain(8), found.between(8), found.within(16, 8)]).all()
    assert found.weight.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "either --from LOG"),
        (["--prior", "1"], "takes A,B"),
        (["--prior", "1,x"], "takes A,B"),
        (["--prior", "0,1"], "A > 0"),
        (["--prior", ".3,.6", "--difference", "0.5"], "cannot change by"),
        (["--prior", ".3,.6", "--difference", "0"], "is not 0"),
        (["--prior", ".3,.6", "-n", "4"], "n >= 8"),
        (["--prior", ".3,.6", "--power", "0.01"], "level < power"),
        (["--prior", ".3,.6", "--spread", "-1"], "between 0 and 10"),
        (["--prior", ".3,.6", "--prompts", "1"], "2 or more"),
        (["--from", "nowhere"], "there is no run directory"),
        (["--from", "a", "b", "c"], "one log, or two"),
    ],
)
def test_mistakes_at_the_command_exit_with_2(capsys, words, message):
    assert main(["plan", "--difference", "0.03", "-k", "8", *words]) == 2
    assert message in capsys.readouterr().err


def test_command(tmp_path, capsys):
    assert main(["plan", "--prior", ".3,.6", "--difference", "0.05", "-k", "8", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["spread"] == 1
    assert [row["n"] for row in data["rows"]] == [8, 16, 32, 64, 128, 256, None]
    rng = np.random.default_rng(0)
    names = []
    for name in ("one", "two"):
        names.append(str(tmp_path / f"{name}.csv"))
        rows = [f"p{i},16,{c}" for i, c in enumerate(rng.binomial(16, np.linspace(0.01, 0.9, 50)))]
        (tmp_path / f"{name}.csv").write_text("\n".join(["prompt,n,correct", *rows]))
    assert main(["plan", "--from", *names, "--difference", "0.03", "-k", "8"]) == 0
    out = capsys.readouterr().out
    for part in (
        "fitted to 50 prompts",
        "from the first to the second log",
        "found with 50 prompts",
        "no end",
        "floor",
    ):
        assert part in out


def test_mistakes_in_python():
    with pytest.raises(AdvshapeError, match="same prompts"):
        fit_change(Counts.of("ab", [1, 1], [2, 2]), Counts.of("ba", [1, 1], [2, 2]), RATES)
