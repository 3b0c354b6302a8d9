"""The page of a run: its numbers against the data, hostile text (security), unfinished and broken runs, figures."""

import csv
import json
import re
import shutil
import tracemalloc
import unicodedata
from html.parser import HTMLParser
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from advshape.errors import AdvshapeError
from advshape.evaluation.stats.counts import Counts
from advshape.evaluation.stats.curves import pass_curve
from advshape.report import rollouts as rollouts_module
from advshape.report import write_report
from advshape.report.charts.evaluation import BINS, curves_chart, frontier_chart, histogram_chart
from advshape.report.data.run import EvaluationData, read_evaluations, read_run
from advshape.report.data.text import csv_text, short, visible
from advshape.report.data.training_rollouts import kept_training
from advshape.report.figures.curves import draw_frontier, draw_pass_curves, new_figure, save_figure
from advshape.report.figures.export import draw_chart
from advshape.report.pages import render as render_module
from advshape.report.pages.run import page_charts, render, save_figures

pytest.importorskip("plotly")
pytest.importorskip("jinja2")
spec = spec_from_file_location("report_data", Path(__file__).with_name("report_data.py"))
report_data = module_from_spec(spec)
spec.loader.exec_module(report_data)
HOSTILE, write_log, write_run = report_data.HOSTILE, report_data.write_log, report_data.write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"), prompts=40, n=32)


@pytest.fixture(scope="module")
def page(run):
    return write_report(run).read_text(encoding="utf-8")


class Elements(HTMLParser):
    """Every element with its attributes, and the text of the script elements."""

    def __init__(self, text):
        super().__init__()
        self.found, self.scripts, self.inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        self.inside = tag == "script"
        if self.inside:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.scripts[-1] += data


def payload(text):
    return json.loads(Elements(text).scripts[0])


def test_the_page_holds_the_numbers_of_the_logs(run, page):
    data = read_run(run)
    assert [item.label for item in data.evaluations] == ["before", "after"]
    for item in data.evaluations:
        for k, value, low, high in zip(item.curve.ks, item.curve.values, item.curve.low, item.curve.high, strict=True):
            assert f"<b>{value:.3f}</b><span>[{low:.3f}, {high:.3f}]</span>" in page, k
    shown = payload(page)
    groups = shown["sources"][0]["groups"]
    assert len(groups) == 40
    for i, group in enumerate(groups):
        for item, count, rows in zip(data.evaluations, group["counts"], group["rollouts"], strict=True):
            assert count == [item.counts.correct[i], item.counts.judged[i]]
            assert sum(row[1] == "right" for row in rows) == count[0]
    assert sum(len(g["rollouts"][0]) for g in shown["sources"][1]["groups"]) == 20 * 4 * 8
    assert shown["sources"][1]["groups"][0]["rollouts"][0][0][3] in (1.2, -0.4)


def test_hostile_text_stays_text(page):
    elements = Elements(page)
    tags = {tag for tag, _ in elements.found}
    assert not tags & {"iframe", "img", "svg", "form_", "base", "math", "object", "embed", "i"}
    assert len(elements.scripts) == 6
    assert sum(tag == "style" for tag, _ in elements.found) == 1
    assert not [name for _, attributes in elements.found for name in attributes if name.startswith("on")]
    addresses = [a.get("src") or a.get("href") for _, a in elements.found if a.get("src") or a.get("href")]
    assert all(address.startswith(("#", "data:,")) for address in addresses)
    completions = [row[0] for row in payload(page)["sources"][0]["groups"][0]["rollouts"][0]]
    assert completions == HOSTILE[:32]
    prompts = [group["prompt"] for group in payload(page)["sources"][0]["groups"]]
    assert [p.rpartition("=")[0] for p in prompts[4:36]] == HOSTILE[:32]
    assert not re.search(r"<script>window\.hacked", page)


def test_the_policy_names_exactly_the_pages_scripts(page):
    (policy,) = [a["content"] for tag, a in Elements(page).found if a.get("http-equiv") == "Content-Security-Policy"]
    for script in Elements(page).scripts[1:]:
        assert f"'sha256-{render_module.sha256(script)}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy.split("script-src")[1].split(";")[0]


