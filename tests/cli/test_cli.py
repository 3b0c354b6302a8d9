"""The command line: tables in, numbers out; wrong usage says what to do and ends with 2."""

import json
import math
import resource
import subprocess
import sys
from fractions import Fraction

import pytest

import advshape
from advshape.cli import main


def run(capsys, *words):
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_help_is_light():
    """--help loads nothing heavier than NumPy, and costs little beside it."""

    def seconds(*command):  # of processor time, so that a busy machine does not matter
        start = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        end = resource.getrusage(resource.RUSAGE_CHILDREN)
        return end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime

    code = "import sys; from advshape.cli.entry import _parser; _parser().format_help(); print(*sys.modules)"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split())
    assert not loaded & {"torch", "transformers", "trl", "scipy", "matplotlib", "tqdm", "datasets"}
    numpy = min(seconds("-c", "import numpy") for _ in range(3))
    help_ = min(seconds("-m", "advshape", "--help") for _ in range(3))
    assert help_ - numpy < 0.25  # measured .05 to .15; torch alone would take seconds


def test_estimators(capsys):
    code, out, _ = run(capsys, "estimators", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0
    assert rows["pass_at_k"]["smallest_n"] == 5  # centred pass@4
    assert rows["grpo"]["kind"] == "biased"
    code, out, _ = run(capsys, "estimators")
    assert code == 0
    assert all(name in out for name in rows)


def test_derive_against_fractions(capsys):
    """Centred Pass@3 of 8 from leave-two-out averages over subsets, in fractions."""
    code, out, _ = run(capsys, "derive", "PassAtK(k=3)", "-n", 8, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["spec"]["baseline"] == "centered"
    # with two rollouts set aside and c - 1 of the other 6 right, F' = 3 (all 2 companions wrong)
    for c in range(1, 8):
        companions = Fraction(math.comb(6 - (c - 1), 2), math.comb(6, 2)) if 7 - c >= 2 else Fraction(0)
        assert found["positive"][c] == pytest.approx(float(3 * companions * Fraction(8 - c, 7)), abs=1e-12)
    slope = [3 * (1 - rho) ** 2 for rho in found["rho"]]
    assert found["finite_derivative"] == pytest.approx(slope, rel=1e-9)


def test_derive_text_can_be_pasted(capsys):
    code, out, _ = run(capsys, "derive", "PassAtK(k=8)")
    assert code == 0
    line = next(line for line in out.splitlines() if "estimator=" in line)
    import advshape

    spec = eval(line.partition("estimator=")[2].rstrip(","))  # the printed literal, nothing else
    assert advshape.estimator(spec).table(16).positive[1] == pytest.approx(8)


def test_derive_takes_other_builds_and_names(capsys):
    _, out, _ = run(capsys, "derive", "GRPO()", "-n", 4, "--json")
    assert json.loads(out)["spec"]["build"] == "plug_in"
    _, out, _ = run(capsys, "derive", "rloo_k(k=2)", "-n", 4, "--json")
    assert json.loads(out)["estimator"] == "rloo_k(k=2)"
    _, out, _ = run(capsys, "derive", "PassAtK(k=4)", "-n", 4, "--json")
    assert json.loads(out)["spec"]["baseline"] == "leave_one_out"  # centred needs n = 5


def test_reverse(capsys):
    code, out, _ = run(capsys, "reverse", "grpo", "-n", 8, "--json")
    assert code == 0
    assert json.loads(out)["weight"][0] == pytest.approx(math.sqrt(7))
    code, out, _ = run(capsys, "reverse", "nsr", "-n", 4)
    assert code == 0
    assert "- not centred: advantages sum to -3 in groups with 1 of 4 right" in out


@pytest.mark.parametrize(
    ("words", "n"),
    [
        (["reverse", "grpo"], 8),
        (["reverse", "pass_at_k(k=8)"], 9),
        (["reverse", "rloo_k(k=12)"], 12),
        (["derive", "pass_at_k(k=20)"], 21),
        (["derive", "1-(1-rho)**20"], 20),
        (["derive", "rho"], 16),
    ],
)
def test_n_is_by_default_one_that_the_rule_allows(capsys, words, n):
    code, out, _ = run(capsys, *words, "--json")
    assert (code, json.loads(out)["n"]) == (0, n)


@pytest.mark.parametrize(
    ("words", "slope"),
    [
        (["derive", "-rho", "-n8"], lambda rho: -1),
        (["derive", "-n", "8", "--build", "unbiased", "-(1-rho)**2"], lambda rho: 2 * (1 - rho)),
        (["derive", "--base", "-rho", "rho**2", "-n=8"], lambda rho: 2 * rho),
    ],
)
def test_a_formula_may_begin_with_a_minus(capsys, words, slope):
    code, out, _ = run(capsys, *words, "--json")
    found = json.loads(out)
    assert (code, found["n"]) == (0, 8)
    assert found["finite_derivative"] == pytest.approx([slope(rho) for rho in found["rho"]], abs=1e-12)
    assert found["spec"]["surrogate"] in words  # as typed, to be pasted


def test_both_formulas_of_a_rule_may_begin_with_a_minus(capsys):
    for words in (["--positive", "-rho", "--negative", "-1"], ["--positive=-rho", "--negative=-1"]):
        code, out, _ = run(capsys, "reverse", *words)
        assert code == 0
        assert out.startswith("A+ = -rho, A- = -1 (the table")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["reverse", "gprpo"], ["'gprpo'", "'grpo'"]),
        (["reverse", "grpo", "--signature", "group"], ["--signature", "is code"]),
        (["reverse", "rules.py"], ["'rules.py' is a file", "rules.py:FUNCTION"]),
        (["reverse", "pass_at_k(k=8)", "-n", "8"], ["n >= 9", "n=8"]),
        (["reverse", "1-(1-rho)**8"], ["is a formula", "advshape derive '1-(1-rho)**8'", "--positive"]),
        (["reverse", "-2 grpo"], ["cannot read '-2 grpo'"]),
        (["reverse", "grpo", "-n", "0"], ["from 1 to 4096", "n=0"]),
        (["estimators", "qea"], ["'qea', did you mean 'qae'?"]),
        (["derive", "rho", "--set", "p=0.1"], ["'rho' has no parameter 'p'; write p into it", "leave p=0.1 out"]),
        (["derive", "rlooo"], ["unknown name 'rlooo'", "if an estimator was meant, did you mean 'rloo'?"]),
        (["derive", "pass_at_k(k=8) + rho"], ["pass_at_k is an estimator, which stands alone", "'pass_at'"]),
        (["derive", "pass_at(8"], ["expected ',' or ')'", "the end at character 10"]),
        (["derive", "pass@8"], ["write pass_at(8) for pass@8"]),
        (["derive", "-p"], ["unknown name 'p' at character 2"]),
        (["derive", "PassAtN(k=3)"], ["'PassAtN'", "'PassAtK'"]),
        (["derive", "PassAtK(k=32)", "-n", "16"], ["n >= 32", "n=16"]),
        (["derive", "grpo", "--build", "plug_in"], ["--build"]),
        (["derive", "__import__('os')"], ["cannot read"]),
        (["train"], ["recipe"]),
        (["train", "countdown", "--resume", "x"], ["either"]),
        (["train", "--resume", "nowhere"], ["no run"]),
        (["train", "countdwn"], ["'countdwn'", "'countdown'"]),
        (["train", "countdown", "--set", "trainer"], ["section.key=value"]),
    ],
)
def test_wrong_usage(capsys, tmp_path, monkeypatch, words, expected):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *words)
    assert code == 2
    assert not out
    for part in expected:
        assert part in err
    assert not list(tmp_path.iterdir())


