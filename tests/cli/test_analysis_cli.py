"""`advshape derive` with typed objectives and comparisons, through the real command line."""

import dataclasses
import json
import time

import numpy as np
import pytest

import advshape as adv
from advshape.catalogue.derivation import derive
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
    rows = {line[0]: line for line in lines if line}
    assert {"grpo", "rloo", "beta_family(a=0.5,"} <= set(rows)
    assert rows["grpo"][2:] == rows["beta_family(a=0.5,"][3:]


def test_against_takes_the_objectives_k(capsys):
    """The k of a name, of a term, or the degree of the polynomial part; a k that is given stays."""
    for objective, k in [
        ("pass_at_k(k=3)", 3),
        ("PassAtK(k=4)", 4),
        ("0.5*rho + 0.5*(1-(1-rho)**5) + entropy(rho)", 5),
        ("AllOfK(k=2)", 2),
    ]:
        code, out, _ = run(
            capsys, "derive", objective, "-n", 8, "--against", "rloo_k, pkpo_loo,rloo_k(k=7),grpo", "--json"
        )
        assert code == 0
        names = [row["name"] for row in json.loads(out)["compared"]][1:]
        assert names == [f"rloo_k(k={k})", f"pkpo_loo(k={k})", "rloo_k(k=7)", "grpo"]


def test_against_may_come_several_times(capsys):
    """Reduction: two options equal one with a comma."""
    _, once, _ = run(capsys, "derive", "PassAtK(k=2)", "-n", 4, "--against", "grpo,rloo_k", "--json")
    _, twice, _ = run(capsys, "derive", "PassAtK(k=2)", "-n", 4, "--against", "grpo", "--against", "rloo_k", "--json")
    assert twice == once
    assert [row["name"] for row in json.loads(twice)["compared"]][1:] == ["grpo", "rloo_k(k=2)"]


def test_against_without_any_k_says_so(capsys):
    code, out, err = run(capsys, "derive", "grpo", "--against", "grpo,rloo_k")
    assert (code, out) == (2, "")
    assert "rloo_k needs a k, and the objective GRPO() has none to take it from; write rloo_k(k=8)" in err
    code, _, err = run(capsys, "derive", "leave_one_out_max", "-n", 4, "--against", "rloo_k")
    assert code == 2
    assert "the objective 'leave_one_out_max' has none" in err


def test_regularisers_are_shown_as_base_and_omega(capsys):
    _, out, _ = run(capsys, "derive", "skew_r", "-n", 8)
    assert (
        "F = 0.5 * GRPO() + Omega, GRPO() = 2*arcsin(sqrt(rho))\nOmega = 1 * Deviation(), concave" in out
    )  # arXiv:2510.23049
    _, out, _ = run(capsys, "derive", "1-(1-rho)**4 + 0.2*entropy(rho)", "-n", 8, "--json")
    found = json.loads(out)["regularisation"]
    assert (found["base"], found["scale"], found["omega"]) == ("(1 - (1 - rho)**4)", 1, "0.2 * Entropy()")
    assert found["concave"]
    (low, high), slope = found["falling"][0], lambda p: 4 * (1 - p) ** 3 + 0.2 * np.log((1 - p) / p)
    assert abs(slope(low)) < 1e-9
    assert high == 1
    _, out, _ = run(capsys, "derive", "PassAtK(k=2)", "-n", 8, "--base", "rloo")
    assert "Omega = 1 * Variance(), concave" in out  # 2 rho - rho^2 = rho + rho (1 - rho)
    _, out, _ = run(capsys, "derive", "AllOfK(k=3)", "-n", 8, "--base", "rho")
    assert "not concave: it bends up for rho in (" in out
    _, out, _ = run(capsys, "derive", "rloo", "-n", 8)
    assert "Regularisation" not in out
    code, _, err = run(capsys, "derive", "rloo", "--base", "glpo")
    assert code == 2
    assert "glpo" in err


def test_the_numbers_are_printed_without_rivals_too(capsys):
    _, out, _ = run(capsys, "derive", "grpo", "-n", 8)
    row = out.split("Each judged by")[1].splitlines()[4].split()
    assert row[0] == "grpo"
    assert f"{np.sqrt(7):.4g}" in row  # F_n'(0)


def test_estimators_without_an_objective_are_derived_too(capsys):
    """Their slope is listed alone: there is nothing to compare it with."""
    code, out, _ = run(capsys, "derive", "leave_one_out_max", "-n", 4, "--against", "grpo")
    assert code == 0
    lines = out.split("it has no named objective:\n")[1].splitlines()
    assert lines[0].split() == ["rho", "F_n'", "second", "moment"]
    assert float(lines[1].split()[1]) == pytest.approx(4 * 0.99**3, abs=1e-4)  # pays a lone right answer only
    assert "Alternatives" not in out
    code, out, _ = run(capsys, "derive", "leave_one_out_max", "-n", 4, "--json")
    assert (code, json.loads(out)["surrogate"], json.loads(out)["alternatives"]) == (0, None, [])


