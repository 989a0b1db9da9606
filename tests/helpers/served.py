"""What the tests of the sink ``rtsp-server`` share: lines that give it pictures, and clients that watch them."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from helpers.gst import PATIENCE, listening, needs, until
from lineside.pipelines.catalog import Options, Place, make, options_of
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.events import Event
from lineside.pipelines.frame import Frame
from lineside.pipelines.gst.library import library
from lineside.pipelines.gst.parse import parsed
from lineside.pipelines.gst.rtsp.encoders import INPUT, serving
from lineside.pipelines.gst.rtsp.library import rtsp_library
from lineside.pipelines.gst.rtsp.showing import Showing
from lineside.pipelines.gst.source import GstSource
from lineside.pipelines.sinks.rtsp import RtspServer
from lineside.runtime.detections import Detections
from lineside.runtime.errors import MissingPackage, SourceError
from lineside.runtime.masks import Mask, Masks


def needs_server() -> None:
    """Skips the test where pictures cannot be served or watched."""
    needs("appsrc", "rtspsrc", "rtph264pay", "decodebin", "avdec_h264")
    try:
        serving("auto", 1000)
        rtsp_library()
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


def asked(sink: RtspServer, words: bytes) -> bytes:
    """What the server answers to somebody who goes away then."""
    with socket.create_connection(("127.0.0.1", sink.port), PATIENCE) as connection:
        connection.sendall(words)
        connection.shutdown(socket.SHUT_WR)
        return connection.recv(4096)


ASK = b"DESCRIBE rtsp://127.0.0.1/top RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"


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
