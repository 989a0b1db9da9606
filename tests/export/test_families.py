"""Every form that `lineside export` writes passes the parity gate, and the bundle says and does what its form means."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch

import lineside
from lineside import cli
from lineside.export.bundle import Exported, export_bundle
from lineside.export.cut import fused, rounded_to_fp16
from lineside.export.graph.finish import tensor_shapes
from lineside.export.parity.budget import FP32
from lineside.export.parity.gate import run_gate
from lineside.export.parity.reference import TorchReference
from lineside.export.parity.rows import match_rows
from lineside.export.parity.shipped import Shipped
from lineside.export.pictures import drawn_pictures, read_pictures
from lineside.export.settle import settle
from lineside.export.ultra import load_model
from lineside.runtime.bundle import open_bundle
from lineside.runtime.engines.onnxruntime import OnnxRuntimeEngine
from lineside.runtime.errors import BadFrame, BadOption, ContractMismatch

SIZES = ((96, 128), (128, 96), (96, 96), (71, 130), (200, 150), (64, 128), (150, 110), (101, 101))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of eight small drawings: what the gates here look at."""
    folder = tmp_path_factory.mktemp("pictures")
    for index, picture in enumerate(drawn_pictures((), SIZES)):
        cv2.imwrite(str(folder / f"{index}.png"), picture.frame)
    return folder


