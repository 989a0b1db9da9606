"""The page of a station in real Chromium: what an operator sees while cameras die and come back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from helpers import browsing
from helpers.browsing import Browser, Locator, Page, expect
from helpers.obedient import QUICK, Command, Viewed, row, viewed
from helpers.viewing import GREEN, PALE, RED, picture

pytestmark = browsing.needs_chromium

PATIENCE = 180.0
"""Longest wait for anything, in seconds; reached only where a test fails."""
TWO = row("top", "side", old="60s")
"""A busy machine's browser takes many seconds for a picture."""
OURS = {"Lineside", "IoU", "P50", "P99", "ms", "English"}
NAMES = OURS | {"station", "top", "side", "tiny", "levels", "page", "inspect", "part0", "part1"}
"""Latin words that the Chinese page may hold: the program, units, and names of whatever the station has."""


class Visit(browsing.Visit):
    """The page of a station in the browser."""

    def tile(self, name: str) -> Locator:
        """The tile of a camera."""
        return self.page.locator(".tile").filter(has=self.page.locator(".name", has_text=name))


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Opens pages and, at the end, fails if one of them complained or asked for anything outside its origin."""
    with browsing.visits(browser, Visit, PATIENCE) as visits:

        def go(at: Viewed, init: str = "", **options: object) -> Visit:
            seen = visits(at.url, init, **{"viewport": {"width": 700, "height": 500}, **options})  # less to draw
            badges = seen.page.locator(".tile .badge", has_text=re.compile("."))
            expect(badges).to_have_count(len(at.state()["branches"]))
            return seen

        yield go


def shows_life(page: Page, name: str) -> None:
    """The tile of a camera is that of one at work, all at the same moment."""
    live = page.locator(".tile[data-still=false]:has(.still[hidden]):has(.badge[data-state=RUNNING])")
    expect(live.filter(has=page.locator(".name", has_text=name))).to_be_visible()


def filters(tile: Locator) -> str:
    """What is done to the colours of a tile's picture."""
    return str(tile.locator("canvas").first.evaluate("canvas => getComputedStyle(canvas).filter"))


def test_a_camera_that_dies_turns_grey_and_says_so_until_it_is_back(
    place: Path, cameras: dict[str, Command], visit: Callable[..., Visit]
) -> None:
    for command in cameras.values():
        command.takt = 1.0
    with viewed(TWO, place) as at:
        seen = visit(at)
        page, top = seen.page, seen.tile("top")
        shows_life(page, "top")
        assert filters(top) == "none"
        expect(page.locator("#status")).to_have_text("Running")
        cameras["top"].dead.set()
        expect(page.locator("#status")).to_have_text("1 of 2 cameras silent")
        expect(top).to_have_attribute("data-still", "true")
        expect(top.locator(".still")).to_have_text(re.compile(r"No picture for \d+\s(s|min)"))
        expect(top.locator(".badge")).to_have_text(re.compile("Waits to try again|Connecting"))
        assert "grayscale" in filters(top)
        events = page.locator("#events li")
        expect(events.filter(has_text="BACKOFF (the cable")).to_have_attribute("data-level", "warning")
        assert "geheim" not in page.content()
        shows_life(page, "side")
        cameras["top"].dead.clear()
        shows_life(page, "top")
        assert filters(top) == "none"
        expect(page.locator("#status")).to_have_text("Running")
        expect(events.first).to_contain_text("RUNNING")


