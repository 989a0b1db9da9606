"""Models that are not what the bundle says, hashes and all; onnxruntime that is too old, absent or broken."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import lineside
from helpers.refusals import assert_sentence, refused, snapshot
from helpers.refusals import lineside as command
from helpers.tiny_bundle import tiny_bundle
from lineside.runtime.bundle import open_bundle, write_manifest
from lineside.runtime.errors import ContractMismatch, EngineFailed, LinesideError, NonFiniteOutput
from lineside.runtime.golden import Golden, write_golden

pytest.importorskip("onnxruntime")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path / "tiny.bundle")


def replace_model(folder: Path, model: bytes | onnx.ModelProto) -> None:
    """Puts another model into a bundle, so that every hash is right and the loader itself meets it."""
    data = model if isinstance(model, bytes) else model.SerializeToString()
    manifest = open_bundle(folder).manifest
    (folder / "model.onnx").write_bytes(data)
    write_manifest(folder, manifest)


def with_golden(folder: Path) -> None:
    """Adds a golden file, so that `verify` has something to replay."""
    (folder / "golden").mkdir(exist_ok=True)
    golden = Golden(
        name="", pixels=np.full((64, 64, 3), 255, np.uint8), image_size=(64, 64), conf=0.25, iou=0.7, max_det=300,
        boxes=np.ones((1, 4), np.float32), scores=np.ones(1, np.float32), classes=np.zeros(1, np.int32), rle=("0",),
    )  # fmt: skip
    write_golden(str(folder / "golden/000.npz"), golden)
    write_manifest(folder, open_bundle_unchecked(folder))


def open_bundle_unchecked(folder: Path) -> object:
    from lineside.runtime.manifest import decode_manifest

    return decode_manifest((folder / "manifest.json").read_bytes(), "here")


def foreign(width: int = 10) -> onnx.ModelProto:
    """A model that is no YOLO: one matrix product."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    weight = numpy_helper.from_array(np.ones((4, width), np.float32), "w")
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 4]), ("y", [1, width]))]
    return helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )


