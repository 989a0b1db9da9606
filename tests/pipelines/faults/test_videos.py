"""A station reads videos that are cut off, change their size on the way, or have no frame, beside a camera that works."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.gst import encoded, needs
from helpers.station_process import Running, asked, healthy


@pytest.fixture(autouse=True)
def installed() -> None:
    needs("decodebin", "qtdemux", "avdec_mpeg4", "avdec_h264", "h264parse")


@pytest.mark.slow
def test_damaged_videos_are_told_and_the_rest_goes_on(bundle: Path, tmp_path: Path) -> None:
    cut = encoded(tmp_path / "cut.mp4", seconds=2)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 6 // 10])
    sizes = ("160x120", "322x242")
    parts = [encoded(tmp_path / f"{size}.h264", size=size, seconds=0.4, codec="libx264") for size in sizes]
    (tmp_path / "both.h264").write_bytes(b"".join(part.read_bytes() for part in parts))
    sources = {
        "cut": {"gst": {"location": "cut.mp4"}},
        "again": {"file": {"path": "cut.mp4"}},
        "sizes": {"gst": {"location": "both.h264"}},
        "side": healthy(tmp_path, count=40),
    }
    with Running(tmp_path, bundle, sources, lossless=sources) as station:
        ended = station.wait()  # All of them have an end.
    ended.lawful()
    ended.all_of("side")
    assert ended.code == 1 and not ended.report["stopped"] and set(ended.report["states"].values()) == {"ENDED"}
    for name, says in (("cut", "ends after"), ("again", "frames")):
        counts = ended.counts(name)
        assert counts["failed"] == 1 and 5 < counts["inspected"] == counts["entered"] - 1 < 50, (name, counts)
        (failed,) = [message for message in ended.report["problems"] if says in message and "cut.mp4" in message][:1]
        assert failed in ended.errors
        query = "SELECT message FROM events WHERE element = ? AND kind = 'frame failed'"
        assert [message for (message,) in asked(tmp_path / "base.sqlite", query, name)], name
    assert ended.counts("sizes")["inspected"] == 20 and ended.counts("side")["inspected"] == 40
    query = "SELECT width, height, count(*) FROM frames WHERE source = 'sizes' GROUP BY width, height ORDER BY width"
    assert asked(tmp_path / "base.sqlite", query) == [(160, 120, 10), (322, 242, 10)]


@pytest.mark.parametrize("element", [{"gst": {"location": "none.mp4"}}, {"file": {"path": "none.mp4"}}])
def test_a_video_without_a_frame_is_refused_in_a_sentence(
    bundle: Path, tmp_path: Path, element: dict[str, dict[str, object]]
) -> None:
    encoded(tmp_path / "none.mp4", options=("-frames:v", "0"))
    assert (tmp_path / "none.mp4").stat().st_size > 100
    with Running(tmp_path, bundle, {"none": element, "side": healthy(tmp_path)}) as station:
        ended = station.wait()
    assert ended.code == 2 and not ended.report
    assert ended.errors.startswith("error: ") and "none.mp4" in ended.errors and ended.errors.count("\n") <= 3
