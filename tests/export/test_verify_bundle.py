from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from helpers.tiny_bundle import tiny_bundle
from lineside import cli
from lineside.runtime.bundle import open_bundle, write_manifest
from lineside.runtime.errors import BundleDamaged, CheckFailed, EngineUnavailable
from lineside.runtime.verify import VerifyReport, verify_bundle

BLOCKED = """
import sys
for name in ("torch", "torchvision", "onnx", "ultralytics", "cv2"):
    sys.modules[name] = None
from lineside import cli
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture
def copy(real: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(real, tmp_path / "copy.bundle"))


def resign(folder: Path) -> None:
    """Makes the hashes right again after a change."""
    write_manifest(folder, json_manifest(folder))


def json_manifest(folder: Path):
    from lineside.runtime.manifest import decode_manifest

    return decode_manifest((folder / "manifest.json").read_bytes(), str(folder))


def change_weight(folder: Path, output: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Changes the bias of the convolution that makes an output."""
    model = onnx.load(folder / "model.onnx")
    node = next(node for node in model.graph.node if output in node.output)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == node.input[2])
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor).copy()), tensor.name))
    onnx.save(model, folder / "model.onnx")
    resign(folder)


def farther(much: float) -> np.ndarray:
    """Added to the logits of the distance bins, it moves every side of a box outwards."""
    return np.tile(np.arange(16, dtype=np.float32) * np.float32(much), 4)


def test_a_bundle_that_was_just_made(real: Path) -> None:
    report = verify_bundle(open_bundle(real))
    assert report.passed and report.engine == "onnxruntime" and report.files == 5
    assert len(report.golden) == 3
    for result in report.golden:
        assert result.matched == result.expected == result.found >= 3
        assert result.box_px < 0.05 and result.mask_iou is not None and result.mask_iou > 0.999
    assert [result.cosine is not None for result in report.golden] == [True, False, False]


def test_as_a_zip(real: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "zipped"), "zip", real)
    assert verify_bundle(open_bundle(archive)).passed


