"""The sink ``rtsp-server``: the pictures that real clients see, whatever the source does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from ctypes import CDLL, byref, c_uint64, c_void_p

import numpy as np
import pytest

from helpers.gst import PATIENCE, needs, until
from helpers.served import apart, client_of, frame_of, half, needs_server, next_like, plain, served, shown_to, watching
from lineside.pipelines.events import Event
from lineside.pipelines.frame import Frame
from lineside.pipelines.gst.library import NONE, library
from lineside.pipelines.gst.rtsp.feed import Feed
from lineside.pipelines.gst.structs import Buffer, Value
from lineside.pipelines.overlay import Overlay
from lineside.runtime.errors import SourceError


@pytest.fixture(autouse=True)
def installed() -> None:
    needs_server()


@pytest.mark.parametrize("encoder", ["x264enc", "openh264enc"])
@pytest.mark.parametrize("draw", [True, False])
def test_pictures_arrive_with_masks_drawn_in_them(encoder: str, draw: bool) -> None:
    needs(encoder)
    drawn = Overlay().draw(plain(), half()).copy()
    wanted, other = (drawn, plain()) if draw else (plain(), drawn)
    with served(lambda number: frame_of(plain(), found=half()), encoder=encoder, draw=draw) as (sink, _):
        with watching(sink) as client:
            got = next_like(client, lambda it: apart(it, wanted) < 6, "such a picture")
    assert got.shape == (120, 160, 3) and apart(got, other) > 10


def test_every_source_has_a_path_of_its_own() -> None:
    def both(number: int) -> Frame:
        return frame_of(plain(value=60 + 120 * (number % 2)), ("top", "side")[number % 2])

    events: list[Event] = []
    with served(both, events) as (sink, _):
        until(lambda: len(sink.showings) == 2)
        with watching(sink, "top") as top, watching(sink, "side") as side:
            next_like(top, lambda it: abs(it.mean() - 60) < 10, "dark picture")
            next_like(side, lambda it: abs(it.mean() - 180) < 10, "bright picture")
        with pytest.raises(SourceError, match="check that it is there"), watching(sink, "back"):
            pass
        urls = [event.message for event in events if event.kind == "serving"]
        assert [url.split()[-1] for url in urls] == [f"rtsp://127.0.0.1:{sink.port}/{it}" for it in ("top", "side")]


def test_packets_may_come_by_udp() -> None:
    with served() as (sink, _), watching(sink, transport="udp") as client:
        next_like(client, lambda it: apart(it, plain()) < 6, "picture")


def test_an_address_of_the_newer_internet() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"this machine has no ::1 ({error})")
    events: list[Event] = []
    with served(events=events, address="::1"):
        (url,) = (event.message.split()[-1] for event in events)
        with client_of(url) as client:
            next_like(client, lambda it: True, f"picture from {url}")


@pytest.mark.parametrize("size", [(97, 161), (98, 162), (33, 47)])
def test_sides_that_are_odd_gain_a_row_or_column(size: tuple[int, int]) -> None:
    ramp = np.repeat(np.linspace(20, 220, size[1]).astype(np.uint8)[None, :, None], size[0], 0).repeat(3, 2)
    with served(lambda number: frame_of(ramp)) as (sink, _), watching(sink) as client:
        got = next_like(client, lambda it: it.max() > 150, "bright picture")
    assert got.shape[:2] == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    assert apart(got[: size[0], : size[1]], ramp) < 6


def test_wide_pictures_are_made_smaller_and_grey_ones_shown() -> None:
    grey = np.full((200, 640), 120, np.uint8)
    with served(lambda number: frame_of(grey), width=320) as (sink, _), watching(sink) as client:
        got = next_like(client, lambda it: abs(it.mean() - 120) < 8, "grey picture")
    assert got.shape == (100, 320, 3)


def test_a_change_of_size_in_mid_stream() -> None:
    """Who watches keeps the size, and sees the new picture in it; who comes later gets the new size."""
    changed = threading.Event()

    def picture(number: int) -> Frame:
        return frame_of(plain((240, 160), 200) if changed.is_set() else plain())

    with served(picture) as (sink, _):
        with watching(sink) as client:
            next_like(client, lambda it: abs(it.mean() - 90) < 8, "picture before")
            changed.set()
            got = next_like(client, lambda it: it[:, 60:100].mean() > 180, "picture after")
            assert got.shape == (120, 160, 3) and got[:, :40].mean() < 20, "half as wide, black beside it"
        until(lambda: not sink.showings["top"].watched, "nobody watches")
        with watching(sink) as client:
            assert next_like(client, lambda it: it.mean() > 180, "picture of the new size").shape == (240, 160, 3)


def test_a_source_that_falls_silent_says_how_old_its_picture_is() -> None:
    with served() as (sink, line), watching(sink) as client:
        next_like(client, lambda it: apart(it, plain()) < 6, "picture")
        line.end()
        got = next_like(client, lambda it: it[:20, :60].max() > 150, "picture with a banner")
        assert apart(got[60:], plain()[60:]) < 6, "the rest of it stays"
        # Somebody who comes later still gets it, with the second picture at most a second after the first.
        with watching(sink) as later:
            next_like(later, lambda it: it[:20, :60].max() > 150, "picture with a banner")


def test_the_rate_may_be_limited() -> None:
    """100 pictures at 50 a second, of which 10 a second are wanted."""
    with shown_to("fakesink sync=false", fps=10) as (showing, clock, _):
        for number in range(100):
            clock[0] = 1 + number / 50
            showing.show(frame_of(plain()))
        assert 19 <= showing.given <= 21


class Counted(Frame):
    """A frame that knows how often its pixels were asked for: once per drawing."""

    drawn = 0

    def bgr(self) -> np.ndarray:
        Counted.drawn += 1
        return super().bgr()


def test_while_nobody_watches_one_picture_a_second_is_drawn() -> None:
    with shown_to("fakesink sync=false") as (showing, clock, _):
        drawn = []
        for second in (10, 20):
            Counted.drawn = 0
            for number in range(100):
                clock[0] = second + number / 50
                showing.show(Counted(plain(), source="top", captured=1))
            drawn.append(Counted.drawn)
            showing.end(1)
        assert drawn == [100, 2]


def test_a_player_that_joins_in_can_begin_within_a_second() -> None:
    """Even where the source is silent: what is repeated each second is a picture that a player can begin with."""
    needs("x264enc")
    with shown_to("videoconvert ! x264enc tune=zerolatency key-int-max=999 ! appsink name=out sync=false") as (
        showing,
        clock,
        source,
    ):
        for number in range(4):
            clock[0] = 1 + 1.1 * number
            showing.look()
            assert not pulled(source, 1, lambda buffer: buffer.mini.flags & 1 << 13)[0], "a delta unit"


def test_two_showings_that_overlap_both_get_pictures() -> None:
    """One that begins before the one before it has ended: without pictures, neither could ever be started or ended."""
    with shown_to("fakesink sync=false") as (showing, clock, _), shown_to("fakesink sync=false") as (_, _, other):
        showing.begin(2, library().gst_object_ref(other))
        for number in range(3):
            clock[0] = 1 + number
            showing.show(frame_of(plain()))
        assert showing.given == 6
        showing.end(1)
        clock[0] = 5
        showing.show(frame_of(plain()))
        assert showing.given == 7 and showing.watched
        showing.end(2)
        assert not showing.watched


@pytest.mark.parametrize("base", [0, 2**62])
def test_times_are_those_of_the_showing_while_the_pipeline_has_none(base: int) -> None:
    """Before a pipeline plays, its time may count from the start of the computer, or lie before its own beginning."""
    with shown_to("appsink name=out sync=false") as (showing, clock, source):
        CDLL("libgstreamer-1.0.so.0").gst_element_set_base_time(c_void_p(source), c_uint64(base))
        for number in range(5):
            clock[0] = 1 + number / 50
            showing.show(frame_of(plain()))
        times = pulled(source, 2)  # of the others, which nobody takes, two stay
        assert 0 < times[0] < times[1] < 2e9


def test_times_go_on_with_the_pipelines_however_long_a_picture_is_drawn() -> None:
    with shown_to("appsink name=out sync=false") as (_, _, source):
        gst = library()
        feed = Feed(gst.gst_object_ref(source), (120, 160), 25, 0.0)
        running = gst.gst_element_get_current_running_time
        until(lambda: 10_000_000 < running(source) < NONE, "the pipeline runs")
        began = running(source)
        assert feed.give(plain(), began / 1e9 - 0.5)  # half a second ago
        assert began <= pulled(source, 1)[0] <= running(source)
        feed.close()


def pulled(source: int, count: int, what: Callable[[Buffer], int] = lambda buffer: int(buffer.pts)) -> list[int]:
    """What is asked of pictures that have come out of the pipeline of an appsrc: their times in ns."""
    gst, parent = library(), CDLL("libgstreamer-1.0.so.0").gst_object_get_parent
    parent.restype, parent.argtypes = c_void_p, [c_void_p]
    pipeline = parent(source)
    out = gst.gst_bin_get_by_name(pipeline, b"out")
    times = []
    for _ in range(count):
        sample = gst.gst_app_sink_try_pull_sample(out, int(PATIENCE * 1e9))
        times.append(what(Buffer.from_address(gst.gst_sample_get_buffer(sample))))
        gst.gst_mini_object_unref(sample)
    for it in (out, pipeline):
        gst.gst_object_unref(it)
    return times


def test_nothing_piles_up_in_front_of_an_encoder_that_stands_still() -> None:
    """A stand-in for it takes seconds for each picture."""
    with shown_to("identity sleep-time=2000000 ! fakesink") as (showing, clock, source):
        for number in range(50):
            clock[0] = 1 + number / 50
            showing.show(frame_of(plain()))
        assert showing.given == 50
        gst, held = library(), Value()
        gst.g_value_init(byref(held), 11 << 2)  # a uint64
        gst.g_object_get_property(source, b"current-level-buffers", byref(held))
        assert held.data[0] <= 2
