"""The operator page in real Chromium: what an operator sees and does."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest

from helpers import browsing
from helpers.browsing import Browser, Page, expect
from helpers.tiny_bundle import tiny_bundle
from helpers.viewing import CELL, PARTS, PATIENCE, RED, Station, camera, picture, station
from lineside.pipelines.sources.memory import Memory
from lineside.pipelines.sources.paced import Paced

pytestmark = browsing.needs_chromium

OURS = {"Lineside", "Excel", "IoU", "P50", "P99", "ms"}
NAMES = OURS | {"part0", "part1", "first", "second", "broken", "memory", "parts", "png"}
"""Latin words that the Chinese page may hold: the program, units, and names of classes, bundles, sources and files."""

HOLD_FRAMES = """
    const real = window.requestAnimationFrame.bind(window);
    const held = [];
    let hidden = false;
    window.requestAnimationFrame = (draw) => (hidden ? held.push(draw) : real(draw));
    window.hide = () => { hidden = true; };
    window.holds = () => held.length > 0;
    window.unhide = () => { hidden = false; held.splice(0).forEach((draw) => real(draw)); };
"""
"""Does to a page what a hidden tab does: animation frames wait until somebody looks again."""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("bundles")
    tiny_bundle(folder / "first.bundle")
    broken = tiny_bundle(folder / "broken.bundle")
    (broken / "model.onnx").write_bytes(b"no model")
    tiny_bundle(folder / "second.bundle", classes=1)
    return [folder / "first.bundle"]


class Visit(browsing.Visit):
    """The operator page in the browser."""

    def count(self, name: str) -> int:
        """A counter of the page as a number."""
        return int(self.page.locator(f"#n-{name}").inner_text().replace(",", ""))

    def version(self) -> int:
        return int(self.page.locator("body").get_attribute("data-version") or 0)

    def skipped(self) -> int:
        return int(self.page.locator("body").get_attribute("data-skipped") or 0)


@pytest.fixture
def visit(browser: Browser):
    """Opens pages and, at the end, fails if one of them complained or asked for anything outside its origin."""
    # The browser's advice to those who read pixels back is for these tests.
    with browsing.visits(browser, Visit, PATIENCE, "willReadFrequently") as visits:

        def go(at: Station, init: str = "", **options: object) -> Visit:
            seen = visits(at.view.url, init, **options)
            seen.page.wait_for_selector("body[data-version]")
            return seen

        yield go


def english_words(page: Page) -> set[str]:
    """What the page says in Latin letters, without what others named."""
    return browsing.english_words(page) - NAMES


def pixel(page: Page, canvas: str, x: float, y: float) -> list[int]:
    """The colour of a canvas at a place of the picture: x and y from 0 to 1."""
    script = """([id, x, y]) => {
        const canvas = document.getElementById(id);
        const place = [Math.floor(x * canvas.width), Math.floor(y * canvas.height), 1, 1];
        return [...canvas.getContext("2d").getImageData(...place).data];
    }"""
    return page.evaluate(script, [canvas, x, y])


def centre(cell: int) -> float:
    """The middle of a cell of the picture, 0 to 1."""
    return (cell + 0.5) * CELL / PARTS.shape[0]


def test_an_operator_sees_picture_masks_table_and_counters(bundles, visit):
    with station(bundles, camera(takt_ms=60)) as at:
        page = visit(at).page
        expect(page.get_by_role("row")).to_have_count(4)
        rows = [row.split("\t") for row in page.locator("#rows").inner_text().splitlines()]
        assert [row[0].strip() for row in rows] == ["part0", "part1", "part0"]
        assert rows[2][1:3] == ["0.797", "160, 400, 240 × 240"]
        assert int(rows[2][3].replace(",", "")) == pytest.approx(3824, abs=1)
        expect(page.locator("#summary")).to_have_text("2 part01 part1")
        expect(page.locator("#status")).to_have_text("Running")
        expect(page.locator("#bundle-name")).to_have_text("first")
        expect(page.locator("#n-fps")).to_have_text(re.compile(r"^[1-9]\d*\.\d$"))
        expect(page.locator("#n-p99")).to_have_text(re.compile(r"^(\d\d?\.\d|\d{3,}) ms$"))
        expect(page.locator("#n-failed")).to_have_text("0")
        red, green, blue, _ = pixel(page, "picture", centre(1), centre(1))
        assert (red, green, blue) == pytest.approx(RED[::-1], abs=8)
        inside = [pixel(page, "overlay", centre(x), centre(y)) for x, y in ((1, 1), (5, 2), (3, 6))]
        assert all(alpha > 60 for *_, alpha in inside)
        assert inside[0] == inside[2] != inside[1]  # one colour a class
        assert pixel(page, "overlay", centre(6), centre(6)) == [0, 0, 0, 0]


def test_masks_boxes_and_labels_can_be_switched_off_and_on(bundles, visit):
    with station(bundles) as at:
        page = visit(at).page
        corner = (241 / 640, 300 / 640)  # inside no mask; on the box of the second part
        edge = (321 / 640, 200 / 640)
        assert pixel(page, "overlay", centre(1), centre(1))[3] and not pixel(page, "overlay", *edge)[3]
        page.get_by_role("button", name="Masks").click()
        assert not pixel(page, "overlay", centre(1), centre(1))[3]
        page.get_by_role("button", name="Boxes").click()
        assert pixel(page, "overlay", *edge)[3] and not pixel(page, "overlay", *corner)[3]
        expect(page.get_by_role("button", name="Masks")).to_have_attribute("aria-pressed", "false")


@pytest.mark.parametrize("still", [True, False], ids=["still picture", "camera"])
def test_sliders_act_at_once_from_the_keyboard_and_reach_every_page(bundles, visit, still):
    with station(bundles, None if still else camera(takt_ms=150)) as at:
        page, other = visit(at).page, visit(at).page
        expect(page.locator("#rows tr")).to_have_count(3)
        slider = page.get_by_label("Confidence")
        slider.focus()
        slider.press("End")
        expect(page.locator("#rows tr")).to_have_count(0)
        expect(page.locator("#summary")).to_have_text("Nothing found")
        assert at.settings.thresholds.conf == 0.99
        expect(other.locator("#rows tr")).to_have_count(0)
        expect(other.get_by_label("Confidence")).to_have_value("0.99")
        expect(other.locator("#conf-value")).to_have_text("0.99")
        slider.fill("0.85")
        expect(other.locator("#rows tr")).to_have_count(2)
        page.get_by_label("Overlap (IoU)").fill("0.3")
        expect(other.locator("#iou-value")).to_have_text("0.30")
        assert (at.settings.thresholds.conf, at.settings.thresholds.iou) == (0.85, 0.3)


def test_a_run_that_has_ended_stays_on_the_page(bundles, visit):
    with station(bundles, Memory([PARTS, picture((2, 2, (255, 255, 255)))], 2)) as at:
        page = visit(at).page
        expect(page.locator("#status")).to_have_text("Ended – results stay here")
        expect(page.locator("#n-inspected")).to_have_text("2")
        expect(page.locator("#rows tr")).to_have_count(1)


@pytest.mark.parametrize("still", [True, False], ids=["still picture", "camera"])
def test_the_bundle_picker_switches_and_a_broken_bundle_leaves_the_old_one(bundles, visit, still):
    with station(bundles, None if still else camera(takt_ms=150)) as at:
        page = visit(at).page
        picker = page.get_by_label("Model bundle")
        expect(picker.locator("option")).to_have_text(["first", "broken", "second"])
        picker.select_option("broken")
        expect(page.get_by_role("alert")).to_contain_text("model.onnx")
        expect(picker).to_have_value("0")
        expect(page.locator("#bundle-name")).to_have_text("first")
        expect(page.locator("#rows")).to_contain_text("part1")
        picker.select_option("second")
        expect(page.locator("#bundle-name")).to_have_text("second")
        expect(page.locator("#rows")).not_to_contain_text("part1")
        expect(page.locator("#rows tr")).not_to_have_count(0)


def test_the_excel_button_gives_a_workbook(bundles, visit, tmp_path):
    with station(bundles) as at:
        page = visit(at).page
        with page.expect_download() as waiting:
            page.get_by_role("link", name="Download Excel").click()
        assert waiting.value.suggested_filename == "lineside-results.xlsx"
        waiting.value.save_as(tmp_path / "results.xlsx")
    sheet = openpyxl.load_workbook(tmp_path / "results.xlsx")["Detections"]
    rows = list(sheet.iter_rows(min_row=2, values_only=True))
    assert [(row[1], row[3]) for row in rows] == [("parts.png", name) for name in ("part0", "part1", "part0")]


def test_a_hidden_page_drops_pictures_and_a_visible_one_goes_on(bundles, visit):
    with station(bundles, camera(takt_ms=25)) as at:
        hidden, watching = visit(at, HOLD_FRAMES), visit(at)
        hidden.page.evaluate("hide()")
        wait_until(lambda: hidden.page.evaluate("holds()"))  # One that was asked for before is shown still.
        last, skipped = hidden.version(), hidden.skipped()
        wait_until(lambda: watching.version() >= last + 50)
        assert hidden.version() == last
        hidden.page.evaluate("unhide()")
        wait_until(lambda: hidden.version() >= last + 50)
        assert hidden.skipped() >= skipped + 40
        assert at.graph.flow.counters.snapshot().sinks["view"].dropped == 0


def wait_until(condition: Callable[[], bool]) -> None:
    """Asks again and again, a round trip to the browser each time."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited too long"


