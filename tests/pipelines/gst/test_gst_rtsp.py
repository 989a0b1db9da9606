"""Network cameras: a real server that plays, dies, freezes, refuses, talks rubbish; and credentials that nobody sees."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np
import pytest
from rich.pretty import pretty_repr

from helpers.gst import PATIENCE, camera, listening, needs
from lineside.pipelines.catalog import Place, make, options_of
from lineside.pipelines.events import Event
from lineside.pipelines.gst.source import GstSource
from lineside.pipelines.plan.describe import as_svg, as_text
from lineside.pipelines.plan.launch import parse_launch
from lineside.pipelines.plan.shape import shape_of
from lineside.pipelines.sources.gst import GstRtsp
from lineside.runtime.errors import SourceError, StationError
from lineside.runtime.yuv import Yuv

USER, PASSWORD = "kim@line 1", "pa:ss/w@rd%41?#ü"
ENCODED = f"{quote(USER, safe='')}:{quote(PASSWORD, safe='')}"


@pytest.fixture(autouse=True)
def installed() -> None:
    needs("rtspsrc", "jpegdec", "decodebin")


def rtsp(url: str, events: list[Event] | None = None, **values: Any) -> GstSource:
    """The element of a station."""
    options = options_of("rtsp", {"url": url, "timeout": 120, **values}, "test")
    source: GstSource = make("rtsp", options, Place(name="top", bus=listening(events if events is not None else [])))
    return source


@contextmanager
def playing(url: str, events: list[Event] | None = None, **values: Any) -> Iterator[GstSource]:
    source = rtsp(url, events, **values)
    try:
        source.open()
        yield source
    finally:
        source.close()


def refusal(url: str, events: list[Event] | None = None, **values: Any) -> str:
    """What it says when it cannot be opened."""
    with pytest.raises(SourceError) as caught, playing(url, events, **values):
        pass
    assert caught.value.__cause__ is None
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "codec"),
    [("jpeg", "auto"), ("jpeg", "jpeg"), ("h264", "auto"), ("h264", "h264"), ("sound", "auto"), ("sound", "jpeg")],
)
def test_a_camera_plays(kind: str, codec: str) -> None:
    if kind == "h264":
        needs("x264enc", "h264parse", "avdec_h264")
    with camera(kind) as (_, place):
        with playing(f"rtsp://{place}", codec=codec) as source:
            frames = source.frames()
            got = [next(frames) for _ in range(5)]
            assert [frame.size for frame in got] == [(144, 176)] * 5
            assert all(isinstance(frame.pixels, Yuv) and frame.source == "top" for frame in got)
            # A white ball that moves, on black.
            assert all(frame.bgr().max() > 200 and np.median(frame.bgr()) < 40 for frame in got)
            assert [frame.pts for frame in got] == sorted({frame.pts for frame in got})


def test_udp(tmp_path: object) -> None:
    with camera("jpeg") as (_, place), playing(f"rtsp://{place}", transport="udp") as source:
        assert next(source.frames()).size == (144, 176)


def test_a_killed_camera_ends_the_frames() -> None:
    events: list[Event] = []
    with camera("jpeg") as (process, place), playing(f"rtsp://{place}", events) as source:
        frames = source.frames()
        next(frames)
        process.kill()
        list(frames)  # Comes to an end by itself.
        assert "rtspsrc 'source' says" in " ".join(event.message for event in events if event.level == "warning")


def test_a_frozen_camera_says_nothing_and_can_be_stopped() -> None:
    """The other end neither answers nor closes, as when a cable is pulled; also while the source is taken down."""
    events: list[Event] = []
    with camera("jpeg") as (process, place):
        source = rtsp(f"rtsp://{place}", events)
        source.open()
        first = threading.Event()

        def read() -> None:
            for _ in source.frames():
                first.set()

        thread = threading.Thread(target=read)
        thread.start()
        assert first.wait(PATIENCE)
        process.send_signal(signal.SIGSTOP)
        source.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        source.close()
        assert [event.kind for event in events if event.level == "error"] in ([], ["hung"])
        process.send_signal(signal.SIGCONT)


def test_a_camera_that_is_frozen_from_the_start() -> None:
    with camera("jpeg") as (process, place):
        process.send_signal(signal.SIGSTOP)
        assert "top (rtsp://127.0.0.1" in refusal(f"rtsp://{place}", timeout=0.5)
        process.send_signal(signal.SIGCONT)


def test_a_camera_comes_back() -> None:
    with camera("jpeg") as (process, place):
        port = int(place.split(":")[1].split("/")[0])
        with playing(f"rtsp://{place}") as source:
            next(source.frames())
            process.kill()
            process.wait()
        refusal(f"rtsp://{place}", timeout=5)
        with camera("jpeg", port=port) as (_, again):
            assert again == place
            with playing(f"rtsp://{again}") as source:
                assert next(source.frames()).size == (144, 176)


@contextmanager
def rubbish(answer: bytes) -> Iterator[str]:
    """A server that answers everything with the same bytes and hangs up."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.getsockname()[1]}/line"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(PATIENCE)