def test_a_camera_that_is_chosen_is_shown_large_with_its_table_and_obeys_the_slider(
    place: Path, cameras: dict[str, Command], visit: Callable[..., Visit]
) -> None:
    cameras["top"].shown = picture((1, 1, RED), (5, 2, GREEN), (3, 6, PALE))
    for command in cameras.values():
        command.takt = 1.0
    with viewed(TWO, place) as at:
        seen = visit(at)
        page = seen.page
        expect(page.locator("#large")).to_be_hidden()
        seen.tile("top").click()
        expect(page.locator("#rows tr")).to_have_count(3)
        expect(page.locator("#summary")).to_have_text("2 part01 part1")
        expect(page.locator("#stamp")).to_have_text(re.compile(r"Picture \d+ · top"))
        expect(page.locator("#counts tr.chosen th")).to_have_text("top")
        expect(page.locator("#sinks th")).to_have_text(["top"])
        slider = page.get_by_label("Confidence")
        slider.fill("0.85")
        expect(page.locator("#rows tr")).to_have_count(2)
        assert at.built.models["m"].settings.thresholds.conf == 0.85
        expect(page.locator("#events")).to_contain_text("conf 0.25 -> 0.85, set on the page")
        page.get_by_role("button", name="Freeze").click()
        expect(page.locator("#still")).to_have_text("Frozen – inspection goes on")
        page.get_by_role("button", name="All cameras").click()
        expect(page.locator("#large")).to_be_hidden()
        expect(page.locator("#sinks th")).to_have_text(["top", "side"])


HOLD_FRAMES = "window.requestAnimationFrame = () => 0;"
"""Does to a page what a hidden tab does: nothing is drawn, and so nothing is acknowledged."""


def test_a_page_that_draws_nothing_costs_the_others_nothing(
    place: Path, cameras: dict[str, Command], visit: Callable[..., Visit]
) -> None:
    for command in cameras.values():
        command.takt = 1.0
    with viewed(TWO, place) as at:
        hidden, watching = visit(at, HOLD_FRAMES), visit(at)
        shows_life(watching.page, "top")
        shows_life(watching.page, "side")
        expect(hidden.tile("top").locator(".empty")).to_be_visible()
        assert all(it["sinks"]["page"]["dropped"] == 0 for it in at.state()["branches"])


@pytest.mark.slow
def test_a_picture_that_is_old_looks_old_although_its_camera_runs(
    place: Path, cameras: dict[str, Command], visit: Callable[..., Visit]
) -> None:
    silent = replace(QUICK, stall=1000.0)
    with viewed(row("top", "side", old="20s"), place, limits=silent) as at:
        seen = visit(at)
        top = seen.tile("top")
        shows_life(seen.page, "top")
        cameras["top"].frozen.set()
        expect(top.locator(".still")).to_have_text(re.compile(r"No picture for \d+\s(s|min)"))
        expect(top.locator(".badge")).to_have_text("Running")
        assert "grayscale" in filters(top)
        expect(seen.page.locator("#status")).to_have_text("Running")


def english_words(page: Page) -> set[str]:
    """What the page says in Latin letters, without what others named."""
    return browsing.english_words(page) - NAMES


def test_a_chinese_browser_sees_no_english_whatever_happens(
    place: Path, cameras: dict[str, Command], visit: Callable[..., Visit]
) -> None:
    with viewed(TWO, place) as at:
        seen = visit(at, locale="zh-CN", viewport={"width": 390, "height": 800})
        page, status = seen.page, seen.page.locator("#status")
        expect(status).to_have_text("运行中")
        expect(seen.tile("top").locator(".figures")).to_contain_text("秒前")
        assert english_words(page) == set()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        cameras["top"].dead.set()
        expect(status).to_have_text("2 台相机中有 1 台无图像")
        expect(seen.tile("top").locator(".still")).to_have_text(re.compile(r"已 \d+\s秒 无图像"))
        seen.tile("top").click()
        expect(page.locator("#still")).to_contain_text("无图像")
        assert english_words(page) == set()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.get_by_role("button", name="English").click()
        expect(status).to_have_text("1 of 2 cameras silent")
        expect(page.locator("#models label").first).to_have_text("Confidence")


def test_the_page_says_that_the_station_has_ended(place: Path, visit: Callable[..., Visit]) -> None:
    text = "synthetic name=line count=1 fps=100 ! segment name=m bundle=tiny.bundle ! view name=page"
    with viewed(text, place) as at:
        seen = visit(at)
        page = seen.page
        expect(page.locator("#status")).to_have_text("Ended")
        expect(page.locator("#still")).to_have_text("Last picture")  # the only camera is shown large by itself
        expect(seen.tile("line").locator(".badge")).to_have_text("Ended")
    expect(seen.tile("line").locator(".badge")).to_have_text("Connection lost")
    expect(page.locator("#status")).to_have_text("Ended")
