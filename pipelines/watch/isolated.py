"""A source in a process of its own: whatever its driver does, that process can be killed.

Started anew, never forked: a fork after GStreamer has begun gives no frame and no error.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np

from lineside.pipelines.catalog import Options, Place, make
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import CAPTURE, READ, TRIGGER, Frame, Pixels
from lineside.pipelines.pool import BufferPool
from lineside.pipelines.watch.packing import Shape, pack, shape_of, unpack
from lineside.runtime.errors import SourceError

__all__ = ["Isolated"]

_LOOK = 0.2
"""Seconds between two looks at whether an end is wanted."""
_OPEN = 60.0
"""Seconds that a process may take to start and to open its source."""
_FIELDS = ("pts", "name", "error", "note", "trigger", "part", "encoder", "wall", "damage", "missed")


@dataclass(frozen=True)
class _Packed:
    """A frame on its way between two processes.

    Attributes:
        shape: How to read the picture, which lies in the shared memory; None for a frame without.
        clock: Its stage clock; the monotonic clock is the same in all processes of a machine.
        fields: The other fields, by name.
    """

    shape: Shape | None
    clock: dict[str, int]
    fields: dict[str, Any]


class Isolated:
    """Runs a source of the catalogue in another process, with its pictures in shared memory.

    Args:
        element: Kind of element.
        options: What it is told.
        place: Where it stands.
    """

    def __init__(self, element: str, options: Options, place: Place) -> None:
        self._element, self._options, self._place = element, options, place
        self._stop = threading.Event()
        self._process: Any = None
        self._pipe: Connection | None = None
        self._memory: SharedMemory | None = None
        self._pool = BufferPool()

    def open(self) -> StreamInfo:
        """See `Source.open`.

        Raises:
            SourceError: The source cannot be opened there, or the process does not answer.
        """
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve,
            args=(theirs, self._element, self._options, str(self._place.folder), self._place.name),
            name=f"capture {self._place.name}",
            daemon=True,
        )
        self._process.start()
        theirs.close()
        answer = self._receive(time.monotonic() + _OPEN)
        if isinstance(answer, StreamInfo):
            return answer
        self.close()
        raise SourceError(answer if isinstance(answer, str) else f"the process of {self._place.name} does not answer")

    def frames(self) -> Iterator[Frame]:
        """See `Source.frames`.

        Raises:
            SourceError: The source failed there, or its process died.
        """
        while not self._stop.is_set():
            answer = self._receive(time.monotonic() + _LOOK)
            if isinstance(answer, _Packed):
                yield self._unpacked(answer)
            elif isinstance(answer, str):
                raise SourceError(answer)
            elif answer is not None:
                return

    def _receive(self, until: float) -> Any:
        """What the process sends next; None where nothing came in time or an end is wanted.

        Raises:
            SourceError: The process has died.
        """
        assert self._pipe is not None, "the source is open"
        try:
            while not self._stop.is_set() and (left := until - time.monotonic()) > 0:
                if self._pipe.poll(min(left, _LOOK)):
                    return self._pipe.recv()
        except (EOFError, OSError) as error:
            if self._stop.is_set():
                return None
            self._process.join(1.0)
            raise SourceError(
                f"the capture process of {self._place.name} died (exit code {self._process.exitcode})"
            ) from error
        return None

    def _unpacked(self, packed: _Packed) -> Frame:
        """A frame with pixels of its own; the place in the shared memory is free again afterwards."""
        assert self._pipe is not None, "the source is open"
        picture, block = None, None
        if packed.shape is not None:
            memory = self._attached(packed.fields.pop("memory"))
            block = self._pool.take((packed.shape.nbytes,))
            np.copyto(block, np.ndarray(block.shape, np.uint8, memory.buf))
            picture = unpack(packed.shape, block)
        frame = Frame(picture, recycle=partial(_give_back, self._pool, block))
        frame.clock.update(packed.clock)
        for field, value in packed.fields.items():
            setattr(frame, field, value)
        with contextlib.suppress(OSError):
            self._pipe.send(True)
        return frame

    def _attached(self, name: str) -> SharedMemory:
        """The shared memory of that name; a change of picture size brings another one."""
        if self._memory is None or self._memory.name != name:
            if self._memory is not None:
                self._memory.close()
            self._memory = SharedMemory(name)
        return self._memory

    def stop(self) -> None:
        """See `Source.stop`."""
        self._stop.set()

    def close(self) -> None:
        """See `Source.close`. The process gets a moment to close its source, and is killed then."""
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None and self._process.pid is not None:
            self._process.join(2.0)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()
            self._process.close()
            self._process = None
        if self._memory is not None:
            self._memory.close()
            with contextlib.suppress(FileNotFoundError):
                self._memory.unlink()  # the process could not, if it was killed
            self._memory = None


def _serve(pipe: Connection, element: str, options: Options, folder: str, name: str) -> None:
    """The other process: one frame at a time, each when the one before has been taken over."""
    memory: SharedMemory | None = None
    try:
        source = make(element, options, Place(Path(folder), name))
        pipe.send(source.open())
        try:
            for frame in source.frames():
                memory = _send(pipe, frame, memory)
                pipe.recv()
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
    pipe.send(_Packed(shape, clock, fields))
    frame.release()
    return memory


def _give_back(pool: BufferPool, block: Pixels | None, picture: object) -> None:
    """Takes the memory of a frame back."""
    if block is not None:
        pool.give(block)
