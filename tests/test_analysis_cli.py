"""`advshape derive` with typed objectives and comparisons, through the real command line."""

import json

import numpy as np
import pytest

import advshape as adv
from advshape.cli import main


def run(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_formula_gives_the_tables_of_its_class(capsys):
    _, typed, _ = run(capsys, "derive", "1-(1-rho)**4", "-n", 8, "--json")
    _, named, _ = run(capsys, "derive", "PassAtK(k=4)", "-n", 8, "--json")
    typed, named = json.loads(typed), json.loads(named)
    assert typed["positive"] == pytest.approx(named["positive"], abs=1e-12)
    assert typed["kind"] == "unbiased"
    assert typed["spec"]["surrogate"] == "1-(1-rho)**4"


def test_mixed_objective_says_what_it_is(capsys):
    code, out, _ = run(capsys, "derive", "0.5*rho + 0.5*(1-(1-rho)**8) + 0.05*entropy(rho)", "-n", 16)
    assert code == 0
    assert "F' = 0.5 + 4*(1 - rho)**7 + 0.05*log(1 - rho) - 0.05*log(rho)" in out
    assert "F' -> inf as rho -> 0" in out
    assert "F falls for rho in (1 - 4.5e-05, 1)" in out  # 0.5 < 0.05 log(rho/(1-rho)) beyond 1 - e^-10
    assert "derivative of 0.05*entropy(rho) is no polynomial" in out  # why no unbiased table exists


def test_too_much_entropy_is_a_finding(capsys):
    _, out, _ = run(capsys, "derive", "rho + 2*entropy(rho)", "-n", 8)
    assert "- F falls for rho in (0.6225, 1)" in out  # logit(0.6225) = 1/2


def test_against_judges_all_by_one_objective(capsys):
    code, out, _ = run(capsys, "derive", "grpo() + 0*rho", "-n", 8, "--against", "grpo, beta_family(a=0.5, b=0.5),rloo")
    assert code == 0
    lines = [line.split() for line in out.split("Each judged by the same objective")[1].splitlines()]
    rows = {line[0]: line for line in lines[2:6]}
    assert {"grpo", "rloo", "beta_family(a=0.5,"} <= set(rows)
    assert rows["grpo"][2:] == rows["beta_family(a=0.5,"][3:]


def test_against_as_json_and_scaled(capsys):
    _, out, _ = run(capsys, "derive", "pass_at_k(k=4)", "--against", "grpo", "--scale", "rms", "--json")
    rows = json.loads(out)["compared"]
    assert [row["name"] for row in rows] == ["pass_at_k(k=4)", "grpo"]
    assert rows[0]["rms_bias"] < 1e-12


@pytest.mark.parametrize("objective", ["rho.__class__", "eval('1')", "max(rho, 0.5)", "1/(rho-0.5)", "lam*rho"])
def test_bad_formulas_end_with_usage(capsys, objective):
    code, out, err = run(capsys, "derive", objective)
    assert code == 2
    assert out == ""
    assert err.startswith("advshape: ")


def test_unknown_rival_is_named(capsys):
    code, _, err = run(capsys, "derive", "rho", "--against", "gpro")
    assert code == 2
    assert "'grpo'" in err


@pytest.mark.parametrize(("name", "starts"), [("plot.png", b"\x89PNG"), ("plot.html", b"<!doctype html>")])
def test_plot_is_written(capsys, tmp_path, name, starts):
    pytest.importorskip("plotly" if name.endswith("html") else "matplotlib")
    code, _, err = run(capsys, "derive", "1-(1-rho)**4", "-n", 8, "--plot", tmp_path / name)
    assert code == 0
    assert name in err
    assert (tmp_path / name).read_bytes().startswith(starts)


def test_plot_shows_the_table(capsys, tmp_path):
    from advshape.report.derivation import derivation

    objective, slope, advantages, eta = derivation(adv.estimator("pass_at_k", k=4), 8)
    for panel in (objective, slope):  # unbiased: what is optimised lies on the objective
        (x_n, finite), (x, aim) = panel.lines.values()
        np.testing.assert_allclose(np.interp(x, x_n, finite), aim, atol=1e-4)  # lines between 401 points
    assert advantages.lines["A+ (right)"][1][0] == pytest.approx(4)
    assert eta.lines["eta"][1][0] == 0
    code, _, err = run(capsys, "derive", "rho", "--plot", tmp_path / "plot.jpeg")
    assert code == 2
    assert ".png or .html" in err
