"""The source ``aravis``: an industrial camera on the network (GigE Vision) or on USB (USB3 Vision)."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import msgspec

from lineside.pipelines.aravis.camera import Activation, Receive, Settings, Trigger
from lineside.pipelines.aravis.formats import FORMATS
from lineside.pipelines.aravis.source import AravisSource
from lineside.pipelines.catalog import Place
from lineside.pipelines.elements import PixelFormat, StreamInfo
from lineside.pipelines.sources.live import Live, with_size

__all__ = ["AravisCamera", "make"]

Text = Annotated[str, msgspec.Meta(min_length=1, pattern=r"^[^\x00]*$")]
Pixels = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Offset = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Positive = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
Pace = Annotated[float, msgspec.Meta(gt=0, le=10_000)]


class AravisCamera(Live, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An industrial camera, through Aravis. What is not given stays as the camera is set.

    Attributes:
        id: Its identification (``Vendor-Serial`` or ``Vendor-Model-Serial``), the name that its user gave it, or its address
            on the network; the first camera that answers where it is empty.
        format: Pixel format by its GenICam name: Mono8, BayerRG8 (or GR, GB, BG), RGB8, BGR8.
        width: Pixels.
        height: Pixels.
        x: Column of the sensor at which the picture begins.
        y: Row of the sensor at which it begins.
        fps: Frames per second of a camera that nothing triggers.
        exposure: Exposure time in microseconds; switches the camera's own control of it off.
        gain: Gain in the camera's own unit, mostly dB; switches the camera's own control of it off.
        trigger: ``none``: it takes pictures at its own rate; ``software``: when it is told to; ``line``: when an input of it
            changes.
        line: That input, such as ``Line1``.
        activation: Which change of the input triggers.
        pace: Software triggers per second; without it they come from the program that runs the source.
        packet: Bytes of a network packet, with its headers; tried out where it is not given.
        resend: Whether missing packets are asked for again.
        receive: ``auto`` takes packets from the network interface itself where that is allowed (to root, or with
            CAP_NET_RAW), which loses fewer; ``plain`` never does, for packets that come through another interface than the
            addresses suggest (bridge, VPN, container, a simulator on the same machine).
        buffers: Pictures that may be on their way or in somebody's hands.
    """

    id: Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*$")] = ""
    format: Text | None = None
    width: Pixels | None = None
    height: Pixels | None = None
    x: Offset | None = None
    y: Offset | None = None
    fps: Pace | None = None
    exposure: Positive | None = None
    gain: Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)] | None = None
    trigger: Trigger = "none"
    line: Text = "Line0"
    activation: Activation = "rising"
    pace: Pace | None = None
    packet: Annotated[int, msgspec.Meta(ge=220, le=65535)] | None = None
    resend: bool = True
    receive: Receive = "auto"
    buffers: Annotated[int, msgspec.Meta(ge=3, le=256)] = 8

    def __post_init__(self) -> None:
        """Refuses what does not go together."""
        super().__post_init__()
        if self.fps is not None and self.trigger != "none":
            raise ValueError("fps is for trigger=none; a trigger sets the rate (pace for trigger=software)")
        if self.pace is not None and self.trigger != "software":
            raise ValueError("pace is for trigger=software")

    def stream(self, name: str) -> StreamInfo:
        """See `Live.stream`."""
        known = with_size(super().stream(name), self.width, self.height, self.fps or self.pace)
        waits = self.trigger == "line" or (self.trigger == "software" and self.pace is None)
        return replace(known, waits=waits, format=_FORMATS.get(self.format or ""))


_FORMATS: dict[str, PixelFormat] = {it.name: "bgr" if it.work or it.channels > 1 else "grey" for it in FORMATS.values()}
"""What pictures of the camera's formats are as a frame."""


def make(options: AravisCamera, place: Place) -> AravisSource:
    """Makes the source."""
    told = {name: getattr(options, name) for name in Settings.__dataclass_fields__}
    return AravisSource(options.id, Settings(**told), pace=options.pace, name=place.name, bus=place.bus)
