"""The page of a comparison and ``advshape report``: numbers against the comparison (parity), labels, broken input."""

import json
import re
import shlex
import warnings
from html import unescape
from html.parser import HTMLParser
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from advshape.cli import main
from advshape.errors import AdvshapeError
from advshape.evaluation.readers import Options
from advshape.evaluation.readers.base import prompt_name
from advshape.evaluation.results.compare import compare
from advshape.evaluation.results.runs import load_runs
from advshape.report import write_comparison
from advshape.report.data.comparison import comparison_data, printed_problems
from advshape.report.data.run import ReportData
from advshape.report.data.text import visible
from advshape.report.figures.export import draw_chart
from advshape.report.pages.comparison import comparison_charts, render_comparison, repeat_command
from advshape.report.rollouts import browser

pytest.importorskip("plotly")
pytest.importorskip("jinja2")
spec = spec_from_file_location("report_data", Path(__file__).with_name("report_data.py"))
report_data = module_from_spec(spec)
spec.loader.exec_module(report_data)
HOSTILE, compared, write_log, write_run = (
    getattr(report_data, name) for name in ("HOSTILE", "compared", "write_log", "write_run")
)


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Three logs of the same 40 prompts: the second is better, the third another draw of the first."""
    folder = tmp_path_factory.mktemp("logs")
    paths = [folder / f"{name}.jsonl" for name in ("base", "better", "again")]
    for path, seed, shape in zip(paths, (1, 2, 3), (1.0, 3.0, 1.0), strict=True):
        write_log(path, seed, shape, prompts=40, n=8)
    return paths


@pytest.fixture(scope="module")
def comparison(logs):
    return compared(logs, ["base", "better", "again"])


class Cells(HTMLParser):
    """Text of every cell of the first table of results."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.text, self.on = [], None, False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "table":
            self.on = dict(attributes).get("class") == "results"
        if self.on and tag == "tr":
            self.rows.append([])
        if self.on and tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.on = self.on and tag != "table"

    def handle_data(self, data):
        if self.on and self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip() + " "


def test_the_page_holds_the_numbers_of_the_comparison(comparison, tmp_path):
    page = write_comparison(comparison, tmp_path / "page.html").read_text(encoding="utf-8")
    rows = {row[0].strip(): row[1:] for row in Cells(page).rows}
    for run, curve in zip(comparison.runs, comparison.curves, strict=True):
        for cell, value, low, high in zip(rows[run.label], curve.values, curve.low, curve.high, strict=True):
            assert cell.split() == [f"{value:.3f}", f"[{low:.3f},", f"{high:.3f}]"]
    for pair in comparison.pairs:
        columns = (pair.difference, pair.low, pair.high, pair.p_adjusted)
        for cell, value, low, high, p in zip(rows[f"{pair.second} − {pair.first}"], *columns, strict=True):
            assert f"{value:+.3f} [{low:+.3f}, {high:+.3f}]" in cell
            assert (f"p = {p:.3f}" if p >= 0.001 else "p < 0.001") in cell
    changes = comparison.pairs[0].changes
    squares = re.findall(r"<b>(\d+)</b> (lost|new)", page)
    assert squares[:2] == [(str(len(changes.newly_lost)), "lost"), (str(len(changes.newly_solved)), "new")]
    for change in changes.newly_solved[:12]:
        assert f"0 of 8 right → {change.second[0]} of 8 right" in page
        assert f'<pre dir="auto">{visible(change.prompt)}</pre>' in unescape(page) or len(change.prompt) > 600
    assert "UNPAIRED" not in page


def test_an_object_its_json_and_its_file_give_the_same_page(comparison, tmp_path):
    (tmp_path / "comparison.json").write_text(json.dumps(comparison.to_json()))
    pages = [
        write_comparison(source, tmp_path / f"{i}.html").read_bytes()
        for i, source in enumerate((comparison, comparison.to_json(), tmp_path / "comparison.json"))
    ]
    assert pages[0] == pages[1] == pages[2]


def test_unpaired_and_yardstick_are_said(logs, tmp_path):
    other = tmp_path / "other.jsonl"
    other.write_text(logs[0].read_text().replace('"problem": "p', '"problem": "q'))
    found = compared([logs[0], other], ["base", "other"], unpaired_runs=True)
    text = write_comparison(found, tmp_path / "page.html").read_text(encoding="utf-8")
    assert '<p class="unpaired" role="alert">UNPAIRED<span>' in text
    assert "Newly solved" not in text
    base, better, again = (run for (run,) in load_runs(list(map(str, logs))))
    found = compare([base, better], yardsticks=[again], permutations=200, resamples=50)
    data = comparison_data(found)
    assert [item.name for item in data.yardsticks] == ["again − base"]
    text = write_comparison(found, tmp_path / "seeds.html").read_text(encoding="utf-8")
    assert "Yardstick, two training seeds of one recipe." in text
    assert f"advshape compare {logs[0]} {logs[1]} --yardstick {logs[2]} --html comparison.html" in text


