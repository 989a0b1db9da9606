"""The benchmark of the station: it runs, its arithmetic is right, and what it prints is what it measured.

Nothing here looks at how fast anything is. Other programs, in environments of their own, are left to the benchmark itself.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.gst import needs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module", autouse=True)
def benchmarks(repository: Path) -> Iterator[Path]:
    """The benchmarks' folder, importable."""
    folder = repository / "benchmarks"
    before, sys.path[:] = list(sys.path), [str(folder), str(folder / "peers"), *sys.path]
    yield folder
    sys.path[:] = before


def run(repository: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, repository / "benchmarks/station.py", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=1700)


def test_what_needs_no_peer_runs_and_leaves_figures(repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "station.json"
    answer = run(repository, "--quick", "--only", "line,sources,soak,tails", "--frames", "600", "--out", str(out))
    assert answer.returncode == 0, answer.stderr
    parts = json.loads(out.read_text())["parts"]
    assert list(parts) == ["line", "sources", "soak", "tails"]
    (line,) = parts["line"]["bundles"].values()
    assert line["rate"]["loop_fps"] > 0 and line["idle"]["engine"]["count"] > 0
    for span in ("p50", "p99", "max"):
        for idle in (line["idle"], line["idle_watched"]):
            assert 0 < idle["lane"][span] <= idle["engine"][span]
    assert set(parts["sources"]["aggregate"]) == {"1", "2"}
    fourth = parts["sources"]["fourth"]
    assert set(fourth) == {"none", "healthy", "dead", "slow"}
    assert fourth["none"]["kept"] == pytest.approx(1) and fourth["dead"]["own"] == 0
    soak = parts["soak"]
    assert soak["inspected"] == 600 and set(soak["written"].values()) == {600}
    assert soak["steady"]["threads"][1] >= 4 and soak["rss_per_million"]["half"] >= 0
    assert 0 < soak["steady"]["own"][0] < soak["steady"]["rss"][0] and soak["own_per_million"]["half"] >= 0
    assert set(parts["tails"]["circumstances"]) == {"quiet", "busy"}
    for found in parts["tails"]["circumstances"].values():
        assert set(found) == {"off", "priority"} and not found["off"]["refused"]
        assert all(one["ms"]["count"] > 0 for one in found.values())
    shown = line["idle"]["engine"]
    assert f"(n = {shown['count']}) | - | {shown['p99']:.2f} ms" in answer.stdout
    assert "600 frames" in answer.stdout and "not to be quoted" in answer.stdout


def test_an_unknown_part_is_refused(repository: Path) -> None:
    answer = run(repository, "--only", "line,speed")
    assert answer.returncode == 2 and "speed" in answer.stderr


def test_lost_frames_end_the_soak(monkeypatch: pytest.MonkeyPatch) -> None:
    import station_soak

    monkeypatch.setattr(
        station_soak, "LAUNCH", station_soak.LAUNCH.replace("! segment", "! queue policy=latest ! segment")
    )
    with pytest.raises(RuntimeError, match="frames were lost"):
        station_soak.run(3000)


@given(st.integers(3, 60), st.floats(-5, 5), st.integers(0, 2**32 - 1))
def test_a_slope_and_its_interval_are_those_of_least_squares(count: int, rise: float, seed: int) -> None:
    import station_soak

    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(0, 10, count)) + np.arange(count)
    y = rise * x + rng.normal(size=count)
    found, half = station_soak.slope(x.tolist(), y.tolist())
    (expected, level), covariance = np.polyfit(x, y, 1, cov="unscaled")
    error = math.sqrt(covariance[0, 0] * ((y - expected * x - level) ** 2).sum() / (count - 2))
    assert found == pytest.approx(expected, abs=1e-8)
    assert half == pytest.approx(station_soak.student(count - 2) * error, rel=1e-6)


def test_student_and_straight_lines() -> None:
    import station_soak

    table = {1: 12.706, 2: 4.303, 3: 3.182, 5: 2.571, 10: 2.228, 18: 2.101, 30: 2.042, 1000: 1.962}
    for freedom, value in table.items():
        assert station_soak.student(freedom) == pytest.approx(value, rel=0.01 if freedom == 3 else 2e-3)
    assert station_soak.slope([0, 1, 2, 3], [5, 7, 9, 11]) == pytest.approx((2, 0))
    for x in ([0.0, 1.0], [3.0, 3.0, 3.0]):
        with pytest.raises(ValueError, match="no interval|the same x"):
            station_soak.slope(x, x)
    samples = [{"frames": float(k), "rss": float(k % 2)} for k in range(8)]
    assert [it["frames"] for it in station_soak.blocks(samples, 4)] == [0.5, 2.5, 4.5, 6.5]
    assert {it["rss"] for it in station_soak.blocks(samples, 4)} == {0.5}


