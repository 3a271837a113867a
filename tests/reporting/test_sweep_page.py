"""The HTML report: one file, nothing loaded, everything escaped; and in a real browser it sorts and tells."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from support import made_cells

from colbertv2.ablation.findings import find
from colbertv2.commands import report
from colbertv2.reporting import sweep_figures as figures
from colbertv2.reporting.page import Section, write_page
from colbertv2.reporting.quality_figure import save
from colbertv2.reporting.rendering import ReportTable
from colbertv2.reporting.sweep_tables import make_tables

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip

RATES = ReportTable("Rates", pd.DataFrame(), ["rate", "steps"],
              [["1e-05", "1,500"], ["–", "none"], ["3e-06", "900"], ["0.1", "−2"]], 0)  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """The report of a made-up sweep, one value of which is markup."""
    out = tmp_path_factory.mktemp("page")
    factors = {"codec": ["residual", '<i>&"it\'s"</i>', "fp16"], "search.nprobe": ["1", "2", "10"]}
    findings = find(made_cells(factors, lambda s: 0.01 * int(s["search.nprobe"]), queries=20), 0)
    pictures = {"pareto": "bytes_per_token", "slow": "ms_per_query"}
    for name, cost in pictures.items():
        figures.draw_pareto(findings, cost, out / name)
    write_page(
        out / "report.html",
        title="A < B & C",
        sentences=["</script><script>document.title = 'broken'</script>"],
        sections=[
            *(Section(name, text=cost, figure=out / f"{name}.svg") for name, cost in pictures.items()),
            *(Section(table.title, table=table) for table in make_tables(findings).values()),
            Section("Of one", view="one"),
            Section("Of two", view="two"),
            Section("Rates", text="Of learning.", table=RATES),
        ],
        warnings=["Mixed <versions>"],
        commands=["python -m colbertv2 '<x>'"],
        hovers={
            figures.POINT.format(i): report.hover(cell, findings) for i, cell in enumerate(findings.cells.cells)
        },
    )  # fmt: skip
    return out / "report.html"


def test_the_page_is_whole_by_itself(page):
    html = page.read_text()
    outside = re.findall(r"(?:src|href)=\"(?!#)([^\"]+)\"", html) + re.findall(r"url\((?!#)([^)]+)\)", html)
    assert outside == []
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    references = re.findall(r'(?:url\(#|href="#)([^)"]+)', html)
    assert references and set(references) <= set(ids)
    assert len(html) < 2_000_000 and "<i>" not in html.replace("&lt;i&gt;", "") and "A &lt; B &amp; C" in html


def test_words_of_a_picture_stay_as_they_are(tmp_path):
    figure = Figure()
    words = 'id="a" url(#b) href="#c" & <script>'
    figure.subplots().set_title(words)
    save(figure, tmp_path / "picture")
    write_page(
        tmp_path / "page.html", title="", sentences=[], sections=[Section("<A>", figure=tmp_path / "picture.svg")]
    )
    html = (tmp_path / "page.html").read_text()
    assert words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in html
    assert 'aria-label="&lt;A&gt;"' in html and "<script>" in html and html.count("<script>") == 1


def browser_page(playwright, page: Path, width: int, scheme: str):
    browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
    opened = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    requests: list[str] = []
    errors: list[str] = []
    opened.on("request", lambda request: requests.append(request.url))
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(page.as_uri())
    return opened, requests, errors


def sort_by(table, name: str) -> list[str]:
    """Click on a header; the column then."""
    headers = table.locator("th button").all_inner_texts()
    table.locator("th button").nth(headers.index(name)).click()
    return table.locator(f"tbody tr td:nth-child({headers.index(name) + 1})").all_inner_texts()


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)")
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_in_a_browser_tables_sort_and_points_tell_what_they_are(page, tmp_path, width, scheme):
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the extra dev")
    with sync_api.sync_playwright() as playwright:
        opened, requests, errors = browser_page(playwright, page, width, scheme)
        assert opened.title() == "A < B & C"
        first = opened.locator("table").first
        assert sort_by(first, "search.nprobe") == ["1"] * 3 + ["2"] * 3 + ["10"] * 3  # as numbers, not as text
        assert sort_by(first, "search.nprobe") == ["10"] * 3 + ["2"] * 3 + ["1"] * 3
        assert sort_by(first, "codec") == ['<i>&"it\'s"</i>'] * 3 + ["fp16"] * 3 + ["residual"] * 3
        rates = opened.locator("table").last
        assert sort_by(rates, "rate") == ["3e-06", "1e-05", "0.1", "–"]
        assert sort_by(rates, "rate") == ["0.1", "1e-05", "3e-06", "–"]  # what has no number comes last either way
        assert sort_by(rates, "steps") == ["−2", "900", "1,500", "none"]

        tip, point = opened.locator("#tip"), opened.locator("g[data-hover]").first
        assert not tip.is_visible()
        point.scroll_into_view_if_needed()
        point.hover(force=True)
        assert tip.is_visible() and tip.inner_text().startswith("codec=residual, search.nprobe=1\nRR@10 .")
        opened.mouse.move(1, 1)
        assert not tip.is_visible()
        point.focus()  # by keyboard as well
        assert tip.is_visible()
        assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")  # wide things scroll by themselves
        of_one, of_two = (opened.get_by_role("heading", name=name) for name in ("Of one", "Of two"))
        assert of_one.is_visible() and not of_two.is_visible()
        opened.get_by_label("Show").select_option("two")
        assert of_two.is_visible() and not opened.get_by_text("Of one").is_visible()
        opened.screenshot(path=tmp_path / "page.png", full_page=True)
        assert (tmp_path / "page.png").stat().st_size > 50_000
        assert requests == [page.as_uri()] and errors == []
