"""A source of frames from an industrial camera."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np

from lineside.pipelines.aravis.camera import Camera, Settings
from lineside.pipelines.aravis.formats import FORMATS, copied, demosaiced, refusal, reversed_channels
from lineside.pipelines.aravis.numbers import Numbers, Storm
from lineside.pipelines.aravis.pace import Asked, Pending, Ticker
from lineside.pipelines.aravis.stream import Arrived, Stream
from lineside.pipelines.clocks import monotonic_of
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.events import Bus
from lineside.pipelines.frame import TRIGGER, Frame, Pixels
from lineside.pipelines.gst.bounded import Errand
from lineside.pipelines.pool import BufferPool
from lineside.pipelines.triggers import not_triggered
from lineside.runtime.errors import SourceError

__all__ = ["AravisSource"]

_SLICE = 0.1
"""Seconds after which a wait for a picture looks whether anything else has happened."""
_SILENCE = 3.0
"""Seconds without a first picture after which it is told what may be in the way."""
_PATIENCE = 1.5
"""Seconds that a camera gets to be let go; one that is gone takes longer, and nobody waits for it."""

_UNHEARD = (
    "the camera answers, but no picture comes; a firewall may hold back UDP, the network may not let packets of that size "
    "through (try packet=1400), or they come through another interface (try receive=plain)"
)
_STORMY = (
    "the network loses packets: look at cable and switch, give the camera a network of its own, let large packets through "
    "(packet=…, MTU) and large receive buffers (net.core.rmem_max)"
)


class AravisSource:
    """Frames of a GigE Vision or USB3 Vision camera, in the order in which it took them.

    A picture of which something is missing is a frame with ``damage`` and without pixels. Pictures that never came, as the
    camera's own numbers tell, are counted in `Frame.missed` of the next one; so are software triggers that no picture
    answered. The camera's clock gives ``pts``. Where something triggers the camera, ``trigger`` is its number of the picture,
    counted on beyond 16 bits: one per trigger that the camera took (None for damaged ones before the first whole one).

    Mono8 and BGR8 lie in the stream's own buffers, which go back to it when the last view of the pixels goes; they cannot be
    written to and stay valid beyond `close`. Where half of the buffers are out already, the picture is copied instead, so
    that slow sinks never take the last buffer from the camera. Bayer and RGB become BGR in buffers of a pool.

    Args:
        wanted: Identification or address of the camera; empty takes the first one that answers.
        settings: How it is to be set up.
        pace: Software triggers per second; None leaves them to `trigger`. Only for ``trigger="software"``.
        name: Name for tables, files and events; the camera's own where it is empty.
        bus: Told when picture after picture comes damaged, and when that is over.
        patience: Seconds that `close` waits for the camera.
    """

    def __init__(
        self,
        wanted: str = "",
        settings: Settings = Settings(),
        *,
        pace: float | None = None,
        name: str = "",
        bus: Bus | None = None,
        patience: float = _PATIENCE,
    ) -> None:
        self._wanted, self._settings, self._pace = wanted, settings, pace
        self._name = name
        self._bus = bus or Bus()
        self._patience = patience
        self._stop = threading.Event()
        self._camera: Camera | None = None
        self._stream: Stream | None = None
        self._ticker: Ticker | None = None
        self._pool = BufferPool()
        self._work: dict[str, Callable[[Pixels, Pixels], None]] = {}
        self._pending = Pending()
        self._numbers, self._storm = Numbers(), Storm()
        self._begin: int | None = None
        self._base: tuple[int, float] | None = None
        self._captured = 0
        self._waits = settings.trigger == "line" or (settings.trigger == "software" and pace is None)

    def open(self) -> StreamInfo:
        """See `Source.open`. Takes the camera and sets it up; it does not send before `frames`.

        Raises:
            MissingPackage: There is no Aravis.
            SourceError: The camera does not answer, another program holds it, or it cannot be what is wanted.
        """
        wanted = self._settings
        self._camera = camera = Camera(self._wanted)
        try:
            camera.set_up(wanted)
            self._name = self._name or camera.name
            size = camera.region()
            rate = camera.rate() if wanted.trigger == "none" else self._pace
            self._worker(camera.format().work)  # What it takes to load does not make the first picture late.
            self._stream = camera.start(wanted.buffers, resend=wanted.resend)
        except SourceError:
            self.close()
            raise
        self._captured = time.monotonic_ns()
        return StreamInfo(self._name, "camera", live=True, size=size, fps=rate, waits=self._waits)

    @property
    def takes_triggers(self) -> bool:
        """Whether its triggers come from outside."""
        return self._settings.trigger == "software" and self._pace is None

    def trigger(self, part: str | None = None, encoder: int | None = None, when: int | None = None) -> None:
        """Triggers the camera now, for ``trigger="software"``; see `lineside.pipelines.triggers.Triggered`.

        Raises:
            SourceError: The source is not open, or the camera does not take the trigger.
            BadOption: It is triggered by something else.
        """
        if not self.takes_triggers:
            raise not_triggered(self._name or "the camera")
        if self._camera is None:
            raise SourceError(f"{self._name or 'the camera'} is not open")
        self._fire(time.monotonic_ns() if when is None else when, part, encoder)

    def _fire(self, when: int, part: str | None = None, encoder: int | None = None) -> None:
        camera = self._camera
        if camera is None:
            return
        asked = Asked(when, part, encoder)
        # Before the camera is told: its picture may be here before the call is back.
        self._pending.given(asked)
        try:
            camera.fire()
        except SourceError:
            self._pending.taken_back(asked)
            raise

    def frames(self) -> Iterator[Frame]:
        """See `Source.frames`. Ends only when it is asked to.

        Raises:
            SourceError: The camera is lost: it was switched off or cut off, or no longer takes triggers.
        """
        camera, stream = self._camera, self._stream
        if camera is None or stream is None:
            raise SourceError(f"{self._name or 'the camera'} is not open")
        if self._settings.trigger == "software" and self._pace is not None:
            self._ticker = Ticker(self._fire, round(1e9 / self._pace), f"trigger {self._name}")
        silent = time.monotonic() + (float("inf") if self._waits else _SILENCE)
        while not self._stop.is_set():
            frame = self._next(stream)
            if frame is not None:
                yield frame
                continue
            if self._begin is None and time.monotonic() > silent:
                silent = float("inf")
                self._bus.emit("warning", self._name, "camera warning", f"{self._name}: {_UNHEARD}")
            if self._ticker is not None and self._ticker.failure is not None:
                raise SourceError(f"{self._name}: {self._ticker.failure}")
            if not camera.controlled:
                raise SourceError(
                    f"{self._name}: the camera {camera.name} does not answer any more; it was switched off or cut off, or "
                    "another program has taken it"
                )

    def _next(self, stream: Stream) -> Frame | None:
        """The next frame, or None where there was none in a short while. What it holds of the stream is in its pixels."""
        arrived = stream.pull(_SLICE)
        if arrived is None:
            return None
        captured = self._captured = self._when(arrived)
        pixels, recycle = self._pixels(arrived, stream)
        frame = Frame(pixels, source=self._name, captured=captured, recycle=recycle)
        frame.damage = arrived.damage
        frame.pts = self._time(arrived, captured)
        frame.wall -= (time.monotonic_ns() - captured) / 1e9
        if arrived.damage is None:
            frame.missed = self._numbers.whole(arrived.number)
        else:
            self._numbers.damaged()
        self._match(frame, captured)
        self._look(arrived)
        return frame

    def _when(self, arrived: Arrived) -> int:
        """Monotonic time in ns at which a picture began to arrive.

        Aravis stamps with the wall clock, which may be set at any time: never before the picture ahead of it, nor after now.
        """
        now = time.monotonic_ns()
        if not arrived.system or arrived.damage:  # Where the first packet is missing, the stamp is another picture's.
            return now
        return min(now, max(self._captured, monotonic_of(arrived.system)))

    def _time(self, arrived: Arrived, captured: int) -> float:
        """Presentation time in seconds since the first picture: by the camera's clock, where it has told it."""
        if self._begin is None:
            self._begin = captured
        here = (captured - self._begin) / 1e9
        if not arrived.stamp or arrived.damage:
            return here
        if self._base is None:
            self._base = (arrived.stamp, here)
        stamp, time_of_base = self._base
        return time_of_base + (arrived.stamp - stamp) / 1e9

    def _match(self, frame: Frame, captured: int) -> None:
        """Gives a frame the number and time of its trigger, and of the part that it was given for."""
        if self._settings.trigger == "none":
            return
        frame.trigger = self._numbers.count
        answer = self._pending.answered(captured)
        asked = answer.asked
        if asked is not None:
            frame.stamp(TRIGGER, asked.when)
            if answer.near <= frame.missed:
                frame.part, frame.encoder = asked.part, asked.encoder
            elif asked.part is not None or asked.encoder is not None:
                frame.note = (
                    f"{self._name}: {answer.near + 1} triggers within a second and one picture: which part it shows is not "
                    "known; give triggers no faster than the camera takes pictures"
                )
        # A picture that was lost on its way is a trigger without an answer too.
        frame.missed = max(frame.missed, answer.vain)

    def _pixels(self, arrived: Arrived, stream: Stream) -> tuple[Pixels | None, Callable[[Pixels], None] | None]:
        """The picture, and what is to be done with it at the last release."""
        rows = arrived.rows
        if rows is None:
            return None, None
        kind = FORMATS.get(arrived.code)
        if kind is None:
            raise SourceError(f"{self._name}: {refusal(arrived.code, '', [])}")
        height, width = arrived.size
        many = (kind.channels,) if kind.channels > 1 else ()
        shape, strides = (height, width, *many), (rows.shape[1], *many, 1)
        view: Pixels = np.ndarray(shape, np.uint8, rows, 0, strides)
        if not kind.work and not stream.scarce:
            return view, None
        out = self._pool.take((height, width, 3) if kind.work else shape)
        self._worker(kind.work)(view, out)
        return out, self._pool.give

    def _worker(self, work: str) -> Callable[[Pixels, Pixels], None]:
        """What fills an array of ours with a picture."""
        if work not in self._work:
            plain = {"": copied, "RGB": reversed_channels}
            self._work[work] = plain[work] if work in plain else demosaiced(work)
        return self._work[work]

    def _look(self, arrived: Arrived) -> None:
        """Tells once when picture after picture comes damaged, and when that is over."""
        if not self._storm.saw(damaged=arrived.damage is not None):
            return
        if self._storm.raging:
            text = f"picture after picture comes damaged ({arrived.damage}); {_STORMY}"
            self._bus.emit("error", self._name, "loss storm", f"{self._name}: {text}")
        else:
            self._bus.emit("info", self._name, "loss storm over", f"{self._name}: pictures come whole again")

    def stop(self) -> None:
        """See `Source.stop`."""
        self._stop.set()
        if self._ticker is not None:
            self._ticker.stop()

    def close(self) -> None:
        """See `Source.close`. Frames that are still held keep their pixels.

        A camera that does not answer any more is left to a thread that waits for it, some seconds.
        """
        if self._ticker is not None:
            self._ticker.stop()
        camera, self._camera, self._stream = self._camera, None, None
        if camera is not None:
            Errand(camera.close, f"close {self._name}").wait(self._patience)
