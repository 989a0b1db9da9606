"""Streams of the host device: one worker thread each, so that what is not ordered is not ordered here either."""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from lineside.runtime.errors import DeviceLost, EngineFailed

__all__ = ["Fault", "HostEvent", "HostStream", "Work"]

PATIENCE = 300.0
"""Seconds that the host waits for a stream before it calls the device lost: no frame takes so long."""

SLICE = 0.1
"""Seconds after which whoever waits looks whether the device is still there."""

_HANDLES = itertools.count(0x1000)


@dataclass(frozen=True)
class Work:
    """One thing that a stream does.

    Attributes:
        label: What it is, for people.
        run: Does it.
        to_host: Bytes that it copies from device memory into host memory.
        to_device: Bytes that it copies from host memory into device memory.
    """

    label: str
    run: Callable[[], None]
    to_host: int = 0
    to_device: int = 0


class Fault:
    """Whether a device is lost, for all of its streams: the first reason stays."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: str | None = None
        self._cause: BaseException | None = None

    @property
    def lost(self) -> bool:
        """Whether nothing on the device works any more."""
        return self._reason is not None

    def lose(self, label: str, cause: BaseException) -> None:
        """Marks the device as lost; the first cause stays.

        Args:
            label: What it was running, for the message.
            cause: What was raised.
        """
        with self._lock:
            if self._reason is None:
                self._cause = cause
                self._reason = (
                    f"the device was lost while it ran {label} ({str(cause) or type(cause).__name__}): nothing on it "
                    "works any more; load the bundle again"
                )

    def check(self) -> None:
        """Raises DeviceLost where the device is lost; a new one each time, with the same sentence."""
        if self._reason is not None:
            raise DeviceLost(self._reason) from self._cause


class HostEvent:
    """A mark in a stream.

    Attributes:
        handle: A number of its own.
        reached: Set when the stream has come so far.
        at: When that was, in seconds of a monotonic clock.
    """

    def __init__(self) -> None:
        self.handle = next(_HANDLES)
        self.reached = threading.Event()
        self.at = 0.0

    def mark(self) -> None:
        """The stream is here."""
        self.at = time.perf_counter()
        self.reached.set()


class _Queue:
    """What a worker works off; it knows nothing of the stream, so that a stream nobody holds can end its worker."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.changed = threading.Condition()
        self.todo: deque[Work] = deque()
        self.busy = False
        self.stopped = False
        self.failed: EngineFailed | None = None

    def quiet(self) -> bool:
        """Whether waiting any longer is of no use."""
        return (not self.todo and not self.busy) or self.stopped or self.fault.lost

    def work(self) -> None:
        """The worker: everything in order, until it is stopped."""
        while True:
            with self.changed:
                self.busy = False
                self.changed.notify_all()
                self.changed.wait_for(lambda: self.todo or self.stopped)
                if self.stopped:
                    return
                work, self.busy = self.todo.popleft(), True
            if not self.fault.lost and self.failed is None:
                self._run(work)
            del work  # it may be the last that holds a buffer

    def _run(self, work: Work) -> None:
        try:
            work.run()
        except DeviceLost as error:
            self.fault.lose(work.label, error)
        except EngineFailed as error:  # refused, and the device works on
            self.failed = error
        except BaseException as error:
            self.fault.lose(work.label, error)

    def stop(self) -> None:
        with self.changed:
            self.stopped = True
            self.todo.clear()
            self.changed.notify_all()


class HostStream:
    """A queue of work and the thread that does it.

    Args:
        fault: That of the device.

    Attributes:
        handle: A number of its own.
        recording: What a capture has recorded so far; None where nothing is captured.
    """

    def __init__(self, fault: Fault) -> None:
        self.handle = next(_HANDLES)
        self.recording: list[Work] | None = None
        self._queue = _Queue(fault)
        self._thread = threading.Thread(target=self._queue.work, name=f"host-stream-{self.handle:x}", daemon=True)
        self._thread.start()
        self._end = weakref.finalize(self, self._queue.stop)

    def put(self, work: Work) -> None:
        """Enqueues something, or records it.

        Args:
            work: What to do, by the stream's own thread.

        Raises:
            EngineFailed: The device is closed.
        """
        if self.recording is not None:
            self.recording.append(work)
            return
        with self._queue.changed:
            if self._queue.stopped:
                raise EngineFailed("this device is closed: load the bundle again")
            self._queue.changed.notify_all()  # first: whoever is interrupted between the two must not leave work asleep
            self._queue.todo.append(work)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        with self._queue.changed:
            return self._queue.quiet()

    def drain(self) -> None:
        """Waits until there is nothing to do.

        Raises:
            EngineFailed: Something on it failed; the stream works on.
            DeviceLost: The device is lost, or the work does not come to an end.
        """
        queue, limit = self._queue, time.monotonic() + PATIENCE
        with queue.changed:
            # In slices: a device that another stream has lost wakes nobody here.
            while not (done := queue.quiet()) and time.monotonic() < limit:
                queue.changed.wait(SLICE)
            failed, queue.failed = queue.failed, None
            stopped = queue.stopped
        if not done:
            queue.fault.lose("the work of a stream", TimeoutError(f"it was not done after {PATIENCE:.0f} s"))
        queue.fault.check()
        if failed is not None:
            raise failed
        if stopped:
            raise EngineFailed("this device is closed: load the bundle again")

    def await_event(self, event: HostEvent) -> None:
        """Waits in the worker for a mark of another stream; ends without it where there is nothing to wait for."""
        limit = time.monotonic() + PATIENCE
        while not event.reached.wait(SLICE):
            if self._queue.stopped or self._queue.fault.lost:
                return
            if time.monotonic() > limit:
                raise TimeoutError(f"a mark of another stream was not reached after {PATIENCE:.0f} s")

    def stop(self, patience: float = 5.0) -> bool:
        """Ends the thread, after what it is doing now.

        Args:
            patience: Seconds to wait for that at most.

        Returns:
            Whether it has ended.
        """
        self._end()
        if self._thread is not threading.current_thread():
            self._thread.join(patience)
        return not self._thread.is_alive()
