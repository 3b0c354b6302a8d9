"""The report: numbers of the page against the data, hostile text, unfinished runs, and a real browser."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from advshape.errors import AdvshapeError
from advshape.evaluation.curves import Counts, paired_difference, pass_curve
from advshape.evaluation.log import Rollout, RolloutLog
from advshape.report import page as page_module
from advshape.report import write_report
from advshape.report.charts import BINS, curves_chart, frontier_chart, histogram_chart
from advshape.report.data import read_evaluations, read_run
from advshape.report.figures import draw_frontier, draw_pass_curves, new_figure, save_figure

pytest.importorskip("plotly")
pytest.importorskip("jinja2")

HOSTILE = [
    "<script>window.hacked = 1</script>",
    "</script><script>window.hacked = 2</script>",
    "<img src=x onerror='window.hacked = 3'>",
    "<svg onload=window.hacked=4>",
    "<svg><script>window.hacked=5</script></svg>",
    "<iframe srcdoc='<script>parent.hacked=6</script>'></iframe>",
    "<iframe src='javascript:parent.hacked=7'></iframe>",
    "javascript:window.hacked=8",
    '"><script>window.hacked = 9</script>',
    "' onmouseover='window.hacked = 10' x='",
    "{{ 7 * 7 }}{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
    "${window.hacked = 12}",
    "<!-- --><script>window.hacked = 13</script>",
    "]]><script>window.hacked = 14</script>",
    "<style>body { display: none }</style>",
    "<link rel=stylesheet href=https://example.invalid/x.css>",
    "<img src=https://example.invalid/pixel.png>",
    "<meta http-equiv=refresh content='0;url=https://example.invalid/'>",
    "<base href=https://example.invalid/>",
    "<form action=https://example.invalid/><input autofocus onfocus='window.hacked = 20'></form>",
    "<details open ontoggle='window.hacked = 21'>",
    "\u2028window.hacked = 22\u2029",
    "<a href='https://example.invalid/' ping='https://example.invalid/'>click</a>",
    "\ud800 lone surrogate \x00 and \x1b[31m control",
    "<math><mtext></table><mglyph><style><img src=x onerror='window.hacked=25'>",
]
"""25 completions that try to run, load, or break something."""


def write_log(path: Path, seed: int, shape: float, prompts: int, n: int, temperature: float = 1.0) -> Counts:
    """Rollouts with Beta(shape, 2 shape) success rates; the rates are the same for every seed."""
    rates = np.random.default_rng(0).beta(0.5, 1.0, prompts) ** (1 / shape)
    rng = np.random.default_rng(seed)
    rollouts = []
    with RolloutLog(path) as log:
        name = log.describe({"task": "countdown", "temperature": temperature, "top_p": 1.0, "seed": seed})
        for p in range(prompts):
            for i in range(n):
                right = rng.random() < rates[p]
                hostile = HOSTILE[i] if p == 0 and i < len(HOSTILE) else None
                outcome = "not_judged" if p == 3 and i == 5 else "right" if right else "wrong"
                reason = {"right": "", "wrong": f"gives {p + i}", "not_judged": "the verifier crashed"}[outcome]
                rollouts.append(
                    Rollout(
                        problem=f"p{p}" if p else "<b onclick='window.hacked=99'>p0</b>",
                        sample=i,
                        prompt=f"{p % 19 + 1} {p % 7 + 2} {p % 11 + 3}={p + 10}:",
                        completion=hostile or f"{p % 19 + 1}*{p % 7 + 2}+{i}",
                        outcome=outcome,
                        reason=hostile or reason,
                        tokens=8,
                        truncated=i == 7 and p % 50 == 0,
                        temperature=temperature,
                        seed=seed,
                        settings=name,
                    )
                )
        log.append(rollouts)
    return Counts.from_rollouts(rollouts)


def write_run(path: Path, prompts: int = 40, n: int = 32, steps: int = 20) -> Path:
    """A finished run: recipe, both evaluations, metrics and training rollouts."""
    first = write_log(path / "evaluation" / "before.jsonl", 1, 1.0, prompts, n)
    second = write_log(path / "evaluation" / "after.jsonl", 2, 2.0, prompts, n)
    summary = {
        "status": "done",
        "name": "countdown <i>& friends</i>",
        "objective": "pass_at_k(k=8), rms",
        "seed": 0,
        "command": "advshape train countdown",
        "training": {"steps": steps, "seconds": 183.2},
        "before": {},
        "after": {},
        "change": paired_difference(first, second).to_json(),
        "versions": {"advshape": "0.1.0", "python": "3.11.7", "trl": "1.16.0"},
        "warnings": ["<script>window.hacked = 98</script>"],
    }
    (path / "summary.json").write_text(json.dumps(summary))
    (path / "recipe.toml").write_text('[model]\npath = "countdown"\n# </pre><script>window.hacked = 97</script>\n')
    rng = np.random.default_rng(5)
    with (path / "metrics.jsonl").open("w") as file:
        for step in range(1, steps + 1):
            wrong, right = 0.5 * 0.99**step, 0.02 * step / (1 + 0.02 * step)
            record = {
                "step": step,
                "reward": 0.2 + 0.15 * (1 - 0.97**step) + rng.normal(0, 0.02),
                "advshape/prompts_all_wrong": wrong,
                "advshape/prompts_all_right": right,
                "advshape/prompts_mixed": 1 - wrong - right,
                "advshape/surrogate": 0.6 + 0.1 * (1 - 0.97**step),
                "entropy": 0.55 * 0.98**step,
                "grad_norm": 1.3 + rng.normal(0, 0.1),
            }
            file.write(json.dumps(record) + "\n")
    with (path / "rollouts.jsonl").open("w") as file:
        for step in range(1, steps + 1):
            for p in range(4):
                for i in range(8):
                    right = bool(rng.random() < 0.4)
                    record = {
                        "step": step,
                        "problem": f"train-{p}",
                        "completion": HOSTILE[i] if p == 0 else f"{i}+{p}",
                        "reward": float(right),
                        "verdict": "right" if right else "wrong",
                        "reason": "" if right else "gives 7",
                        "advantage": 1.2 if right else -0.4,
                    }
                    file.write(json.dumps(record) + "\n")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"), prompts=20, n=32)


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
    assert len(groups) == 20
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
    assert len(elements.scripts) == 3
    assert sum(tag == "style" for tag, _ in elements.found) == 1
    assert not [name for _, attributes in elements.found for name in attributes if name.startswith("on")]
    addresses = [a.get("src") or a.get("href") for _, a in elements.found if a.get("src") or a.get("href")]
    assert all(address.startswith(("#", "data:,")) for address in addresses)
    completions = [row[0] for row in payload(page)["sources"][0]["groups"][0]["rollouts"][0]]
    assert completions[: len(HOSTILE)] == HOSTILE
    assert not re.search(r"<script>window\.hacked", page)


def test_the_policy_names_exactly_the_pages_scripts(page):
    (policy,) = [a["content"] for tag, a in Elements(page).found if a.get("http-equiv") == "Content-Security-Policy"]
    for script in Elements(page).scripts[1:]:
        assert f"'sha256-{page_module.sha256(script)}'" in policy
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
    (bare / "metrics.jsonl").write_text("{}\nbroken\n{}\n")
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
    monkeypatch.setattr(page_module, "TEXT_BUDGET", 20_000)
    text = write_report(run, run / "small.html").read_text(encoding="utf-8")
    shown = payload(text)["sources"]
    kept = len(shown[0]["groups"][0]["rollouts"][0])
    assert 1 <= kept < 32
    assert f"The browser holds the first {kept} of 32 rollouts of each prompt" in text
    assert shown[0]["groups"][1]["counts"][0][1] == 32
    assert re.search(r"training rollouts of \d+ of 20 steps", text)


def test_charts_draw_the_data(run):
    items = read_run(run).evaluations
    chart = curves_chart(items)
    lines = [trace for trace in chart["data"] if trace["mode"] == "lines+markers"]
    for item, line in zip(items, lines, strict=True):
        assert line["y"] == item.curve.values.tolist()
    assert len(chart["table"]["rows"]) == sum(item.curve.ks.size for item in items)
    bars = histogram_chart(items)["data"]
    for item, bar in zip(items, bars, strict=True):
        share = item.counts.correct / item.counts.judged
        expected = [np.sum(share == 0)]
        expected += [np.sum((share > i / BINS) & (share <= (i + 1) / BINS) & (share < 1)) for i in range(BINS)]
        assert bar["y"] == [*expected, np.sum(share == 1)]


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


@pytest.fixture(scope="module")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine; install one to run the browser tests")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


def open_page(chromium, path, **options):
    """The page, with lists of what it asked for and complained about."""
    context = chromium.new_context(**options)
    tab, requests, complaints = context.new_page(), [], []
    tab.on("request", lambda r: requests.append(r.url) if not r.url.startswith(("file:", "data:", "blob:")) else None)
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.set_default_timeout(120_000)  # a busy machine takes its time to start a browser
    tab.goto(path.as_uri())
    tab.wait_for_selector("html[data-ready]")
    return tab, requests, complaints


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
def test_in_a_browser(chromium, run, page, scheme):
    from playwright.sync_api import expect

    tab, requests, complaints = open_page(
        chromium, run / "report.html", color_scheme=scheme, viewport={"width": 390, "height": 800}
    )
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert tab.locator(".chart .main-svg").count() > 5
    tab.select_option("#sort", "given")
    for _ in range(5):
        tab.locator("#list").press("ArrowDown")
        tab.wait_for_timeout(20)
    assert tab.locator("#detail h3").inner_text() == "p5"
    tab.locator("#list").press("Home")
    texts = tab.locator("#detail td.text").all_inner_texts()
    assert texts[0] == HOSTILE[0]
    tab.locator("#detail th button").nth(1).click()
    tab.fill("#query", "p7")
    expect(tab.locator("#count")).to_have_text(re.compile("^1 of"), timeout=60_000)
    tab.fill("#query", "")
    tab.select_option("#source", "1")
    expect(tab.locator("#count")).to_have_text("80 of 80 groups", timeout=60_000)
    tab.click("#theme")
    assert tab.evaluate("window.hacked") is None
    assert requests == []
    assert complaints == []


def test_figures_and_data_can_be_saved(chromium, run, page):
    tab, _, complaints = open_page(chromium, run / "report.html", accept_downloads=True)
    for kind, start in (("svg", b"<svg"), ("png", b"\x89PNG"), ("csv", b"evaluation,k,pass@k")):
        with tab.expect_download() as waiting:
            tab.click(f"button[data-save={kind}][data-for=curves]")
        with open(waiting.value.path(), "rb") as file:
            assert file.read(20).startswith(start)
    assert complaints == []
