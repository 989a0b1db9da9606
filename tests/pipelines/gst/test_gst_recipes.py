"""Descriptions for each kind of camera, with the decoders that a machine has: this one's, a Jetson's, a desktop's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.gst import needs, opened
from lineside.pipelines.catalog import Place, make, options_of
from lineside.pipelines.gst.recipes import Codec, Size, camera_csi, camera_rtsp, camera_usb, file
from lineside.pipelines.secrets import Address
from lineside.runtime.errors import SourceError, StationError

JETSON = frozenset(("nvarguscamerasrc", "nvvidconv", "nvv4l2decoder", "nvjpegdec", "avdec_h264", "jpegdec"))
DESKTOP = frozenset(("nvh264dec", "nvh265dec", "cudadownload", "avdec_h264", "avdec_h265", "jpegdec"))
SOFTWARE = frozenset(("avdec_h264", "openh264dec", "libde265dec", "avdec_mjpeg"))
CAMERA = Address("rtsp://camera/1", "kim", "hush5")


@pytest.mark.parametrize(
    ("machine", "codec", "end"),
    [
        (JETSON, "h264", "rtph264depay ! h264parse ! nvv4l2decoder ! nvvidconv ! video/x-raw,format=NV12"),
        (JETSON, "h265", "rtph265depay ! h265parse ! nvv4l2decoder ! nvvidconv ! video/x-raw,format=NV12"),
        (JETSON, "jpeg", "rtpjpegdepay ! nvjpegdec ! nvvidconv ! video/x-raw,format=I420"),
        (JETSON, "auto", "decodebin ! nvvidconv ! video/x-raw,format=NV12"),
        (DESKTOP, "h264", "rtph264depay ! h264parse ! nvh264dec ! cudadownload ! video/x-raw,format=NV12"),
        (DESKTOP, "h265", "rtph265depay ! h265parse ! nvh265dec ! cudadownload ! video/x-raw,format=NV12"),
        (DESKTOP, "jpeg", "rtpjpegdepay ! jpegdec"),
        (DESKTOP, "auto", "decodebin ! cudadownload"),
        (SOFTWARE, "h264", "rtph264depay ! h264parse ! avdec_h264"),
        (SOFTWARE - {"avdec_h264"}, "h264", "rtph264depay ! h264parse ! openh264dec"),
        (SOFTWARE, "h265", "rtph265depay ! h265parse ! libde265dec"),
        (SOFTWARE, "jpeg", "rtpjpegdepay ! avdec_mjpeg"),
        (SOFTWARE, "auto", "application/x-rtp,media=video ! decodebin"),
    ],
)
def test_the_decoder_is_the_best_that_there_is(machine: frozenset[str], codec: Codec, end: str) -> None:
    recipe = camera_rtsp(CAMERA, codec=codec, transport="tcp", latency=50, have=machine.__contains__)
    assert recipe.text.endswith(f" ! {end}") and recipe.live
    assert recipe.most == (2 if "nvvidconv" in end else None), "a slow sink must not take its last buffer"
    assert "hush5" not in recipe.text + repr(recipe) and "kim" not in repr(recipe)
    assert dict(recipe.values) == {"location": "rtsp://camera/1", "user-id": "kim", "user-pw": "hush5"}


def test_without_a_decoder() -> None:
    with pytest.raises(
        SourceError, match="no decoder for h265 here; install one with: apt-get install gstreamer1.0-libav"
    ):
        camera_rtsp(CAMERA, codec="h265", transport="tcp", latency=50, have=frozenset().__contains__)


def test_a_camera_on_a_jetson() -> None:
    recipe = camera_csi(1, Size(1920, 1080, 60), have=JETSON.__contains__)
    assert recipe.text == (
        "nvarguscamerasrc name=source sensor-id=1 ! video/x-raw(memory:NVMM),format=NV12,width=1920,height=1080,framerate=60/1 "
        "! nvvidconv ! video/x-raw,format=NV12"
    )
    assert recipe.loans == 2, "its buffers are few"


def test_a_camera_on_no_jetson() -> None:
    needs("videotestsrc")
    with pytest.raises(SourceError, match="no nvarguscamerasrc and no nvvidconv here.* a Jetson"):
        make("csi", options_of("csi", {}, "test"), Place())


@pytest.mark.parametrize(
    ("form", "eye"),
    [
        ("raw", "videotestsrc"),
        ("auto", "videotestsrc"),
        ("jpeg", "videotestsrc pattern=red ! jpegenc name=lens"),
        ("auto", "videotestsrc pattern=red ! jpegenc name=lens"),
    ],
)
def test_the_rest_of_a_usb_camera_runs(form: str, eye: str) -> None:
    """With a picture of GStreamer's where the camera is."""
    needs("videotestsrc", "jpegenc", "jpegdec", "decodebin")
    recipe = camera_usb("/dev/video7", Size(64, 48), form)  # type: ignore[arg-type]
    assert dict(recipe.values) == {"device": "/dev/video7"} and "/dev/video7" not in recipe.text
    text = recipe.text.replace(
        "v4l2src name=source", eye.replace("videotestsrc", "videotestsrc is-live=true num-buffers=30")
    )
    assert text != recipe.text
    with opened(replace(recipe, text=text, values={})) as source:
        frames = source.frames()
        assert [next(frames).size for _ in range(3)] == [(48, 64)] * 3


