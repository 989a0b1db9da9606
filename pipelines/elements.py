"""What an element of the graph looks like: source, transform, sink."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from lineside.pipelines.frame import Frame
from lineside.runtime.errors import LinesideError
from lineside.runtime.yuv import Picture, Yuv

__all__ = [
    "FAULTS",
    "Fitting",
    "PixelFormat",
    "Sink",
    "Source",
    "SourceKind",
    "SourceState",
    "StreamInfo",
    "Transform",
    "format_of",
    "reason",
]

FAULTS = (Exception, SystemExit)
"""What the code of an element may raise without harm to the graph; somebody's own may even call ``exit``."""


def reason(error: BaseException) -> str:
    """What to tell of an error: those that are raised on purpose, and the system's, speak for themselves."""
    text = str(error)
    return (
        text if text and isinstance(error, LinesideError | OSError) else f"{type(error).__name__}: {text}".rstrip(": ")
    )


SourceKind = Literal["pictures", "video", "camera", "memory", "mixed"]
SourceState = Literal["NOT_STARTED", "CONNECTING", "RUNNING", "STALLED", "BACKOFF", "ENDED"]
"""What a source is doing: RUNNING while frames come, STALLED when they should and do not, BACKOFF while it waits before it
tries again."""

PixelFormat = Literal["bgr", "grey", "nv12", "i420"]
"""How `Frame.pixels` has a picture: ``(H, W, 3)``, ``(H, W)``, or a `Yuv` of that format."""


def format_of(picture: Picture) -> PixelFormat:
    """The pixel format of a picture."""
    if isinstance(picture, Yuv):
        return "nv12" if picture.format == "NV12" else "i420"
    return "grey" if picture.ndim == 2 else "bgr"


@dataclass(frozen=True)
class StreamInfo:
    """What a source says about itself once it is open.

    Attributes:
        name: Name for tables, files and events.
        kind: What it reads.
        live: The world does not wait for us: frames come at their own pace and cannot be asked for again.
        frames: Number of frames it will give, where that is known.
        size: Height and width in pixels, where all frames share one.
        fps: Frames per second, where they have a rate.
        waits: Something outside triggers it: where nothing comes, there may be nothing to come.
        format: Pixel format, where all frames share one that is known.
    """

    name: str
    kind: SourceKind
    live: bool = False
    frames: int | None = None
    size: tuple[int, int] | None = None
    fps: float | None = None
    waits: bool = False
    format: PixelFormat | None = None


class Source(Protocol):
    """Where frames come from. `open`, `frames` and `close` are called from one thread, `stop` from any."""

    def open(self) -> StreamInfo:
        """Gets ready.

        Raises:
            SourceError: There is nothing to read, or it cannot be read.
        """
        ...

    def frames(self) -> Iterator[Frame]:
        """Gives the frames in order, each with ``capture`` and ``read`` stamped.

        A single picture that cannot be read is a frame with ``error`` set and no pixels; the rest goes on.
        """
        ...

    def stop(self) -> None:
        """Asks `frames` to end soon; wakes it where it waits."""
        ...

    def close(self) -> None:
        """Frees what `open` took. Safe to call twice."""
        ...


class Transform(Protocol):
    """Works on one frame in place. Called by as many threads at once as it has lanes.

    Attributes:
        lanes: How many threads may usefully call at once.
    """

    lanes: int

    def open(self) -> None:
        """Gets ready."""
        ...

    def __call__(self, frame: Frame) -> None:
        """Works on the frame; whatever it raises makes this one frame a failed one."""
        ...

    def close(self) -> None:
        """Frees what `open` took."""
        ...


@runtime_checkable
class Fitting(Protocol):
    """A transform that changes the stream, or fits only some."""

    def fit(self, stream: StreamInfo) -> StreamInfo:
        """What the stream is behind it: its size, rate and pixel format.

        Called before the first frame, and again, perhaps beside `__call__`, when frames of a live source turn out to be
        others than was known.

        Args:
            stream: What it is before it; what is not known yet is None.

        Raises:
            BadOption: It does not fit: the message says why.
        """
        ...


class Sink(Protocol):
    """Where results go. Each sink has a bounded queue and a thread of its own.

    `open` is called from the thread that starts the graph, `write` and `close` from the sink's thread.

    Attributes:
        name: Name in tables and in the stage clock; unique in a graph.
        takes_failed: Whether `write` also gets frames that failed (``error`` set, perhaps no pixels).
    """

    name: str
    takes_failed: bool

    def open(self, stream: StreamInfo) -> None:
        """Gets ready.

        Raises:
            SinkError: The place cannot be written to.
        """
        ...

    def write(self, frame: Frame) -> None:
        """Takes one frame, in order of capture. The frame's pixels are valid until this returns (see `Frame.hold`)."""
        ...

    def close(self, missing: int = 0) -> None:
        """Finishes what was written. Called once, also after a failure.

        Args:
            missing: Frames that were meant for this sink and are not in it: their writing failed, or they were given
                up with its queue. Where there are any, a file keeps its name of an unfinished one.

        Raises:
            SinkError: What was written cannot be finished.
        """
        ...
