"""The page of a sweep in a real browser, its plots' numbers, and the perplexities that it joins."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flexnm_rtl.config import ConfigError
from flexnm_tb.known_cells import LIBRARY
from flexnm_tb.sweep import figures
from flexnm_tb.sweep.environment import Environment, Settings, environments
from flexnm_tb.sweep.grid import Axes
from flexnm_tb.sweep.perplexity import DEFAULT, read_perplexities
from flexnm_tb.sweep.report import Report, page
from flexnm_tb.sweep.run import measure_point
from flexnm_tb.sweep.series import front_keys, pareto, series
from flexnm_tb.sweep.store import MEASURED, Row, Store
from hypothesis import given
from hypothesis import strategies as st
from sweep_fakes import fake

FLAGS = ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
         "disable-component-update", "disable-sync", "window-size=1300,1000"]  # fmt: skip
needs_browser = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")), reason="chromium, chromedriver are not installed"
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Twelve points, one of which cannot be built, one without a perplexity (2:8); through a table on disk."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "known.lib").write_text(LIBRARY)
    axes = Axes.parse(patterns="2:4,4:8,8:16,2:8", tops="compressor,mac_array", selectors="rank", lanes="1,4",
                      arrays="1x2", metadata="bitmask", targets="asic")  # fmt: skip
    settings = Settings((folder / "known.lib",))
    found = environments(axes.targets, settings)
    rows = [measure_point(point, found["asic"], settings, fake) for point in axes.points()]
    with Store(folder / "sweep.sqlite") as store:
        for row in rows:
            store.add(row)
        rows = store.rows(row.key for row in rows)
    return Report(rows, axes.describe(), found, read_perplexities(DEFAULT))


@pytest.fixture(scope="module")
def text(report: Report) -> str:
    """The page."""
    return page(report)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium without a window, with a new profile."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in [*FLAGS, f"user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(shutil.which("chromedriver"))))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser: Any, text: str, tmp_path: Path) -> Any:
    """The page, from a file."""
    file = tmp_path / "sweep.html"
    file.write_text(text, encoding="utf-8")
    browser.get(file.as_uri())
    return browser


COLUMN = """
const at = [...document.querySelectorAll("#designs th")].findIndex((head) => head.textContent === arguments[0]);
return [...document.querySelectorAll("#designs tbody tr")].map(
  (row) => arguments[1] ? row.cells[at].dataset.value : row.cells[at].textContent);
