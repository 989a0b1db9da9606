"""``lineside selftest`` with the host device: a whole report, and for each kind of fault the line that fails."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from helpers.selftested import with_operator
from lineside import cli
from lineside.runtime.selftest.findings import Report
from lineside.runtime.selftest.table import CHECKS

pytest.importorskip("onnxruntime")
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ builds the kernels of the host device")

FEW = ("--frames", "12", "--size", "320x240", "--engine", "host")


@pytest.fixture(scope="module")
def bundle(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's bundle with an operator of ours in it, which changes nothing."""
    pytest.importorskip("onnx")
    return with_operator(repository / "demo/bearing.bundle", tmp_path_factory.mktemp("selftest") / "bearing.bundle")


def selftested(bundle: Path, out: Path, *words: str) -> tuple[int, Report]:
    """Runs the command in this process; its exit code and its report."""
    code = cli.main(["selftest", str(bundle), "--out", str(out), *FEW, *words])
    return code, msgspec.json.decode((out / "selftest.json").read_bytes(), type=Report)


def failing(report: Report) -> dict[str, str]:
    """What failed, with its text."""
    return {line.name: line.text for line in report.lines if line.verdict == "failed"}


@needs_compiler
@pytest.mark.slow
class TestHostDevice:
    def test_a_whole_report(self, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        code, report = selftested(bundle, tmp_path, "--json")
        assert code == 0 and report.passed and not failing(report)
        assert json.loads(capsys.readouterr().out)["bundle"] == report.bundle
        assert {line.check for line in report.lines} == set(CHECKS)
        verdicts = {line.name: line.verdict for line in report.lines}
        for name in ("raw outputs", "detections", "masks", "raw outputs beside the CPU's", "the same frame again"):
            assert verdicts[name] == "checked", name
        for name in ("captured beside uncaptured", "work per frame", "memory in the steady state", "NV12 640x480"):
            assert verdicts[name] == "checked", name
        assert verdicts["Carafe_k3_up1, FP32"] == verdicts["Carafe_k3_up1, FP16"] == "checked"
        assert verdicts["engine"] == "not checked"  # there is nothing to build
        for line in report.lines:
            assert line.text and (line.verdict != "not checked" or "because" in line.text)
        latency = next(table for table in report.tables if table.check == "latency")
        assert {"p50", "p90", "p99", "p99.9"} < set(latency.columns)
        assert [row[1] for row in latency.rows] == [12] * len(latency.rows)
        assert report.trace and not report.real
        page = (tmp_path / "selftest.html").read_text()
        assert "Carafe_k3_up1, FP16" in page and "passed" in page

    def test_a_golden_file_that_says_something_else(self, bundle: Path, tmp_path: Path) -> None:
        from lineside.runtime.bundle import open_bundle, write_manifest
        from lineside.runtime.golden import read_golden, write_golden

        copy = Path(shutil.copytree(bundle, tmp_path / "copy.bundle"))
        opened = open_bundle(copy)
        golden = read_golden(opened, "golden/001.npz")
        moved = dataclasses.replace(golden, boxes=golden.boxes + np.float32(2))
        write_golden(str(copy / "golden/001.npz"), moved)
        write_manifest(copy, opened.manifest)
        code, report = selftested(copy, tmp_path / "out", "--only", "parity")
        assert code == 1 and list(failing(report)) == ["detections"]
        assert "golden/001.npz: a box is off by 2" in failing(report)["detections"]

    def test_a_kernel_of_an_operator_that_computes_something_else(
        self, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from lineside.runtime.ops.carafe import DeviceCarafe

        launch = DeviceCarafe.launch

        def shifted(self: Any, shapes: Any, addresses: Any, half: bool) -> Any:
            """The mask begins one value later."""
            size = 2 if half else 4
            return launch(self, shapes, [addresses[0], addresses[1] + size, *addresses[2:]], half)

        monkeypatch.setattr(DeviceCarafe, "launch", shifted)
        code, report = selftested(bundle, tmp_path, "--only", "kernels")
        assert code == 1 and {"Carafe_k3_up1, FP32"} <= set(failing(report))

    @pytest.mark.parametrize(
        ("kernel", "words", "instead", "line"),
        [
            ("LETTERBOX_PACKED", "114.0f", "117.0f", "letterbox, BGR 640x480"),
            ("SUPPRESS", "both) > iou", "both) > iou * 1.5f", "candidates, suppression, masks, many"),
        ],
    )
    def test_a_kernel_of_the_frame_with_a_fault_in_its_source(
        self,
        bundle: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        kernel: str,
        words: str,
        instead: str,
        line: str,
    ) -> None:
        from lineside.runtime.cuda import kernels

        sound = getattr(kernels, kernel)
        folder = Path(shutil.copytree(sound.source.parent, tmp_path / "cuda", ignore=shutil.ignore_patterns("*.py*")))
        source = folder / sound.source.name
        text = source.read_text()
        assert text.count(words) == 1
        source.write_text(text.replace(words, instead))
        monkeypatch.setattr(kernels, kernel, dataclasses.replace(sound, source=source))
        code, report = selftested(bundle, tmp_path / "out", "--only", "kernels")
        assert code == 1 and any(name.startswith(line) for name in failing(report)), failing(report)
        other = "letterbox" if kernel == "SUPPRESS" else "candidates"
        assert not any(name.startswith(other) for name in failing(report))

    def test_an_engine_that_answers_differently_each_time(
        self, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from lineside.runtime.engines.onnxruntime import OnnxRuntimeEngine

        infer, calls = OnnxRuntimeEngine.infer, iter(range(10**9))

        def drifting(self: Any, *given: Any) -> Any:
            outputs = infer(self, *given)
            for output in outputs:
                output += np.float32(1e-4 * next(calls))
            return outputs

        monkeypatch.setattr(OnnxRuntimeEngine, "infer", drifting)
        code, report = selftested(bundle, tmp_path, "--only", "replay")
        assert code == 1
        assert {"the same frame again", "captured beside uncaptured"} <= set(failing(report))

    def test_a_lane_that_asks_too_much_of_the_device(
        self, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from lineside.runtime.cuda.lane import DeviceLane

        run = DeviceLane.run

        def wasteful(self: Any, *given: Any) -> Any:
            self._device.allocate(16).free()
            return run(self, *given)

        monkeypatch.setattr(DeviceLane, "run", wasteful)
        code, report = selftested(bundle, tmp_path, "--only", "replay")
        assert code == 1 and list(failing(report)) == ["memory in the steady state"]


def test_without_a_gpu_one_sentence_says_so(cli: Any, repository: Path, tmp_path: Path) -> None:
    if any(Path(node).exists() for node in ("/dev/nvidiactl", "/dev/nvhost-gpu")):
        pytest.skip("there is a GPU")
    answer = cli("selftest", repository / "demo/bearing.bundle", "--out", tmp_path / "out")
    assert answer.returncode == 2 and answer.stdout == ""
    assert answer.stderr.startswith("error: ") and answer.stderr.count("\n") == 1
    assert "--engine host" in answer.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--engine", "host", "--only", "speed"), "no check 'speed'"),
        (("--engine", "onnxruntime"), "choose one of tensorrt, host"),
        (("--engine", "host", "--size", "big"), "WIDTHxHEIGHT"),
        (("--engine", "host", "--frames", "0"), "--frames 0"),
    ],
)
def test_what_cannot_be_meant(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
) -> None:
    assert cli.main(["selftest", str(repository / "demo/bearing.bundle"), "--out", str(tmp_path / "o"), *words]) == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
