"""Files given to `lineside import`, each at the command line: exit code 2 or 1, one sentence, nothing written."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import lineside
from helpers.tails import Tail
from lineside import cli
from lineside.export.importing import import_onnx
from lineside.export.tails.order import in_order
from lineside.runtime.contract import HeadContract

Change = Callable[[onnx.ModelProto], None]


def flat(size: tuple[int, int] = (64, 64), coefficients: int = 4, **options: object) -> onnx.ModelProto:
    """A small foreign model that can be imported."""
    head = HeadContract(kind="levels", classes=3, coefficients=coefficients, input_size=size, reg_max=4)
    return Tail(head, **options).model()  # type: ignore[arg-type]


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Imports a file that must be refused, and returns the sentence."""

    def run(path: Path, *words: str, code: int = 2) -> str:
        before = sorted(each.name for each in tmp_path.iterdir())
        assert cli.main(["import", str(path), "-o", str(tmp_path / "x.bundle"), *words]) == code
        printed = capsys.readouterr()
        lines = [line for line in printed.err.splitlines() if not line.startswith("import: ")]
        assert len(lines) == 1, printed.err
        assert lines[0].startswith("error: ") and "internal error" not in lines[0] and "Traceback" not in printed.err
        assert printed.out == "", "nothing was made"
        assert sorted(each.name for each in tmp_path.iterdir()) == before, "something was left behind"
        return lines[0]

    return run


def set_input(model: onnx.ModelProto, *shape: int | str, kind: int = TensorProto.FLOAT) -> None:
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("images", kind, shape))


def set_output(model: onnx.ModelProto, index: int, *shape: int) -> None:
    name = model.graph.output[index].name
    model.graph.output[index].CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))


def without_metadata(model: onnx.ModelProto) -> None:
    del model.metadata_props[:]


def cyclic(model: onnx.ModelProto) -> None:
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    model.graph.node.append(helper.make_node("Identity", [conv.output[0]], ["turn"]))
    conv.input[0] = "turn"


def custom(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "my.ops"
    model.opset_import.append(helper.make_opsetid("my.ops", 1))


def huge_weight(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = 1 << 40


def one_output(*shape: int) -> Change:
    def change(model: onnx.ModelProto) -> None:
        del model.graph.output[1:]
        set_output(model, 0, *shape)

    return change


REFUSED: dict[str, tuple[Change, str]] = {
    "a classifier": (one_output(1, 1000), "no YOLO"),
    "a detector of another family": (one_output(1, 300, 91), "does not know"),
    "pose": (lambda m: helper.set_model_props(m, {"task": "pose", "names": "{0: 'a'}"}), "'pose'"),
    "oriented boxes": (lambda m: helper.set_model_props(m, {"task": "obb", "names": "{0: 'a'}"}), "'obb'"),
    "YOLOv5": (lambda m: set_output(m, 0, 1, 252, 5 + 3 + 4), "YOLOv5"),
    "anchors in rows": (lambda m: set_output(m, 0, 1, 84, 4 + 3 + 4), "anchors in rows"),
    "channels last": (lambda m: set_input(m, 1, 64, 64, 3), "channels last"),
    "huge dimensions": (lambda m: set_input(m, 1, 3, 1 << 20, 1 << 20), "pixels"),
    "a huge batch": (lambda m: set_input(m, 1 << 40, 3, 64, 64), "pixels"),
    "whole numbers of unknown scale": (lambda m: set_input(m, 1, 3, 64, 64, kind=TensorProto.UINT8), "uint8"),
    "a weight larger than the file": (huge_weight, "onnxruntime refuses"),
    "a cycle": (cyclic, "onnxruntime refuses"),
    "an unknown operator": (custom, "my.ops"),
    "a wrong number of names": (lambda m: helper.set_model_props(m, {"names": "['a', 'b']"}), "--names"),
    "dynamic shapes and no size": (lambda m: set_input(m, 1, 3, "h", "w"), "--imgsz"),
    "a size that fits no head": (lambda m: set_input(m, 1, 3, 60, 64), "prototypes"),
    "outputs that it does not have": (lambda m: set_output(m, 0, 1, 11, 85), "comes out as"),
    "no graph": (lambda m: m.graph.ClearField("node"), "no graph"),
    "an opset of the future": (lambda m: m.opset_import[0].__setattr__("version", 99), "opset 99"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_model_that_cannot_be_imported(what: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    model = flat()
    change, says = REFUSED[what]
    change(model)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert says in refused(tmp_path / "m.onnx")


def test_weights_that_are_not_numbers(tmp_path: Path, refused: Callable[..., str]) -> None:
    model = flat()
    weight = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] = np.nan
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, tmp_path / "m.onnx")
    assert "NaN" in refused(tmp_path / "m.onnx", code=1)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.99])
def test_a_truncated_file(share: float, tmp_path: Path, refused: Callable[..., str]) -> None:
    data = flat().SerializeToString()
    (tmp_path / "m.onnx").write_bytes(data[: int(len(data) * share)])
    assert "not a whole ONNX model" in refused(tmp_path / "m.onnx")


def test_weights_in_a_file_that_is_missing_or_short(tmp_path: Path, refused: Callable[..., str]) -> None:
    options = {"save_as_external_data": True, "location": "m.data", "size_threshold": 0}
    onnx.save(flat(), tmp_path / "m.onnx", **options)
    data = (tmp_path / "m.data").read_bytes()
    (tmp_path / "m.data").unlink()
    assert "'m.data'" in refused(tmp_path / "m.onnx")
    (tmp_path / "m.data").write_bytes(data[:10])
    assert "beside it cannot be read" in refused(tmp_path / "m.onnx")


def test_weights_outside_the_folder(tmp_path: Path, refused: Callable[..., str]) -> None:
    model = flat()
    onnx.external_data_helper.convert_model_to_external_data(model, location="../secret", size_threshold=0)
    (tmp_path / "inner").mkdir()
    (tmp_path / "secret").write_bytes(bytes(100_000))
    with (tmp_path / "inner" / "m.onnx").open("wb") as file:
        for tensor in model.graph.initializer:
            tensor.ClearField("raw_data")
        file.write(model.SerializeToString())
    refused(tmp_path / "inner" / "m.onnx")


METADATA = {
    "description": "Ultralytics YOLO11n-seg model", "version": "8.3.40", "task": "segment", "batch": 2,
    "imgsz": [640, 640], "names": {0: "dent", 1: "scratch"}, "args": {"half": True},
}  # fmt: skip


def engine(metadata: object, plan: bytes = b"ftrt" + bytes(60)) -> bytes:
    text = json.dumps(metadata).encode()
    return struct.pack("<i", len(text)) + text + plan


ENGINES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "of ultralytics": (
        engine(METADATA), ("ultralytics 8.3.40", "task segment", "2 classes", "[640, 640]", "batch 2", "half True"),
    ),
    "of an older ultralytics": (
        engine({"version": "8.0.120", "names": "{0: 'a'}", "args": "{'half': False}"}), ("8.0.120", "1 class)"),
    ),
    "without a plan behind it": (engine(METADATA, b""), ("no plan behind",)),
    "a plain plan": (b"ftrt" + bytes(100), ("plain TensorRT plan of 104 bytes",)),
    "damaged metadata": (struct.pack("<i", 9) + b"{'broken'" + bytes(90), ("metadata is damaged",)),
    "metadata that is a list": (engine([1, 2]), ("metadata is damaged",)),
    "metadata nested without end": (struct.pack("<i", 200_000) + b"[" * 200_000 + b"x", ("metadata is damaged",)),
    "a length that is a lie": (struct.pack("<i", 1 << 20) + b"{}", ("1048576 bytes announced, 2 there",)),
    "a negative length": (struct.pack("<i", -5) + b"{}" + bytes(50), ("no engine file that can be read",)),
    "three bytes": (b"\x01\x02\x03", ("3 bytes",)),
    "names with control characters": (engine({"version": "8\x1b[31m\n9"}), ("8?[31m?9",)),
}  # fmt: skip


