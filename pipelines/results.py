"""Where a run keeps its results, and that nobody else writes there meanwhile."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

from lineside.pipelines.names import printable
from lineside.pipelines.sinks import FILES
from lineside.runtime.errors import SinkError
from lineside.runtime.locks import lock_folder

__all__ = ["RunFolder", "new_folder", "unfinished", "usual_sinks"]


class RunFolder:
    """A folder of results that belongs to one run until it is closed; a second process is refused.

    The lock is the system's, on the folder itself: it goes with the process, however that ends, and leaves no file.

    Args:
        folder: The folder, made if it is not there. None makes a new one in ``runs/``.
        names: Kinds of results that will be written.

    Attributes:
        path: The folder.

    Raises:
        SinkError: It cannot be made, another run writes there, or it holds results of an earlier one.
    """

    def __init__(self, folder: Path | None, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._made: list[Path] = []
        self._lock: int | None = None
        self._cleared = False
        self.path = self._make(folder)
        try:
            self._check()
        except BaseException:
            self.discard(files=False)
            raise

    def _make(self, folder: Path | None) -> Path:
        """Makes the folder and takes its lock, also where another run removes the folder in that very moment."""
        for _ in range(100):
            path = folder or new_folder()
            self._made = [path] if folder is None else [it for it in (path, *path.parents) if not it.exists()]
            try:
                path.mkdir(parents=True, exist_ok=True)
                self._lock = lock_folder(path)
            except FileNotFoundError:
                continue
            except BlockingIOError:
                raise SinkError(
                    f"another run writes to {path} at this moment: wait until it has ended, or name another folder "
                    "with --out"
                ) from None
            except OSError as error:
                self.discard(files=False)
                reason = "it is a file" if path.is_file() else error.strerror
                raise SinkError(f"cannot write to {path}: {reason}; name another place with --out") from error
            return path
        raise SinkError(f"cannot write to {folder}: it is removed again and again; name another place with --out")

    def _check(self) -> None:
        """Makes sure that nothing will be overwritten."""
        cut = self._cut()
        taken = [FILES[name] for name in self._names if os.path.lexists(self.path / FILES[name])]
        if taken or (cut and self._lock is None):
            held = ", ".join(taken or [it.name for it in cut])
            raise SinkError(f"{self.path} already holds {held}; name another folder with --out, or move them away")
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise SinkError(f"cannot write to {self.path}: it is read-only; name another place with --out")

    def _cut(self) -> list[Path]:
        return [it for name in self._names for it in unfinished(self.path, name)]

    def clear(self, say: Callable[[str], None]) -> None:
        """Puts aside what a run that was cut off has left behind.

        To be called right before results are written, so that a run that never begins moves nothing.

        Args:
            say: Told where it has gone.

        Raises:
            SinkError: It cannot be moved.
        """
        if cut := self._cut():
            aside = self._put_aside(cut)
            say(f"{printable(str(self.path))} holds the start of a run that was cut off; it is now in {aside}")
        self._cleared = True

    def _put_aside(self, files: Sequence[Path]) -> str:
        try:
            for number in count(1):
                aside = self.path / f"unfinished-{number}"
                with suppress(FileExistsError):
                    aside.mkdir()
                    break
            for file in files:
                file.rename(aside / file.name)
        except OSError as error:
            raise SinkError(f"cannot write to {self.path}: {error.strerror}; name another place with --out") from error
        return printable(str(aside))

    def discard(self, *, files: bool = True) -> None:
        """Removes what this run has made: there is nothing in it that anybody wants. Gives up the lock.

        Args:
            files: Whether to remove results too, not only folders; what was there before `clear` is nobody's to remove.
        """
        for name in self._names if files and self._cleared else ():
            for path in (self.path / FILES[name], *unfinished(self.path, name)):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    with suppress(OSError):
                        path.unlink()
        for made in self._made:
            with suppress(OSError):  # Where something lies in it already it stays.
                made.rmdir()
        self.close()

    def close(self) -> None:
        """Gives up the lock. Safe to call twice."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def files(self) -> dict[str, str]:
        """What is complete, by the kind of result."""
        found = {name: self.path / FILES[name] for name in self._names}
        return {name: printable(str(path)) for name, path in found.items() if path.exists()}

    def incomplete(self, given: Callable[[str], int]) -> dict[str, str]:
        """What is not complete, by the kind of result; empty where nothing is left of it.

        Args:
            given: How many frames a sink was handed.
        """
        done = self.files()
        left = {name: unfinished(self.path, name) for name in self._names if name not in done}
        return {name: printable(str(paths[0])) if paths else "" for name, paths in left.items() if paths or given(name)}


def unfinished(folder: Path, name: str) -> list[Path]:
    """What lies in a folder under the name of an unfinished result of one kind.

    Args:
        folder: A folder of results.
        name: Kind of the result.
    """
    path = Path(FILES[name])
    # OpenCV chooses the container of a video by the ending, so there the ending comes last.
    found = (it for pattern in (f"{path}*.part", f"{path.stem}.part{path.suffix}") for it in folder.glob(pattern))
    return sorted(dict.fromkeys(found))


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
