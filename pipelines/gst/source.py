"""A source of frames from any GStreamer pipeline."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

from lineside.pipelines.elements import StreamInfo, format_of
from lineside.pipelines.events import Bus
from lineside.pipelines.frame import Frame
from lineside.pipelines.gst.messages import ERROR, NO_LINK, WARNING, sentence
from lineside.pipelines.gst.pipeline import Pipeline, Pulled
from lineside.pipelines.gst.recipes import Recipe, launch
from lineside.pipelines.gst.skips import Skips
from lineside.pipelines.gst.whole import Whole
from lineside.pipelines.pool import BufferPool
from lineside.pipelines.secrets import redacted
from lineside.pipelines.sources.pictures import special
from lineside.runtime.errors import SourceError
from lineside.runtime.yuv import picture_size

__all__ = ["GstSource"]

_SLICE = 0.1
"""Seconds after which a wait for a picture looks whether anything else has happened."""
_PATIENCE = 3.0
"""Seconds that a pipeline gets to go down before it is left behind."""


class GstSource:
    """Frames as a GStreamer pipeline gives them, in its own memory where their format allows (see `FORMATS`).

    A live source has the newest picture only and counts in `Frame.missed` what passed unseen; any other waits for whoever
    takes its frames. Times are those of the pipeline's clock: `CAPTURE` is when a live picture was taken, not when it was
    fetched. The pixels cannot be written to, and stay valid as long as anybody has them, beyond `close` as well.

    Args:
        pipeline: Description as ``gst-launch`` takes it, whose last element gives raw video; or a `Recipe`.
        name: Name for tables, files and events; the recipe's own where it is empty.
        live: Where the pipeline is a description: the world does not wait for it.
        bus: Gets warnings of the elements.
        timeout: Seconds to wait for the first picture.
        buffers: Pictures of a live source that may wait to be taken; the oldest goes first.
        patience: Seconds that `close` waits for elements to let go of their devices.
    """

    def __init__(
        self,
        pipeline: str | Recipe,
        *,
        name: str = "",
        live: bool = True,
        bus: Bus | None = None,
        timeout: float = 20.0,
        buffers: int = 1,
        patience: float = _PATIENCE,
    ) -> None:
        self._recipe = recipe = launch(pipeline, live=live) if isinstance(pipeline, str) else pipeline
        what = redacted(recipe.name, *recipe.secrets)
        self._name = name or what
        self._what = f"{name} ({what})" if name and name != what else what
        self._bus = bus or Bus()
        self._timeout = timeout
        self._buffers = buffers
        self._patience = patience
        self._stop = threading.Event()
        self._pool = BufferPool()  # pixels of pictures in luma and chroma, for those who draw or save them
        self._pipeline: Pipeline | None = None
        self._first: tuple[Pulled, int] | None = None
        self._skips = Skips(buffers)
        self._told = ""
        self._fault = ""
        self._whole = Whole(None, None)

    def open(self) -> StreamInfo:
        """See `Source.open`; waits for the first picture.

        Raises:
            MissingPackage: There is no GStreamer.
            SourceError: The pipeline cannot be made or started, or gives no picture in time; or this process was forked
                from one that used GStreamer.
        """
        recipe = self._recipe
        if recipe.file and (reason := _unfit(Path(recipe.file))):
            raise SourceError(f"cannot read the video {recipe.file}: {reason}")
        try:
            self._pipeline = pipeline = Pipeline(
                recipe.text,
                recipe.values,
                newest=recipe.live,
                buffers=self._buffers,
                loans=recipe.most,
                secrets=recipe.secrets,
            )
            pipeline.start()
            self._first = self._await(pipeline, time.monotonic() + self._timeout)
        except SourceError as error:
            self.close()
            raise SourceError(f"cannot read {self._what}: {error}") from None
        first = self._first[0]
        length = None if recipe.live else pipeline.duration
        frames = round(length * first.rate / 1e9) if length and first.rate else None
        self._whole = Whole(length and length / 1e9, first.rate)
        size, form = (None, None) if first.pixels is None else (picture_size(first.pixels), format_of(first.pixels))
        return StreamInfo(
            self._name, "camera" if recipe.live else "video", live=recipe.live, frames=frames, size=size, fps=first.rate,
            format=form,
        )  # fmt: skip

    def _await(self, pipeline: Pipeline, until: float) -> tuple[Pulled, int]:
        """The first picture, and when the wait for it began.

        A camera's stream is met in the middle, and its pictures up to the next whole one are patchwork.
        """
        damage = ""
        while not self._stop.is_set():
            begin = time.monotonic_ns()
            pulled, over = self._pulled(pipeline)
            if pulled is not None and not (self._recipe.live and pulled.damage):
                return pulled, begin
            damage = (pulled and pulled.damage) or damage
            if over and pipeline.refused:
                raise SourceError("GStreamer could not start it and gives no reason; GST_DEBUG=3 shows what happened")
            if over:
                raise SourceError("it ended without a single picture; it may be empty, damaged, or have no video in it")
            if time.monotonic() > until:
                raise SourceError(self._silence(pipeline, damage))
        raise SourceError("it was stopped before its first picture")

    def _silence(self, pipeline: Pipeline, damage: str) -> str:
        """Why there is no first picture in time."""
        if pipeline.starting:
            what = "its driver or file does not answer"
        else:
            what = f"no whole picture came ({damage})" if damage else "no picture came"
        live = self._recipe.live
        advice = "check its power, cable and network" if live else "it is damaged, or not what its name says it is"
        return f"{what} within {self._timeout:g} s; {advice}"

    def _pulled(self, pipeline: Pipeline) -> tuple[Pulled | None, bool]:
        """The next picture, or None where there was none in a short while; and whether there can be no more.

        Raises:
            SourceError: An element has failed.
        """
        pulled = pipeline.pull(_SLICE)
        # Looked at before the bus: an element says why it failed first, and ends the stream then.
        over = pulled is None and (pipeline.refused or pipeline.ended)
        while (note := pipeline.note()) is not None:
            if note.kind == ERROR:
                self._fault = self._fault or sentence(note, *self._recipe.secrets)
            elif note.code == NO_LINK and self._whole.count == 0:
                self._fault = self._fault or "there is no video in it"
            elif note.kind == WARNING:
                self._warn(sentence(note, *self._recipe.secrets))
        if pulled is None and self._fault:  # What came before the failure is good, and comes first.
            raise SourceError(self._fault)
        if pulled is None and not over:
            # A pipeline that is not started yet does not wait itself.
            self._stop.wait(_SLICE / 10)
        return pulled, over

    def _warn(self, message: str) -> None:
        """Tells a warning once, however often it is repeated."""
        if message != self._told:
            self._told = message
            self._bus.emit("warning", self._name, "camera warning", message)

    def frames(self) -> Iterator[Frame]:
        """See `Source.frames`. Ends where the stream ends; for a camera that is a fault, which whoever watches over it sees.

        A file that ends before its time gives one failed frame for all that is missing.

        Raises:
            SourceError: An element has failed: a camera was lost, a file is damaged.
        """
        pipeline = self._pipeline
        if pipeline is None:
            raise SourceError(f"{self._name} is not open")
        first, self._first = self._first, None
        # The first picture of a live source is from before somebody wanted one, and the newest is what counts.
        frame = None if first is None or (self._recipe.live and self._buffers == 1) else self._frame(*first)
        del first
        if frame is not None:
            yield frame
        while not self._stop.is_set():
            frame, over = self._next(pipeline)
            if frame is not None:
                yield frame
            if over:
                break
        if not (self._stop.is_set() or self._recipe.live) and (lost := self._whole.lost()):
            error = f"the video {lost}"
            yield Frame(None, source=self._name, name=self._recipe.file, error=error, captured=time.monotonic_ns())

    def _next(self, pipeline: Pipeline) -> tuple[Frame | None, bool]:
        """The next frame, or None where there was none in a short while; and whether there can be no more."""
        begin = time.monotonic_ns()
        try:
            pulled, over = self._pulled(pipeline)
        except SourceError as error:
            raise SourceError(f"{self._what} failed: {error}") from None
        return None if pulled is None else self._frame(pulled, begin), over

    def _frame(self, pulled: Pulled, begin: int) -> Frame:
        """A picture as a frame; what it holds of GStreamer is in its pixels alone."""
        live, file = self._recipe.live, self._recipe.file
        captured = pulled.captured if live and pulled.captured is not None else begin
        pts = (pulled.running if live else pulled.stream) or 0
        frame = Frame(pulled.pixels, source=self._name, name=file, pts=pts / 1e9, captured=captured, pool=self._pool)
        frame.damage = pulled.damage
        self._whole.saw(pts / 1e9, pulled.duration and pulled.duration / 1e9)
        if live and self._pipeline is not None:
            frame.wall -= (time.monotonic_ns() - captured) / 1e9
            frame.missed = self._skips.before(pulled.number, self._pipeline.arrived)
        return frame

    def stop(self) -> None:
        """See `Source.stop`."""
        self._stop.set()

    def close(self) -> None:
        """See `Source.close`. Frames that are still held keep their pixels.

        Where an element does not let go of its device, that is told on the bus and left to a thread that waits for it.
        """
        self._first = None
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None and not pipeline.stop(self._patience):
            self._bus.emit(
                "error",
                self._name,
                "hung",
                f"GStreamer did not let go of its device or file within {self._patience:g} s and was left behind; "
                "what uses it may have to be started anew",
            )


def _unfit(path: Path) -> str | None:
    """Why a path is no file to read, in plain words; GStreamer has its own, and waits for ever where it is a pipe."""
    try:
        return special(path) or ("the file is empty" if path.stat().st_size == 0 else None)
    except FileNotFoundError:
        return "there is no such file"
    except OSError as error:
        return error.strerror
