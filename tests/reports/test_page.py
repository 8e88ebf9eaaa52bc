"""The report as a page: nothing but what the report says, and it works in a browser."""

import base64
import json
import re
import shutil
from pathlib import Path

import pytest

from reports.figures.style import contender_looks
from reports.page import page, write_page
from reports.report import write_report
from tests.reports.conftest import write_run
from tests.reports.test_hostile import TEXTS

GALLERY = Path(__file__).parents[2] / "reports" / "gallery"
REPORT = """# A sweep

## Results

### adding

| cell | solved | steps | loss |
|:-----|-------:|------:|-----:|
{rows}

![A figure](figure.png)

A caption.

```
python -m bench +sweep=quick
```
"""
ROWS = [
    ("lstm", "10/10", "1,050 [900, 1,100]", "0.002"), ("rnn", "0/10", ">1,500", "0.17"),
    ("gru", "9/10", "300", "1e-05"), ("none", "–", "–", "–"), ("wide", "2/10", "about 1.2k", "0.01"),
    ("big", "3/10", "1,500", "0.02"), ("odd", "5/10", "never", "0.03"), ("more", "6/10", "≥700", "0.04"),
]  # fmt: skip


@pytest.fixture
def report(tmp_path: Path) -> Path:
    rows = "\n".join(f"| {' | '.join(row)} |" for row in ROWS)
    (tmp_path / "README.md").write_text(REPORT.format(rows=rows))
    shutil.copy(GALLERY / "quick" / "step_time.png", tmp_path / "figure.png")
    return tmp_path / "README.md"


def test_it_is_one_file_with_its_figures(report: Path):
    text = write_page(report).read_text()
    (source,) = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert base64.b64decode(source) == (report.parent / "figure.png").read_bytes()
    assert "figure." not in text
    assert not re.search(r'(?:src|href)="(?!data:|#)', text)
    assert "<pre><code>python -m bench +sweep=quick" in text
    assert re.search(r'<a class="level2" href="#(section-\d+)">Results</a>', text)


def test_a_figure_that_is_missing_is_none(report: Path):
    (report.parent / "figure.png").unlink()
    assert 'src=""' in page(report.read_text(), report.parent)


@pytest.mark.parametrize("text", TEXTS)
def test_what_data_say_is_text(tmp_path: Path, text: str):
    found = page(f"# {text}\n\n| cell |\n|---|\n| {text} |\n\n{text}\n", tmp_path)
    body = found[found.index("<main>") : found.index("</main>")]
    assert "<script" not in body
    assert 'href="javascript' not in found
    assert found.count("<script>") == 1


def test_figures_elsewhere_are_not_read(tmp_path: Path):
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "report").mkdir()
    assert base64.b64encode(b"secret").decode() not in page("![x](../secret.png)", tmp_path / "report")


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no chromium with chromedriver here")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1300,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(driver)) as found:
        yield found


def column(browser, number: int) -> list[str]:
    script = """return [...document.querySelectorAll('tbody tr')].filter(row => !row.hidden)
        .map(row => row.cells[arguments[0]].textContent)"""
    return browser.execute_script(script, number)


def test_a_browser_sorts_and_filters_it(report: Path, browser):
    browser.get(f"file://{write_page(report)}")
    headers = browser.find_elements("css selector", "th")
    headers[2].click()
    ascending = ["300", "≥700", "1,050 [900, 1,100]", "about 1.2k", "1,500", ">1,500"]
    assert column(browser, 2)[:6] == ascending
    assert set(column(browser, 2)[6:]) == {"–", "never"}
    headers[2].click()
    assert column(browser, 2)[:6] == ascending[::-1]
    assert headers[2].get_attribute("aria-sort") == "descending"
    headers[3].send_keys("\ue007")  # Enter
    assert column(browser, 3) == ["1e-05", "0.002", "0.01", "0.02", "0.03", "0.04", "0.17", "–"]
    assert headers[2].get_attribute("aria-sort") is None
    headers[0].click()
    assert column(browser, 0) == sorted(row[0] for row in ROWS)
    browser.find_element("css selector", "input").send_keys("r 1")
    assert set(column(browser, 0)) == {"gru", "rnn", "more", "odd"}  # both words, wherever in the row
    assert browser.get_log("browser") == []