def test_the_chart_says_what_was_tested(comparison):
    """Enumeration on a hand-made difference: filled points are the adjusted p-values up to 5 %."""
    data = comparison.to_json()
    pair = data["pairs"][0]
    pair["p_adjusted"] = [0.05, None, 0.051]
    pair["crossing"] = {"k": 2.5, "low": 0, "high": None, "ahead": "above", "share": 0.9, "n": 8}
    read = comparison_data({**data, "pairs": [pair]})
    assert read.pairs[0].told.tolist() == [True, False, False]
    assert read.pairs[0].crosses_at == (2.5, 0.0, float("inf"))
    chart = next(chart for chart in comparison_charts(read) if chart["name"] == "difference")
    (filled,) = [trace for trace in chart["data"] if trace["mode"] == "markers"]
    assert filled["x"] == [1]
    (line,) = [trace for trace in chart["data"] if trace["x"] == [2.5, 2.5]]
    assert line["y"] == [min(pair["low"]), max(pair["high"])]
    drawn = [line for line in draw_chart(chart).axes[0].lines if np.array_equal(line.get_ydata(), pair["difference"])]
    assert len(drawn) == 1


def test_hostile_labels_are_text_and_stay_different(tmp_path):
    write_log(tmp_path / "log.jsonl", 1, 1.0, prompts=4, n=4)
    labels = [*HOSTILE, "x" * 70 + "1" + "y" * 70, "x" * 70 + "2" + "y" * 70]
    found = compared([tmp_path / "log.jsonl"] * len(labels), labels)
    data = comparison_data(found)
    assert len({run.label for run in data.runs}) == len(labels)
    assert all(run.label == visible(run.label) and len(run.label) <= 55 for run in data.runs)
    names = {chart["name"] for chart in comparison_charts(data)}
    assert names == {"curves", "difference", "histogram"}
    figure = draw_chart(comparison_charts(data)[0])
    legend = figure.legends[0].get_texts()
    assert [text.get_text() for text in legend] == [run.label for run in data.runs]
    assert not any(text.get_parse_math() for text in legend)
    with warnings.catch_warnings(action="error"):
        figure.savefig(tmp_path / "curves.svg")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.pop("kind"), "no comparison: 'kind' is None"),
        (lambda data: data["runs"][0].pop("curve"), "lacks the field 'curve'"),
        (lambda data: data["pairs"][0].pop("low"), "lacks the field 'low'"),
        (lambda data: data.update(runs=5), "the comparison is broken"),
        (lambda data: data["pairs"][0].update(ks=["x"]), "the comparison is broken"),
        (lambda data: data["pairs"][0].update(low=[0.0]), "'low' has 1 entries for 3 attempts"),
        (lambda data: data["runs"][1].update(label="base"), "each run needs a label of its own, got base, base"),
    ],
)
def test_broken_comparisons_are_named(comparison, tmp_path, change, message):
    data = json.loads(json.dumps(comparison.to_json()))
    change(data)
    with pytest.raises(AdvshapeError, match=message):
        write_comparison(data, tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_logs_that_are_gone_or_have_changed_are_said(comparison, logs, tmp_path):
    data = json.loads(json.dumps(comparison.to_json()))
    data["runs"][0]["source"] = str(tmp_path / "gone.jsonl")
    data["runs"][1]["outcomes"]["right"] += 1
    text = unescape(write_comparison(data, tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "The rollouts of base are not shown" in text
    assert "The log of better has other rollouts than those that were compared" in text


def test_the_command(tmp_path, capsys, logs):
    run = write_run(tmp_path / "run", prompts=8, n=16, steps=2)
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    assert main(["report", str(run)]) == 2
    assert "exists; choose another name, or replace it with --overwrite" in capsys.readouterr().err
    page = tmp_path / "compared.html"
    assert main(["report", *map(str, logs[:2]), "--html", str(page), "--figures", str(tmp_path / "figures")]) == 0
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        f"{name}.{kind}" for name in ("curves", "difference", "histogram") for kind in ("png", "svg", "csv")
    }
    assert "better against base" in page.read_text(encoding="utf-8")
    before = run / "evaluation" / "before.jsonl"
    assert main(["report", str(before), str(run), "--html", str(tmp_path / "both.html")]) == 0
    assert "run against run, before" in (tmp_path / "both.html").read_text(encoding="utf-8")
    capsys.readouterr()
    for words, complaint in (
        ([str(run), "--unpaired"], "name two or more"),
        ([str(run), "--yardstick", str(run)], "name two runs or more"),
        ([str(run), str(run)], "is named twice"),
        ([str(run), str(tmp_path / "none")], "there is no run directory, folder or log"),
        ([str(logs[0]), "--figures", str(page)], "is a file; --figures names a folder"),
        ([str(run / "recipe.toml")], "recipe.toml is no .jsonl: the page of one run reads the log of"),
    ):
        assert main(["report", *words]) == 2, words
        assert complaint in capsys.readouterr().err
    assert main(["compare", str(logs[0]), str(logs[1]), "--seed", "-1"]) == 2
    assert "seed of permutations and resamples is 0 or more, got -1" in capsys.readouterr().err


def test_two_settings_of_one_log_are_repeated_by_their_settings(tmp_path):
    """Recovery: the printed command makes the same comparison, though both runs lie in one file."""
    log = tmp_path / "rollouts.jsonl"
    for temperature in (0.5, 1.0):
        write_log(log, 1, 1.0, 8, 4, temperature)
    (runs,) = load_runs([str(log)])
    text = repeat_command(comparison_data(compare(runs, permutations=200, resamples=50)))
    named = [word for word in shlex.split(text) if "@" in word]
    again = [run for (run,) in load_runs(named)]
    assert [run.counts.totals() for run in again] == [run.counts.totals() for run in runs]
    assert [run.settings["temperature"] for run in again] == [0.5, 1.0]


def test_one_chosen_setting_of_a_log_is_in_the_command_that_repeats(tmp_path):
    """Recovery: a log of two temperatures, of which one was compared, is not compared whole the next time."""
    first, both = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    write_log(first, 1, 1.0, 8, 4, 1.0)
    for temperature in (0.5, 1.0):
        write_log(both, 2, 1.0, 8, 4, temperature)
    other = tmp_path / "steps.csv"  # another tool's log, which has no settings of ours: both runs lie in it
    rows = [f"p{p},{s < right},{step}" for step, right in ((10, 1), (20, 3)) for p in range(8) for s in range(4)]
    other.write_text("\n".join(["prompt,right,step", *rows]) + "\n")
    named = Options(prompt_column="prompt", correct_column="right")
    for specs, options in (
        ([str(first), f"{both}@temperature=0.5"], None),
        ([f"{other}@step=10", f"{other}@step=20"], named),
    ):
        runs = [run for (run,) in load_runs(specs, options)]
        text = repeat_command(comparison_data(compare(runs, permutations=200, resamples=50)))
        again = load_runs(shlex.split(text)[2:4], options)
        assert [[run.counts.totals() for run in some] for some in again] == [[run.counts.totals()] for run in runs]
        assert len({str(run.counts.totals()) for run in runs}) == 2


def test_named_columns_are_in_the_command_that_repeats(tmp_path, capsys, monkeypatch):
    """Recovery: the command that the page prints makes the same comparison of another tool's logs."""
    monkeypatch.chdir(tmp_path)
    for name, right in (("a", 2), ("b", 5)):
        lines = [
            json.dumps({"asked": f"p{p}", "score": 0.7 * (s < right), "lang": lang})
            for p in range(6)
            for s in range(8)
            for lang in ("de", "fr")
        ]
        Path(f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    named = ["--prompt-column", "asked", "--correct-column", "score", "--threshold", "0.5", "--where", "lang=de"]
    assert main(["report", "a.jsonl", "b.jsonl", *named, "--html", "first.html"]) == 0
    (text,) = re.findall(
        r"advshape compare [^<]*--html comparison.html", Path("first.html").read_text(encoding="utf-8")
    )
    words = shlex.split(unescape(text))
    assert main(words[1:]) == 0
    first, again = (Path(name).read_text(encoding="utf-8") for name in ("first.html", "comparison.html"))
    assert Cells(first).rows == Cells(again).rows
    assert "+0.375" in str(Cells(again).rows)
    assert main(["report", "a.jsonl", *named]) == 2
    assert "for comparisons" in capsys.readouterr().err
    assert main(["plan", "--from", "b.jsonl", "--difference", "0.1", "-k", "1", *named]) == 0
    assert "6 prompts" in capsys.readouterr().out


def test_of_too_many_prompts_the_page_holds_the_same_part_of_both_logs(tmp_path, monkeypatch):
    """Reduction: numbers stay those of all prompts; the browser holds some, those with printed texts among them."""
    logs = [tmp_path / f"{name}.jsonl" for name in ("base", "better")]
    for log, seed, shape in zip(logs, (1, 2), (1.0, 3.0), strict=True):
        write_log(log, seed, shape, prompts=400, n=8)
    found = compared(logs, ["base", "better"])
    whole = render_comparison(comparison_data(found))
    monkeypatch.setattr("advshape.report.data.run.KEPT", 60_000)
    monkeypatch.setattr("advshape.report.rollouts.TEXT_BUDGET", 4_000)
    data = comparison_data(found)
    kept = [set(run.evaluation.rollouts) for run in data.runs]
    printed = printed_problems(data.pairs)
    assert printed
    assert kept[0] == kept[1]
    assert printed < {prompt_name(problem) for problem in kept[0]}
    assert len(kept[0]) < 200
    part = render_comparison(data)
    assert Cells(part).rows == Cells(whole).rows
    shown = re.search(r"The browser holds (\d+) of 400 prompts", part)
    assert len(printed) < int(shown[1]) < 100
    assert "The browser holds" not in whole
    assert len(part) < len(whole)
    sources = browser(ReportData("", data.evaluations), printed)[0]["sources"]
    (groups,) = [source["groups"] for source in sources]
    assert len(groups) == int(shown[1])
    assert printed <= {prompt_name(group["id"]) for group in groups}
    assert all(rows for group in groups for rows in group["rollouts"])