def test_freezing_keeps_the_picture_while_the_inspection_goes_on(bundles, visit):
    with station(bundles, camera(takt_ms=25)) as at:
        seen = visit(at)
        button = seen.page.get_by_role("button", name="Freeze")
        button.click()
        expect(seen.page.locator("#status")).to_contain_text("inspection goes on")
        version, inspected = seen.version(), seen.count("inspected")
        wait_until(lambda: seen.count("inspected") >= inspected + 50)
        assert seen.version() == version
        button.click()
        wait_until(lambda: seen.version() >= version + 40)
        expect(seen.page.locator("#status")).to_have_text("Running")


def test_the_page_says_when_the_program_is_gone(bundles, visit):
    with station(bundles) as at:
        seen = visit(at)
        at.view.close()
        expect(seen.page.locator("#status")).to_have_text("Connection lost")
        expect(seen.page.locator("#rows tr")).to_have_count(3)  # what was seen stays
        seen.complaints.clear()  # the browser reports the closed connection, as it should


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
@pytest.mark.parametrize("width", [1400, 820, 390])
def test_everything_fits_the_screen_of_a_desk_a_tablet_and_a_phone(bundles, visit, width, locale):
    with station(bundles) as at:
        page = visit(at, viewport={"width": width, "height": 900}, color_scheme="dark", locale=locale).page
        expect(page.locator("#rows tr")).to_have_count(3)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for name in ("#picture", "#conf", "#bundle", "#excel", "#n-p99", "#language"):
            box = page.locator(name).bounding_box()
            assert box and box["x"] >= 0 and box["x"] + box["width"] <= width, name
        for button in page.get_by_role("button").all():
            assert button.bounding_box()["height"] >= 44  # a finger's width


