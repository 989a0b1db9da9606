"""One GStreamer pipeline that ends in an appsink: made from text, started, asked for pictures, taken down."""

from __future__ import annotations

import time
from collections.abc import Mapping
from ctypes import byref, c_uint64
from dataclasses import dataclass
from types import MappingProxyType

from lineside.pipelines.gst.bounded import Errand
from lineside.pipelines.gst.library import NONE, TIME, factory_of, library
from lineside.pipelines.gst.messages import Note, next_note
from lineside.pipelines.gst.metas import offer_strides
from lineside.pipelines.gst.parse import SINK, in_bytes, parsed, whole
from lineside.pipelines.gst.sample import FORMATS, Loans, Mapped, copied, picture
from lineside.pipelines.gst.structs import Buffer, Value, VideoInfo
from lineside.runtime.errors import SourceError
from lineside.runtime.yuv import Picture

__all__ = ["SOURCE", "Pipeline", "Pulled"]

SOURCE = "source"
"""Name of the element that gets the values which stand in no description."""

_NULL, _PLAYING = 1, 4
_FAILED = 0
_STRING = 16 << 2
_DAMAGED = 1 << 8
"""``GST_BUFFER_FLAG_CORRUPTED``."""


@dataclass(frozen=True)
class Pulled:
    """One picture out of a pipeline, with what GStreamer knows about it.

    Attributes:
        pixels: See `picture`; None where the buffer holds no whole picture.
        running: Time in ns since the pipeline started; None where the buffer has none.
        stream: Time in ns in the file or stream; None where the buffer has none.
        duration: How long it is shown, in ns; None where that is not known.
        captured: Monotonic time in ns of its capture, by the pipeline's clock; None where that cannot be known.
        number: Number that the source gave it, from 0; None where it does not count.
        damage: Why the picture is not whole; None for a good one.
        rate: Frames per second as the pipeline names them; None where it does not.
    """

    pixels: Picture | None
    running: int | None
    stream: int | None
    duration: int | None
    captured: int | None
    number: int | None
    damage: str | None
    rate: float | None


