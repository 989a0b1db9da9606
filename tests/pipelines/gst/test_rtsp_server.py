"""The sink ``rtsp-server``: real clients watch, hang, die and log in; nobody else notices, and nobody watches for nothing."""

from __future__ import annotations

import os
import pickle
import re
import shlex
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ctypes import CDLL, byref, c_uint64, c_void_p
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from rich.pretty import pretty_repr

from helpers.documents import ROOT, commands
from helpers.gst import PATIENCE, listening, needs, until
from lineside.pipelines.catalog import Options, Place, make, options_of
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.events import Event
from lineside.pipelines.frame import Frame
from lineside.pipelines.gst.library import library
from lineside.pipelines.gst.parse import parsed
from lineside.pipelines.gst.rtsp import library as rtsp
from lineside.pipelines.gst.rtsp.encoders import INPUT, serving
from lineside.pipelines.gst.rtsp.showing import Showing
from lineside.pipelines.gst.source import GstSource
from lineside.pipelines.gst.structs import Buffer, Value
from lineside.pipelines.overlay import Overlay
from lineside.pipelines.plan.describe import as_svg, as_text
from lineside.pipelines.plan.launch import parse_launch
from lineside.pipelines.plan.shape import shape_of
from lineside.pipelines.sinks.rtsp import RtspServer
from lineside.runtime.detections import Detections
from lineside.runtime.errors import BadOption, MissingPackage, SinkError, SourceError, StationError
from lineside.runtime.masks import Mask, Masks

USER, PASSWORD = "kim", "pa:ss w@rd#ü"


@pytest.fixture(autouse=True)
def installed() -> None:
    needs("appsrc", "rtspsrc", "rtph264pay", "decodebin", "avdec_h264")
    try:
        serving("auto", 1000)
        rtsp.rtsp_library()
    except MissingPackage as error:
        pytest.skip(f"{error} (sh scripts/system.sh test)")


def plain(size: tuple[int, int] = (120, 160), value: int = 90) -> np.ndarray:
    return np.full((*size, 3), value, np.uint8)


def frame_of(pixels: np.ndarray, source: str = "top", found: Detections | None = None) -> Frame:
    frame = Frame(pixels, source=source, captured=time.monotonic_ns())
    frame.outcome, frame.detections = "inspected", found
    return frame


def half() -> Detections:
    """One object that covers the left half of a picture of 160 x 120."""
    table = np.zeros((120, 160), bool)
    table[20:100, 10:80] = True
    return Detections(
        np.array([[10, 20, 80, 100]]), np.array([0.9]), np.array([0]), np.array([0]),
        Masks.of([Mask.from_array(table)], (120, 160)), ("part",), (120, 160),
    )  # fmt: skip


class Line:
    """A line that gives pictures to a sink for as long as it is wanted, some 30 a second."""

    def __init__(self, sink: RtspServer, picture: Callable[[int], Frame]) -> None:
        self.picture = picture
        self.written = 0
        self._sink = sink
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.03):
            self._sink.write(self.picture(self.written))
            self.written += 1

    def wait(self, more: int) -> None:
        """Waits until so many more pictures were written."""
        goal = self.written + more
        until(lambda: self.written >= goal, "the line goes on")

    def end(self) -> None:
        self._stop.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the sink holds up the line"


@contextmanager
def served(
    picture: Callable[[int], Frame] = lambda number: frame_of(plain()), events: list[Event] | None = None, **values: Any
) -> Iterator[tuple[RtspServer, Line]]:
    """A sink with a line in front of it that has given its first picture."""
    place = Place(name="live", bus=listening(events if events is not None else []))
    sink: RtspServer = make("rtsp-server", options_of("rtsp-server", values, "test"), place)
    sink.open(StreamInfo("top", "camera", live=True))
    line = Line(sink, picture)
    try:
        until(lambda: sink.showings, "the first picture")
        yield sink, line
    finally:
        line.end()
        sink.close()


@contextmanager
def watching(sink: RtspServer, source: str = "top", **values: Any) -> Iterator[GstSource]:
    """A client: the source of another station."""
    with client_of(f"rtsp://127.0.0.1:{sink.port}/{source}", **values) as client:
        yield client


