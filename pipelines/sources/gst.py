"""Sources through GStreamer: files, network, USB and CSI cameras, a test pattern, and any pipeline of one's own."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

import msgspec

from lineside.pipelines.catalog import Options, Place
from lineside.pipelines.elements import PixelFormat, StreamInfo
from lineside.pipelines.gst import recipes
from lineside.pipelines.gst.recipes import Codec, Recipe, Size
from lineside.pipelines.gst.source import GstSource
from lineside.pipelines.secrets import Address, address_of, redacted, secret
from lineside.pipelines.sources.live import Live, with_size
from lineside.runtime.errors import SourceError

__all__ = [
    "GstCsi",
    "GstFile",
    "GstLaunch",
    "GstPattern",
    "GstRtsp",
    "GstUsb",
    "csi",
    "file",
    "launch",
    "pattern",
    "rtsp",
    "usb",
]

Text = Annotated[str, msgspec.Meta(min_length=1, pattern=r"^[^\x00]*$")]
Url = Annotated[str, msgspec.Meta(min_length=1, pattern=r"^[^\s\"'<>\x00]+$")]
Pixels = Annotated[int, msgspec.Meta(ge=1, le=32768)]
Rate = Annotated[int, msgspec.Meta(ge=1, le=10000)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=3600)]
Buffers = Annotated[int, msgspec.Meta(ge=1, le=64)]
Number = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]

_FORMATS: dict[str, PixelFormat] = {
    "NV12": "nv12", "I420": "i420", "BGR": "bgr", "BGRx": "bgr", "BGRA": "bgr", "GRAY8": "grey",
}  # fmt: skip
"""What pictures of GStreamer's formats are as a frame."""


