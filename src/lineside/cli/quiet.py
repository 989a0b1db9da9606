"""Standard error as a place that may go away: a closed pipe or terminal never ends the work that reports to it."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

__all__ = ["quiet_stderr"]


class _Quiet(io.TextIOBase):
    """Passes text on as long as somebody takes it."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Encoding of the stream behind it."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Whether a terminal is behind it."""
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        """Number of the stream behind it."""
        if self._stream is None:
            raise OSError("there is no standard error output")
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Writes, or does nothing where nobody takes it."""
        self._try(lambda stream: stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flushes, or does nothing where nobody takes it."""
        self._try(lambda stream: stream.flush())

    def _try(self, action: Callable[[TextIO], object]) -> None:
        if self._stream is None:
            return
        try:
            action(self._stream)
        except (OSError, ValueError):  # The reader left, the terminal is gone, or the stream is closed.
            with suppress(OSError, ValueError):  # What is left in its buffer is flushed when the interpreter ends.
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            self._stream = None


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Puts such a place in front of ``sys.stderr`` while the block runs."""
    before = sys.stderr
    sys.stderr = _Quiet(before)
    try:
        yield
    finally:
        sys.stderr = before
