"""The report as a page: nothing but what the report says, and it works in a browser."""

import base64
import re
import shutil
from pathlib import Path

import pytest

from reports.page import page, write_page
from reports.report import write_report
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


def test_a_real_report_shows_all_its_figures_and_prints(sweep: Path, browser):
    path = write_report([sweep]).path
    browser.get(f"file://{write_page(path)}")
    shown = browser.execute_async_script("""
        const images = [...document.images], done = arguments[0];
        images.forEach(image => image.loading = 'eager');
        Promise.all(images.map(image => image.decode())).then(() => done(images.map(image => image.naturalWidth)));
    """)
    assert len(shown) == path.read_text().count("![")
    assert all(width > 100 for width in shown)
    wide = browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert wide  # what is wider scrolls by itself
    assert browser.get_log("browser") == []
    printed = base64.b64decode(browser.print_page())
    assert printed.startswith(b"%PDF")
    assert printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") + printed.count(b"/Type /Page>") >= 2
