"""A source in a process of its own: whatever its driver does, that process can be killed.

A program of its own, never a fork: a fork after GStreamer has begun gives no frame and no error. Nor does it run the user's
program a second time, as processes of `multiprocessing` do where that has no guard.
"""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import msgspec
import numpy as np

from lineside.pipelines.catalog import Options, Place
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.events import Event
from lineside.pipelines.frame import Frame, Pixels
from lineside.pipelines.pool import BufferPool
from lineside.pipelines.triggers import not_triggered
from lineside.pipelines.watch.apart import Opened, Packed, Task, Trigger
from lineside.pipelines.watch.packing import unpack
from lineside.pipelines.watch.shared import received
from lineside.runtime.errors import SourceError

__all__ = ["Isolated"]

_LOOK = 0.2
"""Seconds between two looks at whether an end is wanted."""
_OPEN = 60.0
"""Seconds that a process may take to start and to open its source."""
_CLOSE = 1.0
"""Seconds that it gets to close its source, before it is killed."""
_PROGRAM = """
import sys
from multiprocessing.connection import Connection
pipe = Connection(int(sys.argv[1]))
sys.path[:] = pipe.recv()
from lineside.pipelines.watch.apart import serve
serve(pipe)
"""


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
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._memory: mmap.mmap | None = None
        self._pool, self._converted = BufferPool(), BufferPool()
        self.takes_triggers = False
        """Whether the source can be triggered, once it is open."""
        self._sending = threading.Lock()  # of those who talk to the process

    def open(self) -> StreamInfo:
        """See `Source.open`.

        Raises:
            SourceError: The source cannot be opened there, or the process does not answer.
        """
        self._pipe, theirs = multiprocessing.Pipe()
        with theirs:
            # In a session of its own: Ctrl-C is for the station, which ends its sources itself.
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, stdout=_aside(), start_new_session=True,
            )  # fmt: skip
        options = msgspec.to_builtins(self._options)
        with contextlib.suppress(OSError):  # it has died already, which is said below
            self._pipe.send(sys.path)
            self._pipe.send(Task(self._element, options, str(self._place.folder), self._place.name))
        answer = self._receive(time.monotonic() + _OPEN)
        if isinstance(answer, Opened):
            self.takes_triggers = answer.triggered
            return answer.stream
        self.close()
        raise SourceError(answer if isinstance(answer, str) else f"the process of {self._place.name} does not answer")

    def frames(self) -> Iterator[Frame]:
        """See `Source.frames`.

        Raises:
            SourceError: The source failed there, or its process died.
        """
        while not self._stop.is_set():
            answer = self._receive(time.monotonic() + _LOOK)
            if isinstance(answer, Packed):
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
                if not self._pipe.poll(min(left, _LOOK)):
                    continue
                said = self._pipe.recv()
                if not isinstance(said, Event):
                    return said
                self._place.bus.emit(said.level, said.element, said.kind, said.message)
        except (EOFError, OSError) as error:
            if self._stop.is_set():
                return None
            raise SourceError(f"the capture process of {self._place.name} died{self._exit()}") from error
        return None

    def _exit(self) -> str:
        """How the process ended, in words."""
        assert self._process is not None, "the source is open"
        with contextlib.suppress(subprocess.TimeoutExpired):
            return f" (exit code {self._process.wait(_CLOSE)})"
        return ""

    def _unpacked(self, packed: Packed) -> Frame:
        """A frame with pixels of its own; the place in the shared memory is free again afterwards."""
        assert self._pipe is not None, "the source is open"
        picture, block = None, None
        if packed.shape is not None:
            if packed.moved:
                self._memory = received(self._pipe)
            block = self._pool.take((packed.shape.nbytes,))
            np.copyto(block, np.ndarray(block.shape, np.uint8, self._memory))
            picture = unpack(packed.shape, block)
        frame = Frame(picture, recycle=partial(_give_back, self._pool, block), pool=self._converted)
        frame.clock.update(packed.clock)
        for field, value in packed.fields.items():
            setattr(frame, field, value)
        with contextlib.suppress(OSError), self._sending:
            self._pipe.send(True)
        return frame

    def trigger(self, part: str | None = None, encoder: int | None = None, when: int | None = None) -> None:
        """See `lineside.pipelines.triggers.Triggered`. A trigger that the source there refuses ends the capture.

        Raises:
            SourceError: Its process does not hear any more.
            BadOption: It cannot be triggered.
        """
        name = self._place.name
        if self._pipe is None:
            raise SourceError(f"{name} is not open")
        if not self.takes_triggers:
            raise not_triggered(name)
        try:
            with self._sending:
                self._pipe.send(Trigger(part, encoder, time.monotonic_ns() if when is None else when))
        except OSError as error:
            raise SourceError(f"the capture process of {name} does not hear any more") from error

    def stop(self) -> None:
        """See `Source.stop`."""
        self._stop.set()

    def close(self) -> None:
        """See `Source.close`. The process gets a moment to close its source, and is killed then."""
        if self._pipe is not None:
            if not self._sending.acquire(timeout=_CLOSE) and self._process is not None:
                self._process.kill()  # somebody waits for one that does not listen any more
                self._sending.acquire()
            self._pipe.close()
            self._sending.release()
        if self._process is not None:
            try:
                self._process.wait(_CLOSE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        self._memory = None


def _aside() -> int:
    """Where the process prints, if it does: standard error, as standard output is for results."""
    try:
        os.fstat(2)
    except OSError:
        return subprocess.DEVNULL
    return 2


def _give_back(pool: BufferPool, block: Pixels | None, picture: object) -> None:
    """Takes the memory of a frame back."""
    if block is not None:
        pool.give(block)