def test_a_chinese_browser_sees_no_english_whatever_happens(bundles, visit):
    pictures = Memory([PARTS], name="3 pictures", names=["parts.png"])
    with station(bundles, Paced(pictures, 60_000_000)) as at:
        seen = visit(at, locale="zh-CN")
        page, status = seen.page, seen.page.locator("#status")
        expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
        expect(page.locator("#rows tr")).to_have_count(3)
        own_name = {"English"}  # the switch calls each language by its own name
        expect(status).to_have_text("运行中")
        expect(page.locator("#source-name")).to_have_text("3 张图像")
        assert english_words(page) == own_name
        page.get_by_role("button", name="冻结画面").click()
        expect(status).to_contain_text("冻结")
        assert english_words(page) == own_name
        page.get_by_role("button", name="冻结画面").click()
        page.get_by_label("置信度阈值").fill("0.99")
        expect(page.locator("#summary")).to_have_text("未检出目标")
        page.route("**/api/settings", lambda route: route.abort())
        page.get_by_label("置信度阈值").fill("0.5")
        expect(page.get_by_role("alert")).to_contain_text("无法连接服务器")
        assert english_words(page) == own_name
        page.get_by_label("模型包").select_option("second")
        expect(page.get_by_role("alert")).to_have_text("已切换到 second。")
        assert english_words(page) == own_name
        at.view.close()
        expect(status).to_have_text("连接已断开")
        assert english_words(page) == own_name
        seen.complaints.clear()  # the browser reports the lost request and the closed connection, as it should


