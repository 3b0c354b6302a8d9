"""The pages in a real browser (security): hostile texts stay texts, nothing is asked of any server; use by keyboard.

Skipped where Playwright or a Chromium is missing.
"""

import re
import shutil
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from advshape.report import write_comparison, write_report

pytest.importorskip("plotly")
pytest.importorskip("jinja2")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
spec = spec_from_file_location("report_data", Path(__file__).with_name("report_data.py"))
report_data = module_from_spec(spec)
spec.loader.exec_module(report_data)
HOSTILE = report_data.HOSTILE
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 800}
PAINT = """(word) => new Promise((done) => {
  const box = document.getElementById("query");
  const start = performance.now();
  box.value = word;
  box.dispatchEvent(new Event("input", { bubbles: true }));
  requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => done(performance.now() - start);
    port2.postMessage(0);
  });
})"""
"""Milliseconds from a keystroke in the filter to the end of the frame that shows its result."""


@pytest.fixture(scope="module")
def chromium():
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine; install one to run the browser tests")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The page of a run whose completions, prompts, reasons and name are hostile."""
    return write_report(report_data.write_run(tmp_path_factory.mktemp("run"), prompts=40, n=len(HOSTILE), steps=6))


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """The page of a comparison whose labels, prompts, ids and completions are hostile."""
    folder = tmp_path_factory.mktemp("logs")
    for seed in (1, 2):
        report_data.write_log(folder / f"{seed}.jsonl", seed, seed, prompts=40, n=4)
    labels = HOSTILE
    found = report_data.compared([folder / "1.jsonl", folder / "2.jsonl"], labels[:2])
    data = found.to_json()
    run, pair = data["runs"][1], data["pairs"][0]
    data["runs"] += [{**run, "label": label} for label in labels[2:]]
    data["pairs"] += [{**pair, "second": label} for label in labels[2:]]
    data["notes"], data["title"] = list(HOSTILE), HOSTILE[0]
    return write_comparison(data, folder / "page.html")


class Tab:
    """An open page, and what it asked for, complained about, and put up."""

    def __init__(self, chromium, path, **options):
        self.context = chromium.new_context(**options)
        self.page = self.context.new_page()
        self.requests, self.complaints, self.dialogs = [], [], []
        self.page.route(re.compile(r"^(?!file:|data:|blob:)"), self.refuse)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        self.page.on("request", self.note)
        self.page.set_default_timeout(240_000)  # a busy machine takes its time to start a browser
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-ready]")
        self.start = self.page.evaluate("Object.getOwnPropertyNames(window).length")

    def note(self, request):
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.requests.append(request.url)

    def refuse(self, route):
        self.requests.append(route.request.url)
        route.abort()

    def check(self):
        """Nothing of what a hostile text wants has happened."""
        assert self.page.evaluate("window.hacked") is None
        assert self.page.evaluate("Object.getOwnPropertyNames(window).length") == self.start
        assert (self.requests, self.complaints, self.dialogs) == ([], [], [])
        assert len(self.context.pages) == 1
        foreign = "iframe, object, embed, form[action], img, math, base, script[src], main a:not([href^='#'])"
        assert self.page.locator(foreign).count() == 0
        self.context.close()


@pytest.mark.parametrize(("scheme", "lightness"), [("light", 240), ("dark", 20)])
def test_a_derivation_follows_theme_and_width(chromium, tmp_path, scheme, lightness):
    """`advshape derive --plot page.html` on a phone: nothing to scroll sideways, in the colours of the system."""
    from advshape.catalogue.derivation import derive
    from advshape.report.pages.derivation import save_derivation

    found = derive("1-(1-rho)**4 + 0.1*entropy(rho)", 16, against="grpo,pkpo_loo")
    page = save_derivation(found, tmp_path / "page.html")
    tab = Tab(chromium, page, color_scheme=scheme, viewport=PHONE)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    paper = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
    ink = tab.page.locator(".legendtext").first.evaluate("(text) => getComputedStyle(text).fill")
    assert abs(int(re.search(r"\d+", paper)[0]) - lightness) < 20
    assert (int(re.search(r"\d+", ink)[0]) < 128) == (lightness > 128)
    assert tab.page.locator(".chart .scatterlayer").count() == 4
    assert tab.page.locator("#chart-advantage .legendtext").count() == 3
    for box in (item.bounding_box() for item in tab.page.locator(".chart .plot").all()):
        assert box["width"] > 200
        assert box["height"] > 120
    tab.check()


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
def test_a_hostile_run_stays_text(chromium, run, scheme):
    tab = Tab(chromium, run, color_scheme=scheme, viewport=PHONE)
    page = tab.page
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.locator(".chart .main-svg").count() > 5
    page.select_option("#sort", "given")
    texts = page.locator("#detail td.text").all_inner_texts()
    assert texts[0] == HOSTILE[0]
    assert texts[23] == "U+D800 lone surrogate U+0000 and U+001B[31m control"
    page.locator("#detail button.more", has_text="show 2 of 2 more").first.click()
    page.locator("#detail button.more", has_text="characters").first.click()
    assert max(map(len, page.locator("#detail td.text").all_inner_texts())) > 20_000
    for _ in range(39):  # every hostile prompt and id is opened
        page.locator("#list").press("ArrowDown")
    assert page.locator("#detail h3").inner_text() == "p39"
    for word in ("<script", "</style>", "{{", "\u202e", "\\", "%{"):
        page.fill("#query", word)
        assert page.locator("#list .row").count() >= 1, word
    page.locator("#detail mark").first.wait_for()
    page.click("#clear")
    page.select_option("#source", "1")
    sync_api.expect(page.locator("#count")).to_have_text("24 of 24 groups")
    page.locator("#detail th button", has_text="advantage").click()
    page.click("#theme")
    tab.check()