def test_the_objective_is_read_once(monkeypatch):
    """However many parts of a derivation look at it."""
    from advshape.catalogue import derivation

    calls = []
    read = derivation.resolve_objective
    monkeypatch.setattr(derivation, "resolve_objective", lambda *given: calls.append(given) or read(*given))
    found = derive("1-(1-rho)**20 + 0*rho", against="grpo,rloo_k", base="rho")
    assert len(calls) == 1
    assert (found.table.n, found.spec["baseline"]) == (20, "leave_one_out")  # centred needs 21


def test_the_table_of_several_estimators(capsys):
    _, out, _ = run(capsys, "derive", "rho + 0.1*entropy(rho)", "-n", 16, "--against", "grpo,rloo_k(k=4)")
    lines = out.split("share of the gradient spent on prompts with such rho\n")[1].partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["grpo", "rloo_k(k=4)"]
    assert lines[0].split()[0] == "estimator"
    assert lines[3].split()[1] == "unbiased"


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


def test_a_parameter_is_set_and_stays_in_what_is_pasted(capsys):
    code, out, _ = run(capsys, "derive", "rho + lam*entropy(rho)", "--set", "lam=0.1", "-n", 4, "--json")
    assert code == 0
    _, typed, _ = run(capsys, "derive", "rho + 0.1*entropy(rho)", "-n", 4, "--json")
    assert json.loads(out)["positive"] == json.loads(typed)["positive"]
    assert json.loads(out)["spec"]["surrogate"] == "rho + 0.1*entropy(rho)"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rho + lam*entropy(rho)"], "`advshape derive --set lam=0.1`"),
        (["rho + lam*entropy(rho)", "--set", "lan=0.1"], "'lam' at character 7, did you mean 'lan'?"),
        (["rho + lam*rho**2", "--set", "lam"], "write --set NAME=NUMBER, such as --set lam=0.1, got 'lam'"),
        (["rho + lam*rho**2", "--set", "lam=x"], "got 'lam=x'"),
        (["rho + lam*rho**2", "--set", "lam=1", "--set", "lam=2"], "lam is set twice"),
        (["grpo", "--set", "epsilon=0.1"], "write grpo(epsilon=0.1)"),
        (["rho", "-n", "0"], "from 1 to 4096, got n=0"),
        (["rho", "-n", "-3"], "from 1 to 4096, got n=-3"),
    ],
)
def test_what_may_be_set_is_said_in_the_commands_words(capsys, words, said):
    code, out, err = run(capsys, "derive", *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


@pytest.mark.parametrize("words", [["--against", "gpro"], ["--base", "entrpy()"], ["--against", "rloo_k(k=5000)"]])
def test_a_mistyped_name_is_told_before_the_work(capsys, words):
    start = time.process_time()
    code, _, err = run(capsys, "derive", "rho + 0.1*entropy(rho)", "-n", 4096, *words)
    assert code == 2
    assert "did you mean" in err or "needs n >= 5000" in err
    assert time.process_time() - start < 1  # the table and its rivals take 2.5 s and more


@pytest.mark.parametrize(("name", "starts"), [("plot.png", b"\x89PNG"), ("plot.html", b"<!doctype html>")])
def test_plot_is_written(capsys, tmp_path, name, starts):
    pytest.importorskip("plotly" if name.endswith("html") else "matplotlib")
    code, _, err = run(capsys, "derive", "1-(1-rho)**4", "-n", 8, "--plot", tmp_path / name)
    assert code == 0
    assert name in err
    assert (tmp_path / name).read_bytes().startswith(starts)


def test_plot_shows_the_table(capsys, tmp_path):
    from advshape.report.pages.derivation import draw_panels

    objective, slope, advantages, eta = draw_panels(derive("pass_at_k(k=4)", 8))
    for panel in (objective, slope):  # unbiased: what is optimised lies on the objective
        (x_n, finite), (x, aim) = panel.lines.values()
        np.testing.assert_allclose(np.interp(x, x_n, finite), aim, atol=1e-4)  # lines between 401 points
    assert advantages.lines["A+ (right)"][1][0] == pytest.approx(4)
    assert eta.lines["eta"][1][0] == 0
    for file, message in [
        ("plot.jpeg", ".png or .html"),
        ("none/plot.png", "does not exist"),
        (".png", ".png or .html"),
    ]:
        code, out, err = run(capsys, "derive", "rho", "--plot", tmp_path / file)
        assert (code, out) == (2, "")  # before anything is printed
        assert message in err


def test_a_constant_slope_is_drawn_flat():
    """Property: what differs by rounding errors alone is one value, not a picture of these errors."""
    from advshape.report.pages.derivation import draw_panels

    for name, factor in (("rloo", 1.0), ("rloo", 1e-6), ("dr_grpo", 1e5)):
        found = derive(name, 8)
        table = found.table.scaled(factor)
        (finite, _) = draw_panels(dataclasses.replace(found, table=table))[1].lines.values()
        assert np.ptp(finite[1]) == 0
        np.testing.assert_allclose(finite[1], table.weight[0], rtol=1e-11)


def test_plot_draws_the_alternatives_with_their_own_colour_and_marker(capsys, tmp_path):
    """Every rival of --against is in every panel, one name each in the legend, scaled as the printed table is."""
    from advshape.report.pages.derivation import draw_panels

    names = ["grpo", "rloo_k(k=4)", "pkpo_loo(k=4)"]
    code, _, _ = run(
        capsys, "derive", "1-(1-rho)**4", "-n", 8, "--against", "grpo,rloo_k,pkpo_loo", "--plot", tmp_path / "plot.html"
    )
    assert code == 0
    page = (tmp_path / "plot.html").read_text()
    charts = json.loads(page.partition('id="payload">')[2].partition("</script>")[0])["charts"]
    assert [chart["name"] for chart in charts] == ["F", "F-slope", "advantage", "eta"]
    for chart in charts:
        shown = [line["name"] for line in chart["data"] if line["showlegend"]]
        assert shown[1:4] == names
        assert len(shown) == 4 + chart["name"].startswith("F")  # the objective itself too
        assert len({line["line"]["color"] for line in chart["data"]}) == len(shown)
        assert len({line["marker"]["symbol"] for line in chart["data"] if line["name"] in names}) >= 3
        assert chart["data"][1]["x"][0] == chart["table"]["rows"][len(chart["data"][0]["x"])][1]  # CSV: line by line
    for scale in ("none", "rms"):
        panels = draw_panels(derive("1-(1-rho)**4", 8, against=",".join(names), scale=scale))
        for name in names:
            table = adv.estimator(name).table(8)
            factor = 1 if scale == "none" else 1 / table.rms(adv.Beta(0.5, 1.0))
            np.testing.assert_allclose(panels[2].lines[f"{name}: A+"][1], factor * table.positive[1:], rtol=1e-12)
            np.testing.assert_allclose(panels[3].lines[name][1], factor * table.eta, rtol=1e-12)
    code, _, _ = run(capsys, "derive", "1-(1-rho)**4", "-n", 8, "--against", "grpo", "--plot", tmp_path / "p.png")
    assert (code, (tmp_path / "p.png").read_bytes()[:4]) == (0, b"\x89PNG")


def test_a_plot_that_cannot_be_written_is_an_error_of_one_line(capsys, tmp_path, monkeypatch):
    (tmp_path / "folder.png").mkdir()
    code, out, err = run(capsys, "derive", "rho", "--plot", tmp_path / "folder.png")
    assert (code, out) == (2, "")
    assert "is a folder" in err

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("advshape.report.pages.derivation._save_png", full)
    code, _, err = run(capsys, "derive", "rho", "-n", 4, "--plot", tmp_path / "plot.png")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "No space left on device" in err


@pytest.mark.parametrize(
    ("words", "limit"),
    [
        (["derive", "rho + 0.1*entropy(rho)", "-n", 100_000], 4096),
        (["derive", "PassAtK(k=8)", "-n", 10**12], 4096),
        (["reverse", "grpo", "-n", 4097], 4096),
        (["reverse", "--positive", "1-rho", "--negative", "0-rho", "-n", 1025], 1024),
        (["reverse", "json:loads", "-n", 513], 512),
        (["derive", "rho + 0.1*entropy(rho)", "--build", "minimum_mse", "-n", 1025], 1024),
    ],
)
def test_a_group_too_large_is_refused_at_once_with_the_limit(capsys, words, limit):
    start = time.process_time()
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert f"{limit}" in err
    assert f"n={words[-1]}" in err
    assert len(err.strip().splitlines()) == 1
    assert time.process_time() - start < 5


def test_a_large_group_costs_no_square_of_its_size(capsys):
    start = time.process_time()
    code, out, _ = run(capsys, "derive", "1-(1-rho)**8 + 2*entropy(rho)", "-n", 4096)
    assert code == 0
    assert time.process_time() - start < 20  # 2.5 s; the n x n problem of minimum_mse alone would take more than 20
    assert "minimum_mse(signal=64)    not available" in out
    assert max(map(len, out.split("TRL")[0].splitlines())) < 300  # thousands of counts are told in short


@pytest.mark.parametrize("formula", ["3", "0*rho"])
def test_an_objective_without_rho_is_refused(formula, capsys):
    assert main(["derive", formula]) == 2
    assert "does not depend on rho" in capsys.readouterr().err