@contextmanager
def client_of(url: str, **values: Any) -> Iterator[GstSource]:
    told = options_of("rtsp", {"url": url, "timeout": 120, **values}, "test")
    client = opened(told)
    try:
        yield client
    finally:
        client.close()


def opened(told: Options) -> GstSource:
    """A client that is open.

    It waits five seconds for an answer, and on a busy machine an encoder may take longer. And who asks while the server
    takes something down for somebody else may be told to come again.
    """
    end = time.monotonic() + PATIENCE
    while True:
        client: GstSource = make("rtsp", told, Place(name="client"))
        try:
            client.open()
        except SourceError as error:
            client.close()
            if not re.search(r"Timeout|\(503\)", str(error)) or time.monotonic() > end:
                raise
        else:
            return client


def next_like(client: GstSource, good: Callable[[np.ndarray], bool], what: str) -> np.ndarray:
    """The next picture of some kind."""
    end = time.monotonic() + PATIENCE
    for frame in client.frames():
        if good(frame.bgr()):
            return frame.bgr().copy()
        assert time.monotonic() < end, f"no {what} came"
    raise AssertionError(f"the stream ended before {what}")


def apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other).mean())


@contextmanager
def program(sink: RtspServer) -> Iterator[subprocess.Popen[bytes]]:
    """A client in a process of its own, which can be killed and stopped."""
    words = ["-v", "error", "-rtsp_transport", "tcp", "-i", f"rtsp://127.0.0.1:{sink.port}/top", "-f", "null", "-"]
    try:
        process = subprocess.Popen(["ffmpeg", *words], stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        pytest.skip("no ffmpeg (sh scripts/system.sh test)")
    try:
        yield process
    finally:
        process.kill()
        process.wait()


# ------------------------------------------------------------------------------------------------------------- pictures


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


# ------------------------------------------------------------------------------------------------------- who watches


def test_nothing_is_encoded_while_nobody_watches() -> None:
    with served() as (sink, line):
        showing = sink.showings["top"]
        line.wait(50)
        assert (showing.given, showing.begun, showing.watched) == (0, 0, False)
        with watching(sink) as client:
            next_like(client, lambda it: True, "picture")
            assert showing.watched and showing.given > 0
        until(lambda: not showing.watched, "nobody watches")
        given = showing.given
        line.wait(50)
        assert (showing.given, showing.begun) == (given, 1)


def test_two_clients_share_an_encoder() -> None:
    with served() as (sink, _):
        with watching(sink) as one:
            next_like(one, lambda it: True, "picture")
            with watching(sink) as other:
                next_like(other, lambda it: True, "picture")
            next_like(one, lambda it: True, "picture after the other has gone")
            assert sink.showings["top"].begun == 1 and sink.showings["top"].watched
        until(lambda: not sink.showings["top"].watched, "nobody watches")


def test_no_more_watch_than_are_allowed() -> None:
    with served(watchers=1) as (sink, _), watching(sink) as client:
        next_like(client, lambda it: True, "picture")
        told = options_of("rtsp", {"url": f"rtsp://127.0.0.1:{sink.port}/top", "timeout": 120}, "test")
        other: GstSource = make("rtsp", told, Place(name="client"))
        with pytest.raises(SourceError, match="503"):
            other.open()
        other.close()
        next_like(client, lambda it: True, "picture")


def asked(sink: RtspServer, words: bytes) -> bytes:
    """What the server answers to somebody who goes away then."""
    with socket.create_connection(("127.0.0.1", sink.port), PATIENCE) as connection:
        connection.sendall(words)
        connection.shutdown(socket.SHUT_WR)
        return connection.recv(4096)


ASK = b"DESCRIBE rtsp://127.0.0.1/top RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"


def test_who_only_asks_leaves_nothing_behind() -> None:
    with served() as (sink, _):
        for number in range(5):
            assert asked(sink, ASK).startswith(b"RTSP/1.0 200 OK")
            until(lambda: not sink.showings["top"].watched, "nobody watches")
            assert sink.showings["top"].begun == number + 1


@pytest.mark.parametrize(
    "words",
    [
        bytes(5000),
        b"GET / HTTP/1.1\r\n\r\n",
        b"DESCRIBE * RTSP/1.0\r\n\r\n",
        b"DESCRIBE rtsp://127.0.0.1/" + b"a" * 50000 + b" RTSP/1.0\r\nCSeq: 1\r\n\r\n",
        b"SETUP rtsp://127.0.0.1/top/stream=0 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP;multicast\r\n\r\n",
        b"ANNOUNCE rtsp://127.0.0.1/top RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 5\r\n\r\nv=0\r\n",
    ],
)
def test_clients_that_talk_rubbish(words: bytes) -> None:
    with served() as (sink, _), watching(sink) as client:
        next_like(client, lambda it: True, "picture")
        assert b" 200 OK" not in asked(sink, words)
        next_like(client, lambda it: True, "picture after that")


def test_connections_that_say_nothing_do_not_use_up_the_descriptors() -> None:
    with served(watchers=2) as (sink, _), watching(sink) as client:
        next_like(client, lambda it: True, "picture")
        idle = [socket.create_connection(("127.0.0.1", sink.port), PATIENCE) for _ in range(60)]
        assert [it.recv(1) for it in idle[-20:]] == [b""] * 20, "those too many are closed"
        next_like(client, lambda it: True, "picture")
        for it in idle:
            it.close()

        def answered() -> bool:
            try:
                return asked(sink, ASK).startswith(b"RTSP/1.0 200 OK")
            except ConnectionError:
                return False

        until(answered, "room for others again")


def test_a_client_that_is_killed_is_noticed() -> None:
    with served() as (sink, line), program(sink) as process:
        until(lambda: sink.showings["top"].given > 3, "pictures for the client")
        process.kill()
        until(lambda: not sink.showings["top"].watched, "nobody watches")
        line.wait(5)


def test_a_client_that_hangs_holds_up_nobody_and_nothing_piles_up() -> None:
    """It keeps its connection and reads nothing; what does not fit into the socket is dropped."""
    noise = np.random.default_rng(0).integers(0, 256, (8, 240, 320, 3), np.uint8)
    events: list[Event] = []
    with served(lambda number: frame_of(noise[number % 8]), events, bitrate=30000) as (sink, line):
        with program(sink) as process, watching(sink) as client:
            until(lambda: sink.showings["top"].given > 3, "pictures for the client")
            process.send_signal(signal.SIGSTOP)
            line.wait(100)  # fills the socket
            before, held = sink.showings["top"].given, resident()
            line.wait(200)
            next_like(client, lambda it: True, "picture for the other client")
            assert sink.showings["top"].given > before
            assert resident() - held < 40e6, "a hundred pictures of 80 kB more would be fine, all of them would not"
            line.end()
            begin = time.monotonic()
            sink.close()
            assert time.monotonic() - begin < PATIENCE and not [it for it in events if it.level == "error"]
            process.send_signal(signal.SIGCONT)


def resident() -> int:
    """Bytes of memory that this process has."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_closing_sends_watchers_away_and_leaves_nothing_behind() -> None:
    before = set(threading.enumerate())
    events: list[Event] = []
    with served(events=events) as (sink, line), watching(sink) as client:
        next_like(client, lambda it: True, "picture")
        port = sink.port
        line.end()
        sink.close()
        assert [event.kind for event in events] == ["serving"], "nothing hung"
        until(lambda: not [it for it in set(threading.enumerate()) - before if "live" in it.name], "its threads end")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), PATIENCE)
        list(client.frames())  # come to an end


def test_who_comes_right_after_somebody_who_left_gets_pictures_too() -> None:
    """The first one leaves while its encoder is being started."""
    with served() as (sink, _):
        for number in range(8):
            with socket.create_connection(("127.0.0.1", sink.port), PATIENCE) as connection:
                connection.sendall(ASK)
                connection.settimeout(0.01 * number)
                with suppress(OSError):
                    connection.recv(1)
            with watching(sink) as client:
                next_like(client, lambda it: True, f"picture {number}")


@contextmanager
def shown_to(rest: str, **told: Any) -> Iterator[tuple[Showing, list[float], int]]:
    """A showing in virtual time in front of something else than an encoder: it, its clock, and the appsrc."""
    gst, clock = library(), [0.0]
    appsrc = serving("auto", 1000).strip("( ").partition(" ! ")[0]
    pipeline = parsed(gst, f"{appsrc} ! {rest}")
    gst.gst_element_set_state(pipeline, 4)
    showing = Showing(now=lambda: clock[0], **told)
    showing.show(frame_of(plain()))
    source = gst.gst_bin_get_by_name(pipeline, INPUT.encode())
    showing.begin(1, gst.gst_object_ref(source))
    try:
        yield showing, clock, source
    finally:
        showing.end(1)
        gst.gst_element_set_state(pipeline, 1)
        gst.gst_object_unref(source)
        gst.gst_object_unref(pipeline)


def test_the_rate_may_be_limited() -> None:
    """100 pictures at 50 a second, of which 10 a second are wanted."""
    with shown_to("fakesink sync=false", fps=10) as (showing, clock, _):
        for number in range(100):
            clock[0] = 1 + number / 50
            showing.show(frame_of(plain()))
        assert 19 <= showing.given <= 21


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
        gst = library()
        CDLL("libgstreamer-1.0.so.0").gst_element_set_base_time(c_void_p(source), c_uint64(base))
        for number in range(5):
            clock[0] = 1 + number / 50
            showing.show(frame_of(plain()))
        parent = CDLL("libgstreamer-1.0.so.0").gst_object_get_parent
        parent.restype, parent.argtypes = c_void_p, [c_void_p]
        pipeline = parent(source)
        out = gst.gst_bin_get_by_name(pipeline, b"out")
        times = []
        for _ in range(2):  # of the others, which nobody takes, two stay
            sample = gst.gst_app_sink_try_pull_sample(out, int(PATIENCE * 1e9))
            times.append(Buffer.from_address(gst.gst_sample_get_buffer(sample)).pts)
            gst.gst_mini_object_unref(sample)
        assert 0 < times[0] < times[1] < 2e9
        for it in (out, pipeline):
            gst.gst_object_unref(it)


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


# ------------------------------------------------------------------------------------------------------------ credentials


def test_only_who_knows_the_password_may_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINESIDE_TEST_PASSWORD", PASSWORD)
    monkeypatch.setenv("LINESIDE_TEST_USER", USER)
    events: list[Event] = []
    with served(events=events, user="env:LINESIDE_TEST_USER", password="env:LINESIDE_TEST_PASSWORD") as (sink, _):
        for password in (PASSWORD, "env:LINESIDE_TEST_PASSWORD"):
            with watching(sink, user=USER, password=password) as client:
                next_like(client, lambda it: True, "picture")
            until(lambda: not sink.showings["top"].watched, "nobody watches")
        for wrong in ({}, {"user": USER, "password": "guess"}, {"user": "eve", "password": PASSWORD}):
            with pytest.raises(SourceError, match="check the user name and the password"), watching(sink, **wrong):
                pass
        assert sink.showings["top"].begun == 2, "nothing was made for those who may not watch"
        assert PASSWORD not in f"{events} {vars(sink)} {sink._login!r}"


def test_the_network_sees_nothing_without_a_password() -> None:
    for address in ("0.0.0.0", "192.0.2.2", "::", "127.evil.example", "line-pc"):
        with pytest.raises(StationError, match=r"others on the network see the pictures: give user and password"):
            options_of("rtsp-server", {"address": address}, "test")
        options_of("rtsp-server", {"address": address, "user": USER, "password": PASSWORD}, "test")
    for address in ("127.0.0.1", "127.0.0.9", "::1", "localhost"):
        options_of("rtsp-server", {"address": address}, "test")
    with pytest.raises(StationError, match="go together"):
        options_of("rtsp-server", {"user": USER}, "test")


def test_a_variable_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LINESIDE_NOT_THERE", raising=False)
    told = options_of("rtsp-server", {"user": USER, "password": "env:LINESIDE_NOT_THERE"}, "test")
    with pytest.raises(BadOption, match="'LINESIDE_NOT_THERE'.*is not set"):
        make("rtsp-server", told, Place())


def test_credentials_show_nowhere() -> None:
    told = options_of("rtsp-server", {"user": USER, "password": PASSWORD, "address": "0.0.0.0"}, "test")
    assert told == pickle.loads(pickle.dumps(told))
    shape = shape_of(parse_launch(f'pattern ! rtsp-server user={USER} password="{PASSWORD}"'))
    for text in (repr(told), pretty_repr(told), as_text(shape), as_svg(shape.plan)):
        assert PASSWORD not in text and USER not in text, text


# ----------------------------------------------------------------------------------------------------- what is not there


def test_a_port_that_is_taken() -> None:
    with served() as (sink, _):
        other = make("rtsp-server", options_of("rtsp-server", {"port": sink.port}, "test"), Place())
        with pytest.raises(SinkError, match=rf"port {sink.port} of 127\.0\.0\.1: .*; choose another"):
            other.open(StreamInfo("top", "camera"))
        other.close(1)


def test_a_missing_library_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtsp, "_LIBRARIES", ("libgstrtspserver-9.9.so.0",))
    monkeypatch.setattr(rtsp, "_loaded", None)
    sink = make("rtsp-server", options_of("rtsp-server", {}, "test"), Place())
    with pytest.raises(MissingPackage, match="apt-get install libgstrtspserver-1.0-0"):
        sink.open(StreamInfo("top", "camera"))
    sink.close(1)


@pytest.mark.parametrize(
    ("there", "encoder", "says"),
    [
        (set(), "auto", "apt-get install gstreamer1.0-plugins-base"),
        ({"appsrc", "videoconvert"}, "auto", "apt-get install gstreamer1.0-plugins-good"),
        ({"appsrc", "videoconvert", "rtph264pay", "rtpbin"}, "auto", "apt-get install gstreamer1.0-plugins-ugly"),
        ({"appsrc", "videoconvert", "rtph264pay", "rtpbin", "x264enc"}, "nvh264enc", "needs nvh264enc, h264parse"),
    ],
)
def test_missing_elements_are_explained(there: set[str], encoder: Any, says: str) -> None:
    with pytest.raises((MissingPackage, SinkError), match=says):
        serving(encoder, 1000, there.__contains__)


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        (("nvv4l2h264enc", "nvvidconv", "x264enc"), "nvv4l2h264enc bitrate=3000000 "),
        (("nvv4l2h264enc", "x264enc"), "x264enc tune=zerolatency"),  # a Jetson's encoder needs its converter
        (("nvh264enc", "openh264enc"), "nvh264enc preset=low-latency-hq zerolatency=true bitrate=3000 "),
        (("openh264enc",), "openh264enc complexity=low rate-control=bitrate bitrate=3000000 "),
    ],
)
def test_the_machines_own_circuits_come_first(there: tuple[str, ...], chosen: str) -> None:
    rest = {"appsrc", "videoconvert", "rtph264pay", "rtpbin", "h264parse"}
    assert chosen in serving("auto", 3000, {*there, *rest}.__contains__)


def test_the_command_of_the_document_runs(cli: Callable[..., Any], tmp_path: Path) -> None:
    (row,) = (it for _, it in commands(ROOT / "docs/station.md") if "! rtsp-server" in it)
    (tmp_path / "demo").symlink_to(ROOT / "demo")
    done = cli(*shlex.split(row)[1:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^rtsp-server: line can be watched at rtsp://127\.0\.0\.1:\d+/line$", done.stderr, re.MULTILINE)


def test_a_station_without_a_model_is_a_camera(cli: Callable[..., Any], tmp_path: Path) -> None:
    done = cli("launch", "synthetic name=line size=64x48 count=3 ! rtsp-server draw=false", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.match(r"station, \d+\.\d s\nresults ", done.stdout), "no table without rows"
    assert re.search(r"rtsp-server │ +3 │ +3 │ +0 │ +0", done.stdout)


def test_every_option_is_described() -> None:
    kind = type(options_of("rtsp-server", {}, "nothing"))
    assert [it.name for it in msgspec.structs.fields(kind) if f"{it.name}:" not in (kind.__doc__ or "")] == []
