"""A disk that stands still holds up the sinks that write to it, and nobody else."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.elements import Keep, Work
from helpers.inspected import inspected
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame
from lineside.pipelines.graph import Branch, Graph
from lineside.pipelines.link import Policy
from lineside.pipelines.sinks.disk import SystemDisk
from lineside.pipelines.sinks.gallery import Choice, Gallery
from lineside.pipelines.sinks.jsonl import JsonLines
from lineside.pipelines.sinks.lasting import Rules
from lineside.pipelines.sinks.record import Record
from lineside.pipelines.sinks.segments import Segments
from lineside.pipelines.sinks.whole import whole_lines
from lineside.pipelines.sinks.world import World
from lineside.pipelines.sources.replay import Replay

LONG = 60.0
FRAMES = 60


class Still(SystemDisk):
    """A disk on which nothing is written until the test lets it."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def write(self, handle: int, data: bytes) -> None:
        if data:
            assert self.go.wait(LONG), "never let go"
        super().write(handle, data)


class Camera:
    """A live source that gives the next frame when the one before is inspected."""

    def __init__(self) -> None:
        self.inspected = threading.Semaphore(1)

    def open(self) -> StreamInfo:
        return StreamInfo("top", "camera", live=True, fps=25.0)

    def frames(self) -> Iterator[Frame]:
        for number in range(FRAMES):
            assert self.inspected.acquire(timeout=LONG)
            frame = inspected(number)
            frame.outcome = None
            yield frame

    def stop(self) -> None: ...

    def close(self) -> None: ...


def jsonl(folder: Path, disk: SystemDisk) -> Any:
    return JsonLines(
        folder / "r.jsonl", Segments(folder / "r.jsonl", Rules(), whole=whole_lines, world=World(disk=disk)).open
    )


def images(folder: Path, disk: SystemDisk) -> Any:
    return Gallery(folder, Rules(), Choice(), world=World(disk=disk))


def record(folder: Path, disk: SystemDisk) -> Any:
    return Record(folder, Rules(), world=World(disk=disk))


def frames_in(folder: Path) -> list[int]:
    if (folder / "r.jsonl").exists():
        return [json.loads(line)["frame"] for line in (folder / "r.jsonl").open()]
    if pictures := list(folder.rglob("*.jpg")):
        return sorted(int(it.name[-10:-4]) for it in pictures)
    return [round(it.pts) for it in Replay(folder).frames()]


@pytest.mark.parametrize("make", [jsonl, images, record])
def test_the_inspection_goes_on_and_what_is_given_up_is_counted(
    tmp_path: Path, make: Callable[[Path, SystemDisk], Any]
) -> None:
    disk, camera, all_there = Still(), Camera(), threading.Event()
    fast = Keep("fast", gate=lambda frame: all_there.set() if frame.sequence == FRAMES - 1 else None)
    slow = make(tmp_path, disk)
    graph = Graph(
        camera,
        Work(lambda frame: camera.inspected.release()),
        [Branch(slow, Policy("drop-oldest", 8)), Branch(fast, Policy("drop-oldest", 1000))],
        policy=Policy("every", FRAMES),
    )
    graph.start()
    assert all_there.wait(LONG), "the inspection waits for the disk"
    disk.go.set()
    assert graph.join(LONG)
    counts = graph.flow.counters.snapshot()
    written = counts.sinks[slow.name]
    assert counts.inspected == FRAMES and counts.balanced and fast.frames == list(range(FRAMES))
    assert written.dropped >= FRAMES - 10 and written.dropped + written.written == FRAMES
    found = frames_in(tmp_path)
    assert len(found) == written.written and found[-8:] == list(range(FRAMES - 8, FRAMES)), "the newest are there"
