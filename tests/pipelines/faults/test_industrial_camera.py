"""A station with simulated GigE Vision cameras: held by another program, losing packets, dead, back again; two of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.industrial import HERE, alone, device, holder, other_address
from helpers.station_process import KEEPING, SINKS, Running, healthy

pytestmark = pytest.mark.slow

SMALL = {"width": 64, "height": 48, "fps": 25, "format": "Mono8"}

OWN = '''
import json


class Whole:
    """Notes of every frame that was inspected whether all of its picture arrived: the simulator's runs in diagonals."""

    def __init__(self, path: str) -> None:
        self.file = open(path, "w", buffering=1)

    def write(self, frame) -> None:
        picture = frame.bgr()
        picture = picture if picture.ndim == 2 else picture[..., 0]
        whole = bool((picture[1:, :-1] == picture[:-1, 1:]).all())
        self.file.write(json.dumps([frame.source, whole, frame.damage]) + "\\n")

    def close(self) -> None:
        self.file.close()
'''


@pytest.fixture(autouse=True)
def only_one() -> Iterator[None]:
    with alone():
        yield


def camera(address: str = HERE, **more: object) -> dict[str, dict[str, object]]:
    return {"aravis": {"id": address, **SMALL, **more}}


def test_a_camera_is_held_loses_packets_dies_and_comes_back(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    sinks = {**SINKS, "whole": {"own.py:Whole": {"path": str(tmp_path / "whole.txt")}}}
    sources = {"top": camera(), "side": healthy(tmp_path)}
    with device() as gige, holder() as other, Running(tmp_path, bundle, sources, sinks=sinks, patient=True) as station:
        mark = station.hear("top", "source backoff", "held by another program").number
        station.more_from("side")
        other.kill()  # Its lease ends by itself.
        station.hear("top", "source running", after=mark)
        station.more_from("top", 5)

        gige.lose(0.3)
        mark = station.hear("top", "loss storm", "packets").number
        station.more_from("side")
        gige.lose(0.0)
        mark = station.hear("top", "loss storm over", after=mark).number
        station.more_from("top", 10)

        gige.die()
        mark = station.hear("top", "source backoff", after=mark).number
        station.more_from("side")
        with device():
            station.hear("top", "source running", after=mark)
            station.more_from("top", 5)
            ended = station.end()

    ended.lawful()
    ended.all_of("side")
    counts = ended.counts("top")
    assert counts["incomplete"] >= 5, counts
    assert ended.moves("top")[-2:] == ["RUNNING", "ENDED"] and ended.moves("side") == ["CONNECTING", "RUNNING", "ENDED"]
    looked = [json.loads(line) for line in (tmp_path / "whole.txt").read_text().splitlines()]
    mine = [(whole, damage) for source, whole, damage in looked if source == "top"]
    assert len(mine) == counts["inspected"] and set(mine) == {(True, None)}, "a picture with holes was inspected"


def test_of_two_cameras_one_dies_and_comes_back(bundle: Path, tmp_path: Path) -> None:
    far = other_address()
    sources = {"near": camera(), "far": camera(far, receive="plain")}
    sinks = {"base": SINKS["base"], "lines": {"jsonl": {"path": "lines.jsonl", **KEEPING}}}
    with (
        device(),
        device(far, "GV02") as second,
        Running(tmp_path, bundle, sources, sinks=sinks, lossless=("near",), patient=True) as station,
    ):
        station.more_from("near", 3)
        station.more_from("far", 3)
        second.die()
        mark = station.hear("far", "source backoff").number
        station.more_from("near")
        with device(far, "GV02"):
            station.hear("far", "source running", after=mark)
            station.more_from("far", 3)
            station.more_from("near")
            ended = station.end()
    ended.lawful()
    assert ended.moves("near") == ["CONNECTING", "RUNNING", "ENDED"]
    counts = ended.counts("near")
    # A busy machine may lose packets that it sends to itself; whatever arrived was inspected, and is in the files.
    assert counts["inspected"] == counts["entered"] - counts["incomplete"] - counts["never_inspected"] >= 23, counts
    assert not counts["failed"] and not any(counts["dropped"].values()) and counts["late"] == 0, counts
    assert counts["incomplete"] + counts["never_inspected"] <= counts["inspected"] // 10, counts
    assert all(
        it["written"] >= counts["inspected"] and not it["dropped"] + it["failed"] for it in counts["sinks"].values()
    )
    assert ended.moves("far")[-2:] == ["RUNNING", "ENDED"]