class Pipeline:
    """A pipeline in GStreamer. All but `stop` is called from one thread.

    Args:
        text: Description as ``gst-launch`` takes it, up to the last element before the appsink.
        values: Properties of the element called ``source``: paths, addresses and passwords, which must not be taken
            for syntax and not be seen in messages.
        newest: Drop the older of two pictures that nobody has taken yet, as is right for a camera; where this is
            false, the pipeline waits.
        buffers: So many pictures may wait to be taken.
        loans: Pictures that may be held at once before they are copied, for sources with a fixed number of buffers;
            None for no limit.
        secrets: What no message may show.

    Raises:
        MissingPackage: There is no GStreamer.
        SourceError: The description is wrong, or names elements that are not installed.
    """

    def __init__(
        self,
        text: str,
        values: Mapping[str, str] = MappingProxyType({}),
        *,
        newest: bool,
        buffers: int = 1,
        loans: int | None = None,
        secrets: tuple[str, ...] = (),
    ) -> None:
        self._gst = gst = library()
        self._most = loans
        self._loans = Loans()
        self._caps: int | None = None
        self._info = VideoInfo()
        self._launched: Errand | None = None
        self._refused = False
        given = {name: in_bytes(value) for name, value in values.items()}
        self._pipeline = parsed(gst, whole(text, newest, buffers), secrets)
        self._bus = gst.gst_element_get_bus(self._pipeline)
        self._sink = gst.gst_bin_get_by_name(self._pipeline, SINK.encode())
        if factory_of(gst, self._sink) != "appsink":
            self.stop(0)
            raise SourceError(f"the element called '{SINK}' is to be an appsink; give others another name")
        offer_strides(gst, self._sink)
        for name, value in given.items():
            self._set(name, value)

    def _set(self, name: str, value: bytes) -> None:
        """Sets a property that is a text, whatever signs are in it."""
        gst = self._gst
        source = gst.gst_bin_get_by_name(self._pipeline, SOURCE.encode())
        held = Value()
        gst.g_value_init(byref(held), _STRING)
        gst.g_value_set_string(byref(held), value)
        gst.g_object_set_property(source, name.encode(), byref(held))
        gst.g_value_unset(byref(held))
        gst.gst_object_unref(source)

    # -------------------------------------------------------------------------------------------------------- running

    def start(self) -> None:
        """Starts it, without waiting: opening a device may take for ever."""
        gst, pipeline = self._gst, self._pipeline
        gst.gst_object_ref(pipeline)

        def play() -> None:
            self._refused = gst.gst_element_set_state(pipeline, _PLAYING) == _FAILED
            gst.gst_object_unref(pipeline)

        self._launched = Errand(play, "lineside-gst-start")

    @property
    def starting(self) -> bool:
        """Whether an element is still busy with opening its device or file."""
        return self._launched is not None and not self._launched.wait(0)

    @property
    def refused(self) -> bool:
        """Whether an element said no at the start; the bus may know more."""
        return self._refused

    def note(self) -> Note | None:
        """What an element said meanwhile; None where there is nothing more. To be called often, see `next_note`."""
        return next_note(self._gst, self._bus)

    @property
    def ended(self) -> bool:
        """Whether the stream is over and all its pictures have been taken."""
        return not self.starting and bool(self._gst.gst_app_sink_is_eos(self._sink))

    def pull(self, seconds: float) -> Pulled | None:
        """Takes the next picture.

        Args:
            seconds: Wait so long for one, at most. It is None sooner where the stream is over or not started yet.

        Raises:
            SourceError: What the pipeline gives is no picture.
        """
        gst = self._gst
        sample = gst.gst_app_sink_try_pull_sample(self._sink, round(seconds * 1e9))
        if not sample:
            return None
        try:
            return self._taken(sample)
        finally:
            gst.gst_mini_object_unref(sample)

    def _taken(self, sample: int) -> Pulled:
        gst, pointer = self._gst, self._gst.gst_sample_get_buffer(sample)
        self._look_at(gst.gst_sample_get_caps(sample))
        buffer = Buffer.from_address(pointer)
        running = stream = captured = None
        if buffer.pts != NONE:
            segment = gst.gst_sample_get_segment(sample)
            running = _known(gst.gst_segment_to_running_time(segment, TIME, buffer.pts))
            stream = _known(gst.gst_segment_to_stream_time(segment, TIME, buffer.pts))
            now = _known(gst.gst_element_get_current_running_time(self._pipeline))
            if now is not None and running is not None:
                captured = time.monotonic_ns() - max(0, now - running)
        counts = buffer.offset != NONE and buffer.offset_end == buffer.offset + 1
        damage = "its data is damaged" if buffer.mini.flags & _DAMAGED else None
        pixels: Picture | None = None
        try:
            pixels = self._pixels(pointer)
        except ValueError as error:
            damage = str(error)
        rate = self._info.rate[0] / self._info.rate[1] if self._info.rate[0] > 0 and self._info.rate[1] > 0 else None
        number = int(buffer.offset) if counts else None
        return Pulled(pixels, running, stream, _known(buffer.duration), captured, number, damage, rate)

    def _pixels(self, buffer: int) -> Picture:
        full = self._most is not None and len(self._loans) >= self._most
        pixels = picture(Mapped(self._gst, self._info, buffer, self._loans))
        return copied(pixels) if full else pixels

    def _look_at(self, caps: int) -> None:
        """Reads format and size anew where they have changed. The caps are held, so that no others get their address."""
        if caps == self._caps:
            return
        gst = self._gst
        known = gst.gst_video_info_from_caps(byref(self._info), caps)
        form = self._info.format.contents.name.decode() if known else "ENCODED"
        if form not in FORMATS:
            what = (
                "no pictures, but something encoded or no video at all" if form == "ENCODED" else f"pictures in {form}"
            )
            raise SourceError(
                f"the pipeline gives {what}; put a decoder and 'videoconvert' before the appsink, or leave it out"
            )
        gst.gst_mini_object_ref(caps)
        self._forget_caps()
        self._caps = caps

    def _forget_caps(self) -> None:
        if self._caps is not None:
            self._gst.gst_mini_object_unref(self._caps)
            self._caps = None

    def arrived(self) -> int:
        """Pictures that have reached the appsink so far, those among them that it dropped for newer ones."""
        gst, held, count = self._gst, Value(), c_uint64()
        gst.g_value_init(byref(held), gst.gst_structure_get_type())
        gst.g_object_get_property(self._sink, b"stats", byref(held))
        structure = gst.g_value_get_boxed(byref(held))
        if structure:
            gst.gst_structure_get_uint64(structure, b"rendered", byref(count))
        gst.g_value_unset(byref(held))
        return int(count.value)

    @property
    def duration(self) -> int | None:
        """Length of the stream in ns, where it is known."""
        length = c_uint64()
        if not self._gst.gst_element_query_duration(self._pipeline, TIME, byref(length)):
            return None
        return _known(length.value)

    def stop(self, seconds: float) -> bool:
        """Takes it down for good. Pictures that are still held stay valid.

        Args:
            seconds: Wait so long. Where an element hangs, it is left behind with a thread that waits for it, and all is
                freed should it ever come back.

        Returns:
            Whether it is down.
        """
        gst, pipeline, bus, sink = self._gst, self._pipeline, self._bus, self._sink
        self._forget_caps()

        def dismantle() -> None:
            gst.gst_element_set_state(pipeline, _NULL)
            while next_note(gst, bus) is not None:
                pass
            for it in filter(None, (sink, bus, pipeline)):
                gst.gst_object_unref(it)

        return Errand(dismantle, "lineside-gst-stop").wait(seconds)


def _known(time: int) -> int | None:
    return None if time == NONE else int(time)