def alive(name: str, pictures: Path) -> Any:
    """The untrained model that an export from that yaml, with those pictures, is made of."""
    model = load_model(name)
    settle(model, read_pictures(pictures, 8))
    return model


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
def detector(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """A bundle of a detection checkpoint, 96x96."""
    folder = tmp_path_factory.mktemp("detection")
    model = load_model("yolo11n.yaml", seed=4)
    settle(model, drawn_pictures(()))
    torch.save({"model": model, "train_args": {"imgsz": 96, "task": "detect"}}, folder / "detector.pt")
    words = ["export", str(folder / "detector.pt"), "-o", str(folder / "detector.bundle"), "--images", str(pictures)]
    assert cli.main(words) == 0
    return folder / "detector.bundle"


class TestDetection:
    def test_the_gate_compares_boxes_and_no_masks(
        self, tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        answer = export(
            capsys,
            "yolo26n.yaml",
            "-o",
            tmp_path / "d.bundle",
            "--imgsz",
            "96",
            "--weights",
            "fp16",
            "--images",
            pictures,
        )
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
        assert len(found) == 56 and not any("mask" in row for row in found)
        assert len(list((out / "images").iterdir())) == 8

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


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Exported:
    """The one-to-one part of YOLO26, 128x128, FP16-stored."""
    folder = tmp_path_factory.mktemp("end2end")
    return export_bundle(
        "yolo26n-seg.yaml", folder / "e.bundle", imgsz=(128, 128), storage="fp16", end2end=True, images=pictures
    )


def end_to_end_reference(pictures: Path) -> TorchReference:
    """What the bundle of `made` was compared with."""
    model = rounded_to_fp16(fused(alive("yolo26n-seg.yaml", pictures), end2end=True))
    return TorchReference(model, (128, 128), end2end=True)


class TestEndToEnd:
    def test_its_rows_are_those_of_torch(self, made: Exported) -> None:
        assert made.parity.passed and made.verified.passed
        assert [verdict.level for verdict in made.parity.verdicts] == ["raw", "anchors", "masks"]
        for picture in made.parity.pictures:
            measures = {measure.output: measure for measure in picture.raw}
            assert {"output0", "output0 scores", "output0 coefficients", "protos"} <= set(measures)
            assert min(measure.cosine for measure in picture.raw) > 0.99999
            assert picture.anchors.compared >= 50 and picture.masks.mean_iou > 0.99
        assert made.parity.rounding["score"] < 0.1

    def test_the_manifest_and_the_graph_say_so(self, made: Exported) -> None:
        head = made.manifest.head
        assert (head.kind, head.coefficients, head.reg_max) == ("end2end", 32, 1)
        shapes = tensor_shapes(onnx.load(made.path / "model.onnx").graph.output)
        assert shapes == {"output0": (1, 300, 38), "protos": (1, 32, 32, 32)}

    def test_thresholds_apply_and_suppression_does_not(self, made: Exported) -> None:
        frame = drawn_pictures((), [(96, 128)])[0].frame
        with lineside.load(made.path) as model:
            everything = model(frame, conf=0.0, iou=0.0, agnostic=True)
            assert len(everything) == 300 and everything.masks is not None
            assert np.array_equal(everything.boxes, model(frame, conf=0.0, iou=1.0).boxes)
            middle = float(everything.scores[100])
            assert len(model(frame, conf=middle)) == np.count_nonzero(everything.scores > middle)
            assert np.array_equal(model(frame, conf=0.0, max_det=9).boxes, everything.boxes[:9])

    def test_the_reference_is_the_one_to_one_part(self, made: Exported, pictures: Path) -> None:
        frame = drawn_pictures((), [(96, 128)])[0].frame
        one = end_to_end_reference(pictures)(frame)
        with lineside.load(made.path) as shipped:
            found = shipped(frame, conf=0.0)
        assert np.abs(found.scores - one.scores.amax(1).numpy()[:300]).max() < 1e-4
        assert one.final and one.raw["output0"].shape == (1, 300, 38)

    def test_rows_of_nearly_one_score_may_swap_and_others_may_not(self, made: Exported) -> None:
        rows = np.zeros((4, 8), np.float32)
        rows[:, 4], rows[:, 5], rows[:, 6] = (0.9, 0.8, 0.8, 0.1), (0, 1, 1, 2), (1, 2, 3, 4)
        assert match_rows(rows[[0, 2, 1, 3]], rows).tolist() == [0, 2, 1, 3]
        assert match_rows(rows[[0, 0]], rows)[0] == 0, "each counterpart is taken once"
        assert match_rows(np.zeros((0, 8), np.float32), rows).shape == (0,)

    def test_a_wrong_coefficient_fails_the_gate(
        self, made: Exported, pictures: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        infer = OnnxRuntimeEngine.infer

        def wrong(self: OnnxRuntimeEngine, *given: Any) -> list[Any]:
            rows, protos = infer(self, *given)
            return [np.concatenate([rows[..., :6], np.roll(rows[..., 6:], 1, axis=2)], 2), protos]

        monkeypatch.setattr(OnnxRuntimeEngine, "infer", wrong)
        report = run_gate(
            Shipped(open_bundle(made.path)), end_to_end_reference(pictures), made.manifest.head,
            read_pictures(pictures, 8), FP32,
            described="torch", pictures_from="test",
        )  # fmt: skip
        failed = {verdict.level: verdict.reason for verdict in report.verdicts if not verdict.passed}
        assert set(failed) == {"raw", "masks"} and "output0 coefficients" in failed["raw"]

    def test_a_model_without_that_part_is_refused(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["export", "yolo11n-seg.yaml", "-o", str(tmp_path / "x.bundle"), "--end2end"]) == 2
        printed = capsys.readouterr().err
        assert "the Segment head has no one-to-one part" in printed and "leave out --end2end" in printed
        assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Exported:
    """YOLO11 with batch and input size free; by default 96x96, up to 4 pictures at once."""
    folder = tmp_path_factory.mktemp("dynamic")
    return export_bundle(
        "yolo11n-seg.yaml", folder / "free.bundle", imgsz=(96, 96), batch=4, dynamic=True, images=pictures
    )


class TestDynamic:
    def test_it_agrees_with_torch_at_two_shapes(self, free: Exported) -> None:
        assert free.parity.passed and free.verified.passed
        elsewhere = [picture for picture in free.parity.pictures if picture.picture.endswith(" 128x160 x1")]
        assert len(elsewhere) >= 8 and len(free.parity.pictures) == 2 * len(elsewhere)
        for picture in free.parity.pictures:
            assert min(measure.cosine for measure in picture.raw) > 0.999999
            assert picture.anchors.compared >= 50

    def test_the_graph_is_free_where_the_manifest_says_so(self, free: Exported) -> None:
        assert free.manifest.input.dynamic and json.loads((free.path / "manifest.json").read_text())["input"]["dynamic"]
        graph = onnx.load(free.path / "model.onnx").graph
        assert tensor_shapes(graph.input) == {"images": ("batch", 3, "height", "width")}
        shapes = tensor_shapes(graph.output)
        assert shapes["box16"] == ("batch", 64, "height/16", "width/16")
        assert shapes["protos"] == ("batch", 32, "height/4", "width/4")

    @pytest.mark.parametrize("imgsz", [64, (160, 96), (96, 224)])
    def test_another_size_sees_what_torch_sees_at_that_size(
        self, free: Exported, pictures: Path, imgsz: int | tuple[int, int]
    ) -> None:
        size = (imgsz, imgsz) if isinstance(imgsz, int) else imgsz
        reference = TorchReference(alive("yolo11n-seg.yaml", pictures), size)
        frames = [picture.frame for picture in drawn_pictures((), [(96, 128), (200, 90), (64, 64)], seed=3)]
        with lineside.load(free.path, imgsz=imgsz) as shipped:
            assert shipped.manifest.input.size == size and shipped.manifest.head.input_size == size
            found = shipped.many(frames, conf=0.0, iou=1.0, max_det=20)
        for frame, one in zip(frames, found, strict=True):
            seen = reference(frame)
            assert np.abs(one.boxes - seen.boxes.numpy()[one.anchors]).max() < 0.05
            scores = seen.scores.numpy()[one.anchors, one.classes]
            assert np.allclose(one.scores, scores, rtol=1e-3, atol=0) and len(one) == 20

    def test_a_run_is_as_short_as_its_pictures(self, free: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
        counts = []
        infer = OnnxRuntimeEngine.infer

        def counted(self: OnnxRuntimeEngine, inputs: Any, *rest: Any) -> list[Any]:
            outputs = infer(self, inputs, *rest)
            counts.append([len(inputs["images"]), *{len(output) for output in outputs}])
            return outputs

        monkeypatch.setattr(OnnxRuntimeEngine, "infer", counted)
        frames = [picture.frame for picture in drawn_pictures((), [(96, 128)] * 7)]
        with lineside.load(free.path, lanes=1) as model:
            together = model.many(frames, conf=0.0, max_det=5)
            assert counts == [[4, 4], [3, 3]]
            alone = [model(frame, conf=0.0, max_det=5) for frame in frames]
            assert counts[2:] == [[1, 1]] * 7
            assert len(model.infer(np.zeros((2, 3, 96, 96), np.float32))[0]) == 2
            with pytest.raises(BadFrame, match="float32"):
                model.infer(np.zeros((5, 3, 96, 96), np.float32))
        for a, b in zip(together, alone, strict=True):
            assert np.abs(a.boxes - b.boxes).max() < 1e-3 and np.array_equal(a.anchors, b.anchors)

    def test_a_frame_makes_nothing_large(self, free: Exported) -> None:
        frames = [picture.frame for picture in drawn_pictures((), [(300, 400)] * 3)]
        with lineside.load(free.path, imgsz=320, lanes=1) as model:
            model.many(frames, conf=0.9)
            tracemalloc.start()
            try:
                model.many(frames, conf=0.9)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
        assert peak < 200_000, "the input of one picture alone is 1.2 MB"

    def test_the_command_line_takes_another_size(
        self, free: Exported, pictures: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        summary = answer_of(capsys, "run", free.path, pictures, "--imgsz", "128x64", "--no-save")
        assert summary["complete"] is True and summary["counts"]["inspected"] == 8
        assert cli.main(["run", str(free.path), str(pictures), "--imgsz", "100", "--no-save"]) == 2
        assert "multiples of 32" in capsys.readouterr().err

    def test_a_static_bundle_takes_none(
        self, detector: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["run", str(detector), str(pictures), "--imgsz", "128", "--no-save"]) == 2
        assert "96x96 and cannot be changed" in capsys.readouterr().err
        for wrong in ("128", 0, (96,), True, (96, 96.0)):
            with pytest.raises(BadOption, match="no input size"):
                lineside.load(detector, imgsz=wrong)  # type: ignore[arg-type]
        with lineside.load(detector, imgsz=96) as model:
            assert model.manifest.input.size == (96, 96), "its own size is no change"
        assert "dynamic" not in json.loads((detector / "manifest.json").read_text())["input"]

    def test_a_manifest_that_is_wrong_about_it_is_refused(self, detector: Path, tmp_path: Path) -> None:
        copy = tmp_path / "copy.bundle"
        shutil.copytree(detector, copy)
        manifest = json.loads((copy / "manifest.json").read_text())
        manifest["input"]["dynamic"] = True
        (copy / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(ContractMismatch, match="the sides free"):
            lineside.load(copy)

    def test_end_to_end_and_dynamic_exclude_each_other(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ["export", "yolo26n-seg.yaml", "-o", str(tmp_path / "x.bundle"), "--end2end", "--dynamic"]
        assert cli.main(words) == 2
        assert "leave out --dynamic or --end2end" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolov8n-seg", "yolo12n-seg", "yolo26n-seg"])
def test_other_families_are_dynamic_too(name: str, pictures: Path, tmp_path: Path) -> None:
    made = export_bundle(
        f"{name}.yaml", tmp_path / "x.bundle", imgsz=(96, 96), dynamic=True, storage="fp16", images=pictures
    )
    assert made.parity.passed and made.verified.passed and made.manifest.input.dynamic


@pytest.mark.slow
def test_a_fourth_level(pictures: Path, tmp_path: Path) -> None:
    made = export_bundle("yolov8n-seg-p6.yaml", tmp_path / "x.bundle", imgsz=(128, 128), images=pictures)
    assert made.parity.passed and made.manifest.head.strides == (8, 16, 32, 64)
    with pytest.raises(BadOption, match="multiples of 64"):
        export_bundle("yolov8n-seg-p6.yaml", tmp_path / "y.bundle", imgsz=(96, 96))
