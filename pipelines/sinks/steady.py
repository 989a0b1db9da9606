"""A file that never fails in the hands of a library which cannot cope with that."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

__all__ = ["SteadyFile"]


class SteadyFile(io.FileIO):
    """Keeps the first error and swallows what comes after it; whoever made the file looks at `failure` at the end.

    A zip archive (`zipfile`) that could not be written tries again when it is collected, and then its traceback goes
    to the standard error output, past everybody.

    Args:
        file: A name, or a file descriptor, which then belongs to this object.
        mode: As for `io.FileIO`.

    Attributes:
        failure: Why something could not be written; None where all could.
    """

    def __init__(self, file: Path | int, mode: str) -> None:
        super().__init__(file, mode)
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Writes all of it, or notes why not."""
        view = memoryview(data).cast("B")
        done = 0
        try:
            while self.failure is None and not self.closed and done < len(view):
                done += super().write(view[done:]) or 0
        except OSError as error:
            self.failure = error
        return len(view)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves; nowhere once the file is closed."""
        return 0 if self.closed else super().seek(offset, whence)

    def tell(self) -> int:
        """The place in the file; the beginning once it is closed."""
        return 0 if self.closed else super().tell()

    def flush(self) -> None:
        """Nothing is kept back, so there is nothing to do."""
