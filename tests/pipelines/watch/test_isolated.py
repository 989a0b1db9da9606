"""A source in a process of its own gives the same frames, and its process can die or hang at any time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.media import pictures
from lineside.pipelines.catalog import Place, make, options_of
from lineside.pipelines.events import Bus, Event
from lineside.pipelines.watch.isolated import Isolated
from lineside.pipelines.watch.packing import pack, shape_of, unpack
from lineside.runtime.errors import SourceError
from lineside.runtime.yuv import Yuv


def isolated(element: str, folder: Path, **values: object) -> Isolated:
    return Isolated(element, options_of(element, values, "test"), Place(folder, "top"))


def test_the_frames_are_those_of_the_source_in_this_process(tmp_path: Path) -> None:
    pictures(tmp_path / "parts", [(40, 60), (80, 30), (40, 60)])  # The second needs another piece of memory.
    near = make("pictures", options_of("pictures", {"path": "parts"}, "test"), Place(tmp_path, "top"))
    far = isolated("pictures", tmp_path, path="parts")
    streams = near.open(), far.open()
    assert streams[0] == streams[1]
    pairs = list(zip(near.frames(), far.frames(), strict=True))
    far.close()
    near.close()
    assert len(pairs) == 3
    for mine, theirs in pairs:
        assert np.array_equal(mine.pixels, theirs.pixels) and mine.name == theirs.name and mine.pts == theirs.pts
        assert theirs.clock["read"] >= theirs.clock["capture"]


@pytest.mark.parametrize("kind", ["NV12", "I420"])
@given(size=st.tuples(st.integers(1, 9), st.integers(1, 9)), matrix=st.sampled_from(["bt601", "bt709"]))
def test_luma_and_chroma_travel_as_they_are(kind: str, size: tuple[int, int], matrix: str) -> None:
    height, width = size
    half = ((height + 1) // 2, (width + 1) // 2)
    planes = [(height, width), (*half, 2)] if kind == "NV12" else [(height, width), half, half]
    rng = np.random.default_rng(height * 10 + width)
    # Views of wider rows, as decoders give them.
    views = tuple(
        rng.integers(0, 256, (shape[0], 3 * shape[1], *shape[2:]), np.uint8)[:, : shape[1]] for shape in planes
    )
    picture = Yuv(kind, views, matrix, "full")  # type: ignore[arg-type]
    shape = shape_of(picture)
    block = np.zeros(shape.nbytes + 5, np.uint8)
    pack(picture, memoryview(block))
    other = unpack(shape, block[: shape.nbytes])
    assert isinstance(other, Yuv) and (other.matrix, other.range) == (matrix, "full")
    assert np.array_equal(other.to_bgr(), picture.to_bgr()) and not block[shape.nbytes :].any()


def test_what_cannot_be_opened_there_is_said_here(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no file, folder or camera"):
        isolated("pictures", tmp_path, path="gone").open()


def test_a_process_that_is_killed_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    before = set(Path("/dev/shm").iterdir())
    source = isolated("synthetic", tmp_path, size="64x48", fps=200)
    source.open()
    frames = source.frames()
    first = list(islice(frames, 3))
    assert [frame.trigger for frame in first] == [0, 1, 2]
    os.kill(source._process.pid, signal.SIGKILL)
    with pytest.raises(SourceError, match=r"the capture process of top died \(exit code -9\)"):
        list(frames)
    source.close()
    assert set(Path("/dev/shm").iterdir()) <= before


def test_a_process_that_is_frozen_is_killed_at_the_end(tmp_path: Path) -> None:
    source = isolated("synthetic", tmp_path, size="64x48", fps=200)
    source.open()
    frames = source.frames()
    next(frames)
    process = source._process.pid
    os.kill(process, signal.SIGSTOP)
    ended = threading.Timer(0.5, source.stop)
    ended.start()
    assert len(list(frames)) < 50
    source.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


OWN = """
import os
import time

import numpy as np


class Stuck:
    live = True

    def __init__(self, told: int = 1) -> None:
        self.told = told

    def frames(self):
        yield np.full((4, 6, 3), self.told, np.uint8)
        time.sleep(1e6)

    def stop(self):
        time.sleep(1e6)


def leaves():
    yield np.zeros((4, 6, 3), np.uint8)
    raise SystemExit("the driver has had enough")
"""

PARENT = """
import sys
from pathlib import Path
from lineside.pipelines.catalog import Place, options_of
from lineside.pipelines.events import Bus, Event
from lineside.pipelines.watch.isolated import Isolated

print("begun", flush=True)
element = f"{sys.argv[1]}/own.py:Stuck"
source = Isolated(element, options_of(element, {"told": 7}, "test"), Place(Path(sys.argv[1]), "top"))
source.open()
frame = next(source.frames())
print(source._process.pid, int(frame.pixels[0, 0, 0]), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "parent.py").write_text(PARENT)
    return tmp_path


def gone(process: int) -> bool:
    """Whether a process has ended; waits for it."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with suppress(FileNotFoundError):
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z":  # its parent is gone, and whoever collects orphans here may be slow
                time.sleep(0.05)
                continue
        return True
    return False


def test_whoever_kills_the_station_kills_its_captures_whatever_they_hang_in(own: Path) -> None:
    """Nor does the program run a second time in the other process, although it has no guard."""
    station = subprocess.Popen(
        [sys.executable, own / "parent.py", own], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert station.stdout is not None
    assert station.stdout.readline() == "begun\n"
    process, told = map(int, station.stdout.readline().split())
    assert told == 7
    station.kill()
    station.communicate()
    assert gone(process)


def test_signals_for_the_station_do_not_end_its_captures(tmp_path: Path) -> None:
    source = isolated("synthetic", tmp_path, size="64x48", fps=200)
    source.open()
    frames = source.frames()
    next(frames)
    assert source._process is not None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(source._process.pid, number)
    assert [frame.trigger for frame in islice(frames, 3)] == [1, 2, 3]
    source.close()


def test_an_exit_there_is_an_error_here(own: Path) -> None:
    source = isolated(f"{own}/own.py:leaves", own)
    source.open()
    with pytest.raises(SourceError, match="had enough"):
        list(source.frames())
    source.close()


def test_events_of_the_source_are_told_here(tmp_path: Path) -> None:
    heard: list[Event] = []
    bus = Bus()
    bus.listen(heard.append)
    source = Isolated("synthetic", options_of("synthetic", {}, "test"), Place(tmp_path, "top", bus))
    mine, theirs = multiprocessing.Pipe()
    source._pipe = mine
    theirs.send(Event("warning", "top", "camera warning", "the cable is loose"))
    theirs.send("that was all")
    assert source._receive(time.monotonic() + 60) == "that was all"
    assert [(event.element, event.message) for event in heard] == [("top", "the cable is loose")]
