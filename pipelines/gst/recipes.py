"""Descriptions of pipelines for each kind of camera and file, with the decoders that this machine has."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from lineside.pipelines.gst.library import have
from lineside.pipelines.gst.pipeline import SOURCE
from lineside.pipelines.secrets import Address
from lineside.runtime.errors import SourceError

__all__ = ["Codec", "Recipe", "Size", "camera_csi", "camera_rtsp", "camera_usb", "file", "launch", "pattern"]

Codec = Literal["auto", "h264", "h265", "jpeg"]
Have = Callable[[str], bool]

_FEW = 2
"""Pictures that may be held of a device with four buffers or so; it would wait for its buffers for ever with more."""


@dataclass(frozen=True)
class Recipe:
    """A pipeline to be made.

    Attributes:
        text: Description as ``gst-launch`` takes it, up to the last element before the appsink.
        name: What it reads, for messages; free of credentials.
        live: The world does not wait for it.
        values: Properties of the element called ``source``.
        secrets: What no message may show.
        loans: Pictures that may be held at once before they are copied; None for no limit.
        file: The file that holds the pictures; empty for a camera.
    """

    text: str
    name: str
    live: bool
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    loans: int | None = None
    file: str = ""

    @property
    def most(self) -> int | None:
        """Pictures that may be held at once before they are copied; few too where NVIDIA's converter has four buffers."""
        return _FEW if self.loans is None and "nvvidconv" in self.text else self.loans


@dataclass(frozen=True)
class Size:
    """What a camera is asked for; None leaves it to the camera.

    Attributes:
        width: Pixels.
        height: Pixels.
        fps: Frames per second.
    """

    width: int | None = None
    height: int | None = None
    fps: int | None = None

    @property
    def caps(self) -> str:
        """As the end of caps, such as ``,width=640,framerate=30/1``."""
        parts = (("width", self.width, ""), ("height", self.height, ""), ("framerate", self.fps, "/1"))
        return "".join(f",{name}={value}{unit}" for name, value, unit in parts if value is not None)


def launch(text: str, *, live: bool, name: str = "gst-launch") -> Recipe:
    """A description as the user wrote it. Its last element gives raw video, or is an appsink called ``lineside``."""
    return Recipe(text, name, live)


def pattern(kind: str, size: Size, form: str, frames: int | None, *, live: bool) -> Recipe:
    """GStreamer's test pattern.

    Args:
        kind: Name of the pattern, such as ``ball`` or ``smpte``.
        size: Of the pictures.
        form: Their pixel format.
        frames: How many; None for no end.
        live: At their own pace, instead of as fast as they are taken.
    """
    text = (
        f"videotestsrc name={SOURCE} is-live={str(live).lower()} pattern={kind} num-buffers={-1 if frames is None else frames} "
        f"! video/x-raw,format={form}{size.caps}"
    )
    return Recipe(text, f"pattern {kind}", live)


def file(path: str, have: Have = have) -> Recipe:
    """A video file of any kind that there is a decoder for."""
    box = _container(path)
    unpack = f"{box} name=box box.video_0 ! " if box and have(box) else ""
    text = f"filesrc name={SOURCE} ! {unpack}decodebin{_down(have)}"
    return Recipe(text, path, False, {"location": path}, file=path)


def _container(path: str) -> str | None:
    """What takes a file apart, by its first bytes; None where ``decodebin`` is to find out.

    Not left to ``decodebin`` where it can be helped: what an element says while decodebin connects it may be lost there,
    and a file that was cut off would give neither a picture nor an error.
    """
    try:
        if not os.path.isfile(path):
            return None  # Whoever opens the source says why; a pipe would be waited for here.
        with open(path, "rb") as content:
            head = content.read(12)
    except OSError:
        return None
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"):
        return "qtdemux"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroskademux"
    return "avidemux" if head[:4] == b"RIFF" and head[8:12] == b"AVI " else None


def camera_rtsp(
    address: Address, *, codec: Codec, transport: Literal["tcp", "udp", "auto"], latency: int, have: Have = have
) -> Recipe:
    """A network camera.

    Args:
        address: Where it is, and who is to log in.
        codec: What it sends; ``auto`` finds out.
        transport: What carries it.
        latency: Longest wait for packets that come out of order, in ms.
        have: Whether there is an element of a name.
    """
    protocols = {"tcp": "tcp", "udp": "udp", "auto": "udp+tcp"}[transport]
    payload = {"auto": "", "h264": "rtph264depay ! ", "h265": "rtph265depay ! ", "jpeg": "rtpjpegdepay ! "}[codec]
    text = (
        f"rtspsrc name={SOURCE} protocols={protocols} latency={latency} drop-on-latency=true tcp-timeout=5000000 "
        f"! application/x-rtp,media=video ! {payload}{_decoder(codec, have)}"
    )
    login = {"user-id": address.user, "user-pw": address.password} if address.user or address.password else {}
    secrets = tuple(it for it in (address.user, address.password) if it)
    return Recipe(text, address.public, True, MappingProxyType({"location": address.public, **login}), secrets)