def test_unfinished_and_missing_runs(run, tmp_path):
    part = tmp_path / "part"
    shutil.copytree(run, part)
    (part / "evaluation" / "after.jsonl").unlink()
    (part / "metrics.jsonl").write_bytes((run / "metrics.jsonl").read_bytes()[:-30])
    (part / "rollouts.jsonl").unlink()
    summary = json.loads((part / "summary.json").read_text())
    (part / "summary.json").write_text(json.dumps({**summary, "status": "interrupted"}))
    text = write_report(part, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "There is no finished evaluation after training." in text
    assert "its status is “interrupted”" in text
    assert len(payload(text)["sources"]) == 1

    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "recipe.toml").write_text("")
    assert "<h2>Training</h2>" not in write_report(bare).read_text(encoding="utf-8")
    with pytest.raises(AdvshapeError, match="no run directory"):
        write_report(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(AdvshapeError, match=r"neither recipe\.toml nor rollouts\.jsonl"):
        write_report(tmp_path / "empty")
    (bare / "metrics.jsonl").write_text('{"step": 1}\nbroken\n{"step": 2}\n')
    with pytest.raises(AdvshapeError, match=r"metrics\.jsonl, line 2"):
        write_report(bare)


def test_an_evaluation_folder_with_several_temperatures(tmp_path):
    for seed, temperature in ((1, 0.5), (2, 1.0)):
        write_log(tmp_path / f"{seed}.jsonl", seed, 1.0, 8, 16, temperature)
    (tmp_path / "rollouts.jsonl").write_bytes(b"".join((tmp_path / f"{s}.jsonl").read_bytes() for s in (1, 2)))
    items = read_evaluations(tmp_path / "rollouts.jsonl", "base")
    assert [item.label for item in items] == ["base, T=0.5", "base, T=1"]
    chart = frontier_chart(items, (1, 8))
    assert chart["data"][0]["x"] == [item.curve.at(1)[0] for item in items]
    assert chart["data"][0]["y"] == [item.curve.at(8)[0] for item in items]
    assert "Frontier over temperatures" in write_report(tmp_path).read_text(encoding="utf-8")


def test_long_texts_are_cut_to_the_budget_and_said(run, monkeypatch):
    monkeypatch.setattr(rollouts_module, "TEXT_BUDGET", 20_000)
    monkeypatch.setattr(rollouts_module, "TRAINING_BUDGET", 10_000)
    monkeypatch.setattr("advshape.report.data.training_rollouts.TRAINING_BUDGET", 10_000)
    text = write_report(run, run / "small.html", overwrite=True).read_text(encoding="utf-8")
    shown = payload(text)["sources"]
    kept = len(shown[0]["groups"][0]["rollouts"][0])
    assert 1 <= kept < 32
    assert f"The browser holds the first {kept} of 32 rollouts of each prompt" in text
    assert shown[0]["groups"][1]["counts"][0][1] == 32
    assert re.search(r"training rollouts of \d+ of 20 steps", text)


def test_training_rollouts_are_streamed_by_whole_steps(tmp_path, monkeypatch):
    """Reduction: with room for all, all; with less, whole steps from the first to the last, and no more in memory."""
    log, steps = tmp_path / "rollouts.jsonl", 60
    with log.open("w") as file:
        for i in range(steps * 16):  # steps come and go: a run that went on may repeat none, but need not be sorted
            record = {"step": i % steps, "problem": "p", "completion": f"{i} {'x' * 20_000}", "reward": 0.0, "extra": 7}
            file.write(json.dumps(record) + "\n")
    monkeypatch.setattr("advshape.report.data.training_rollouts.TRAINING_BUDGET", 10**9)
    whole, nothing = kept_training(log)
    assert (len(whole), nothing) == (steps * 16, [])
    monkeypatch.setattr("advshape.report.data.training_rollouts.TRAINING_BUDGET", 1_000_000)
    tracemalloc.start()
    kept, (note,) = kept_training(log)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [record["step"] for record in kept] == [0, 30, 59] * 16
    assert kept == [record for record in whole if record["step"] in {r["step"] for r in kept}]
    assert "3 of 60 steps" in note
    assert peak < 3_000_000 < log.stat().st_size / 6
    assert kept_training(tmp_path / "none.jsonl") == ([], [])


def test_charts_draw_the_data(run):
    items = read_run(run).evaluations
    chart = curves_chart(items)
    lines = [trace for trace in chart["data"] if trace["mode"] == "lines+markers"]
    for item, line in zip(items, lines, strict=True):
        assert line["y"] == item.curve.values.tolist()
    assert len(chart["table"]["rows"]) == sum(item.curve.ks.size for item in items)


def test_the_histogram_counts_prompts():
    """Enumeration: every prompt stands in the bar of its count, or of its share where n differs."""
    even = item([0, 0, 3, 8, 8, 8], [8] * 6)
    chart = histogram_chart([even])
    assert chart["data"][0]["x"] == [str(c) for c in range(9)]
    assert chart["data"][0]["y"] == [2, 0, 0, 1, 0, 0, 0, 0, 3]
    correct, judged = [0, 1, 5, 16, 16, 17, 32, 64], [16, 64, 80, 16, 256, 64, 64, 64]
    bar = histogram_chart([item(correct, judged)])["data"][0]
    share = [c / j for c, j in zip(correct, judged, strict=True)]
    expected = [sum(s == 0 for s in share)]
    expected += [sum(i / BINS < s <= (i + 1) / BINS and s < 1 for s in share) for i in range(BINS)]
    assert bar["y"] == [*expected, sum(s == 1 for s in share)]


def test_the_scatter_holds_every_prompt_once(run):
    first, second = read_run(run).evaluations
    chart = page_charts(read_run(run))[2]
    rows = [row for cell in chart["data"][1]["customdata"] for row in cell]
    judged = [i for i, p in enumerate(first.counts.problems) if p in second.counts.problems and first.counts.judged[i]]
    assert sorted(rows) == judged
    for x, y, cell in zip(*(chart["data"][1][name] for name in ("x", "y", "customdata")), strict=True):
        for i in cell:
            assert (x, y) == (
                first.counts.correct[i] / first.counts.judged[i],
                second.counts.correct[i] / second.counts.judged[i],
            )


def item(correct, judged):
    counts = Counts.of(map(str, range(len(correct))), correct, judged)
    return EvaluationData("one", {}, counts, pass_curve(counts), {"temperature": 1.0})


def test_matplotlib_figures_return_what_they_drew(tmp_path):
    curves = {
        label: pass_curve(Counts.of("abcdef", correct, [8] * 6))
        for label, correct in (("base", [0, 1, 2, 4, 8, 0]), ("trained", [1, 3, 3, 8, 8, 0]))
    }
    figure, (left, right) = new_figure(2)
    drawn = draw_pass_curves(curves, left)
    for data, line in zip(drawn, left.lines, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), data.values)
        np.testing.assert_array_equal(data.values, curves[data.label].values)
    points = draw_frontier({"base": {1.0: curves["trained"], 0.5: curves["base"]}}, right, ks=(1, 8))
    assert points[0].temperatures.tolist() == [0.5, 1.0]
    assert points[0].x.tolist() == [curves["base"].at(1)[0], curves["trained"].at(1)[0]]
    for path in save_figure(figure, tmp_path / "figure"):
        assert path.stat().st_size > 5000
    with pytest.raises(AdvshapeError, match="no curve to draw"):
        draw_pass_curves({})


