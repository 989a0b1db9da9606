"""Where a run keeps its results."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from lineside.pipelines.sinks import FILES
from lineside.runtime.errors import SinkError

__all__ = ["check_free", "new_folder", "usual_sinks"]


def new_folder(root: Path = Path("runs")) -> Path:
    """Makes a folder that did not exist before: ``runs/2026-11-21_143005-1``.

    Raises:
        SinkError: It cannot be made.
    """
    stamp = time.strftime("%Y-%m-%d_%H%M%S")
    number = 1
    while True:
        folder = root / f"{stamp}-{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise SinkError(f"cannot make {folder}: {error.strerror}; name another place with --out") from error
        else:
            return folder


def check_free(folder: Path, sinks: Sequence[str]) -> None:
    """Makes sure that nothing in a folder would be overwritten.

    Raises:
        SinkError: Results of an earlier run are there.
    """
    taken = [FILES[name] for name in sinks if (folder / FILES[name]).exists()]
    if taken:
        raise SinkError(f"{folder} already holds {', '.join(taken)}; name another folder with --out, or move them away")


def usual_sinks(kinds: Sequence[str]) -> tuple[str, ...]:
    """What is saved where the user does not say: JSON lines and a table, and pictures of what was found.

    A camera runs for long, so its pictures are kept only when they are asked for.

    Args:
        kinds: Kinds of what is read, as in `Found.kind`.
    """
    seen = set(kinds)
    if seen <= {"camera", "synthetic"}:
        return ("jsonl", "csv")
    return ("jsonl", "csv", "video" if seen == {"video"} else "images")
