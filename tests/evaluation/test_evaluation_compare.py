"""Comparisons: enumeration and parity of the tests, reductions, null pairs, crossing, logs, the command."""

import json
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest, permutation_test

from advshape.cli import main
from advshape.errors import AdvshapeError
from advshape.evaluation.logs.rollout_log import Rollout, RolloutLog
from advshape.evaluation.results.compare import compare
from advshape.evaluation.results.runs import Run, load_runs
from advshape.evaluation.stats.changes import changes
from advshape.evaluation.stats.counts import Counts
from advshape.evaluation.stats.crossing import crossing
from advshape.evaluation.stats.significance import holm, label_permutation_test, sign_flip_test
from advshape.passk import pass_at_k


def counts(correct, n, prefix="p"):
    return Counts.of([f"{prefix}{i}" for i in range(len(correct))], correct, [n] * len(correct))


def run(label, correct, n=8, **more):
    return Run(label, f"{label}.jsonl", counts(correct, n), **more)


def test_sign_flip_is_the_enumeration_of_sign_patterns():
    differences = np.array([[0.5, 0.0], [0.25, 0.125], [-0.125, 1.0], [0.75, -0.5], [0.0, 0.25]])
    found = sign_flip_test(differences)
    for column, p in zip(differences.T, found, strict=True):
        sums = [abs(sum(s * d for s, d in zip(signs, column, strict=True))) for signs in product([1, -1], repeat=5)]
        seen = abs(column.sum())
        assert p == (sum(x > seen for x in sums) + sum(x == seen for x in sums) / 2) / 32


def test_sign_flip_of_ones_is_mcnemars_mid_p():
    """Parity: with 0/1 prompts the test is McNemar's, here from SciPy's binomial test."""
    for won, lost in ((9, 2), (30, 14), (6, 5)):
        differences = np.array([1.0] * won + [-1.0] * lost + [0.0] * 50)[:, None]
        exact = binomtest(won, won + lost).pvalue
        mid = exact - (
            binomtest(won, won + lost, alternative="greater").pvalue
            - binomtest(won + 1, won + lost, alternative="greater").pvalue
        )
        # 200,000 random patterns: four standard errors are below 0.005
        assert sign_flip_test(differences, permutations=200_000)[0] == pytest.approx(mid, abs=5e-3)


def test_sign_flip_agrees_with_scipy():
    """Parity: scipy.stats.permutation_test, of a sample without ties, where mid-p is the plain p."""
    differences = np.random.default_rng(3).normal(0.15, 1, (60, 1))
    theirs = permutation_test(
        (differences[:, 0],), np.sum, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(1)
    ).pvalue
    assert sign_flip_test(differences, permutations=20_000)[0] == pytest.approx(theirs, abs=0.015)


def test_label_permutation_agrees_with_scipy():
    rng = np.random.default_rng(3)
    first, second = rng.random((40, 1)), rng.random((30, 1)) ** 0.7
    theirs = permutation_test(
        (first[:, 0], second[:, 0]), lambda a, b: a.mean() - b.mean(), n_resamples=20_000, rng=np.random.default_rng(1)
    ).pvalue
    assert label_permutation_test(first, second, permutations=20_000)[0] == pytest.approx(theirs, abs=0.015)


def test_clusters_flip_together():
    """Reduction: prompts that repeat within clusters count once."""
    once = np.random.default_rng(0).choice([-1.0, 0.5, 1.0], (12, 2))
    assert (sign_flip_test(np.repeat(once, 5, axis=0), np.repeat(np.arange(12), 5)) == sign_flip_test(once)).all()
    first, second = np.random.default_rng(1).random((2, 20, 1))
    labels = np.repeat(np.arange(20), 3)
    many = label_permutation_test(np.repeat(first, 3, axis=0), np.repeat(second, 3, axis=0), (labels, labels))
    assert many == pytest.approx(label_permutation_test(first, second))


def test_memory_blocks_change_no_result(monkeypatch):
    differences = np.random.default_rng(0).normal(0.2, 1, (50, 3))
    whole = sign_flip_test(differences, permutations=5000)
    monkeypatch.setattr("advshape.evaluation.stats.significance.BLOCK", 50 * 10)
    assert sign_flip_test(differences, permutations=5000) == pytest.approx(whole, abs=0.03)