def test_quantiles_are_samples() -> None:
    from measure import quantile, tail

    samples = [float(k) for k in range(1000, 0, -1)]
    assert [quantile(samples, share) for share in (0, 0.5, 0.99, 0.999, 1)] == [1, 500, 990, 999, 1000]
    assert tail(samples) == {"count": 1000, "p50": 500, "p99": 990, "p999": 999, "max": 1000}
    assert tail([]) == {"count": 0}


def pictures_of(moment: int, width: int = 640, height: int = 480) -> Any:
    """A picture as the camera writes it, without the camera."""
    cell = width // 16
    grey = np.full((height, width), 120, np.uint8)
    for place, bit in enumerate(format(moment, "048b")):
        row, column = divmod(place, 16)
        grey[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell] = 255 if bit == "1" else 0
    return grey


def test_a_picture_tells_when_it_was_taken() -> None:
    import cv2
    from stamps import stamp_of

    for moment in (1, 0xF0F0_1234_5678, time.monotonic_ns() // 1000, 2**48 - 1):
        grey = pictures_of(moment)
        assert stamp_of(grey) == stamp_of(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)) == moment
        there, data = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 60])
        assert there and stamp_of(cv2.imdecode(data, cv2.IMREAD_COLOR)) == moment
    assert stamp_of(np.full((480, 640, 3), 120, np.uint8)) is None, "no cell is dark or bright"
    assert stamp_of(np.zeros((480, 640), np.uint8)) is None, "a black picture is no moment"
    assert stamp_of(np.zeros((10, 640), np.uint8)) is None


@pytest.fixture
def served() -> None:
    """Skips where the benchmark's own camera cannot be served or read."""
    from station_beside import camera

    needs("rtspsrc", "jpegdec")
    try:
        with camera():
            pass
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("served")
def test_a_station_on_the_camera_of_the_benchmark_is_watched_through_a_freeze(repository: Path) -> None:
    from station_beside import OURS, watch

    demo = repository / "demo" / "bearing.bundle"
    found = watch(OURS, Path(sys.executable), demo, seconds=3.0, freeze=2.0, after=120.0)
    assert found["fps"] > 0 and found["repeats"] == 0
    assert 0 < found["age"]["p50"] <= found["age"]["max"]
    freeze = found["freeze"]
    assert freeze["seconds"] >= 2 and freeze["gone"] is None and freeze["fresh_s"] > 0


@pytest.mark.usefixtures("served")
def test_a_program_without_a_result_is_told_with_its_words(tmp_path: Path) -> None:
    from station_beside import OURS, watch

    with pytest.raises(RuntimeError, match=r"it gave no result: .*nothing\.bundle"):
        watch(OURS, Path(sys.executable), tmp_path / "nothing.bundle", seconds=1.0, freeze=1.0, after=1.0)


SECOND = 10**9


def heard_of(results: list[tuple[float, float | None]], words: list[tuple[float, str]] = []) -> Any:  # noqa: B006
    from station_beside import Heard

    return Heard(
        [(round(now * SECOND), None if taken is None else round(taken * SECOND)) for now, taken in results],
        [(round(now * SECOND), line) for now, line in words],
    )


def test_rate_and_age_count_pictures_not_results() -> None:
    from station_beside import steady

    heard = heard_of([(0.5, 0.4), (1.1, 1.0), (1.2, 1.0), (1.5, 1.4), (1.9, None), (2.5, 2.4)])
    found = steady(heard, SECOND, 2 * SECOND)
    assert found["fps"] == pytest.approx(2.0) and found["repeats"] == 1
    assert found["age"]["count"] == 3 and found["age"]["max"] == pytest.approx(200)


def test_a_freeze_told_and_survived() -> None:
    from station_beside import frozen

    results = [(9.9, 9.8), (10.1, 9.9), (15, 9.9), (20.5, 9.95), (21.0, 20.6)]
    heard = heard_of(results, [(1.0, "connected"), (15.5, "camera: STALLED"), (16.0, "again")])
    found = frozen(heard, 10 * SECOND, 20 * SECOND, None)
    assert (found["told"], found["told_s"], found["results"], found["gone"]) == ("camera: STALLED", 5.5, 1, None)
    assert found["fresh_s"] == pytest.approx(1.0) and found["oldest_s"] == pytest.approx(10.55)
    lost = frozen(heard_of(results[:-1]), 10 * SECOND, 20 * SECOND, 1)
    assert (lost["fresh_s"], lost["told_s"], lost["gone"]) == (None, None, 1)
    stale = heard_of([(25.0, 20.5)])
    assert frozen(stale, 10 * SECOND, 20 * SECOND, None)["fresh_s"] is None, "a picture from the backlog is not fresh"


