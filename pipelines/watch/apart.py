"""The other process of an isolated source: it reads the source, and hands each frame over through shared memory."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

from lineside.pipelines.catalog import Options, Place, make
from lineside.pipelines.elements import Source, StreamInfo
from lineside.pipelines.frame import CAPTURE, READ, TRIGGER, Frame
from lineside.pipelines.triggers import Triggered, takes_triggers
from lineside.pipelines.watch.packing import Shape, pack, shape_of

__all__ = ["Opened", "Packed", "Trigger", "serve"]

_FIELDS = ("pts", "name", "error", "note", "trigger", "part", "encoder", "wall", "damage", "missed")


@dataclass(frozen=True)
class Opened:
    """The source is open there.

    Attributes:
        stream: What it said about itself.
        triggered: Whether it can be triggered.
    """

    stream: StreamInfo
    triggered: bool


@dataclass(frozen=True)
class Trigger:
    """A trigger on its way to the source; see `lineside.pipelines.triggers.Triggered`."""

    part: str | None
    encoder: int | None
    when: int


@dataclass(frozen=True)
class Packed:
    """A frame on its way between two processes.

    Attributes:
        shape: How to read the picture, which lies in the shared memory; None for a frame without.
        clock: Its stage clock; the monotonic clock is the same in all processes of a machine.
        fields: The other fields, by name.
    """

    shape: Shape | None
    clock: dict[str, int]
    fields: dict[str, Any]


def serve(pipe: Connection, element: str, options: Options, folder: str, name: str) -> None:
    """The other process: one frame at a time, each when the one before has been taken over."""
    memory: SharedMemory | None = None
    try:
        source = make(element, options, Place(Path(folder), name))
        pipe.send(Opened(source.open(), takes_triggers(source)))
        try:
            ear = _Ear(pipe, source)
            for frame in source.frames():
                memory = _send(pipe, frame, memory)
                ear.taken_over()
            ear.check()
            pipe.send(False)
        finally:
            source.close()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # nobody reads any more
    except Exception as error:
        with contextlib.suppress(OSError):
            pipe.send(str(error) or type(error).__name__)
    finally:
        if memory is not None:
            memory.close()
            with contextlib.suppress(FileNotFoundError):
                memory.unlink()


class _Ear:
    """The thread of the other process that hears what the reader says: that it has a frame, a trigger, its end.

    Args:
        pipe: The way to the reader.
        source: The source; asked to end where nobody reads any more, or it takes no triggers any more.
    """

    def __init__(self, pipe: Connection, source: Source) -> None:
        self._pipe = pipe
        self._source = source
        self._taken = threading.Semaphore(0)
        self._failure: Exception | None = None
        threading.Thread(target=self._listen, name="ear", daemon=True).start()

    def _listen(self) -> None:
        try:
            while True:
                said = self._pipe.recv()
                if isinstance(said, Trigger):
                    assert isinstance(self._source, Triggered), "the reader knows that it is"
                    self._source.trigger(said.part, said.encoder, said.when)
                else:
                    self._taken.release()
        except Exception as error:
            self._failure = error
            self._taken.release()
            with contextlib.suppress(Exception):  # who reads kills this process where it does not end
                self._source.stop()

    def taken_over(self) -> None:
        """Waits until the reader has the frame that was sent last.

        Raises:
            EOFError: Nobody reads any more.
            LinesideError: A trigger was refused.
        """
        self._taken.acquire()
        self.check()

    def check(self) -> None:
        """Raises what has ended the listening, if anything has."""
        if self._failure is not None:
            raise self._failure


def _send(pipe: Connection, frame: Frame, memory: SharedMemory | None) -> SharedMemory | None:
    """Puts a frame's picture into shared memory, of a new piece where they need another size, and tells the reader."""
    fields = {field: getattr(frame, field) for field in _FIELDS}
    shape = None if frame.pixels is None else shape_of(frame.pixels)
    if frame.pixels is not None and shape is not None:
        if memory is None or memory.size < shape.nbytes:
            if memory is not None:
                memory.close()
                memory.unlink()
            memory = SharedMemory(create=True, size=shape.nbytes)
        pack(frame.pixels, memory.buf)
        fields["memory"] = memory.name
    clock = {stage: frame.clock[stage] for stage in (TRIGGER, CAPTURE, READ) if stage in frame.clock}
    pipe.send(Packed(shape, clock, fields))
    frame.release()
    return memory
