"""The peers' processes: what they find is what we find, and their clocks tick; how fast anything is is not looked at.

Peers whose environments are not there are skipped: ``python benchmarks/peers/environments.py`` makes them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.timeout(600)

PEERS = {
    "numpy + cv2": ("numpy + cv2", 0.9999),
    "onnx-predictor-yolo": ("onnx-predictor-yolo", 0.998),
    "edgefirst": ("edgefirst", 0.95),
    "ultralytics": ("ultralytics process_mask_native", 0.9999),
}
"""For each worker one way, and the mean IoU of its masks with ours on the benchmark's scene."""


@pytest.fixture(scope="module")
def benchmarks(repository: Path) -> Iterator[Path]:
    """The benchmarks' folder, importable; nothing is installed meanwhile."""
    folder = repository / "benchmarks"
    before, sys.path[:] = list(sys.path), [str(folder), *sys.path]
    os.environ["LINESIDE_BENCHMARK_READY"] = "1"
    yield folder
    del os.environ["LINESIDE_BENCHMARK_READY"]
    sys.path[:] = before


@pytest.mark.parametrize("kind", ["flat", "levels"])
@pytest.mark.parametrize("peer", PEERS)
def test_a_peer_finds_what_we_find(benchmarks: Path, tmp_path: Path, peer: str, kind: str) -> None:
    import postprocess
    import scenes
    from peers.client import workers

    way, least = PEERS[peer]
    path = scenes.write(tmp_path / "scene.npz", kind, 5)
    with workers(["lineside", peer]) as (asked, missing):
        if missing:
            pytest.skip(f"{peer} is {missing[peer]}")
        assert "lineside" in asked["lineside"].open(path)
        assert way in asked[peer].open(path)
        mine = asked["lineside"].save("lineside", tmp_path / "mine.npz")
        theirs = asked[peer].save(way, tmp_path / "theirs.npz")
        turn = asked[peer].time(way)
    assert len(mine["boxes"]) == len(theirs["boxes"]) == 5
    assert np.abs(np.sort(mine["boxes"], 0) - np.sort(theirs["boxes"], 0)).max() < 0.01
    assert np.mean(postprocess.overlaps(mine, theirs, scenes.IMAGE)) > least
    assert turn["calls"] >= 1 and turn["ms"] > 0


def test_masks_of_a_trained_model_are_those_of_ultralytics(benchmarks: Path) -> None:
    import agreement

    figures = agreement.measure(sizes=[(640, 640)], frames=0)
    if figures["missing"]:
        pytest.skip(f"ultralytics is {figures['missing']['ultralytics']}")
    for found in figures["bundles"].values():
        one = found["640x640"]
        assert one["whole_cells"]
        assert one["compared"] == one["objects"] == one["objects_theirs"] > 0
        assert one["mean_iou"] >= agreement.EQUAL


def test_a_worker_says_what_went_wrong(benchmarks: Path, tmp_path: Path) -> None:
    from peers.client import Failed, workers

    with workers(["lineside"]) as (asked, _), pytest.raises(Failed, match="FileNotFoundError"):
        asked["lineside"].open(tmp_path / "nothing.npz")


def test_what_starts_says_its_result_and_its_memory(benchmarks: Path, repository: Path, tmp_path: Path) -> None:
    import start

    np.save(tmp_path / "frame.npy", np.full((480, 640, 3), 90, np.uint8))
    words = [str(tmp_path / "frame.npy"), str(repository / "demo/tube.bundle")]
    told = start.launch(Path(sys.executable), "first_lineside.py", words, {"LINESIDE_CACHE": str(tmp_path / "cache")})
    assert told["found"] >= 0 and told["seconds"] > 0
    assert 40 < told["peak_mb"] < 1000
    with pytest.raises(RuntimeError, match=r"(?s)no result.*nothing\.npy"):
        start.launch(Path(sys.executable), "first_lineside.py", [str(tmp_path / "nothing.npy"), words[1]], {})


def test_sizes_are_those_of_the_files(benchmarks: Path) -> None:
    import size

    mb: dict[str, Any] = size.ask(Path(sys.executable), size.COUNT)
    assert mb["numpy"] > 20e6 and "pip" not in mb
    loaded = size.ask(Path(sys.executable), size.NEEDED, str(benchmarks.parent / "demo/tube.bundle"))
    assert {"numpy", "onnxruntime", "msgspec"} <= set(loaded)
    assert not {"torch", "ultralytics-opencv-headless", "opencv-python-headless"} & set(loaded)


def test_a_slow_candidate_sits_out_but_takes_part(benchmarks: Path) -> None:
    from measure import LEAST, take_turns

    calls = {"quick": 0, "slow": 0}

    def measured(name: str) -> float:
        calls[name] += 1
        return 4.0 if name == "slow" else 2.0

    turns = take_turns({"quick": lambda: measured("quick"), "slow": lambda: measured("slow")}, rounds=50, share=1e-6)
    assert turns.times()["slow"].count >= LEAST
    assert turns.times()["slow"].median == 4.0
    assert turns.gain("slow", "quick") == 2.0


def test_the_table_says_what_was_reached_and_what_was_not(benchmarks: Path) -> None:
    from report import table

    results = {
        "date": "2026-01-01",
        "quick": False,
        "machine": {"cpu": "x", "cores": 2, "python": "3.11"},
        "parts": {
            "graph": {
                "threads=1": {
                    "ms": {"ultralytics ONNX as exported": {"median": 10.0}, "lineside, tail cut off": {"median": 9.0}},
                    "ratio": 0.9,
                    "foreign_cpu": 0.2,
                },
                "tries": [0.4, 0.2],
            },
            "size": {"environments": {"runtime": {"mb": 161.0}}, "missing": {"ultralytics": "no network"}},
        },
    }
    text = table(results)
    assert "| inference, threads 1 |" in text and "| <= 0.92 | yes |" in text
    assert "| 161 MB |" in text and "| <= 160 MB | **no** |" in text
    assert "NOISY" in text and "graph 20%" in text and "the quietest of 2" in text
    assert "no ultralytics here (no network)" in text


def test_environments_are_not_made_where_nothing_may_be_installed(benchmarks: Path, tmp_path: Path) -> None:
    script = "from peers import environments as e; e.HOME = e.Path({!r}); print(e.attempt('opencv'))"
    answer = subprocess.run(
        [sys.executable, "-c", script.format(str(tmp_path))], cwd=benchmarks, capture_output=True, text=True, check=True
    )
    assert "not installed" in answer.stdout and not list(tmp_path.iterdir())


def test_a_scene_is_read_as_it_was_written(benchmarks: Path, tmp_path: Path) -> None:
    import scenes
    from peers.serve import load

    path = scenes.write(tmp_path / "scene.npz", "levels", 5)
    scene = load(str(path))
    assert (scene.classes, scene.coefficients, len(scene.levels)) == (80, 32, 9)
    assert scene.image == scenes.IMAGE and scene.pad == (0, scenes.PAD_TOP)