def camera_usb(device: str, size: Size, form: Literal["auto", "jpeg", "raw"], have: Have = have) -> Recipe:
    """A camera of the operating system (Video4Linux), such as a USB camera.

    Args:
        device: Its file, such as ``/dev/video0``.
        size: What it is asked for.
        form: What it sends: pictures in JPEG, which allow for higher rates, or raw ones; ``auto`` leaves it to the camera.
        have: Whether there is an element of a name.
    """
    wanted = {"jpeg": ("image/jpeg",), "raw": ("video/x-raw",), "auto": ("image/jpeg", "video/x-raw")}[form]
    caps = "; ".join(f"{kind}{size.caps}" for kind in wanted)
    tail = {"raw": "", "jpeg": f" ! {_decoder('jpeg', have)}", "auto": f" ! decodebin{_down(have)}"}[form]
    text = f'v4l2src name={SOURCE} ! capsfilter caps="{caps}"{tail}'
    return Recipe(text, f"camera {device}", True, {"device": device}, loans=None if form == "jpeg" else _FEW)


def camera_csi(sensor: int, size: Size, have: Have = have) -> Recipe:
    """A camera on the CSI connector of a Jetson.

    Args:
        sensor: Its number, from 0.
        size: What it is asked for.
        have: Whether there is an element of a name.

    Raises:
        SourceError: This machine has no such connector, or lacks NVIDIA's elements.
    """
    missing = [it for it in ("nvarguscamerasrc", "nvvidconv") if not have(it)]
    if missing:
        raise SourceError(
            f"GStreamer has no {' and no '.join(missing)} here, so CSI cameras cannot be read: that needs a Jetson with "
            "NVIDIA's GStreamer elements (apt-get install nvidia-l4t-gstreamer)"
        )
    text = (
        f"nvarguscamerasrc name={SOURCE} sensor-id={sensor} ! video/x-raw(memory:NVMM),format=NV12{size.caps} "
        "! nvvidconv ! video/x-raw,format=NV12"
    )
    return Recipe(text, f"CSI camera {sensor}", True, loans=_FEW)


_DECODERS = {
    "h264": ("h264parse ! ", ("avdec_h264", "openh264dec"), "gstreamer1.0-libav gstreamer1.0-plugins-bad"),
    "h265": ("h265parse ! ", ("avdec_h265", "libde265dec"), "gstreamer1.0-libav gstreamer1.0-plugins-bad"),
    "jpeg": ("", ("jpegdec", "avdec_mjpeg"), "gstreamer1.0-plugins-good"),
}
"""What comes before a decoder of the processor, the decoders in order of preference, and the packages they are in."""


def _decoder(codec: Codec, have: Have) -> str:
    """Decoder for a codec: of the Jetson's or the graphics card's own circuits where there are some, else software."""
    if codec == "auto":
        return f"decodebin{_down(have)}"
    parser, software, packages = _DECODERS[codec]
    if codec == "jpeg" and have("nvjpegdec") and have("nvvidconv"):
        return "nvjpegdec ! nvvidconv ! video/x-raw,format=I420"
    if codec != "jpeg" and have("nvv4l2decoder") and have("nvvidconv"):
        return f"{parser}nvv4l2decoder ! nvvidconv ! video/x-raw,format=NV12"
    if codec != "jpeg" and have(f"nv{codec}dec") and have("cudadownload"):
        return f"{parser}nv{codec}dec ! cudadownload ! video/x-raw,format=NV12"
    for name in software:
        if have(name):
            return f"{parser}{name}"
    raise SourceError(f"GStreamer has no decoder for {codec} here; install one with: apt-get install {packages}")


def _down(have: Have) -> str:
    """What brings pictures from the memory of a device, where a decoder may leave them, into that of the processor."""
    if have("nvvidconv"):
        return " ! nvvidconv ! video/x-raw,format=NV12"
    return " ! cudadownload" if have("cudadownload") else ""