"""


def column(browser: Any, heading: str, *, keys: bool = False) -> list[str]:
    """Texts of a column of the table, from the top, or its sort keys."""
    texts: list[str] = browser.execute_script(COLUMN, heading, keys)
    return texts


def click(browser: Any, heading: str) -> str:
    """Click on a heading; how the table is sorted by it now."""
    (button,) = browser.find_elements("xpath", f"//table[@id='designs']//button[text()='{heading}']")
    button.click()
    return str(button.find_element("xpath", "..").get_attribute("aria-sort"))


@needs_browser
def test_page_is_whole(opened: Any, report: Report) -> None:
    """Three plots with a size, a row for each design, nothing on the console, nothing from elsewhere."""
    assert opened.title == "flexnm: design space"
    sizes = opened.execute_script(
        "return [...document.images].map((i) => [i.closest('figure').id, i.complete, i.naturalWidth, i.clientHeight])"
    )
    assert [size[:2] for size in sizes] == [["element", True], ["throughput", True], ["loss", True]]
    assert all(natural > 300 and height > 100 for _, _, natural, height in sizes)
    assert column(opened, "pattern") == [row.pattern for row in report.rows]
    assert column(opened, "status") == [row.status for row in report.rows]
    assert [float(value) if value else None for value in column(opened, "area, µm²", keys=True)] == [
        row.area_um2 for row in report.rows
    ]
    assert column(opened, "10⁹ elements/s")[1] == f"{report.rows[1].gelements_per_s:.3f}"
    assert opened.get_log("browser") == []
    fetched = opened.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert [name for name in fetched if not name.startswith("data:")] == []
    assert opened.execute_script("return document.body.scrollWidth <= innerWidth")


@needs_browser
def test_headings_sort(opened: Any, report: Report) -> None:
    """By number, up and down, empty cells last; texts with their numbers by value: 2:4, 2:8, 4:8, 8:16."""
    rates = sorted(row.fmax_mhz for row in report.rows if row.fmax_mhz is not None)
    empty = [""] * (len(report.rows) - len(rates))
    assert len(empty) == 2
    assert click(opened, "Fmax, MHz") == "ascending"
    assert column(opened, "Fmax, MHz") == [f"{rate:.0f}" for rate in rates] + empty
    assert click(opened, "Fmax, MHz") == "descending"
    assert column(opened, "Fmax, MHz") == [f"{rate:.0f}" for rate in reversed(rates)] + empty
    assert click(opened, "pattern") == "ascending"
    assert column(opened, "pattern") == sorted(
        (row.pattern for row in report.rows), key=lambda p: [*map(int, p.split(":"))]
    )
    assert len(opened.find_elements("css selector", "th[aria-sort]")) == 1


def test_equal_data_equal_bytes(report: Report, text: str) -> None:
    """No date, no path, no time that a measurement took."""
    slower = [Row(**{**vars(row), "seconds": 99.0}) for row in report.rows]
    assert page(Report(slower, report.axes, report.environments, report.perplexities)) == text


def test_texts_are_escaped(report: Report) -> None:
    """A remark is no markup."""
    (row, *_) = report.rows
    bad = Row(**{**vars(row), "status": "failed", "reason": "<b>&"})
    short = page(Report([bad], report.axes, report.environments, report.perplexities))
    assert "<td>&lt;b&gt;&amp;</td>" in short
    assert short.count("No design has these figures.") == 3


def test_perplexities(report: Report, text: str, tmp_path: Path) -> None:
    """The loss is that of docs/accuracy.md; the page says which pattern has none."""
    known = report.perplexities
    assert known.loss("8:16") == pytest.approx(math.log(44.56 / 20.59))
    assert (known.loss("dense"), known.loss("2:8")) == (0, None)
    assert "No perplexity is known for 2:8." in text
    file = tmp_path / "ppl.json"
    rows = [{"pattern": "dense", "perplexity": 10.0, "ratio": 1.0, "seconds": 1.0}]
    content = {"model": "a/b/tiny.gguf", "text": None, "windows": 3, "window": 64, "rows": rows}
    file.write_text(json.dumps(content))
    assert read_perplexities(file).source == "tiny.gguf, 3 windows of 64 tokens"
    for broken in ("[]", "{", json.dumps(content | {"rows": []}), json.dumps(content | {"rows": [{"pattern": "2:4"}]})):
        file.write_text(broken)
        with pytest.raises(ConfigError, match=r"PERPLEXITY=\S+ (is not understood|needs)"):
            read_perplexities(file)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)).map(lambda p: (float(p[0]), float(p[1])))))
def test_pareto_front(points: list[tuple[float, float]]) -> None:
    """Exactly the points that none is better than."""

    def beaten(point: tuple[float, float]) -> bool:
        return any(p != point and p[0] <= point[0] and p[1] >= point[1] for p in points)

    assert pareto(points) == sorted({point for point in points if not beaten(point)})


def test_series_say_what_differs(report: Report) -> None:
    """At 4:8 and 8:16 the arrays differ in lanes; 2:8 also in the share that is kept."""
    arrays = [row for row in report.rows if row.top == "mac_array" and row.status == MEASURED]
    half = [row for row in arrays if 2 * row.n == row.m]
    assert {name: [row.pattern for row in rows] for name, rows in series(half).items()} == {
        "1 lane": ["2:4", "4:8", "8:16"],
        "N lanes": ["4:8"],
        "4 lanes": ["8:16"],
    }
    assert "1 lane, 25 % kept" in series(arrays)
    assert set(series(arrays, without=["density"])) == set(series(half))
    # Of equal areas the one with more throughput, of equal throughputs the smaller one.
    assert {row.pattern for row in report.rows if row.key in front_keys(report.rows[:4])} == {
        "2:4",
        "4:8",
        "2:8",
        "8:16",
    }


def test_plots_hold_the_numbers(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn is what the rows say."""
    drawn: list[dict[str, Any]] = []

    def keep(places: Any, draw: Any) -> str:
        drawn.append({row.key: (x, y) for row, x, y in places})
        return ""

    monkeypatch.setattr(figures, "_svg", keep)
    page(report)
    row: Row = report.rows[1]
    assert [plot[row.key] for plot in drawn] == [
        (8.0, 100.0),
        (8 * 920 / 1e3, 800.0),
        (100.0, pytest.approx(math.log(54.78 / 20.59))),
    ]


def test_environment_is_told(report: Report, text: str) -> None:
    """Library and versions, by name and digest, without the path of the file."""
    shared: Environment = report.environments["asic"]
    assert f"known.lib (SHA-256 {shared.shared['liberty'][0]['sha256'][:12]}…)" in text
    assert f"pyosys {shared.shared['tools']['pyosys']}" in text
    assert "aim 200 MHz" in text
    assert str(Path.cwd()) not in text
