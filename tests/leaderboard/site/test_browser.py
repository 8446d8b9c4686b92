"""The site in a real Chromium: it sorts, filters, shows, loads nothing, and everyone can use it.

pytest -m slow tests/leaderboard/site; needs the dev extra and Debian's package `chromium`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.leaderboard.builders import image_text, row, run
from tests.leaderboard.site.site_builders import pages, pictures, site

sync_api = pytest.importorskip("playwright.sync_api")
axe_api = pytest.importorskip("axe_playwright_python.sync_playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian: chromium)"),
]
PHONE = {"width": 360, "height": 780}
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield found
        found.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with everything on it but ties."""
    place = tmp_path_factory.mktemp("browser")
    families = [
        row("full", "gqa", 10.0 * n, family=f"kind {n}", majority=30.0, n_examples=50)
        for n in range(1, 9)
    ]
    return site(
        place,
        image_text("full", 70, 60, 80, 110, trainable_parameters=2_000_000) + families,
        image_text("full", 72, 62, 82, 114, trainable_parameters=2_000_000, seed=1),
        image_text("lora", 60, 50, 70, 90, sharing="task", technique="lora"),
        image_text("compacter", 65, 40, 60, 95, trainable_parameters=9_000, train_seconds=900.0),
        run("unfinished", {"vqav2": 30.0, "gqa": 50.0}),
        image_text("frozen", 10, 20, 50, 30),
        image_text("blind", 12, 18, 50, 20),
        image_text("full", 7, 6, 8, 11, scope="smoke", limit=8, key="smoke-run"),
        root=pictures(place / "data"),
    )


@pytest.fixture
def opened(browser: Any, folder: Path) -> Iterator[Open]:
    """Opens a page of the site; any error on the console or request to elsewhere fails the test."""
    contexts: list[Any] = []
    faults: list[str] = []

    def open_page(name: str = "index.html", out: Path = folder, base: str = "", **how: Any) -> Any:
        contexts.append(browser.new_context(**how))
        page = contexts[-1].new_page()
        inside = base or f"file://{out}/"
        page.on("request", lambda each: each.url.startswith(inside) or faults.append(each.url))
        page.on(
            "console", lambda said: said.type in ("error", "warning") and faults.append(said.text)
        )
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(inside + name)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


def names(page: Any) -> list[str]:
    """The methods that the first table shows, in their order."""
    heads = page.locator("table.main").first.locator("tbody tr:visible th")
    return [text.strip() for text in heads.all_inner_texts()]


FLOORS = ["frozen", "blind"]


def test_a_click_sorts_and_another_turns_it_round_with_floors_last(opened: Open) -> None:
    page = opened()
    methods = ["full", "lora", "compacter", "unfinished"]
    assert names(page) == [*methods, *FLOORS]
    button = page.get_by_role("button", name="gqa accuracy").first
    head = page.locator("table.main").first.locator("th[aria-sort]")
    button.click()
    assert names(page)[:4] == ["full", "lora", "unfinished", "compacter"]
    assert (head.count(), head.get_attribute("aria-sort")) == (1, "descending")
    button.click()
    assert names(page) == ["compacter", "lora", "unfinished", "full", *reversed(FLOORS)]
    assert head.get_attribute("aria-sort") == "ascending"


def test_filters_leave_what_was_asked_for_and_say_how_many(opened: Open) -> None:
    page = opened()
    controls = page.locator(".controls").first
    status = controls.get_by_role("status")
    assert status.inner_text() == "6 rows"
    controls.get_by_label("Name").fill("COMP")
    assert names(page) == ["compacter"]
    assert status.inner_text() == "1 of 6 rows"
    controls.get_by_label("Name").fill("")
    controls.get_by_label("Sharing").select_option("task")
    assert names(page) == ["lora"]
    controls.get_by_label("Sharing").select_option("")
    controls.get_by_label("only complete").check()
    assert names(page) == ["full", "lora", "compacter", *FLOORS]
    controls.get_by_label("hide floors").check()
    assert names(page) == ["full", "lora", "compacter"]


@pytest.mark.parametrize("name", ["index.html", "methods/full.html", "tasks/gqa.html"])
@pytest.mark.parametrize(
    "how",
    [{}, {"viewport": PHONE, "color_scheme": "dark"}],
    ids=["light", "dark phone"],
)
def test_axe_finds_nothing_that_keeps_anybody_out(opened: Open, name: str, how: Any) -> None:
    page = opened(name, **how)
    if name == "index.html":
        page.get_by_text("Against other costs").first.click()
    options = {"preload": False, "resultTypes": ["violations"]}  # it would fetch the style sheet
    found = axe_api.Axe().run(page, options=options).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found] == []


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_on_a_phone_no_page_scrolls_sideways(opened: Open, folder: Path, scripts: bool) -> None:
    for path in pages(folder):
        page = opened(str(path.relative_to(folder)), viewport=PHONE, java_script_enabled=scripts)
        if scripts:
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path
        first = page.locator(".scroll").first
        assert first.bounding_box()["width"] <= PHONE["width"]


def test_without_scripts_there_are_table_chart_and_provenance(opened: Open) -> None:
    page = opened(java_script_enabled=False)
    assert names(page) == ["full", "lora", "compacter", "unfinished", *FLOORS]
    assert not page.locator(".controls").first.is_visible()
    chart = page.locator(".chart img").first
    assert chart.is_visible() and chart.evaluate("image => image.naturalWidth") > 0
    assert page.get_by_role("button").count() == 0
    page.locator("table.main").first.get_by_role("link", name="71.0").click()
    page.get_by_role("link", name="full--mini-1").first.click()
    assert page.locator("[id='run-full--mini-1']").is_visible()  # the browser opens what it is in


def test_the_page_may_not_load_what_is_elsewhere(browser: Any, folder: Path) -> None:
    context = browser.new_context()
    page = context.new_page()
    asked: list[str] = []
    context.route("**/*", lambda route: asked.append(route.request.url) or route.continue_())
    page.goto(f"file://{folder}/index.html")
    page.evaluate(
        """async () => {
            const make = (tag, more) => Object.assign(document.createElement(tag), more);
            const add = (tag, more) => document.body.append(make(tag, more));
            add("img", { src: "http://127.0.0.1:9/x.png" });
            add("script", { src: "http://127.0.0.1:9/x.js" });
            add("script", { textContent: "window.broken = true" });
            add("iframe", { src: "http://127.0.0.1:9/" });
            add("link", { rel: "stylesheet", href: "http://127.0.0.1:9/x.css" });
            await fetch("http://127.0.0.1:9/").catch(() => {});
            await new Promise((done) => setTimeout(done, 200));
        }"""
    )
    assert not [url for url in asked if url.startswith("http")]
    assert page.evaluate("window.broken") is None
    context.close()
