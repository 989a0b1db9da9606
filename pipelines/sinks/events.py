"""Events as JSON lines: what happened in a station, beside what it found."""

from __future__ import annotations

import threading
from collections import deque

import msgspec

from lineside.pipelines.events import Event
from lineside.pipelines.sinks.floor import Tell
from lineside.pipelines.sinks.segments import Segments
from lineside.runtime.errors import SinkError

__all__ = ["EventLines", "line_of"]

_MOST = 1000
"""Events that may wait to be written; of more, the oldest go and are counted."""
_AGAIN = 1.0
"""Seconds from a write that was refused to the next attempt."""
_GRACE = 5.0
"""Seconds that the disk has at the end to take what waits."""


def line_of(event: Event) -> bytes:
    """An event as a line: ``when`` (seconds since 1970), ``level``, ``element``, ``kind`` and ``message``."""
    texts = {"level": event.level, "element": event.element, "kind": event.kind, "message": event.message}
    # A name of a file that is no UTF-8 may stand in any of them, and no JSON can hold it.
    plain = {name: text.encode("utf-8", "backslashreplace").decode() for name, text in texts.items()}
    return msgspec.json.encode({"when": round(event.when, 6), **plain}) + b"\n"


class EventLines:
    """Writes each event as a line, in a thread of its own: whoever tells one never waits for the disk.

    What a disk refuses waits and is written when it takes it again. Of those that are too many to wait, a line says how
    many there were.

    Args:
        files: Where the lines go.
        tell: Told when the disk begins to refuse them.
        name: Whose they are, for the thread's name.
    """

    def __init__(self, files: Segments, tell: Tell, name: str) -> None:
        self._files = files
        self._tell = tell
        self._waiting: deque[bytes] = deque()
        self._lost = 0
        self._refused = False
        self._ended = False
        self._change = threading.Condition()  # Of what waits, what is lost, and the end.
        self._name = name
        self._thread = threading.Thread(target=self._run, name=f"events of {name}", daemon=True)

    def open(self) -> None:
        """Puts in order what an earlier process left, and begins; without an event there will be no file.

        Raises:
            SinkError: The place cannot be written to, or another process is writing there.
        """
        self._files.prepare()
        self._thread.start()

    def hear(self, event: Event) -> None:
        """Takes an event over. Returns at once; may be called from any thread."""
        with self._change:
            if self._ended:
                return
            self._waiting.append(line_of(event))
            self._cut()
            self._change.notify()

    def close(self) -> None:
        """Writes what waits and ends the file; a disk that does not answer is left behind after a while."""
        with self._change:
            self._ended = True
            self._change.notify()
        self._thread.join(_GRACE)
        if self._thread.is_alive():
            self._tell("error", "hung", f"{self._name}: the disk does not take the last events; it is left behind")

    def _cut(self) -> None:
        """Gives up what is too much; the lock is the caller's."""
        while len(self._waiting) > _MOST:
            self._waiting.popleft()
            self._lost += 1

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting or self._ended)
                if not self._waiting:
                    break
                line, lost = self._waiting.popleft(), self._lost
                self._lost = 0
            if self._written(line, lost):
                continue
            with self._change:
                self._waiting.appendleft(line)
                self._lost += lost
                self._cut()
                if self._ended or self._change.wait_for(lambda: self._ended, _AGAIN):
                    break
        self._finish()

    def _written(self, line: bytes, lost: int) -> bool:
        """Writes a line, and before it how many are missing there."""
        if lost:
            text = f"{lost} older events could not be written in time"
            line = line_of(Event("warning", self._name, "events lost", text)) + line
        try:
            self._files.write(line)
        except SinkError as error:
            if not self._refused:
                self._refused = True
                self._tell("error", "events not written", f"{self._name}: events wait to be written: {error}")
            return False
        self._refused = False
        return True

    def _finish(self) -> None:
        """Ends the file; one that lacks events keeps its name of an unfinished one."""
        with self._change:
            missing = len(self._waiting) + self._lost
        try:
            self._files.finish(missing)
        except SinkError as error:
            self._tell("error", "close failed", f"{self._name}: {error}")