def test_each_claim_about_several_sources_has_a_row_with_its_aim() -> None:
    from station_rows import sources_rows

    figures = {
        "rounds": 7,
        "seconds": 8.0,
        "aggregate": {
            str(count): {"fps": fps, "least": 1 / count, "ratio": fps / 20, "interval": [0.9, fps / 19]}
            for count, fps in ((1, 20.0), (2, 19.8), (4, 19.0), (8, 18.8))
        },
        "fourth": {
            kind: {"fps": fps, "own": own, "p99_ms": 90.0, "ratio": fps / 20, "kept": (fps + own) / 20, "interval": [0, 1]}
            for kind, fps, own in (
                ("none", 20.0, 0.0), ("healthy", 15.0, 5.0), ("dead", 19.3, 0.0), ("slow", 19.1, 0.5)
            )
        },
    }  # fmt: skip
    told = {row.what.split(" (n")[0]: (row.goal, row.reached) for row in sources_rows(figures)}
    assert told == {
        "2 sources together, one engine": (">= 0.95", True),
        "4 sources together, one engine": (">= 0.95", True),
        "8 sources together, one engine": (">= 0.95", False),
        "three cameras beside a healthy one": ("", None),
        "three cameras beside a dead one": (">= 0.97 with its own", False),
        "three cameras beside a slow one": (">= 0.97 with its own", True),
    }


def test_a_median_is_told_with_what_chance_leaves_open() -> None:
    from measure import median_interval

    assert median_interval([float(value) for value in range(25, 0, -1)]) == (8.0, 18.0)  # 95.7 % of all coin throws
    assert median_interval([3.0, 1.0, 2.0, 4.0, 5.0]) == (1.0, 5.0)
    assert median_interval([3.0, 1.0, 2.0, 4.0, 5.0, 6.0]) == (1.0, 6.0)  # 96.9 %
    assert median_interval([2.0]) == (2.0, 2.0)


def test_parts_that_are_not_measured_again_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import station

    out = tmp_path / "station.json"
    out.write_text(json.dumps({"parts": {"soak": {"kept": 1}, "sources": {"old": 1}}}))
    monkeypatch.setattr(station, "quietest", lambda part, call, tries: {"new": call})
    monkeypatch.setattr(station, "table", lambda results, of: str(list(results["parts"])))
    station.main(["--only", "sources", "--keep", "--quick", "--out", str(out)])
    parts = json.loads(out.read_text())["parts"]
    assert list(parts) == ["soak", "sources"]
    assert parts["soak"] == {"kept": 1} and "station_sources" in parts["sources"]["new"]


def test_the_table_says_who_is_missing_and_what_was_refused() -> None:
    from report import table
    from station_rows import ROWS

    ms = {"count": 50, "p50": 20.0, "p99": 30.0, "p999": 40.0, "max": 50.0}
    freeze = {
        "seconds": 10.0,
        "results": 3,
        "oldest_s": 9.0,
        "told_s": 5.1,
        "told": "STALLED",
        "fresh_s": None,
        "gone": None,
    }
    run = {"fps": 17.0, "repeats": 0, "age": ms, "freeze": freeze}
    figures: dict[str, Any] = {
        "tails": {
            "circumstances": {
                "quiet": {
                    "off": {"ms": ms, "p99_ratio": 1.0, "refused": []},
                    "priority": {"ms": ms, "p99_ratio": 1.0, "refused": ["the system does not allow it"]},
                    "memory": {"ms": ms, "p99_ratio": 0.9, "refused": []},
                }
            }
        },
        "beside": {
            "programs": {"lineside": {"fps": 17.0, "age_ms": ms, "count": 50, "rounds": [run]}},
            "missing": {"Roboflow InferencePipeline": "no wheel"},
        },
    }
    results = {
        "date": "2026-01-01",
        "quick": False,
        "machine": {"cpu": "x", "cores": 2, "python": "3.11"},
        "parts": figures,
    }
    text = table(results, of=ROWS)
    assert "no Roboflow InferencePipeline here (no wheel)" in text
    assert "the system does not allow it" in text and "0.90 of its p99" in text and "(n = 50)" in text
    assert "said so after 5.1 s; no fresh picture any more; 3 results of old pictures meanwhile" in text
