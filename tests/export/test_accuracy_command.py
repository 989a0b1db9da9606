"""``lineside verify --data`` at its door: figures, refusals, and what it needs and leaves."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from helpers.tiny_bundle import tiny_bundle
from lineside import cli
from lineside.export.accuracy.frames import read_frames
from lineside.export.accuracy.measure import AccuracyOptions, compare, measure, picked
from lineside.export.accuracy.through_bundle import through_bundle
from lineside.export.accuracy.truth import label_truth
from lineside.export.datasets import check_dataset
from lineside.export.synth.dataset import write_dataset
from lineside.export.ultra import load_model
from lineside.runtime.loading import load
from lineside.runtime.verify import VerifyReport

ROOT = Path(__file__).resolve().parents[2]
PICTURES = 14
BLOCKED = """
import sys
for name in ("torch", "torchvision", "onnx", "ultralytics", {also!r}):
    sys.modules[name] = None
from lineside import cli
sys.exit(cli.main(sys.argv[1:]))
"""


def write_set(folder: Path, boxes: bool) -> Path:
    """A bright block of 8x8 px on black; outlines, or boxes of three times the side; some pictures without."""
    rng = np.random.default_rng(2)
    for kind in ("images", "labels"):
        (folder / kind / "val").mkdir(parents=True)
    for index in range(PICTURES):
        table = np.zeros((64, 64), np.uint8)
        lines = ""
        if index % 5:
            x, y = (int(value) * 8 for value in rng.integers(1, 7, 2))
            table[y : y + 8, x : x + 8] = 255
            corners = [(x, y), (x + 8, y), (x + 8, y + 8), (x, y + 8)]
            if boxes:
                lines = f"0 {(x + 4) / 64} {(y + 4) / 64} 0.375 0.375\n"
            else:
                lines = "0 " + " ".join(f"{px / 64} {py / 64}" for px, py in corners) + "\n"
        picture = table if index % 3 else cv2.merge([table] * 3)
        cv2.imwrite(
            str(folder / f"images/val/{index:02d}.png"), picture.astype(np.uint16) * 257 if index == 4 else picture
        )
        (folder / f"labels/val/{index:02d}.txt").write_text(lines)
    (folder / "data.yaml").write_text("val: images/val\nnames: [part0]\n")
    return folder / "data.yaml"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("outlines"), boxes=False)


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("boxes"), boxes=True)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("tiny") / "tiny.bundle", classes=1, batch=3)


def answer(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    """The JSON of a command that must succeed."""
    assert cli.main(["verify", *map(str, words), "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    return result


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line of a command that must exit with 2 and print no result."""
    assert cli.main(["verify", *map(str, words)]) == 2
    printed = capsys.readouterr()
    assert not printed.out
    assert "Traceback" not in printed.err
    return printed.err


