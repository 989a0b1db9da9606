"""The other process of an isolated source: it reads the source, and hands each frame over through shared memory."""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from lineside.pipelines.catalog import Place, make, options_of
from lineside.pipelines.elements import FAULTS, Source, StreamInfo, reason
from lineside.pipelines.events import Bus, Event
from lineside.pipelines.frame import CAPTURE, READ, TRIGGER, Frame
from lineside.pipelines.triggers import Triggered, takes_triggers
from lineside.pipelines.watch.packing import Shape, pack, shape_of
from lineside.pipelines.watch.shared import fresh, sent

__all__ = ["Opened", "Packed", "Task", "Trigger", "serve"]

_GRACE = 2.0
"""Seconds that a source has to end once nobody reads any more."""

_FIELDS = ("pts", "name", "error", "note", "trigger", "part", "encoder", "wall", "damage", "missed")


@dataclass(frozen=True)
class Task:
    """What the process is for, in plain values: an element of the user's own has a type that only its file knows.

    Attributes:
        element: Kind of element.
        options: What it is told.
        folder: What its relative paths start from.
        name: Its name in the graph.
    """

    element: str
    options: Mapping[str, Any]
    folder: str
    name: str


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
        moved: That is another one than before; its descriptor follows.
        clock: Its stage clock; the monotonic clock is the same in all processes of a machine.
        fields: The other fields, by name.
    """

    shape: Shape | None
    moved: bool
    clock: dict[str, int]
    fields: dict[str, Any]


def serve(pipe: Connection) -> None:
    """The other process: one frame at a time, each when the one before has been taken over. Never returns.

    Args:
        pipe: The way to the reader, who sends a `Task` first.
    """
    # It ends when its reader does, and not when somebody presses Ctrl-C: what is queued there shall be inspected.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_guard, args=(pipe,), name="guard", daemon=True).start()
    mouth = _Mouth(pipe)
    try:
        task: Task = pipe.recv()
        bus = Bus()
        bus.listen(mouth.say)
        options = options_of(task.element, task.options, task.name)
        source = make(task.element, options, Place(Path(task.folder), task.name, bus))
        mouth.say(Opened(source.open(), takes_triggers(source)))
        try:
            ear = _Ear(pipe, source)
            for frame in source.frames():
                mouth.show(frame)
                ear.taken_over()
            ear.check()
            mouth.say(False)
        finally:
            source.close()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # nobody reads any more
    except FAULTS as error:
        with contextlib.suppress(OSError):
            mouth.say(reason(error))
    os._exit(0)  # a driver that hangs must not hold the process up


def _guard(pipe: Connection) -> None:
    """Ends the process when the reader's has ended, in whatever its source hangs."""
    poll = select.poll()
    poll.register(pipe.fileno(), 0)  # a hang-up is told without being asked for
    poll.poll()
    time.sleep(_GRACE)
    os._exit(1)


class _Mouth:
    """What says something to the reader; for several threads.

    Args:
        pipe: The way to the reader.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._memory: mmap.mmap | None = None
        self._lock = threading.Lock()

    def say(self, what: Opened | Event | str | bool) -> None:
        """Says that the source is open, that something happened, why it failed, or (False) that it has ended."""
        with self._lock:
            self._pipe.send(what)

    def show(self, frame: Frame) -> None:
        """Puts a frame's picture into shared memory, into more where that is too small, and tells the reader."""
        shape = None if frame.pixels is None else shape_of(frame.pixels)
        descriptor: int | None = None
        if frame.pixels is not None and shape is not None:
            if self._memory is None or len(self._memory) < shape.nbytes:
                descriptor, self._memory = fresh(shape.nbytes)
            pack(frame.pixels, self._memory)
        clock = {stage: frame.clock[stage] for stage in (TRIGGER, CAPTURE, READ) if stage in frame.clock}
        fields = {field: getattr(frame, field) for field in _FIELDS}
        frame.release()
        with self._lock:
            self._pipe.send(Packed(shape, descriptor is not None, clock, fields))
            if descriptor is not None:
                sent(self._pipe, descriptor)


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