def test_every_temperature_of_a_frontier_has_a_label_of_its_own():
    """Close points too: no label lies on another one, or on a point of the line."""
    curves = {}
    for i, temperature in enumerate((0.2, 0.4, 0.6, 0.8, 1.0, 1.2)):
        correct = [0, 1, 2, 4, 8, 6, 3, i // 2]
        curves[temperature] = pass_curve(Counts.of("abcdefgh", correct, [8] * 8))
    figure, (axes,) = new_figure()
    draw_frontier({"base": curves}, axes, ks=(1, 8))
    figure.canvas.draw()
    assert sorted(label.get_text() for label in axes.texts) == sorted(f"T = {t:g}" for t in curves)
    boxes = [label.get_window_extent() for label in axes.texts]
    assert not [1 for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]
    points = axes.transData.transform([[curve.at(1)[0], curve.at(8)[0]] for curve in curves.values()])
    assert not [1 for box in boxes for point in points if box.contains(*point)]


def test_a_large_log_keeps_the_first_rollouts_and_counts_all(tmp_path, monkeypatch):
    """Reduction: with room for all, all; with less, the first of each problem, and the same counts."""
    write_log(tmp_path / "rollouts.jsonl", 1, 1.0, 8, 16)
    (whole,) = read_evaluations(tmp_path / "rollouts.jsonl", "x")
    assert {len(group) for group in whole.rollouts.values()} == {16}
    monkeypatch.setattr("advshape.report.data.run.KEPT", 30_000)
    (small,) = read_evaluations(tmp_path / "rollouts.jsonl", "x")
    kept = {len(group) for group in small.rollouts.values()}
    assert kept == {4}
    assert all(small.rollouts[p] == group[:4] for p, group in whole.rollouts.items())
    assert small.counts.totals() == whole.counts.totals()
    assert "The browser holds the first 4 of 16 rollouts" in render(read_run(tmp_path))


def test_figures_are_written_with_their_data(tmp_path):
    run = tmp_path / "run"
    write_log(run / "rollouts.jsonl", 1, 1.0, 8, 16)
    files = save_figures(run, tmp_path / "figures")
    charts = page_charts(read_run(run))
    assert len(files) == 3 * len(charts) == 6
    for chart in charts:
        with (tmp_path / "figures" / f"{chart['name']}.csv").open(newline="") as file:
            head, *rows = csv.reader(file)
        assert head == chart["table"]["head"]
        assert len(rows) == len(chart["table"]["rows"])
        assert (tmp_path / "figures" / f"{chart['name']}.png").read_bytes().startswith(b"\x89PNG")
        ElementTree.parse(tmp_path / "figures" / f"{chart['name']}.svg")
    with pytest.raises(AdvshapeError, match=r"exists; .*--overwrite"):
        save_figures(run, tmp_path / "figures")
    save_figures(run, tmp_path / "figures", overwrite=True)


def test_drawn_charts_have_the_charts_numbers(run):
    """Parity: what matplotlib drew against the specification that the page draws."""
    curves, bars, change = (draw_chart(chart) for chart in page_charts(read_run(run))[:3])
    first, second = read_run(run).evaluations
    for line, data in zip(curves.axes[0].lines, (first, second), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), data.curve.values)
    assert sum(patch.get_height() for patch in bars.axes[0].patches) == 2 * len(first.counts.problems)
    points = change.axes[0].collections[0].get_offsets().tolist()
    shares = [[c / j for c, j in zip(e.counts.correct, e.counts.judged, strict=True)] for e in (first, second)]
    assert sorted(map(tuple, points)) == sorted(set(zip(*shares, strict=True)))