class TestFigures:
    def test_blocks_that_a_simple_model_finds(self, tiny: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
        result = answer(capsys, tiny, "--data", data)
        assert result["passed"] is True
        # A program finds the same keys whether there was something to replay or not.
        assert set(result) == {*VerifyReport.__struct_fields__, "accuracy"}
        assert (result["engine"], result["tolerance"], result["golden"]) == (None, None, [])
        it = result["accuracy"]
        assert (it["pictures"], it["empty"], it["objects"], it["unseen"]) == (PICTURES, 3, PICTURES - 3, 0)
        assert it["figures"]["mask"]["map50"] > 0.9
        assert 0 < it["figures"]["mask"]["map50_95"] <= 1
        assert it["figures"]["box"]["map50"] == 0.0  # its boxes reach a cell too far on each side
        assert it["figures"]["mask"]["found"] == PICTURES - 3
        assert it["figures"]["mask"]["boundary_f"]["1"] > 0.9
        assert [size["objects"] for size in it["figures"]["mask"]["sizes"]] == [PICTURES - 3, 0, 0]
        assert it["figures"]["mask"]["sizes"][2]["map50"] is None
        assert (it["torch"], it["validation"], it["differences"], it["same_weights"]) == (None, None, {}, None)

    def test_boxes_of_a_detection_model(self, boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        detector = tiny_bundle(tmp_path / "detector.bundle", classes=1, coefficients=0)
        it = answer(capsys, detector, "--data", boxes)["accuracy"]
        assert list(it["figures"]) == ["box"]
        assert it["objects"] == PICTURES - 3
        assert it["figures"]["box"]["map50"] > 0.5

    def test_outlines_serve_a_detection_model_as_boxes(
        self, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        detector = tiny_bundle(tmp_path / "detector.bundle", classes=1, coefficients=0)
        assert answer(capsys, detector, "--data", data)["accuracy"]["objects"] == PICTURES - 3

    def test_its_figures_are_those_of_its_parts(self, tiny: Path, data: Path) -> None:
        """The report says of the pictures what the judge says of what the runtime saw in them."""
        report = measure(tiny, data, options=AccuracyOptions(limit=5, sizes=(5.0,)))
        pictures = picked(check_dataset(data, splits=("val",)).pictures["val"], 5)
        with load(tiny) as model:
            found = list(through_bundle(model, read_frames(pictures)))
        truth = label_truth(pictures, [(64, 64)] * 5, 1, True)
        want = compare(truth, found, [0], ["part0"], (5.0,))
        assert report.pictures == 5
        assert report.figures["mask"].map50_95 == want["mask"].figures.map50_95
        assert [(size.low, size.high) for size in report.figures["mask"].sizes] == [(0, 5), (5, None)]

    def test_half_a_pixel_is_seen(self, tiny: Path, data: Path) -> None:
        """Pictures moved by half a pixel before the model sees them lower what is said of the outlines."""
        pictures = check_dataset(data, splits=("val",)).pictures["val"]
        truth = label_truth(pictures, [(64, 64)] * PICTURES, 1, True)
        figures = []
        with load(tiny) as model:
            for shift in (0.0, 0.5, 1.5):
                moved = (
                    cv2.warpAffine(frame, np.array([[1, 0, shift], [0, 1, 0]]), (64, 64))
                    for frame in read_frames(pictures)
                )
                scores = compare(truth, list(through_bundle(model, moved)), [0], ["part0"])["mask"]
                figures.append((scores.figures.map50_95, scores.figures.boundary_f["1"]))
        assert (np.diff(figures, axis=0) < 0).all(), figures

    def test_classes_in_another_order(self, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
        bundle = tiny_bundle(tmp_path / "two.bundle", classes=2)
        other = Path(shutil.copytree(data.parent, tmp_path / "set"))
        for label in (other / "labels/val").iterdir():
            label.write_text(label.read_text().replace("0 ", "1 ", 1))
        (other / "data.yaml").write_text("val: images/val\nnames: [part1, part0]\n")
        first = answer(capsys, bundle, "--data", data)["accuracy"]["figures"]["mask"]
        second = answer(capsys, bundle, "--data", other / "data.yaml")["accuracy"]["figures"]["mask"]
        assert first["map50"] == second["map50"] > 0.5

    def test_pictures_without_any_object(self, tiny: Path, data: Path, tmp_path: Path) -> None:
        other = Path(shutil.copytree(data.parent, tmp_path / "set"))
        shutil.rmtree(other / "labels")
        report = measure(tiny, other / "data.yaml")
        assert report.passed
        assert "no object" in report.reason
        assert math.isnan(report.figures["mask"].map50)

    def test_a_table_in_words(self, tiny: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["verify", str(tiny), "--data", str(data), "--sizes", "4,12"]) == 0
        printed = capsys.readouterr().out
        for words in (
            "no golden files in this bundle", "14 pictures", "11 objects", "box mAP50", "mask mAP50-95", "< 4 px (0 objects)",
            "4-12 px (11 objects)", "> 12 px (0 objects)", "boundary F 1 px", "3 pictures hold no object", "no verdict",
        ):  # fmt: skip
            assert words in printed, words


class TestNeedsAndLeaves:
    def test_a_demo_bundle_without_torch(self, tmp_path: Path) -> None:
        """Golden files first, then accuracy, in a process that cannot import torch; the set and the bundle stay as they are."""
        data = write_dataset("tube", tmp_path / "set", 1, 12, 160, seed=5)
        before = sorted(tmp_path.rglob("*"))
        words = ["verify", str(ROOT / "demo/tube.bundle"), "--data", str(data), "--report", str(tmp_path / "r.json")]
        done = subprocess.run(
            [sys.executable, "-c", BLOCKED.format(also="onnxscript"), *words, "--json"],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert len(result["golden"]) == 3
        assert result["accuracy"]["figures"]["mask"]["map50"] > 0.8
        assert json.loads((tmp_path / "r.json").read_text()) == result["accuracy"]
        assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "r.json"])

    @pytest.mark.parametrize(("package", "says"), [("pycocotools", "pip install pycocotools"), ("cv2", "station")])
    def test_a_missing_package(self, package: str, says: str, tiny: Path, data: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-c", BLOCKED.format(also=package), "verify", str(tiny), "--data", str(data)],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert says in done.stderr
        assert "Traceback" not in done.stderr

    def test_weights_need_torch(self, tiny: Path, data: Path) -> None:
        words = ["verify", str(tiny), "--data", str(data), "--weights", "best.pt"]
        done = subprocess.run(
            [sys.executable, "-c", BLOCKED.format(also="onnx"), *words],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert "torch" in done.stderr
        assert "Traceback" not in done.stderr


class TestRefused:
    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("weights", 3), ("root", 3), ("limit", 3), ("report", 3), ("split", "val"), ("bootstrap", 1000),
            ("seed", 0), ("margin", 0.1), ("sizes", "1,2"), ("modules", "blocks.py"),
        ],
    )  # fmt: skip
    def test_an_option_of_accuracy_without_data(
        self, option: str, value: object, tiny: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Also where it says what holds anyway: nothing that a user asks for is passed over."""
        assert f"--{option} belongs to a measurement" in refused(capsys, tiny, f"--{option}", value)

    @pytest.mark.parametrize("words", [["--safe"], ["--modules", "blocks.py"]])
    def test_an_option_of_weights_without_them(
        self, words: list[str], tiny: Path, data: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert "give --data too" in refused(capsys, tiny, *words)
        assert "give --weights too" in refused(capsys, tiny, "--data", data, *words)

    @pytest.mark.parametrize(
        ("option", "value", "says"),
        [
            ("limit", 0, "--limit is at least 1"),
            ("bootstrap", 10, "--bootstrap is at least 100"),
            ("seed", -1, "--seed is not negative"),
            ("margin", 1.5, "--margin is a difference"),
            ("margin", "nan", "--margin is a difference"),
            ("sizes", "96,32", "--sizes are ascending"),
            ("sizes", "small", "--sizes small: give numbers"),
            ("sizes", "nan", "--sizes are ascending"),
            ("split", "exam", "exam"),
        ],
    )
    def test_an_option_out_of_range(
        self, option: str, value: object, says: str, tiny: Path, data: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert says in refused(capsys, tiny, "--data", data, f"--{option}", value)

    def test_a_report_where_it_must_not_be(self, tiny: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for out in (tiny / "reports.json", tiny.parent / "none" / "r.json", tiny.parent):
            assert f"--report {out}" in refused(capsys, tiny, "--data", data, "--report", out)

    def test_a_broken_label(self, tiny: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        other = Path(shutil.copytree(data.parent, tmp_path / "set"))
        (other / "labels/val/01.txt").write_text("0 0.1 0.1 0.9\n")
        said = refused(capsys, tiny, "--data", other / "data.yaml")
        assert "nothing was measured" in said
        assert "01.txt:1" in said

    def test_boxes_do_not_do_for_masks(self, tiny: Path, boxes: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "an outline of 3 or more points is needed" in refused(capsys, tiny, "--data", boxes)

    def test_a_box_without_an_area(self, boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        other = Path(shutil.copytree(boxes.parent, tmp_path / "set"))
        (other / "labels/val/01.txt").write_text("0 0.5 0.5 0 0.2\n")
        detector = tiny_bundle(tmp_path / "detector.bundle", classes=1, coefficients=0)
        assert "a box with no area" in refused(capsys, detector, "--data", other / "data.yaml")

    def test_other_classes(self, tiny: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        other = Path(shutil.copytree(data.parent, tmp_path / "set"))
        (other / "data.yaml").write_text("val: images/val\nnames: [crack]\n")
        assert "class 'crack' and the model has 'part0'" in refused(capsys, tiny, "--data", other / "data.yaml")

    @pytest.mark.parametrize(("split", "says"), [("train", "names no 'train'"), ("test", "names no 'test'")])
    def test_a_split_that_is_not_there(
        self, split: str, says: str, tiny: Path, data: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert says in refused(capsys, tiny, "--data", data, "--split", split)

    def test_a_set_that_is_not_there(self, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "no data set file" in refused(capsys, tiny, "--data", "nowhere.yaml")

    def test_weights_of_another_kind(self, tiny: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
        said = refused(capsys, tiny, "--data", data, "--weights", "yolo11n-seg.yaml")
        assert "80 classes" in said
        assert "give the weights that the bundle was exported from" in said

    def test_weights_with_the_classes_in_another_order(
        self, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        model = load_model("yolo11n-seg.yaml")
        model.model[-1].nc = 2
        model.names = {0: "part1", 1: "part0"}
        torch.save({"model": model}, tmp_path / "best.pt")
        bundle = tiny_bundle(tmp_path / "two.bundle", classes=2)
        assert cli.main(["verify", str(bundle), "--data", str(data), "--weights", str(tmp_path / "best.pt")]) == 2
        assert "has the class 'part1' where the bundle has 'part0'" in capsys.readouterr().err

    def test_weights_that_are_none(self, tiny: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "no weights file" in refused(capsys, tiny, "--data", data, "--weights", "gone.pt")


def test_pictures_are_picked_evenly() -> None:
    paths = [Path(str(i)) for i in range(10)]
    assert picked(paths, None) == picked(paths, 10) == picked(paths, 99) == tuple(paths)
    assert [path.name for path in picked(paths, 4)] == ["0", "2", "5", "7"]
