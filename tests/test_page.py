"""The review page in a real browser, from disk: figures drawn, tables sorted, texts copied, nothing asked of any host."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

import ojp_sizing as ojp

EASY = ojp.Objectives(fast_p99_s=1.0, slow_p99_s=10.0)
HOSTILE = "</script><img src=x onerror=alert(1)><b>x</b>{{ 1 + 1 }}"
MOST_BYTES = 8_000_000
pytestmark = pytest.mark.usefixtures("whole_answers")


@dataclass(slots=True)
class Opened:
    """A page in the browser, and all that it asked for or complained of."""

    page: Page
    asked: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Debian's own; as root it has no sandbox.
        yield playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])


def opened(browser: Browser, html: str, path: Path, **looks: object) -> Opened:
    """The page, from disk and without a network."""
    path.write_text(html, encoding="utf-8")
    context = browser.new_context(offline=True, permissions=["clipboard-read", "clipboard-write"], **looks)  # type: ignore[arg-type]
    found = Opened(context.new_page())
    found.page.on("request", lambda request: found.asked.append(request.url))
    found.page.on("console", lambda message: found.said.append(message.text))
    found.page.on("pageerror", lambda error: found.said.append(str(error)))
    found.page.goto(path.as_uri())
    return found


@pytest.fixture(scope="module")
def answer() -> ojp.Recommendation:
    return ojp.size(ojp.Question("web-oltp", 20.0, objectives=EASY, most_replicas=3))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def html(answer: ojp.Recommendation) -> str:
    return answer.report()


def test_the_review_holds_what_the_meeting_needs(
    answer: ojp.Recommendation, html: str, browser: Browser, tmp_path: Path
) -> None:
    assert len(html.encode()) < MOST_BYTES
    it = opened(browser, html, tmp_path / "review.html")
    page = it.page
    # The verdict is the title and the first line.
    assert page.title() == " ".join(answer.summary.split())
    assert page.locator("h1").inner_text().startswith(answer.verdict.value.upper())
    assert page.locator("main > *").first.evaluate("one => one.tagName") == "H1"
    # Every figure has drawn marks.
    plots = page.locator(".plot").all()
    assert len(plots) == 6
    for plot in plots:
        assert plot.locator(".scatterlayer path, .barlayer path, .heatmaplayer image").count() > 0
        titles = plot.locator("text[class*='title']").all_text_contents()
        assert any(titles), titles
    captions = page.locator("figcaption").all_inner_texts()
    assert all(len(caption) > 80 for caption in captions)
    # A click on an entry of a legend hides what it names.
    timeline = plots[2]
    shown = timeline.locator(".scatterlayer .trace").count()
    timeline.locator(".legendtoggle").first.click()
    page.wait_for_function(
        "([place, count]) => place.querySelectorAll('.scatterlayer .trace').length < count",
        arg=[timeline.element_handle(), shown],
    )
    # A table sorts by number, up and down.
    table = page.locator("table", has_text="Predicted, value")
    head = table.locator("thead th").nth(1).locator("button")
    columns = []
    for _ in range(2):
        head.click()
        columns.append([_leading(text) for text in table.locator("tbody tr td:nth-child(2)").all_inner_texts()])
    assert columns[0] == sorted(columns[0])
    assert columns[1] == columns[0][::-1]
    assert len(set(columns[0])) > 3
    # The files are those that the command writes, and a button copies them.
    files = answer.files()
    for name, text in files.items():
        file = page.locator("details.file", has=page.locator("summary", has_text=re.compile(f"^{re.escape(name)}$")))
        assert file.locator("pre").evaluate("one => one.textContent") == text
    file = page.locator("details.file", has_text="values.yaml").first
    file.locator("summary").click()
    file.locator(".copy").click()
    assert page.evaluate("navigator.clipboard.readText()").replace("\r", "") == files["values.yaml"]
    assert file.locator(".copy").inner_text() == "Copied"
    # And nothing was asked of anybody but the disk, or complained of.
    assert it.asked == [(tmp_path / "review.html").as_uri()]
    assert it.said == []


def _leading(text: str) -> float:
    found = re.match(r"[-\d,.]+", text)
    return float(found[0].replace(",", "")) if found else 0.0


def test_a_phone_a_dark_room_and_paper(html: str, browser: Browser, tmp_path: Path) -> None:
    phone = opened(browser, html, tmp_path / "phone.html", viewport={"width": 390, "height": 800}).page
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    assert all(one.bounding_box()["width"] <= 390 for one in phone.locator(".plot .main-svg").all())  # type: ignore[index]
    dark = opened(browser, html, tmp_path / "dark.html", color_scheme="dark")
    light = dark.page.evaluate("getComputedStyle(document.body).color")
    drawn = dark.page.locator(".plot .xtitle").first.evaluate("one => getComputedStyle(one).fill")
    assert light == drawn == "rgb(232, 234, 237)"
    dark.page.pdf(path=tmp_path / "review.pdf", prefer_css_page_size=True)
    pdf = (tmp_path / "review.pdf").read_bytes()
    sizes = {tuple(map(float, size.split())) for size in re.findall(rb"/MediaBox \[0 0 ([\d.]+ [\d.]+)\]", pdf)}
    assert {(round(w), round(h)) for w, h in sizes} == {(595, 842)}
    assert dark.said == []


def test_an_ask_that_none_meets_says_so_in_its_title_and_first_line(browser: Browser, tmp_path: Path) -> None:
    question = ojp.Question("web-oltp", 2000.0, database=ojp.Database(cores=1.0))  # type: ignore[arg-type]
    none = ojp.size(question)
    it = opened(browser, none.report(), tmp_path / "none.html")
    assert it.page.title().startswith("NOT MET nothing can carry 2,000 units of work/s")
    assert it.page.locator("h1").inner_text().startswith("NOT MET")
    assert it.page.locator("h1").get_attribute("class") == "not-met"
    assert "Closest request that might be met" in it.page.locator("p.first").inner_text()
    assert it.page.locator("details.file").count() == 2
    assert it.said == []


def test_hostile_names_are_text_on_the_page_and_in_its_figures(browser: Browser, tmp_path: Path) -> None:
    workload = replace(ojp.read_workload("web-oltp"), name=HOSTILE)
    given = ojp.Deployment(3, 1.0, ojp.ClientPool(12, 5), ojp.ServerSettings(segregation=False), warm_pools=True)
    looked = ojp.look(ojp.Question(workload, 20.0, objectives=EASY), given, runs=2)
    it = opened(browser, looked.report(closer=False), tmp_path / "hostile.html")
    assert it.page.title().startswith("UNDECIDED")
    assert HOSTILE in it.page.locator("h1").inner_text()
    assert it.page.locator("img, main b").count() == 0
    assert it.said == []


def test_report_writes_the_page_and_the_flag_writes_it_beside_the_files(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ojp_sizing"]
    ask = ("--peak-rps", "2000", "--db-cores", "1")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)

    alone = run("report", *ask, "--to", "r.html")
    assert alone.returncode == 3, alone.stderr
    assert alone.stdout.startswith("NOT MET")
    assert alone.stdout.endswith("Written: r.html\n")
    beside = run(*ask, "--report", "s.html", "--json")
    assert beside.returncode == 3
    assert json.loads(beside.stdout)["verdict"] == "not met"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.html", "s.html"]
    assert (tmp_path / "s.html").read_bytes() == (tmp_path / "r.html").read_bytes()
    (tmp_path / "r.html").write_text("mine", encoding="utf-8")
    refused = run("report", *ask, "--to", "r.html")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert "--force" in refused.stderr
    folder = run("report", *ask, "--to", ".")
    assert (folder.returncode, folder.stderr.count("\n")) == (2, 1)


def test_an_answer_saves_the_files_that_the_command_writes(answer: ojp.Recommendation, tmp_path: Path) -> None:
    files = answer.files(namespace="shop")
    assert {"values.yaml", "ojp.properties", "jdbc-url.txt", "recommendation.json"} <= set(files)
    assert ".shop.svc" in files["jdbc-url.txt"]
    paths = answer.save(tmp_path / "out", namespace="shop")
    assert {path.relative_to(tmp_path / "out").as_posix(): path.read_text(encoding="utf-8") for path in paths} == files
    with pytest.raises(ojp.InputError, match="--force"):
        answer.save(tmp_path / "out")
    assert answer.save(tmp_path / "out", force=True)
    with pytest.raises(ojp.InputError, match="no DNS label"):
        answer.files(namespace="A b")
    tables = answer.tables()
    assert {"deploy", "database", "cost", "smaller", "measures"} <= set(tables)
    assert next(row for row in tables["cost"].rows if row[1].startswith("the answer: "))
