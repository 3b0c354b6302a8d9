"""advshape reverse module:function, through the real command's main."""

import json

import pytest

from advshape.cli import main


@pytest.fixture
def rules(tmp_path, monkeypatch):
    name = f"rules_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(
        "def trl(r):\n    return (r - r.mean(-1, keepdims=True)) / (r.std(-1, ddof=1, keepdims=True) + 1e-4)\n"
        "def plain(r):\n    s = r.std(-1, keepdims=True)\n    return (r - r.mean(-1, keepdims=True)) / (s + (s == 0))\n"
        "def odd(r):\n    return r - r.mean()\n"
    )
    monkeypatch.chdir(tmp_path)
    return name


def test_a_function_in_the_working_directory(rules, capsys):
    assert main(["reverse", f"{rules}:trl", "-n", "5"]) == 0
    out = capsys.readouterr().out
    assert "grpo(ddof=1, epsilon=0.0001)" in out
    assert "A+ (right)" in out
    assert main(["reverse", f"{rules}:odd", "-n", "5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["positive"] is None
    assert not found["up_to_batch_scale"]
    assert [f["kind"] for f in found["findings"]] == ["batch", "batch baseline", "signature"]


@pytest.mark.parametrize("target", ["no_such_module_here:f", "{rules}:none", ":f", "{rules}:"])
def test_no_such_function_is_a_clear_error(rules, capsys, target):
    assert main(["reverse", target.format(rules=rules), "-n", "5"]) == 2
    assert "module:function" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(r:\n", "SyntaxError"),
        ("import sys; sys.exit(3)\n", "SystemExit: 3"),
        ("raise RuntimeError('boom\\nmore')\n", "RuntimeError: boom"),
        ("import no_such_package\n", "No module named 'no_such_package'"),
        ("\0", "null bytes"),
        (None, "there is no file"),
    ],
)
def test_a_module_that_cannot_be_imported_is_one_clear_sentence(tmp_path, monkeypatch, capsys, text, said):
    monkeypatch.chdir(tmp_path)
    name = f"rules_{len(said)}"  # another module for each case
    target = "./rules.py:f" if text is None else f"{name}:f"
    (tmp_path / f"{name}.py").write_text(text or "")
    assert main(["reverse", target]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert "write module:function" in printed.err
    assert len(printed.err.splitlines()) == 1


def test_one_schema_for_entries_formulas_and_code(rules, capsys):
    """The same keys, whatever was reversed; and where all three are one rule, the same numbers."""
    found = []
    pair = ["--positive", "sqrt((1-rho)/rho)", "--negative", "-sqrt(rho/(1-rho))"]
    for words in (["grpo"], pair, [f"{rules}:plain"], [f"{rules}:odd"]):
        assert main(["reverse", *words, "-n", "5", "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert len({tuple(sorted(one)) for one in found}) == 1
    entry, formulas, code, outside = found
    for key in ("estimator", "centered", "exact", "n", "nearest", "up_to_batch_scale"):
        assert entry[key] == formulas[key] == code[key], key
    for key in ("positive", "negative", "weight", "offset", "finite_derivative", "slope_at_0_and_1"):
        assert entry[key] == pytest.approx(formulas[key])
        assert entry[key] == pytest.approx(code[key], rel=1e-6)
    for key in ("F", "F'", "F_n'", "second moment"):
        assert entry["curve"][key] == pytest.approx(formulas["curve"][key])
    assert (entry["kind"], entry["smallest_n"], entry["group_of_one"]) == ("biased", 2, {"refuses": "it needs n >= 2"})
    assert entry["source"].startswith("Shao et al.")
    assert formulas["surrogate"] == formulas["population"] == "2*arcsin(sqrt(rho))"
    assert (outside["positive"], outside["centered"], outside["estimator"]) == (None, None, None)


def test_an_estimators_own_objective_is_told(capsys):
    """Also where other entries with other objectives have its table at this n: at n = 2 many do."""
    assert main(["reverse", "grpo", "-n", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["population"] == "GRPO()"