def test_argparse_errors_end_with_2(capsys):
    with pytest.raises(SystemExit) as error:
        main(["trian"])
    assert error.value.code == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["derive", "rho", "--agianst", "grpo"], "--agianst (did you mean --against?)"),
        (["reverse", "grpo", "--jsn"], "--jsn (did you mean --json?)"),
        (["passk", "log.jsonl", "--treshold=1"], "--treshold=1 (did you mean --threshold?)"),
        (["evaluate", "model", "--taks", "countdown"], "--taks (did you mean --task?)"),  # not: --task is missing
        (
            ["train", "countdown", "trainer.max_steps=3"],
            "trainer.max_steps=3 (did you mean --set trainer.max_steps=3?)",
        ),
        (["train", "countdown", "--zzz"], "unrecognized arguments: --zzz\n"),
        (["estimators", "--jason", "--", "--x"], "unrecognized arguments: --jason (did you mean --json?)\n"),
        (["doctor", "-z"], "unrecognized arguments: -z\n"),
        (["derive", "rho", "-n", "1.5"], "expected a whole number of rollouts per prompt, such as 16, got '1.5'"),
    ],
)
def test_a_mistyped_option_is_told_by_its_own_command(capsys, words, expected):
    with pytest.raises(SystemExit) as error:
        main(words)
    out, err = capsys.readouterr()
    assert (error.value.code, out) == (2, "")
    assert err.startswith(f"usage: advshape {words[0]} ")
    assert expected in err


def test_a_mistyped_option_before_the_command_is_the_roots(capsys):
    with pytest.raises(SystemExit):
        main(["--versoin", "derive", "rho"])
    err = capsys.readouterr().err
    assert err.startswith("usage: advshape [-h]")
    assert "--versoin (did you mean --version?)" in err


def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"advshape {advshape.__version__}\n"


@pytest.mark.parametrize(
    ("module", "extra"),
    [("jinja2", "advshape[trl]"), ("httpx2", "advshape[server]"), ("reasoning_gym", "advshape[tasks]")],
)
def test_a_missing_package_is_told_by_its_extra_first(capsys, monkeypatch, module, extra):
    def run_(options):
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr("advshape.cli.derive.run", run_)
    assert main(["derive", "rho"]) == 2
    said = capsys.readouterr().err
    assert said.index(f'pip install "{extra}"') < said.index(module)