class TestAnotherModel:
    """The hashes are right, but the model is not the one that the golden files came from."""

    def test_scores(self, copy: Path) -> None:
        change_weight(copy, "cls8", lambda bias: bias - 0.5)
        change_weight(copy, "cls16", lambda bias: bias - 0.5)
        change_weight(copy, "cls32", lambda bias: bias - 0.5)
        report = verify_bundle(open_bundle(copy))
        assert not report.passed and any("matched" in result.reason for result in report.golden)

    def test_boxes(self, copy: Path) -> None:
        for stride in (8, 16, 32):
            change_weight(copy, f"box{stride}", lambda bias: bias + farther(2e-3))
        report = verify_bundle(open_bundle(copy))
        assert not report.passed and any("px" in result.reason for result in report.golden)

    def test_classes(self, copy: Path) -> None:
        model = onnx.load(copy / "model.onnx")
        for node in model.graph.node:
            if node.output[0].startswith("cls"):
                casts = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == "Cast"}
                for name in (casts.get(node.input[1], node.input[1]), node.input[2]):
                    tensor = next(t for t in model.graph.initializer if t.name == name)
                    tensor.CopyFrom(numpy_helper.from_array(np.roll(numpy_helper.to_array(tensor), 1, 0), name))
        onnx.save(model, copy / "model.onnx")
        resign(copy)
        report = verify_bundle(open_bundle(copy))
        assert not report.passed and all("0 of" in r.reason or "matched" in r.reason for r in report.golden)

    def test_masks(self, copy: Path) -> None:
        for stride in (8, 16, 32):
            change_weight(copy, f"mc{stride}", lambda bias: bias + np.linspace(-1, 1, 32, dtype=np.float32))
        report = verify_bundle(open_bundle(copy))
        assert not report.passed and any("masks have mean IoU" in result.reason for result in report.golden)

    def test_exit_code_and_table(self, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for stride in (8, 16, 32):
            change_weight(copy, f"box{stride}", lambda bias: bias + farther(0.2))
        assert cli.main(["verify", str(copy)]) == 1
        printed = capsys.readouterr()
        assert "NOT verified" in printed.out and "golden/000.npz" in printed.out and "Traceback" not in printed.err


class TestRefused:
    def test_an_altered_byte(self, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
        data = bytearray((copy / "golden/001.npz").read_bytes())
        data[len(data) // 2] ^= 1
        (copy / "golden/001.npz").write_bytes(data)
        assert cli.main(["verify", str(copy)]) == 2
        assert "golden/001.npz" in capsys.readouterr().err

    def test_no_golden_files(self, tmp_path: Path) -> None:
        with pytest.raises(CheckFailed, match="no golden files"):
            verify_bundle(open_bundle(tiny_bundle(tmp_path / "tiny.bundle")))

    @pytest.mark.parametrize("content", [b"", b"PK", b"not a zip"])
    def test_a_golden_file_that_is_none(self, copy: Path, content: bytes) -> None:
        (copy / "golden/001.npz").write_bytes(content)
        resign(copy)
        with pytest.raises(BundleDamaged, match=r"golden/001\.npz .* is not a golden file"):
            verify_bundle(open_bundle(copy))

    @pytest.mark.parametrize(
        ("key", "value", "says"),
        [
            ("pixels", np.zeros((32, 32, 3), np.uint8), "does not fit"),
            ("boxes", np.zeros((1, 4), np.float32), "does not fit"),
            ("rle", np.frombuffer(b"", np.uint8), "does not fit"),
            ("conf", np.array("high"), "not a golden file"),
            ("image_size", np.array([1, 2, 3]), "not a golden file"),
        ],
    )
    def test_a_golden_file_that_contradicts_itself(self, copy: Path, key: str, value: np.ndarray, says: str) -> None:
        with np.load(copy / "golden/000.npz") as archive:
            arrays = {name: archive[name] for name in archive.files}
        np.savez(copy / "golden/000.npz", **(arrays | {key: value}))
        resign(copy)
        with pytest.raises(BundleDamaged, match=says):
            verify_bundle(open_bundle(copy))

    def test_an_engine_that_is_not_there(self, real: Path) -> None:
        with pytest.raises(EngineUnavailable, match="no engine 'abacus'"):
            verify_bundle(open_bundle(real), "abacus")


class TestCommands:
    def test_verify_and_inspect_need_neither_torch_nor_onnx(self, real: Path) -> None:
        for words in (["verify", str(real), "--json"], ["inspect", str(real), "--json"]):
            done = subprocess.run(
                [sys.executable, "-c", BLOCKED, *words], capture_output=True, text=True, timeout=300, check=False
            )
            assert done.returncode == 0, done.stderr
            facts = json.loads(done.stdout)
            assert isinstance(facts, dict)
        assert facts["manifest"]["head"]["kind"] == "levels" and facts["parity"]["passed"] is True

    def test_inspect_in_words(self, real: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["inspect", str(real)]) == 0
        printed = capsys.readouterr().out
        for word in ("yolo11n-seg", "levels", "model.onnx", "parity", "passed", "sha256", "fp16"):
            assert word in printed

    def test_inspect_adds_up(self, real: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["inspect", str(real), "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["bytes"] == sum(path.stat().st_size for path in real.rglob("*") if path.is_file())
        assert facts["files"]["model.onnx"]["sha256"] == open_bundle(real).manifest.files["model.onnx"]
        assert facts["parity"]["pictures"] >= 8 and facts["parity"]["mask_iou"] > 0.99

    def test_inspect_where_a_picture_had_nothing_to_compare(
        self, copy: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        report = json.loads((copy / "reports/parity.json").read_text())
        expected = max(picture["anchors"]["box_px"] for picture in report["pictures"][1:])
        report["pictures"][0]["anchors"].update(compared=0, box_px=None, score=None)
        (copy / "reports/parity.json").write_text(json.dumps(report))
        resign(copy)
        assert cli.main(["inspect", str(copy)]) == 0
        capsys.readouterr()
        assert cli.main(["inspect", str(copy), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["parity"]["box_px"] == expected

    def test_a_measure_that_is_no_number_is_null_in_json(self, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
        change_weight(copy, "box8", lambda bias: np.where(np.arange(len(bias)) == 0, -np.inf, bias).astype(np.float32))
        assert cli.main(["verify", str(copy), "--json"]) == 1
        printed = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
        assert printed["passed"] is False and printed["golden"][0]["cosine"] is None

    def test_a_folder_whose_name_is_no_unicode(self, real: Path, tmp_path: Path) -> None:
        odd = shutil.copytree(real, tmp_path / "b\udcff.bundle")
        for command in ("verify", "inspect"):
            words = [sys.executable, "-m", "lineside", command, str(odd), "--json"]
            done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
            assert done.returncode == 0, done.stderr
            facts = json.loads(done.stdout)
            assert facts["bundle"] == str(odd)
            if command == "verify":
                assert set(facts) == {*VerifyReport.__struct_fields__, "accuracy"} and facts["accuracy"] is None

    def test_inspect_says_that_a_bundle_is_dynamic(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder = tiny_bundle(tmp_path / "tiny.bundle")
        manifest = json_manifest(folder)
        for dynamic in (False, True):
            contract = msgspec.structs.replace(manifest.input, dynamic=dynamic)
            write_manifest(folder, msgspec.structs.replace(manifest, input=contract))
            assert cli.main(["inspect", str(folder)]) == 0
            assert ("dynamic: other sizes" in capsys.readouterr().out) is dynamic

    def test_inspect_without_a_report(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["inspect", str(tiny_bundle(tmp_path / "tiny.bundle"))]) == 0
        assert "no report in this bundle" in capsys.readouterr().out

    @pytest.mark.parametrize("command", ["verify", "inspect"])
    def test_what_is_no_bundle(self, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main([command, str(tmp_path)]) == 2
        assert "manifest.json" in capsys.readouterr().err