def test_holm():
    """Property: adjusted p-values reject what the step-down procedure rejects, at every level."""
    p = np.array([0.011, 0.02, 0.3, 0.012, np.nan, 0.04])
    adjusted = holm(p)
    assert np.isnan(adjusted[4])
    for level in np.linspace(0.001, 0.5, 300):
        rejected, left = set(), 5
        for i in np.argsort(p)[:5]:
            if p[i] > level / left:
                break
            rejected.add(int(i))
            left -= 1
        assert rejected == set(np.flatnonzero(adjusted <= level).tolist())


@pytest.mark.parametrize(("n", "k"), [(16, 1), (16, 8)])
def test_false_alarms_on_null_pairs(n, k):
    """Two runs of one model, 1,500 pairs: between 3 and 7 % have p <= 0.05 (standard error 0.6 points)."""
    rng = np.random.default_rng(2)
    found = 0
    table = pass_at_k(np.arange(n + 1), n, k)
    for i in range(1500):
        rho = rng.beta(0.3, 0.6, 100)
        differences = table[rng.binomial(n, rho)] - table[rng.binomial(n, rho)]
        found += sign_flip_test(differences[:, None], permutations=199, seed=i)[0] <= 0.05
    assert 0.03 <= found / 1500 <= 0.07


def test_changes_are_the_table_of_prompts():
    found = changes(counts([0, 0, 5, 5, 0], 64), counts([0, 60, 5, 0, 1], 64), {"p1": "two and two"})
    assert (found.both, found.neither) == (1, 1)
    assert [c.problem for c in found.newly_solved] == ["p1", "p4"]
    assert [c.problem for c in found.newly_lost] == ["p3"]
    assert found.newly_solved[0].prompt == "two and two"
    assert found.newly_solved[0].first == (0, 64)
    assert found.newly_lost[0].second == (0, 64)
    assert found.beyond_chance == (1, 0)