def test_a_usb_camera_that_is_none() -> None:
    needs("v4l2src")
    source = make(
        "usb", options_of("usb", {"device": "/dev/null", "width": 640, "timeout": 120}, "test"), Place(name="eye")
    )
    with pytest.raises(
        SourceError, match=r"cannot read eye \(camera /dev/null\): v4l2src 'source' says: .*; it is no camera"
    ):
        source.open()
    missing = make("usb", options_of("usb", {"device": "/dev/video99", "timeout": 120}, "test"), Place(name="eye"))
    with pytest.raises(SourceError, match="check that it is there"):
        missing.open()


def test_a_pipeline_of_ones_own() -> None:
    needs("videotestsrc")
    words = {
        "text": "videotestsrc num-buffers=3 pattern=blue ! video/x-raw,format=BGR",
        "live": "false",
        "timeout": "120",
    }
    options = options_of("gst-launch", words, "test", text=True)
    source = make("gst-launch", options, Place(name="own"))
    source.open()
    frames = list(source.frames())
    source.close()
    assert len(frames) == 3 and np.array_equal(frames[0].bgr()[0, 0], (255, 0, 0))
    assert "hush5" not in repr(options_of("gst-launch", {"text": "rtspsrc location=rtsp://a:hush5@b"}, "test"))


@pytest.mark.parametrize(
    ("head", "machine", "text"),
    [
        (b"\0\0\0\x1cftypisom", {"qtdemux"}, "filesrc name=source ! qtdemux name=box box.video_0 ! decodebin"),
        (
            b"\x1a\x45\xdf\xa3",
            {"matroskademux"},
            "filesrc name=source ! matroskademux name=box box.video_0 ! decodebin",
        ),
        (b"RIFF\0\0\0\0AVI ", {"avidemux", "cudadownload"}, "avidemux name=box box.video_0 ! decodebin ! cudadownload"),
        (b"RIFF\0\0\0\0WAVE", {"avidemux"}, "filesrc name=source ! decodebin"),
        (b"\0\0\0\x1cftypisom", {"nvvidconv"}, "source ! decodebin ! nvvidconv ! video/x-raw,format=NV12"),
        (b"G", set(), "filesrc name=source ! decodebin"),
    ],
)
def test_files_by_their_first_bytes(tmp_path: Path, head: bytes, machine: set[str], text: str) -> None:
    path = tmp_path / "film with no name"
    path.write_bytes(head)
    recipe = file(str(path), have=machine.__contains__)
    assert recipe.text.endswith(text)
    assert (recipe.file, dict(recipe.values), recipe.live) == (str(path), {"location": str(path)}, False)


@pytest.mark.parametrize(
    ("element", "values", "reason"),
    [
        ("gst", {}, "location"),
        ("usb", {"format": "mjpeg"}, "allowed: .*raw"),
        ("pattern", {"width": 0}, "width"),
        ("rtsp", {"url": "rtsp://a", "transport": "smoke"}, "allowed: .*udp"),
        ("csi", {"sensor": 1}, "no use for `sensor`; known here: id, "),
    ],
)
def test_options_are_checked(element: str, values: dict[str, object], reason: str) -> None:
    with pytest.raises(StationError, match=reason):
        options_of(element, values, "test")
