"""Where plans lie: in the bundle's folder ``engines/``, else in the user's cache, each with its sidecar beside it.

A plan is written under a name with its own hash, and its sidecar after it; so whatever is interrupted, a sidecar never
stands beside a plan that is not its own. What it takes the place of goes last, so a reader who finds a file gone only has to
look again.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lineside.runtime import cache
from lineside.runtime.bundle import Bundle
from lineside.runtime.engines.tensorrt.sidecar import Sidecar, decode_sidecar, encode_sidecar
from lineside.runtime.errors import EngineFailed
from lineside.runtime.locks import lock_folder
from lineside.runtime.whole_file import write_whole

__all__ = ["Stored", "building", "folders", "list_plans", "now", "prefer", "read_plan", "state", "store_plan"]

FOLDER = "engines"

EVERY = 0.1
"""Seconds between two looks whether another process is done."""

MOST_REMOVED = 10
"""Times that a folder is made again which somebody else removes."""


@dataclass(frozen=True)
class Stored:
    """A plan on disk.

    Attributes:
        path: The plan.
        sidecar: What it is.
    """

    path: Path
    sidecar: Sidecar


def folders(bundle: Bundle) -> list[Path]:
    """Where plans of a bundle may lie, the first that can be written first; none of them has to be there."""
    content = repr(sorted(bundle.manifest.files.items()))
    found = [cache.folder() / cache.ENGINES / hashlib.sha256(content.encode()).hexdigest()[:16]]
    if bundle.path.is_dir():
        found.insert(0, bundle.path / FOLDER)
    return found


def list_plans(bundle: Bundle) -> tuple[list[Stored], list[str]]:
    """All plans of a bundle, newest first, and what is wrong with files that look like one."""
    found, wrong = [], []
    for folder in folders(bundle):
        for path in sorted(folder.glob("*.plan.json")):
            plan = path.with_suffix("")
            try:
                sidecar = decode_sidecar(path.read_bytes(), str(path))
            except (EngineFailed, OSError) as error:
                wrong.append(str(error))
                continue
            if plan.is_file():
                found.append(Stored(plan, sidecar))
            else:
                wrong.append(f"{plan} is not there any more, only what describes it")
    return sorted(found, key=lambda stored: stored.sidecar.built, reverse=True), wrong


def read_plan(stored: Stored) -> bytes:
    """Content of a plan.

    Raises:
        EngineFailed: It cannot be read, or is not what its sidecar was written for.
    """
    try:
        data = stored.path.read_bytes()
    except OSError as error:
        raise EngineFailed(f"{stored.path} cannot be read ({error.strerror}): build the engine again") from error
    if hashlib.sha256(data).hexdigest() != stored.sidecar.plan_sha256:
        raise EngineFailed(
            f"{stored.path} is damaged: it is not the file that was built (its hash differs); build it again with "
            "`lineside build`"
        )
    return data


def state(bundle: Bundle) -> set[tuple[Path, int]]:
    """Everything that describes a plan of a bundle, with its time: where that changes, another process has written."""
    found = set()
    for folder in folders(bundle):
        for path in folder.glob("*.plan.json"):
            with contextlib.suppress(OSError):
                found.add((path, path.stat().st_mtime_ns))
    return found


@contextmanager
def building(bundle: Bundle, waiting: Callable[[], None] | None = None) -> Iterator[Path]:
    """The folder that a plan is to be written to, for this process alone.

    Args:
        bundle: What is built.
        waiting: Called again and again while another process builds there, which is waited for then; what it raises ends
            the wait. None: nobody is waited for.

    Raises:
        EngineFailed: Another process builds there, or no folder can be written.
    """
    folder, lock = _taken(bundle, waiting)
    try:
        for part in folder.glob(".*.part"):  # of a build that was killed
            part.unlink(missing_ok=True)
        yield folder
    finally:
        if lock is not None:
            os.close(lock)


def _taken(bundle: Bundle, waiting: Callable[[], None] | None) -> tuple[Path, int | None]:
    """A folder for plans that can be written, and the lock on it."""
    removed = 0
    while True:
        folder = _writable(bundle)
        try:
            return folder, lock_folder(folder)
        except FileNotFoundError as error:
            removed += 1
            if removed == MOST_REMOVED:
                raise EngineFailed(f"{error}, again and again: end what removes it, and build again") from error
            continue
        except BlockingIOError:
            if waiting is None:
                raise EngineFailed(
                    f"another process builds an engine in {folder}: wait until it is done; two builds at once spoil each "
                    "other's timings"
                ) from None
        waiting()
        time.sleep(EVERY)


def _writable(bundle: Bundle) -> Path:
    """The first folder that plans of a bundle can be written to."""
    for folder in folders(bundle):
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
    raise EngineFailed(
        f"neither {bundle.path} nor the cache {cache.folder()} can be written: set LINESIDE_CACHE to a writable folder"
    )


def store_plan(folder: Path, plan: bytes, sidecar: Sidecar) -> Stored:
    """Writes a plan and its sidecar, and removes those that it takes the place of.

    Args:
        folder: From `building`.
        plan: Its content.
        sidecar: What it is.

    Raises:
        EngineFailed: The disk is full, or broken.
    """
    stem = f"trt{sidecar.tensorrt}-sm{sidecar.sm}-{sidecar.precision}-{sidecar.plan_sha256[:12]}.plan"
    path = folder / stem
    try:
        write_whole(path, plan)
        write_whole(folder / f"{stem}.json", encode_sidecar(sidecar))
    except OSError as error:
        raise EngineFailed(
            f"the engine could not be written to {folder} ({error.strerror}): make room there, and build it again"
        ) from error
    stored = Stored(path, sidecar)
    for other in folder.glob("*.plan.json"):
        if other.name != f"{stem}.json":
            _remove_if_replaced(other, sidecar)
    return stored


def now() -> str:
    """The time for a sidecar."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="microseconds")


def prefer(stored: Stored) -> Stored:
    """Makes a plan the newest of its bundle, since the newest that fits is what runs; where that cannot be written it stays.

    Args:
        stored: The plan.
    """
    sidecar = msgspec.structs.replace(stored.sidecar, built=now())
    with contextlib.suppress(OSError):
        write_whole(stored.path.with_name(f"{stored.path.name}.json"), encode_sidecar(sidecar))
    return Stored(stored.path, sidecar)


def _remove_if_replaced(path: Path, sidecar: Sidecar) -> None:
    """Removes a plan for the same machine and precision, unless it takes sizes that the new one does not.

    Whoever has it open keeps it.
    """
    with contextlib.suppress(EngineFailed, OSError):
        other = decode_sidecar(path.read_bytes(), str(path))
        same = all(
            getattr(other, name) == getattr(sidecar, name) for name in ("tensorrt", "sm", "platform", "precision")
        )
        if same and (other.onnx_sha256 != sidecar.onnx_sha256 or sidecar.profile.covers(other.profile)):
            path.unlink()
            path.with_suffix("").unlink(missing_ok=True)
