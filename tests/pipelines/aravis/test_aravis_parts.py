"""What needs no camera: numbers of pictures, storms, triggers and their pictures, demosaicing, options."""

from __future__ import annotations

import pickle
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.industrial import PATIENCE
from lineside.pipelines.aravis import library
from lineside.pipelines.aravis.formats import FORMATS, demosaiced, refusal, reversed_channels
from lineside.pipelines.aravis.numbers import Numbers, Storm
from lineside.pipelines.aravis.pace import Answer, Asked, Pending, Ticker
from lineside.pipelines.catalog import Place, make, options_of, watched
from lineside.runtime.errors import MissingPackage, StationError


def sixteen(index: int) -> int:
    """Number of a picture as GigE Vision 1 has it: from 1 to 65535, and again."""
    return index % 65535 + 1


@given(
    st.integers(0, 65534),
    st.lists(st.sampled_from("wwwdl"), min_size=1, max_size=60),
    st.booleans(),
    st.sampled_from([0, 0, 30_000]),
)
def test_every_picture_is_counted_once(start: int, fates: list[str], wide: bool, outage: int) -> None:
    """Whole, damaged (its number is another one's then) or lost; a long outage may lie in the middle."""
    numbers, index, whole, damaged, missed, first = Numbers(), start, 0, 0, 0, None
    for place, fate in enumerate(fates):
        index += 1 + (outage if place == len(fates) // 2 else 0)
        if fate == "d":
            numbers.damaged()
            damaged += first is not None
        if fate == "w":
            missed += numbers.whole(index + 70_000 if wide else sixteen(index))
            first = index if first is None else first
            whole += 1
            # Nothing is counted twice, and nothing is left out.
            assert whole + damaged + missed == index - first + 1
            assert numbers.count is not None
            assert numbers.count - (first + 70_000 if wide else sixteen(first)) == index - first
    assert (numbers.count is None) == (whole == 0)


def test_a_camera_that_counts_anew_has_lost_nothing() -> None:
    numbers = Numbers()
    assert [numbers.whole(number) for number in (500, 501, 1, 2, 2, 5)] == [0, 0, 0, 0, 0, 2]


def test_numbers_that_begin_again_at_zero() -> None:
    numbers = Numbers()
    assert [numbers.whole(number) for number in (65534, 65535, 0, 1, 3)] == [0, 0, 0, 0, 1]


@given(st.lists(st.booleans(), max_size=200), st.integers(1, 12), st.integers(1, 12))
def test_a_storm_is_told_once(damages: list[bool], begins: int, ends: int) -> None:
    storm, told = Storm(begins, ends), []
    for place, damaged in enumerate(damages):
        before = storm.raging
        if storm.saw(damaged=damaged):
            told.append(storm.raging)
            row = begins if storm.raging else ends
            assert set(damages[place + 1 - row : place + 1]) == {storm.raging}
        else:
            assert storm.raging == before
    assert told == [number % 2 == 0 for number in range(len(told))]
    if len(damages) >= begins and all(damages):
        assert told == [True]


def test_a_picture_answers_the_newest_trigger_before_it() -> None:
    pending = Pending()
    asked = [Asked(when * 10**8, f"part {when}") for when in (10, 20, 25, 30, 40)]
    for it in asked:
        pending.given(it)
    assert pending.answered(5 * 10**8) == Answer(None, 0, 0)
    assert pending.answered(35 * 10**8) == Answer(asked[3], vain=3, near=1), "the one half a second before may be meant"
    assert pending.answered(35 * 10**8) == Answer(None, 0, 0)
    assert pending.answered(45 * 10**8) == Answer(asked[4], 0, 0)
    pending.given(asked[0])
    pending.taken_back(asked[0])
    pending.taken_back(asked[0])
    assert pending.answered(45 * 10**8).asked is None


def test_a_late_call_does_not_delay_the_ones_after_it() -> None:
    told: list[int] = []
    enough, hold = threading.Event(), threading.Event()

    def call(due: int) -> None:
        told.append(due)
        if len(told) == 2:
            hold.wait(0.35)
        if len(told) == 6:
            enough.set()

    ticker = Ticker(call, 100_000_000, "test")
    assert enough.wait(PATIENCE)
    ticker.stop()
    steps = np.diff(told)
    assert (steps % 100_000_000 == 0).all() and steps.min() >= 100_000_000
    assert steps[1] >= 400_000_000, "calls whose time was over are left out"


def test_a_failure_ends_the_ticking() -> None:
    error = RuntimeError("gone")

    def call(due: int) -> None:
        raise error

    ticker = Ticker(call, 1, "test")
    end = time.monotonic() + PATIENCE
    while ticker.failure is None and time.monotonic() < end:
        threading.Event().wait(0.01)
    assert ticker.failure is error


@pytest.mark.parametrize("first", ["RG", "GR", "GB", "BG"])
@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_a_mosaic_of_one_colour_is_that_colour(first: str, bgr: tuple[int, int, int]) -> None:
    """Each pixel of the mosaic has the one colour that its filter lets through; the first row begins with ``first``."""
    second = {"RG": "GB", "GR": "BG", "GB": "RG", "BG": "GR"}[first]
    mosaic = np.empty((8, 10), np.uint8)
    for row, colours in enumerate((first, second)):
        for column, colour in enumerate(colours):
            mosaic[row::2, column::2] = bgr["BGR".index(colour)]
    out = np.empty((8, 10, 3), np.uint8)
    demosaiced(first)(mosaic, out)
    assert (out == np.array(bgr, np.uint8)).all()


def test_the_rule_of_demosaicing() -> None:
    """Within the picture: what is there is kept, what is not is the rounded mean of the two or four next to it."""
    mosaic = np.random.default_rng(3).integers(0, 256, (9, 11), np.uint8)
    out = np.empty((9, 11, 3), np.uint8)
    demosaiced("RG")(mosaic, out)
    wide = mosaic.astype(int)
    y, x = 2, 4  # A red pixel.
    green = (wide[y - 1, x] + wide[y + 1, x] + wide[y, x - 1] + wide[y, x + 1] + 2) // 4
    blue = (wide[y - 1, x - 1] + wide[y - 1, x + 1] + wide[y + 1, x - 1] + wide[y + 1, x + 1] + 2) // 4
    assert out[y, x].tolist() == [blue, green, wide[y, x]]
    y, x = 2, 5  # A green one between two red ones.
    red, blue = (wide[y, x - 1] + wide[y, x + 1] + 1) // 2, (wide[y - 1, x] + wide[y + 1, x] + 1) // 2
    assert out[y, x].tolist() == [blue, wide[y, x], red]
    assert np.array_equal(out[0], out[1]) and np.array_equal(out[:, -1], out[:, -2]), "the border repeats"


def test_rgb_is_turned_round() -> None:
    rgb = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    out = np.empty_like(rgb)
    reversed_channels(rgb, out)
    assert out[1, 2].tolist() == rgb[1, 2].tolist()[::-1]


def test_formats_that_lose_bits_are_refused_with_what_would_do() -> None:
    assert {(code >> 16) & 0xFF for code in FORMATS} == {8, 24}
    text = refusal(0x01100005, "Mono12", ["Mono12", "BayerRG8", "Mono8"])
    assert "Mono12 (16 bits a pixel)" in text and "BayerRG8, Mono8" in text and "dropped" in text
    assert "BGR8" in refusal(0x0210001F, "YUV422", ["YUV422"])


def test_without_the_library_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "_LIBRARIES", ("libaravis-not-there.so.0",))
    monkeypatch.setattr(library, "_loaded", None)
    source = make("aravis", options_of("aravis", {}, "test"), Place(name="eye"))
    with pytest.raises(MissingPackage, match=r"Aravis.*is not installed.*apt-get install libaravis-0\.8-0"):
        source.open()


def test_what_an_older_library_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(library._PLAIN, "arv_made_up", (None,))
    monkeypatch.setattr(library, "_loaded", None)
    with pytest.raises(MissingPackage, match="too old: it has no arv_made_up"):
        library.library()


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"fps": "20", "trigger": "line"}, "fps is for trigger=none"),
        ({"pace": "2"}, "pace is for trigger=software"),
        ({"trigger": "hand"}, "trigger"),
        ({"buffers": "2"}, "buffers"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_options_that_do_not_go_together(values: dict[str, str], why: str) -> None:
    with pytest.raises(StationError, match=why):
        options_of("aravis", values, "the launch string", text=True)


def test_a_camera_is_watched_over_and_its_options_travel(tmp_path: Path) -> None:
    words = {"id": "10.0.0.3", "trigger": "software", "pace": "2.5", "exposure": "800", "resend": "false"}
    options = options_of("aravis", words, "test", text=True)
    assert watched("aravis", options) and pickle.loads(pickle.dumps(options)) == options
