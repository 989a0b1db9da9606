"""Every form that `lineside export` writes passes the parity gate, and the bundle says and does what its form means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import lineside
from lineside import cli
from lineside.export.pictures import drawn_pictures
from lineside.export.settle import settle
from lineside.export.ultra import load_model
from lineside.runtime.bundle import open_bundle


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of five drawings, of different sizes."""
    folder = tmp_path_factory.mktemp("pictures")
    for index, picture in enumerate(drawn_pictures((), [(96, 128), (128, 96), (96, 96), (71, 130), (200, 150)])):
        cv2.imwrite(str(folder / f"{index}.png"), picture.frame)
    return folder


def export(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, Any]:
    """What `lineside export --json` prints; the bundle must have passed its gate."""
    code = cli.main(["export", *map(str, words), "--json"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    answer: dict[str, Any] = json.loads(printed.out)
    assert answer["parity"]["passed"] is True and len(answer["parity"]["pictures"]) >= 8
    return answer


def answer_of(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, Any]:
    """What a command prints with `--json`; it must succeed."""
    code = cli.main([*map(str, words), "--json"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    answer: dict[str, Any] = json.loads(printed.out)
    return answer


def least_cosine(answer: dict[str, Any]) -> float:
    """Of all outputs on all pictures."""
    return min(measure["cosine"] for picture in answer["parity"]["pictures"] for measure in picture["raw"])


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a detection checkpoint, 96x96."""
    folder = tmp_path_factory.mktemp("detection")
    model = load_model("yolo11n.yaml", seed=4)
    settle(model, drawn_pictures(()))
    torch.save({"model": model, "train_args": {"imgsz": 96, "task": "detect"}}, folder / "detector.pt")
    assert cli.main(["export", str(folder / "detector.pt"), "-o", str(folder / "detector.bundle")]) == 0
    return folder / "detector.bundle"


class TestDetection:
    def test_the_gate_compares_boxes_and_no_masks(
        self, tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        answer = export(capsys, "yolo26n.yaml", "-o", tmp_path / "d.bundle", "--imgsz", "96", "--weights", "fp16")
        assert [verdict["level"] for verdict in answer["parity"]["verdicts"]] == ["raw", "anchors"]
        assert least_cosine(answer) > 0.999999
        assert all(picture["anchors"]["compared"] >= 50 for picture in answer["parity"]["pictures"])
        head = open_bundle(tmp_path / "d.bundle").manifest.head
        assert head.coefficients == 0 and head.output_names == ("box8", "cls8", "box16", "cls16", "box32", "cls32")

    def test_the_manifest_says_so(self, detector: Path, capsys: pytest.CaptureFixture[str]) -> None:
        manifest = answer_of(capsys, "inspect", detector)["manifest"]
        assert manifest["task"] == "detect" and manifest["head"]["coefficients"] == 0
        assert manifest["input"]["size"] == [96, 96], "the size it was trained with"

    def test_it_runs_and_verifies_without_masks(
        self, detector: Path, tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        report = answer_of(capsys, "verify", detector)
        assert report["passed"] is True and all(golden["mask_iou"] is None for golden in report["golden"])
        out = tmp_path / "out"
        summary = answer_of(
            capsys, "run", detector, pictures, "--conf", "0", "--max-det", "7", "--save-jsonl", "--save-csv",
            "--save-coco", "--save-images", "--out", out,
        )  # fmt: skip
        assert summary["complete"] is True
        lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
        found = [row for line in lines for row in line.get("detections", [])]
        assert len(found) == 35 and not any("mask" in row for row in found)
        assert len(list((out / "images").iterdir())) == 5

    def test_asked_for_masks_it_gives_none(self, detector: Path) -> None:
        with lineside.load(detector) as model:
            frame = np.random.default_rng(1).integers(0, 256, (90, 120, 3), dtype=np.uint8)
            for masks in ("native", "proto", "none"):
                found = model(frame, conf=0.0, masks=masks)
                assert len(found) and found.masks is None and "masks=no" in repr(found)


@pytest.mark.parametrize("name", ["yoloe-11n-seg.yaml", "yoloe-26n-seg.yaml", "yoloe-11n.yaml", "yolov8-world.yaml"])
def test_open_vocabulary_is_refused_in_one_sentence(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["export", name, "-o", str(tmp_path / "x.bundle"), "--imgsz", "64"]) == 2
    printed = capsys.readouterr().err
    assert "open-vocabulary head" in printed and "lineside import" in printed and "internal error" not in printed
    assert not list(tmp_path.iterdir())