def test_crossing_of_known_curves():
    """Closed form: half of the prompts always right against all right at rate 0.2: 1/2 = 1 - 0.8^k."""
    n = 2000
    sure = counts([n, 0] * 50, n)
    broad = counts([n // 5] * 100, n)
    found = crossing(sure, broad, resamples=400)
    assert found.ahead == "above"
    # linear between k = 3 and 4 instead of exponential: off by less than 0.05
    assert found.k == pytest.approx(np.log(2) / np.log(1.25), abs=0.05)
    assert 1 < found.low < found.k < found.high < n
    back = crossing(broad, sure, resamples=400)
    assert (back.k, back.low, back.high, back.ahead) == (found.k, found.low, found.high, "below")


def test_blocks_of_resamples_change_no_crossing(monkeypatch):
    rng = np.random.default_rng(4)
    both = [counts([16, 0] * 40, 16), counts(rng.binomial(16, 0.2, 80), 16)]
    whole = crossing(*both, resamples=300)
    assert whole is not None
    monkeypatch.setattr("advshape.evaluation.stats.crossing.BLOCK", 100)
    assert crossing(*both, resamples=300) == whole


def test_no_crossing_and_open_ends():
    low, high = counts([1, 0, 2, 0] * 10, 8), counts([4, 3, 5, 6] * 10, 8)
    assert crossing(low, high) is None
    rng = np.random.default_rng(0)
    rho = rng.beta(0.3, 0.6, 40)
    ends = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        found = crossing(counts(rng.binomial(16, rho), 16), counts(rng.binomial(16, rho), 16), resamples=200)
        ends += [found.low == 0 or found.high == np.inf] if found else []
    assert len(ends) > 3
    assert np.mean(ends) > 0.8, "curves of one model cross by chance; the interval must stay open"


def test_registered_k_is_tested_alone_and_all_pairs_are_corrected():
    rng = np.random.default_rng(0)
    runs = [run(name, rng.binomial(8, 0.3, 30)) for name in ("a", "b", "c")]
    alone = compare(runs[:2], registered=[4])
    assert np.isnan(alone.pairs[0].p[[0, 1, 3]]).all()
    assert alone.pairs[0].p_adjusted[2] == alone.pairs[0].p[2]
    every = compare(runs)
    p = np.concatenate([pair.p for pair in every.pairs])
    assert np.concatenate([pair.p_adjusted for pair in every.pairs]) == pytest.approx(holm(p))
    assert compare([runs[0], runs[1]], registered=[3]).ks.tolist() == [1, 2, 3, 4, 8]


def test_differences_are_by_prompt_whatever_the_order():
    first = run("a", [0, 4, 8, 2, 1])
    order = [3, 0, 4, 2, 1]
    second = Run("b", "", Counts.of([f"p{i}" for i in order], [4, 1, 1, 8, 6], [8] * 5))
    found = compare([first, second], registered=[1]).pairs[0]
    assert found.difference[0] == pytest.approx(np.mean([1 - 0, 6 - 4, 8 - 8, 4 - 2, 1 - 1]) / 8)
    assert found.p[0] == 1 / 8, "three prompts rose: two of eight sign patterns tie with that"
    assert found.changes.newly_solved[0].problem == "p0"


def test_runs_on_other_prompts_are_refused_or_unpaired():
    first, other = run("a", [1, 2, 3, 4]), Run("b", "", counts([5, 6, 7, 8], 8, "q"))
    with pytest.raises(AdvshapeError, match=r"0 are in both.*--unpaired"):
        compare([first, other])
    found = compare([first, other], unpaired_runs=True)
    assert found.pairs[0].changes is None
    assert found.notes[0].startswith("UNPAIRED")
    # Both samples of four are far apart: all of one above all of the other, 2 of 70 deals
    assert found.pairs[0].p[0] == pytest.approx(1 / 70, abs=5e-3)
    part = Run("c", "", Counts.of(["p0", "p1", "p2", "x"], [1, 2, 3, 4], [8] * 4))
    with pytest.raises(AdvshapeError, match="3 are in both, 1 only in a, 1 only in c"):
        compare([first, part])
    shared = compare([first, part], shared=True)
    assert shared.pairs[0].prompts == 3
    assert "2 others are left out" in shared.notes[0]


def test_mistakes_are_named():
    one = run("a", [1, 2, 3])
    for call, message in (
        (lambda: compare([one]), "two runs or more"),
        (lambda: compare([one, one]), "label of its own"),
        (lambda: compare([one, run("b", [1, 2, 3])], registered=[9]), "ask for k <= 8"),
        (lambda: compare([one, run("b", [1, 2, 3])], registered=[0]), "1 or more"),
        (lambda: sign_flip_test(np.array([[np.nan]])), "finite"),
    ):
        with pytest.raises(AdvshapeError, match=message):
            call()


def test_notes_say_what_differs():
    first = run("a", [1, 2, 3], settings={"temperature": 1.0}, prompts={"p0": "one"})
    second = run("b", [1, 2, 3], n=16, settings={"temperature": 0.7}, prompts={"p0": "uno"})
    notes = " ".join(compare([first, second]).notes)
    for part in ("temperature: 1.0 and 0.7", "8 and 16 judged", "1 of 1 prompts have the same id and another text"):
        assert part in notes


def test_json_is_strict_and_whole():
    data = compare([run("a", [0, 2, 8, 1]), run("b", [1, 2, 3, 0])], yardsticks=[run("c", [0, 2, 8, 2])]).to_json()
    again = json.loads(json.dumps(data, allow_nan=False))
    assert again == data
    assert [r["label"] for r in again["runs"]] == ["a", "b", "c"]
    assert [(p["first"], p["second"]) for p in again["pairs"] + again["yardsticks"]] == [("a", "b"), ("a", "c")]
    assert again["pairs"][0]["changes"]["newly_lost"][0]["problem"] == "p3"


@pytest.fixture
def logs(tmp_path):
    rng = np.random.default_rng(0)
    rho = rng.beta(0.4, 0.6, 24)

    def write(path, rates, temperature=1.0, prompts=24):
        with RolloutLog(path) as log:
            name = log.describe({"temperature": temperature})
            log.append(
                Rollout(
                    f"set{i % 6}-{i}",
                    j,
                    f"What is {i}?\x1b[31m",
                    "",
                    "right" if rng.random() < rates[i] else "wrong",
                    temperature=temperature,
                    settings=name,
                )
                for i in range(prompts)
                for j in range(8)
            )

    write(tmp_path / "base/rollouts.jsonl", rho)
    write(tmp_path / "again/rollouts.jsonl", rho)
    write(tmp_path / "better/rollouts.jsonl", rho**0.3)
    write(tmp_path / "short/rollouts.jsonl", rho, prompts=20)
    write(tmp_path / "hot/rollouts.jsonl", rho)
    write(tmp_path / "hot/rollouts.jsonl", rho**0.5, temperature=0.5)
    (tmp_path / "trained/evaluation").mkdir(parents=True)
    (tmp_path / "trained/recipe.toml").write_text("")
    return tmp_path


def test_runs_are_found_and_named(logs):
    (logs / "trained/evaluation/after.jsonl").write_bytes((logs / "better/rollouts.jsonl").read_bytes())
    names = [str(logs / name) for name in ("base", "trained", "hot", "hot@temperature=0.5")]
    loaded = load_runs(names)
    assert [[run.label for run in several] for several in loaded] == [
        ["base"],
        ["trained"],
        ["hot, T=1.0", "hot, T=0.5"],
        ["hot, temperature=0.5"],
    ]
    assert loaded[1][0].source.endswith("evaluation/after.jsonl")
    assert loaded[0][0].prompts["set0-0"].startswith("What is 0?")
    csv = logs / "counts.csv"
    csv.write_text("prompt,n,correct\nset0-0,8,3\n")
    assert load_runs([str(csv)])[0][0].counts.correct.tolist() == [3]


def test_command(logs, capsys, monkeypatch):
    monkeypatch.chdir(logs)
    assert (
        main(["compare", "base", "better", "--yardstick", "again", "--cluster", r"set\d", "--permutations", "500"]) == 0
    )
    out = capsys.readouterr().out
    for part in ("base: base/rollouts.jsonl", "better minus base, paired over 24", "Holm", "again: seed", "clusters"):
        assert part in out
    assert "\x1b" not in out
    assert main(["compare", "base", "better", "-k", "8", "--json", "--permutations", "100"]) == 0
    assert json.loads(capsys.readouterr().out)["tested"] == [8]
    assert main(["compare", "base", "short", "--unpaired", "--permutations", "100"]) == 0
    out = capsys.readouterr().out
    assert "UNPAIRED: DIFFERENT PROMPTS" in out
    assert "UNPAIRED: THE RUNS ARE COMPARED" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["base", "short"], "do not share their prompts"),
        (["base"], "two runs or more"),
        (["base", "nowhere"], "there is no run directory"),
        (["base", "base"], "named twice"),
        (["base", "trained"], "no evaluation after training"),
        (["base", "hot@0.5"], "after @ comes NAME=VALUE"),
        (["base", "again", "--cluster", "("], "no regular expression"),
        (["base", "again", "--cluster", "zzz"], "does not match the prompt id"),
        (["base", "again", "--where", "x"], "--where takes NAME=VALUE"),
        (["base", "again", "--confidence", "95"], "between 0 and 1"),
        (["base", "again", "-k", "64"], "ask for k <= 8"),
        (["base", "again", "--permutations", "0"], "at least 1 permutation"),
        (["base", "again", "--resamples", "0"], "at least 1 resample"),
    ],
)
def test_mistakes_at_the_command_exit_with_2(logs, capsys, monkeypatch, words, message):
    monkeypatch.chdir(logs)
    assert main(["compare", *words]) == 2
    assert message in capsys.readouterr().err


def test_command_is_light_until_it_runs():
    code = "import sys, advshape.cli.compare, advshape.cli.plan; print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_named_columns_say_how_to_read_a_log(tmp_path, capsys):
    """As in `passk`, without --reader."""
    for name, right in (("a", 2), ("b", 5)):
        lines = [json.dumps({"problem": f"p{p}", "passed": s < right}) for p in range(6) for s in range(8)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    named = ["--prompt-column", "problem", "--correct-column", "passed"]
    assert main(["compare", str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"), *named]) == 0
    assert "+0.375" in capsys.readouterr().out


def test_a_test_and_an_interval_that_disagree_are_explained(tmp_path, capsys):
    """Many small gains: certain by the test; the interval also allows for rare large losses."""
    for name, more in (("a", 0), ("b", 1)):
        rows = [f"p{p},8,{p % 7 + more * (p % 4 > 0)}" for p in range(30)]
        (tmp_path / f"{name}.csv").write_text("prompt,n,correct\n" + "\n".join(rows) + "\n")
    assert main(["compare", str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]) == 0
    out = capsys.readouterr().out
    assert "b is better at k = 1" in out
    assert "holds 0 all the same: it allows for rare large changes" in out