def test_a_hostile_comparison_stays_text(chromium, comparison):
    tab = Tab(chromium, comparison, viewport=PHONE)
    page = tab.page
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    names = " ".join(page.locator(".legendtext").all_text_contents())
    assert "<b>bold</b> $x^2$" in names
    assert '<a href="javascript:win' in names.replace(" ", "").replace("<ahref", "<a href")
    assert page.locator(".legendtext a, .legendtext b, .legendtext [style*='bold']").count() == 0
    for chart in ("curves", "difference", "histogram"):
        box = page.locator(f"#chart-{chart}").bounding_box()
        for step in range(4):
            page.mouse.move(box["x"] + box["width"] * (0.3 + 0.15 * step), box["y"] + box["height"] - 90)
    for summary in page.locator("details.case summary").all()[:6]:
        summary.click()
    tab.check()


def test_filters_and_order(chromium, run):
    tab = Tab(chromium, run, viewport=DESKTOP)
    page = tab.page
    page.select_option("#sort", "given")
    page.select_option("#verdict", "not_judged")
    sync_api.expect(page.locator("#count")).to_have_text("1 of 40 groups")
    assert set(page.locator("#detail .badge").all_inner_texts()) == {"not judged"}
    page.click("#clear")
    page.select_option("#source", "1")
    button = page.locator("#detail th button", has_text="advantage")
    column = page.locator("#detail thead button").all_inner_texts().index("advantage")
    for sign in (1, -1):
        button.focus()
        page.keyboard.press("Enter")
        values = [float(t) for t in page.locator(f"#detail tbody td:nth-child({column + 1})").all_inner_texts()]
        assert values == sorted(values, reverse=sign < 0)
        assert len(set(values)) == 2
    assert page.evaluate("document.activeElement.textContent") == "advantage ↓"
    page.select_option("#source", "0")
    page.locator("#chart-change").scroll_into_view_if_needed()
    box = page.locator("#chart-change .points path").first.bounding_box()  # the first prompt's point
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.up()
    sync_api.expect(page.locator("#count")).to_have_text(re.compile(r"^\d of 40 groups, chosen in the chart$"))
    tab.check()


def test_ten_thousand_rollouts_without_lag(chromium, tmp_path):
    """157 prompts with 64 rollouts: a keystroke is painted in under 100 ms, and few elements exist."""
    report_data.write_log(tmp_path / "rollouts.jsonl", 1, 1.0, prompts=157, n=64)
    tab = Tab(chromium, write_report(tmp_path), viewport=DESKTOP)
    devtools = tab.context.new_cdp_session(tab.page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy():
        """Milliseconds of processor time that the page's main thread has used; other programs do not change it."""
        metrics = {item["name"]: item["value"] for item in devtools.send("Performance.getMetrics")["metrics"]}
        return 1000 * metrics["TaskDuration"]

    tab.page.evaluate(PAINT, "warm")
    wall, processor = [], []
    for word in ("1", "10", "1", "7*", "", "gives", "gives 1", "p3", "p"):
        before = busy()
        wall.append(round(tab.page.evaluate(PAINT, word)))
        processor.append(round(busy() - before))
    print(f"milliseconds from keystroke to frame {wall}, of processor time {processor}")
    assert 0 < max(processor) < 100
    assert tab.page.locator("#list .row").count() < 40
    assert tab.page.locator("#detail tr").count() == 1 + 32
    tab.check()


def test_a_dark_page_prints_in_light_colours(chromium, run, tmp_path):
    tab = Tab(chromium, run, color_scheme="dark", viewport=DESKTOP)
    tab.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    tab.page.emulate_media(media="print")
    assert tab.page.evaluate("getComputedStyle(document.body).color") == "rgb(29, 33, 39)"
    assert tab.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    widths = tab.page.evaluate(
        "[...document.querySelectorAll('.main-svg')].map((s) => s.getBoundingClientRect().right)"
    )
    assert max(widths) <= tab.page.evaluate("document.body.getBoundingClientRect().right")
    assert not tab.page.locator("#rollouts").is_visible()
    tab.page.emulate_media(media="screen")
    tab.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.page.evaluate("getComputedStyle(document.body).color") == "rgb(231, 234, 238)"
    tab.page.pdf(path=tmp_path / "page.pdf", format="A4")
    assert (tmp_path / "page.pdf").stat().st_size > 20_000
    tab.check()


def test_figures_and_data_can_be_saved(chromium, run):
    tab = Tab(chromium, run, accept_downloads=True)
    for kind, start in (("svg", b"<svg"), ("png", b"\x89PNG"), ("csv", b"evaluation,k,pass@k")):
        with tab.page.expect_download() as waiting:
            tab.page.click(f"button[data-save={kind}][data-for=curves]")
        with open(waiting.value.path(), "rb") as file:
            assert file.read(20).startswith(start)
    assert (tab.requests, tab.complaints) == ([], [])
