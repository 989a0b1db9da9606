"""One camera: taken, set up as it is wanted, started, and let go."""

from __future__ import annotations

import threading
from contextlib import suppress
from ctypes import byref, c_double, c_int
from dataclasses import dataclass
from typing import Any, Literal

from lineside.pipelines.aravis.discover import find, nobody
from lineside.pipelines.aravis.formats import FORMATS, Format, refusal
from lineside.pipelines.aravis.library import Refused, call, library, names_of
from lineside.pipelines.aravis.stream import Stream
from lineside.runtime.errors import SourceError

__all__ = ["Activation", "Camera", "Receive", "Settings", "Trigger"]

Trigger = Literal["none", "software", "line"]
Receive = Literal["auto", "plain"]
Activation = Literal["rising", "falling", "any", "high", "low"]

_ACTIVATIONS = {
    "rising": "RisingEdge",
    "falling": "FallingEdge",
    "any": "AnyEdge",
    "high": "LevelHigh",
    "low": "LevelLow",
}
_OFF = 0
"""``ARV_AUTO_OFF``, ``ARV_ACQUISITION_MODE_CONTINUOUS`` and ``ARV_GV_PACKET_SIZE_ADJUSTMENT_NEVER``."""

_PLAIN = 1
"""``ARV_GV_STREAM_OPTION_PACKET_SOCKET_DISABLED``."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a camera is to be set up; what is None is left as it is.

    Attributes:
        format: Pixel format, by its GenICam name.
        width: Pixels.
        height: Pixels.
        x: Column of the sensor at which the picture begins.
        y: Row of the sensor at which it begins.
        fps: Frames per second, where nothing triggers.
        exposure: Microseconds.
        gain: In the camera's own unit, mostly dB.
        trigger: What makes it take a picture.
        line: Name of the trigger's input, such as ``Line1``.
        activation: Which change of the input triggers.
        packet: Bytes of a network packet; tried out where it is None.
        resend: Whether missing packets are asked for again.
        receive: Whether packets may be taken from the network interface itself, where that is allowed (``auto``).
        buffers: Pictures that may be on their way or in somebody's hands.
    """

    format: str | None = None
    width: int | None = None
    height: int | None = None
    x: int | None = None
    y: int | None = None
    fps: float | None = None
    exposure: float | None = None
    gain: float | None = None
    trigger: Trigger = "none"
    line: str = "Line0"
    activation: Activation = "rising"
    packet: int | None = None
    resend: bool = True
    receive: Receive = "auto"
    buffers: int = 8