def test_existing_files_stay(run, tmp_path):
    page = write_report(run, tmp_path / "page.html")
    page.write_text("mine")
    with pytest.raises(AdvshapeError, match=r"page\.html exists; .*--overwrite"):
        write_report(run, page)
    assert page.read_text() == "mine"
    assert write_report(run, page, overwrite=True).read_text(encoding="utf-8").startswith("<!doctype html>")
    with pytest.raises(AdvshapeError, match="does not exist; make it first"):
        write_report(run, tmp_path / "nowhere" / "page.html")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("rollouts.jsonl", "[]", r"rollouts\.jsonl, line 2: expected a JSON object, got list"),
        (
            "rollouts.jsonl",
            '{"step": "1", "problem": "p", "completion": ""}',
            r"line 2: field 'step' has to be int, got '1'",
        ),
        ("rollouts.jsonl", '{"step": 1, "problem": "p"}', r"line 2: field 'completion' has to be str, got nothing"),
        ("metrics.jsonl", '{"loss": 1}', r"metrics\.jsonl, line 2: field 'step' has to be int"),
    ],
)
def test_broken_lines_are_named(run, tmp_path, file, line, message):
    part = tmp_path / "part"
    shutil.copytree(run, part)
    lines = (part / file).read_text().splitlines()
    (part / file).write_text("\n".join([lines[0], line, *lines[2:]]) + "\n")
    with pytest.raises(AdvshapeError, match=message):
        write_report(part)


@pytest.mark.parametrize("text", ["[1]", "5", "{"])
def test_a_broken_summary_is_named(run, tmp_path, text):
    (tmp_path / "recipe.toml").write_text("")
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(AdvshapeError, match=r"summary\.json (holds|is not JSON)"):
        write_report(tmp_path)


def test_hidden_characters_are_written_out():
    """Property over code points, with Unicode's own categories: what acts without being seen is named."""
    stays = {"\t", "\n", "\u00ad", "\u200c", "\u200d", "\u180e"}  # soft hyphen, joiners of letters and emoji
    stays |= set("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2")  # signs that can be seen
    for number in [*range(0x2065), *range(0x2066, 0x3000), *range(0xD800, 0xE000), 0xFEFF, 0xE0001]:
        acts = unicodedata.category(chr(number)) in ("Cc", "Cf", "Cs", "Zl", "Zp") and chr(number) not in stays
        assert visible(f"a{chr(number)}b") == (f"a⟨U+{number:04X}⟩b" if acts else f"a{chr(number)}b"), hex(number)
    assert visible("line\r\nnext") == "line\r\nnext"
    assert short("x" * 500, 20).count("x") == 19
    assert csv_text(["a"], [["=1"], [-1.5], ['"q",'], [None]]) == 'a\n\'=1\n-1.5\n"""q"","\n\n'


def test_the_command_that_repeats_an_evaluation(tmp_path):
    write_log(tmp_path / "rollouts.jsonl", 1, 1.0, 8, 16)
    settings = {
        "model": "my model",
        "hash": next(iter(read_evaluations(tmp_path / "rollouts.jsonl", "x")[0].rollouts.values()))[0].settings,
    }
    (tmp_path / "summary.json").write_text(json.dumps({"settings": settings, "problems": {"count": 8, "seed": 0}}))
    text = write_report(tmp_path).read_text(encoding="utf-8")
    expected = (
        "advshape evaluate &#39;my model&#39; --task countdown -n 16 --count 8 --temperature 1.0 --top-p 1.0 --seed 1"
    )
    assert f"<pre>{expected}</pre>" in text
