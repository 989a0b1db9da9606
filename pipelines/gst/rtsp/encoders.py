"""Descriptions of H.264 encoders that wait for nothing: what this machine has, its own circuits first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from lineside.pipelines.gst.library import have
from lineside.runtime.errors import MissingPackage, SinkError

__all__ = ["INPUT", "Encoder", "serving"]

Encoder = Literal["auto", "nvv4l2h264enc", "nvh264enc", "x264enc", "openh264enc"]
Have = Callable[[str], bool]

INPUT = "pictures"
"""Name of the appsrc that takes the pictures."""

_GOP = 60
"""Pictures from one key frame to the next at most. Besides, each second is asked for one."""
_PLAIN = "video/x-raw,format=I420"
"""In 4:2:0, which every player has; encoders that are left the choice take more."""

_ENCODERS = {
    # name: what it needs beside itself, its description. {k} is kbit/s, {b} bit/s.
    "nvv4l2h264enc": (
        ("nvvidconv", "h264parse"),
        f"{_PLAIN} ! nvvidconv ! video/x-raw(memory:NVMM),format=NV12 ! nvv4l2h264enc bitrate={{b}} "
        f"iframeinterval={_GOP} idrinterval={_GOP} insert-sps-pps=true maxperf-enable=true ! h264parse",
    ),
    "nvh264enc": (
        ("h264parse",),
        f"video/x-raw,format=NV12 ! nvh264enc preset=low-latency-hq zerolatency=true bitrate={{k}} gop-size={_GOP} "
        "! h264parse",
    ),
    "x264enc": (
        (),
        f"{_PLAIN} ! x264enc tune=zerolatency speed-preset=superfast threads=1 bitrate={{k}} key-int-max={_GOP}",
    ),
    "openh264enc": (
        ("h264parse",),
        f"{_PLAIN} ! openh264enc complexity=low rate-control=bitrate bitrate={{b}} gop-size={_GOP} multi-thread=1 "
        "! h264parse",
    ),
}
_PACKAGES = {
    "nvv4l2h264enc": "nvidia-l4t-gstreamer (on a Jetson)",
    "nvh264enc": "gstreamer1.0-plugins-bad (with NVIDIA's driver)",
    "x264enc": "gstreamer1.0-plugins-ugly",
    "openh264enc": "gstreamer1.0-plugins-bad",
}
_REST = {
    "appsrc": "gstreamer1.0-plugins-base",
    "videoconvert": "gstreamer1.0-plugins-base",
    "rtph264pay": "gstreamer1.0-plugins-good",
    "rtpbin": "gstreamer1.0-plugins-good",
}


def serving(encoder: Encoder, bitrate: int, have: Have = have) -> str:
    """What a media factory makes when somebody begins to watch: from an appsrc called `INPUT` to packets.

    Two pictures may wait in front of the encoder; the older one goes first.

    Args:
        encoder: Which one; ``auto`` takes the first that is there.
        bitrate: kbit/s.
        have: Whether there is an element of a name.

    Raises:
        MissingPackage: An element is not there; the message names the package that has it.
        SinkError: The encoder that was asked for is not there.
    """
    for element, package in _REST.items():
        if not have(element):
            raise MissingPackage(f"GStreamer has no {element} here; install it with: apt-get install {package}")
    name = _chosen(encoder, have)
    encode = _ENCODERS[name][1].format(k=bitrate, b=bitrate * 1000)
    return (
        f"( appsrc name={INPUT} is-live=true format=time block=false max-bytes=0 max-buffers=2 "
        f"leaky-type=downstream ! videoconvert ! {encode} "
        "! rtph264pay name=pay0 pt=96 config-interval=-1 aggregate-mode=zero-latency )"
    )


def _chosen(encoder: Encoder, have: Have) -> str:
    """Name of the encoder to take."""
    for name, (others, _) in _ENCODERS.items():
        if encoder in ("auto", name) and have(name) and all(map(have, others)):
            return name
    if encoder == "auto":
        raise MissingPackage(
            "GStreamer has no H.264 encoder here; install one with: apt-get install gstreamer1.0-plugins-ugly (x264) "
            "or gstreamer1.0-plugins-bad (OpenH264)"
        )
    needed = ", ".join((encoder, *_ENCODERS[encoder][0]))
    raise SinkError(
        f"encoder={encoder} needs {needed}, which GStreamer does not have here; install {_PACKAGES[encoder]}, or leave "
        "the choice to encoder=auto"
    )
