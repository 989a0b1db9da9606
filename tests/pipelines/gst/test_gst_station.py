"""Pictures from GStreamer through the whole station: luma and chroma into the model, BGR into the files, all counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers.gst import encoded, needs
from lineside.pipelines.sources.video import Video

Launch = Callable[..., tuple[int, dict[str, int], str]]


@pytest.fixture
def launch(cli: Callable[..., object], tmp_path: Path) -> Launch:
    """Runs ``lineside launch``: exit code, counts of the only look, standard error."""

    def run(graph: str) -> tuple[int, dict[str, int], str]:
        needs("videotestsrc", "decodebin", "qtdemux", "avdec_mpeg4")
        done = cli("launch", graph, "--json", cwd=tmp_path)
        assert "Traceback" not in done.stderr, done.stderr  # type: ignore[attr-defined]
        counts = json.loads(done.stdout)["branches"][0]["counts"] if done.stdout else {}  # type: ignore[attr-defined]
        return done.returncode, counts, done.stderr  # type: ignore[attr-defined]

    return run


def test_a_pattern_that_ends(launch: Launch, bundle: Path, tmp_path: Path) -> None:
    code, counts, _ = launch(
        f"pattern frames=8 live=false kind=ball width=161 height=97 format=I420 ! segment bundle={bundle} "
        "! tee name=t t. ! jsonl path=out.jsonl t. ! images path=shots"
    )
    assert (code, counts["entered"], counts["inspected"], counts["in_flight"]) == (0, 8, 8, 0)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(lines) == 8
    shots = sorted(tmp_path.glob("shots/**/*.jpg")) + sorted(tmp_path.glob("shots/**/*.png"))
    assert [cv2.imread(str(shot)).shape for shot in shots] == [(97, 161, 3)] * 8


def test_a_file_that_was_cut_off(launch: Launch, bundle: Path, tmp_path: Path) -> None:
    path = encoded(tmp_path / "film.mp4", seconds=2)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    code, counts, errors = launch(f"gst location=film.mp4 ! segment bundle={bundle} ! jsonl path=out.jsonl")
    assert code == 1 and "ends after" in errors
    assert counts["failed"] == 1 and 5 < counts["inspected"] == counts["entered"] - 1


def test_pictures_as_through_opencv(tmp_path: Path) -> None:
    """The same file by two ways: the same pictures, but for the way that chroma is brought to the size of luma."""
    from helpers.gst import everything
    from lineside.pipelines.gst.recipes import file

    needs("decodebin", "qtdemux", "avdec_mpeg4")
    path = encoded(tmp_path / "film.mp4", size="160x120")
    other = Video(path)
    other.open()
    theirs = [frame.bgr().copy() for frame in other.frames()]
    other.close()
    ours = [frame.bgr() for frame in everything(file(str(path)))]
    assert len(ours) == len(theirs) == 25
    for one, two in zip(ours, theirs, strict=True):
        apart = np.abs(one.astype(int) - two)
        assert np.median(apart) <= 2 and apart.mean() < 6
