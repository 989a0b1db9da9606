"""The sink ``rtsp-server``: who may not watch, what is not there, and the commands that are shown."""

from __future__ import annotations

import pickle
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.pretty import pretty_repr

from helpers.documents import ROOT, commands
from helpers.gst import until
from helpers.served import needs_server, next_like, served, watching
from lineside.pipelines.catalog import Place, make, options_of
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.events import Event
from lineside.pipelines.gst.rtsp import library as rtsp
from lineside.pipelines.gst.rtsp.encoders import serving
from lineside.pipelines.plan.describe import as_svg, as_text
from lineside.pipelines.plan.launch import parse_launch
from lineside.pipelines.plan.shape import shape_of
from lineside.runtime.errors import BadOption, MissingPackage, SinkError, SourceError, StationError

USER, PASSWORD = "kim", "pa:ss w@rd#ü"


@pytest.fixture(autouse=True)
def installed() -> None:
    needs_server()


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
