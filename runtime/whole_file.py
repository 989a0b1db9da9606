"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, data: bytes, durable: bool = True) -> None:
    """Writes a file under another name first, so that nobody ever reads half of it; what was there goes.

    A process that is killed leaves ``.….part`` behind.

    Args:
        path: Where; its folder exists.
        data: The content.
        durable: Whether that holds after a power cut too, which costs a wait for the disk.

    Raises:
        OSError: It cannot be written; what was there is still there.
    """
    part = path.with_name(f".{os.urandom(6).hex()}.part")
    try:
        with part.open("xb") as file:  # not by tempfile, whose files nobody else may read
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