class Camera:
    """A camera that this program has control of.

    Args:
        wanted: Its identification or address; empty takes the first one that answers.

    Attributes:
        name: What it is called in messages: what was wanted, else its identification.

    Raises:
        MissingPackage: See `library`.
        SourceError: It does not answer, or another program holds it.
    """

    def __init__(self, wanted: str) -> None:
        self._arv = library()
        self.name, way = find(wanted)
        self._camera: int | None = None
        self._streams: list[Stream] = []
        self._started = False
        self._using = threading.Lock()
        if not way:
            raise SourceError(nobody(wanted))
        try:
            self._camera = call("arv_camera_new", way.encode())
        except Refused as error:
            raise SourceError(self._held() if error.held else nobody(wanted, str(error))) from None
        if not self._camera:
            raise SourceError(nobody(wanted))
        if not self.controlled:
            self.close()
            raise SourceError(self._held())

    def _held(self) -> str:
        return (
            f"the camera {self.name} is held by another program; end that one. The hold of one that has crashed ends by "
            "itself within seconds, when its heartbeat has been missing (3 s on most cameras)"
        )

    @property
    def controlled(self) -> bool:
        """Whether this program has control of it still; a camera that was switched off or cut off is lost after seconds."""
        if not self._arv.arv_camera_is_gv_device(self._camera):
            return True
        return bool(self._arv.arv_gv_device_is_controller(self._arv.arv_camera_get_device(self._camera)))

    def set_up(self, wanted: Settings) -> None:
        """Sets it up.

        Raises:
            SourceError: It cannot be what is wanted, or will not.
        """
        self._do("acquisition mode", "arv_camera_set_acquisition_mode", _OFF)
        self._set_format(wanted.format)
        self._set_region(wanted)
        if wanted.exposure is not None:
            self._set_number("exposure", "arv_camera", "exposure_time", wanted.exposure, "µs")
        if wanted.gain is not None:
            self._set_number("gain", "arv_camera", "gain", wanted.gain, "")
        self._set_trigger(wanted)
        if self._arv.arv_camera_is_gv_device(self._camera):
            self._arv.arv_camera_gv_set_stream_options(self._camera, _PLAIN if wanted.receive == "plain" else 0)
        if wanted.packet is not None and self._arv.arv_camera_is_gv_device(self._camera):
            self._arv.arv_camera_gv_set_packet_size_adjustment(self._camera, _OFF)
            self._do(f"packet={wanted.packet}", "arv_camera_gv_set_packet_size", wanted.packet)

    def _do(self, what: str, name: str, *arguments: Any) -> Any:
        """Asks it for something that the user has named.

        Raises:
            SourceError: It will not.
        """
        try:
            return call(name, self._camera, *arguments)
        except Refused as error:
            text = f"the camera {self.name} does not take {what}: {error}"
            raise SourceError(self._held() if error.held else text) from None

    def _set_format(self, wanted: str | None) -> None:
        offered = names_of("arv_camera_dup_available_pixel_formats_as_strings", self._camera)
        if wanted is not None:
            if offered and wanted not in offered:
                raise SourceError(f"the camera {self.name} has no pixel format {wanted}; it has {', '.join(offered)}")
            self._do(f"format={wanted}", "arv_camera_set_pixel_format_from_string", wanted.encode())
        code = self._code()
        if code not in FORMATS:
            name = self._do("its pixel format", "arv_camera_get_pixel_format_as_string")
            raise SourceError(f"{self.name}: {refusal(code, (name or b'').decode(errors='replace'), offered)}")

    def _code(self) -> int:
        code: int = self._do("its pixel format", "arv_camera_get_pixel_format")
        return code

    def format(self) -> Format:
        """Its pixel format, once it is set up."""
        return FORMATS[self._code()]

    def _set_region(self, wanted: Settings) -> None:
        """Sets size and place of the picture, and looks whether the camera has taken them."""
        placed = (("x", wanted.x, b"OffsetX"), ("y", wanted.y, b"OffsetY"))
        if any(value is not None for _, value, _ in placed) and not all(
            self._do(name, "arv_camera_is_feature_available", feature) for name, _, feature in placed
        ):
            raise SourceError(f"the camera {self.name} has no x and y: its picture begins in the sensor's corner")
        asked = {"x": wanted.x, "y": wanted.y, "width": wanted.width, "height": wanted.height}
        if all(value is None for value in asked.values()):
            return
        for name, value in (("width", wanted.width), ("height", wanted.height)):
            low, high = c_int(), c_int()
            self._do(name, f"arv_camera_get_{name}_bounds", byref(low), byref(high))
            if value is not None and not low.value <= value <= high.value:
                raise SourceError(f"{name}={value}: the camera {self.name} takes {low.value} to {high.value}")
        said = ", ".join(f"{name}={value}" for name, value in asked.items() if value is not None)
        # A part of the picture that begins further right or down must be small before it can be moved there.
        x, y, width, height = (-1 if value is None else value for value in asked.values())
        self._do(said, "arv_camera_set_region", x, y, width, height)
        found = [c_int() for _ in asked]
        self._do("its region", "arv_camera_get_region", *map(byref, found))
        for (name, value), have in zip(asked.items(), found, strict=True):
            if value is not None and have.value != value:
                raise SourceError(
                    f"the camera {self.name} made {name}={have.value} of {name}={value}; name what it can do"
                )

    def _set_number(self, name: str, prefix: str, what: str, value: float, unit: str) -> None:
        """Sets exposure or gain, out of the hands of the camera's own control."""
        auto = "exposure" if name == "exposure" else "gain"
        said = f"{name}={value:g}"
        low, high = c_double(), c_double()
        self._do(said, f"{prefix}_get_{what}_bounds", byref(low), byref(high))
        if not low.value <= value <= high.value:
            raise SourceError(f"{said}: the camera {self.name} takes {low.value:g} to {high.value:g} {unit}".rstrip())
        if self._do(said, f"{prefix}_is_{auto}_auto_available"):
            self._do(said, f"{prefix}_set_{what}_auto", _OFF)
        self._do(said, f"{prefix}_set_{what}", value)

    def _set_trigger(self, wanted: Settings) -> None:
        self._do("trigger=none", "arv_camera_clear_triggers")
        if wanted.trigger == "none":
            if wanted.fps is not None:
                low, high = c_double(), c_double()
                said = f"fps={wanted.fps:g}"
                self._do(said, "arv_camera_get_frame_rate_bounds", byref(low), byref(high))
                if not low.value <= wanted.fps <= high.value:
                    raise SourceError(f"{said}: the camera {self.name} takes {low.value:g} to {high.value:g}")
                self._do(said, "arv_camera_set_frame_rate", wanted.fps)
            return
        source = "Software" if wanted.trigger == "software" else wanted.line
        sources = names_of("arv_camera_dup_available_enumerations_as_strings", self._camera, b"TriggerSource")
        if source not in sources:
            raise SourceError(
                f"the camera {self.name} has no trigger source {source}; it has {', '.join(sources) or 'none'}"
            )
        self._do(f"trigger by {source}", "arv_camera_set_trigger", source.encode())
        if wanted.trigger == "line":
            activation = _ACTIVATIONS[wanted.activation]
            offered = names_of("arv_camera_dup_available_enumerations_as_strings", self._camera, b"TriggerActivation")
            if activation in offered:
                self._do(f"activation={wanted.activation}", "arv_camera_set_string", b"TriggerActivation",
                         activation.encode())  # fmt: skip
            elif activation != "RisingEdge" or offered:
                can = [name for name, word in _ACTIVATIONS.items() if word in offered]
                raise SourceError(
                    f"the camera {self.name} does not trigger on activation={wanted.activation}; it can do: "
                    f"{', '.join(can) or 'what it is set to'}"
                )

    def region(self) -> tuple[int, int]:
        """Height and width of its pictures."""
        found = [c_int() for _ in range(4)]
        self._do("its region", "arv_camera_get_region", *map(byref, found))
        return found[3].value, found[2].value

    def rate(self) -> float | None:
        """Frames per second where nothing triggers it; None where it does not say."""
        try:
            if not call("arv_camera_is_frame_rate_available", self._camera):
                return None
            rate: float = call("arv_camera_get_frame_rate", self._camera)
        except Refused:
            return None
        return rate if rate > 0 else None

    def start(self, buffers: int, *, resend: bool) -> Stream:
        """Lets it send.

        Raises:
            SourceError: It will not.
        """
        try:
            stream = Stream(self._camera or 0, buffers, resend=resend)
            self._streams.append(stream)
            call("arv_camera_start_acquisition", self._camera)
        except Refused as error:
            text = f"the camera {self.name} does not begin to send: {error}"
            raise SourceError(self._held() if error.held else text) from None
        self._started = True
        return stream

    def fire(self) -> None:
        """Triggers it; does nothing once it is closed. From any thread.

        Raises:
            SourceError: It does not take the trigger.
        """
        with self._using:  # It must not be let go meanwhile.
            if self._camera is not None:
                self._do("a software trigger", "arv_camera_software_trigger")

    def close(self) -> None:
        """Stops it and lets it go; a camera that is gone takes seconds. Safe to call twice."""
        with self._using:
            if self._camera is None:
                return
            answers = self.controlled
            camera, self._camera = self._camera, None
        if self._started and answers:
            with suppress(Refused):  # One that is gone stops without being told.
                call("arv_camera_stop_acquisition", camera)
        for stream in self._streams:
            stream.close()
        self._arv.g_object_unref(camera)