def test_the_chinese_page_says_that_it_waits_and_that_the_run_has_ended(bundles, visit):
    with station(bundles) as at:
        page = visit(at, locale="zh-CN").page
        expect(page.locator("#status")).to_have_text("已结束，结果保留在本页")
        assert english_words(page) == {"English"}
        early = page.context.new_page()
        early.add_init_script("window.WebSocket = class {};")  # a connection that never opens
        early.goto(at.view.url)
        expect(early.locator("#status")).to_have_text("等待第一张图像")
        expect(early.locator("#empty")).to_be_visible()
        assert english_words(early) == {"English"}


@pytest.mark.parametrize(("locale", "language"), [("en-GB", "en"), ("zh-TW", "zh-CN"), ("de-DE", "en")])
def test_the_browser_names_the_language(bundles, visit, locale, language):
    with station(bundles) as at:
        page = visit(at, locale=locale).page
        expect(page.locator("html")).to_have_attribute("lang", language)
        expect(page.locator("#found-title")).to_have_text({"en": "In this picture", "zh-CN": "本图结果"}[language])


def test_the_language_switch_acts_at_once_and_is_remembered_even_by_the_next_run(bundles, visit):
    with station(bundles) as at:
        page = visit(at, locale="en-US").page
        status = page.locator("#status")
        english, chinese = (page.get_by_role("button", name=name) for name in ("English", "中文"))
        expect(status).to_have_text("Ended – results stay here")  # nothing comes any more that would renew the page
        expect(english).to_have_attribute("aria-pressed", "true")
        chinese.focus()
        chinese.press("Enter")
        expect(status).to_have_text("已结束，结果保留在本页")
        expect(page.locator("#stamp")).to_have_text("第 1 张 · parts.png")
        expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
        expect(chinese).to_have_attribute("aria-pressed", "true")
        expect(english).to_have_attribute("aria-pressed", "false")
        assert english_words(page) == {"English"}
        page.reload()
        expect(status).to_have_text("已结束，结果保留在本页")
        with station(bundles) as later:
            assert later.port != at.port
            next_run = page.context.new_page()
            next_run.goto(later.view.url)
            expect(next_run.get_by_role("link", name="下载 Excel")).to_be_visible()
        english.click()
        expect(status).to_have_text("Ended – results stay here")
        expect(page.get_by_label("Confidence")).to_be_visible()
        assert page.evaluate("localStorage.getItem('lineside-language')") == "en"
        page.reload()
        expect(page.locator("html")).to_have_attribute("lang", "en")
        expect(page.locator("#found-title")).to_have_text("In this picture")