class GstFile(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Any video file that GStreamer has a decoder for.

    Attributes:
        location: The file.
        timeout: Seconds to wait for the first picture.
    """

    location: Text
    timeout: Seconds = 20.0


class GstRtsp(Live, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A network camera. Its credentials show nowhere: not in messages, events, files or the form of this object.

    Attributes:
        url: Its address, ``rtsp://host:554/path`` or ``rtsps://…``; may hold user and password.
        user: User name, where the address has none; ``env:NAME`` takes it from an environment variable.
        password: Password, where the address has none, or ``env:NAME``.
        codec: What the camera sends; ``auto`` finds out.
        transport: ``tcp`` loses nothing, ``udp`` may be sooner and loses packets, ``auto`` tries both.
        latency: Longest wait for packets out of order, in ms.
        timeout: Seconds to wait for the first picture.
        buffers: Pictures that may wait to be taken; the oldest goes first and is counted.
    """

    url: Url
    user: str = ""
    password: str = ""
    codec: Codec = "auto"
    transport: Literal["tcp", "udp", "auto"] = "tcp"
    latency: Annotated[int, msgspec.Meta(ge=0, le=60000)] = 100
    timeout: Seconds = 20.0
    buffers: Buffers = 1

    def __repr__(self) -> str:
        """Without the credentials."""
        return f"GstRtsp(url={redacted(self.url, self.user, self.password)!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Without the credentials, for those who print with colours."""
        return [("url", redacted(self.url, self.user, self.password))]


class GstUsb(Live, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A camera of the operating system (Video4Linux), such as a USB camera.

    Attributes:
        device: Its file.
        width: Pixels; what the camera likes best where it is not given, as for the next two.
        height: Pixels.
        fps: Frames per second.
        format: What it sends: ``jpeg`` allows for high rates, ``raw`` loses nothing, ``auto`` leaves it to the camera.
        timeout: Seconds to wait for the first picture.
        buffers: Pictures that may wait to be taken; the oldest goes first and is counted.
    """

    device: Text = "/dev/video0"
    width: Pixels | None = None
    height: Pixels | None = None
    fps: Rate | None = None
    format: Literal["auto", "jpeg", "raw"] = "auto"
    timeout: Seconds = 20.0
    buffers: Buffers = 1

    def stream(self, name: str) -> StreamInfo:
        """See `Live.stream`."""
        return with_size(super().stream(name), self.width, self.height, self.fps)


class GstCsi(Live, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A camera on the CSI connector of a Jetson.

    Attributes:
        id: Its number.
        width: Pixels; what the camera likes best where it is not given, as for the next two.
        height: Pixels.
        fps: Frames per second.
        timeout: Seconds to wait for the first picture.
        buffers: Pictures that may wait to be taken; the oldest goes first and is counted.
    """

    id: Number = 0
    width: Pixels | None = None
    height: Pixels | None = None
    fps: Rate | None = None
    timeout: Seconds = 20.0
    buffers: Buffers = 1

    def stream(self, name: str) -> StreamInfo:
        """See `Live.stream`."""
        return with_size(replace(super().stream(name), format="nv12"), self.width, self.height, self.fps)


class GstPattern(Live, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """GStreamer's test pattern, as if from a camera.

    Attributes:
        kind: Which pattern.
        width: Pixels.
        height: Pixels.
        fps: Frames per second.
        format: Pixel format.
        frames: How many; no end where it is not given.
        live: At their own pace, and lost where nobody takes them; otherwise as fast as they are taken.
        timeout: Seconds to wait for the first picture.
        buffers: Pictures that may wait to be taken; the oldest goes first and is counted.
    """

    kind: Literal["ball", "smpte", "snow", "black", "white", "checkers-8", "gradient", "pinwheel", "zone-plate"] = (
        "ball"
    )
    width: Pixels = 640
    height: Pixels = 480
    fps: Rate = 30
    format: Literal["NV12", "I420", "BGR", "BGRx", "BGRA", "GRAY8"] = "NV12"
    frames: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None
    live: bool = True
    timeout: Seconds = 20.0
    buffers: Buffers = 1

    @property
    def watched(self) -> bool:
        """Whether its end is a fault, as that of a camera is."""
        return self.live and self.frames is None

    def stream(self, name: str) -> StreamInfo:
        """See `Live.stream`."""
        return with_size(replace(super().stream(name), format=_FORMATS[self.format]), self.width, self.height, self.fps)


class GstLaunch(Live, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A pipeline of one's own.

    Attributes:
        text: Description as ``gst-launch`` takes it. Its last element gives raw video, or is an appsink called ``lineside``.
        live: The world does not wait for it; a file is not live, and each of its frames is waited for.
        timeout: Seconds to wait for the first picture.
        buffers: Pictures of a live pipeline that may wait to be taken; the oldest goes first and is counted.
    """

    text: Text
    live: bool = True
    timeout: Seconds = 20.0
    buffers: Buffers = 1

    @property
    def watched(self) -> bool:
        """Whether its end is a fault, as that of a camera is."""
        return self.live

    def __repr__(self) -> str:
        """Without credentials that may stand in the text."""
        return f"GstLaunch(text={redacted(self.text)!r}, live={self.live})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Without credentials, for those who print with colours."""
        return [("text", redacted(self.text)), ("live", self.live)]


def file(options: GstFile, place: Place) -> GstSource:
    """A video file."""
    return _source(recipes.file(str(place.path(options.location).absolute())), options, place)


def rtsp(options: GstRtsp, place: Place) -> GstSource:
    """A network camera.

    Raises:
        SourceError: The address cannot be read as one, or GStreamer lacks the decoder that was asked for.
        BadOption: User or password is to come from an environment variable that there is not.
    """
    found = address_of(options.url)
    if found.public.partition("://")[0].lower() not in ("rtsp", "rtsps", "rtspt", "rtspu"):
        raise SourceError(f"{found.public} is no address of a network camera; it begins with rtsp:// or rtsps://")
    address = Address(found.public, found.user or secret(options.user), found.password or secret(options.password))
    recipe = recipes.camera_rtsp(address, codec=options.codec, transport=options.transport, latency=options.latency)
    return _source(recipe, options, place)


def usb(options: GstUsb, place: Place) -> GstSource:
    """A camera of the operating system."""
    size = Size(options.width, options.height, options.fps)
    return _source(recipes.camera_usb(options.device, size, options.format), options, place)


def csi(options: GstCsi, place: Place) -> GstSource:
    """A camera on the CSI connector of a Jetson.

    Raises:
        SourceError: There is none here.
    """
    return _source(recipes.camera_csi(options.id, Size(options.width, options.height, options.fps)), options, place)


def pattern(options: GstPattern, place: Place) -> GstSource:
    """GStreamer's test pattern."""
    size = Size(options.width, options.height, options.fps)
    recipe = recipes.pattern(options.kind, size, options.format, options.frames, live=options.live)
    return _source(recipe, options, place)


def launch(options: GstLaunch, place: Place) -> GstSource:
    """A pipeline of one's own."""
    return _source(recipes.launch(options.text, live=options.live), options, place)


def _source(recipe: Recipe, options: Any, place: Place) -> GstSource:
    buffers = getattr(options, "buffers", 1)
    return GstSource(recipe, name=place.name, bus=place.bus, timeout=options.timeout, buffers=buffers)