def changed(folder: Path, change: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    model = onnx.load(folder / "model.onnx")
    change(model)
    return model


def outside_data(model: onnx.ModelProto) -> None:
    """Says that a weight lies in a file outside the bundle."""
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../../etc/passwd")


def rename_input(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.input[:] = ["pixels" if name == "images" else name for name in node.input]
    model.graph.input[0].name = "pixels"


MODELS: dict[str, tuple[Callable[[Path], bytes | onnx.ModelProto], type[LinesideError], str]] = {
    "empty": (lambda f: b"", EngineFailed, "onnxruntime .* refuses the model"),
    "text": (lambda f: b"not a model\n" * 99, EngineFailed, "refuses the model"),
    "half": (lambda f: (f / "model.onnx").read_bytes()[:-400], EngineFailed, "refuses the model"),
    "first bytes": (lambda f: (f / "model.onnx").read_bytes()[:60], LinesideError, "export"),
    "no YOLO": (lambda f: foreign(), ContractMismatch, "1 outputs|the model's input"),
    "unknown operator": (
        lambda f: changed(f, lambda m: setattr(m.graph.node[0], "op_type", "Nope")),
        EngineFailed,
        "Nope.*upgrade",
    ),
    "newer opset": (
        lambda f: changed(f, lambda m: setattr(m.opset_import[0], "version", 999)),
        EngineFailed,
        "refuses the model: .*upgrade onnxruntime",
    ),
    "newer format": (
        lambda f: changed(f, lambda m: setattr(m, "ir_version", 99)),
        EngineFailed,
        "IR version.*upgrade onnxruntime",
    ),
    "weights outside": (lambda f: changed(f, outside_data), EngineFailed, "refuses the model"),
    "another input": (lambda f: changed(f, rename_input), ContractMismatch, "pixels .*belongs to another model"),
    "an output less": (lambda f: changed(f, lambda m: m.graph.output.pop()), ContractMismatch, "9 outputs"),
}


@pytest.mark.parametrize("what", MODELS)
def test_a_model_whose_hashes_are_right_and_nothing_else(
    folder: Path, what: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make, error, says = MODELS[what]
    replace_model(folder, make(folder))
    before = snapshot(folder)
    with pytest.raises(error, match=says):
        lineside.load(folder)
    assert capfd.readouterr() == ("", "") and snapshot(folder) == before


@pytest.mark.parametrize("what", ["half", "no YOLO"])
def test_the_same_at_the_command_line(folder: Path, what: str, tmp_path: Path) -> None:
    replace_model(folder, MODELS[what][0](folder))
    with_golden(folder)
    cv2.imwrite(str(tmp_path / "part.png"), np.zeros((50, 50, 3), np.uint8))
    refused(tmp_path, "verify", folder)
    refused(tmp_path, "run", folder, "part.png")
    refused(tmp_path, "profile", folder, "synthetic:64x64", "--duration", "1s")


@pytest.mark.parametrize("kind", ["levels", "flat", "end2end"])
def test_weights_that_are_nan(tmp_path: Path, kind: str) -> None:
    folder = tiny_bundle(tmp_path / "nan.bundle", kind)  # type: ignore[arg-type]

    def spoil(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            if len(tensor.dims) == 4 and tensor.dims[0] == 2:  # the class scores
                tensor.CopyFrom(numpy_helper.from_array(np.full(tensor.dims, np.nan, np.float32), tensor.name))

    replace_model(folder, changed(folder, spoil))
    with lineside.load(folder) as model:
        for _ in range(model.lanes + 1):
            with pytest.raises(NonFiniteOutput, match=r"cannot be trusted.*verify the bundle"):
                model(np.full((64, 64, 3), 255, np.uint8))
    with_golden(folder)
    refused(tmp_path, "verify", folder, says="cannot be trusted")
    cv2.imwrite(str(tmp_path / "part.png"), np.full((64, 64, 3), 255, np.uint8))
    answer = command(tmp_path, "run", folder, "part.png", "--no-save")
    assert answer.returncode != 0 and "Traceback" not in answer.stderr
    assert "part.png" in answer.stderr and "cannot be trusted" in answer.stderr


def test_more_than_the_memory_holds(tmp_path: Path) -> None:
    """A bundle may ask for a batch that this machine cannot hold."""
    folder = tiny_bundle(tmp_path / "tiny.bundle", size=(2048, 2048), batch=64)
    cv2.imwrite(str(tmp_path / "part.png"), np.zeros((50, 50, 3), np.uint8))
    says = ("not enough memory for lanes with inputs of (64, 3, 2048, 2048)", "choose fewer lanes")
    refused(tmp_path, "run", folder, "part.png", says=says, memory=1 << 30)


# onnxruntime itself

LIBRARIES = {
    "absent": (
        "raise ModuleNotFoundError(\"No module named 'onnxruntime'\", name='onnxruntime')",
        "cannot be imported",
    ),
    "too old": (None, "1.9.0 is installed and this bundle needs 1.17 or newer: pip install -U"),
    "of another machine": ("raise ImportError('libonnxruntime.so: wrong ELF class')", "wrong ELF class"),
    "for another numpy": (
        "raise AttributeError('_ARRAY_API not found')",
        "broken (_ARRAY_API not found): install it again",
    ),
    "dying": ("raise SystemError('initialization failed')", "broken (initialization failed): install it again"),
    "left over": ("", "broken (it has no __version__): install it again"),
    "half there": ("__version__ = '1.20.0'", "broken (it has no InferenceSession): install it again"),
}


@pytest.mark.parametrize("state", LIBRARIES)
def test_onnxruntime_in_a_bad_state(folder: Path, tmp_path: Path, state: str) -> None:
    import onnxruntime

    code, says = LIBRARIES[state]
    if code is None:
        code = f"import sys; sys.path.remove({str(tmp_path / 'lib')!r}); del sys.modules['onnxruntime']\n"
        code += "from importlib import import_module; real = import_module('onnxruntime')\n"
        code += "globals().update(real.__dict__); __version__ = '1.9.0'; sys.modules['onnxruntime'] = sys.modules[__name__] = real\n"
        code += "real.__version__ = '1.9.0'"
        assert onnxruntime.__version__ != "1.9.0"
    (tmp_path / "lib/onnxruntime").mkdir(parents=True)
    (tmp_path / "lib/onnxruntime/__init__.py").write_text(code)
    with_golden(folder)
    path = os.pathsep.join((str(tmp_path / "lib"), os.environ.get("PYTHONPATH", "")))
    answer = command(tmp_path, "verify", folder, PYTHONPATH=path, PYTHONDONTWRITEBYTECODE="1")
    assert answer.returncode == 2
    assert_sentence(answer.stderr, says, "pip install")


def test_a_bundle_for_a_newer_onnxruntime(folder: Path, tmp_path: Path) -> None:
    import msgspec

    with_golden(folder)
    manifest = open_bundle(folder).manifest
    write_manifest(folder, msgspec.structs.replace(manifest, min_onnxruntime="999.1"))
    refused(tmp_path, "verify", folder, says=("needs 999.1 or newer", "pip install -U 'onnxruntime>=999.1'"))


def test_many_models_in_turn_leave_no_session_behind(folder: Path) -> None:
    replace_model(folder, b"nothing")
    script = """
import sys, threading, lineside
for _ in range(20):
    try:
        lineside.load(sys.argv[1])
    except lineside.errors.EngineFailed:
        pass
print(threading.active_count())
"""
    answer = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, timeout=120)
    assert (answer.stdout, answer.stderr) == ("1\n", "")
