"""Two elements that do not fit: said before the station begins where it can be known, and at the first frame where not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers.media import pictures
from lineside.pipelines.build import build
from lineside.pipelines.catalog import options_of
from lineside.pipelines.elements import StreamInfo, format_of
from lineside.pipelines.events import Bus, Event
from lineside.pipelines.looks import BranchName
from lineside.pipelines.plan.launch import parse_launch
from lineside.pipelines.plan.shape import shape_of
from lineside.pipelines.runner import Runner
from lineside.pipelines.sources.live import stated
from lineside.pipelines.streams import common
from lineside.runtime.errors import StationError
from lineside.runtime.yuv import Yuv

OWN = """
from dataclasses import replace

import numpy as np


class Eye:
    '''A camera that says nothing about its pictures: so many of each size.'''

    live = True

    def __init__(self, sizes: str = "48x64") -> None:
        self.sizes = sizes

    def frames(self):
        for word in self.sizes.split(","):
            height, width = map(int, word.split("x"))
            yield np.full((height, width, 3), 40, np.uint8)


class Grey:
    '''A transform for pictures without colours.'''

    def fit(self, stream):
        if stream.format not in (None, "grey"):
            raise ValueError(f"it wants grey pictures, and these are {stream.format}")

    def __call__(self, frame) -> None:
        frame.show(255 - frame.bgr())


class Luma:
    '''A transform that takes the colours away.'''

    def fit(self, stream):
        return replace(stream, format="grey")

    def __call__(self, frame) -> None:
        frame.show(np.ascontiguousarray(frame.bgr()[..., 1]))
