"""What the tests of the pipelines share: a real small bundle and frames that it has looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lineside
from helpers.media import picture
from helpers.tiny_bundle import tiny_bundle
from lineside.pipelines.frame import DECIDED, TAKEN, Frame


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the tiny model."""
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny.bundle")


@pytest.fixture(scope="session")
def model(bundle: Path) -> lineside.Segmenter:
    """The tiny model, loaded."""
    return lineside.load(bundle)


Looked = Callable[..., Frame]


@pytest.fixture
def looked(model: lineside.Segmenter) -> Looked:
    """Makes an inspected frame of a picture of a size and seed."""

    def look(
        sequence: int = 0, size: tuple[int, int] = (120, 160), seed: int = 0, name: str = "", masks: str = "native"
    ) -> Frame:
        frame = Frame(picture(size, seed), source="test", name=name, pts=sequence / 25, captured=1)
        frame.sequence = sequence
        frame.stamp(TAKEN)
        assert frame.pixels is not None
        frame.detections = model(frame.pixels, masks=masks, stamp=frame.stamp)
        frame.stamp(DECIDED)
        frame.outcome = "inspected"
        assert len(frame.detections) > 0
        return frame

    return look


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, for those who look at pages."""
    from helpers.browsing import chromium  # It skips where there is no Playwright.

    with chromium() as running:
        yield running
