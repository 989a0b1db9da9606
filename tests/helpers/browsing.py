"""Pages in real Chromium, and everything that they ask for or complain about."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect  # noqa: E402

__all__ = ["Browser", "Locator", "Page", "Visit", "chromium", "english_words", "expect", "needs_chromium", "visits"]

_CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(
    _CHROMIUM is None, reason="Chromium is not installed (Debian: apt-get install chromium)"
)


@dataclass
class Visit:
    """A page in the browser, and everything it asked for or complained about."""

    page: Page
    url: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def listen(self, forgiven: tuple[str, ...]) -> None:
        """Writes down what the page does from now on.

        Args:
            forgiven: Words of complaints that are none.
        """

        def complains(message: ConsoleMessage) -> bool:
            return message.type in ("error", "warning") and not any(words in message.text for words in forgiven)

        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("websocket", lambda socket: self.requests.append(socket.url))
        self.page.on("console", lambda said: complains(said) and self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def leave(self) -> None:
        """Closes the page; fails if it complained or asked for anything outside its origin."""
        self.page.context.close()
        assert self.complaints == []
        assert len(self.requests) >= 5
        for url in self.requests:
            assert re.match(rf"(http|ws)://127\.0\.0\.1:{urlsplit(self.url).port}/", url), url


Kind = TypeVar("Kind", bound=Visit)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser."""
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@contextmanager
def visits(browser: Browser, kind: type[Kind], patience: float, *forgiven: str) -> Iterator[Callable[..., Kind]]:
    """Opens pages, and leaves them all in the end: see `Visit.leave`.

    Args:
        browser: The browser.
        kind: What a page becomes.
        patience: Seconds that anything may take.
        *forgiven: Words of complaints that are none, besides those of a page that outlives its station and knocks on a
            closed door.
    """
    seen: list[Kind] = []

    def go(url: str, init: str = "", **options: Any) -> Kind:
        page = browser.new_context(**options).new_page()
        page.set_default_timeout(patience * 1000)
        expect.set_options(timeout=patience * 1000)
        visit = kind(page, url)
        visit.listen((*forgiven, "net::ERR_CONNECTION_REFUSED"))
        if init:
            page.add_init_script(init)
        page.goto(url)
        seen.append(visit)
        return visit

    yield go
    for visit in seen:
        visit.leave()


def english_words(page: Page) -> set[str]:
    """Every word in Latin letters that the page holds, hidden or not; messages of others and moments are left out."""
    script = """() => {
        const texts = [document.title];
        const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        while (walker.nextNode()) {
            if (!walker.currentNode.parentElement.closest("#events [lang]")) texts.push(walker.currentNode.data);
        }
        for (const name of ["title", "aria-label", "alt", "placeholder", "aria-description", "aria-valuetext"])
            for (const element of document.querySelectorAll(`[${name}]:not(time)`)) texts.push(element.getAttribute(name));
        return texts.join("\\n");
    }"""
    return set(re.findall(r"[A-Za-z]\w+", page.evaluate(script), re.ASCII))