@pytest.fixture
def explored(sweep: Path, browser):
    """A page of a sweep with curves, in the browser at the size of a desktop."""
    for folder in (sweep / "runs").iterdir():
        lines = [
            {"step": step, "samples": 64 * step, "seconds": step / 100, "loss": 1 / step, "train_loss": 1 / step,
             "grad_norm": 1.0} for step in (50, 100, 200, 400)
        ]  # fmt: skip
        (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    report = write_report([sweep])
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get(f"file://{write_page(report.path, report.stored)}")
    yield report
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert browser.get_log("browser") == []  # and whatever it would ask for from elsewhere is an error there


def seen(browser, selector: str) -> list[str]:
    script = """return [...document.querySelectorAll(arguments[0])].filter(each => !each.closest('[hidden]'))
        .map(each => each.textContent)"""
    return browser.execute_script(script, selector)


def test_filters_hold_for_tables_and_curves(explored, browser):
    titles = "#charts figcaption"
    assert len(seen(browser, titles)) == 2
    assert all("gru" in title for title in seen(browser, titles))
    boxes = {label.text: label for label in browser.find_elements("css selector", "#filters label")}
    boxes["gru"].click()
    boxes["copy"].click()
    assert len(seen(browser, titles)) == 1
    assert "gru" not in seen(browser, titles)[0]
    rows = seen(browser, "#runs tbody tr")
    assert len(rows) == 6  # two cells on a task, three seeds
    assert not [row for row in rows if "gru" in row or "copy" in row]
    assert seen(browser, "h3") == ["adding"]


@pytest.fixture
def two(sweep: Path, browser):
    """A page of two sweeps that differ in the learning rate, in the browser."""
    other = sweep.parent / "other"
    for seed in range(3):
        for cell, steps in (("lstm", 400), ("gru", 350)):
            write_run(other, cell, "adding", seed, steps + 25 * seed, training={"learning_rate": 0.003})
    (other / "sweep.json").write_text(json.dumps({"commands": ["python -m bench +sweep=other"]}))
    report = write_report([sweep, other])
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get(f"file://{write_page(report.path, report.stored)}")
    yield report
    assert browser.get_log("browser") == []


def test_two_sweeps_stand_side_by_side(two, browser):
    titles = "#charts figcaption"
    said = ["adding, sweep demo  rnn  lstm  gru", "adding, sweep other  lstm  gru", "copy, sweep demo  rnn  lstm  gru"]
    assert seen(browser, titles) == said
    one, other, _ = (figure.rect for figure in browser.find_elements("css selector", "#charts figure"))
    assert one["y"] == other["y"]
    assert one["x"] < other["x"]
    scale = browser.execute_script("""return [...document.querySelectorAll('#charts figure > svg')].slice(0, 2)
        .map(svg => [...svg.querySelectorAll(':scope > text')].map(each => each.textContent))""")
    assert scale[0] == scale[1]
    boxes = {label.text: label for label in browser.find_elements("css selector", "#filters label")}
    assert set(boxes) == {"rnn", "lstm", "gru", "adding", "copy", "demo", "other"}
    colours = "return [...arguments[0].querySelectorAll('.swatch line')].map(line => line.getAttribute('stroke'))"
    captions = [browser.execute_script(colours, each) for each in browser.find_elements("css selector", titles)]
    looks = contender_looks(two.stored.results)
    assert captions[1] == [looks["lstm, sweep other"].colour, looks["gru, sweep other"].colour]
    assert browser.execute_script(colours, boxes["gru"]) == [captions[0][2], captions[1][1]]
    boxes["demo"].click()
    assert len(seen(browser, titles)) == 1
    assert len(seen(browser, "#runs tbody tr")) == 6
    boxes["gru"].click()
    assert len(seen(browser, "#runs tbody tr")) == 3
    assert not [row for row in seen(browser, "tbody tr") if row.startswith("gru")]
    row = browser.find_elements("css selector", "#runs tbody tr:not([hidden])")[0]
    browser.execute_script("arguments[0].click()", row)
    said = browser.find_element("css selector", "#run").text
    assert "python -m bench +sweep=other cell=lstm task=adding seed=0" in said


def test_many_cells_are_chosen_from_a_folded_list(sweep: Path, browser):
    for number in range(12):
        write_run(sweep, f"cell{number}", "adding", 0, 300 + number)
    report = write_report([sweep])
    browser.get(f"file://{write_page(report.path, report.stored)}")
    assert not browser.find_elements("css selector", "#filters details[open]")
    browser.find_element("css selector", "#filters summary").click()
    assert seen(browser, "#filters summary") == ["cell15 of 15"]
    every, none = browser.find_elements("css selector", "#filters button")
    none.click()
    assert seen(browser, "#charts figcaption") == []
    next(label for label in browser.find_elements("css selector", "#filters label") if label.text == "cell3").click()
    assert seen(browser, "#filters summary") == ["cell1 of 15"]
    assert seen(browser, "#charts figcaption") == ["adding  cell3"]
    assert len(seen(browser, "#runs tbody tr")) == 1
    every.click()
    assert len(seen(browser, "#runs tbody tr")) == len(report.stored.results)
    assert browser.get_log("browser") == []


def test_a_run_opens_from_its_row(explored, browser):
    row = browser.find_element("css selector", "#runs tbody tr")
    browser.execute_script("arguments[0].click()", row)
    said = browser.find_element("css selector", "#run").text
    run = explored.stored.results.iloc[0]
    assert run["run_id"] in said
    assert f"python -m bench +sweep=demo cell={run['cell']} task={run['task']} seed={run['seed']}" in said
    assert "training.learning_rate" in said
    assert browser.find_elements("css selector", "#run figure path")


@pytest.mark.parametrize("permitted", [True, False])
def test_a_command_is_copied_by_its_button(explored, browser, permitted: bool):
    if not permitted:
        browser.execute_script("navigator.clipboard.writeText = () => Promise.reject(new Error('not permitted'))")
    row = browser.find_element("css selector", "#runs tbody tr")
    browser.execute_script("arguments[0].click()", row)
    button = browser.find_element("css selector", "#run pre button")
    button.click()
    command = browser.execute_script("return arguments[0].parentElement.querySelector('code').textContent", button)
    wait = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait
    wait(browser, 5).until(lambda _: button.text == "Copied")
    browser.find_element("css selector", "#run > button").click()
    search = browser.find_element("css selector", "input[placeholder]")
    search.send_keys("\ue009v")  # Ctrl-V
    assert search.get_attribute("value") == command
    search.clear()


def test_curves_are_read_and_zoomed(explored, browser):
    chart = browser.find_element("css selector", "#charts figure > svg")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", chart)
    webdriver = pytest.importorskip("selenium.webdriver")
    webdriver.ActionChains(browser).move_to_element(chart).perform()
    said = browser.find_element("css selector", "#charts .tip").text
    assert re.match(r"step 1\d\d: ▸?rnn 0.010 · ▸?lstm 0.010", said)  # 1/100, before the evaluation at 200 of 400 steps
    before = seen(browser, "#charts figure > svg text")
    webdriver.ActionChains(browser).click_and_hold(chart).move_by_offset(100, 0).release().perform()
    assert seen(browser, "#charts figure > svg text") != before
    webdriver.ActionChains(browser).double_click(chart).perform()
    assert seen(browser, "#charts figure > svg text") == before


@pytest.mark.drawn
@pytest.mark.parametrize("dark", [False, True])
def test_on_a_telephone_nothing_is_wider_than_it(explored, browser, dark: bool):
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.refresh()
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    contents = browser.find_element("css selector", "nav summary")
    assert contents.rect["y"] + contents.rect["height"] < 800  # on the first screen
    back = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert back == ("rgb(27, 27, 27)" if dark else "rgb(255, 255, 255)")


@pytest.mark.drawn
def test_a_real_report_shows_all_its_figures_and_prints(sweep: Path, browser):
    report = write_report([sweep])
    path = report.path
    browser.get(f"file://{write_page(path, report.stored)}")
    browser.execute_script("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    shown = browser.execute_async_script("""
        const images = [...document.images], done = arguments[0];
        images.forEach(image => image.loading = 'eager');
        Promise.all(images.map(image => image.decode())).then(() => done(images.map(image => image.naturalWidth)));
    """)
    assert len(shown) == path.read_text().count("![") - 1  # learning curves are charts
    assert all(width > 100 for width in shown)
    wide = browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert wide  # what is wider scrolls by itself
    assert browser.get_log("browser") == []
    printed = base64.b64decode(browser.print_page())
    assert printed.startswith(b"%PDF")
    assert printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") + printed.count(b"/Type /Page>") >= 2
