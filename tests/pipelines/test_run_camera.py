"""``lineside run BUNDLE 0``: a camera has to be there, and is watched over from then on."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame
from lineside.pipelines.session import Job, Session
from lineside.pipelines.sources.find import find
from lineside.pipelines.watch.backoff import Delays
from lineside.pipelines.watch.supervised import Limits
from lineside.runtime.errors import SourceError

QUICK = Limits(connect=60.0, stall=1.0, grace=0.2, delays=Delays(0.01, 0.02, 0.0))
LONG = 120.0
SCRIPT = tuple[int, str]


class Device:
    """What OpenCV has for a camera: each time it is made it gives so many frames and then does as its script says."""

    script: list[SCRIPT] = []
    made: list[Device] = []
    over = threading.Event()

    def __init__(self, index: int) -> None:
        self.index, (self.count, self.end) = index, type(self).script.pop(0)
        self.asked, self.closed = threading.Event(), threading.Event()
        type(self).made.append(self)

    def open(self) -> StreamInfo:
        if self.end == "absent":
            raise SourceError("cannot open it: there is none")
        return StreamInfo(f"camera {self.index}", "camera", live=True, size=(48, 64), fps=30.0)

    def frames(self) -> Iterator[Frame]:
        for _ in range(self.count):
            yield Frame(np.zeros((48, 64, 3), np.uint8), source=f"camera {self.index}", captured=time.monotonic_ns())
        if self.end == "broken":
            raise SourceError(f"camera {self.index} stopped giving frames")
        (self.asked if self.end == "frozen" else self.over).wait(LONG)

    def stop(self) -> None:
        self.asked.set()

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Puts a camera with a script in the place of OpenCV's, in this process."""

    def scripted(*script: SCRIPT) -> None:
        Device.script, Device.made, Device.over = list(script), [], threading.Event()
        monkeypatch.setattr("lineside.pipelines.sources.camera.Camera", Device)

    yield scripted
    Device.over.set()


def job(bundle: Path, folder: Path, limit: int | None) -> Job:
    return Job(bundle, find(["63"]), "63", folder=folder, limit=limit, sinks=["jsonl"])


@pytest.mark.parametrize("end", ["frozen", "broken"])
def test_a_camera_that_fails_is_built_anew(end: str, device, bundle: Path, tmp_path: Path) -> None:
    device((2, end), (0, end), (9, "frozen"))
    heard: list[str] = []
    limits = replace(QUICK, connect=3.0)  # the second one freezes before its first frame
    with Session(job(bundle, tmp_path / "out", 5), heard.append, limits) as session:
        summary = session.run(lambda graph: None)
    assert summary.source == "camera 63" and summary.live
    assert summary.counts.entered == 5 and summary.counts.balanced
    assert len(Device.made) == 3 and all(it.closed.is_set() for it in Device.made)
    why = "no frame for 1 s" if end == "frozen" else "stopped giving frames"
    assert any(why in message for message in heard), heard
    assert not summary.complete and summary.problems
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert {line["source"] for line in lines} == {"camera 63"}


def test_a_camera_whose_driver_hangs_is_left_behind_and_tried_in_another_process(
    device, bundle: Path, tmp_path: Path
) -> None:
    device((2, "hung"))
    heard: list[str] = []
    asked = threading.Event()

    def end(graph: object) -> None:
        """There is no camera 63 on this machine, which the other process says."""
        if not asked.is_set() and any("cannot open camera 63" in message for message in heard):
            asked.set()
            signal.raise_signal(signal.SIGINT)

    with Session(job(bundle, tmp_path / "out", None), heard.append, QUICK) as session:
        summary = session.run(end, drain=30.0)
    assert summary.stopped == "SIGINT" and summary.counts.entered == 2
    assert any("it is left behind" in message for message in heard), heard


def test_one_that_is_not_there_ends_the_run_at_once(device, bundle: Path, tmp_path: Path) -> None:
    device((0, "absent"))
    with Session(job(bundle, tmp_path / "out", None), lambda message: None, QUICK) as session:
        with pytest.raises(SourceError, match="there is none"):
            session.run(lambda graph: None)
    assert not (tmp_path / "out").exists()


def test_one_that_nobody_came_to_read_is_closed(device, tmp_path: Path, bundle: Path) -> None:
    from lineside.pipelines.events import Bus
    from lineside.pipelines.sources.attended import attended

    device((2, "frozen"))
    source = attended(63, Bus(), QUICK)
    assert source.open().size == (48, 64)
    source.close()
    assert Device.made[0].closed.is_set() and len(Device.made) == 1


def test_a_network_camera_is_shown_the_way(cli, bundle: Path, tmp_path: Path) -> None:
    done = cli("run", bundle, "rtsp://kim:hush5@10.0.0.7/stream", cwd=tmp_path)
    assert done.returncode == 2 and 'lineside launch "rtsp url=' in done.stderr
    assert "hush5" not in done.stderr and "kim" not in done.stderr