@pytest.mark.parametrize("what", ENGINES)
def test_a_tensorrt_engine_is_recognised_and_explained(what: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    content, says = ENGINES[what]
    (tmp_path / "best.engine").write_bytes(content)
    sentence = refused(tmp_path / "best.engine")
    for word in (*says, ".onnx"):
        assert word in sentence, sentence
    if len(content) > 3:
        assert "GPU" in sentence and "best.pt" in sentence, "why it cannot be used, and what to do"


FILES: dict[str, tuple[bytes, str]] = {
    "best.pt": (b"PK\x03\x04", "lineside export"),
    "best.torchscript": (b"PK\x03\x04", "TorchScript"),
    "best.tflite": (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
    "best.mlmodel": (b"\x08\x04", "Core ML"),
    "best.xml": (b"<net>", "OpenVINO"),
    "best.param": (b"7767517", "ncnn"),
    "yolo11n-seg.yaml": (b"nc: 80", "lineside train"),
    "checkpoint.onnx": (b"PK\x03\x04 torch", "torch file under another name"),
    "plan.onnx": (b"ftrt" + bytes(50), "TensorRT plan"),
    "page.onnx": (b"<!DOCTYPE html>", "web page"),
    "pointer.onnx": (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
    "empty.onnx": (b"", "0 bytes"),
    "noise.onnx": (bytes(range(256)), "not a whole ONNX model"),
}


@pytest.mark.parametrize("name", FILES)
def test_another_kind_of_file(name: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    content, says = FILES[name]
    (tmp_path / name).write_bytes(content)
    assert says in refused(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "inside", "says"),
    [
        ("best_openvino_model", "best.xml", "OpenVINO"),
        ("best_ncnn_model", "model.ncnn.param", "ncnn"),
        ("best_saved_model", "saved_model.pb", "SavedModel"),
        ("best.mlpackage", "Manifest.json", "Core ML"),
        ("made.bundle", "manifest.json", "bundle already"),
        ("models", "best.onnx", "inside it"),
        ("nothing", "", "give an .onnx file"),
    ],
)
def test_a_folder(name: str, inside: str, says: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / name).mkdir()
    if inside:
        (tmp_path / name / inside).write_bytes(b"{}")
    assert says in refused(tmp_path / name)


def test_no_file_and_bad_options(tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "no file" in refused(tmp_path / "none.onnx")
    onnx.save(flat(), tmp_path / "m.onnx")
    assert "64x96" in refused(tmp_path / "m.onnx", "--imgsz", "64x96")
    assert "--batch asks for 2" in refused(tmp_path / "m.onnx", "--batch", "2")
    assert "--names" in refused(tmp_path / "m.onnx", "--names", "a,,b")
    assert "--names" in refused(tmp_path / "m.onnx", "--names", "a,b")
    assert "cannot be read" in refused(tmp_path / "m.onnx", "--names", str(tmp_path / "names.txt"))


def half_borders(model: onnx.ModelProto) -> None:
    """As half=True used to write it: float16 goes in and comes out."""
    conv = [node for node in model.graph.node if node.input and "images" in node.input]
    for node in conv:
        node.input[:] = ["inner" if name == "images" else name for name in node.input]
    model.graph.node.insert(0, helper.make_node("Cast", ["images"], ["inner"], to=TensorProto.FLOAT))
    set_input(model, 1, 3, 64, 64, kind=TensorProto.FLOAT16)
    for value in model.graph.output:
        for node in model.graph.node:
            node.output[:] = [f"{name}_full" if name == value.name else name for name in node.output]
        model.graph.node.append(helper.make_node("Cast", [f"{value.name}_full"], [value.name], to=TensorProto.FLOAT16))
        value.type.tensor_type.elem_type = TensorProto.FLOAT16


def byte_input(model: onnx.ModelProto) -> None:
    """Pixels go in as they are and are divided by 255 in the graph."""
    for node in model.graph.node:
        node.input[:] = ["scaled" if name == "images" else name for name in node.input]
    model.graph.initializer.append(numpy_helper.from_array(np.array(255, np.float32), "full"))
    model.graph.node.extend(
        [
            helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["pixels", "full"], ["scaled"]),
        ]
    )
    set_input(model, 1, 3, 64, 64, kind=TensorProto.UINT8)


def half_borders_of_a_strange_name(model: onnx.ModelProto) -> None:
    half_borders(model)
    model.graph.input[0].name = "own"
    for node in model.graph.node:
        node.input[:] = ["own" if name == "images" else name for name in node.input]


def protos_first(model: onnx.ModelProto) -> None:
    outputs = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in model.graph.output]
    del model.graph.output[:]
    model.graph.output.extend(outputs[::-1])


READ: dict[str, tuple[Change, tuple[str, ...]]] = {
    "float16 borders": (half_borders, ()),
    "float16 borders, input of a strange name": (half_borders_of_a_strange_name, ()),
    "uint8 input": (byte_input, ()),
    "prototypes first": (protos_first, ()),
    "names as a list": (lambda m: helper.set_model_props(m, {"names": "['part0', 'part1', 'part2']"}), ()),
    "no metadata": (without_metadata, ("--names", "part0,part1,part2")),
    "metadata that is nonsense": (
        lambda m: helper.set_model_props(m, {"names": "{0: ", "imgsz": "?", "stride": "x", "args": "["}),
        ("--names", "part0,part1,part2"),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory, small_pictures: Path) -> Path:
    """The usual form, imported."""
    folder = tmp_path_factory.mktemp("usual")
    onnx.save(flat(), folder / "m.onnx")
    return import_onnx(folder / "m.onnx", folder / "usual.bundle", images=small_pictures).path


@pytest.mark.parametrize("what", READ)
def test_a_model_that_older_exporters_wrote(
    what: str, usual: Path, small_pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not refused: it comes to the same bundle as the usual form."""
    model = flat()
    change, words = READ[what]
    change(model)
    onnx.save(in_order(model), tmp_path / "m.onnx")
    words = (*words, "--images", str(small_pictures), "--json")
    assert cli.main(["import", str(tmp_path / "m.onnx"), "-o", str(tmp_path / "x.bundle"), *words]) == 0
    printed = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert bool(printed["import"]["adapted"]) == ("float16" in what or what in ("uint8 input", "prototypes first"))
    frame = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    with lineside.load(str(usual)) as one, lineside.load(str(tmp_path / "x.bundle")) as other:
        assert one.manifest.names == other.manifest.names == ("part0", "part1", "part2")
        first, second = one(frame, conf=0.01, iou=1.0), other(frame, conf=0.01, iou=1.0)
    tolerance = 0.1 if "float16" in what else 1e-3
    assert len(first) == len(second) > 0
    mine, theirs = np.argsort(first.anchors), np.argsort(second.anchors)  # scores that round to 1 come in any order
    np.testing.assert_array_equal(first.anchors[mine], second.anchors[theirs])
    np.testing.assert_allclose(first.scores[mine], second.scores[theirs], atol=tolerance / 10)
    np.testing.assert_allclose(first.boxes[mine], second.boxes[theirs], atol=tolerance)