"""
LONG = 120.0


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path


def made(text: str, place: Path) -> tuple[Runner, list[Event]]:
    bus, heard = Bus(), list[Event]()
    bus.listen(heard.append)
    return build(shape_of(parse_launch(text, folder=place)), place, bus).runner, heard


def test_a_live_source_that_does_not_fit_is_said_before_anything_runs(cli, bundle: Path, tmp_path: Path) -> None:
    row = f"synthetic size=64x48 fps=5 count=6 ! roi crop=100,100,10,10 ! segment bundle={bundle} ! jsonl path=lines.jsonl"
    done = cli("launch", row, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert "the frames of 'synthetic' do not fit: the region from 100,100 to 110,110 lies outside" in done.stderr
    assert "64x48" in done.stderr and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "camera",
    [
        "pattern width=64 height=48",
        "usb width=64 height=48",
        "csi width=64 height=48",
        "aravis width=64 height=48",
        "synthetic size=64x48 trigger=outside",
    ],
)
def test_no_camera_has_to_be_there_for_that(camera: str, bundle: Path, tmp_path: Path) -> None:
    row = f"{camera} name=top ! roi crop=100,100,10,10 ! segment bundle={bundle} ! jsonl path=lines.jsonl"
    runner, _ = made(row, tmp_path)
    with pytest.raises(StationError, match=r"'top' do not fit: .*picture of 64x48"):
        runner.start()
    assert runner.states() == {"top": "NOT_STARTED"} and not list(tmp_path.iterdir())


def test_what_becomes_known_with_the_first_frame_is_said_once_and_each_such_frame_has_failed(
    cli, bundle: Path, tmp_path: Path
) -> None:
    pictures(tmp_path / "parts", [(48, 64)] * 3)
    row = f"synthetic name=line path=parts fps=50 count=3 ! roi crop=100,100,10,10 ! segment name=m bundle={bundle} ! jsonl path=l.jsonl"
    done = cli("launch", row, "--json", cwd=tmp_path)
    report = json.loads(done.stdout)
    assert done.returncode == 1 and report["branches"][0]["counts"]["failed"] == 3
    fits = [it for it in report["problems"] if "do not fit" in it]
    assert len(fits) == 1 and report["problems"][0] == fits[0], "said before the first frame has failed"
    assert done.stderr.count("the frames of 'line' do not fit") == 1


def test_a_camera_that_changes_its_size_is_looked_at_again(bundle: Path, place: Path) -> None:
    """Two that fit, three that do not, one that fits, two that do not again: within the minute that is one message."""
    sizes = ",".join(["96x128"] * 2 + ["48x64"] * 3 + ["96x128"] + ["40x60"] * 2)
    text = (
        f"own.py:Eye name=top sizes={sizes} ! queue policy=every:20 ! roi crop=100,50,28,46 ! segment name=m bundle={bundle} "
        "! jsonl path=l.jsonl  top. ! roi crop=0,0,9999,9999 ! images path=all only=all"
    )
    runner, heard = made(text, place)
    # The stream's end is a failure of a camera, after which it is built anew: here it is stopped at the first one.
    runner.bus.listen(lambda event: runner.stop() if event.kind == "source backoff" else None)
    runner.start()
    assert runner.join(LONG)
    counts = runner.snapshot()[BranchName("top", "m")]
    assert (counts.entered, counts.inspected, counts.failed) == (8, 3, 5)
    told = [event for event in heard if event.kind == "does not fit"]
    assert [(event.level, event.element) for event in told] == [("error", "top")]
    assert "outside the picture of 64x48" in told[0].message


def test_a_transform_of_ones_own_says_what_it_wants(bundle: Path, place: Path) -> None:
    tail = f"own.py:Grey ! segment bundle={bundle} ! jsonl path=l.jsonl"
    for source, given in {"synthetic": "bgr", "csi": "nv12", "pattern format=I420": "i420"}.items():
        with pytest.raises(StationError, match=f"do not fit: .*it wants grey pictures, and these are {given}"):
            made(f"{source} ! {tail}", place)[0].start()
    runner, heard = made(f"synthetic name=top fps=50 count=3 ! queue policy=every:9 ! own.py:Luma ! {tail}", place)
    runner.start()
    assert runner.join(LONG)
    assert [it.inspected for it in runner.snapshot().values()] == [3]
    assert not [event.message for event in heard if event.level == "error"]


def test_a_format_that_was_not_known_is_looked_at_with_the_first_frame(bundle: Path, place: Path) -> None:
    text = f"own.py:Eye name=top ! queue policy=every:9 ! own.py:Grey ! segment bundle={bundle} ! jsonl path=l.jsonl"
    runner, heard = made(text, place)
    runner.bus.listen(lambda event: runner.stop() if event.kind == "source backoff" else None)
    runner.start()
    assert runner.join(LONG)
    (told,) = [event.message for event in heard if event.kind == "does not fit"]
    assert "it wants grey pictures, and these are bgr" in told


@pytest.mark.parametrize(
    ("element", "options", "size", "fps", "form"),
    [
        ("synthetic", {"size": "64x48", "fps": 7}, (48, 64), 7, "bgr"),
        ("synthetic", {"path": "parts"}, None, 30, None),
        ("synthetic", {"trigger": "outside"}, (480, 640), None, "bgr"),
        ("pattern", {"width": 320, "height": 200, "fps": 12, "format": "GRAY8"}, (200, 320), 12, "grey"),
        ("pattern", {}, (480, 640), 30, "nv12"),
        ("usb", {"width": 320, "height": 200, "fps": 5}, (200, 320), 5, None),
        ("usb", {"width": 320}, None, None, None),
        ("csi", {}, None, None, "nv12"),
        ("aravis", {"format": "Mono8", "width": 320, "height": 200, "fps": 5}, (200, 320), 5, "grey"),
        ("aravis", {"format": "BayerRG8", "trigger": "software", "pace": 4}, None, 4, "bgr"),
        ("aravis", {"format": "RGB8"}, None, None, "bgr"),
        ("rtsp", {"url": "rtsp://10.0.0.7/s"}, None, None, None),
        ("camera", {}, None, None, None),
    ],
)
def test_what_the_options_of_a_camera_say_about_its_stream(element, options, size, fps, form) -> None:
    stream = stated(options_of(element, options, "it"), "top")
    assert (stream.name, stream.live, stream.size, stream.fps, stream.format) == ("top", True, size, fps, form)


def test_the_format_of_pictures_and_of_several_streams() -> None:
    grey, colours = np.zeros((4, 6), np.uint8), np.zeros((4, 6, 4), np.uint8)[..., :3]
    quarter = np.zeros((2, 3), np.uint8)
    nv12, i420 = Yuv("NV12", (grey, np.zeros((2, 3, 2), np.uint8))), Yuv("I420", (grey, quarter, quarter))
    assert [format_of(it) for it in (grey, colours, nv12, i420)] == ["grey", "bgr", "nv12", "i420"]
    one, other = StreamInfo("a", "camera", format="grey"), StreamInfo("b", "camera", format="grey")
    assert common([one, other]).format == "grey"
    assert common([one, StreamInfo("b", "camera", format="bgr")]).format is None
