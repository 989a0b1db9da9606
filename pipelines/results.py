"""Where a run keeps its results."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

from lineside.pipelines.sinks import FILES
from lineside.pipelines.sinks.part import part_name
from lineside.runtime.errors import SinkError

__all__ = ["check_free", "new_folder", "usual_sinks"]


def new_folder(root: Path = Path("runs")) -> Path:
    """Makes a folder that did not exist before: ``runs/2026-11-21_143005-1``.

    Raises:
        SinkError: It cannot be made.
    """
    stamp = time.strftime("%Y-%m-%d_%H%M%S")
    try:
        root.mkdir(parents=True, exist_ok=True)  # By itself: a link to nowhere exists too, and is no folder.
        for number in count(1):
            folder = root / f"{stamp}-{number}"
            with suppress(FileExistsError):
                folder.mkdir()
                break
    except OSError as error:
        raise SinkError(f"cannot make a folder in {root}: {error.strerror}; name another place with --out") from error
    return folder


def check_free(folder: Path, sinks: Sequence[str]) -> None:
    """Makes sure that nothing in a folder would be overwritten.

    Raises:
        SinkError: Results of an earlier run are there, perhaps unfinished ones that a kill left behind.
    """
    files = [folder / FILES[name] for name in sinks]
    taken = [it.name for file in files for it in (file, part_name(file)) if it.exists()]
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
