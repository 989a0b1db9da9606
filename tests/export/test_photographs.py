"""Real photographs in the parity gate: found where packages carry them, and the ones that see what drawings do not."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from lineside import cli
from lineside.export import photographs as finding
from lineside.export.gate_pictures import gate_pictures
from lineside.export.parity import gate
from lineside.export.parity.budget import FP32
from lineside.export.parity.result import Verdict
from lineside.export.parity.verdict import judge
from lineside.export.photographs import COLLECTIONS, Collection, described, photographs
from lineside.export.pictures import Picture, drawn_pictures
from lineside.runtime.geometry import Letterbox
from lineside.runtime.preprocess import Preprocessor

if TYPE_CHECKING:
    from conftest import Stage

VIDEOS = Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi")


def test_those_of_installed_packages_are_found() -> None:
    found = photographs()
    assert [picture.name for picture in found["ultralytics"]] == ["bus.jpg", "zidane.jpg"]
    coins, coffee = found["scikit-image"]
    assert coins.frame.shape == (303, 384) and coins.frame.dtype == np.uint8, "grey as a grey camera gives it"
    assert coffee.frame.shape == (400, 600, 3) and coffee.frame.std() > 20
    assert coffee.frame[..., 2].mean() > coffee.frame[..., 0].mean(), "BGR: coffee is brown"
    again = photographs()
    assert all(np.array_equal(a.frame, b.frame) for key in found for a, b in zip(found[key], again[key], strict=True))


@pytest.mark.skipif(not VIDEOS.is_file(), reason="Debian's opencv-doc, which carries sample videos, is not installed")
def test_frames_of_sample_videos_are_found() -> None:
    street, tree = photographs()["opencv-doc"]
    assert (street.name, street.frame.shape) == ("vtest.avi frame 20", (576, 768, 3))
    assert tree.frame.shape == (240, 320, 3) and tree.frame.std() > 10


def test_what_is_not_there_is_left_out(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "good.png"), np.full((8, 9, 3), 7, np.uint8))
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    (tmp_path / "broken.avi").write_bytes(b"not a video")
    files = ("good.png", "broken.png", "broken.avi", "missing.png", "missing.avi")
    found = photographs([
        Collection("here", None, str(tmp_path), files),
        Collection("nowhere", None, str(tmp_path / "nowhere"), files),
        Collection("no package", "a_package_that_nobody_has", "data", files),
        Collection("no folder", "lineside", "no/such/folder", files),
    ])  # fmt: skip
    assert list(found) == ["here"] and [picture.name for picture in found["here"]] == ["good.png"]
    assert described(8, found) == "8 drawings of the task, 1 photograph (here 1)"
    assert "no photographs" in described(8, {})


def test_a_short_video_gives_its_last_frame(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "short.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for brightness in (0, 100, 200):
        writer.write(np.full((48, 64, 3), brightness, np.uint8))
    writer.release()
    (picture,) = photographs([Collection("here", None, str(tmp_path), ("short.avi",))])["here"]
    assert picture.frame.shape == (48, 64, 3) and abs(float(picture.frame.mean()) - 200) < 5


def test_looking_for_them_imports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    real = builtins.__import__

    def guarded(name: str, *rest: Any, **more: Any) -> Any:
        assert name.split(".")[0] not in {"skimage", "sklearn"}, name
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", guarded)
    assert importlib.util.find_spec("skimage") and "scikit-image" in photographs()


def test_the_gate_of_an_export_looks_at_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", "yolo11n-seg.yaml", "-o", str(tmp_path / "x.bundle"), "--imgsz", "64", "--json"]
    assert cli.main(words) == 0, capsys.readouterr().err
    parity = json.loads(capsys.readouterr().out)["parity"]
    names = [picture["picture"] for picture in parity["pictures"]]
    assert len([name for name in names if name.startswith(("bearing", "tube"))]) == 8
    assert {"bus.jpg", "zidane.jpg", "coins.png", "coffee.png"} <= set(names)
    assert (
        parity["pictures_from"].startswith("8 drawings of the task, ") and "scikit-image 2" in parity["pictures_from"]
    )
    by_name = {picture["picture"]: picture for picture in parity["pictures"]}
    for name in ("bus.jpg", "coins.png"):
        assert by_name[name]["anchors"]["compared"] >= 50
        assert by_name[name]["masks"]["compared"] > 0
    assert by_name["coins.png"]["image_size"] == [303, 384]


def test_the_users_own_pictures_come_alone(tmp_path: Path) -> None:
    for number in range(8):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((20, 30, 3), number, np.uint8))
    chosen = gate_pictures(("a",), tmp_path, 8)
    assert len(chosen.gate) == 8 and chosen.golden == chosen.gate and chosen.described == tmp_path.name


@pytest.fixture(scope="module")
def photos() -> list[Picture]:
    """Small enough for the budget of the tests; their kinds and ratios are as found."""
    found = [picture for pictures in photographs().values() for picture in pictures]
    return [
        replace(picture, frame=np.asarray(cv2.resize(picture.frame, None, fx=0.5, fy=0.5), np.uint8))
        if picture.frame.size > 1_000_000
        else picture
        for picture in found
    ]


class TestOnlyPhotographsShow:
    """Faults of the side that ships which drawings pass, and which the photographs beside them catch."""

    def both(self, stage: Stage, photos: list[Picture]) -> tuple[tuple[Verdict, ...], tuple[Verdict, ...]]:
        """The verdicts on drawings alone, and with photographs."""
        sizes = [(120, 160), (160, 120), (90, 160), (160, 160), (150, 190), (133, 140), (100, 140), (64, 64)]
        report = gate.run_gate(
            stage.shipped, stage.reference, stage.bundle.manifest.head, [*drawn_pictures((), sizes), *photos], FP32,
            described="torch", pictures_from="test",
        )  # fmt: skip
        return judge(report.pictures[: len(sizes)], FP32), report.verdicts

    @pytest.fixture
    def preparing(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
        """Lets a test change what the runtime's letterbox makes of a frame."""
        prepare = Preprocessor.prepare

        def plant(change: Any) -> None:
            def wrong(self: Preprocessor, frame: Any, out: Any) -> Letterbox:
                box = prepare(self, frame, out)
                change(frame, out, box)
                return box

            monkeypatch.setattr(Preprocessor, "prepare", wrong)

        yield plant

    def test_nothing_planted(self, stage: Stage, photos: list[Picture]) -> None:
        drawn, real = self.both(stage, photos)
        assert all(verdict.passed for verdict in (*drawn, *real))

    def test_a_fault_of_grey_frames(self, stage: Stage, photos: list[Picture], preparing: Any) -> None:
        def only_one_channel(frame: Any, out: Any, box: Letterbox) -> None:
            if frame.ndim == 2:
                out[1:] = 0

        preparing(only_one_channel)
        drawn, real = self.both(stage, photos)
        assert all(verdict.passed for verdict in drawn) and not any(verdict.passed for verdict in real)
        assert {verdict.worst_picture for verdict in real} == {"coins.png"}

    def test_a_fault_of_steep_reductions(self, stage: Stage, photos: list[Picture], preparing: Any) -> None:
        def nearest(frame: Any, out: Any, box: Letterbox) -> None:
            if frame.shape[0] > 300 and frame.ndim == 3:  # as if big pictures took another path, without interpolation
                rows, columns = box.content_size
                scaled = cv2.resize(frame, (columns, rows), interpolation=cv2.INTER_NEAREST)
                left, top = box.pad
                out[:, top : top + rows, left : left + columns] = scaled[..., ::-1].transpose(2, 0, 1) / np.float32(255)

        preparing(nearest)
        drawn, real = self.both(stage, photos)
        assert all(verdict.passed for verdict in drawn) and not any(verdict.passed for verdict in real)


def test_every_collection_names_what_its_package_has() -> None:
    """A package that renames its pictures must not quietly take them out of the gate."""
    for collection in COLLECTIONS:
        folder = finding._folder(collection)
        if folder is None or not folder.is_dir():
            continue
        assert [name for name in collection.files if not (folder / name).is_file()] == [], collection.name