@pytest.mark.parametrize(
    "answer",
    [b"", os.urandom(1).ljust(3000, b"\x8f"), b"HTTP/1.1 200 OK\r\n\r\n", b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n"],
)
def test_a_server_that_talks_rubbish(answer: bytes) -> None:
    with rubbish(answer) as place:
        message = refusal(f"rtsp://{ENCODED}@{place}", timeout=5)
        assert message.startswith(f"cannot read top (rtsp://{place}): ")
        assert_clean(message)


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert "check that it is there, switched on and reachable" in refusal(f"rtsp://127.0.0.1:{port}/line")


# --------------------------------------------------------------------------------------------------------- credentials


def assert_clean(*texts: object) -> None:
    """None of the texts holds the credentials, in any spelling."""
    for text in map(str, texts):
        for secret in (
            USER,
            PASSWORD,
            quote(USER, safe=""),
            quote(PASSWORD, safe=""),
            quote(PASSWORD),
            "pa%3A",
            "w@rd",
            "w%40rd",
        ):
            assert secret not in text, text


@pytest.mark.parametrize("within", [True, False])
def test_credentials_open_the_camera_and_show_nowhere(within: bool, capfd: pytest.CaptureFixture[str]) -> None:
    events: list[Event] = []
    with camera("jpeg", USER, PASSWORD) as (process, place):
        url = f"rtsp://{ENCODED}@{place}" if within else f"rtsp://{place}"
        values = {} if within else {"user": USER, "password": PASSWORD}
        with playing(url, events, **values) as source:
            frames = source.frames()
            frame = next(frames)
            assert frame.size == (144, 176)
            process.kill()
            list(frames)
        options = options_of("rtsp", {"url": url, **values}, "test")
        assert_clean(frame.source, frame.name, repr(source), *events, repr(options), pretty_repr(options))
        assert options == pickle.loads(pickle.dumps(options)), "the capture may be started in another process"
        assert_clean(refusal(url, events, **values, timeout=5), *events)
    assert_clean(*capfd.readouterr())


def test_a_wrong_password() -> None:
    with camera("jpeg", USER, PASSWORD) as (_, place):
        wrong = refusal(f"rtsp://kim:wrong-secret@{place}")
        assert "rtspsrc 'source' says: " in wrong and wrong.endswith("; check the user name and the password")
        assert "wrong-secret" not in wrong and f"rtsp://{place}" in wrong
        assert refusal(f"rtsp://{place}").endswith("; check the user name and the password")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://camera/video", "is no address of a network camera"),
        ("camera", "is no address"),
        ("rtsp://kim:pa/ss@camera/1", "has no readable host"),
        ("rtsp://", "is no address"),
    ],
)
def test_addresses_that_cannot_be_meant(url: str, reason: str) -> None:
    with pytest.raises(SourceError, match=reason) as caught:
        rtsp(url)
    assert "pa/ss" not in str(caught.value)


def test_options_are_checked_without_repeating_them() -> None:
    for values in (
        {"url": "rtsp://kim:pa ss@camera"},
        {"url": "rtsp://a", "password": 5},
        {"url": "rtsp://a", "codec": "x"},
    ):
        with pytest.raises(StationError) as caught:
            options_of("rtsp", values, "test")
        assert "pa ss" not in str(caught.value)
    assert [it.name for it in msgspec.structs.fields(GstRtsp) if it.required] == ["url"]


def test_a_described_plan_shows_none() -> None:
    text = f'rtsp url=rtsp://{ENCODED}@camera/1 user="{USER}" password="{PASSWORD}" ! jsonl path=out.jsonl'
    shape = shape_of(parse_launch(text))
    for described in (as_text(shape), as_svg(shape.plan)):
        assert "rtsp://***@camera/1" in described
        assert_clean(described)
